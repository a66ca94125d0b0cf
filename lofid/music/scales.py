"""Chord scales: which pitch classes sound right over a chord in a key.

The rule is that of chord-scale theory (Nettles and Graf, "The Chord Scale Theory and Jazz
Harmony", 1997): of the seven-note scales that contain the chord, play the one that keeps most of
the key.
"""

from functools import cache

from lofid.music.chords import Chord, Key, Mode

_MAJOR = (0, 2, 4, 5, 7, 9, 11)
_MELODIC_MINOR = (0, 2, 3, 5, 7, 9, 11)
_HARMONIC_MINOR = (0, 2, 3, 5, 7, 8, 11)

_RELUCTANCE = {_MAJOR: 0.0, _MELODIC_MINOR: 0.5, _HARMONIC_MINOR: 1.25}
"""How many tones in common with the key a family must win by, before it is preferred to major.

The harmonic minor's augmented second is kept for the chords that need it: E7 in C takes A harmonic
minor (6 common tones against 4 of A major), while Abmaj7 in C takes Eb major, that is Ab lydian
(4 against C harmonic minor's 5).
"""


@cache
def chord_scale(chord: Chord, key: Key) -> frozenset[int]:
    """The pitch classes (0-11) that fit ``chord`` in ``key``; always a superset of the chord.

    A diatonic chord gives the key's own scale. A borrowed one gives the mode of a major, melodic
    minor or harmonic minor scale that contains it and shares most tones with the key (ties go to
    the tonic nearest on the circle of fifths, then to the flat side). A chord that none of them
    contains takes the key's scale, with each foreign chord tone in place of its neighbours a
    semitone away that are no chord tones themselves.
    """
    home = key.tonic if key.mode is Mode.MAJOR else (key.tonic + 3) % 12
    candidates: list[tuple[float, int, int, frozenset[int]]] = []
    for steps, reluctance in _RELUCTANCE.items():
        for tonic in range(12):
            scale = frozenset((tonic + step) % 12 for step in steps)
            if chord.pitch_classes <= scale:
                # Multiplying by 7 turns semitones into steps on the circle of fifths.
                fifths = (7 * (tonic - home) + 6) % 12 - 6
                common = len(scale & key.pitch_classes)
                candidates.append((reluctance - common, abs(fifths), fifths, scale))
    if candidates:
        return min(candidates, key=lambda candidate: candidate[:3])[3]
    foreign = chord.pitch_classes - key.pitch_classes
    yielding = {(tone + step) % 12 for tone in foreign for step in (-1, 1)}
    return chord.pitch_classes | (key.pitch_classes - yielding)
