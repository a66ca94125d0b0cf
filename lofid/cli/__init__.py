"""The command line: one file per command, each thin.

Everything here may be imported without numba, pedalboard or FluidSynth: a command loads what it
uses when it runs, so that ``lofid --help`` answers at once and music starts early.
"""

import errno
import io
import sys
from typing import Annotated

import typer

from lofid import __version__
from lofid.cli import (
    bench,
    check,
    ctl,
    data,
    doctor,
    keys,
    models,
    play,
    presets,
    render,
    serve,
    service,
    train,
    tune,
    watch,
)
from lofid.errors import LofidError

app = typer.Typer(
    name="lofid",
    help="Endless lo-fi, written bar by bar by two small RWKV-6 models.",
    epilog="Start with:  lofid play --preset rain   ·   lofid serve   ·   lofid doctor",
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    # An unexpected exception is a bug: its plain traceback is what a report needs.
    pretty_exceptions_enable=False,
)
app.command("play")(play.play)
app.command("serve")(serve.serve)
app.command("watch")(watch.watch)
app.command("render")(render.render)
app.command("presets")(presets.presets)
app.command("check")(check.check)
app.command("doctor")(doctor.doctor)
app.command("bench")(bench.bench)
app.add_typer(data.app, name="data")
app.command("train")(train.train)
app.command("tune")(tune.tune)
app.command("styles")(tune.styles)
app.add_typer(ctl.app, name="ctl")
app.add_typer(keys.app, name="keys")
app.add_typer(models.app, name="models")
app.add_typer(service.app, name="service")


_FULL = (errno.ENOSPC, errno.EDQUOT)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"lofid {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Options of ``lofid`` itself."""


def main() -> None:
    """Run the command line; what the user can mend ends as one sentence and exit code 1."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # as Python sets stderr: no sign is a failure
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        app()
    except LofidError as error:
        message = str(error)
    except OSError as error:
        if error.errno not in _FULL:
            raise
        message = "There is no space left where the answer should be written; make room there."
    else:
        return
    typer.echo(f"lofid: {message}", err=True)
    sys.exit(1)
