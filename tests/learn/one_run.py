"""One small training run, for processes that tests start, watch and kill.

Run with ``runpy.run_path(..., init_globals={"ARGUMENTS": ...})``.
"""

import os
import resource
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.random import Generator, Philox

from lofid.errors import LofidError
from lofid.learn import run
from lofid.learn.configs import TrainSettings
from lofid.learn.sequences import Corpus, Span, TokenStream
from lofid.learn.train import Trainer
from lofid.rwkv.config import RwkvConfig
from lofid.tokens.vocabulary import Vocabulary

SETTINGS = TrainSettings(
    tokens=3072,
    batch=4,
    context=32,
    dropout=0.1,
    average=3,
    check_steps=4,
    warm_up=2,
    rate=2e-3,
)
VOCABULARY = Vocabulary("test", [("all", [str(number) for number in range(24)])])
SPANS = (Span("a", "even", 500, 150), Span("b", "odd", 240, 60), Span("c", "even", 660, 190))


def small_corpus() -> Corpus:
    """Noisy counting: a few tokens more than a pass of ten steps."""

    def stream(number: int) -> TokenStream:
        rng = Generator(Philox(key=[7, number]))
        tokens = ((np.arange(1400) + rng.integers(0, 2, 1400)) % 24).astype(np.int16)
        return TokenStream(tokens, tokens % 5 != 0, 400, SPANS)

    return Corpus(VOCABULARY, lambda number: stream(2 + number), stream(0), stream(1), ())


def small_trainer(
    out: Path, settings: TrainSettings = SETTINGS, width: int = 64, **more: Any
) -> Trainer:
    """A trainer of one layer in this process, or in those that the environment tells of."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    fabric = Fabric(accelerator="cpu", devices=count, strategy="ddp" if count > 1 else "auto")
    fabric.launch()
    shape = RwkvConfig(1, width, len(VOCABULARY))
    return Trainer(shape, small_corpus(), settings, out, fabric, **more)


def _limit(kind: int, limit: int) -> None:
    if kind == resource.RLIMIT_AS:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit += pages * resource.getpagesize()
    resource.setrlimit(kind, (limit, limit))


def main(
    out: Path,
    settings: TrainSettings = SETTINGS,
    environment: dict[str, str] | None = None,
    limits: dict[int, int] | None = None,
    steps: int | None = None,
    **more: Any,
) -> None:
    """Train in ``out``, as far as ``steps``; what goes wrong stands in ``out/error.txt``.

    ``limits`` are those of :mod:`resource`, from the first step on; one of memory counts from what
    is in use by then.
    """
    torch.set_num_threads(1)
    os.environ.update(environment or {})
    trainer = small_trainer(out, settings, **more)
    try:
        for _ in run.run(trainer, None, lambda: trainer.step == steps):
            while limits:
                _limit(*limits.popitem())
    except LofidError as error:
        (out / "error.txt").write_text(str(error))


if "ARGUMENTS" in globals():
    main(**globals()["ARGUMENTS"])
