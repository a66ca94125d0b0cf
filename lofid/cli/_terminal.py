"""What the commands share: where they print, and as what."""

import json
import signal
from collections.abc import Callable
from types import FrameType
from typing import Annotated, Any, Self

import typer
from rich.console import Console

# Rich leaves colour out where NO_COLOR is set and where the output is no terminal.
OUT = Console()
"""Answers: what a person or a script asked for."""
ERR = Console(stderr=True)
"""Everything else: progress, status, remarks."""

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


def print_json(value: object) -> None:
    """Print plain data as JSON, for scripts: no colour, no wrapping, ASCII for any locale."""
    typer.echo(json.dumps(value, indent=2))


def remark(text: object) -> None:
    """Print a remark as the errors that end a command are printed; the command goes on."""
    ERR.print(f"lofid: {text}", highlight=False, markup=False, soft_wrap=True)


def in_words(value: object) -> str:
    """A parameter's value, as one would type it."""
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


Obeying = Callable[[int, FrameType | None], object]


def obey(number: signal.Signals, handler: Obeying) -> None:
    """Handle a signal, unless whoever started us has it ignored, as ``nohup`` does."""
    if signal.getsignal(number) is not signal.SIG_IGN:
        signal.signal(number, handler)


class StopRequest:
    """Turns Ctrl-C, SIGTERM and a hang-up into a wish that a loop can meet at a good moment.

    The first signal sets :attr:`wanted`; a second one interrupts at once, but for a hang-up, of
    which several may come for one reason. Use it as a context manager, in the main thread.
    """

    def __init__(self) -> None:
        self.wanted = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._before[number] = signal.getsignal(number)
            obey(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: object) -> None:
        if self.wanted and number != signal.SIGHUP:
            raise KeyboardInterrupt
        self.wanted = True
