"""One MIDI file as a piece to learn from: judged, set on the beat, split into parts, labelled.

What cannot be used is :class:`Unusable` with a reason. This module knows one file at a time; it
must not know folders, tokens or models.
"""

import hashlib
import json
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import chain, groupby
from pathlib import Path

import numpy as np

from lofid.errors import LofidError
from lofid.files import read_file
from lofid.learn.beats import aligned
from lofid.learn.estimate import estimate_chords, estimate_keys, profiles
from lofid.learn.pieces import DrumsPiece, KeysBar, KeysPiece, cut_bars, moved, trimmed
from lofid.music.midi import MidiSong, Tempo, TimeSignature, Track, parse_midi, without_overlaps
from lofid.music.notes import DRUM_CLASS, PPQ, SIXTEENTH, TICKS_PER_BAR, Note
from lofid.tokens.drums import STYLE as DRUM_STYLES

MAX_BYTES = 2_000_000
MAX_MINUTES = 20
MAX_NOTES = 30_000
MIN_NOTES = 4
TEMPI = (35.0, 240.0)
"""BPM; outside of these no tempo is meant."""

_KEYS_GRID, _DRUMS_GRID = 20, 120
_BASS_PROGRAMS = range(32, 40)
_EFFECT_PROGRAMS = range(112, 128)
_MELODY_NAME = re.compile(r"melod|lead|vocal|voice|sing|solo|top.?line", re.IGNORECASE)
_DRUMS_NAME = re.compile(
    r"drum(?!mer)|\bper[ck]|schlagzeug|\bbat+er[iíy]|slagwerk|trommel|\bkit\b|\bbeat\b",
    re.IGNORECASE,
)
_DRUMS_PROGRAMS = {0, 8, 16, 24, 25, 32, 40, 48, 56}
"""Those of drum kits: with any other, no name makes drums of a track."""
_BASS_NAME = re.compile(r"bass(?!oon|et)|\bbajo\b|\bbaixo\b", re.IGNORECASE)
_METRES_NAMED = 5
_ONE_VOICE = 1.1
"""Up to this mean number of notes at once a track is a single voice."""
_MELODY_FLOOR = 55


class Reason(StrEnum):
    """Why a file was left out."""

    DAMAGED = "damaged"
    TOO_LONG = "too long"
    EMPTY = "empty"
    ONE_NOTE = "one note"
    NOT_FOUR_FOUR = "not in 4/4"
    NO_BEAT = "no steady beat"
    TEMPO = "absurd tempo"
    TOO_SHORT = "too short"
    DUPLICATE = "duplicate"


class Unusable(Exception):  # the file was refused; nothing went wrong
    """A file that cannot be used, and why."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(reason)
        self.reason, self.detail = reason, detail


@dataclass(frozen=True, slots=True)
class HeardSong:
    """What a file plays; ``digest`` names its notes, whatever their key, tempo or file's name."""

    digest: str
    keys: KeysPiece | None
    drums: DrumsPiece | None


def hear(path: Path, style: str) -> HeardSong:
    """The pieces of a MIDI file; ``style`` names the drums' if it is one of theirs.

    Raises :class:`Unusable`.
    """
    song = _in_four(_readable(path))
    song = replace(song, tracks=tuple(_with_drums(track) for track in song.tracks))
    found = aligned(song, _metre_known(song.signatures))
    if found is None:
        raise Unusable(Reason.NO_BEAT, "its notes keep to no grid and no beat was heard in them")
    tracks, tempo = found
    if not TEMPI[0] <= tempo <= TEMPI[1]:
        raise Unusable(Reason.TEMPO, f"{tempo:.0f} BPM")
    drum_tracks = [track for track in tracks if track.is_drums]
    pitched = [
        track for track in tracks if not track.is_drums and track.program not in _EFFECT_PROGRAMS
    ]
    hits = sorted(note for track in drum_tracks for note in track.notes if note.pitch in DRUM_CLASS)
    digest = _content_digest(pitched, hits)
    keys = _keys(pitched, f"own:{digest}", tempo)
    drums = _drums(hits, f"own:{digest}", tempo, style)
    if keys is None and drums is None:
        raise Unusable(Reason.TOO_SHORT, f"fewer than {MIN_NOTES} notes for keys or drums")
    return HeardSong(digest, keys, drums)


