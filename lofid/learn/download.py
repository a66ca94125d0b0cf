"""One file over HTTP: resumed where it broke off, tried again, checked, complete or not there.

What has come lies beside the goal under ``NAME.part``, and ``NAME.part.json`` says of which version
of which address it is (RFC 9110: ``Range`` with ``If-Range``, so that a file that changed meanwhile
begins anew). A download that is killed goes on from there with the next call.

This module knows addresses and files. It must not know data sets.
"""

import hashlib
import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from lofid import __version__
from lofid.errors import LofidError
from lofid.files import locked, sync_folder

WAITS = (1.0, 2.0, 4.0, 8.0)
"""Seconds before each further try; one that brought something begins the list anew."""
TIMEOUT = 30.0
MOST = 1 << 30
"""Bytes of a file of which nobody knows the size; GitHub asks that repositories have fewer."""
_BLOCK = 1 << 18
_RANGE_NOT_SATISFIABLE = 416
_PARTIAL_CONTENT = 206

Progress = Callable[[int, int | None], None]
"""Is told the bytes that are there and those of the whole, None where the server does not say."""


@dataclass(frozen=True, slots=True)
class _Version:
    """Which file a part is of; ``tag`` is its ETag or Last-Modified, empty where it has neither."""

    url: str
    tag: str


class _Broken(Exception):
    """The connection was lost; another try may help."""


def download(
    url: str,
    path: Path,
    sha256: str | None = None,
    progress: Progress | None = None,
    waits: Sequence[float] = WAITS,
    most: int = MOST,
) -> None:
    """Have the file at ``url`` at ``path``, checked against ``sha256`` where it is known.

    Raises :class:`LofidError` where the server does not have it, the connection is lost and stays
    lost, the checksum differs, it has more than ``most`` bytes, or the disk is full; but for
    a differing checksum or too many bytes, what has come is kept for the next call.
    """
    host = urlsplit(url).netloc or url
    part = path.with_name(f"{path.name}.part")
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        with locked(part, f"{path.name} is being downloaded") as file:
            _fetch(url, file, part, most, progress or (lambda _have, _whole: None), waits)
            if sha256 is not None:
                _check(part, sha256, host)
            part.replace(path)
            _notes(part).unlink(missing_ok=True)
        sync_folder(path.parent)
    except _Broken as error:
        have = part.stat().st_size
        if have == 0:
            part.unlink()
            raise LofidError(
                f"{host} could not be reached ({error}); check the network, or name a mirror "
                "with --from."
            ) from error
        raise LofidError(
            f"The connection to {host} was lost ({error}) with {have / 1e6:.1f} MB of {path.name} "
            "here; the same command goes on from there."
        ) from error
    except OSError as error:
        raise LofidError(
            f"{path.name} could not be written to {path.parent} ({error.strerror or error}); "
            "make room there, and the same command goes on."
        ) from error


def _notes(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _known_version(part: Path, url: str) -> _Version | None:
    """The version that a part is of, None where it is of another address or nobody knows."""
    with suppress(OSError, ValueError, TypeError):
        version = _Version(**json.loads(_notes(part).read_text()))
        if version.url == url and version.tag:
            return version
    return None


def _fetch(
    url: str, file: BinaryIO, part: Path, most: int, progress: Progress, waits: Sequence[float]
) -> None:
    tries = 0
    while True:
        before = file.tell()
        try:
            return _one_try(url, file, part, most, progress)
        except _Broken:
            tries = 0 if file.tell() > before else tries
            if tries >= len(waits):
                raise
        time.sleep(waits[tries])
        tries += 1


def _one_try(url: str, file: BinaryIO, part: Path, most: int, progress: Progress) -> None:
    """Bring what is missing; raises :class:`_Broken` where it ends early."""
    headers = {"User-Agent": f"lofid/{__version__}", "Accept-Encoding": "identity"}
    version = _known_version(part, url)
    have = file.seek(0, 2)
    if version is None:
        have = _emptied(file)
    if have and version is not None:
        headers |= {"Range": f"bytes={have}-", "If-Range": version.tag}
    try:
        response = urllib.request.urlopen(
            urllib.request.Request(url, headers=headers), timeout=TIMEOUT
        )
    except urllib.error.HTTPError as error:
        with error:
            if error.code == _RANGE_NOT_SATISFIABLE:  # longer than the file: of no use
                _emptied(file)
                raise _Broken("the part did not fit the file") from error
            if error.code >= 500 or error.code == 429:
                raise _Broken(f"it answers {error.code} {error.reason}") from error
            raise LofidError(
                f"{urlsplit(url).netloc} answers {error.code} ({error.reason}) for {url}; "
                "look for a mirror and name it with --from."
            ) from error
    except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as e:
        raise _Broken(str(getattr(e, "reason", e)) or type(e).__name__) from e
    with response:
        if response.status != _PARTIAL_CONTENT:
            have = _emptied(file)
        elif not (response.headers.get("Content-Range") or "").startswith(f"bytes {have}-"):
            _emptied(file)
            raise _Broken("it sent another part than was asked for")
        tag = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
        tag = "" if tag.startswith("W/") else tag  # a weak one does not promise the same bytes
        _notes(part).write_text(json.dumps(asdict(_Version(url, tag))))
        length = response.headers.get("Content-Length")
        whole = have + int(length) if length is not None and length.isdecimal() else None
        progress(have, whole)
        while max(have, whole or 0) <= most:
            try:
                block = response.read1(_BLOCK)
            except (http.client.HTTPException, ConnectionError, TimeoutError) as error:
                raise _Broken(str(error) or type(error).__name__) from error
            if not block:
                break
            file.write(block)
            file.flush()
            have += len(block)
            progress(have, whole)
        else:
            _remove(part)
            raise LofidError(
                f"What {urlsplit(url).netloc} sends as {part.stem} has more than the {most:,} "
                "bytes that it may have, and was removed; look for a mirror and name it with "
                "--from."
            )
    if whole is not None and have < whole:
        raise _Broken("it ended early")


def _emptied(file: BinaryIO) -> int:
    file.seek(0)
    file.truncate()
    return 0


def _remove(part: Path) -> None:
    part.unlink(missing_ok=True)
    _notes(part).unlink(missing_ok=True)


def _check(part: Path, sha256: str, host: str) -> None:
    with part.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        _remove(part)
        raise LofidError(
            f"What {host} sent has another checksum than expected ({found[:16]}… instead of "
            f"{sha256[:16]}…) and was removed; try again, or name a mirror with --from."
        )
