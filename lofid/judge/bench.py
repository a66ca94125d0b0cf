"""Figures of speed, memory and sameness, measured on this machine in one run.

What a person meets is measured from outside, on real ``lofid`` processes; what the models cost is
measured inside. Needs psutil; the engines' comparison also needs torch and the ``rwkv`` package.
"""

import itertools
import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray

from lofid.compose.player import drums_player, keys_player
from lofid.compose.preset import load_preset
from lofid.compose.station import Station
from lofid.errors import LofidError
from lofid.judge.bench_engine import measure_pair
from lofid.judge.figures import Figure, Target
from lofid.music.midi import write_midi
from lofid.music.notes import BEATS_PER_BAR
from lofid.music.plan import Bar
from lofid.rwkv.config import sized
from lofid.rwkv.cpu import STORAGES, CpuEngine
from lofid.rwkv.shipped import shipped_engine, shipped_model
from lofid.rwkv.state import State
from lofid.sound.synth import programs
from lofid.tokens import drums, keys

_PRESET = "study"
_SEED = 1
_WARM_UP = 20.0
"""Seconds of playing before the steady state is measured."""
_PATIENCE = 120.0
"""Seconds after which a process that has not sounded is given up."""
_MEGABYTE = 1e6


def engines() -> list[Figure]:
    """The pocket pair beside two models of the ``rwkv`` package, taking turns."""
    shapes = (sized("pocket", len(keys.VOCABULARY)), sized("pocket", len(drums.VOCABULARY)))
    found = measure_pair(*shapes)
    group = "Engine"
    return [
        Figure(group, "one token of each model", found.pair_ms, "ms", note=found.engine),
        Figure(group, "the same, rwkv package, cpu fp32", found.package_pair_ms, "ms"),
        Figure(group, "faster than the rwkv package", found.ratio, "x", Target(low=15)),
    ]


def precision(tokens: int = 2000) -> list[Figure]:
    """How far rounded weights move the shipped models, on tokens that the exact ones sample.

    The Kullback-Leibler divergence of the next token's distribution, and the state's largest entry.
    """
    figures: list[Figure] = []
    shipped = (("pocket-keys", keys.VOCABULARY.hash), ("pocket-drums", drums.VOCABULARY.hash))
    for name, vocabulary in shipped:
        model = shipped_model(name, vocabulary)
        config = model.card.config
        engines = {kind: CpuEngine(config, model.tensors, kind) for kind in STORAGES}
        states = {kind: State.zero(config) for kind in STORAGES}
        moved: dict[str, list[float]] = {kind: [] for kind in STORAGES}
        rng = np.random.Generator(np.random.Philox(_SEED))
        token = 0
        for _ in range(tokens):
            exact = _log_chances(engines["fp32"].forward((token,), states["fp32"]))
            chances = np.exp(exact)
            for kind in STORAGES:
                if kind != "fp32":
                    rounded = _log_chances(engines[kind].forward((token,), states[kind]))
                    moved[kind].append(float(chances @ (exact - rounded)))
            token = int(rng.choice(len(chances), p=chances / chances.sum()))
        group = f"Precision of {name}"
        figures += [
            Figure(
                group, f"{kind} against fp32", 1e6 * float(np.mean(moved[kind])), "µnats a token"
            )
            for kind in STORAGES
            if kind != "fp32"
        ]
        largest = float(np.abs(states["fp32"].wkv).max())
        figures.append(Figure(group, "largest entry of the state", largest))
    return figures


def _log_chances(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    exact = logits.astype(np.float64)
    chances: NDArray[np.float64] = exact - np.logaddexp.reduce(exact)
    return chances


@contextmanager
def _station() -> Iterator[Station]:
    players = (
        keys_player(shipped_engine("pocket-keys", keys.VOCABULARY.hash)),
        drums_player(shipped_engine("pocket-drums", drums.VOCABULARY.hash)),
    )
    with Station(*players) as station:
        yield station


def writing(bars: int = 128) -> list[Figure]:
    """Time to write bars beside the time that they last; the first bar, which compiles, is out."""
    shares: list[float] = []
    settings = load_preset(_PRESET).settings
    with _station() as station:
        state = station.step(station.opening(settings, _SEED), settings).state
        for _ in range(bars):
            start = time.perf_counter()
            step = station.step(state, settings)
            took = time.perf_counter() - start
            shares.append(100 * took / _seconds(step.bar))
            state = step.state
    group = "Writing a bar"
    slowest = statistics.quantiles(shares, n=20)[-1]
    note = "of the bar's duration; first passes of a loop, with several attempts a bar, included"
    return [
        Figure(group, "mean", statistics.fmean(shares), "%", Target(high=4), note=note),
        Figure(group, "95th percentile", slowest, "%"),
    ]


def _seconds(bar: Bar) -> float:
    return BEATS_PER_BAR * 60 / bar.plan.tempo


def _lofid(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "lofid", *map(str, arguments)]


def _render(out: Path, *length: str, seed: int = _SEED) -> tuple[float, float]:
    """Run ``lofid render``; the seconds of music written and the seconds it took in all."""
    command = _lofid("render", out, *length, "--preset", _PRESET, "--seed", str(seed), "--json")
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    took = time.perf_counter() - start
    if done.returncode:
        raise LofidError(f"'lofid render' failed: {done.stderr.strip() or done.stdout.strip()}")
    return float(json.loads(done.stdout)["seconds"]), took


def rendering(folder: Path) -> list[Figure]:
    """Speed of rendering three minutes to WAV, less what one bar takes (that is, start-up)."""
    _render(folder / "warm.wav", "--bars", "1")
    short, start_up = _render(folder / "one.wav", "--bars", "1")
    long, took = _render(folder / "three.wav", "--minutes", "3")
    group = "Rendering"
    return [
        Figure(group, "start-up and one bar", start_up, "s"),
        Figure(group, "3 minutes in all", took, "s"),
        Figure(
            group, "speed after start-up", (long - short) / (took - start_up), "x", Target(low=20)
        ),
    ]


@contextmanager
def _playing() -> Iterator[tuple[psutil.Process, float]]:
    """A ``lofid play`` without a device, once it sounds, and the seconds until it did."""
    command = _lofid("play", "--output", "null", "--preset", _PRESET, "--seed", str(_SEED))
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        patience = threading.Timer(_PATIENCE, process.kill)
        patience.start()
        try:
            assert process.stderr is not None
            # Where stderr is no terminal, the status is a line whenever a section begins to play.
            said = b""
            for line in process.stderr:
                said += line
                if line.startswith(b"bar 1:"):
                    break
            else:
                raise LofidError(f"'lofid play' ended: {said.decode(errors='replace').strip()}")
            patience.cancel()
            yield psutil.Process(process.pid), time.perf_counter() - start
        finally:
            patience.cancel()
            process.terminate()
            process.communicate()


def _family(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)]