def _readable(path: Path) -> MidiSong:
    """The music of a file that has some, within reason."""
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise Unusable(Reason.TOO_LONG, f"{size / 1e6:.1f} MB")
        song = parse_midi(read_file(path, "MIDI file", MAX_BYTES), path)
    except OSError as error:
        raise Unusable(Reason.DAMAGED, f"cannot be read: {error.strerror}") from error
    except LofidError as error:
        raise Unusable(Reason.DAMAGED, str(error)) from error
    notes = [note for track in song.tracks for note in track.notes]
    if not notes:
        raise Unusable(Reason.EMPTY)
    if len(notes) > MAX_NOTES:
        raise Unusable(Reason.TOO_LONG, f"{len(notes)} notes")
    if len({note.pitch for note in notes}) == 1:
        raise Unusable(Reason.ONE_NOTE)
    minutes = song.seconds(max(note.start for note in notes)) / 60
    if minutes > MAX_MINUTES:
        raise Unusable(Reason.TOO_LONG, f"{minutes:.0f} minutes")
    return song


def _is_four(signature: TimeSignature) -> bool:
    """Whether its bars are four quarters long, and no other metre (2/2 and 8/8 are such, too)."""
    return signature.numerator == signature.denominator


def _metre_known(signatures: Sequence[TimeSignature]) -> bool:
    return any(_is_four(signature) for signature in signatures)


