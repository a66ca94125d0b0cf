import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lofid.music.chords import Chord, Key, Mode, Quality
from lofid.music.scales import chord_scale
from lofid.music.voicing import comping_pitches, is_cluster, melody_pitches

CHORDS = st.builds(Chord, st.integers(0, 11), st.sampled_from(Quality))
KEYS = st.builds(Key, st.integers(0, 11), st.sampled_from(Mode))


@given(chord=CHORDS, key=KEYS)
def test_every_chord_can_be_voiced_whole_around_middle_c(chord: Chord, key: Key) -> None:
    pitches = comping_pitches(chord, key, bass_plays=True)
    assert {pitch % 12 for pitch in pitches} == chord_scale(chord, key)
    assert min(pitches) >= 48
    assert max(pitches) <= 72


@given(chord=CHORDS, key=KEYS)
def test_low_roots_are_the_bass_players(chord: Chord, key: Key) -> None:
    low = [p for p in comping_pitches(chord, key, bass_plays=True) if p < 55]
    assert chord.root not in {pitch % 12 for pitch in low}


@given(chord=CHORDS, key=KEYS)
def test_the_melody_has_an_octave_of_the_scale(chord: Chord, key: Key) -> None:
    pitches = sorted(melody_pitches(chord, key))
    assert {pitch % 12 for pitch in pitches} == chord_scale(chord, key)
    assert all(b - a <= 3 for a, b in itertools.pairwise(pitches))


@pytest.mark.parametrize(
    ("lower", "upper", "cluster"), [(52, 53, True), (52, 54, False), (64, 65, False)]
)
def test_semitones_are_clusters_in_the_lower_half(lower: int, upper: int, cluster: bool) -> None:
    assert is_cluster(lower, upper) is cluster
