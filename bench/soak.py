"""Long runs of a real daemon: every bar in order, memory and descriptors flat, no frame lost.

On the virtual clock a day of music takes minutes; in real time both cores are kept busy while JACK
plays, and what it played is compared with a file that the daemon wrote beside it. Needs psutil,
SciPy, matplotlib and, in real time, jackd.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
import soundfile
from scipy.signal import fftconvolve

from bench.capture import Captured, blocks, jack_server, recording
from bench.daemon import Daemon, Listener
from lofid.files import replacing
from lofid.judge.figures import Figure, Target
from lofid.outputs.output import SAMPLE_RATE, Audio
from lofid.protocol.messages import BarEvent, WarningEvent

MEGABYTE = 1e6
_SAMPLING = 2.0  # seconds between two looks at the processes
_SETTLED = 1.0  # hours of music after which memory must not grow any more
_STEP = 2.0**-23  # of 24 bits: what writing a file rounds


@dataclass
class Usage:
    """Memory and descriptors of each process over a run.

    ``hours`` are those of music at each look; the lists of a process are as long.
    """

    hours: list[float] = field(default_factory=list)
    megabytes: dict[str, list[float]] = field(default_factory=dict)
    descriptors: dict[str, list[float]] = field(default_factory=dict)
    proportional: float = 0.0
    """Megabytes of all processes together, shared pages counted once; the most that was seen."""

    def look(self, daemon: Daemon, hours: float) -> None:
        """Note what the processes hold now; one that is gone counts as nothing."""
        together = 0.0
        self.hours.append(hours)
        for role, process in daemon.processes().items():
            try:
                memory = process.memory_full_info()
                descriptors = process.num_fds()
            except psutil.Error:
                continue
            together += memory.pss / MEGABYTE
            for table, value in (
                (self.megabytes, memory.rss / MEGABYTE),
                (self.descriptors, float(descriptors)),
            ):
                row = table.setdefault(role, [])
                row += [float("nan")] * (len(self.hours) - 1 - len(row))
                row.append(value)
        for table in (self.megabytes, self.descriptors):
            for row in table.values():
                row.extend([float("nan")] * (len(self.hours) - len(row)))
        self.proportional = max(self.proportional, together)

    def slope(self, rows: Sequence[Sequence[float]], after: float) -> float | None:
        """How much the sum of the rows grows an hour from ``after`` on; None if that is too short.

        The straight line of least squares.
        """
        hours = np.array(self.hours)
        total = np.sum([np.array(row) for row in rows], axis=0)
        counted = (hours >= after) & np.isfinite(total)
        if np.count_nonzero(counted) < 10:
            return None
        return float(np.polyfit(hours[counted], total[counted], 1)[0])

    def _since(self, row: Sequence[float], after: float) -> list[float]:
        """What a process held from ``after`` hours on, where it was there."""
        held = zip(self.hours, row, strict=True)
        return [value for hours, value in held if hours >= after and np.isfinite(value)]

    def figures(self, group: str, after: float) -> list[Figure]:
        """Growth after ``after`` hours, descriptors likewise, and the most that was held."""
        since = f"after {after:g} h of music"
        memory = [
            Figure(
                group,
                "memory, all processes",
                self.slope(list(self.megabytes.values()), after),
                "MB/h",
                Target(high=1),
                note=f"resident, {since}",
            )
        ]
        memory += [
            Figure(group, f"memory, {role}", self.slope([row], after), "MB/h", note=since)
            for role, row in self.megabytes.items()
        ]
        grown = [
            float(np.median(settled[-fifth:]) - np.median(settled[:fifth]))
            for row in self.descriptors.values()
            if (fifth := len(settled := self._since(row, after)) // 5)
        ]
        return [
            *memory,
            Figure(
                group,
                "descriptors, gained",
                max(grown, default=None),
                target=Target(high=0),
                note=f"{since}, medians of the first and the last fifth; who gained most",
            ),
            Figure(
                group,
                "memory, together",
                self.proportional,
                "MB",
                Target(high=350),
                note="the most; shared pages counted once",
            ),
        ]


@dataclass
class Bars:
    """What was heard of a run, bar by bar."""

    heard: int = 0
    hours: float = 0.0
    out_of_order: int = 0
    stood_in: int = 0
    warnings: list[str] = field(default_factory=list)
    _last: int | None = None

    def hear(self, event: object) -> None:
        """Count an event."""
        match event:
            case BarEvent(bar=bar):
                self.heard += 1
                self.hours += bar.seconds / 3600
                if bar.stand_in:
                    self.stood_in += 1
                    return
                self.out_of_order += self._last is not None and bar.index != self._last + 1
                self._last = bar.index
            case WarningEvent(warning=warning):
                self.warnings.append(warning.text)

    def figures(self, group: str) -> list[Figure]:
        """How many, and whether all came."""
        return [
            Figure(group, "music", self.hours, "h"),
            Figure(group, "bars", float(self.heard)),
            Figure(group, "bars out of order or missing", float(self.out_of_order), "", _NONE),
            Figure(group, "bars that the loop stood in for", float(self.stood_in), "", _NONE),
            Figure(
                group,
                "warnings",
                float(len(self.warnings)),
                "",
                _NONE,
                note=" ".join(dict.fromkeys(self.warnings))[:500],
            ),
        ]


_NONE = Target(high=0)


def virtual(
    folder: Path, hours: float, options: Sequence[str], pictures: Path | None = None
) -> list[Figure]:
    """That many hours of music as fast as the machine can; ``pictures`` gets the course of memory.

    Raises LofidError where the daemon ends or falls silent.
    """
    bars, usage = Bars(), Usage()
    began = time.monotonic()
    with Daemon(folder, [*options, "--virtual-clock", "--output", "null"]) as daemon:
        daemon.start()
        with daemon.listening("bar", "warning") as listener:
            _follow(daemon, listener, bars, usage, lambda: bars.hours >= hours)
            wall = time.monotonic() - began
            ended = daemon.stop()
    group = f"{hours:g} h on the virtual clock"
    after = min(_SETTLED, hours / 2)
    if pictures is not None:
        draw(usage, pictures)
    return [
        *bars.figures(group),
        *usage.figures(group, after),
        Figure(group, "speed", bars.hours * 3600 / wall, "x", note="of real time"),
        Figure(group, "exit code", float(ended), "", _NONE),
    ]


def real_time(
    folder: Path, minutes: float, options: Sequence[str], pictures: Path | None = None
) -> list[Figure]:
    """That many minutes through JACK while every core is busy.

    Raises LofidError where the daemon ends or falls silent, or jackd is missing.
    """
    bars, usage = Bars(), Usage()
    beside, captured = folder / "beside.wav", folder / "captured.wav"
    name = f"lofid-soak-{os.getpid()}"
    with ExitStack() as stack:
        environment = stack.enter_context(jack_server(name))
        recorder = stack.enter_context(recording(name, captured))
        outputs = ("--output", "device:system", "--output", f"file:{beside}")
        daemon = stack.enter_context(Daemon(folder, [*options, *outputs], environment))
        daemon.start()
        listener = stack.enter_context(daemon.listening("bar", "warning"))
        bars.hear(listener.bar())
        stack.enter_context(busy_cores())
        until = time.monotonic() + 60 * minutes
        before = _work(daemon)
        _follow(daemon, listener, bars, usage, lambda: time.monotonic() >= until)
        work = _work(daemon) - before
        status = listener.client.status()
        ended = daemon.stop()
        found = recorder.stop()
    group = f"{minutes:g} min in real time, every core busy"
    same = compare(found, beside)
    if pictures is not None:
        draw(usage, pictures)
    return [
        *bars.figures(group),
        Figure(group, "frames compared", float(same.frames)),
        Figure(group, "frames that differ", float(same.different), "", _NONE),
        Figure(group, "seams between frames", float(same.seams), "", _NONE, note=same.note),
        Figure(group, "frames the recorder missed", float(found.missed), "", _NONE),
        Figure(group, "xruns, as the daemon says", float(status.stage.xruns), "", _NONE),
        Figure(group, "work of all processes", 100 * work / (60 * minutes), "% of a core"),
        Figure(group, "memory, together", usage.proportional, "MB", Target(high=350)),
        Figure(group, "exit code", float(ended), "", _NONE, note=status.stage.scheduling),
    ]


@dataclass(frozen=True, slots=True)
class Sameness:
    """How a capture compares with the file that was written beside it.

    ``frames`` were found as they were written, ``different`` ones were not. At a ``seam`` the
    capture goes on elsewhere than it should: frames are missing there, or there are too many.
    """

    frames: int
    different: int
    seams: int
    note: str


def compare(captured: Captured, beside: Path) -> Sameness:
    """Compare frame by frame, from the second second of sound to the end of the shorter one.

    The capture begins later or earlier than the file: where they belong together is found by
    correlation. From there on each frame must follow the one before; where one does not, that is
    a seam, behind which they are joined anew.
    """
    same = different = seams = 0
    notes: list[str] = []
    with soundfile.SoundFile(captured.path) as heard, soundfile.SoundFile(beside) as file:
        start = _early_sound(beside)
        found = _joined(heard, file, start, 0, _LATEST_START)
        if found is None:
            return Sameness(0, file.frames - start, 0, "the file is not in the capture")
        at, lag = found
        while piece := min(SAMPLE_RATE, file.frames - at, heard.frames - at - lag):
            if piece < 0:
                break
            apart = np.abs(_read(file, at, piece) - _read(heard, at + lag, piece)) > _STEP
            good = int(np.argmax(apart.any(axis=1))) if apart.any() else piece
            same, at = same + good, at + good
            if good == piece:
                continue
            seams += 1
            notes.append(f"{(at - start) / SAMPLE_RATE:.3f} s")
            found = _joined(heard, file, at, at + lag, _LONGEST_GAP)
            if found is None:
                different += file.frames - at
                break
            different += found[0] - at
            at, lag = found
    return Sameness(same, different, seams, ", ".join(notes[:20]))


_LATEST_START = 120 * SAMPLE_RATE
_LONGEST_GAP = 5 * SAMPLE_RATE
_PROBE = 2 * SAMPLE_RATE


def _joined(
    heard: soundfile.SoundFile, file: soundfile.SoundFile, at: int, begin: int, window: int
) -> tuple[int, int] | None:
    """Where the file goes on in the capture: its first frame from ``at`` on, and the lag there.

    Looks through ``window`` frames of the capture from ``begin`` on; None where nothing fits.
    """
    for skipped in range(0, window, SAMPLE_RATE // 4):
        probe = _read(file, at + skipped, _PROBE)
        if len(probe) < _PROBE:
            return None
        offset = _offset(_read(heard, begin, window + skipped + _PROBE), probe)
        if offset is not None:
            return at + skipped, begin + offset - at - skipped
    return None


def _early_sound(path: Path) -> int:
    """The frame one second after sound begins: a recorder may come a little late."""
    audio = next(blocks(path, 60 * SAMPLE_RATE))
    loud = np.flatnonzero(np.abs(audio).max(axis=1) > 0.01)
    return SAMPLE_RATE + (int(loud[0]) if len(loud) else 0)


def _offset(heard: Audio, probe: Audio) -> int | None:
    """The frame of ``heard`` at which ``probe`` begins; None where it does not."""
    if len(heard) < len(probe):
        return None
    left = heard[:, 0].astype(np.float64)
    together = fftconvolve(left, probe[::-1, 0], mode="valid")
    energy = np.concatenate([[0.0], np.cumsum(left**2)])
    # Least squares: a correlation alone is highest where it is loud.
    offset = int(np.argmin(energy[len(probe) :] - energy[: -len(probe)] - 2 * together))
    found = heard[offset : offset + len(probe)]
    return offset if np.abs(found - probe).max() <= _STEP else None


def _read(file: soundfile.SoundFile, frame: int, frames: int) -> Audio:
    """At most so many frames from one on."""
    file.seek(min(frame, file.frames))
    return np.asarray(file.read(frames, dtype="float32", always_2d=True))


@contextmanager
def busy_cores() -> Iterator[None]:
    """Keep every core busy with processes of ordinary priority."""
    hogs = [
        subprocess.Popen([sys.executable, "-P", "-c", "while True: pass"])
        for _ in range(os.cpu_count() or 1)
    ]
    try:
        yield
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()


def draw(usage: Usage, path: Path) -> None:
    """A picture of every process' memory over the hours of music."""
    import matplotlib  # noqa: PLC0415  # slow to load, and not every run draws

    matplotlib.use("Agg")
    from matplotlib import pyplot  # noqa: PLC0415

    figure, axes = pyplot.subplots(figsize=(9, 4))
    for role, row in usage.megabytes.items():
        axes.plot(usage.hours, row, label=role)
    axes.set(xlabel="hours of music", ylabel="resident memory, MB", ylim=(0, None))
    axes.legend()
    figure.tight_layout()
    with replacing(path) as temporary:
        figure.savefig(temporary)
    pyplot.close(figure)


def _follow(
    daemon: Daemon,
    listener: Listener,
    bars: Bars,
    usage: Usage,
    enough: Callable[[], bool],
) -> None:
    look = time.monotonic()
    while not enough():
        bars.hear(listener.next())
        if time.monotonic() >= look:
            usage.look(daemon, bars.hours)
            look = time.monotonic() + _SAMPLING


def _work(daemon: Daemon) -> float:
    """Seconds that all processes have computed so far."""
    total = 0.0
    for process in daemon.family():
        times = process.cpu_times()
        total += times.user + times.system
    return total
