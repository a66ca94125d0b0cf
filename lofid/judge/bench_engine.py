"""How fast a pair of models is beside two of the PyPI ``rwkv`` package on the same weights.

Needs torch and ``rwkv``, which playing never does. Weights are random: speed does not depend on
them.
"""

import importlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lofid.rwkv.config import RwkvConfig
from lofid.rwkv.cpu import CpuEngine, Storage
from lofid.rwkv.state import State
from lofid.rwkv.weights import Tensors, tensor_shapes

_BAR = 64  # tokens between two meetings of the threads, about those of one bar


@dataclass(frozen=True, slots=True)
class PairResult:
    """Medians of one run; a pair is one token of each model."""

    engine: str
    pair_ms: float
    package_pair_ms: float

    @property
    def ratio(self) -> float:
        """How many times faster we are."""
        return self.package_pair_ms / self.pair_ms


def measure_pair(
    keys: RwkvConfig, drums: RwkvConfig, storage: Storage = "int8", rounds: int = 30
) -> PairResult:
    """Time both, taking turns, so that whatever else the machine does hits both alike.

    Ours: one Python thread a model, token by token, meeting after every bar. The package: cpu
    fp32, one model after the other on one thread. Two intra-op threads on two cores would slow it
    down. ``rounds`` bars are timed of each, after one that is not.
    """
    configs = (keys, drums)
    weights = [_random_weights(config, seed) for seed, config in enumerate(configs)]
    engines = [CpuEngine(c, w, storage) for c, w in zip(configs, weights, strict=True)]
    players = [_player(engine) for engine in engines]
    others = [_package_player(c, w) for c, w in zip(configs, weights, strict=True)]

    def together(threads: ThreadPoolExecutor) -> None:
        for future in [threads.submit(player) for player in players]:
            future.result()

    def in_turn() -> None:
        for player in others:
            player()

    ours, theirs = [], []
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(len(players)) as threads:
            together(threads)
            in_turn()
            for _ in range(rounds):
                ours.append(_milliseconds(lambda: together(threads)))
                theirs.append(_milliseconds(in_turn))
    finally:
        torch.set_num_threads(before)
    return PairResult(
        engines[0].name, statistics.median(ours) / _BAR, statistics.median(theirs) / _BAR
    )


def _milliseconds(action: Callable[[], None]) -> float:
    start = time.perf_counter()
    action()
    return 1000 * (time.perf_counter() - start)


def _random_weights(config: RwkvConfig, seed: int) -> Tensors:
    rng = np.random.Generator(np.random.Philox(seed))
    tensors: Tensors = {}
    for name, shape in tensor_shapes(config).items():
        spread = 0.05 if len(shape) > 1 else 0.1
        centre = -4.0 if name.endswith("time_decay") else float(len(shape) == 1)
        tensors[name] = np.float32(centre) + np.float32(spread) * rng.standard_normal(
            shape, np.float32
        )
    return tensors


def _bar_of_tokens(config: RwkvConfig) -> list[int]:
    rng = np.random.Generator(np.random.Philox(1))
    return [int(token) for token in rng.integers(config.vocabulary, size=_BAR)]


def _player(engine: CpuEngine) -> Callable[[], None]:
    """A function that advances ``engine`` by a bar, token by token."""
    state, tokens = State.zero(engine.config), _bar_of_tokens(engine.config)

    def play() -> None:
        for token in tokens:
            engine.forward([token], state)

    return play


def _package_player(config: RwkvConfig, weights: Tensors) -> Callable[[], None]:
    """The same with the ``rwkv`` package in its default way of working."""
    os.environ.setdefault("RWKV_V7_ON", "0")
    package = importlib.import_module("rwkv.model")
    with tempfile.TemporaryDirectory() as folder:
        copies = {name: torch.from_numpy(tensor.copy()) for name, tensor in weights.items()}
        torch.save(copies, Path(folder, "model.pth"))
        model = package.RWKV(model=str(Path(folder, "model")), strategy="cpu fp32", verbose=False)
    tokens = _bar_of_tokens(config)
    state: Any = None

    def play() -> None:
        nonlocal state
        for token in tokens:
            _, state = model.forward([token], state)

    return play
