"""How processes of lofid's own are started, and how they end."""

import os
import signal
import sys
from typing import Final

INTERRUPTED: Final = 130
"""Exit code after Ctrl-C, as shells give it (128 + SIGINT)."""


def python_module(module: str) -> list[str]:
    """The command that runs a module of this very environment, and of no other place.

    ``-P`` keeps what lies in the working folder from being taken for it, or for what it imports.
    """
    return [sys.executable, "-P", "-m", module]


def leave_signals_to_parent() -> None:
    """Let no signal end this process: whoever started it ends it, in its own order."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def keep_working_folder_out() -> None:
    """Let no Python that is started from here on look for modules in the working folder."""
    os.environ["PYTHONSAFEPATH"] = "1"  # for the workers of a pool, whose command is not ours
