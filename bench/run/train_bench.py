"""How fast ``lofid train`` is here: tokens/s, share of the time that waits for data, memory.

python -m bench.run.train_bench keys --data archives --threads 2
"""

import resource
import statistics
import tempfile
import time
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Annotated

import torch
import typer

from bench.script import run_script
from lofid.learn import run
from lofid.learn.configs import PlayerName, named

_WARM_UP = 5  # steps: compiling, filling caches


def main(
    player: PlayerName,
    data: Annotated[Path, typer.Option(help="Folder with the archives.")],
    config: Annotated[str, typer.Option(help="A named configuration.")] = "pocket",
    context: Annotated[int, typer.Option(min=1, help="Tokens of a lane.")] = 512,
    batch: Annotated[int, typer.Option(min=1, help="Lanes.")] = 4,
    accumulate: Annotated[int, typer.Option(min=1, help="Parts of a step.")] = 1,
    steps: Annotated[int, typer.Option(min=1, help="Steps that are measured.")] = 30,
    threads: Annotated[int, typer.Option(min=1, help="Of torch.")] = 2,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Train a few steps of a fresh run and print the figures."""
    torch.set_num_threads(threads)
    shape = named(config)
    settings = replace(shape.settings(player), context=context, batch=batch)
    # Drawing data is no part of training: it is done once, and so that it leaves no memory behind.
    run.open_corpus(player, data, settings, shape.form).stream(0)
    with tempfile.TemporaryDirectory() as out:
        fabric = run.open_fabric(settings, run.choose_device(device))
        corpus = run.open_corpus(player, data, settings, shape.form)
        trainer = run.open_trainer(shape, corpus, settings, Path(out), fabric, accumulate)
        taken = trainer.steps()
        next(taken)
        opened = trainer.data_seconds  # a pass is opened once
        list(islice(taken, _WARM_UP - 1))
        before, took = trainer.data_seconds, list[float]()
        begin = time.perf_counter()
        for _ in islice(taken, steps):
            took.append(time.perf_counter() - begin)
            begin = time.perf_counter()
    step = statistics.median(took)
    per_pass = len(corpus.stream(0).tokens) // settings.tokens_per_step
    waited = (trainer.data_seconds - before) / steps + opened / per_pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(
        f"{config} {player}, {batch} x {context}, {fabric.device}, "
        f"{threads} threads: {settings.tokens_per_step / step:,.0f} tokens/s (median of "
        f"{steps} steps), data {waited / step:.2%} of a step, peak memory {peak:.2f} GB"
    )
    if fabric.device.type == "cuda":
        print(f"GPU memory {torch.cuda.max_memory_allocated() / 1e9:.2f} GB")


if __name__ == "__main__":
    run_script("train_bench", main)
