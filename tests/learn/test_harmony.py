"""Chord names, extended chords, performances over other chords."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lofid.learn.harmony import extended, name_chord, reharmonised
from lofid.music.chords import Chord, Quality
from lofid.music.notes import Note

chords = st.builds(Chord, st.integers(0, 11), st.sampled_from(list(Quality)))


@pytest.mark.parametrize(
    ("pitches", "symbol"),
    [
        ((48, 52, 55), "C"),
        ((52, 55, 60), "C"),
        ((45, 48, 52, 55), "Am7"),
        ((48, 52, 55, 57), "C6"),
        ((50, 53, 57, 60, 64), "Dm9"),
        ((47, 50, 53, 57), "Bm7b5"),
    ],
)
def test_chords_are_named_from_the_bass(pitches: tuple[int, ...], symbol: str) -> None:
    chord = name_chord(pitches)
    assert chord is not None
    assert chord.symbol == symbol


def test_no_chord_has_no_name() -> None:
    assert name_chord([]) is None
    assert name_chord([60, 61, 62]) is None


@pytest.mark.parametrize(
    ("triad", "seventh", "ninth"),
    [("C", "Cmaj7", "Cmaj9"), ("G", "G7", "G9"), ("Am", "Am7", "Am9"), ("Em", "Em7", "Em7")],
)
def test_triads_grow_as_the_scale_gives_it(triad: str, seventh: str, ninth: str) -> None:
    assert extended(Chord.parse(triad), ninth=False).symbol == seventh
    assert extended(Chord.parse(triad), ninth=True).symbol == ninth


@given(chords, chords, st.lists(st.integers(0, 4), min_size=1, max_size=8))
def test_chord_tones_stay_chord_tones(source: Chord, target: Chord, octaves: list[int]) -> None:
    triad = source.quality.intervals[:3]
    notes = [
        Note(index, 36 + source.root + triad[octave % 3], 10, 64)
        for index, octave in enumerate(octaves)
    ]
    moved = reharmonised(notes, source, target)
    suspended = {Quality.SUS4, Quality.SUS_7}
    if (source.quality in suspended) == (target.quality in suspended):
        assert all(note.pitch % 12 in target.pitch_classes for note in moved)
    assert [(note.start, note.duration, note.velocity) for note in moved] == [
        (note.start, note.duration, note.velocity) for note in notes
    ]
    assert all(abs(new.pitch - old.pitch) <= 12 for new, old in zip(moved, notes, strict=True))


def test_a_doubled_root_becomes_the_seventh_and_the_bass_stays() -> None:
    notes = [Note(0, pitch, 10, 64) for pitch in (48, 52, 55, 60)]
    moved = reharmonised(notes, Chord.parse("C"), Chord.parse("Cmaj7"))
    assert [note.pitch for note in moved] == [48, 52, 55, 59]


@given(chords, st.lists(st.integers(30, 90), max_size=10))
def test_the_same_chord_changes_nothing(chord: Chord, pitches: list[int]) -> None:
    notes = [Note(0, pitch, 10, 64) for pitch in pitches if pitch % 12 in chord.pitch_classes]
    assert reharmonised(notes, chord, chord) == notes
