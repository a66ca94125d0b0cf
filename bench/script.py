"""How a script that measures is run: its options, its errors, and its end by a signal."""

import signal
import sys
from collections.abc import Callable

import typer

from lofid.errors import LofidError


def run_script(name: str, main: Callable[..., None]) -> None:
    """Run ``main`` with the options of the command line; a LofidError is one sentence, exit 1.

    SIGTERM ends it as Ctrl-C does, so that the processes which it started are ended, too.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        typer.run(main)
    except LofidError as error:
        sys.exit(f"{name}: {error}")
