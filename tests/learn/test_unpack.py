"""Archives made to do harm, and the ones that are none."""

import io
import lzma
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from lofid.errors import LofidError
from lofid.learn.archives import open_archive
from lofid.learn.unpack import Unsafe, tarred, zipped

Pack = Callable[[dict[str, bytes]], io.BytesIO]
Unpack = Callable[..., Iterator[tuple[str, bytes]]]


def _tar(files: dict[str, bytes], *others: tarfile.TarInfo) -> io.BytesIO:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        for member in others:
            archive.addfile(member)
    content.seek(0)
    return content


def _zip(files: dict[str, bytes]) -> io.BytesIO:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    content.seek(0)
    return content


both = pytest.mark.parametrize(("pack", "unpack"), [(_tar, tarred), (_zip, zipped)])


@both
def test_files_come_as_they_were_packed(pack: Pack, unpack: Unpack) -> None:
    files = {"a/one.mid": b"one", "a/..b": b"", "two": bytes(20_000)}
    assert dict(unpack(pack(files))) == files


@both
def test_too_much_is_refused(pack: Pack, unpack: Unpack) -> None:
    packed = pack({"one": bytes(60_000), "two": bytes(60_000)})
    with pytest.raises(Unsafe, match="more than 100,000 bytes"):
        dict(unpack(packed, 100_000))


@both
@pytest.mark.parametrize("name", ["../one", "a/../../one", "/etc/one"])
def test_names_that_lead_outside_are_refused(pack: Pack, unpack: Unpack, name: str) -> None:
    with pytest.raises(Unsafe, match="leads outside"):
        dict(unpack(pack({name: b"1"})))


def test_a_tar_of_nothing_but_headers_is_refused() -> None:
    with pytest.raises(Unsafe):
        list(tarred(_tar({str(number): b"" for number in range(30)}), 100_000))
    long = tarfile.TarInfo("one")
    long.pax_headers = {"comment": "x" * 200_000}
    with pytest.raises(Unsafe):
        list(tarred(_tar({}, long), 100_000))


def test_a_sparse_file_counts_as_what_it_unpacks_to() -> None:
    sparse = tarfile.TarInfo("one")
    sparse.pax_headers = {
        "GNU.sparse.major": "0",
        "GNU.sparse.minor": "1",
        "GNU.sparse.map": "1000000000,0",
        "GNU.sparse.size": "1000000000",
    }
    with pytest.raises(Unsafe):
        list(tarred(_tar({}, sparse), 100_000))


def test_links_are_left_out() -> None:
    link, hard = tarfile.TarInfo("link"), tarfile.TarInfo("hard")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    hard.type, hard.linkname = tarfile.LNKTYPE, "one"
    assert list(tarred(_tar({"one": b"1"}, link, hard))) == [("one", b"1")]


def test_an_archive_of_music_that_unpacks_to_too_much_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lofid.learn.archives.tarred", partial(tarred, most=1 << 20))
    packed = lzma.compress(_tar({"drums_gmd/index.csv": bytes(2 << 20)}).getvalue())
    (tmp_path / "drums_gmd.tar.xz").write_bytes(packed)
    with pytest.raises(LofidError, match=r"damaged .*unpacks to more than"):
        open_archive(tmp_path, "drums_gmd")
