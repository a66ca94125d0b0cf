"""Do bad things to a real daemon and measure what is heard.

python -m bench.run.chaos                    # all of it, about 40 minutes
python -m bench.run.chaos writer --times 20
"""

import random
import tempfile
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bench import chaos
from bench.script import run_script
from lofid.judge.figures import Figure, publish


class Attack(StrEnum):
    """What is done to the daemon."""

    WRITER = "writer"
    DAEMON = "daemon"
    CONTROLS = "controls"
    MIX = "mix"
    SIEGE = "siege"


_Run = Callable[[Path, int, random.Random], list[Figure]]


def _siege(folder: Path, times: int, chance: random.Random) -> list[Figure]:
    whole = chaos.Siege()
    share = times / whole.subscribers
    siege = chaos.Siege(
        times, round(whole.messages * share), strangers=round(whole.strangers * share)
    )
    return chaos.besieged(folder, siege, chance)


RUNS: dict[Attack, tuple[_Run, int]] = {
    Attack.WRITER: (chaos.writer_killed, 200),
    Attack.DAEMON: (chaos.daemon_killed, 100),
    Attack.CONTROLS: (chaos.musical_controls, 200),
    Attack.MIX: (chaos.mix_controls, 200),
    Attack.SIEGE: (_siege, chaos.Siege().subscribers),
}


def main(
    trials: Annotated[list[Attack] | None, typer.Argument(help="Which; default: all.")] = None,
    times: Annotated[
        int | None,
        typer.Option(min=1, help="How often; of the siege, how many listeners, the rest in step."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Where the random moments come from.")] = 1,
    markdown: Annotated[Path | None, typer.Option(help="Also write the figures there.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, not a table.")] = False,
) -> None:
    """Print every figure beside its target; exit with 1 where one is missed."""
    figures: list[Figure] = []
    with Console(stderr=True).status("") as status:
        for trial in trials or RUNS:
            run, usual = RUNS[trial]
            count = times or usual
            status.update(f"{trial}: {count} times ...")
            with tempfile.TemporaryDirectory(prefix="lofid-") as folder:
                figures += run(Path(folder), count, random.Random(seed))
    if not publish(figures, "Chaos", as_json=as_json, markdown=markdown):
        raise typer.Exit(1)


if __name__ == "__main__":
    run_script("chaos", main)
