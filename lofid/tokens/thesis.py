"""The thesis' token format: piano as waits and notes, without bars, tempo or chords.

Kept for import and as the baseline that the bar vocabulary is measured against. It is the piano
vocabulary of Brian Semrau's MIDI-LLM-tokenizer (``vocab_config_piano.json``, 2023), on which the
public RWKV MIDI piano models were trained; its vocabulary file as corrected in RWKV-Runner
(``tokenizer-midipiano.json``) fixes the ids:

====== ===================== ===========================================================
ids    names                 meaning
====== ===================== ===========================================================
0-2    <pad> <start> <end>
3-127  t1 ... t125           a wait of that many steps of 8 ms
128-   p:0:0 ... p:7f:f      pitch and velocity bin, both hexadecimal, pitch by pitch;
2175                         bin 0 releases the note
====== ===================== ===========================================================

An earlier file named the waits t0 ... t124 at the same ids, although no encoder writes t0 and a
full second is t125; models trained with that file read every wait one step longer than they meant.
We assume the corrected one. What else the sources leave open, we settle so:

* Silence ahead of the first note is dropped, and simultaneous tokens are in order of pitch, then
  bin (so releases come first), as the original does.
* The original rounds each wait on its own, which drifts, and cuts waits at 10 s. We round the
  moments themselves to the 8 ms grid, and write as many waits as it takes.
* A note shorter than a step lasts one step. Velocity is all there is of expression: pedal, volume
  and program are for whoever makes the notes.
"""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lofid.errors import LofidError
from lofid.music.midi import MidiSong
from lofid.music.notes import PPQ, Note
from lofid.tokens.vocabulary import Vocabulary

STEP = 0.008
"""Seconds in one step of a wait."""

LONGEST_WAIT = 125
"""Steps in the longest wait token: one second."""

VELOCITY_BINS = 16
VELOCITY_EXPONENT = 0.33
_PITCHES = 128
_VELOCITIES = 128

VOCABULARY = Vocabulary(
    "thesis",
    [
        ("special", ["<pad>", "<start>", "<end>"]),
        ("wait", [f"t{steps}" for steps in range(1, LONGEST_WAIT + 1)]),
        ("note", [f"p:{p:x}:{b:x}" for p in range(_PITCHES) for b in range(VELOCITY_BINS)]),
    ],
)
PAD, START, END = VOCABULARY.block("special")
_WAIT = VOCABULARY.block("wait").start - 1
_NOTE = VOCABULARY.block("note").start


@dataclass(frozen=True, slots=True, order=True)
class TimedNote:
    """A note in seconds: ``start`` and ``duration`` (> 0), ``pitch`` 0-127, ``velocity`` 1-127."""

    start: float
    pitch: int
    duration: float
    velocity: int


def velocity_bin(velocity: int) -> int:
    """The bin (0-15) of a velocity 0-127; only velocity 0 has bin 0.

    The bins are cut where (1 - e^(v / 128)) / (1 - e), e = 0.33, passes multiples of 1/15: five
    velocities wide in the softest bin, fourteen in the loudest.
    """
    decayed = math.pow(VELOCITY_EXPONENT, velocity / _VELOCITIES)
    share = (1 - decayed) / (1 - VELOCITY_EXPONENT)
    return math.ceil(share * (VELOCITY_BINS - 1))


def bin_velocity(velocity_bin: int) -> int:
    """The velocity that stands for a bin: the loudest in it, 127 for bin 15 and 0 for bin 0."""
    share = velocity_bin / (VELOCITY_BINS - 1)
    edge = math.log(1 - (1 - VELOCITY_EXPONENT) * share, VELOCITY_EXPONENT)
    return max(0, math.ceil(edge * _VELOCITIES - 1))


