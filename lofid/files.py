"""Files that are either complete or not there, and places that one process has for itself."""

import fcntl
import glob
import hashlib
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

from lofid.errors import LofidError

MOST_TEXT: Final = 2**20
"""Bytes that are read of a file that people write: presets, keys, lists."""

_LONGEST: Final = 255  # bytes of a file's name
_UNIQUE: Final = 12  # hexadecimal digits in a temporary name
_TRIES: Final = 20  # to have a folder that others remove meanwhile


def user_path(text: str) -> Path:
    """The path a user wrote, with ``~`` and ``~name`` replaced by the home folder.

    Raises :class:`LofidError` where there is no such home.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise LofidError(
            f"The path '{text}' begins with a home folder, but there is no such user; "
            "write the whole path."
        ) from None


def path_as_text(path: Path | str) -> str:
    r"""A path as text that can be written anywhere; bytes that are no UTF-8 are ``\x83``."""
    try:
        return os.fsencode(path).decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # half a character, which no file's name has
        return str(path).encode("utf-8", "backslashreplace").decode("utf-8")


def is_text(name: str) -> bool:
    """Whether a file's name can be told in a message; bytes that are no UTF-8 cannot."""
    return not any("\ud800" <= sign <= "\udfff" for sign in name)


@contextmanager
def opened_file(path: Path, what: str) -> Iterator[BinaryIO]:
    """A regular file that somebody named, opened for reading.

    ``what`` it should be completes "The": ``preset``. A pipe or a device, which might never end, is
    refused as it is opened; so is a folder. Raises :class:`LofidError` for those, and where the
    system refuses, as the file is opened or read.
    """
    try:
        # Without O_NONBLOCK, opening a pipe waits for whoever writes into it.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:  # a zero in a path, or half a character
        raise _unreadable(path, what, error) from error
    kind = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(kind):
        os.close(descriptor)
        named = next((name for test, name in _KINDS if test(kind)), "no file")
        raise LofidError(f"The {what} '{path}' cannot be read: it is {named}; choose a file.")
    with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor is no path
        try:
            yield file
        except OSError as error:
            raise _unreadable(path, what, error) from error


def _unreadable(path: Path, what: str, error: Exception) -> LofidError:
    reason = (error.strerror if isinstance(error, OSError) else None) or error
    shown = path_as_text(path).replace("\0", "\\0")
    return LofidError(f"The {what} '{shown}' cannot be read ({reason}); check the path.")


_KINDS: Final = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def read_file(path: Path, what: str, most: int = MOST_TEXT) -> bytes:
    """The content of a regular file of at most ``most`` bytes that somebody named.

    Never more than that is read, whatever the file does meanwhile. Raises :class:`LofidError` as
    :func:`opened_file`, and for a file that is larger.
    """
    content = b""
    with opened_file(path, what) as file:
        size = os.fstat(file.fileno()).st_size
        room = max(size, min(most, MOST_TEXT))  # what is made up as it is read says that it has 0
        if size <= most:
            content = file.read(room + 1)
    if size > most or len(content) > room:
        raise LofidError(
            f"The file '{path}' is too large for a {what} (over {most:,} bytes); choose another."
        )
    return content


def is_there(path: Path) -> bool:
    """Whether there is something of that name, as far as the system lets us look."""
    try:
        return path.exists()
    except OSError:
        return False


def xdg_folder(variable: str, default: Path) -> Path:
    """The folder that a variable of the XDG Base Directory Specification names.

    The default where it names none; the specification says to ignore relative paths.
    """
    named = Path(os.environ.get(variable, ""))
    return named if named.is_absolute() else default


def temporary_name(path: Path) -> Path:
    """A hidden name beside ``path`` that nobody else has, on whatever machine they share it.

    It keeps the suffix, by which many writers choose the format. Whoever writes there makes the
    file, with the permissions that are theirs to choose.
    """
    return path.with_name(f".{_stem(path)}.{secrets.token_hex(_UNIQUE // 2)}.part{path.suffix}")


def _stem(path: Path) -> str:
    """A name's stem; of a very long one, its beginning and a hash."""
    room = _LONGEST - len(os.fsencode(path.suffix)) - _UNIQUE - len("...part")
    stem = os.fsencode(path.stem)
    if len(stem) <= room:
        return path.stem
    digest = hashlib.sha256(stem).hexdigest()[:_UNIQUE]
    return f"{stem[: room - _UNIQUE - 1].decode('utf-8', 'ignore')}-{digest}"


