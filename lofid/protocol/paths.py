"""Where a session keeps its things: one folder each for sockets, for its state, for the user's.

The folders follow the XDG Base Directory Specification 0.8. A session's name is part of a path, so
it is checked here, once. This module knows no socket and no file format.
"""

import errno
import fcntl
import logging
import os
import pwd
import re
import socket
import stat
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from lofid.errors import LofidError
from lofid.files import xdg_folder

_LOG = logging.getLogger(__name__)

DEFAULT_SESSION = "main"

LONGEST_SOCKET = 103 if sys.platform == "darwin" else 107
"""Bytes that the path of a Unix socket may have (``sun_path`` less its closing zero)."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}", re.ASCII)


def checked_name(name: str, what: str = "session") -> str:
    """A name that may be part of a path; raises :class:`LofidError` for any other."""
    if not _NAME.fullmatch(name):
        raise LofidError(
            f"The {what} cannot be called {name[:60]!r}; use 1 to 32 letters without accents, "
            "digits, - and _, beginning with a letter or digit."
        )
    return name


@dataclass(frozen=True, slots=True)
class SessionPaths:
    """The folders of one session. Making this value makes no folder."""

    session: str
    runtime: Path
    """Sockets and the lock: gone after a restart of the machine; nobody else may enter."""
    state: Path
    """The journal and the snapshots of this session."""
    config: Path
    """What the user made, for all sessions: presets and keys."""

    @classmethod
    def of(cls, session: str = DEFAULT_SESSION) -> Self:
        """The folders of a session; raises :class:`LofidError` for a name that is none."""
        checked_name(session)
        home = Path.home()
        return cls(
            session,
            _runtime_base() / session,
            xdg_folder("XDG_STATE_HOME", home / ".local" / "state") / "lofid" / session,
            xdg_folder("XDG_CONFIG_HOME", home / ".config") / "lofid",
        )

    @property
    def requests(self) -> Path:
        """The socket that takes requests."""
        return self.runtime / "requests"

    @property
    def events(self) -> Path:
        """The socket that tells events."""
        return self.runtime / "events"

    @property
    def presets(self) -> Path:
        """The user's presets, ``NAME.toml``."""
        return self.config / "presets"

    @property
    def keys(self) -> Path:
        """The CURVE keys of server and clients."""
        return self.config / "keys"

    @property
    def snapshots(self) -> Path:
        """The session's snapshots, ``NAME.lofistate``."""
        return self.state / "snapshots"

    def prepare(self) -> None:
        """Make the folders of runtime and state, open to nobody else.

        Raises :class:`LofidError` where the system refuses, where somebody else owns the runtime
        folder, or where its path is too long for the sockets in it.
        """
        check_socket(self.requests)
        for folder in (self.runtime, self.state, self.config):
            _check_owner(folder)
        for folder in (self.runtime.parent, self.runtime):
            _private_folder(folder)
        try:
            self.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise _refused(self.state, error) from error


class Hold:
    """Whoever has it is the one daemon of a session; the system takes it back from the dead.

    A socket file stays behind after SIGKILL and so proves nothing; this lock does not.
    """

    def __init__(self, places: SessionPaths) -> None:
        """Take hold; raises :class:`LofidError` that names the process which has it already."""
        places.prepare()
        self._locks: list[int] = []
        try:
            # What must have one owner is the state; the sockets are in the other folder, mostly.
            folders = (places.state.resolve(), places.runtime.resolve())
            for folder in dict.fromkeys(folders):
                self._locks.append(_opened_lock(folder / "lock"))
                self._take(self._locks[-1], places.session)
        except BaseException:
            self.release()
            raise

    @staticmethod
    def _take(lock: int, session: str) -> None:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(lock, 20).decode("ascii", "replace").strip() or "unknown"
            raise LofidError(
                f"Session '{session}' is played by process {holder} already; steer that one "
                f"with 'lofid ctl --session {session}', or start another with --session "
                "and a name of its own."
            ) from None
        except OSError as error:  # some network file systems have no locks: others still do
            _LOG.warning("The session's folder cannot be locked (%s).", error.strerror)
        os.ftruncate(lock, 0)
        os.write(lock, str(os.getpid()).encode("ascii"))

    def release(self) -> None:
        """Let another daemon take the session."""
        while self._locks:
            os.close(self._locks.pop())


def _opened_lock(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _refused(path, error) from error


def is_served(path: Path) -> bool:
    """Whether somebody listens at a Unix socket; a file alone may be left from a process killed."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # a listener with much to do is one
        return probe.connect_ex(os.fsencode(path)) not in (errno.ENOENT, errno.ECONNREFUSED)


def check_socket(path: Path) -> None:
    """Raise :class:`LofidError` where a path is too long for a socket."""
    length = len(os.fsencode(path))
    if length > LONGEST_SOCKET:
        raise LofidError(
            f"The socket '{path}' would have a path of {length} bytes, and sockets may have "
            f"{LONGEST_SOCKET}; give the session a shorter name, or set XDG_RUNTIME_DIR to a "
            "shorter folder."
        )


def _runtime_base() -> Path:
    fallback = Path(tempfile.gettempdir()) / f"lofid-{os.getuid()}"
    named = xdg_folder("XDG_RUNTIME_DIR", fallback)
    return named if named == fallback else named / "lofid"


def _check_owner(folder: Path) -> None:
    """Raise :class:`LofidError` where root would leave things in another user's folder."""
    if os.getuid() != 0:
        return
    there = next(one for one in (folder, *folder.parents) if one.exists())
    owner = there.stat().st_uid
    if owner != 0:
        try:
            name = pwd.getpwuid(owner).pw_name
        except KeyError:
            name = str(owner)
        raise LofidError(
            f"The folder '{there}' belongs to {name}, and lofid runs as root: what it made there "
            f"{name} could not use. Start it as {name}, without sudo, or set XDG_RUNTIME_DIR, "
            "XDG_STATE_HOME and XDG_CONFIG_HOME to folders of root's own."
        )


def _private_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise LofidError(
                f"The folder '{folder}' for lofid's sockets belongs to somebody else; remove it or "
                "set XDG_RUNTIME_DIR to a folder of your own."
            )
        folder.chmod(0o700)
    except OSError as error:
        raise _refused(folder, error) from error


def _refused(path: Path, error: OSError) -> LofidError:
    return LofidError(
        f"'{path}' cannot be made ({error.strerror}); check who owns it, or set XDG_RUNTIME_DIR "
        "and XDG_STATE_HOME to folders of your own."
    )
