"""What the commands share: where they print, and as what."""

import json
import logging
import math
import signal
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Annotated, Any, Final, Self

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

_LAYOUT: Final = "\n\t\xa0"
"""What lays out our own texts; all else that is no visible sign is spelled out."""
_LEAST_WIDTH, _USUAL_WIDTH = 20, 80


def escaped(text: object) -> str:
    r"""Text that may come from elsewhere as it can be shown on one line.

    Names of files, descriptions and cards may hold signs that a terminal obeys; they are spelled
    out (``\x1b``), and so are bytes of a file's name that are no text.
    """
    return _visible(str(text), "")


def _visible(text: str, layout: str) -> str:
    if text.isprintable():
        return text
    return "".join(
        sign if sign.isprintable() or sign in layout else sign.encode("unicode_escape").decode()
        for sign in text
    )


class _Console(Console):
    """A console that shows what is printed and obeys nothing in it."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                yield Segment(_visible(segment.text, _LAYOUT), segment.style)


class LogFormatter(logging.Formatter):
    """Log lines as they may be shown: a message is one line, whatever it quotes."""

    def format(self, record: logging.LogRecord) -> str:
        """The record's line; the lines of a traceback follow."""
        return _visible(super().format(record), _LAYOUT)


def _console(*, stderr: bool) -> Console:
    """A console; where nothing could be seen, as with ``COLUMNS=0``, it has the usual width."""
    console = _Console(stderr=stderr)
    if console.width < _LEAST_WIDTH:
        console.width = _USUAL_WIDTH
    return console


# Rich leaves colour out where NO_COLOR is set and where the output is no terminal.
OUT = _console(stderr=False)
"""Answers: what a person or a script asked for."""
ERR = _console(stderr=True)
"""Everything else: progress, status, remarks."""

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


def print_json(value: object) -> None:
    """Print plain data as JSON, for scripts: no colour, no wrapping, ASCII for any locale."""
    typer.echo(json.dumps(value, indent=2))


def remark(text: object) -> None:
    """Print a remark as the errors that end a command are printed; the command goes on."""
    ERR.print(f"lofid: {escaped(text)}", highlight=False, markup=False, soft_wrap=True)


def finite(value: float | None) -> float | None:
    """A callback for options: ``inf`` and ``nan`` are numbers for Python, but not for a person."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter("it must be a finite number.")
    return value


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