def _in_four(song: MidiSong) -> MidiSong:
    """The song's stretches in 4/4, one after another, each from a bar line on.

    Bars of one quarter, as some programs write them, say nothing about the metre. Refused where a
    tenth of the notes or more lie outside.
    """
    marks = song.signatures
    if all(mark.numerator == 1 for mark in marks) or all(map(_is_four, marks)):
        return song
    starts = [note.start for track in song.tracks for note in track.notes]
    stretches = _stretches(marks, max(starts) + 1)
    begins = [one.begin for one in stretches]

    def moved(note: Note) -> Iterator[Note]:
        """The note where it is in what is left; none where it is left out."""
        index = bisect_right(begins, note.start) - 1
        if index >= 0 and note.start < stretches[index].end:
            one = stretches[index]
            yield replace(note, start=note.start - one.begin + one.line)

    tracks = [
        replace(track, notes=without_overlaps(chain.from_iterable(map(moved, track.notes))))
        for track in song.tracks
    ]
    if sum(len(track.notes) for track in tracks) < 0.9 * len(starts):
        others = sorted({f"{m.numerator}/{m.denominator}" for m in marks if not _is_four(m)})
        raise Unusable(Reason.NOT_FOUR_FOUR, ", ".join(others[:_METRES_NAMED]))
    kept = tuple(track for track in tracks if track.notes)
    return MidiSong(_tempi(song.tempi, stretches), (TimeSignature(0, 4, 4),), (), kept)


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Music in 4/4 from the tick ``begin`` to ``end``; ``line`` is the bar line it is moved to."""

    begin: int
    end: int
    line: int


def _stretches(marks: Sequence[TimeSignature], end: int) -> list[_Stretch]:
    """The stretches in 4/4 of a song that ends at the tick ``end``."""
    groups = [(is_four, next(group).tick) for is_four, group in groupby(marks, _is_four)]
    found: list[_Stretch] = []
    line = 0
    for (is_four, begin), (_, until) in zip(groups, [*groups[1:], (True, end)], strict=True):
        stop = min(until, end)
        if is_four and begin < stop:
            found.append(_Stretch(begin, stop, line))
            line += -(-(stop - begin) // TICKS_PER_BAR) * TICKS_PER_BAR
    return found


def _tempi(tempi: Sequence[Tempo], stretches: Sequence[_Stretch]) -> tuple[Tempo, ...]:
    """The tempo map of what is left of a song."""
    ticks = [tempo.tick for tempo in tempi]
    found: dict[int, Tempo] = {}
    for one in stretches:
        for tempo in tempi[bisect_right(ticks, one.begin) - 1 : bisect_left(ticks, one.end)]:
            at = max(0, tempo.tick - one.begin) + one.line
            found[at] = Tempo(at, tempo.bpm)
    return tuple(found.values())


def _with_drums(track: Track) -> Track:
    """The track, as drums where its name says so and its program does not say otherwise."""
    named = track.program in _DRUMS_PROGRAMS and bool(_DRUMS_NAME.search(track.name))
    return replace(track, is_drums=track.is_drums or named)


def _content_digest(pitched: Sequence[Track], hits: Sequence[Note]) -> str:
    """The same for the same notes under another name, in another key or at another tempo."""
    tones = sorted(
        (round(note.start / SIXTEENTH), note.pitch) for track in pitched for note in track.notes
    )
    beats = sorted((round(note.start / SIXTEENTH), int(DRUM_CLASS[note.pitch])) for note in hits)
    first = min(place for place, _ in tones + beats) if tones or beats else 0
    lowest = min((pitch for _, pitch in tones), default=0)
    content = (
        [(place - first, pitch - lowest) for place, pitch in tones],
        [(place - first, drum) for place, drum in beats],
    )
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def _drums(hits: Sequence[Note], group: str, tempo: float, style: str) -> DrumsPiece | None:
    if len(hits) < MIN_NOTES:
        return None
    count = 1 + max(0, (hits[-1].start + _DRUMS_GRID // 2) // TICKS_PER_BAR)
    bars = cut_bars(hits, count, _DRUMS_GRID)
    while bars and not bars[0]:
        bars.pop(0)
    known = style.lower() if style.lower() in DRUM_STYLES.choices else "other"
    return DrumsPiece(group, tempo, known, False, tuple(bars))


def _keys(pitched: Sequence[Track], group: str, tempo: float) -> KeysPiece | None:
    """Comping and melody with the chords that were heard, in the home key.

    A bass tells the harmony and is then left out, as the arranger plays it.
    """
    heard = [note for track in pitched for note in track.notes]
    upper = [track for track in pitched if not _is_bass(track)] or list(pitched)
    comping, melody = _parts(upper)
    if len(comping) + len(melody) < MIN_NOTES:
        return None
    count = 1 + max(note.start for note in heard) // TICKS_PER_BAR
    sounding, bass = profiles(heard, 2 * count)
    keys = estimate_keys(sounding)
    chords = estimate_chords(sounding, bass, keys)
    bars = []
    for index, (low, high) in enumerate(
        zip(
            cut_bars(comping, count, _KEYS_GRID),
            cut_bars(melody, count, _KEYS_GRID),
            strict=True,
        )
    ):
        home = -keys[index].transposition
        first, second = (
            chord and chord.transposed(home) for chord in chords[2 * index : 2 * index + 2]
        )
        bars.append(KeysBar((first, second), moved(low, home), moved(high, home)))
    return KeysPiece(group, tempo, trimmed(bars))


def _is_bass(track: Track) -> bool:
    return track.program in _BASS_PROGRAMS or bool(_BASS_NAME.search(track.name))


def _parts(tracks: Sequence[Track]) -> tuple[list[Note], list[Note]]:
    """The notes as comping and melody.

    The melody is the track that says so, else the highest of those with one voice; where all play
    chords, it is the line on top of them, if it stands out.
    """
    named = [track for track in tracks if _MELODY_NAME.search(track.name)]
    single = [
        track
        for track in named or tracks
        if _voices(track.notes) <= _ONE_VOICE and _mean_pitch(track.notes) >= _MELODY_FLOOR
    ]
    if single:
        lead = max(single, key=lambda track: (_mean_pitch(track.notes), track.name))
        rest = [note for track in tracks if track is not lead for note in track.notes]
        return sorted(rest), list(lead.notes)
    return top_line(sorted(note for track in tracks for note in track.notes))


def _mean_pitch(notes: Sequence[Note]) -> float:
    return float(np.mean([note.pitch for note in notes]))


def _voices(notes: Sequence[Note]) -> float:
    """Notes that begin together, in the mean."""
    return len(notes) / len({round(note.start / _KEYS_GRID) for note in notes})


def top_line(notes: Sequence[Note]) -> tuple[list[Note], list[Note]]:
    """Comping and the line on top: notes above all that sound, and well above the middle near by.

    ``notes`` are in order; a note that began more than a beat ago no longer counts as sounding.
    """
    comping: list[Note] = []
    melody: list[Note] = []
    starts = np.array([note.start for note in notes])
    ends = starts + np.array([min(note.duration, PPQ) for note in notes])
    pitches = np.array([note.pitch for note in notes])
    first = np.searchsorted(starts, starts - TICKS_PER_BAR)
    last = np.searchsorted(starts, starts + TICKS_PER_BAR)
    for note, begin, end in zip(notes, first, last, strict=True):
        near = slice(begin, end)
        middle = float(np.median(pitches[near]))
        moment = note.start + _KEYS_GRID
        sounding = (starts[near] <= moment) & (ends[near] > moment)
        top = note.pitch >= pitches[near][sounding].max(initial=0)
        stands_out = note.pitch >= max(middle + 7, 60)
        (melody if top and stands_out else comping).append(note)
    return comping, melody
