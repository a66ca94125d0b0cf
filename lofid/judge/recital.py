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


def _all_runs(lines: Iterable[Steps], notes: int) -> Steps:
    found = [_runs(line, notes) for line in lines]
    return np.unique(np.concatenate(found)) if found else np.empty(0, np.uint64)


@dataclass(frozen=True, slots=True)
class Overlap:
    """What lines share with a corpus.

    ``shared``: their different runs of ``NOTES`` notes that occur in the corpus. ``longest``: the
    notes of the longest run that does.
    """

    shared: Share
    longest: int


def overlap(lines: Sequence[Steps], corpus: Sequence[Steps]) -> Overlap:
    """Compare lines with a corpus of lines; both as :func:`steps`."""

    def common(notes: int) -> tuple[int, int]:
        runs = _all_runs(lines, notes)
        return int(np.isin(runs, _all_runs(corpus, notes)).sum()), len(runs)

    # A run of n notes contains one of n - 1: double, then halve.
    low, high = 1, 2
    while common(high)[0]:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if common(middle)[0] else (low, middle)
    return Overlap(Share(*common(NOTES)), low)
