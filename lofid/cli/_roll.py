"""The piano roll: the notes of a bar as lines of text, with a cursor."""

from collections.abc import Mapping, Sequence
from itertools import groupby

from rich.text import Text

from lofid.music.notes import BEATS_PER_BAR, DRUM_CLASS, DrumClass, Part
from lofid.protocol.messages import NoteInfo

COLOURS = {Part.KEYS: "cyan", Part.MELODY: "yellow", Part.BASS: "blue", Part.DRUMS: "magenta"}
"""Each part's colour."""

LANES = {
    "cymbals": (DrumClass.CRASH, DrumClass.RIDE),
    "hats": (DrumClass.CLOSED_HAT, DrumClass.OPEN_HAT),
    "toms": (DrumClass.LOW_TOM, DrumClass.MID_TOM, DrumClass.HIGH_TOM),
    "snare": (DrumClass.SNARE,),
    "kick": (DrumClass.KICK,),
}
"""The drums' lines, from above."""

LOWEST, HIGHEST = 28, 87
"""Pitches at the edges of the roll, E1 and Eb6; what lies outside is drawn at the edge."""

_LANE_OF = {drum: lane for lane, drums in enumerate(LANES.values()) for drum in drums}
_MARGIN = 8


def piano_roll(
    notes: Mapping[Part, Sequence[NoteInfo]],
    ticks: int,
    position: float,
    size: tuple[int, int],
    ascii_only: bool = False,
) -> Text:
    """The notes of a bar of so many ticks.

    ``position`` is that of the cursor, 0 to 1; ``size`` columns and rows, of which the drums take
    the last five.
    """
    width = max(16, size[0] - _MARGIN)
    melodic = max(6, size[1] - len(LANES))
    beats = {width * beat // BEATS_PER_BAR for beat in range(BEATS_PER_BAR)}
    struck, held, line = ("#", "=", ":") if ascii_only else ("█", "━", "┊")
    blank = [line if column in beats else " " for column in range(width)]
    cells = [[(sign, "bright_black") for sign in blank] for _ in range(melodic + len(LANES))]

    def draw(row: int, note: NoteInfo, colour: str) -> None:
        first = max(0, note.start * width // ticks)
        last = min(width - 1, max(first, (note.start + note.duration) * width // ticks - 1))
        for column in range(last, first - 1, -1):
            cells[row][column] = (struck if column == first else held, colour)

    for part, voice in notes.items():
        for note in voice:
            if part is Part.DRUMS:
                drum = DRUM_CLASS.get(note.pitch, DrumClass.CLOSED_HAT)
                draw(melodic + _LANE_OF[drum], NoteInfo(note.start, 1, 0, 0), COLOURS[part])
            else:
                above = HIGHEST - min(HIGHEST, max(LOWEST, note.pitch))
                draw(above * melodic // (HIGHEST - LOWEST + 1), note, COLOURS[part])

    cursor = min(width - 1, int(max(0.0, position) * width))
    names = [""] * melodic + list(LANES)
    roll = Text()
    for name, row in zip(names, cells, strict=True):
        roll.append(f"{name:<{_MARGIN}}", "dim")
        for (colour, here), run in groupby(
            enumerate(row), key=lambda cell: (cell[1][1], cell[0] == cursor)
        ):
            roll.append("".join(sign for _, (sign, _) in run), f"{colour}{' reverse' * here}")
        roll.append("\n")
    roll.rstrip()
    return roll
