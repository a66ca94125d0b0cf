"""Standard MIDI files in and out.

Reading gives a :class:`Song`: tracks of notes on our grid (PPQ 480), whatever the file's division.
Writing takes finished bars. This module knows files and notes; it knows no ports and no plans
beyond what a file has to say about tempo, key and form.
"""

import io
import itertools
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import mido

from lofid.errors import LofidError
from lofid.files import replacing
from lofid.music.chords import PITCH_CLASSES, Key, Mode
from lofid.music.notes import BEATS_PER_BAR, EARLIEST_START, PPQ, TICKS_PER_BAR, Note, Part
from lofid.music.plan import Bar

DRUM_CHANNEL = 9
"""General MIDI's channel 10, counted from 0 as in the bytes."""

CHANNEL = MappingProxyType({Part.KEYS: 0, Part.MELODY: 1, Part.BASS: 2, Part.DRUMS: DRUM_CHANNEL})
"""The channel (0-15) that each part is written on."""

GM_PROGRAM = MappingProxyType({Part.KEYS: 4, Part.MELODY: 11, Part.BASS: 33, Part.DRUMS: 0})
"""General MIDI programs (0-127) where nobody chooses: Rhodes, vibraphone, fingered bass, kit."""

_DEFAULT_BPM = 120.0
"""What the standard says of a file without a tempo."""


@dataclass(frozen=True, slots=True)
class Tempo:
    """From ``tick`` on, ``bpm`` quarter notes a minute."""

    tick: int
    bpm: float


@dataclass(frozen=True, slots=True)
class TimeSignature:
    """From ``tick`` on, bars of ``numerator`` notes of 1 / ``denominator``."""

    tick: int
    numerator: int
    denominator: int


@dataclass(frozen=True, slots=True)
class KeySignature:
    """From ``tick`` on, the music is written in ``key``."""

    tick: int
    key: Key


@dataclass(frozen=True, slots=True)
class Track:
    """What one track of a file plays on one channel (0-15; 9 is drums) with one program (0-127).

    The notes' starts count from the beginning of the song; the notes are in order, and those of
    one pitch do not overlap.
    """

    name: str
    channel: int
    program: int
    notes: tuple[Note, ...]


@dataclass(frozen=True, slots=True)
class Song:
    """A MIDI file's music. All ticks at PPQ 480 from the file's beginning.

    ``tempi`` is never empty and begins at tick 0; ``signatures`` likewise (4/4 where the file says
    nothing), ``keys`` is empty where the file names none. ``tracks`` holds only those with notes.
    """

    tempi: tuple[Tempo, ...]
    signatures: tuple[TimeSignature, ...]
    keys: tuple[KeySignature, ...]
    tracks: tuple[Track, ...]

    @property
    def is_four_four(self) -> bool:
        """Whether every bar is in 4/4."""
        return all((s.numerator, s.denominator) == (4, 4) for s in self.signatures)

    def seconds(self, tick: int) -> float:
        """The time of ``tick`` in seconds from the song's beginning, through the tempo map."""
        elapsed = 0.0
        ends = [tempo.tick for tempo in self.tempi[1:]]
        for tempo, end in itertools.zip_longest(self.tempi, ends):
            upto = tick if end is None else min(tick, end)
            elapsed += max(0, upto - tempo.tick) * 60.0 / (tempo.bpm * PPQ)
        return elapsed


def without_overlaps(notes: Iterable[Note]) -> tuple[Note, ...]:
    """The notes in order, each cut where the next of its pitch begins.

    A key can only be struck again after its release, and a synthesizer takes the first note-off
    for both. Of notes of one pitch that begin together, the one that rings longest stays, at the
    loudest velocity.
    """
    by_pitch: defaultdict[int, dict[int, Note]] = defaultdict(dict)
    for note in notes:
        twin = by_pitch[note.pitch].get(note.start, note)
        by_pitch[note.pitch][note.start] = Note(
            note.start,
            note.pitch,
            max(note.duration, twin.duration),
            max(note.velocity, twin.velocity),
        )
    kept: list[Note] = []
    for at in by_pitch.values():
        ordered = [at[start] for start in sorted(at)]
        for note, following in itertools.zip_longest(ordered, ordered[1:]):
            room = note.duration if following is None else following.start - note.start
            kept.append(Note(note.start, note.pitch, min(note.duration, room), note.velocity))
    return tuple(sorted(kept))


