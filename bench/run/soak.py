"""Play for a long time and measure: bars, memory, descriptors; frame by frame in real time.

python -m bench.run.soak                            # 24 hours of music, as fast as the machine can
python -m bench.run.soak --hours 2
python -m bench.run.soak --real-time --minutes 30   # every core busy, through JACK
"""

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from bench import soak
from bench.script import run_script
from lofid.judge.figures import publish


def main(
    hours: Annotated[float, typer.Option(min=0.01, help="Of music, on the virtual clock.")] = 24.0,
    real_time: Annotated[
        bool, typer.Option("--real-time", help="Through JACK while every core is busy.")
    ] = False,
    minutes: Annotated[float, typer.Option(min=0.1, help="Of music, with --real-time.")] = 30.0,
    preset: Annotated[str, typer.Option(help="What is played.")] = "study",
    output: Annotated[
        list[str] | None, typer.Option(help="Outputs besides, such as file:day.mp3.")
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(help="Also draw the course of memory there.")
    ] = None,
    markdown: Annotated[Path | None, typer.Option(help="Also write the figures there.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, not a table.")] = False,
) -> None:
    """Print every figure beside its target; exit with 1 where one is missed."""
    options = ["--preset", preset, "--seed", "1"]
    for spec in output or []:
        options += ["--output", spec]
    run, length = (soak.real_time, minutes) if real_time else (soak.virtual, hours)
    with tempfile.TemporaryDirectory(prefix="lofid-") as folder:
        figures = run(Path(folder), length, options, picture)
    if not publish(figures, "Soak", as_json=as_json, markdown=markdown):
        raise typer.Exit(1)


if __name__ == "__main__":
    run_script("soak", main)
