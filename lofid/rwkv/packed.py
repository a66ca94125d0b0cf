"""Packed weights, kept on disk: what a CPU engine needs, mapped as it is and shared by processes.

A cache, in ``XDG_CACHE_HOME/lofid``: it may be deleted at any time, for a file that is mapped stays
with whoever uses it. What is damaged is made anew, and where nothing can be written all works
without it. When a file is written, those go that have not been used for longest, as far as all
together take more than ``MOST_BYTES``. Knows names and bytes, not what they mean.
"""

import json
import mmap
import os
import time
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from lofid.errors import LofidError
from lofid.files import replacing, xdg_folder

MOST_BYTES: Final = 256 * 2**20
"""Of all files together: some twenty pairs of pocket models at 8 bits."""

_IN_USE: Final = 24 * 3600.0
"""Seconds after its last use for which a file is kept however many there are: a pair of models
that takes more than all may have is not to be packed again and again."""

_MAGIC: Final = b"lofid packed weights\n"
_LENGTH: Final = 4  # bytes that hold the length of the header
_LINE: Final = 64  # arrays begin on cache lines
_LONGEST: Final = 2**20  # bytes of a header

Arrays = Mapping[str, NDArray[Any]]


def cache_folder() -> Path:
    """Where packed weights lie."""
    return xdg_folder("XDG_CACHE_HOME", Path.home() / ".cache") / "lofid"


def packed_path(weights: str, layout: str) -> Path:
    """The file for weights of that hash in that layout."""
    return cache_folder() / f"{weights}-{layout}.packed"


def is_known(weights: str) -> bool:
    """Whether weights of that hash were once read, checked and packed here."""
    try:
        return any(cache_folder().glob(f"{weights}-*.packed"))
    except OSError:
        return False


def read_packed(path: Path) -> Arrays | None:
    """The arrays of a file, mapped and read-only; None where it is not there or damaged."""
    try:
        with path.open("rb") as file:
            content = np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)
        start = len(_MAGIC) + _LENGTH
        length = int.from_bytes(content[len(_MAGIC) : start].tobytes(), "little")
        if content[: len(_MAGIC)].tobytes() != _MAGIC or length > _LONGEST:
            return None
        header = json.loads(content[start : start + length].tobytes())
        data = content[_aligned(start + length) :]
        if len(data) != header["bytes"] or zlib.crc32(data.data) != header["crc32"]:
            return None
        with suppress(OSError):  # somebody else's cache serves as well
            os.utime(path)  # used; when a file was last read, few systems keep
        return {
            name: data[entry["at"] : entry["at"] + entry["bytes"]]
            .view(entry["dtype"])
            .reshape(entry["shape"])
            for name, entry in header["arrays"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def write_packed(path: Path, arrays: Arrays) -> None:
    """Keep arrays in a file, complete or not at all; nothing happens where that cannot be.

    Makes room: see the head of this module.
    """
    entries: dict[str, dict[str, object]] = {}
    parts: list[bytes] = []
    at = 0
    for name, array in arrays.items():
        part = np.ascontiguousarray(array).tobytes()
        entries[name] = {
            "at": at, "bytes": len(part), "dtype": array.dtype.str, "shape": array.shape,
        }  # fmt: skip
        parts.append(part + bytes(_aligned(len(part)) - len(part)))
        at += len(parts[-1])
    data = b"".join(parts)
    described = {"bytes": len(data), "crc32": zlib.crc32(data), "arrays": entries}
    header = json.dumps(described).encode()
    head = _MAGIC + len(header).to_bytes(_LENGTH, "little") + header
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_bytes(head + bytes(_aligned(len(head)) - len(head)) + data)
    except (OSError, LofidError):
        return
    _make_room(path.parent)


def _make_room(folder: Path) -> None:
    """Remove what has not been used for longest beyond the most, and what was never finished."""
    with suppress(OSError):
        files = [(path, path.stat()) for path in folder.glob("*.packed")]
        total, now = 0, time.time()
        for path, found in sorted(files, key=lambda file: -file[1].st_mtime):
            total += found.st_size
            unfinished = path.name.startswith(".")
            if now - found.st_mtime > _IN_USE and (unfinished or total > MOST_BYTES):
                path.unlink(missing_ok=True)


def _aligned(size: int) -> int:
    return -(-size // _LINE) * _LINE
