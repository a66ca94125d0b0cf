"""Chord scales against the textbook's answers."""

import pytest

from lofid.music.chords import Chord, Key, Mode, Quality
from lofid.music.scales import chord_scale

NAMES = {name: pitch for pitch, name in enumerate("C Db D Eb E F F# G Ab A Bb B".split())}


@pytest.mark.parametrize(
    ("chord", "key", "scale"),
    [
        ("Cmaj7", "C", "C D E F G A B"),
        ("Dm9", "C", "C D E F G A B"),
        ("Am7", "Am", "C D E F G A B"),
        ("D7", "C", "D E F# G A B C"),  # secondary dominant: mixolydian
        ("E7", "C", "E F Ab A B C D"),  # to a minor chord: phrygian dominant
        ("Bb7", "C", "Bb C D E F G Ab"),  # backdoor: lydian dominant
        ("Fm7", "C", "F G Ab Bb C D Eb"),  # borrowed subdominant minor: dorian
        ("Abmaj7", "C", "Ab Bb C D Eb F G"),  # lydian
        ("Dbmaj7", "C", "Db Eb F G Ab Bb C"),  # lydian
        ("F#m7b5", "C", "F# G A B C D E"),  # locrian
        ("C#dim7", "C", "Db E G Bb D F A"),  # D harmonic minor
        ("Bbmaj9", "Eb", "Eb F G A Bb C D"),
    ],
)
def test_textbook(chord: str, key: str, scale: str) -> None:
    expected = {NAMES[name] for name in scale.split()}
    assert chord_scale(Chord.parse(chord), Key.parse(key)) == expected


@pytest.mark.parametrize("mode", Mode)
def test_every_scale_contains_its_chord_and_is_the_same_in_every_key(mode: Mode) -> None:
    for chord in (Chord(root, quality) for root in range(12) for quality in Quality):
        scale = chord_scale(chord, Key(0, mode))
        assert chord.pitch_classes <= scale
        assert 7 <= len(scale) <= 8
        for by in range(1, 12):
            moved = chord_scale(chord.transposed(by), Key(by, mode))
            assert moved == {(pitch + by) % 12 for pitch in scale}
