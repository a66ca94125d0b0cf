"""Quotations are found, whatever key they are in; what is not quoted is not."""

import numpy as np

from lofid.judge.figures import Share
from lofid.judge.recital import NOTES, KnownNotes, steps
from lofid.music.notes import Note


def tune(seed: int, notes: int, transposed: int = 0) -> list[tuple[Note, ...]]:
    """Bars of random notes on the eighths."""
    generator = np.random.Generator(np.random.Philox(seed))
    pitches = generator.integers(55, 80, notes) + transposed
    return [
        tuple(Note(240 * i, int(p), 200, 80) for i, p in enumerate(pitches[first : first + 8]))
        for first in range(0, notes, 8)
    ]


def test_a_quotation_in_another_key() -> None:
    corpus = KnownNotes(steps(tune(seed, 800)) for seed in range(3))
    quoting = [*tune(77, 40), *tune(1, 800, transposed=5)[10:13], *tune(78, 40)]
    found = corpus.overlap(steps(quoting))
    assert found.longest in range(24, 27)  # a chance step at either end may fit too
    assert found.shared.hits in range(24 - NOTES + 1, 24 - NOTES + 4)
    assert found.shared.total == 40 + 24 + 40 - NOTES + 1


def test_strangers_share_nothing_long() -> None:
    found = KnownNotes([steps(tune(2, 4000))]).overlap(steps(tune(1, 400)))
    assert found.shared == Share(0, 400 - NOTES + 1)
    assert found.longest < NOTES


def test_itself() -> None:
    line = steps(tune(1, 100))
    assert KnownNotes([line]).overlap(line).longest == 100


def test_rhythm_counts_and_micro_timing_does_not() -> None:
    bars = tune(1, 64)
    late = [tuple(Note(n.start + 20, n.pitch, 9, 9) for n in bar) for bar in bars]
    slow = [bar for bars_of in ((b[:4], b[4:]) for b in bars) for bar in bars_of]
    corpus = KnownNotes([steps(bars)])
    assert corpus.overlap(steps(late)).shared.value == 1
    assert corpus.overlap(steps(slow)).shared.value == 0


def test_nothing() -> None:
    assert len(steps([(), (Note(0, 60, 1, 1),)])) == 0
    assert KnownNotes([]).overlap(steps([])).shared == Share(0, 0)