def unfinished(path: Path) -> list[Path]:
    """What lies beside ``path`` under a :func:`temporary_name` of it, the newest first."""
    try:
        path = place_of(path)
        stem, suffix = glob.escape(_stem(path)), glob.escape(path.suffix)
        found = path.parent.glob(f".{stem}.{_UNIQUE * '[0-9a-f]'}.part{suffix}")
        return sorted(found, key=lambda one: one.stat().st_mtime, reverse=True)
    except (OSError, LofidError):  # nothing that we may look at, or what has just been finished
        return []


def place_of(path: Path) -> Path:
    """Where what is written to ``path`` belongs: a link stays, and what it leads to is written.

    Raises :class:`LofidError` for what cannot be replaced (a folder, a pipe, a device), and where
    the system does not let us look.
    """
    try:
        place = Path(os.path.realpath(path)) if path.is_symlink() else path
        kind = place.stat().st_mode
    except FileNotFoundError:
        return place
    except (OSError, ValueError) as error:  # a zero in a path
        raise _unwritable(path, error) from error
    if stat.S_ISDIR(kind):
        raise LofidError(f"'{path_as_text(path)}' is a folder; name a file in it.")
    if not stat.S_ISREG(kind):
        raise LofidError(f"'{path_as_text(path)}' is no file but a pipe or a device; name a file.")
    return place


def _unwritable(path: Path, error: Exception) -> LofidError:
    reason = (error.strerror if isinstance(error, OSError) else None) or error
    return LofidError(
        f"The file '{path_as_text(path)}' could not be written ({reason}); "
        "choose another place or make room there."
    )


def check_place(path: Path) -> None:
    """Raise the :class:`LofidError` that :func:`replacing` would, before there is anything."""
    with suppress(_Unused), replacing(path) as temporary:
        temporary.touch()
        raise _Unused


class _Unused(Exception):
    """Nothing was written after all."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a :func:`temporary_name` to write to, renamed to ``path`` when all went well.

    A link at ``path`` stays: its target is replaced. On any exception the temporary file is removed
    and what was at ``path`` stays as it was. Raises :class:`LofidError` where the operating system
    refuses (no such folder, no permission, no space left), and for a folder, pipe or device.
    """
    place = place_of(path)
    temporary = temporary_name(place)
    try:
        yield temporary
        temporary.replace(place)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        with suppress(OSError):  # no folder to clean: the reason is on its way already
            temporary.unlink(missing_ok=True)


@contextmanager
def locked(path: Path, what: str) -> Iterator[BinaryIO]:
    """A file to append to, made where it is not there, that no other process has meanwhile.

    The lock is the system's, which takes it back from the dead. ``what`` says what is done to it:
    ``NAME is being downloaded``. Raises :class:`LofidError` where another process has it, and where
    the file system has no locks.
    """
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LofidError(f"{what} by another lofid; wait for that one.") from error
        except OSError as error:
            raise LofidError(
                f"The file '{path}' could not be locked ({error.strerror}), as on some network "
                "file systems; choose a place on another one."
            ) from error
        if not _is_at(file, path):
            raise LofidError(
                f"{what} by another lofid, which is just ending; give the command again."
            )
        yield file


@contextmanager
def alone_in(folder: Path, what: str) -> Iterator[None]:
    """Have a folder for this process alone, made where it is not there; an empty one goes again.

    What a process that was killed left in it is the next one's. ``what`` and errors as those of
    :func:`locked`; :class:`LofidError` also where the folder cannot be made.
    """
    lock = folder / "lock"
    with ExitStack() as stack:
        for left in reversed(range(_TRIES)):
            try:
                folder.mkdir(parents=True, exist_ok=True)
                file = stack.enter_context(locked(lock, what))
                break
            except OSError as error:
                # Whoever had it may be removing it, between any two of these steps.
                if left and isinstance(error, FileNotFoundError | FileExistsError):
                    continue
                raise LofidError(
                    f"The folder '{folder}' could not be made ({error.strerror}); check who owns "
                    "it."
                ) from error
        try:
            yield
        finally:
            with suppress(OSError):  # the folder is not empty, or was removed as a whole
                if _is_at(file, lock):
                    lock.unlink()
                    folder.rmdir()


def _is_at(file: BinaryIO, path: Path) -> bool:
    """Whether an open file still has that name."""
    with suppress(OSError):
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    return False


def write_durably(path: Path, content: bytes) -> None:
    """Write a file that is complete even after a power failure, or not there at all.

    Raises :class:`LofidError` as :func:`replacing` does.
    """
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder survive a power failure, where the system can."""
    with suppress(OSError):  # some network file systems refuse; what was done there is done
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
