"""Archives made to do harm, and the ones that are none."""

import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from lofid.errors import LofidError
from lofid.learn.archives import open_archive
from lofid.learn.unpack import Unsafe, tarred, zipped

Pack = Callable[[dict[str, bytes]], io.BytesIO]


def _tar(files: dict[str, bytes]) -> io.BytesIO:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    content.seek(0)
    return content


def _zip(files: dict[str, bytes]) -> io.BytesIO:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    content.seek(0)
    return content


@pytest.mark.parametrize(("pack", "unpacked"), [(_tar, tarred), (_zip, zipped)])
class TestBoth:
    def test_files_come_as_they_were_packed(
        self, pack: Pack, unpacked: Callable[..., object]
    ) -> None:
        files = {"a/one.mid": b"one", "a/..b": b"", "two": bytes(20_000)}
        assert dict(unpacked(pack(files))) == files  # type: ignore[call-overload]

    def test_too_much_is_refused(self, pack: Pack, unpacked: Callable[..., object]) -> None:
        packed = pack({"one": bytes(60_000), "two": bytes(60_000)})
        with pytest.raises(Unsafe, match=r"more than 100,000 bytes"):
            dict(unpacked(packed, 100_000))  # type: ignore[call-overload]

    @pytest.mark.parametrize("name", ["../one", "a/../../one", "/etc/one"])
    def test_names_that_lead_outside_are_refused(
        self, pack: Pack, unpacked: Callable[..., object], name: str
    ) -> None:
        with pytest.raises(Unsafe, match="leads outside"):
            dict(unpacked(pack({name: b"1"})))  # type: ignore[call-overload]
