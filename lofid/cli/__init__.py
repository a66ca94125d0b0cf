"""The command line: one file per command, each thin.

Everything here may be imported without numba or FluidSynth: a command loads what it
uses when it runs, so that ``lofid --help`` answers at once and music starts early.
"""

import errno
import io
import os
import sys
from typing import Annotated, cast

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
from lofid.cli._terminal import escaped
from lofid.errors import LofidError
from lofid.files import path_as_text
from lofid.processes import keep_working_folder_out

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
_NO_PLACE = (
    errno.EACCES,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.ENOTDIR,
    errno.EPERM,
    errno.EROFS,
)
"""What the system says of a path that somebody named, wherever it is looked at first."""

# Typer's own name for it has changed; everything that is wrong in a command line is one.
_UsageError = cast(type[typer.BadParameter], typer.BadParameter.__mro__[1])


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
    """Run the command line; what the user can mend ends as one sentence and exit code 1.

    Where the command line itself is wrong, that is said in one line, and the code is 2.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # as Python sets stderr: no sign is a failure
        sys.stdout.reconfigure(errors="backslashreplace")
    keep_working_folder_out()
    code = 1
    try:
        sys.exit(app(standalone_mode=False))
    except _UsageError as error:
        message, code = _usage(error), error.exit_code
    except LofidError as error:
        message = str(error)
    except OSError as error:
        if error.errno in _FULL:
            message = "There is no space left where the answer should be written; make room there."
        elif error.errno in _NO_PLACE and error.filename is not None:
            place = path_as_text(os.fsdecode(error.filename))
            message = f"'{place}' cannot be used ({error.strerror}); choose another place."
        else:
            raise
    if message:
        typer.echo(f"lofid: {escaped(message)}", err=True)
    sys.exit(code)


def _usage(error: typer.BadParameter) -> str:
    """What is wrong in the command line; nothing where its help was shown instead."""
    said = " ".join(error.format_message().split())
    if said and error.ctx is not None:
        said += "" if said.endswith((".", "?")) else "."
        said += f" See '{error.ctx.command_path} --help'."
    return said
