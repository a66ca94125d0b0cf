"""Measure lofid on this machine: engines, writing, rendering, playing, memory, sameness.

python scripts/bench.py            # about ten minutes on two cores
python scripts/bench.py --only playing --only rendering
"""

import sys
import tempfile
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from lofid.errors import LofidError
from lofid.judge import bench
from lofid.judge.figures import Figure, publish


class Measurement(StrEnum):
    """What can be measured by itself."""

    ENGINES = "engines"
    PRECISION = "precision"
    WRITING = "writing"
    RENDERING = "rendering"
    PLAYING = "playing"
    SAMENESS = "sameness"
    SOAK = "soak"


def main(
    only: Annotated[
        list[Measurement] | None, typer.Option(help="Measure only this, repeatable.")
    ] = None,
    markdown: Annotated[Path | None, typer.Option(help="Also write the figures there.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, not a table.")] = False,
) -> None:
    """Print every figure beside its target."""
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as temporary:

        def fresh(name: str) -> Path:
            folder = Path(temporary, name)
            folder.mkdir()
            return folder

        measurements: dict[Measurement, Callable[[], list[Figure]]] = {
            Measurement.ENGINES: bench.engines,
            Measurement.PRECISION: bench.precision,
            Measurement.WRITING: bench.writing,
            Measurement.RENDERING: lambda: bench.rendering(fresh("rendering")),
            Measurement.PLAYING: bench.playing,
            Measurement.SAMENESS: lambda: bench.sameness(fresh("sameness")),
            Measurement.SOAK: lambda: bench.soak(fresh("soak")),
        }
        with Console(stderr=True).status("") as status:
            for name in only or measurements:
                status.update(f"Measuring {name} ...")
                figures += measurements[name]()
    publish(figures, "Benchmark", as_json=as_json, markdown=markdown)


if __name__ == "__main__":
    try:
        typer.run(main)
    except LofidError as error:
        sys.exit(f"bench: {error}")
