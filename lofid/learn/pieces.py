"""Pieces: what the readers make of each data set, and the split into training and held-out.

Keys pieces stand in the home key (C major or A minor); their bars carry the chord labels.
"""

import hashlib
import json
import re
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from lofid.learn.archives import Archive
from lofid.learn.harmony import name_chord
from lofid.music.chords import Chord, Key, Quality
from lofid.music.midi import MidiSong, split_bars
from lofid.music.notes import DRUM_CLASS, PPQ, TICKS_PER_BAR, Note

HALF_BAR = TICKS_PER_BAR // 2
EIGHTH = TICKS_PER_BAR // 8
HELD_OUT_PERCENT = 5
SLOW = 110
"""BPM up to which a groove may be lo-fi's."""


@dataclass(frozen=True, slots=True)
class KeysBar:
    """One bar of keys; ``chords`` has one chord a half bar, None where there is none."""

    chords: tuple[Chord | None, Chord | None]
    comping: tuple[Note, ...]
    melody: tuple[Note, ...]
    bridge: tuple[Note, ...] = ()


@dataclass(frozen=True, slots=True)
class KeysPiece:
    """A song: ``group`` decides its split, ``tempo`` in BPM or None."""

    group: str
    tempo: float | None
    bars: tuple[KeysBar, ...]


@dataclass(frozen=True, slots=True)
class DrumsPiece:
    """A drummer's take: bars of hits with micro-timing, or a pattern that is ``on_grid``."""

    group: str
    tempo: float
    style: str
    fill: bool
    bars: tuple[tuple[Note, ...], ...]
    on_grid: bool = False

    @property
    def is_wanted(self) -> bool:
        """Whether it is of the slow hip-hop and the slow swing that few takes have."""
        if self.on_grid or self.fill or self.tempo > SLOW:
            return False
        return self.style == "hiphop" or is_swung(self.bars)


@dataclass(frozen=True, slots=True)
class LeadSheet:
    """Chords (two a bar, by half bars) and melody in the home key, without a performance."""

    group: str
    chords: tuple[tuple[Chord, Chord], ...]
    melody: tuple[tuple[Note, ...], ...]


_SESSION = re.compile(r"(.*drummer\d+/[^/]+)/.*")
_SAME_SONG = {"pop909:song:一剪梅dj费玉清": "pop909:song:一剪梅"}
"""Groups that hold the same music as another, under another title: they stay on one side."""


def held_out(group: str) -> bool:
    """Whether a group of pieces belongs to the held-out part (5 %, fixed by the group's name)."""
    group = _SAME_SONG.get(group, group)
    digest = hashlib.sha256(f"lofid-split-1:{group}".encode()).hexdigest()
    return int(digest[:8], 16) % 100 < HELD_OUT_PERCENT


def is_reported(group: str) -> bool:
    """In which half a held-out group lies: the one that is only reported, or that which chooses.

    What one drummer played in one session lies in one half, and so does a song. The halves' number
    was drawn so that both have every style of the drums.
    """
    group = _SAME_SONG.get(group, group)
    unit = _SESSION.sub(r"\1", group)
    digest = hashlib.sha256(f"lofid-half-160:{unit}".encode()).hexdigest()
    return int(digest[:8], 16) % 2 == 0


