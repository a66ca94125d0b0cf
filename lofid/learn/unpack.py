"""Reading what others packed: never more than a bound, and no names that lead elsewhere.

A few kilobytes may unpack to terabytes, a header may promise them. Nothing here writes files.

This module knows tar and zip. It must not know data sets.
"""

import io
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

MOST = 2 << 30
"""Bytes that an archive of music may unpack to; those known have 2 to 50 million."""

_LEAST = 4096
"""Bytes that any file of a tar archive counts as: millions of empty ones would fill the memory."""


class Unsafe(Exception):
    """It unpacks to more than it may, or names what lies outside of it."""


class _Bounded(io.BufferedIOBase):
    """The beginning of a stream, for :mod:`tarfile`; reading on raises :class:`Unsafe`."""

    def __init__(self, stream: io.BufferedIOBase, most: int) -> None:
        self._stream, self._left, self._most = stream, most, most

    def read(self, size: int | None = -1, /) -> bytes:
        block = self._stream.read(size)
        self._left -= len(block)
        if self._left < 0:
            raise _too_large(self._most)
        return block


def tarred(stream: io.BufferedIOBase, most: int = MOST) -> Iterator[tuple[str, bytes]]:
    """Names and contents of the files in a tar archive; links and devices are left out.

    Raises :class:`Unsafe` for one with more than ``most`` bytes, and what :mod:`tarfile` and the
    stream raise.
    """
    left = most
    with tarfile.open(fileobj=_Bounded(stream, most), mode="r|") as archive:
        for member in archive:
            left -= max(member.size, _LEAST)  # of a sparse file more than there is in the stream
            if left < 0:
                raise _too_large(most)
            content = archive.extractfile(member) if member.isfile() else None
            if content is not None:
                yield _inside(member.name), content.read()


def zipped(source: Path | io.BytesIO, most: int = MOST) -> Iterator[tuple[str, bytes]]:
    """Names and contents of the files in a zip archive.

    Raises :class:`Unsafe` for one with more than ``most`` bytes, and what :mod:`zipfile` raises.
    """
    with zipfile.ZipFile(source) as archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
        if sum(member.file_size for member in members) > most:  # zipfile reads no more than these
            raise _too_large(most)
        for member in members:
            yield _inside(member.filename), archive.read(member)


def _too_large(most: int) -> Unsafe:
    return Unsafe(f"it unpacks to more than {most:,} bytes")


def _inside(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise Unsafe(f"its file {name[:80]!r} leads outside")
    return name
