"""Files that are either complete or not there."""

import errno
import fcntl
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import PIPE
from threading import Barrier
from typing import Any

import pytest

from lofid.compose.preset import load_preset
from lofid.compose.session import load_moment, read_label
from lofid.errors import LofidError
from lofid.files import (
    alone_in,
    check_place,
    path_as_text,
    read_file,
    replacing,
    sync_folder,
    unfinished,
)
from lofid.protocol.curve import ClientKeys
from lofid.rwkv.styles import load_style
from lofid.rwkv.weights import load_model


def test_many_may_write_one_file_at_once(tmp_path: Path) -> None:
    path, together = tmp_path / "one.txt", Barrier(4)

    def write(who: int) -> None:
        with replacing(path) as temporary:
            temporary.write_text(1000 * str(who))
            together.wait(10)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(write, range(4)))
    assert path.read_text() in {1000 * str(who) for who in range(4)}
    assert list(tmp_path.iterdir()) == [path]


def test_the_permissions_are_the_writers(tmp_path: Path) -> None:
    mask = os.umask(0o027)
    try:
        with replacing(tmp_path / "one.txt") as temporary:
            temporary.write_text("x")
    finally:
        os.umask(mask)
    assert (tmp_path / "one.txt").stat().st_mode & 0o777 == 0o640


def test_what_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "one.txt"
    path.write_text("before")
    with pytest.raises(ZeroDivisionError), replacing(path) as temporary:
        temporary.write_text("half")
        _ = 1 // 0
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(LofidError, match="could not be written"), replacing(path / "in") as inside:
        inside.write_text("x")


