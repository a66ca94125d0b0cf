"""Speed, memory and sameness of real ``lofid`` processes, measured from outside in one run.

The engines alone are measured by ``lofid bench``. Needs psutil.
"""

import itertools
import json
import os
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import psutil

from bench.daemon import Daemon
from lofid.compose.player import drums_player, keys_player
from lofid.compose.preset import load_preset
from lofid.compose.station import Station
from lofid.errors import LofidError
from lofid.judge.figures import Figure, Target
from lofid.judge.player_view import player_python
from lofid.music.midi import write_midi
from lofid.music.notes import BEATS_PER_BAR
from lofid.music.plan import Bar
from lofid.processes import python_module
from lofid.rwkv.shipped import shipped_engine
from lofid.sound.synth import programs
from lofid.system import PULSEAUDIO
from lofid.tokens import drums, keys

_PRESET = "study"
_SEED = 1
_WARM_UP = 20.0
"""Seconds of playing before the steady state is measured."""
_PATIENCE = 120.0
"""Seconds after which a process that has not sounded is given up."""
_MEGABYTE = 1e6


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
    return [*python_module("lofid"), *map(str, arguments)]


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


def serving(folder: Path, seconds: float = 60.0) -> list[Figure]:
    """CPU and memory of ``lofid serve`` with one output, for somebody who only plays.

    The output is a sound server's null sink where PulseAudio is installed, else none at all.
    """
    with ExitStack() as stack:
        python = player_python(folder / "python")
        output, environment = "null", {"PYTHONPATH": ""}
        if PULSEAUDIO.present:
            output = "device"
            environment |= stack.enter_context(_sound_server(folder))
        options = ("--preset", _PRESET, "--seed", str(_SEED), "--output", output)
        daemon = stack.enter_context(Daemon(folder, options, environment, python))
        daemon.start()
        with daemon.listening("bar") as listener:
            listener.bar()
        time.sleep(_WARM_UP)
        used, since = _cpu(daemon.family()[0]), time.perf_counter()
        memory = []
        while time.perf_counter() - since < seconds:
            time.sleep(1)
            daemon.check()
            memory.append(sum(one.memory_full_info().pss for one in daemon.family()) / _MEGABYTE)
        share = 100 * (_cpu(daemon.family()[0]) - used) / (time.perf_counter() - since)
    group = f"Serving, output {output}"
    note = f"over {seconds:.0f} s after {_WARM_UP:.0f} s, all processes together"
    return [
        Figure(group, "CPU", share, "% of a core", Target(high=5), note=note),
        Figure(
            group,
            "memory",
            max(memory),
            "MB",
            Target(high=320),
            note="the most; shared pages divided among those who share them",
        ),
    ]


@contextmanager
def _sound_server(folder: Path) -> Iterator[dict[str, str]]:
    """A PulseAudio with a null sink; gives the environment in which programs find it."""
    socket, config = folder / "native", folder / "asound.conf"
    config.write_text("pcm.!default { type pulse }\nctl.!default { type pulse }\n")
    own = {"HOME": str(folder), "XDG_RUNTIME_DIR": str(folder)}
    # With rewinds the null sink wants two seconds at once, and then nothing for as long.
    server = [PULSEAUDIO.name, "-n", "--exit-idle-time=-1", "--use-pid-file=no", "--disallow-exit"]
    protocol = f"module-native-protocol-unix socket={socket} auth-anonymous=1"
    with subprocess.Popen(
        [*server, "-L", "module-null-sink norewinds=1", "-L", protocol],
        env={**os.environ, **own},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            deadline = time.monotonic() + _PATIENCE
            while not socket.exists():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise LofidError("The sound server for the measurement did not start.")
                time.sleep(0.05)
            yield {
                "PULSE_SERVER": f"unix:{socket}",
                "ALSA_CONFIG_PATH": f"/usr/share/alsa/alsa.conf:{config}",
            }
        finally:
            process.terminate()


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
        write_midi(folder / "here.mid", slowly, partial(programs, settings.sound))
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
