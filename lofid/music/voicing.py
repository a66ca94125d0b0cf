"""Which pitches the chords and the melody may use: register, scale, and no mud.

Lo-fi keys voice chords around middle C, leave the low octaves to the bass, and keep semitones out
of the lower half of the register.
"""

from lofid.music.chords import Chord, Key
from lofid.music.scales import chord_scale

COMPING_COMPASS = range(48, 73)
"""C3 to C5."""

MELODY_COMPASS = range(65, 85)
"""F4 to C6: above the chords, not yet shrill."""

BASS_COMPASS = range(28, 44)
"""E1 to G2."""

ROOTLESS_BELOW = 55
"""Where a bass plays the roots, the chords leave them alone below G3."""

CLUSTERS_FROM = 60
"""Semitones between neighbouring chord notes sound well from middle C upwards only."""


def comping_pitches(chord: Chord, key: Key, *, bass_plays: bool) -> frozenset[int]:
    """The MIDI pitches that a chord accompaniment may use over ``chord`` in ``key``."""
    scale = chord_scale(chord, key)
    return frozenset(
        pitch
        for pitch in COMPING_COMPASS
        if pitch % 12 in scale
        and not (bass_plays and pitch < ROOTLESS_BELOW and pitch % 12 == chord.root)
    )


def melody_pitches(chord: Chord, key: Key) -> frozenset[int]:
    """The MIDI pitches that a melody may use over ``chord`` in ``key``."""
    scale = chord_scale(chord, key)
    return frozenset(pitch for pitch in MELODY_COMPASS if pitch % 12 in scale)


def is_cluster(lower: int, upper: int) -> bool:
    """Whether two neighbouring chord notes are a semitone too low to sound well."""
    return upper - lower == 1 and lower < CLUSTERS_FROM