def test_a_folder_is_one_process_alone(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    code = (
        "import sys; from pathlib import Path; from lofid.files import alone_in\n"
        "with alone_in(Path(sys.argv[1]), 'It is used'): print('here', flush=True); input()"
    )
    command = [sys.executable, "-c", code, str(folder)]
    with subprocess.Popen(command, stdin=PIPE, stdout=PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "here\n"
        with pytest.raises(LofidError, match=r"^It is used by another lofid; wait"):
            alone_in(folder, "It is used").__enter__()
        (folder / "half").touch()
        child.kill()
    with alone_in(folder, "It is used"):  # the dead hold nothing, and what they left is there
        assert sorted(path.name for path in folder.iterdir()) == ["half", "lock"]
    assert [path.name for path in folder.iterdir()] == ["half"]
    (folder / "half").unlink()
    with alone_in(folder, "It is used"):
        pass
    assert not folder.exists()


def test_a_folder_that_goes_meanwhile_is_not_taken_for_the_next_ones(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    with alone_in(folder, "It is used"):
        shutil.rmtree(folder)
        folder.mkdir()
        (folder / "lock").touch()  # another process', which has begun already
    assert (folder / "lock").exists()


def test_whoever_comes_as_the_folder_goes_is_told_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "a"

    def used(_: int) -> str:
        try:
            with alone_in(folder, "It is used"):
                return ""
        except LofidError as error:
            return str(error)

    with ThreadPoolExecutor(4) as threads:
        said = set(threads.map(used, range(2000)))
    assert all(re.fullmatch("|It is used by another lofid[;,].*", sentence) for sentence in said)
    assert not folder.exists()


def test_what_is_no_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    with pytest.raises(LofidError, match=r"could not be made \(File exists\)"):
        alone_in(tmp_path / "a", "It is used").__enter__()


def test_a_file_system_without_locks_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(file: object, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(LofidError, match=r"could not be locked \(No locks available\)"):
        alone_in(tmp_path / "a", "It is used").__enter__()


def test_a_folder_that_cannot_be_synced_undoes_nothing(tmp_path: Path) -> None:
    sync_folder(tmp_path / "gone")


READERS = {
    "x.toml": lambda path: load_preset(str(path)),
    "x.lofistate": load_moment,
    "y.lofistate": read_label,
    "x.lofidkey": ClientKeys.read,
    "x.safetensors": lambda path: load_style(str(path)),
    "y.safetensors": load_model,
}
"""What reads a file that a user names."""


@pytest.mark.parametrize("name", READERS)
def test_whatever_is_named_is_read_within_bounds_or_refused(name: str, tmp_path: Path) -> None:
    read: Any = READERS[name]
    path = tmp_path / name
    for target, words in (("/dev/zero", "is a device"), ("/", "is a folder")):
        path.symlink_to(target)
        with pytest.raises(LofidError, match=words):
            read(path)
        path.unlink()
    os.mkfifo(path)
    with pytest.raises(LofidError, match="is a pipe"):
        read(path)
    path.unlink()
    with path.open("wb") as file:
        file.truncate(2**40)  # of a terabyte, none of it on the disk
    with pytest.raises(LofidError, match=f"{name}'.* (too large|no session)"):
        read(path)


def test_what_has_no_size_is_read_to_the_bound_and_no_further() -> None:
    endless = Path("/proc/self/status")  # of size 0, as the system says
    whole = read_file(endless, "list")
    assert len(whole) > 100
    with pytest.raises(LofidError, match=r"too large for a list \(over 100 bytes\)"):
        read_file(endless, "list", 100)


@pytest.mark.parametrize("name", ["a\0b.toml", "\ud800.toml", "a" * 300 + ".toml", "none.toml"])
def test_what_no_file_can_be_called_is_refused_in_a_sentence(name: str, tmp_path: Path) -> None:
    with pytest.raises(LofidError, match="cannot be read") as told:
        read_file(tmp_path / name, "preset")
    assert str(told.value).isprintable()
    str(told.value).encode()


LONG = [f"{250 * 'x'}.wav", f"{83 * '夜'}.mid", 255 * "y", f"{125 * 'é'}.toml"]


@pytest.mark.parametrize("name", LONG)
def test_a_name_as_long_as_the_system_allows_is_written(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    with replacing(path) as temporary:
        temporary.write_text("music")
        assert unfinished(path) == [temporary]
        assert unfinished(tmp_path / f"z{name[1:]}") == []
    assert path.read_text() == "music"
    assert list(tmp_path.iterdir()) == [path]


def test_a_name_that_is_no_text_is_written_and_told(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\x83\x68.wav"))
    with replacing(path) as temporary:
        temporary.write_text("music")
    assert [os.fsencode(one.name) for one in tmp_path.iterdir()] == [b"\x83h.wav"]
    assert path_as_text(path) == rf"{tmp_path}/\x83h.wav"
    with pytest.raises(LofidError, match=r"\\x83h\.wav/x' could not be written"):
        check_place(path / "x")


def test_a_link_stays_and_what_it_names_is_written(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    for start in ("before", None):
        target, link = tmp_path / "kept" / f"{start}.txt", tmp_path / f"{start}.link"
        if start is not None:
            target.write_text(start)
        link.symlink_to(Path("kept") / target.name)
        with replacing(link) as temporary:
            temporary.write_text("new")
            assert unfinished(link) == [temporary]
        assert link.is_symlink()
        assert target.read_text() == "new"
    assert len(list((tmp_path / "kept").iterdir())) == 2


def test_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    pipe, circle, folder = tmp_path / "pipe.wav", tmp_path / "circle", tmp_path / "folder.wav"
    os.mkfifo(pipe)
    folder.mkdir()
    circle.symlink_to(circle)
    (tmp_path / "link").symlink_to(pipe)
    odd = {
        pipe: "is no file but a pipe",
        tmp_path / "link": "is no file but a pipe",
        folder: "is a folder;",
        Path("/dev/null"): "is no file but a pipe or a device",
        circle: r"could not be written \(.*symbolic links",
        tmp_path / "a\0b": "could not be written",
        tmp_path / (300 * "z"): "could not be written .*too long",
    }
    for path, said in odd.items():
        with pytest.raises(LofidError, match=said), replacing(path) as temporary:
            temporary.write_text("music")
        assert unfinished(path) == []
    assert pipe.is_fifo()
    assert sorted(one.name for one in tmp_path.iterdir()) == [
        "circle", "folder.wav", "link", "pipe.wav"
    ]  # fmt: skip


def test_a_place_is_looked_at_before_there_is_anything(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("kept")
    check_place(tmp_path / "old")
    check_place(tmp_path / "new")
    assert [one.name for one in tmp_path.iterdir()] == ["old"]
    assert (tmp_path / "old").read_text() == "kept"
    with pytest.raises(LofidError, match="could not be written"):
        check_place(tmp_path / "none" / "new")
