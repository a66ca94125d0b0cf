"""The drums' vocabulary: one bar of hits on the sixteenth grid, each with its own micro-timing.

Grid: sixteen positions; a hit is one token of drum class x micro-offset x velocity. Nine offsets
13 ticks apart (10 ms at 100 BPM) reach half a sixteenth to either side, so a hit moves by at most
8 ticks. Seven even velocities and 127, which alone makes up 14 % of the Groove MIDI Dataset. What
the grid cannot hold: of two hits of one class at one position and offset the louder is kept; flams
and rolls that lie further apart stay.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lofid.music.notes import DRUM_CLASS, DRUM_PITCH, SIXTEENTH, TICKS_PER_BAR, DrumClass, Note
from lofid.tokens.controls import BinnedField, ChoiceField
from lofid.tokens.grammar import Grammar, TokenError
from lofid.tokens.vocabulary import Vocabulary

POSITIONS = TICKS_PER_BAR // SIXTEENTH
OFFSET_STEP = 13
OFFSETS = 9
VELOCITY_STEP = 18
VELOCITIES = 8
ACCENT = VELOCITY_STEP * (VELOCITIES - 1)
"""From this velocity on a hit is a full accent, which the last bin holds as 127."""
HIT_TICKS = SIXTEENTH
"""Drums ring as long as they like; written hits last a sixteenth."""

TEMPO = BinnedField("tempo", "BPM", (70, 80, 90, 100, 110, 120, 140))
STYLE = ChoiceField("style", ("hiphop", "funk", "soul", "rock", "jazz", "latin", "other"))
DENSITY = BinnedField("density", "hits a bar", (1, 6, 10, 14, 18, 23, 29))
ENERGY = BinnedField("energy", "mean velocity", (30, 42, 54, 66, 78, 90, 102))
FILL = ChoiceField("fill", ("groove", "fill"))

VOCABULARY = Vocabulary(
    "lofid-drums-1",
    [
        ("end", ["bar"]),
        *((item.name, item.members) for item in (TEMPO, STYLE, DENSITY, ENERGY, FILL)),
        ("position", [str(position) for position in range(POSITIONS)]),
        (
            "hit",
            [
                f"{drum.name.lower()}/{(offset - OFFSETS // 2) * OFFSET_STEP:+d}/{velocity}"
                for drum in DrumClass
                for offset in range(OFFSETS)
                for velocity in range(VELOCITIES)
            ],
        ),
    ],
)
GRAMMAR = Grammar(VOCABULARY, notes=("hit",), stride=VELOCITIES)

_POSITION = VOCABULARY.block("position").start
HIT_TOKENS = VOCABULARY.block("hit")


@dataclass(frozen=True, slots=True)
class DrumsHeader:
    """What is asked of a bar of drums; None leaves a field unspecified.

    ``tempo`` in BPM; ``style`` one of ``STYLE.choices``; ``density`` in hits a bar, ``energy`` as
    mean velocity; ``fill`` whether the bar is a fill.
    """

    tempo: float | None = None
    style: str | None = None
    density: float | None = None
    energy: float | None = None
    fill: bool | None = None


def encode_header(header: DrumsHeader) -> list[int]:
    """The header as token ids: tempo, style, density, energy, fill."""
    fill = None if header.fill is None else FILL.choices[header.fill]
    return [
        VOCABULARY.block("tempo")[TEMPO.member(header.tempo)],
        VOCABULARY.block("style")[STYLE.member(header.style)],
        VOCABULARY.block("density")[DENSITY.member(header.density)],
        VOCABULARY.block("energy")[ENERGY.member(header.energy)],
        VOCABULARY.block("fill")[FILL.member(fill)],
    ]


def _cell(note: Note) -> tuple[int, DrumClass, int, int]:
    """Position, class, offset bin and velocity bin of a hit."""
    position = min(max(round(note.start / SIXTEENTH), 0), POSITIONS - 1)
    offset = round((note.start - position * SIXTEENTH) / OFFSET_STEP) + OFFSETS // 2
    offset = min(max(offset, 0), OFFSETS - 1)
    return position, DRUM_CLASS[note.pitch], offset, note.velocity // VELOCITY_STEP


def _note(position: int, drum: DrumClass, offset: int, velocity: int) -> Note:
    loudness = 127 if velocity == VELOCITIES - 1 else velocity * VELOCITY_STEP + VELOCITY_STEP // 2
    start = position * SIXTEENTH + (offset - OFFSETS // 2) * OFFSET_STEP
    return Note(start, DRUM_PITCH[drum], HIT_TICKS, loudness)


def _cells(notes: Iterable[Note]) -> list[tuple[int, DrumClass, int, int]]:
    loudest: dict[tuple[int, DrumClass, int], int] = {}
    for position, drum, offset, velocity in map(_cell, notes):
        place = (position, drum, offset)
        loudest[place] = max(velocity, loudest.get(place, 0))
    return sorted((*place, velocity) for place, velocity in loudest.items())


def quantised(notes: Iterable[Note]) -> tuple[Note, ...]:
    """The hits as the grid holds them; encoding and decoding these changes nothing.

    Raises KeyError for a pitch that is no drum (see ``DRUM_CLASS``).
    """
    return tuple(sorted(_note(*cell) for cell in _cells(notes)))


def encode_notes(notes: Iterable[Note]) -> list[int]:
    """The hits of a bar and its end as token ids; KeyError for a pitch that is no drum."""
    tokens: list[int] = []
    here = -1
    for position, drum, offset, velocity in _cells(notes):
        if position != here:
            tokens.append(_POSITION + position)
            here = position
        tokens.append(HIT_TOKENS.start + (drum * OFFSETS + offset) * VELOCITIES + velocity)
    return [*tokens, GRAMMAR.end]


def hit_class(token: int) -> DrumClass:
    """The drum class of a hit token."""
    return DrumClass((token - HIT_TOKENS.start) // (OFFSETS * VELOCITIES))


def decode_notes(tokens: Sequence[int]) -> tuple[Note, ...]:
    """Hits from the tokens after a header; raises :class:`TokenError` if they are no bar."""
    state = GRAMMAR.start
    notes: list[Note] = []
    position = 0
    for token in tokens:
        state = GRAMMAR.advance(state, token)
        if token in HIT_TOKENS:
            place, velocity = divmod(token - HIT_TOKENS.start, VELOCITIES)
            drum, offset = divmod(place, OFFSETS)
            notes.append(_note(position, DrumClass(drum), offset, velocity))
        elif token >= _POSITION:
            position = token - _POSITION
    if state.phase is not state.phase.CLOSED:
        raise TokenError("the bar has no end")
    return tuple(sorted(notes))
