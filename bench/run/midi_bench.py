"""Measure how punctual live MIDI is: 10,000 messages through rtmidi and through JACK.

python -m bench.run.midi_bench                  # two minutes
python -m bench.run.midi_bench --messages 2000
"""

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from bench import punctuality
from bench.script import run_script
from lofid.judge.figures import publish


def main(
    messages: Annotated[int, typer.Option(min=200, help="How many, through each.")] = 10_000,
    markdown: Annotated[Path | None, typer.Option(help="Also write the figures there.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, not a table.")] = False,
) -> None:
    """Print every figure beside its target; exit with 1 where one is missed."""
    with tempfile.TemporaryDirectory(prefix="lofid-") as folder:
        figures = punctuality.figures(Path(folder), messages)
    if not publish(figures, "MIDI", as_json=as_json, markdown=markdown):
        raise typer.Exit(1)


if __name__ == "__main__":
    run_script("midi_bench", main)
