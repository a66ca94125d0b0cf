"""How fast engines are beside one another, beside PyPI's ``rwkv`` and beside the memory itself.

All take turns in one run, so that whatever else the machine does hits all alike. Who needs torch or
``rwkv`` and does not find it is left out, with a sentence. Knows nothing of music but what a bar
costs.
"""

import importlib
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from lofid.compiled import compiled
from lofid.errors import LofidError
from lofid.judge.figures import Figure, Target
from lofid.judge.player_view import player_python
from lofid.learn.shards import prepared_corpus
from lofid.rwkv.choice import EngineName, choose, open_engine
from lofid.rwkv.config import RwkvConfig, sized
from lofid.rwkv.cpu import STORAGES, CpuEngine, Storage
from lofid.rwkv.engine import Engine
from lofid.rwkv.shipped import shipped_model
from lofid.rwkv.state import ModelState
from lofid.rwkv.weights import Model, ModelCard, Tensors, save_model, tensor_shapes
from lofid.tokens import drums, keys

BAR_TOKENS: Final = 100
"""Tokens of each model that a bar is counted as: written bars take 60 to 150."""
BAR_SECONDS: Final = 3.0
"""What a bar lasts at 80 beats a minute."""
BATCH: Final = 8

_TURN = 0.25
"""Seconds after which the next one has its turn."""
_WARM: Final = 3
_VOCABULARIES = {"keys": keys.VOCABULARY, "drums": drums.VOCABULARY}

Progress = Callable[[str, float], None]
"""Hears what is done now and how much of all is done, 0 to 1."""


def shipped_pair() -> tuple[Model, ...]:
    """The models that come with lofid, keys and drums."""
    return tuple(
        shipped_model(f"pocket-{name}", vocabulary.hash)
        for name, vocabulary in _VOCABULARIES.items()
    )


def random_pair(size: str) -> tuple[Model, ...]:
    """Models of a named size with random weights: speed does not depend on them."""
    models = []
    for seed, vocabulary in enumerate(_VOCABULARIES.values()):
        config = sized(size, len(vocabulary))
        card = ModelCard(config, vocabulary.name, vocabulary.hash, 0, seed)
        models.append(Model(card, _random_weights(config, seed)))
    return tuple(models)


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


@dataclass
class Contestant:
    """One way to run the pair, and the times that it has shown so far, in seconds.

    ``steps`` advance one model, keys then drums, by a token. With ``apart`` each has a thread of
    its own; else they follow each other. ``batch`` advances the first by one token of ``BATCH``
    streams. ``floor`` reads the same bytes of weights as the first step, and does nothing else.
    """

    name: str
    steps: Sequence[Callable[[], object]]
    apart: bool = False
    batch: Callable[[], object] | None = None
    floor: Callable[[], object] | None = None
    size: int = 0
    single_times: list[float] = field(default_factory=list)
    pair_times: list[float] = field(default_factory=list)
    batch_times: list[float] = field(default_factory=list)
    floor_times: list[float] = field(default_factory=list)

    @property
    def summary(self) -> tuple[float, float, float | None]:
        """Milliseconds of a token: median, 99th percentile, the memory's floor if it has one."""
        floor = 1e3 * statistics.median(self.floor_times) if self.floor_times else None
        single = self.single_times
        return 1e3 * statistics.median(single), 1e3 * _percentile(single, 99), floor

    def turn(self, threads: ThreadPoolExecutor, seconds: float) -> None:
        """Measure each of its times for about so long."""
        first = self.steps[0]
        self.single_times += _timed(first, seconds)
        if self.floor:
            self.floor_times += _timed(self.floor, seconds / 2)
        if self.batch:
            self.batch_times += _timed(self.batch, seconds / 2)
        count = max(2, round(seconds / (2 * statistics.median(self.single_times))))
        start = time.perf_counter()
        if self.apart:
            for done in [threads.submit(_repeated, step, count) for step in self.steps]:
                done.result()
        else:
            for step in self.steps:
                _repeated(step, count)
        self.pair_times.append((time.perf_counter() - start) / count)


def _timed(step: Callable[[], object], seconds: float) -> list[float]:
    """The times of single calls, at least two, for about so long."""
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 2 or time.perf_counter() < end:
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return times


def _repeated(step: Callable[[], object], count: int) -> None:
    for _ in range(count):
        step()


@compiled()
def _read(words: Any) -> Any:
    """The sum of 64-bit words: as fast as one thread can read them."""
    total = np.uint64(0)
    for i in range(words.size):
        total += words[i]
    return total


