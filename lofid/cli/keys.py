"""``lofid keys``: who may steer the daemon over tcp."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from lofid.cli._terminal import ERR, JsonOption, print_json
from lofid.files import user_path

app = typer.Typer(
    help="The keys with which clients may steer the daemon over tcp (CURVE).",
    no_args_is_help=True,
)

if TYPE_CHECKING:
    from lofid.service.keys import KeyStore

SUFFIX = ".lofidkey"


@app.command("make")
def make(json: JsonOption = False) -> None:
    """Make the daemon's own keys; once, before `lofid serve --tcp`.

    [dim]Example:[/dim]

    lofid keys make
    """
    public = _store().create()
    if json:
        print_json({"public": public})
    else:
        typer.echo(f"Made the daemon's keys; the public one is {public}")


@app.command("add")
def add(
    name: Annotated[str, typer.Argument(help="What to call the client.")],
    file: Annotated[
        str | None,
        typer.Option("--file", "-f", help=f"Where to write; default: NAME{SUFFIX}; - prints it."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Let a client in: writes the file that it needs, for `lofid ctl --keys FILE`.

    A daemon that runs knows the new client at once.

    [dim]Examples:[/dim]

    lofid keys add phone

    lofid keys add studio --file -
    """
    keys = _store().add(name)
    if file == "-":
        if json:
            print_json({"name": name, **asdict(keys)})
        else:
            typer.echo(keys.text(name), nl=False)
        return
    path = user_path(file or f"{name}{SUFFIX}")
    try:
        keys.write(path, name)
    except BaseException:
        _store().remove(name)  # nobody has the secret key: it would let nobody in
        raise
    if json:
        print_json({"name": name, "public": keys.public, "file": str(path)})
    ERR.print(
        f"Wrote {path}. Take it to the client's machine, and let nobody read it on the way.",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


@app.command("list")
def show(json: JsonOption = False) -> None:
    """List the clients that may come in."""
    clients = _store().clients()
    if json:
        print_json(clients)
        return
    if not clients:
        ERR.print("Nobody may come in yet; let somebody: lofid keys add NAME", highlight=False)
    for name, public in clients.items():
        typer.echo(f"{name}\t{public}")


@app.command("rm", hidden=True)
@app.command("remove")
def remove(name: Annotated[str, typer.Argument(help="The client.")]) -> None:
    """Let a client in no more; if it is connected, until the daemon is started anew."""
    _store().remove(name)


def _store() -> "KeyStore":
    from lofid.service.keys import KeyStore
    from lofid.service.places import Places

    return KeyStore(Places.of().keys)
