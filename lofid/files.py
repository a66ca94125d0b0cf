"""Files that are either complete or not there."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lofid.errors import LofidError


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


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary name beside ``path`` to write to, renamed to ``path`` when all went well.

    The temporary name keeps the suffix, by which many writers choose the format. On any exception
    the temporary file is removed and what was at ``path`` stays as it was. Raises
    :class:`LofidError` where the operating system refuses (no such folder, no permission, no
    space left).
    """
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
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
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(OSError):  # some network file systems refuse
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
