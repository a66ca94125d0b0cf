"""``lofid serve``: the daemon."""

import logging
import os
import signal
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from lofid.cli._from_here import named_from_here, output_from_here
from lofid.cli._station import (
    DEFAULT_PRESET,
    DrumsModelOption,
    EngineOption,
    KeysModelOption,
    ModelOption,
    PresetOption,
    SeedOption,
    StyleOption,
    chosen_seed,
)
from lofid.cli._terminal import ERR, LogFormatter, obey
from lofid.errors import LofidError
from lofid.outputs import KINDS
from lofid.rwkv.choice import EngineName

if TYPE_CHECKING:
    from lofid.daemon.server import Tcp

_KINDS = "; ".join(f"{kind.syntax}: {kind.description}" for kind in KINDS.values())


def serve(
    session: Annotated[
        str, typer.Option("--session", help="A name of your own, to run several.")
    ] = "main",
    preset: PresetOption = DEFAULT_PRESET,
    seed: SeedOption = None,
    output: Annotated[
        list[str] | None,
        typer.Option("--output", "-o", help=f"Where to; repeatable; default: device. {_KINDS}."),
    ] = None,
    new: Annotated[
        bool, typer.Option("--new", help="Begin anew, and forget where the session stood.")
    ] = False,
    tcp: Annotated[
        str | None,
        typer.Option(
            "--tcp",
            metavar="HOST:PORT",
            help="Also listen there, to clients with keys: see `lofid keys`.",
        ),
    ] = None,
    virtual: Annotated[
        bool,
        typer.Option("--virtual-clock", help="Play as fast as the machine can, for tests."),
    ] = False,
    model: ModelOption = None,
    keys_model: KeysModelOption = None,
    drums_model: DrumsModelOption = None,
    style: StyleOption = None,
    engine: EngineOption = EngineName.AUTO,
) -> None:
    """Play as a daemon: several outputs at once, steered while it plays, taken up after a crash.

    The session goes on where it stood, with the settings, outputs, models and style that it had;
    --preset, --seed and --output say how a new one begins. Another --model or --style wins, and is
    other music.

    [dim]Examples:[/dim]

    lofid serve

    lofid serve --session stream --preset rain --output device --output midi

    lofid ctl set music.tempo 72      (from another terminal)
    """
    from lofid.compose.preset import load_preset
    from lofid.daemon import model_choice
    from lofid.daemon.desk import Beginning, Desk
    from lofid.daemon.handlers import RequestHandlers
    from lofid.daemon.memory import keep_tidy
    from lofid.daemon.notify import Notifier
    from lofid.protocol.paths import SessionPaths

    shown = logging.StreamHandler()
    shown.setFormatter(LogFormatter("%(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[shown])
    keep_tidy()
    notifier = Notifier.taken_from(os.environ)
    places = SessionPaths.of(session)
    first = load_preset(preset)
    beginning = Beginning(
        preset=replace(first, style=first.style and named_from_here(first.style)),
        seed=chosen_seed(seed),
        outputs=tuple(map(output_from_here, output or ["device"])),
    )
    given = {
        "model": model,
        "keys-model": keys_model and keys_model.absolute(),
        "drums-model": drums_model and drums_model.absolute(),
        model_choice.STYLE: style and named_from_here(style),
    }
    desk = Desk(
        places,
        beginning,
        notifier,
        tcp=_tcp(tcp),
        new=new,
        virtual=virtual,
        voices={option: str(value) for option, value in given.items() if value is not None},
        engine=engine,
    )
    for number in (signal.SIGTERM, signal.SIGHUP):  # of which several may come for one reason
        obey(number, lambda *_: desk.leave())
    obey(signal.SIGINT, lambda *_: desk.interrupt())
    signal.signal(signal.SIGCHLD, lambda *_: None)  # wakes the loop: a process has ended
    signal.set_wakeup_fd(desk.wake_fd, warn_on_full_buffer=False)
    ERR.print(
        f"Playing session '{session}'. Steer it with `lofid ctl`, watch it with `lofid watch`; "
        "Ctrl-C ends, and keeps it; once more, and it waits for no output.",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    if desk.voices:
        ERR.print(
            f"It plays {model_choice.in_words(desk.voices)}.",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
    if desk.taken_up and (output or seed is not None or preset != DEFAULT_PRESET):
        ERR.print(
            "It goes on as it was: --preset, --seed and --output say how one begins; change it "
            "with `lofid ctl`, or begin with --new.",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
    desk.run(RequestHandlers(desk).answer)


def _tcp(address: str | None) -> "Tcp | None":
    """Where to listen for clients from elsewhere, of ``HOST:PORT``."""
    from lofid.daemon.server import Tcp

    if address is None:
        return None
    host, _, port = address.rpartition(":")
    number = int(port) if port.isascii() and port.isdigit() else 0
    if not host or not 0 < number < 65535:
        raise LofidError(
            f"The address '{address}' is none; write HOST:PORT, such as 127.0.0.1:7770."
        )
    return Tcp(host.strip("[]"), number)