def encode(notes: Iterable[TimedNote]) -> list[int]:
    """Token ids of notes, from START to END; time begins with the first note."""
    events: list[tuple[int, int, int]] = []
    for note in notes:
        begin = round(note.start / STEP)
        end = max(begin + 1, round((note.start + note.duration) / STEP))
        events.append((begin, note.pitch, velocity_bin(note.velocity)))
        events.append((end, note.pitch, 0))
    events.sort()
    tokens = [START]
    now = events[0][0] if events else 0
    for step, pitch, loudness in events:
        while step > now:
            wait = min(step - now, LONGEST_WAIT)
            tokens.append(_WAIT + wait)
            now += wait
        tokens.append(_NOTE + pitch * VELOCITY_BINS + loudness)
    return [*tokens, END]


def decode(tokens: Iterable[int]) -> tuple[TimedNote, ...]:
    """The notes that token ids play, in order, up to END or the last of them.

    Any sequence plays: a note struck while it sounds ends there and begins again, a release of a
    silent note is nothing, what still sounds at the end stops there, and no note is shorter than a
    step. Raises :class:`LofidError` for an id outside the vocabulary.
    """
    step = 0
    sounding: dict[int, tuple[int, int]] = {}
    notes: list[TimedNote] = []

    def release(pitch: int) -> None:
        if pitch in sounding:
            begin, velocity = sounding.pop(pitch)
            length = max(1, step - begin)
            notes.append(TimedNote(begin * STEP, pitch, length * STEP, velocity))

    for token in tokens:
        if not 0 <= token < len(VOCABULARY):
            raise LofidError(
                f"The token {token} is not one of the thesis format's ids 0-{len(VOCABULARY) - 1}; "
                "check that the file was written with the piano vocabulary."
            )
        if token == END:
            break
        if token >= _NOTE:
            pitch, loudness = divmod(token - _NOTE, VELOCITY_BINS)
            release(pitch)
            if loudness:
                sounding[pitch] = (step, bin_velocity(loudness))
        elif token > _WAIT:
            step += token - _WAIT
    for pitch in list(sounding):
        release(pitch)
    return tuple(sorted(notes))


def to_text(tokens: Iterable[int]) -> str:
    """Token ids as the format's text, names with spaces between."""
    return " ".join(VOCABULARY.tokens[token].split(":", 1)[1] for token in tokens)


def from_text(text: str) -> list[int]:
    """The token ids of such a text; raises :class:`LofidError` at the first unknown name."""
    return [_id(name) for name in text.split()]


def _id(name: str) -> int:
    special = {"<pad>": PAD, "<start>": START, "<end>": END}
    if name in special:
        return special[name]
    if (wait := re.fullmatch(r"t(\d{1,3})", name)) and 1 <= int(wait[1]) <= LONGEST_WAIT:
        return _WAIT + int(wait[1])
    note = re.fullmatch(r"p:([0-9a-f]{1,2}):([0-9a-f])", name)
    if note and int(note[1], 16) < _PITCHES:
        return _NOTE + int(note[1], 16) * VELOCITY_BINS + int(note[2], 16)
    raise LofidError(
        f"'{name}' is no token of the thesis format; it knows <pad>, <start>, <end>, "
        f"t1 to t{LONGEST_WAIT} and p:PITCH:BIN in hexadecimal."
    )


def from_song(song: MidiSong) -> tuple[TimedNote, ...]:
    """All pitched notes of a MIDI file as one piano, in seconds through its tempo map."""
    timed: list[TimedNote] = []
    for track in song.tracks:
        if track.is_drums:
            continue
        for note in track.notes:
            start = song.seconds(note.start)
            length = song.seconds(note.start + note.duration) - start
            timed.append(TimedNote(start, note.pitch, length, note.velocity))
    return tuple(sorted(timed))


def on_grid(notes: Sequence[TimedNote], tempo: float) -> tuple[Note, ...]:
    """The notes in ticks from the beginning, heard at ``tempo`` BPM (any: the format has none)."""
    ticks = tempo * PPQ / 60
    return tuple(
        sorted(
            Note(round(n.start * ticks), n.pitch, max(1, round(n.duration * ticks)), n.velocity)
            for n in notes
        )
    )
