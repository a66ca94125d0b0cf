"""What the commands share: where they print, and as what."""

import json
from typing import Annotated

import typer
from rich.console import Console

# Rich leaves colour out where NO_COLOR is set and where the output is no terminal.
OUT = Console()
"""Answers: what a person or a script asked for."""
ERR = Console(stderr=True)
"""Everything else: progress, status, remarks."""

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


def print_json(value: object) -> None:
    """Print plain data as JSON, for scripts: no colour, no wrapping."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))
