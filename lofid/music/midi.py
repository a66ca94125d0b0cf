"""Standard MIDI files in and out.

Reading gives a :class:`MidiSong`: tracks of notes on our grid (PPQ 480), whatever the file's
division. Writing takes finished bars. This module knows files and notes; it knows no ports and no
plans beyond what a file has to say about tempo, key and form.
"""

import itertools
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import mido

from lofid.errors import LofidError
from lofid.files import read_file, replacing
from lofid.music import smf
from lofid.music.chords import PITCH_CLASSES, Key, Mode
from lofid.music.notes import BEATS_PER_BAR, EARLIEST_START, PPQ, TICKS_PER_BAR, Note, Part
from lofid.music.plan import Bar, Face
from lofid.music.rig import DRUM_CHANNEL, Rig

CHANNEL = MappingProxyType({Part.KEYS: 0, Part.MELODY: 1, Part.BASS: 2, Part.DRUMS: DRUM_CHANNEL})
"""The channel (0-15) that each part is written on."""

GM_PROGRAM = MappingProxyType({Part.KEYS: 4, Part.MELODY: 11, Part.BASS: 33, Part.DRUMS: 0})
"""General MIDI programs (0-127) where nobody chooses: Rhodes, vibraphone, fingered bass, kit."""

MOST_BYTES = 2**26
"""Of a MIDI file that is read; what a session of days makes is smaller."""

_BANK, _SUSTAIN = 0, 64
_ALL_SOUND_OFF, _RESET_CONTROLLERS, _ALL_NOTES_OFF = 120, 121, 123
"""Controllers; from the last one on, all let the keys of a channel go."""

_MOST_HALVINGS = 6
"""Of a whole note, in a time signature that means something."""

_DEFAULT_BPM = 120.0
"""What the standard says of a file without a tempo."""

_SLOWEST, _FASTEST = 5.0, 1000.0
"""BPM; outside of these a file's tempo means nothing."""


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
    """What one track of a file plays on one channel (0-15) with one program (0-127).

    ``name`` is the track's own: empty where it is the song's title, or has to do for several
    channels. Program and ``is_drums`` are those of the channel at the first note. The notes' starts
    count from the beginning of the song; the notes are in order, those of one pitch do not overlap,
    and each lasts as long as its key or the sustain pedal is held.
    """

    name: str
    channel: int
    program: int
    notes: tuple[Note, ...]
    is_drums: bool = False


@dataclass(frozen=True, slots=True)
class MidiSong:
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


def read_midi(path: Path) -> MidiSong:
    """Read a type 0 or 1 file; raises :class:`LofidError` as :func:`parse_midi`, or unreadable."""
    return parse_midi(read_file(path, "MIDI file", MOST_BYTES), path)


def parse_midi(content: bytes, path: Path) -> MidiSong:
    """The music in the bytes of a type 0 or 1 file; ``path`` names them in errors.

    What is odd beside the notes is passed over, as :mod:`lofid.music.smf` says. Raises
    :class:`LofidError` for a file that is damaged or truncated, counts in SMPTE frames instead of
    beats, or holds independent sequences (type 2).
    """
    try:
        file = smf.parse(content)
    except smf.Broken as error:
        raise _damaged(path) from error
    if file.division < 0:
        raise LofidError(
            f"The MIDI file '{path}' counts in SMPTE frames, which have no beats; "
            "save it again with a resolution in ticks per quarter note."
        )
    if file.kind == 2:
        raise LofidError(
            f"The MIDI file '{path}' is of type 2 (independent sequences); "
            "save it again as type 1 or 0."
        )
    if file.division == 0 or file.kind not in (0, 1):
        raise _damaged(path)
    return _song(file)


def _damaged(path: Path) -> LofidError:
    return LofidError(
        f"'{path}' is not a MIDI file or is damaged; export it again from the program it came from."
    )


def _song(file: smf.File) -> MidiSong:
    tempi: dict[int, Tempo] = {0: Tempo(0, _DEFAULT_BPM)}
    signatures: dict[int, TimeSignature] = {0: TimeSignature(0, 4, 4)}
    keys: dict[int, KeySignature] = {}
    for events, _ in file.tracks:
        for event in events:
            if event.status != smf.FileStatus.META:
                continue
            at = _rescaled(event.tick, file.division)
            if (tempo := _tempo(at, event)) is not None:
                tempi[at] = tempo
            elif (signature := _time_signature(at, event)) is not None:
                signatures[at] = signature
            elif (key := _key_signature(at, event)) is not None:
                keys[at] = key
    return MidiSong(
        tuple(tempi[at] for at in sorted(tempi)),
        tuple(signatures[at] for at in sorted(signatures)),
        tuple(keys[at] for at in sorted(keys)),
        tuple(_played(file)),
    )


def _rescaled(tick: int, division: int) -> int:
    """A tick of a file in ours."""
    return (2 * tick * PPQ + division) // (2 * division)


