"""Keys and chords by ear, against what was played."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lofid.learn.estimate import estimate_chords, estimate_keys, profiles
from lofid.music.chords import Chord, Key, Mode, Quality
from lofid.music.notes import Note


def _heard(chords: list[Chord]) -> list[Chord | None]:
    """A bar of each chord, root lowest, as it is estimated; one estimate a half bar."""
    notes = [
        Note(bar * 1920, 48 + chord.root + interval, 1920, 80)
        for bar, chord in enumerate(chords)
        for interval in chord.quality.intervals
    ]
    sounding, bass = profiles(notes, 2 * len(chords))
    return estimate_chords(sounding, bass, estimate_keys(sounding))


@pytest.mark.parametrize("tonic", range(12))
def test_progressions_are_named_in_every_key(tonic: int) -> None:
    played = [
        Chord.parse(symbol).transposed(tonic)
        for symbol in ("Dm7", "G7", "Cmaj7", "Am7", "Dm7", "G7", "C", "F")
    ]
    assert _heard(played) == [chord for chord in played for _ in range(2)]


@pytest.mark.parametrize(
    "quality",
    [
        Quality.MAJOR,
        Quality.MINOR,
        Quality.DIMINISHED,
        Quality.AUGMENTED,
        Quality.SUS4,
        Quality.DOMINANT_7,
        Quality.MAJOR_7,
        Quality.MINOR_7,
        Quality.HALF_DIMINISHED,
        Quality.DOMINANT_9,
        Quality.MAJOR_9,
        Quality.MINOR_9,
    ],
)
def test_a_chord_that_is_held_is_named(quality: Quality) -> None:
    assert set(_heard([Chord(0, quality)] * 4)) == {Chord(0, quality)}


def test_silence_has_no_chord() -> None:
    sounding, bass = profiles([Note(0, 60, 480, 80), Note(0, 64, 480, 80)], 6)
    assert bass.tolist() == [0, -1, -1, -1, -1, -1]
    assert estimate_chords(sounding, bass, estimate_keys(sounding))[1:] == [None] * 5


@given(st.integers(0, 11), st.sampled_from(Mode))
@settings(max_examples=24)
def test_scales_have_their_key(tonic: int, mode: Mode) -> None:
    key = Key(tonic, mode)
    third, seventh = (4, 11) if mode is Mode.MAJOR else (3, 8)
    steps = [0, third, 7, 0, 2, third, 5, 7, seventh, 7, third, 0]
    notes = [Note(place * 480, 60 + tonic + step, 480, 80) for place, step in enumerate(steps * 4)]
    sounding, _ = profiles(notes, 24)
    assert set(estimate_keys(sounding)) == {key}


def test_a_key_changes_where_the_music_does() -> None:
    scale = (0, 4, 7, 0, 2, 4, 5, 7, 9, 11, 7, 4)
    notes = [
        Note(place * 480, 60 + shift + step, 480, 80)
        for shift, begin in ((0, 0), (6, 144))
        for place, step in enumerate(scale * 12, begin)
    ]
    keys = estimate_keys(profiles(notes, 144)[0])
    assert keys == [Key(0, Mode.MAJOR)] * 36 + [Key(6, Mode.MAJOR)] * 36


def test_profiles_cut_notes_at_half_bars() -> None:
    sounding, bass = profiles([Note(480, 60, 960, 80), Note(1900, 40, 40, 80)], 3)
    assert sounding[:, 0].tolist() == [480, 480, 0]
    assert sounding[:, 4].tolist() == [0, 20, 20]
    assert np.array_equal(bass, [0, 0, -1])
