"""Following the MIDI clock of another program: its tempo, and where its bar lines will fall.

Pure: messages and the times at which they came go in, predictions come out. This module knows
neither ports nor threads, and never asks what time it is.
"""

from collections import deque
from itertools import pairwise

from lofid.music.notes import BEATS_PER_BAR
from lofid.outputs.messages import MidiStatus
from lofid.outputs.output import Received

TICKS_PER_BEAT = 24
TICKS_PER_BAR = TICKS_PER_BEAT * BEATS_PER_BAR
SLOWEST, FASTEST = 40.0, 240.0
"""BPM that are followed."""

LOST_AFTER = 0.5
"""Seconds without a tick; the slowest clock ticks eight times as often."""

_TICKS_PER_SIXTEENTH = 6
_LONGEST = TICKS_PER_BAR  # ticks that the tempo is measured over
_SHORTEST = 12  # fewer do not tell a tempo from jitter
_LEAST_JITTER = 0.0003  # seconds; below that a change of tempo is not worth less smoothing


class ClockFollower:
    """The straight line through the latest ticks of a clock, and the song position along it.

    Ticks jitter by some milliseconds; the longest run of latest ticks that one tempo explains, up
    to a bar, gives tempo and phase by least squares. Feed it every message in order of time.
    """

    def __init__(self) -> None:
        self._moments: deque[float] = deque(maxlen=_LONGEST)
        self._count = 0  # ticks ever heard
        self._origin: int | None = None  # the tick (by that count) at the song's beginning
        self._position = 0  # ticks from the song's beginning to where it starts or goes on
        self._starting = False
        self._line = (0.0, 0.0)  # moment of the latest tick by the line, seconds a tick

    def hear(self, message: Received) -> None:
        """Take a message that has come in; those that do not keep time are passed over."""
        match message.status:
            case MidiStatus.CLOCK:
                self._tick(message.moment)
            case MidiStatus.START:
                self._position, self._starting = 0, True
            case MidiStatus.CONTINUE:
                self._starting = True
            case MidiStatus.STOP:
                if self._origin is not None:
                    self._position = self._count - self._origin
                self._origin, self._starting = None, False
            case MidiStatus.SONG_POSITION if len(message.data) == 2:
                low, high = message.data
                self._position = (low + 128 * high) * _TICKS_PER_SIXTEENTH

    @property
    def running(self) -> bool:
        """Whether the song runs: it was started or continued, and not stopped since."""
        return self._origin is not None

    def tempo(self, now: float) -> float | None:
        """BPM; None before it is known (half a beat), out of range, and when the clock is lost."""
        if len(self._moments) < _SHORTEST or self.lost(now):
            return None
        bpm = 60.0 / (TICKS_PER_BEAT * self._line[1])
        return bpm if SLOWEST * 0.98 <= bpm <= FASTEST * 1.02 else None

    def lost(self, now: float) -> bool:
        """Whether no tick has come for :data:`LOST_AFTER` seconds (or ever)."""
        return not self._moments or now - self._moments[-1] > LOST_AFTER

    def trouble(self, now: float) -> str:
        """Why there is no tempo to follow, a sentence; empty where there is, or soon will be."""
        if self.tempo(now) is not None:
            return ""
        if not self._count:
            return "No MIDI clock is heard; the music keeps its own tempo until one is."
        if self.lost(now):
            return (
                "The MIDI clock that is to be followed is no longer heard; the music goes on at "
                "its own tempo until it is back."
            )
        if len(self._moments) < _SHORTEST:
            return ""
        return (
            f"The MIDI clock is slower than {SLOWEST:g} BPM or faster than {FASTEST:g}, which "
            "cannot be followed; the music keeps its own tempo."
        )

    def bar_line(self, after: float) -> tuple[int, float] | None:
        """Number (from 0) and moment of the first bar line at or after a moment, as predicted.

        None while the song does not run or the tempo is not known.
        """
        if self._origin is None or len(self._moments) < _SHORTEST:
            return None
        latest, interval = self._line
        position = self._count - 1 - self._origin  # of the latest tick
        ticks = position + (after - latest) / interval
        bar = max(0, -int(-ticks // TICKS_PER_BAR))
        return bar, latest + (bar * TICKS_PER_BAR - position) * interval

    def _tick(self, moment: float) -> None:
        if self.lost(moment):
            self._moments.clear()
        self._moments.append(moment)
        if self._starting:
            self._origin, self._starting = self._count - self._position, False
        self._count += 1
        self._fit()

    def _fit(self) -> None:
        """Draw the line through the longest run of latest ticks that lie evenly beside one."""
        moments = list(self._moments)
        while True:
            self._line, even = _fitted(moments)
            if even or len(moments) < 2 * _SHORTEST:
                return
            del moments[: len(moments) // 2]


def _fitted(moments: list[float]) -> tuple[tuple[float, float], bool]:
    """The line (last moment, interval) by least squares, and whether one tempo explains them all.

    Where the tempo has changed on the way, the ticks of some quarter lie to one side of the line,
    further than their jitter explains. The jitter is taken from the second differences, on which
    tempo has no bearing.
    """
    count = len(moments)
    if count < 3:
        return (moments[-1], moments[-1] - moments[0]), True
    centre, mean = (count - 1) / 2, sum(moments) / count
    slope = sum((n - centre) * (m - mean) for n, m in enumerate(moments))
    interval = slope / (count * (count * count - 1) / 12)
    residues = [m - mean - (n - centre) * interval for n, m in enumerate(moments)]
    steps = [after - before for before, after in pairwise(residues)]
    bends = sum((after - before) ** 2 for before, after in pairwise(steps))
    jitter = (bends / (6 * (count - 2))) ** 0.5
    quarter = count // 4
    sides = (abs(sum(residues[n : n + quarter])) for n in range(0, 4 * quarter, quarter or 1))
    limit = max(_LEAST_JITTER * quarter, 3.5 * jitter * quarter**0.5)
    return (mean + centre * interval, interval), max(sides, default=0.0) <= limit