def _tempo(at: int, event: smf.FileEvent) -> Tempo | None:
    """A tempo, None where the event is of another kind or makes no sense; so the next two."""
    micros = int.from_bytes(event.data, "big")
    if event.channel != smf.Meta.TEMPO or len(event.data) != 3 or not micros:
        return None
    bpm = 60e6 / micros
    return Tempo(at, bpm) if _SLOWEST <= bpm <= _FASTEST else None


def _time_signature(at: int, event: smf.FileEvent) -> TimeSignature | None:
    if event.channel != smf.Meta.TIME_SIGNATURE or len(event.data) < 2:
        return None
    numerator, power = event.data[:2]
    return TimeSignature(at, numerator, 2**power) if numerator and power <= _MOST_HALVINGS else None


def _key_signature(at: int, event: smf.FileEvent) -> KeySignature | None:
    if event.channel != smf.Meta.KEY_SIGNATURE or len(event.data) < 2:
        return None
    sharps = int.from_bytes(event.data[:1], signed=True)
    if abs(sharps) > 7 or event.data[1] > 1:
        return None
    fifths, mode = (sharps + 3, Mode.MINOR) if event.data[1] else (sharps, Mode.MAJOR)
    return KeySignature(at, Key(7 * fifths % 12, mode))


def _played(file: smf.File) -> Iterator[Track]:
    """What the tracks play, in their order, by channel.

    Channels belong to the file, not to a track: a program or a pedal in one counts for the notes
    of all. So the events of all tracks are heard in order of time; what says how a channel sounds
    comes ahead of notes of the same tick.
    """
    timed = (
        (event.tick, not _chooses_a_sound(event), index, event)
        for index, (events, _) in enumerate(file.tracks)
        for event in events
        if event.status != smf.FileStatus.META
    )
    rig = Rig()
    hands = _Hands()
    sounds: dict[tuple[int, int], tuple[int, bool]] = {}
    for tick, _, index, event in sorted(timed, key=lambda one: one[:2]):
        at = _rescaled(tick, file.division)
        rig.take(event)
        match event.status:
            case smf.FileStatus.NOTE_ON if event.data[1]:
                sound = rig.program(event.channel), rig.is_drums(event.channel)
                sounds.setdefault((index, event.channel), sound)
                hands.strike(at, index, event)
            case smf.FileStatus.NOTE_ON | smf.FileStatus.NOTE_OFF:
                hands.release(at, index, event)
            case smf.FileStatus.CONTROL:
                hands.control(at, event)
    ends = [_rescaled(end, file.division) for _, end in file.tracks]
    notes = hands.notes(ends)
    channels = Counter(index for index, _ in sounds)
    names = {index: _own_name(file, index, channels) for index in channels}
    if len(set(names.values())) == 1 < len({channel for _, channel in sounds}):
        names = dict.fromkeys(names, "")  # all are called by the song's title
    for place in sorted(sounds):
        index, channel = place
        program, is_drums = sounds[place]
        yield Track(names[index], channel, program, without_overlaps(notes[place]), is_drums)


def _chooses_a_sound(event: smf.FileEvent) -> bool:
    """Whether an event says how channels sound, for the notes of the same tick in all tracks."""
    is_bank = event.status == smf.FileStatus.CONTROL and event.data[0] == _BANK
    return is_bank or event.status in (smf.FileStatus.PROGRAM, smf.FileStatus.SYSEX)


def _own_name(file: smf.File, index: int, channels: Mapping[int, int]) -> str:
    """The name of a track; empty where it says nothing about the channel that plays there.

    In a file of type 0, and on a first track that leads others, it is the title of the song.
    ``channels`` says how many channels each track plays on, of those that play.
    """
    events = file.tracks[index][0]
    metas = [event for event in events if event.status == smf.FileStatus.META]
    has_tempo = any(event.channel == smf.Meta.TEMPO for event in metas)
    leads = index == 0 and len(channels) > 1 and has_tempo
    if file.kind == 0 or leads or channels[index] > 1:
        return ""
    names = (event.data for event in metas if event.channel == smf.Meta.TRACK_NAME)
    return _text(next(names, b"")).strip("\0 \t\r\n")


def _text(content: bytes) -> str:
    """Text of a file, which need not say how it is encoded."""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("latin-1")


