"""What the command line shows of others' text, and which numbers it takes."""

import io
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import typer
from rich.table import Table

from lofid.cli import app
from lofid.cli._terminal import ERR, OUT, LogFormatter, escaped

HOSTILE = "a\x1b]0;mine\x07\x1b[2Jb\x9bc\rd\u202ee\udc83"
SHOWN = r"a\x1b]0;mine\x07\x1b[2Jb\x9bc\rd\u202ee\udc83"


def test_what_a_terminal_would_obey_is_spelled_out() -> None:
    assert escaped(HOSTILE) == SHOWN
    assert escaped("two\nlines") == r"two\nlines"
    assert escaped("Étude 夜 №1 🎹") == "Étude 夜 №1 🎹"
    assert escaped(Path("x")) == "x"


def test_a_console_obeys_nothing_in_what_it_shows() -> None:
    shown = io.StringIO()
    assert type(OUT) is type(ERR)
    console = type(OUT)(file=shown)
    table = Table("one", box=None)
    table.add_row(HOSTILE.replace("[", "\\["))
    console.print(HOSTILE, markup=False, soft_wrap=True)
    console.print(table)
    console.print("[bold]ours[/bold]\nstays")
    assert shown.getvalue().count(r"\x1b]0;mine") == 2
    assert "ours\nstays" in shown.getvalue()
    assert not set(shown.getvalue()) & set("\x1b\x07\x9b\r\u202e\udc83")


def test_a_log_line_is_shown_so_too() -> None:
    record = logging.LogRecord("x", logging.WARNING, "x.py", 1, "file '%s'", (HOSTILE,), None)
    assert LogFormatter("%(message)s").format(record) == f"file '{SHOWN}'"


@pytest.mark.parametrize("columns", ["0", "1"])
def test_a_terminal_without_width_is_no_terminal(columns: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lofid", "presets"],
        env={**os.environ, "COLUMNS": columns, "LINES": "0"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert any(line.startswith("rain") and len(line) > 20 for line in done.stdout.splitlines())


def _floats(command: Any, name: str = "lofid") -> Iterator[Any]:
    """The parameters of all commands that take a number with a point."""
    for inner, found in getattr(command, "commands", {}).items():
        yield from _floats(found, f"{name} {inner}")
    hints = get_type_hints(command.callback) if command.callback else {}
    for parameter in command.params:
        if hints.get(parameter.name) in (float, float | None):
            yield pytest.param(command, parameter, id=f"{name} {parameter.name}")


@pytest.mark.parametrize("number", ["inf", "nan", "-inf", "1e999"])
@pytest.mark.parametrize(("command", "parameter"), [*_floats(typer.main.get_command(app))])
def test_only_finite_numbers_are_taken(command: Any, parameter: Any, number: str) -> None:
    with command.make_context("x", [], resilient_parsing=True) as context:
        context.resilient_parsing = False
        with pytest.raises(typer.BadParameter):
            parameter.process_value(context, number)
