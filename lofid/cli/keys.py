"""``lofid keys``: who may listen to or steer the daemon over tcp."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from lofid.cli._terminal import ERR, JsonOption, print_json
from lofid.files import user_path
from lofid.protocol.roles import DEFAULT, Role

app = typer.Typer(
    help="The keys with which clients may steer the daemon over tcp (CURVE).",
    no_args_is_help=True,
)

if TYPE_CHECKING:
    from lofid.protocol.curve import KeyStore

SUFFIX = ".lofidkey"
_ROLES = "; ".join(f"{role}: {role.meaning}" for role in Role)
RoleOption = Annotated[Role, typer.Option("--role", help=f"What it may do. {_ROLES}.")]


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
    role: RoleOption = DEFAULT,
    json: JsonOption = False,
) -> None:
    """Let a client in: writes the file that it needs, for `lofid ctl --keys FILE`.

    A daemon that runs knows the new client at once.

    [dim]Examples:[/dim]

    lofid keys add phone

    lofid keys add wall --role listen

    lofid keys add studio --file -
    """
    keys = _store().add(name, role)
    if file == "-":
        if json:
            print_json({"name": name, "role": role, **asdict(keys)})
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
        print_json({"name": name, "role": role, "public": keys.public, "file": str(path)})
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
        print_json({name: {"public": one.public, "role": one.may} for name, one in clients.items()})
        return
    if not clients:
        ERR.print("Nobody may come in yet; let somebody: lofid keys add NAME", highlight=False)
    for name, one in clients.items():
        typer.echo(f"{name}\t{one.may}\t{one.public}")


@app.command("role")
def change(
    name: Annotated[str, typer.Argument(help="The client.")],
    role: Annotated[Role, typer.Argument(help=_ROLES)],
) -> None:
    """Give a client another role; it counts at once, also where the client is connected.

    [dim]Example:[/dim]

    lofid keys role phone own
    """
    _store().change(name, role)


@app.command("rm", hidden=True)
@app.command("remove")
def remove(name: Annotated[str, typer.Argument(help="The client.")]) -> None:
    """Let a client in no more; one that is connected may ask for nothing from now on."""
    _store().remove(name)


def _store() -> "KeyStore":
    from lofid.protocol.curve import KeyStore
    from lofid.protocol.paths import SessionPaths

    return KeyStore(SessionPaths.of().keys)