class _Hands:
    """Keys that are held down, and those that a pedal holds, on the channels of a file.

    A release ends the oldest sounding note of its pitch and track. A note never released ends with
    the last release of its pitch after it, otherwise with the track.
    """

    def __init__(self) -> None:
        self._pedal: set[int] = set()
        # By channel: where a key is down, by track and pitch, its strikes (tick, velocity).
        self._down: defaultdict[int, dict[tuple[int, int], deque[tuple[int, int]]]]
        self._down = defaultdict(dict)
        # By channel: released, but held by the pedal (track, pitch, tick, velocity).
        self._held: defaultdict[int, list[tuple[int, int, int, int]]] = defaultdict(list)
        self._released: dict[tuple[int, int, int], int] = {}
        self._notes: defaultdict[tuple[int, int], list[Note]] = defaultdict(list)

    def strike(self, at: int, track: int, event: smf.FileEvent) -> None:
        """A key goes down."""
        keys = self._down[event.channel]
        keys.setdefault((track, event.data[0]), deque()).append((at, event.data[1]))

    def release(self, at: int, track: int, event: smf.FileEvent) -> None:
        """A key goes up."""
        pitch, channel = event.data[0], event.channel
        self._released[track, channel, pitch] = at
        strikes = self._down[channel].get((track, pitch))
        if strikes:
            self._let_go(at, channel, track, pitch, strikes.popleft())

    def control(self, at: int, event: smf.FileEvent) -> None:
        """A pedal moves, or all keys of a channel are let go."""
        number, value = event.data
        channel = event.channel
        if number == _SUSTAIN and value >= 64:
            self._pedal.add(channel)
        elif number in (_SUSTAIN, _RESET_CONTROLLERS, _ALL_SOUND_OFF):
            self._lift(at, channel)
        if number == _ALL_SOUND_OFF or number >= _ALL_NOTES_OFF:
            for (track, pitch), strikes in self._down.pop(channel, {}).items():
                for strike in strikes:
                    self._let_go(at, channel, track, pitch, strike)

    def notes(self, ends: Sequence[int]) -> Mapping[tuple[int, int], Sequence[Note]]:
        """All notes by track and channel, after what is still held has ended with its track."""
        for channel, held in self._held.items():
            for track, pitch, start, velocity in held:
                self._end(ends[track], channel, track, pitch, (start, velocity))
        for channel, keys in self._down.items():
            for (track, pitch), strikes in keys.items():
                last = self._released.get((track, channel, pitch), ends[track])
                for strike in strikes:
                    stop = last if last > strike[0] else ends[track]
                    self._end(stop, channel, track, pitch, strike)
        return self._notes

    def _let_go(
        self, at: int, channel: int, track: int, pitch: int, strike: tuple[int, int]
    ) -> None:
        if channel in self._pedal:
            self._held[channel].append((track, pitch, *strike))
        else:
            self._end(at, channel, track, pitch, strike)

    def _lift(self, at: int, channel: int) -> None:
        self._pedal.discard(channel)
        for track, pitch, start, velocity in self._held.pop(channel, ()):
            self._end(at, channel, track, pitch, (start, velocity))

    def _end(self, at: int, channel: int, track: int, pitch: int, strike: tuple[int, int]) -> None:
        start, velocity = strike
        self._notes[track, channel].append(Note(start, pitch, max(1, at - start), velocity))


def write_midi(
    path: Path,
    bars: Iterable[Bar],
    programs: Callable[[Face | None], Mapping[Part, int]] = lambda _: GM_PROGRAM,
) -> None:
    """Write bars, one after another, as a type 1 file at PPQ 480.

    The first track carries tempo, time and key signatures and a marker at every section; then one
    named track per part that plays, with the program (0-127) of each bar's face. Notes keep their
    place on the grid, micro-timing included; only what lies ahead of the very first bar line begins
    on it. Every note is released, at the latest where its pitch is struck again. The file appears
    under its name when it is complete; raises :class:`LofidError` where it cannot be written.
    """
    conductor: list[tuple[int, Any]] = [
        (0, mido.MetaMessage("track_name", name="lofid")),
        (
            0,
            mido.MetaMessage("time_signature", numerator=BEATS_PER_BAR, denominator=4),
        ),
    ]
    played: defaultdict[Part, list[Note]] = defaultdict(list)
    chosen: defaultdict[Part, list[tuple[int, int]]] = defaultdict(list)  # program by its tick
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
        for part, program in programs(plan.face).items():
            if not chosen[part] or chosen[part][-1][1] != program:
                chosen[part].append((line, program))
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
            file.tracks.append(_track(_part_messages(part, played[part], chosen[part]), line))
    with replacing(path) as temporary:
        file.save(temporary)


def _part_messages(
    part: Part, notes: Iterable[Note], programs: Iterable[tuple[int, int]]
) -> list[tuple[int, Any]]:
    """A part's messages with their absolute ticks, in the order in which they must be sent."""
    channel = CHANNEL[part]
    strikes: list[tuple[int, bool, int, int]] = []
    for note in without_overlaps(notes):
        strikes.append((note.start, True, note.pitch, note.velocity))
        strikes.append((note.start + note.duration, False, note.pitch, 0))
    messages: list[tuple[int, Any]] = [
        (0, mido.MetaMessage("track_name", name=str(part))),
        *(
            (tick, mido.Message("program_change", channel=channel, program=program))
            for tick, program in programs
        ),
    ]
    # Sorted, False comes first: releases go ahead of the strikes of the same tick.
    for tick, struck, pitch, velocity in sorted(strikes):
        kind = "note_on" if struck else "note_off"
        message = mido.Message(kind, channel=channel, note=pitch, velocity=velocity)
        messages.append((tick, message))
    messages.sort(key=lambda one: one[0])  # stable: a program goes ahead of the notes of its line
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