def split_bars(
    notes: Iterable[Note], first_bar: int = 0, earliest: int = EARLIEST_START
) -> list[tuple[Note, ...]]:
    """Cut notes into 4/4 bars; starts then count from each note's own bar line.

    ``first_bar`` is the tick of the first bar line. A note up to ``earliest`` (0 or less) ahead of
    a bar line belongs to the bar which it opens; what lies further ahead of the first one is left
    out. Durations stay whole, so a note may ring into later bars. Bars without notes are empty
    tuples; the list ends with the last bar in which a note begins.
    """
    bars: defaultdict[int, list[Note]] = defaultdict(list)
    for note in notes:
        start = note.start - first_bar
        index = (start - earliest) // TICKS_PER_BAR
        if index >= 0:
            inside = start - index * TICKS_PER_BAR
            bars[index].append(Note(inside, note.pitch, note.duration, note.velocity))
    return [tuple(sorted(bars[index])) for index in range(max(bars, default=-1) + 1)]


def read_midi(path: Path) -> Song:
    """Read a type 0 or 1 file; raises :class:`LofidError` as :func:`parse_midi`, or unreadable."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise LofidError(
            f"The MIDI file '{path}' could not be read ({error.strerror}); "
            "check its name and permissions."
        ) from error
    return parse_midi(content, path)


def parse_midi(content: bytes, path: Path) -> Song:
    """The music in the bytes of a type 0 or 1 file; ``path`` names them in errors.

    Raises :class:`LofidError` for a file that is damaged or truncated, counts in SMPTE frames
    instead of beats, or holds independent sequences (type 2).
    """
    try:
        # Data bytes above 127 occur in files of careless programs: clipped, as players do.
        file = mido.MidiFile(file=io.BytesIO(content), clip=True)
    except Exception as error:
        # On damaged bytes mido raises EOFError, ValueError, KeyError, IndexError, TypeError and
        # more, according to where it stumbles. There is nothing to tell apart for the reader.
        raise _damaged(path) from error
    if file.ticks_per_beat < 0:
        raise LofidError(
            f"The MIDI file '{path}' counts in SMPTE frames, which have no beats; "
            "save it again with a resolution in ticks per quarter note."
        )
    if file.type == 2:
        raise LofidError(
            f"The MIDI file '{path}' is of type 2 (independent sequences); "
            "save it again as type 1 or 0."
        )
    if file.ticks_per_beat == 0 or file.type not in (0, 1):
        raise _damaged(path)
    return _song(file)


def _damaged(path: Path) -> LofidError:
    return LofidError(
        f"'{path}' is not a MIDI file or is damaged; export it again from the program it came from."
    )


def _song(file: Any) -> Song:
    division: int = file.ticks_per_beat

    def rescaled(tick: int) -> int:
        return (2 * tick * PPQ + division) // (2 * division)

    tempi: dict[int, Tempo] = {0: Tempo(0, _DEFAULT_BPM)}
    signatures: dict[int, TimeSignature] = {0: TimeSignature(0, 4, 4)}
    keys: dict[int, KeySignature] = {}
    tracks: list[Track] = []
    for midi_track in file.tracks:
        tick = 0
        programs: dict[int, int] = {}
        strikes: defaultdict[int, list[tuple[int, int, int]]] = defaultdict(list)
        for message in midi_track:
            tick += message.time
            at = rescaled(tick)
            if message.type == "set_tempo" and message.tempo > 0:
                tempi[at] = Tempo(at, mido.tempo2bpm(message.tempo))
            elif message.type == "time_signature":
                signatures[at] = TimeSignature(at, message.numerator, message.denominator)
            elif message.type == "key_signature":
                keys[at] = KeySignature(at, Key.parse(message.key))
            elif message.type == "program_change":
                programs.setdefault(message.channel, message.program)
            elif message.type in ("note_on", "note_off"):
                velocity = message.velocity if message.type == "note_on" else 0
                strikes[message.channel].append((at, message.note, velocity))
        tracks.extend(
            Track(midi_track.name.strip(), channel, programs.get(channel, 0), notes)
            for channel, events in sorted(strikes.items())
            if (notes := _paired(events, rescaled(tick)))
        )
    return Song(
        tuple(tempi[at] for at in sorted(tempi)),
        tuple(signatures[at] for at in sorted(signatures)),
        tuple(keys[at] for at in sorted(keys)),
        tuple(tracks),
    )


def _paired(events: Sequence[tuple[int, int, int]], end: int) -> tuple[Note, ...]:
    """Notes from (tick, pitch, velocity) in order of time, where velocity 0 releases.

    A release ends the oldest sounding note of its pitch. A note never released ends with the last
    release of its pitch after it, otherwise with the track.
    """
    sounding: defaultdict[int, deque[tuple[int, int]]] = defaultdict(deque)
    released: dict[int, int] = {}
    notes: list[Note] = []
    for tick, pitch, velocity in events:
        if velocity > 0:
            sounding[pitch].append((tick, velocity))
            continue
        released[pitch] = tick
        if sounding[pitch]:
            start, struck = sounding[pitch].popleft()
            notes.append(Note(start, pitch, max(1, tick - start), struck))
    for pitch, hanging in sounding.items():
        for start, struck in hanging:
            last = released.get(pitch, end)
            stop = last if last > start else end
            notes.append(Note(start, pitch, max(1, stop - start), struck))
    return without_overlaps(notes)


def write_midi(path: Path, bars: Iterable[Bar], programs: Mapping[Part, int] = GM_PROGRAM) -> None:
    """Write bars, one after another, as a type 1 file at PPQ 480.

    The first track carries tempo, time and key signatures and a marker at every section; then one
    named track per part that plays. Notes keep their place on the grid, micro-timing included;
    only what lies ahead of the very first bar line begins on it. Every note is released, at the
    latest where its pitch is struck again. The file appears under its name when it is complete;
    raises :class:`LofidError` where it cannot be written.
    """
    conductor: list[tuple[int, Any]] = [
        (0, mido.MetaMessage("track_name", name="lofid")),
        (
            0,
            mido.MetaMessage("time_signature", numerator=BEATS_PER_BAR, denominator=4),
        ),
    ]
    played: defaultdict[Part, list[Note]] = defaultdict(list)
    before: Bar | None = None
    line = 0
    for bar in bars:
        plan = bar.plan
        if before is None or plan.tempo != before.plan.tempo:
            tempo = mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(plan.tempo))
            conductor.append((line, tempo))
        if before is None or plan.key != before.plan.key:
            conductor.append((line, mido.MetaMessage("key_signature", key=key_name(plan.key))))
        if before is None or plan.section != before.plan.section or plan.bar_in_section == 0:
            conductor.append((line, mido.MetaMessage("marker", text=str(plan.section))))
        for part, notes in bar.notes.items():
            played[part].extend(
                Note(max(0, line + note.start), note.pitch, note.duration, note.velocity)
                for note in notes
            )
        before = bar
        line += TICKS_PER_BAR
    file = mido.MidiFile(type=1, ticks_per_beat=PPQ)
    file.tracks.append(_track(conductor, line))
    for part in Part:
        if played[part]:
            file.tracks.append(_track(_part_messages(part, played[part], programs[part]), line))
    with replacing(path) as temporary:
        file.save(temporary)


def _part_messages(part: Part, notes: Iterable[Note], program: int) -> list[tuple[int, Any]]:
    """A part's messages with their absolute ticks, in the order in which they must be sent."""
    channel = CHANNEL[part]
    strikes: list[tuple[int, bool, int, int]] = []
    for note in without_overlaps(notes):
        strikes.append((note.start, True, note.pitch, note.velocity))
        strikes.append((note.start + note.duration, False, note.pitch, 0))
    messages: list[tuple[int, Any]] = [
        (0, mido.MetaMessage("track_name", name=str(part))),
        (0, mido.Message("program_change", channel=channel, program=program)),
    ]
    # Sorted, False comes first: releases go ahead of the strikes of the same tick.
    for tick, struck, pitch, velocity in sorted(strikes):
        kind = "note_on" if struck else "note_off"
        message = mido.Message(kind, channel=channel, note=pitch, velocity=velocity)
        messages.append((tick, message))
    return messages


def _track(messages: Sequence[tuple[int, Any]], length: int) -> Any:
    """A mido track from messages at absolute ticks, closed at ``length`` or after the last one."""
    track = mido.MidiTrack()
    now = 0
    for tick, message in messages:
        track.append(message.copy(time=tick - now))
        now = tick
    track.append(mido.MetaMessage("end_of_track", time=max(0, length - now)))
    return track


def key_name(key: Key) -> str:
    """The key as MIDI spells it: at most six accidentals, so C#m and G#m instead of Dbm and Abm."""
    tonic = PITCH_CLASSES[key.tonic]
    if key.mode is Mode.MAJOR:
        return tonic
    return {"Db": "C#", "Ab": "G#"}.get(tonic, tonic) + "m"
