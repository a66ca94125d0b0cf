"""Does a model recite its training data? Runs of notes shared with the pieces it learnt from.

A line of notes is written as steps, each the interval to the next note in semitones and the time to
it in sixteenths, so that neither key nor tempo hides a quotation. What counts is not that runs are
shared (much keys playing is common property) but whether more are, or longer ones, than between
human pieces that do not know of each other.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lofid.judge.figures import Share
from lofid.music.notes import SIXTEENTH, TICKS_PER_BAR, Note

NOTES = 12
"""Notes in the runs that are counted."""

_LONGEST_STEP = 64
"""Sixteenths; a longer rest counts as this long."""
_PRIME = np.uint64(1_099_511_628_211)
Steps = NDArray[np.uint64]


def steps(bars: Iterable[Sequence[Note]]) -> Steps:
    """The steps of a line of bars, in order of time, then pitch; one fewer than notes."""
    line = sorted(
        (round((index * TICKS_PER_BAR + note.start) / SIXTEENTH), note.pitch)
        for index, bar in enumerate(bars)
        for note in bar
    )
    if len(line) < 2:
        return np.empty(0, np.uint64)
    time, pitch = np.array(line, np.int64).T
    rests = np.minimum(np.diff(time), _LONGEST_STEP)
    codes: Steps = ((np.diff(pitch) + 128) * (_LONGEST_STEP + 1) + rests).astype(np.uint64)
    return codes


def _runs(line: Steps, notes: int) -> Steps:
    """A 64-bit hash of every run of ``notes`` notes of a line."""
    count = len(line) - notes + 2
    hashes = np.full(max(0, count), 14_695_981_039_346_656_037, np.uint64)
    for place in range(notes - 1):
        # A polynomial hash, modulo 2**64.
        hashes = hashes * _PRIME + line[place : place + len(hashes)] + np.uint64(1)
    return hashes


@dataclass(frozen=True, slots=True)
class Overlap:
    """What a line shares with a corpus.

    ``shared``: its different runs of ``NOTES`` notes that occur in the corpus. ``longest``: the
    notes of the longest run that does.
    """

    shared: Share
    longest: int


class KnownNotes:
    """Lines of notes, as :func:`steps`, in which runs are looked up."""

    def __init__(self, lines: Iterable[Steps]) -> None:
        self._lines = list(lines)
        self._known: dict[int, Steps] = {}

    def _runs(self, notes: int) -> Steps:
        """The sorted hashes of all different runs of that many notes."""
        if notes not in self._known:
            found = [_runs(line, notes) for line in self._lines]
            self._known[notes] = np.unique(np.concatenate([np.empty(0, np.uint64), *found]))
        return self._known[notes]

    def _common(self, line: Steps, notes: int) -> Share:
        runs = np.unique(_runs(line, notes))
        known = self._runs(notes)
        place = np.searchsorted(known, runs)
        inside = place < len(known)
        return Share(int((known[place[inside]] == runs[inside]).sum()), len(runs))

    def overlap(self, line: Steps) -> Overlap:
        """Compare a line with the corpus."""
        # A run of n notes contains one of n - 1: double, then halve.
        low, high = 1, 2
        while self._common(line, high).hits:
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._common(line, middle).hits else (low, middle)
        return Overlap(self._common(line, NOTES), low)
