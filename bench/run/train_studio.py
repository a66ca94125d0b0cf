"""The studio models on a GPU machine, in steps of a few minutes each; any step may be cut short.

Give the same command again until it says that all is done (it exits with 75 until then):
python -m bench.run.train_studio --data archives --out runs/studio --minutes 8

Data are drawn first, then the keys are trained, then the drums, each until its budget or its
patience ends. What is finished lies in OUT/studio-keys and OUT/studio-drums as shards of at most
16 MB, with the card that names data, licences and held-out losses.
"""

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from bench.script import run_script
from lofid.learn import run, shards
from lofid.learn.configs import PlayerName, TrainConfig, TrainSettings, named
from lofid.rwkv.weights import INDEX, SINGLE

UNFINISHED = 75  # EX_TEMPFAIL of sysexits.h
_LEAST_MINUTES = 1.0  # below which nothing new is begun


def main(
    data: Annotated[Path, typer.Option(help="Folder with the archives.")],
    out: Annotated[Path, typer.Option(help="Folder of the runs.")] = Path("runs/studio"),
    minutes: Annotated[float, typer.Option(help="Until a checkpoint and the end.")] = 8.0,
    config: Annotated[str, typer.Option(help="A named configuration.")] = "studio",
    tokens: Annotated[
        float | None, typer.Option(help="Budget of each model, instead of its own.")
    ] = None,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Lanes, instead of the configuration's.")
    ] = None,
    accumulate: Annotated[int, typer.Option(min=1, help="Parts of a step.")] = 1,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "cuda",
    workers: Annotated[int, typer.Option(min=1, help="That draw data.")] = os.cpu_count() or 1,
) -> None:
    """Do as much as the minutes allow; exit with 0 if all is done."""
    # Compiling is kept between the steps.
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(out.absolute() / "compiled"))
    ends = time.monotonic() + 60 * minutes
    shape = named(config)
    for player in PlayerName:
        folder = out / f"{config}-{player}"
        if (folder / INDEX).exists() or (folder / SINGLE).exists():
            continue
        own = shape.settings(player)
        settings = replace(own, tokens=int(tokens or own.tokens), batch=batch or own.batch)
        if not _trained(
            player, shape, settings, data, out / player, folder, accumulate, device, workers, ends
        ):
            print(f"{player}: not finished; the same command goes on.")
            raise typer.Exit(UNFINISHED)
    print(f"All is done: {out}/{config}-keys and -drums.")


def _trained(
    player: PlayerName,
    shape: TrainConfig,
    settings: TrainSettings,
    data: Path,
    out: Path,
    goal: Path,
    accumulate: int,
    device: str,
    workers: int,
    ends: float,
) -> bool:
    """Whether the model is finished and at ``goal``; otherwise the time is over."""

    def minutes_left() -> float:
        return (ends - time.monotonic()) / 60

    made = run.recipe(player, data, settings, shape.form)
    corpus = run.open_corpus(player, data, settings, shape.form)
    passes = range(-(-settings.tokens // len(corpus.stream(0).tokens)))
    for first in passes[:: 2 * workers]:
        some = passes[first : first + 2 * workers]
        for _ in shards.prepare(made, shards.default_folder(), some, workers):
            pass
        print(f"{player}: {some.stop} of {len(passes)} passes drawn, {minutes_left():.1f} min left")
        if minutes_left() < _LEAST_MINUTES:
            return False
    fabric = run.open_fabric(settings, run.choose_device(device))
    trainer = run.open_trainer(shape, corpus, settings, out, fabric, accumulate)
    begun, before = time.monotonic(), trainer.step
    for progress in run.run(trainer, minutes_left(), sample_steps=10 * settings.check_steps):
        if progress.held_out is None:
            continue
        speed = (progress.step - before) * settings.tokens_per_step / (time.monotonic() - begun)
        print(
            f"{player}: step {progress.step} of {trainer.last_step}, loss {progress.train:.3f}, "
            f"held-out {progress.held_out_per_token:.3f} a token, {progress.held_out:.3f} a note, "
            f"best at {trainer.best[0]}, {speed:,.0f} tokens/s",
            flush=True,
        )
    if trainer.step < trainer.last_step:
        return False
    result = run.report(trainer, run.baselines(corpus))
    run.export(trainer, result, goal)
    print(f"{player}: {result}")
    return True


if __name__ == "__main__":
    run_script("train_studio", main)
