"""Chords and keys.

Symbols follow lead-sheet practice: ``Cmaj7``, ``F#m7b5``, ``Bb13``. Pitch classes are 0 (C) to 11.
"""

import re
from dataclasses import dataclass
from enum import Enum, StrEnum

from lofid.errors import LofidError

PITCH_CLASSES = ("C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
_LETTERS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}


class Quality(Enum):
    """A chord's quality: its lead-sheet suffix and its intervals above the root in semitones.

    Intervals are those that characterise the chord (ninths as 14, thirteenths as 21).
    """

    MAJOR = ("", (0, 4, 7))
    MINOR = ("m", (0, 3, 7))
    DIMINISHED = ("dim", (0, 3, 6))
    AUGMENTED = ("aug", (0, 4, 8))
    SUS4 = ("sus4", (0, 5, 7))
    SIXTH = ("6", (0, 4, 7, 9))
    MINOR_SIXTH = ("m6", (0, 3, 7, 9))
    DOMINANT_7 = ("7", (0, 4, 7, 10))
    MAJOR_7 = ("maj7", (0, 4, 7, 11))
    MINOR_7 = ("m7", (0, 3, 7, 10))
    HALF_DIMINISHED = ("m7b5", (0, 3, 6, 10))
    DIMINISHED_7 = ("dim7", (0, 3, 6, 9))
    SUS_7 = ("7sus4", (0, 5, 7, 10))
    ADD_9 = ("add9", (0, 4, 7, 14))
    DOMINANT_9 = ("9", (0, 4, 7, 10, 14))
    MAJOR_9 = ("maj9", (0, 4, 7, 11, 14))
    MINOR_9 = ("m9", (0, 3, 7, 10, 14))
    DOMINANT_7_FLAT_9 = ("7b9", (0, 4, 7, 10, 13))
    DOMINANT_13 = ("13", (0, 4, 7, 10, 14, 21))

    def __init__(self, suffix: str, intervals: tuple[int, ...]) -> None:
        self.suffix = suffix
        self.intervals = intervals

    @property
    def is_extended(self) -> bool:
        """Whether the chord has a seventh or a ninth, as lo-fi asks for on most bars."""
        return any(interval in (10, 11, 13, 14) for interval in self.intervals) or self in (
            Quality.DIMINISHED_7,
        )


_QUALITY_BY_SUFFIX = {quality.suffix: quality for quality in Quality}
_SYMBOL = re.compile(r"([A-G])([#b]?)(.*)")


@dataclass(frozen=True, slots=True)
class Chord:
    """A chord: root pitch class 0-11 and quality."""

    root: int
    quality: Quality

    @property
    def pitch_classes(self) -> frozenset[int]:
        """The pitch classes that belong to the chord."""
        return frozenset((self.root + interval) % 12 for interval in self.quality.intervals)

    @property
    def symbol(self) -> str:
        """The lead-sheet symbol, such as ``Am7``."""
        return PITCH_CLASSES[self.root] + self.quality.suffix

    def transposed(self, semitones: int) -> "Chord":
        """The same chord, moved by semitones."""
        return Chord((self.root + semitones) % 12, self.quality)

    @classmethod
    def parse(cls, symbol: str) -> "Chord":
        """Read a lead-sheet symbol; raises :class:`LofidError` for one outside our vocabulary."""
        match = _SYMBOL.fullmatch(symbol.strip())
        if match is None or match[3] not in _QUALITY_BY_SUFFIX:
            known = ", ".join(f"C{suffix}" for suffix in _QUALITY_BY_SUFFIX)
            raise LofidError(f"The chord '{symbol}' is not known; write one such as {known}.")
        accidental = {"": 0, "#": 1, "b": -1}[match[2]]
        return cls((_LETTERS[match[1]] + accidental) % 12, _QUALITY_BY_SUFFIX[match[3]])


class Mode(StrEnum):
    """Major or natural minor."""

    MAJOR = "major"
    MINOR = "minor"


@dataclass(frozen=True, slots=True)
class Key:
    """A key: tonic pitch class 0-11 and mode."""

    tonic: int
    mode: Mode

    @property
    def pitch_classes(self) -> frozenset[int]:
        """The seven pitch classes of the key's (natural) scale."""
        steps = (0, 2, 4, 5, 7, 9, 11) if self.mode is Mode.MAJOR else (0, 2, 3, 5, 7, 8, 10)
        return frozenset((self.tonic + step) % 12 for step in steps)

    @property
    def transposition(self) -> int:
        """Semitones (-6 to 5) from the models' home key, C major or A minor, to this key."""
        home = 0 if self.mode is Mode.MAJOR else 9
        return (self.tonic - home + 6) % 12 - 6

    @property
    def symbol(self) -> str:
        """``Eb`` for a major key, ``Cm`` for a minor one."""
        return PITCH_CLASSES[self.tonic] + ("" if self.mode is Mode.MAJOR else "m")

    @classmethod
    def parse(cls, symbol: str) -> "Key":
        """Read ``C``, ``Eb``, ``F#m``, ``A minor``; raises :class:`LofidError` otherwise."""
        match = re.fullmatch(r"([A-Ga-g])([#b]?)\s*(m|min|minor|maj|major)?", symbol.strip())
        if match is None:
            raise LofidError(
                f"The key '{symbol}' is not known; write a tonic and, for minor, an m: C, Eb, F#m."
            )
        tonic = (_LETTERS[match[1].upper()] + {"": 0, "#": 1, "b": -1}[match[2]]) % 12
        minor = match[3] in ("m", "min", "minor")
        return cls(tonic, Mode.MINOR if minor else Mode.MAJOR)
