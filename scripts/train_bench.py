"""How fast ``lofid train`` is here: tokens/s, share of the time that waits for data, memory.

python scripts/train_bench.py keys --data archives --threads 2
"""

import argparse
import resource
import statistics
import tempfile
import time
from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch

from lofid.errors import LofidError
from lofid.learn import run
from lofid.learn.configs import CONFIGS, PlayerName, named

_WARM_UP = 5  # steps: compiling, filling caches


def main() -> None:
    """Train a few steps of a fresh run and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("player", type=PlayerName, choices=list(PlayerName))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--config", default="pocket", choices=list(CONFIGS))
    parser.add_argument("--context", type=int, default=512)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--accumulate", type=int, default=1)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="auto")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    config = named(given.config)
    settings = replace(config.settings(given.player), context=given.context, batch=given.batch)
    # Drawing data is no part of training: it is done once, and so that it leaves no memory behind.
    run.open_corpus(given.player, given.data, settings, config.form).stream(0)
    with tempfile.TemporaryDirectory() as out:
        fabric = run.open_fabric(settings, run.choose_device(given.device))
        corpus = run.open_corpus(given.player, given.data, settings, config.form)
        trainer = run.open_trainer(config, corpus, settings, Path(out), fabric, given.accumulate)
        steps = trainer.steps()
        next(steps)
        opened = trainer.data_seconds  # a pass is opened once
        list(islice(steps, _WARM_UP - 1))
        before, took = trainer.data_seconds, list[float]()
        begin = time.perf_counter()
        for _ in islice(steps, given.steps):
            took.append(time.perf_counter() - begin)
            begin = time.perf_counter()
    step = statistics.median(took)
    per_pass = len(corpus.stream(0).tokens) // settings.tokens_per_step
    data = (trainer.data_seconds - before) / given.steps + opened / per_pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(
        f"{given.config} {given.player}, {given.batch} x {given.context}, {fabric.device}, "
        f"{given.threads} threads: {settings.tokens_per_step / step:,.0f} tokens/s (median of "
        f"{given.steps} steps), data {data / step:.2%} of a step, peak memory {peak:.2f} GB"
    )
    if fabric.device.type == "cuda":
        print(f"GPU memory {torch.cuda.max_memory_allocated() / 1e9:.2f} GB")


if __name__ == "__main__":
    try:
        main()
    except LofidError as error:
        raise SystemExit(str(error)) from None