def _step(engine: Engine) -> Callable[[], object]:
    state = ModelState.zero(engine.config)
    rng = np.random.Generator(np.random.Philox(1))
    tokens = rng.integers(engine.config.vocabulary, size=64).tolist()
    place = 0

    def step() -> None:
        nonlocal place
        place = (place + 1) % len(tokens)
        engine.forward(tokens[place : place + 1], state)

    return step


def _batch_step(engine: Engine) -> Callable[[], object]:
    states = [ModelState.zero(engine.config) for _ in range(BATCH)]
    tokens = [stream % engine.config.vocabulary for stream in range(BATCH)]
    return lambda: engine.forward_batch(tokens, states)


def _cpu(models: Sequence[Model], storage: Storage) -> Contestant:
    engines = [CpuEngine(model.card.config, model.tensors, storage) for model in models]
    size = engines[0].weight_bytes
    words = np.random.Generator(np.random.Philox(2)).integers(
        2**63, size=size // 8, dtype=np.uint64
    )
    return Contestant(
        engines[0].name,
        [_step(engine) for engine in engines],
        apart=True,
        batch=_batch_step(engines[0]),
        floor=lambda: _read(words),
        size=size,
    )


def _other(name: EngineName, models: Sequence[Model]) -> Contestant:
    engines = [open_engine(name, model) for model in models]
    return Contestant(
        engines[0].name, [_step(engine) for engine in engines], batch=_batch_step(engines[0])
    )


PACKAGE: Final = "rwkv package, cpu fp32"


def _package(models: Sequence[Model]) -> Contestant:
    """The ``rwkv`` package in its default way of working."""
    import torch  # noqa: PLC0415 - playing never does, and so this must not need it

    os.environ.setdefault("RWKV_V7_ON", "0")
    package = importlib.import_module("rwkv.model")
    steps: list[Callable[[], object]] = []
    for model in models:
        with tempfile.TemporaryDirectory() as folder:
            copies = {name: torch.from_numpy(t.copy()) for name, t in model.tensors.items()}
            torch.save(copies, Path(folder, "model.pth"))
            theirs = package.RWKV(
                model=str(Path(folder, "model")), strategy="cpu fp32", verbose=False
            )
        state: list[Any] = [None]

        def step(theirs: Any = theirs, state: list[Any] = state) -> None:
            _, state[0] = theirs.forward([1], state[0])

        steps.append(step)
    return Contestant(PACKAGE, steps)


def contestants(models: Sequence[Model]) -> tuple[list[Contestant], list[str]]:
    """Everyone who can run the models here, and sentences about who cannot."""
    found = [_cpu(models, storage) for storage in ("int8", "bf16", "fp32")]
    remarks: list[str] = []
    gpu = choose(EngineName.TRITON, [model.card.config for model in models])
    if gpu.engine is EngineName.TRITON:
        found.append(_other(EngineName.TRITON, models))
    else:
        remarks.append(f"The Triton engine is left out: {gpu.reason}.")
    others: dict[str, Callable[[], Contestant]] = {
        "The plain torch loop": lambda: _other(EngineName.TORCH, models),
        "PyPI's rwkv": lambda: _package(models),
    }
    for what, make in others.items():
        try:
            found.append(make())
        except ModuleNotFoundError as error:
            remarks.append(
                f"{what} is left out: '{error.name}' is not installed; get what is compared with: "
                "pip install 'lofid[report,train]' rwkv."
            )
    return found, remarks


def compete(
    everyone: Sequence[Contestant], rounds: int, progress: Progress, turn: float = _TURN
) -> None:
    """Measure all of them, taking turns; nobody else may use torch's threads meanwhile."""
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch else 1
    if torch:
        torch.set_num_threads(1)  # two on two cores are slower than one
    try:
        with ThreadPoolExecutor(2) as threads:
            for one in everyone:
                for step in (*one.steps, one.floor, one.batch):
                    if step:
                        _repeated(step, _WARM)
            for done in range(rounds):
                for place, one in enumerate(everyone):
                    progress(one.name, (done + place / len(everyone)) / rounds)
                    one.turn(threads, turn)
    finally:
        if torch:
            torch.set_num_threads(before)


