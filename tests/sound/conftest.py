"""Bars written by hand: a plain lo-fi groove for whatever needs music but no models."""

from collections.abc import Callable
from types import MappingProxyType

import numpy as np
import pytest

from lofid.music.chords import Chord, Key
from lofid.music.notes import DRUM_PITCH as DRUM
from lofid.music.notes import SIXTEENTH, DrumClass, Note, Part
from lofid.music.plan import Bar, BarPlan, Section

BarMaker = Callable[..., Bar]
PROGRESSION = ("Dm9", "G13", "Cmaj9", "Am7")


@pytest.fixture(scope="session")
def bar_of() -> BarMaker:
    """Bar ``index`` of a groove at ``tempo`` with the given parts; its notes differ bar by bar."""

    def make(
        index: int,
        tempo: float = 80.0,
        parts: frozenset[Part] = frozenset(Part),
        density: float = 0.5,
        notes: dict[Part, tuple[Note, ...]] | None = None,
    ) -> Bar:
        chord = Chord.parse(PROGRESSION[index % 4])
        random = np.random.Generator(np.random.Philox(key=index))
        written = notes if notes is not None else _groove(chord, density, random)
        return Bar(
            BarPlan(
                index=index,
                tempo=tempo,
                key=Key.parse("C"),
                chords=(chord,),
                section=Section.A,
                bar_in_section=index,
                density=density,
                energy=0.5,
                register=60.0,
                melody=0.4,
                swing=58.0,
                parts=parts,
            ),
            MappingProxyType({part: written[part] for part in written if part in parts}),
        )

    return make


def _groove(
    chord: Chord, density: float, random: np.random.Generator
) -> dict[Part, tuple[Note, ...]]:
    def hit(step: int, drum: DrumClass, velocity: int, late: int = 0) -> Note:
        loose = int(random.integers(-6, 7))
        return Note(max(-60, step * SIXTEENTH + late + loose), DRUM[drum], SIXTEENTH, velocity)

    drums = [hit(0, DrumClass.KICK, 104), hit(10, DrumClass.KICK, 92)]
    drums += [hit(4, DrumClass.SNARE, 96, 12), hit(12, DrumClass.SNARE, 100, 12)]
    drums += [hit(7, DrumClass.SNARE, 34)]
    drums += [
        hit(step, DrumClass.CLOSED_HAT, 60 + 14 * (step % 4 == 0)) for step in range(0, 16, 2)
    ]
    pitches = [48 + (chord.root + i) % 24 + (12 if i > 12 else 0) for i in chord.quality.intervals]
    starts = [0, 6, 10, 13][: 1 + round(3 * density)]
    keys = [
        Note(
            step * SIXTEENTH + int(random.integers(0, 14)),
            pitch,
            SIXTEENTH * 5,
            62 + int(random.integers(-8, 9)),
        )
        for step in starts
        for pitch in pitches
    ]
    melody = [
        Note(int(step) * SIXTEENTH, 72 + (chord.root + 4) % 12, SIXTEENTH * 2, 70)
        for step in random.choice(16, int(random.integers(0, 4)), replace=False)
    ]
    root = 28 + (chord.root - 4) % 12
    bass = [
        Note(20, root, SIXTEENTH * 6, 84),
        Note(10 * SIXTEENTH + 18, root + 7, SIXTEENTH * 4, 74),
    ]
    parts = {Part.KEYS: keys, Part.MELODY: melody, Part.BASS: bass, Part.DRUMS: drums}
    return {part: tuple(sorted(notes)) for part, notes in parts.items()}
