"""The melody as it is sung: clear of the chords, with a shape, and with ends that mean it."""

from collections.abc import Sequence
from dataclasses import replace

from lofid.music.chords import Chord, Quality
from lofid.music.notes import PPQ, TICKS_PER_BAR, Note
from lofid.music.plan import BarPlan
from lofid.music.scales import chord_scale
from lofid.music.voicing import MELODY_COMPASS

_ARCH = 9
"""Velocity steps between a bar's highest note and its lowest."""

_REST = PPQ
"""What follows a phrase's last note, at least."""


def sung(plan: BarPlan, melody: Sequence[Note], chords: Sequence[Note]) -> tuple[Note, ...]:
    """The melody of a bar above the chords as they ring (both in the sounding key).

    No note lies a minor ninth above one that sounds with it, but over a chord that has it. Higher
    notes are sung out. The last note of a phrase rests on a colour of the chord, or at a section's
    end on the chord itself, and is held.
    """
    ends = [*(note.start for note in melody), TICKS_PER_BAR][1:]
    notes: list[Note] = []
    for note, end in zip(melody, ends, strict=True):
        chord = plan.chords[
            min(note.start * len(plan.chords) // TICKS_PER_BAR, len(plan.chords) - 1)
        ]
        sounding = [
            other.pitch
            for other in chords
            if other.start < end and other.start + other.duration > note.start + PPQ // 8
        ]
        closes = note is melody[-1] and plan.bar_in_section % 2 == 1
        pitch = _clear(note.pitch, _goals(plan, chord, closes=closes), sounding, chord)
        duration = note.duration
        if closes and end - note.start > _REST:
            duration = max(duration, min(end - note.start - _REST // 2, 3 * PPQ))
        notes.append(replace(note, pitch=pitch, duration=duration))
    if len(notes) > 1:
        notes = _arched(notes)
    return tuple(notes)


def _goals(plan: BarPlan, chord: Chord, *, closes: bool) -> frozenset[int]:
    """The pitch classes that a note may have: of the scale, or of what a phrase ends on."""
    scale = chord_scale(chord, plan.key)
    if not closes:
        return scale
    steps = [chord.quality.intervals[1], 2, *(x for x in chord.quality.intervals if x in (10, 11))]
    return frozenset((chord.root + step) % 12 for step in steps) & scale


def _clear(pitch: int, classes: frozenset[int], sounding: Sequence[int], chord: Chord) -> int:
    """The nearest pitch of these classes that no sounding one is a minor ninth below."""
    has_flat_nine = chord.quality is Quality.DOMINANT_7_FLAT_9

    def grates(candidate: int) -> bool:
        return any(
            (candidate - other) % 12 == 1
            and candidate > other
            and not (has_flat_nine and other % 12 == chord.root)
            for other in sounding
        )

    above = max(sounding, default=0)
    candidates = [
        other
        for other in MELODY_COMPASS
        if other % 12 in classes and other > above and not grates(other)
    ]
    return min(candidates, key=lambda other: (abs(other - pitch), other), default=pitch)


def _arched(notes: list[Note]) -> list[Note]:
    """The higher, the louder, around the same middle."""
    low = min(note.pitch for note in notes)
    span = max(note.pitch for note in notes) - low
    if not span:
        return notes
    return [
        replace(
            note,
            velocity=min(
                127, max(1, round(note.velocity + _ARCH * ((note.pitch - low) / span - 0.5)))
            ),
        )
        for note in notes
    ]