def engine_figures(everyone: Sequence[Contestant], studio: bool) -> list[Figure]:
    """What was measured, a group for each; targets are those of models of the studio's size."""
    package = next((one for one in everyone if one.name == PACKAGE), None)
    figures: list[Figure] = []
    for one in everyone:
        group = f"Engine {one.name}" if one is not package else f"The {PACKAGE}"
        single, pair = statistics.median(one.single_times), statistics.median(one.pair_times)
        how = "a thread each" if one.apart else "one after the other"
        figures += [
            Figure(group, "a token of the keys, median", 1e3 * single, "ms"),
            Figure(group, "99th percentile", 1e3 * _percentile(one.single_times, 99), "ms"),
            Figure(group, "tokens a second", 1 / single),
            Figure(group, "a token of both models", 1e3 * pair, "ms", note=how),
            Figure(
                group,
                "a bar",
                1e3 * BAR_TOKENS * pair,
                "ms",
                note=f"{BAR_TOKENS} tokens of both models",
            ),
            Figure(
                group,
                "of real time",
                BAR_SECONDS / (BAR_TOKENS * pair),
                "x",
                note=f"a bar lasts {BAR_SECONDS:g} s",
            ),
        ]
        if one.batch_times:
            batch = statistics.median(one.batch_times)
            streams = BATCH / batch * BAR_SECONDS / BAR_TOKENS
            note = f"{BATCH} at a time; of the keys, on one thread"
            figures.append(Figure(group, "streams in real time", streams, note=note))
        if one.floor_times:
            floor = statistics.median(one.floor_times)
            figures += [
                Figure(group, "weights", one.size / 1e6, "MB", note="read for each token"),
                Figure(
                    group,
                    "reading them alone",
                    1e3 * floor,
                    "ms",
                    note=f"the memory's floor, one thread, {one.size / floor / 1e9:.1f} GB/s",
                ),
                Figure(
                    group, "of that floor", single / floor, "x", Target(high=2) if studio else None
                ),
            ]
        if package and one.apart:
            theirs = statistics.median(package.single_times)
            their_pair = statistics.median(package.pair_times)
            # What is asked of the fastest: int8.
            asked = one is everyone[0]
            low = (6.0, 10.0) if studio else (None, 15.0)
            figures += [
                Figure(
                    group,
                    f"{what} than the rwkv package",
                    ratio,
                    "x",
                    Target(low=least) if asked and least else None,
                )
                for what, ratio, least in (
                    ("one model faster", theirs / single, low[0]),
                    ("both faster", their_pair / pair, low[1]),
                )
            ]
    return figures


def _percentile(times: Sequence[float], share: float) -> float:
    return float(np.percentile(np.asarray(times), share))


def start_up(models: Sequence[Model], runs: int = 5) -> list[Figure]:
    """From the start of a process to the first token of the keys, caches warm, and its memory.

    Of somebody who has installed what playing needs, and no more.
    """
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as folder:
        python = player_python(Path(folder, "python"))
        path = Path(folder, "keys.safetensors")
        save_model(path, models[0])
        for storage in STORAGES[::-1]:
            found = [_started(python, path, storage) for _ in range(runs + 1)][1:]
            group = f"Starting cpu-{storage}"
            figures.append(
                Figure(
                    group,
                    "first token",
                    statistics.median(seconds for seconds, _ in found),
                    "s",
                    Target(high=0.5),
                    note="from the start of the process, caches warm, median",
                )
            )
            held = [memory for _, memory in found if memory is not None]
            if held:
                memory = statistics.median(held) / 1e6
                note = "shared pages divided among those who share them"
                figures.append(Figure(group, "memory then", memory, "MB", note=note))
    return figures


