"""Files that are either complete or not there, and places that one process has for itself."""

import fcntl
import glob
import os
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

from lofid.errors import LofidError

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
    return path.with_name(f".{path.stem}.{secrets.token_hex(_UNIQUE // 2)}.part{path.suffix}")


def unfinished(path: Path) -> list[Path]:
    """What lies beside ``path`` under a :func:`temporary_name` of it, the newest first."""
    stem, suffix = glob.escape(path.stem), glob.escape(path.suffix)
    try:
        found = path.parent.glob(f".{stem}.{_UNIQUE * '[0-9a-f]'}.part{suffix}")
        return sorted(found, key=lambda one: one.stat().st_mtime, reverse=True)
    except OSError:  # nothing that we may look at, or a file that has just been finished
        return []


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a :func:`temporary_name` to write to, renamed to ``path`` when all went well.

    On any exception the temporary file is removed and what was at ``path`` stays as it was. Raises
    :class:`LofidError` where the operating system refuses (no such folder, no permission, no
    space left).
    """
    temporary = temporary_name(path)
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise LofidError(
            f"The file '{path}' could not be written ({reason}); "
            "choose another place or make room there."
        ) from error
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
