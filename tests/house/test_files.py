"""Files that are either complete or not there."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from lofid.errors import LofidError
from lofid.files import replacing


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