def _started(python: Path, weights: Path, storage: Storage) -> tuple[float, int | None]:
    """Seconds to the first token, and bytes held then."""
    caches = {"XDG_CACHE_HOME": str(weights.parent), "NUMBA_CACHE_DIR": str(weights.parent)}
    began = time.monotonic()
    done = subprocess.run(
        [python, "-P", "-m", "lofid.judge.first_token", weights, storage],
        env={**os.environ, **caches, "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise LofidError(f"The process that measures the start failed: {done.stderr.strip()}")
    said = json.loads(done.stdout)
    return said["monotonic"] - began, said["memory"]


def precision(models: Sequence[Model], tokens: int = 2000) -> list[Figure]:
    """How far rounded weights move models, on tokens that the exact ones sample.

    The Kullback-Leibler divergence of the next token's distribution, and the state's largest entry.
    """
    figures: list[Figure] = []
    for name, model in zip(_VOCABULARIES, models, strict=True):
        config = model.card.config
        engines = {kind: CpuEngine(config, model.tensors, kind) for kind in STORAGES}
        states = {kind: ModelState.zero(config) for kind in STORAGES}
        moved: dict[Storage, list[float]] = {kind: [] for kind in STORAGES if kind != "fp32"}
        rng = np.random.Generator(np.random.Philox(1))
        token = 0
        for _ in range(tokens):
            exact = _log_chances(engines["fp32"].forward((token,), states["fp32"]))
            chances = np.exp(exact)
            for kind, found in moved.items():
                rounded = _log_chances(engines[kind].forward((token,), states[kind]))
                found.append(float(chances @ (exact - rounded)))
            token = int(rng.choice(len(chances), p=chances / chances.sum()))
        group = f"Precision of the {name}"
        figures += [
            Figure(
                group,
                f"{kind} against fp32",
                1e6 * statistics.fmean(found),
                "µnats a token",
                Target(high=1000),
                note=f"Kullback-Leibler divergence over {tokens:,} tokens",
            )
            for kind, found in moved.items()
        ]
        largest = float(np.abs(states["fp32"].wkv).max())
        note = "float16 holds 65,504"
        figures.append(Figure(group, "largest entry of the state", largest, note=note))
    return figures


def held_out(models: Sequence[Model], data: Path, tokens: int = 20_000) -> list[Figure]:
    """How far rounded weights move the loss on held-out music, in so many of its tokens.

    ``data`` is the folder of the archives that ``lofid train`` reads.
    """
    figures: list[Figure] = []
    for name, model in zip(_VOCABULARIES, models, strict=True):
        stream = prepared_corpus(name, data, 1).reported
        ids, events = stream.tokens[:tokens].tolist(), stream.is_event[:tokens]
        losses: dict[Storage, float] = {}
        for storage in STORAGES:
            engine = CpuEngine(model.card.config, model.tensors, storage)
            state = ModelState.zero(engine.config)
            lost = [
                -float(_log_chances(engine.forward((token,), state))[after])
                for token, after in itertools.pairwise(ids)
            ]
            losses[storage] = float(np.mean(lost, where=events[1:]))
        group = f"Held-out music of the {name}"
        note = f"{len(ids):,} tokens, counted on events"
        figures.append(Figure(group, "loss, fp32", losses["fp32"], "nats a token", note=note))
        figures += [
            Figure(
                group,
                f"{storage} differs by",
                100 * abs(loss / losses["fp32"] - 1),
                "%",
                Target(high=0.2),
            )
            for storage, loss in losses.items()
            if storage != "fp32"
        ]
    return figures


def _log_chances(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    exact = logits.astype(np.float64)
    chances: NDArray[np.float64] = exact - np.logaddexp.reduce(exact)
    return chances


def long_run(engine: Engine, bars: int, progress: Progress, compared: int = 100) -> list[Figure]:
    """Write so many bars' tokens without ever clearing the state, and look at what becomes of it.

    ``compared`` bars at the beginning and at the end are compared in speed.
    """
    if bars < 2 * compared:
        raise LofidError(
            f"A long run of {bars} bars is too short to compare {compared} at both ends; ask for "
            f"{2 * compared} or more."
        )
    state = ModelState.zero(engine.config)
    rng = np.random.Generator(np.random.Philox(1))
    seconds, norms, not_finite = np.zeros(bars), np.zeros(bars), 0
    token = 0
    for bar, _ in enumerate(_with_progress(bars, progress)):
        for draw in rng.random(BAR_TOKENS):
            start = time.perf_counter()
            logits = engine.forward((token,), state)
            seconds[bar] += time.perf_counter() - start
            if not np.isfinite(logits).all():
                not_finite += 1
                continue
            chances = np.cumsum(np.exp(logits - logits.max()))
            token = int(np.searchsorted(chances[:-1], draw * chances[-1]))
        norms[bar] = np.linalg.norm(state.wkv)
    settled = norms[bars // 10 : bars // 2].max()
    slower = np.median(seconds[-compared:]) / np.median(seconds[:compared]) - 1
    group = f"{bars:,} bars in one run, {engine.name}"
    return [
        Figure(group, "logits that are no numbers", not_finite, target=Target(high=0)),
        Figure(
            group,
            "state, largest norm late",
            float(norms[bars // 2 :].max() / settled),
            "x",
            Target(high=1.5),  # a state that grows steadily doubles
            note="the second half's beside that from a tenth to the half; never cleared",
        ),
        Figure(
            group,
            f"last {compared} bars slower than the first",
            100 * float(slower),
            "%",
            Target(low=-3, high=3),
            note="medians, the engine's part",
        ),
    ]


def _with_progress(bars: int, progress: Progress) -> Iterator[None]:
    for bar in range(bars):
        if bar % 100 == 0:
            progress(f"bar {bar:,}", bar / bars)
        yield
