"""Measure ``lofid`` as somebody runs it: writing, rendering, playing, serving, sameness, memory.

python -m bench.run.processes                     # all of it, about ten minutes
python -m bench.run.processes serving
"""

import tempfile
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bench import processes
from bench.script import run_script
from lofid.judge.figures import Figure, publish


class ProcessMeasurement(StrEnum):
    """What can be measured by itself."""

    WRITING = "writing"
    RENDERING = "rendering"
    PLAYING = "playing"
    SERVING = "serving"
    SAMENESS = "sameness"
    SOAK = "soak"


RUNS: dict[ProcessMeasurement, Callable[[Path], list[Figure]]] = {
    ProcessMeasurement.WRITING: lambda _: processes.writing(),
    ProcessMeasurement.RENDERING: processes.rendering,
    ProcessMeasurement.PLAYING: lambda _: processes.playing(),
    ProcessMeasurement.SERVING: processes.serving,
    ProcessMeasurement.SAMENESS: processes.sameness,
    ProcessMeasurement.SOAK: processes.soak,
}


def main(
    what: Annotated[
        list[ProcessMeasurement] | None, typer.Argument(help="Which; default: all.")
    ] = None,
    markdown: Annotated[Path | None, typer.Option(help="Also write the figures there.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, not a table.")] = False,
) -> None:
    """Print every figure beside its target; exit with 1 where one is missed."""
    figures: list[Figure] = []
    with Console(stderr=True).status("") as status:
        for one in what or RUNS:
            status.update(f"{one} ...")
            with tempfile.TemporaryDirectory(prefix="lofid-") as folder:
                figures += RUNS[one](Path(folder))
    if not publish(figures, "Processes", as_json=as_json, markdown=markdown):
        raise typer.Exit(1)


if __name__ == "__main__":
    run_script("processes", main)
