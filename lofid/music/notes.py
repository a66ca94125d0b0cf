"""Notes, drum classes and the musical grid.

Time inside a bar is counted in ticks from the bar line. A note played ahead of the bar line has a
small negative start and still belongs to the bar that it opens.
"""

from dataclasses import dataclass
from enum import IntEnum, StrEnum

PPQ = 480
"""Ticks in a quarter note. 1 tick is 1.56 ms at 80 BPM."""

SIXTEENTH = PPQ // 4
BEATS_PER_BAR = 4
TICKS_PER_BAR = PPQ * BEATS_PER_BAR
EARLIEST_START = -SIXTEENTH // 2
"""A note may lie half a sixteenth ahead of its bar line; further ahead it is the bar before's."""


class Part(StrEnum):
    """Who plays a note. Keys, melody and drums are written by the models, bass by the arranger."""

    KEYS = "keys"
    MELODY = "melody"
    BASS = "bass"
    DRUMS = "drums"


@dataclass(frozen=True, slots=True, order=True)
class Note:
    """One note of a bar.

    ``start`` in ticks from the bar line (``EARLIEST_START`` ≤ start < ``TICKS_PER_BAR``),
    ``pitch`` 0-127 (MIDI), ``duration`` in ticks (> 0, may reach past the bar's end),
    ``velocity`` 1-127. The order is that of time, then pitch.
    """

    start: int
    pitch: int
    duration: int
    velocity: int


class DrumClass(IntEnum):
    """The nine drum classes of Gillick et al., "Learning to Groove" (ICML 2019)."""

    KICK = 0
    SNARE = 1
    CLOSED_HAT = 2
    OPEN_HAT = 3
    LOW_TOM = 4
    MID_TOM = 5
    HIGH_TOM = 6
    CRASH = 7
    RIDE = 8


DRUM_PITCH: dict[DrumClass, int] = {
    DrumClass.KICK: 36,
    DrumClass.SNARE: 38,
    DrumClass.CLOSED_HAT: 42,
    DrumClass.OPEN_HAT: 46,
    DrumClass.LOW_TOM: 43,
    DrumClass.MID_TOM: 47,
    DrumClass.HIGH_TOM: 50,
    DrumClass.CRASH: 49,
    DrumClass.RIDE: 51,
}
"""The General MIDI pitch that stands for each class."""

DRUM_CLASS: dict[int, DrumClass] = {
    pitch: drum
    for drum, pitches in {
        DrumClass.KICK: (35, 36),
        DrumClass.SNARE: (37, 38, 39, 40),
        DrumClass.CLOSED_HAT: (22, 42, 44),
        DrumClass.OPEN_HAT: (26, 46),
        DrumClass.LOW_TOM: (41, 43, 58),
        DrumClass.MID_TOM: (45, 47),
        DrumClass.HIGH_TOM: (48, 50),
        DrumClass.CRASH: (49, 52, 55, 57),
        DrumClass.RIDE: (51, 53, 59),
    }.items()
    for pitch in pitches
}
"""Every General MIDI and Roland TD-11 pitch that we fold into a class."""