def _cpu(process: psutil.Process) -> float:
    """Seconds of CPU that a process and its children have used."""
    return float(sum(sum(member.cpu_times()[:2]) for member in _family(process)))


def _memory(process: psutil.Process) -> float:
    """Resident memory of a process and its children, in MB."""
    return float(sum(member.memory_info().rss for member in _family(process))) / _MEGABYTE


def playing(seconds: float = 60.0) -> list[Figure]:
    """Start and steady state of ``lofid play``, second start, to the null output."""
    with _playing():
        pass
    with _playing() as (process, first_sound):
        time.sleep(_WARM_UP)
        used, since = _cpu(process), time.perf_counter()
        memory = [_memory(process)]
        while time.perf_counter() - since < seconds:
            time.sleep(1)
            memory.append(_memory(process))
        share = 100 * (_cpu(process) - used) / (time.perf_counter() - since)
    group = "Playing"
    note = f"over {seconds:.0f} s after {_WARM_UP:.0f} s, all threads and children together"
    return [
        Figure(group, "first sound", first_sound, "s", Target(high=3)),
        Figure(group, "CPU", share, "% of a core", Target(high=15), note=note),
        Figure(group, "memory", max(memory), "MB", Target(high=400)),
    ]


def soak(folder: Path, bars: int = 1000) -> list[Figure]:
    """Growth of memory while that many bars are rendered as fast as possible.

    Compares the medians of the second fifth and of the last fifth of the time: in the first one
    buffers, caches and voices find their size.
    """
    arguments = ("--bars", str(bars), "--preset", _PRESET, "--seed", str(_SEED))
    command = _lofid("render", folder / "soak.mp3", *arguments)
    memory: list[float] = []
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            try:
                memory.append(_memory(watched))
            except psutil.Error:
                break
            time.sleep(0.2)
        _, said = process.communicate()
    if process.returncode or len(memory) < 10:
        raise LofidError(f"'lofid render' failed: {said.decode(errors='replace').strip()}")
    (folder / "soak.mp3").unlink()
    fifth = len(memory) // 5
    settled, late = (
        statistics.median(part) for part in (memory[fifth : 2 * fifth], memory[-fifth:])
    )
    group = f"Memory over {bars} bars"
    return [
        Figure(group, "growth", late - settled, "MB", Target(high=5)),
        Figure(group, "most", max(memory), "MB", Target(high=400)),
    ]


def sameness(folder: Path, bars: int = 32) -> list[Figure]:
    """Whether a seed gives the same bars whatever the speed and the output.

    The same bars as MIDI from here, with pauses between them, and from two processes; and the same
    sound from two processes.
    """
    settings = load_preset(_PRESET).settings
    with _station() as station:
        slowly = _slowly(itertools.islice(station.bars(settings, _SEED), bars))
        write_midi(folder / "here.mid", slowly, programs(settings.sound))
    length = ("--bars", str(bars))
    for name in ("one.mid", "two.mid", "one.flac", "two.flac"):
        _render(folder / name, *length)
    _render(folder / "other.mid", *length, seed=_SEED + 1)
    bytes_of = {path.name: path.read_bytes() for path in folder.iterdir()}
    group = "Same seed"
    return [
        Figure(
            group,
            "same bars here, slowly, and in two processes",
            float(bytes_of["here.mid"] == bytes_of["one.mid"] == bytes_of["two.mid"]),
            target=Target(low=1),
        ),
        Figure(
            group,
            "same sound from two processes",
            float(bytes_of["one.flac"] == bytes_of["two.flac"]),
            target=Target(low=1),
        ),
        Figure(
            group,
            "other seed, other bars",
            float(bytes_of["one.mid"] != bytes_of["other.mid"]),
            target=Target(low=1),
        ),
    ]


def _slowly(bars: Iterator[Bar]) -> Sequence[Bar]:
    found: list[Bar] = []
    for bar in bars:
        found.append(bar)
        time.sleep(0.02)
    return found
