"""How the commands find the daemon that they steer or watch."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lofid.protocol.paths import DEFAULT_SESSION

if TYPE_CHECKING:
    from lofid.client import Client

SessionOption = Annotated[
    str, typer.Option("--session", help="The session's name, as given to `lofid serve`.")
]
ConnectOption = Annotated[
    str | None,
    typer.Option(
        "--connect",
        metavar="URL",
        help="A daemon elsewhere: tcp://HOST:PORT, or ipc://FOLDER with its runtime folder.",
    ),
]
KeysOption = Annotated[
    Path | None,
    typer.Option("--keys", metavar="FILE", help="The file that `lofid keys add` wrote, for tcp."),
]
SESSION = DEFAULT_SESSION

Connect = Callable[[], "Client"]
"""Makes a client for the daemon that was asked for."""


def connector(session: str, connect: str | None, keys: Path | None) -> Connect:
    """From the three options to a client, made when it is called."""

    def make() -> "Client":
        from lofid.client import Address, Client

        if connect is not None:
            return Client(Address.of_url(connect, keys))
        return Client(Address.of_session(session))

    return make