def is_swung(bars: Iterable[Iterable[Note]]) -> bool:
    """Whether what is played between the eighths lies nearer to triplets than to sixteenths."""
    phases = [note.start % EIGHTH for bar in bars for note in bar]
    between = sorted(abs(phase - EIGHTH / 2) for phase in phases if 40 < phase < EIGHTH - 40)
    enough = len(between) >= max(8, len(phases) / 8)
    return enough and between[len(between) // 2] > EIGHTH / 8


def cut_bars(notes: Iterable[Note], count: int, grid: int) -> list[tuple[Note, ...]]:
    """Notes at absolute ticks, as ``count`` bars; a note belongs to the bar of its grid point."""
    bars = split_bars(notes, earliest=-grid // 2)[:count]
    return bars + [()] * (count - len(bars))


def _all_notes(song: MidiSong) -> list[Note]:
    return sorted(note for track in song.tracks for note in track.notes)


def moved(notes: Iterable[Note], semitones: int) -> tuple[Note, ...]:
    """The notes, transposed."""
    return tuple(
        Note(note.start, note.pitch + semitones, note.duration, note.velocity) for note in notes
    )


def half_bar_chords(chord_notes: Sequence[Note], count: int) -> list[Chord | None]:
    """The chord that sounds longest in each half bar."""
    starts: dict[int, list[Note]] = defaultdict(list)
    for note in chord_notes:
        starts[note.start].append(note)
    longest: list[Counter[Chord]] = [Counter() for _ in range(count)]
    for start, notes in starts.items():
        chord = name_chord(note.pitch for note in notes)
        end = start + max(note.duration for note in notes)
        for half in range(max(0, start // HALF_BAR), min(count, -(-end // HALF_BAR))):
            overlap = min(end, (half + 1) * HALF_BAR) - max(start, half * HALF_BAR)
            if chord is not None and overlap > 0:
                longest[half][chord] += overlap
    return [chords.most_common(1)[0][0] if chords else None for chords in longest]


def _label_parts(merged: Sequence[Note], original: MidiSong) -> dict[str, list[Note]]:
    """Sort the merged notes of POP909-CL into the tracks of the original POP909.

    The two differ by a constant number of ticks a song: the most frequent difference between
    notes of equal pitch and velocity. The piano's notes last as long as in the original, where
    the pedal holds them.
    """
    origins: dict[tuple[int, int], list[tuple[int, str, int]]] = defaultdict(list)
    for track in original.tracks:
        for note in track.notes:
            origins[note.pitch, note.velocity].append((note.start, track.name, note.duration))
    shifts = Counter(
        round((start - note.start) / 10) * 10
        for note in merged
        for start, _, _ in origins[note.pitch, note.velocity]
    )
    shift = shifts.most_common(1)[0][0]
    parts: dict[str, list[Note]] = defaultdict(list)
    for note in merged:
        near = [
            (abs(start - note.start - shift), name, held)
            for start, name, held in origins[note.pitch, note.velocity]
        ]
        away, name, held = min(near, default=(0, "PIANO", note.duration))
        is_pedalled = name == "PIANO" and away <= PPQ and held > note.duration
        parts[name].append(_held(note, held) if is_pedalled else note)
    return parts


def _held(note: Note, pedalled: int) -> Note:
    """The note as the pedal holds it, unless that was forgotten: held for more than a bar."""
    forgotten = pedalled > note.duration + TICKS_PER_BAR
    return note if forgotten else replace(note, duration=pedalled)


def read_pop909(archive: Archive) -> Iterator[KeysPiece]:
    """The 4/4 songs: POP909-CL's alignment and chords, the original's split into tracks."""
    for row in archive.rows:
        if row["cl_time_signature"] != "4/4":
            continue
        labelled = archive.song(f"POP909_CL/{row['id']}.mid")
        if len(labelled.tracks) != 2 or not labelled.keys:
            continue  # what is usable has the notes and the chords, under varying names
        merged, chord_notes = (track.notes for track in labelled.tracks)
        count = 1 + max(note.start for note in merged) // TICKS_PER_BAR
        parts = _label_parts(merged, archive.song(row["file"]))
        chords = half_bar_chords(chord_notes, 2 * count)
        key_ticks = [signature.tick for signature in labelled.keys]
        bar_parts = {
            name: cut_bars(parts[name], count, 20) for name in ("PIANO", "MELODY", "BRIDGE")
        }
        bars = []
        for index in range(count):
            change = bisect_right(key_ticks, index * TICKS_PER_BAR) - 1
            home = -labelled.keys[max(change, 0)].key.transposition
            first, second = (
                chord and chord.transposed(home) for chord in chords[2 * index : 2 * index + 2]
            )
            bars.append(
                KeysBar(
                    (first, second),
                    moved(bar_parts["PIANO"][index], home),
                    moved(bar_parts["MELODY"][index], home),
                    moved(bar_parts["BRIDGE"][index], home),
                )
            )
        yield KeysPiece(f"pop909:{row['group']}", float(row["bpm"]), trimmed(bars))


def trimmed(bars: list[KeysBar]) -> tuple[KeysBar, ...]:
    """Without the empty bars before the first note and after the last."""
    filled = [index for index, bar in enumerate(bars) if bar.comping or bar.melody or bar.bridge]
    return tuple(bars[filled[0] : filled[-1] + 1]) if filled else ()


def read_loops(archive: Archive) -> Iterator[KeysPiece]:
    """Magenta's lo-fi loops, four times over, so that they sound as the loops that they are."""
    for row in archive.rows:
        notes = _all_notes(archive.song(row["file"]))
        bars = cut_bars(notes, 8, 20)
        comping = row["role"] == "chords"
        yield KeysPiece(
            f"magenta:{row['group']}",
            None,
            4
            * tuple(
                KeysBar((None, None), bar if comping else (), () if comping else bar)
                for bar in bars
            ),
        )


_MUSICXML_QUALITIES = {
    "major": Quality.MAJOR,
    "dominant": Quality.DOMINANT_7,
    "minor-seventh": Quality.MINOR_7,
    "minor": Quality.MINOR,
    "major-seventh": Quality.MAJOR_7,
    "diminished": Quality.DIMINISHED,
    "major-sixth": Quality.SIXTH,
    "dominant-ninth": Quality.DOMINANT_9,
    "diminished-seventh": Quality.DIMINISHED_7,
    "minor-sixth": Quality.MINOR_SIXTH,
    "augmented-seventh": Quality.DOMINANT_7,
    "augmented": Quality.AUGMENTED,
    "half-diminished": Quality.HALF_DIMINISHED,
    "suspended-fourth": Quality.SUS4,
    "dominant-13th": Quality.DOMINANT_13,
    "minor-ninth": Quality.MINOR_9,
    "augmented-ninth": Quality.DOMINANT_7_FLAT_9,
    "major-ninth": Quality.MAJOR_9,
    "dominant-11th": Quality.SUS_7,
    "minor-11th": Quality.MINOR_9,
    "maj69": Quality.ADD_9,
    "minor-13th": Quality.MINOR_9,
}


def _sheet_quality(kind: str, degrees: list[list[int | str]]) -> Quality | None:
    if kind == "dominant" and any(degree[:2] == [9, -1] for degree in degrees):
        return Quality.DOMINANT_7_FLAT_9
    return _MUSICXML_QUALITIES.get(kind)


def read_openewld(archive: Archive) -> Iterator[LeadSheet]:
    """The lead sheets in 4/4 and 2/2 with a known key."""
    for row in archive.rows:
        if row["time_signature"] not in ("4/4", "2/2") or not row["tonality"]:
            continue
        tonic, mode = row["tonality"].replace("-", "b").split()
        home = -Key.parse(tonic + ("m" if mode == "minor" else "")).transposition
        symbols = json.loads(archive.files[f"chords/{row['id']}.json"])
        song = archive.song(row["file"])
        melody = [note for track in song.tracks if track.name == "MELODY" for note in track.notes]
        halves: dict[int, Chord] = {}
        for beat, root, kind, _bass, degrees in symbols:
            quality = _sheet_quality(kind, degrees)
            if quality is not None:
                chord = Chord(Key.parse(root.replace("-", "b")).tonic, quality).transposed(home)
                halves[round(beat / 2)] = chord
        if not halves:
            continue
        count = (max(halves) + 2) // 2
        present = halves[min(halves)]
        chords = []
        for index in range(count):
            first = present = halves.get(2 * index, present)
            second = present = halves.get(2 * index + 1, present)
            chords.append((first, second))
        yield LeadSheet(
            f"openewld:{row['group']}",
            tuple(chords),
            tuple(moved(bar, home) for bar in cut_bars(melody, count, 20)),
        )


def read_progressions(archive: Archive) -> Iterator[LeadSheet]:
    """Free MIDI chord progressions: one chord a bar, no melody."""
    for row in archive.rows:
        if row["kind"] != "progression" or row["style"] != "long":
            continue
        starts: dict[int, list[int]] = defaultdict(list)
        for note in _all_notes(archive.song(row["file"])):
            starts[note.start // TICKS_PER_BAR].append(note.pitch)
        chords = [name_chord(starts[bar]) for bar in sorted(starts)]
        if chords and all(chords):
            loop = tuple((chord, chord) for chord in chords if chord is not None)
            yield LeadSheet(f"free-midi:{row['group']}", loop, tuple(() for _ in loop))


_STYLES = {
    "hiphop": "hiphop",
    "funk": "funk",
    "soul": "soul",
    "rock": "rock",
    "pop": "rock",
    "jazz": "jazz",
    "latin": "latin",
    "afrocuban": "latin",
    "neworleans": "funk",
}


def read_gmd(archive: Archive) -> Iterator[DrumsPiece]:
    """The 4/4 takes of the Groove MIDI Dataset, fills included."""
    for row in archive.rows:
        if row["time_signature"] != "4-4":
            continue
        hits = [note for note in _all_notes(archive.song(row["file"])) if note.pitch in DRUM_CLASS]
        if not hits:
            continue
        count = 1 + round(max(note.start for note in hits) / 120) * 120 // TICKS_PER_BAR
        yield DrumsPiece(
            f"gmd:{row['group']}",
            float(row["bpm"]),
            _STYLES.get(row["style"].split("/")[0], "other"),
            row["beat_type"] == "fill",
            tuple(cut_bars(hits, count, 120)),
        )


def read_stickflow(archive: Archive) -> Iterator[DrumsPiece]:
    """StickFlow's on-grid 4/4 grooves and fills; grooves are looped four times."""
    for row in archive.rows:
        if row["time_signature"] != "4/4" or row["category"] not in ("fill", "groove"):
            continue
        hits = [note for note in _all_notes(archive.song(row["file"])) if note.pitch in DRUM_CLASS]
        fill = row["category"] == "fill"
        count = max(1, round(float(row["bars"])))
        bars = tuple(cut_bars(hits, count, 120)) * (1 if fill else 4)
        group = f"stickflow:{row['group']}"
        yield DrumsPiece(group, float(row["bpm"]), "other", fill, bars, on_grid=True)
