"""Harmony in the training data: naming chords, extending them, and setting notes to new ones.

POP909 is mostly triads, lo-fi is mostly sevenths and ninths. The human performance (rhythm,
velocity, texture) is kept and its chord tones are moved to another chord: the same root with a
seventh and a ninth, or the next chord of a jazz lead sheet.
"""

from collections.abc import Iterable, Sequence

from lofid.music.chords import Chord, Key, Mode, Quality
from lofid.music.notes import Note

HOME = Key(0, Mode.MAJOR)

_TEMPLATES = {
    frozenset(interval % 12 for interval in quality.intervals): quality for quality in Quality
}
_DEGREE_SPANS = ((0, 0), (1, 2), (3, 4), (5, 5), (6, 7), (8, 9), (10, 11))
"""Semitones above the root of each scale degree, first to seventh, flat and natural."""
_PLAIN = (0, 2, 4, 5, 7, 9, 10)
"""The degrees as a dominant chord has them, for tones that a chord does not define."""


def name_chord(pitches: Iterable[int]) -> Chord | None:
    """The chord that sounds, or None. The lowest note is tried as root before the others."""
    heard = sorted(pitches)
    if not heard:
        return None
    classes = {pitch % 12 for pitch in heard}
    for root in [heard[0] % 12, *sorted(classes)]:
        quality = _TEMPLATES.get(frozenset((pitch - root) % 12 for pitch in classes))
        if quality is not None:
            return Chord(root, quality)
    return None


def extended(chord: Chord, ninth: bool) -> Chord:
    """A triad with the seventh that the home scale gives it, and its ninth if that is a whole tone.

    Chords that are more than triads come back as they are.
    """
    scale = HOME.pitch_classes
    has_major_seventh = (chord.root + 11) % 12 in scale
    ninth = ninth and (chord.root + 2) % 12 in scale
    match chord.quality:
        case Quality.MAJOR if has_major_seventh:
            quality = Quality.MAJOR_9 if ninth else Quality.MAJOR_7
        case Quality.MAJOR:
            quality = Quality.DOMINANT_9 if ninth else Quality.DOMINANT_7
        case Quality.MINOR:
            quality = Quality.MINOR_9 if ninth else Quality.MINOR_7
        case Quality.DIMINISHED:
            quality = Quality.HALF_DIMINISHED
        case Quality.SUS4:
            quality = Quality.SUS_7
        case other:
            quality = other
    return Chord(chord.root, quality)


def _degrees(chord: Chord) -> list[int]:
    """Semitones above the root of the seven degrees, as the chord defines them."""
    degrees = list(_PLAIN)
    if chord.quality in (Quality.DIMINISHED, Quality.HALF_DIMINISHED):
        degrees[5] = 8
    for interval in chord.quality.intervals:
        degrees[_degree(chord, interval % 12)] = interval % 12
    return degrees


def _degree(chord: Chord, semitones: int) -> int:
    """The degree (0-6) that a tone 0-11 semitones above the root is in a chord."""
    match chord.quality, semitones:
        case Quality.AUGMENTED, 8:
            return 4
        case Quality.DIMINISHED_7, 9:
            return 6
    return next(
        degree for degree, (low, high) in enumerate(_DEGREE_SPANS) if low <= semitones <= high
    )


def _has(chord: Chord, degree: int) -> bool:
    return any(_degree(chord, interval % 12) == degree for interval in chord.quality.intervals)


def _colours(notes: Sequence[Note], source: Chord, target: Chord) -> dict[int, int]:
    """Which doubled tones make room for the seventh and ninth that only the target has.

    Maps a source pitch to a degree (0-6). The bass note always stays.
    """
    if not notes:
        return {}
    upper = sorted({note.pitch for note in notes})[1:]
    roots = [pitch for pitch in upper if (pitch - source.root) % 12 == 0]
    fifths = [pitch for pitch in upper if (pitch - source.root) % 12 in (6, 7, 8)]
    room = roots + fifths[1:] if roots else fifths
    colours: dict[int, int] = {}
    if _has(target, 6) and not _has(source, 6) and room:
        colours[room.pop(0)] = 6
    if _has(target, 1) and not _has(source, 1) and room:
        colours[room.pop()] = 1
    return colours


def reharmonised(notes: Sequence[Note], source: Chord, target: Chord) -> list[Note]:
    """The same performance over another chord: each degree of the source becomes the target's.

    The root moves by the shorter way (at most 6 semitones).
    """
    shift = (target.root - source.root + 6) % 12 - 6
    new = _degrees(target)
    colours = _colours(notes, source, target)
    moved = []
    for note in notes:
        above = (note.pitch - source.root) % 12
        degree = _degree(source, above)
        goal = new[colours.get(note.pitch, degree)]
        step = goal - above
        if note.pitch in colours and degree == 0 and goal >= 9:
            step -= 12  # a doubled root makes room for the seventh just below it
        moved.append(Note(note.start, note.pitch + shift + step, note.duration, note.velocity))
    return moved
