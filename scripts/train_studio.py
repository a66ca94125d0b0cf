"""The studio models on a GPU machine, in steps of a few minutes each; any step may be cut short.

Give the same command again until it says that all is done (it exits with 75 until then):
python scripts/train_studio.py --data archives --out runs/studio --minutes 8

Data are drawn first, then the keys are trained, then the drums, each until its budget or its
patience ends. What is finished lies in OUT/studio-keys and OUT/studio-drums as shards of at most
16 MB, with the card that names data, licences and held-out losses.
"""

import argparse
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

from lofid.errors import LofidError
from lofid.learn import run, shards
from lofid.learn.configs import PlayerName, TrainConfig, TrainSettings, named
from lofid.rwkv.weights import INDEX, SINGLE

UNFINISHED = 75  # EX_TEMPFAIL of sysexits.h
_LEAST_MINUTES = 1.0  # below which nothing new is begun


def main() -> int:
    """Do as much as the minutes allow; 0 if all is done."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/studio"))
    parser.add_argument("--minutes", type=float, default=8.0, help="until a checkpoint and the end")
    parser.add_argument("--config", default="studio")
    parser.add_argument("--tokens", type=float, help="budget of each model, instead of its own")
    parser.add_argument("--batch", type=int, help="lanes, instead of the configuration's")
    parser.add_argument("--accumulate", type=int, default=1)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="that draw data")
    arguments = parser.parse_args()
    # Compiling is kept between the steps.
    cache = arguments.out.absolute() / "compiled"
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache))
    ends = time.monotonic() + 60 * arguments.minutes
    config = named(arguments.config)
    for player in PlayerName:
        folder = arguments.out / f"{arguments.config}-{player}"
        if (folder / INDEX).exists() or (folder / SINGLE).exists():
            continue
        if not _trained(player, config, arguments, ends):
            print(f"{player}: not finished; the same command goes on.")
            return UNFINISHED
    print(f"All is done: {arguments.out}/{arguments.config}-keys and -drums.")
    return 0


def _settings(config: TrainConfig, player: PlayerName, given: argparse.Namespace) -> TrainSettings:
    settings = config.settings(player)
    return replace(
        settings,
        tokens=int(given.tokens or settings.tokens),
        batch=given.batch or settings.batch,
    )


def _trained(
    player: PlayerName, config: TrainConfig, arguments: argparse.Namespace, ends: float
) -> bool:
    """Whether the model is finished; otherwise the time is over."""

    def minutes_left() -> float:
        return (ends - time.monotonic()) / 60

    settings = _settings(config, player, arguments)
    made = run.recipe(player, arguments.data, settings, config.form)
    corpus = run.open_corpus(player, arguments.data, settings, config.form)
    passes = range(-(-settings.tokens // len(corpus.stream(0).tokens)))
    for first in passes[:: 2 * arguments.workers]:
        some = passes[first : first + 2 * arguments.workers]
        for _ in shards.prepare(made, shards.default_folder(), some, arguments.workers):
            pass
        print(f"{player}: {some.stop} of {len(passes)} passes drawn, {minutes_left():.1f} min left")
        if minutes_left() < _LEAST_MINUTES:
            return False
    fabric = run.open_fabric(settings, run.choose_device(arguments.device))
    trainer = run.open_trainer(
        config, corpus, settings, arguments.out / player, fabric, arguments.accumulate
    )
    begun, before = time.monotonic(), trainer.step
    for progress in run.run(trainer, minutes_left(), sample_steps=10 * settings.check_steps):
        if progress.held_out is None:
            continue
        speed = (progress.step - before) * settings.tokens_per_step / (time.monotonic() - begun)
        print(
            f"{player}: step {progress.step} of {trainer.last_step}, loss {progress.train:.3f}, "
            f"held-out {progress.held_out:.3f} a token, {progress.held_out_per_note:.3f} a note, "
            f"best at {trainer.best[0]}, {speed:,.0f} tokens/s",
            flush=True,
        )
    if trainer.step < trainer.last_step:
        return False
    result = run.report(trainer, run.baselines(corpus))
    run.export(trainer, result, arguments.out / f"{arguments.config}-{player}")
    print(f"{player}: {result}")
    return True


if __name__ == "__main__":
    try:
        sys.exit(main())
    except LofidError as error:
        sys.exit(str(error))
