"""The keys' vocabulary: comping and melody of one bar, in the home key (C major or A minor).

Grid: onsets on 24ths of a beat (20 ticks), ten lengths from a thirty-second to a whole bar, eight
velocities. Comping and melody have pitch tokens of their own, so that a bar can be asked for, or
kept, with or without a melody. What the grid cannot hold: of two notes of one part on the same
pitch and onset the louder is kept; pitches outside ``COMPING`` and ``MELODY`` move by octaves.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from lofid.music.chords import PITCH_CLASSES, Chord, Quality
from lofid.music.notes import PPQ, TICKS_PER_BAR, Note
from lofid.tokens.controls import UNSPECIFIED, BinnedField, ChoiceField
from lofid.tokens.grammar import Grammar, TokenError
from lofid.tokens.vocabulary import Vocabulary

POSITION_TICKS = PPQ // 24
POSITIONS = TICKS_PER_BAR // POSITION_TICKS
COMPING = range(28, 97)
MELODY = range(48, 97)
LENGTHS = (60, 120, 180, 240, 360, 480, 720, 960, 1440, 1920)
"""Note lengths in ticks; a duration goes to the nearest one on a logarithmic scale."""
VELOCITY_STEP = 16
VELOCITIES = 128 // VELOCITY_STEP

TEMPO = BinnedField("tempo", "BPM", (65, 70, 75, 80, 85, 90, 95))
STYLE = ChoiceField("style", ("pop", "jazz", "loop"))
DENSITY = BinnedField("density", "comping notes a bar", (1, 4, 7, 10, 14, 19, 26))
ENERGY = BinnedField("energy", "mean velocity of the comping", (40, 50, 60, 70, 80, 90, 100))
REGISTER = BinnedField("register", "mean pitch of the comping", (48, 52, 56, 60, 64, 68))
MELODY_AMOUNT = BinnedField("melody", "melody notes a bar", (1, 3, 5, 8, 12))

_QUALITIES = tuple(Quality)
_FIELDS = (TEMPO, STYLE, DENSITY, ENERGY, REGISTER, MELODY_AMOUNT)

VOCABULARY = Vocabulary(
    "lofid-keys-1",
    [
        ("end", ["bar"]),
        *((item.name, item.members) for item in _FIELDS),
        ("root", (UNSPECIFIED, *PITCH_CLASSES)),
        ("quality", (UNSPECIFIED, *(quality.name.lower() for quality in Quality))),
        ("position", [str(position) for position in range(POSITIONS)]),
        ("comping", [str(pitch) for pitch in COMPING]),
        ("lead", [str(pitch) for pitch in MELODY]),
        ("length", [f"{ticks}/{bin_}" for ticks in LENGTHS for bin_ in range(VELOCITIES)]),
    ],
)
GRAMMAR = Grammar(VOCABULARY, notes=("comping", "lead"), length="length")

_LENGTH_EDGES = [(a * b) ** 0.5 for a, b in pairwise(LENGTHS)]
_ROOT, _QUALITY = VOCABULARY.block("root").start, VOCABULARY.block("quality").start
_POSITION = VOCABULARY.block("position").start
COMPING_TOKENS = VOCABULARY.block("comping")
LEAD_TOKENS = VOCABULARY.block("lead")
_LENGTH = VOCABULARY.block("length").start


@dataclass(frozen=True, slots=True)
class KeysHeader:
    """What is asked of a bar of keys; None (or no chords) leaves a field unspecified.

    ``tempo`` in BPM; ``style`` one of ``STYLE.choices``; one or two ``chords`` in the home key,
    sharing the bar equally; ``density`` in comping notes, ``energy`` as mean velocity, ``register``
    as mean pitch of the comping; ``melody`` in melody notes.
    """

    tempo: float | None = None
    style: str | None = None
    chords: tuple[Chord, ...] = ()
    density: float | None = None
    energy: float | None = None
    register: float | None = None
    melody: float | None = None


@dataclass(frozen=True, slots=True)
class KeysNotes:
    """The notes of one bar of keys, in the home key."""

    comping: tuple[Note, ...]
    melody: tuple[Note, ...]


def encode_header(header: KeysHeader) -> list[int]:
    """The header as token ids: tempo, style, chords, density, energy, register, melody."""
    if len(header.chords) > 2:
        raise TokenError(f"a bar holds at most two chords, not {len(header.chords)}")
    chords = [
        token
        for chord in header.chords
        for token in (_ROOT + 1 + chord.root, _QUALITY + 1 + _QUALITIES.index(chord.quality))
    ] or [_ROOT, _QUALITY]
    return [
        VOCABULARY.block("tempo")[TEMPO.member(header.tempo)],
        VOCABULARY.block("style")[STYLE.member(header.style)],
        *chords,
        VOCABULARY.block("density")[DENSITY.member(header.density)],
        VOCABULARY.block("energy")[ENERGY.member(header.energy)],
        VOCABULARY.block("register")[REGISTER.member(header.register)],
        VOCABULARY.block("melody")[MELODY_AMOUNT.member(header.melody)],
    ]


def quantised(notes: Iterable[Note], compass: range) -> tuple[Note, ...]:
    """The notes as the grid holds them, in order; encoding and decoding these changes nothing."""
    kept: dict[tuple[int, int], Note] = {}
    for note in notes:
        position = min(max(round(note.start / POSITION_TICKS), 0), POSITIONS - 1)
        pitch = note.pitch
        while pitch < compass.start:
            pitch += 12
        while pitch >= compass.stop:
            pitch -= 12
        length = LENGTHS[bisect_right(_LENGTH_EDGES, note.duration)]
        velocity = note.velocity // VELOCITY_STEP * VELOCITY_STEP + VELOCITY_STEP // 2
        rival = kept.get((position, pitch))
        if rival is None or velocity > rival.velocity:
            kept[position, pitch] = Note(position * POSITION_TICKS, pitch, length, velocity)
    return tuple(sorted(kept.values()))


def encode_notes(notes: KeysNotes) -> list[int]:
    """The events of a bar and its end as token ids."""
    events = [
        (note.start // POSITION_TICKS, block.start + note.pitch - compass.start, note)
        for part, compass, block in (
            (notes.comping, COMPING, COMPING_TOKENS),
            (notes.melody, MELODY, LEAD_TOKENS),
        )
        for note in quantised(part, compass)
    ]
    tokens: list[int] = []
    here = -1
    for position, pitch, note in sorted(events):
        if position != here:
            tokens.append(_POSITION + position)
            here = position
        length = LENGTHS.index(note.duration) * VELOCITIES + note.velocity // VELOCITY_STEP
        tokens += [pitch, _LENGTH + length]
    return [*tokens, GRAMMAR.end]


def decode_notes(tokens: Sequence[int]) -> KeysNotes:
    """Notes from the tokens after a header; raises :class:`TokenError` if they are no bar."""
    state = GRAMMAR.start
    comping: list[Note] = []
    melody: list[Note] = []
    position, pitch = 0, 0
    for token in tokens:
        state = GRAMMAR.advance(state, token)
        if token >= _LENGTH:
            length, velocity = divmod(token - _LENGTH, VELOCITIES)
            part, compass, block = (
                (comping, COMPING, COMPING_TOKENS)
                if pitch in COMPING_TOKENS
                else (melody, MELODY, LEAD_TOKENS)
            )
            part.append(
                Note(
                    position * POSITION_TICKS,
                    pitch - block.start + compass.start,
                    LENGTHS[length],
                    velocity * VELOCITY_STEP + VELOCITY_STEP // 2,
                )
            )
        elif token >= COMPING_TOKENS.start:
            pitch = token
        elif token >= _POSITION:
            position = token - _POSITION
    if state.phase is not state.phase.CLOSED:
        raise TokenError("the bar has no end")
    return KeysNotes(tuple(comping), tuple(melody))
