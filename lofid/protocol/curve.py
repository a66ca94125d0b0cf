"""The CURVE keys that let clients in over tcp (CurveZMQ, RFC 26; keys in Z85, RFC 32).

The server has one pair of keys, and a folder with the public key of every client that may enter. A
client has one file with all it needs: its own pair and the server's public key. Files that hold a
secret can be read by nobody else.
"""

import logging
import os
import re
import tomllib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import zmq

from lofid.errors import LofidError
from lofid.files import read_file, replacing
from lofid.protocol.paths import checked_name
from lofid.protocol.roles import DEFAULT, Role

_LOG = logging.getLogger(__name__)

_Z85 = re.compile(r"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")


@dataclass(frozen=True, slots=True)
class ClientKeys:
    """What a client needs to enter: all three in Z85."""

    server: str
    public: str
    secret: str

    @classmethod
    def read(cls, path: Path) -> Self:
        """The keys in a client's file; raises :class:`LofidError` where they cannot be read."""
        return cls(*_read(path, "server", "public", "secret"))

    def text(self, name: str) -> str:
        """The client's file."""
        return (
            f"# lofid: the keys of client '{name}'. Whoever has this file comes in as it.\n"
            f'server = "{self.server}"\npublic = "{self.public}"\nsecret = "{self.secret}"\n'
        )

    def write(self, path: Path, name: str) -> None:
        """Write the client's file, readable by its owner only."""
        _write(path, self.text(name))


@dataclass(frozen=True, slots=True)
class KnownClient:
    """What the server knows of a client: its public key, in Z85, and its role.

    A key that was made before there were roles has none, and may do everything.
    """

    public: str
    role: Role | None = DEFAULT

    @property
    def may(self) -> Role:
        """The role that counts."""
        return Role.OWN if self.role is None else self.role

    @classmethod
    def read(cls, path: Path) -> Self:
        """What stands in a client's file; raises :class:`LofidError` where that cannot be used."""
        (public,) = _read(path, "public")
        role = _document(path).get("role")
        if role is not None and role not in list(Role):
            raise LofidError(
                f"The role {str(role)[:40]!r} in '{path}' is none of {', '.join(Role)}; give it "
                f"one: 'lofid keys role {path.stem} {DEFAULT}'."
            )
        return cls(public, None if role is None else Role(str(role)))


class KeyStore:
    """The keys of a server and of its clients, in one folder."""

    def __init__(self, folder: Path) -> None:
        self._server = folder / "server.key"
        self._clients = folder / "clients"

    @property
    def exists(self) -> bool:
        """Whether the server has keys."""
        return self._server.exists()

    def create(self) -> str:
        """Make the server's keys and return the public one; raises where there are keys already."""
        if self.exists:
            raise LofidError(
                f"There are keys in '{self._server}' already; with new ones every client's file "
                "would be worthless. If you want that, remove the file first."
            )
        public, secret = _pair()
        self._make_folder()
        _write(
            self._server,
            f'# lofid: the keys of the daemon.\npublic = "{public}"\nsecret = "{secret}"\n',
        )
        return public

    def server(self) -> tuple[str, str]:
        """The server's public and secret key; raises :class:`LofidError` where it has none."""
        if not self.exists:
            raise LofidError(
                "There are no keys, and tcp is served only to clients that have one; make them "
                "with 'lofid keys make' and 'lofid keys add NAME'."
            )
        public, secret = _read(self._server, "public", "secret")
        return public, secret

    def add(self, name: str, role: Role = DEFAULT) -> ClientKeys:
        """Let one more client in and return its keys; the secret one is kept nowhere here."""
        checked_name(name, "client")
        server, _ = self.server()
        self._make_folder()
        path = self._path(name)
        if path.exists():
            raise LofidError(
                f"There is a client '{name}' already; choose another name, or remove it first "
                f"with 'lofid keys remove {name}'."
            )
        public, secret = _pair()
        self._keep(name, KnownClient(public, role))
        return ClientKeys(server, public, secret)

    def remove(self, name: str) -> None:
        """Let a client in no more; connections that it has stay until they end."""
        self._known(name)
        self._path(name).unlink()

    def change(self, name: str, role: Role) -> None:
        """Give a client another role; a daemon that runs knows it at once."""
        self._keep(name, KnownClient(self._known(name).public, role))

    def clients(self) -> dict[str, KnownClient]:
        """Every client that may come in, by name; a file that cannot be read lets nobody in."""
        found = {}
        for path in sorted(self._clients.glob("*.key")):
            try:
                found[checked_name(path.stem, "client")] = KnownClient.read(path)
            except LofidError as error:
                _LOG.warning("%s Until then, that client cannot come in.", error)
        return found

    def _known(self, name: str) -> KnownClient:
        clients = self.clients()
        if name not in clients:
            known = ", ".join(clients) or "none"
            raise LofidError(f"There is no client '{name}'; there are: {known}.")
        return clients[name]

    def _keep(self, name: str, entry: KnownClient) -> None:
        role = "" if entry.role is None else f'role = "{entry.role}"\n'
        _write(self._path(name), f'public = "{entry.public}"\n{role}')

    def version(self) -> tuple[tuple[str, int, int, int], ...]:
        """Another one whenever a client's file was added, removed or written anew, in place too."""
        found = []
        for path in self._clients.glob("*.key"):
            with suppress(OSError):  # a link to nothing, or removed this moment
                now = path.stat()
                found.append((path.name, now.st_ino, now.st_size, now.st_mtime_ns))
        return tuple(sorted(found))

    def _path(self, name: str) -> Path:
        return self._clients / f"{name}.key"

    def _make_folder(self) -> None:
        try:
            self._clients.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise LofidError(
                f"The folder '{self._clients}' for keys cannot be made ({error.strerror}); check "
                "who owns the one above it."
            ) from error


def _pair() -> tuple[str, str]:
    public, secret = zmq.curve_keypair()
    return public.decode("ascii"), secret.decode("ascii")


def _document(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(read_file(path, "file of keys").decode())
    except (ValueError, RecursionError) as error:
        raise LofidError(
            f"The file '{path}' is no file of keys; check the path, or make new ones: "
            "'lofid keys --help' tells how."
        ) from error


def _read(path: Path, *names: str) -> list[str]:
    document = _document(path)
    keys = [str(document.get(name, "")) for name in names]
    for name, key in zip(names, keys, strict=True):
        if not _Z85.fullmatch(key):
            raise LofidError(
                f"The file '{path}' holds no {name} key; make it anew: "
                "'lofid keys --help' tells how."
            )
    return keys


def _write(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
