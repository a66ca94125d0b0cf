"""Derive the table of chord loops, ``lofid/music/progressions.json``, from the data sets.

Three sources, all moved to C major or A minor and extended to sevenths and ninths:

- the loops that lo-fi practice names (listed here),
- free-midi-chords' progressions with their mood tags,
- OpenEWLD's lead sheets: four- and eight-bar stretches that recur.

Usage: ``python scripts/build_progressions.py DATA_DIR`` where DATA_DIR holds the unpacked
``chords_free_midi`` and ``leadsheets_openewld``. The same data give the same file.
"""

import csv
import itertools
import json
import re
import sys
from collections import Counter, defaultdict
from pathlib import Path

from lofid.music.chords import Chord, Key, Mode, Quality
from lofid.music.harmony_model import DIATONIC_SEVENTHS, coloured
from lofid.music.parameters import Mood

TARGET = Path(__file__).resolve().parent.parent / "lofid" / "music" / "progressions.json"
ATTRIBUTION = [
    "free-midi-chords by Ludovic Drolez, MIT licence",
    "OpenEWLD by Federico Simonetta, Filippo Carnovalini, Nicola Orio and Antonio Roda, MIT "
    "licence, scores in the public domain",
]
Bar = tuple[Chord, ...]
Loop = tuple[Bar, ...]
HOME = {Mode.MAJOR: Key.parse("C"), Mode.MINOR: Key.parse("Am")}

PRACTICE: list[tuple[Mode, tuple[Mood, ...], str]] = [
    (Mode.MAJOR, (Mood.MELLOW, Mood.JAZZ), "Dm9 | G13 | Cmaj9 | Am7"),
    (Mode.MAJOR, (Mood.MELLOW, Mood.SOUL), "Em7 | Am7 | Cmaj7 | G7"),
    (Mode.MAJOR, (Mood.JAZZ, Mood.MELLOW), "Em7 | Am7 | Dm7 | G7"),
    (Mode.MAJOR, (Mood.MELLOW, Mood.BRIGHT), "Cmaj7 | Am7 | Dm7 | G7sus4"),
    (Mode.MAJOR, (Mood.MELLOW, Mood.SOUL), "Fmaj9 | Em7 | Dm9 | Cmaj9"),
    (Mode.MAJOR, (Mood.SOUL, Mood.MELLOW), "Fmaj7 | Em7 | Am9 | Cmaj7"),
    (Mode.MAJOR, (Mood.BRIGHT, Mood.MELLOW), "Cmaj9 | Fmaj9"),
    (Mode.MAJOR, (Mood.BRIGHT, Mood.SOUL), "Fmaj9 | G13 | Em7 | Am7"),
    (Mode.MAJOR, (Mood.BRIGHT,), "Cmaj7 | Em7 | Fmaj7 | G7"),
    (Mode.MAJOR, (Mood.BRIGHT, Mood.MELLOW), "Cmaj9 | G7sus4 | Am7 | Fmaj7"),
    (Mode.MAJOR, (Mood.SOUL, Mood.JAZZ), "Fmaj7 | E7 | Am7 | Gm7 C7"),
    (Mode.MAJOR, (Mood.JAZZ,), "Cmaj7 A7b9 | Dm7 G13 | Em7 A7 | Dm9 G13"),
    (Mode.MAJOR, (Mood.JAZZ, Mood.SOUL), "Dm9 | Dm7 G13 | Cmaj9 | Em7 A7b9"),
    (Mode.MAJOR, (Mood.MELLOW, Mood.SOUL), "Fmaj9 | Fm9 | Em7 | Am9"),
    (Mode.MAJOR, (Mood.SOUL, Mood.DARK), "Cmaj9 | Bbmaj9 | Abmaj7 | G7sus4"),
    (Mode.MAJOR, (Mood.MELLOW, Mood.JAZZ), "Cmaj9 | Fm9 | Em7 | Dm9 G13"),
    (Mode.MINOR, (Mood.MELLOW, Mood.DARK), "Am9 | Fmaj7 | Cmaj7 | G7"),
    (Mode.MINOR, (Mood.DARK, Mood.SOUL), "Am7 | Dm9 | Fmaj7 | E7"),
    (Mode.MINOR, (Mood.DARK, Mood.JAZZ), "Dm9 | Bm7b5 E7b9 | Am9 | Am7"),
    (Mode.MINOR, (Mood.SOUL, Mood.MELLOW), "Am9 | Dm9"),
    (Mode.MINOR, (Mood.SOUL, Mood.DARK), "Fmaj7 | Em7 | Am9 | Am7"),
    (Mode.MINOR, (Mood.MELLOW, Mood.SOUL), "Fmaj9 | G13 | Am9 | Em7"),
    (Mode.MINOR, (Mood.JAZZ, Mood.DARK), "Am9 | D9 | Dm9 | G13"),
    (Mode.MINOR, (Mood.JAZZ, Mood.MELLOW), "Dm9 G13 | Cmaj7 Fmaj7 | Bm7b5 E7b9 | Am9"),
    (Mode.MINOR, (Mood.DARK,), "Am9 | Em7 | Fmaj7 | Em7"),
    (Mode.MINOR, (Mood.BRIGHT, Mood.MELLOW), "Am7 | D9 | Fmaj9 | Cmaj9"),
    (Mode.MINOR, (Mood.DARK, Mood.SOUL), "Am9 | Bbmaj7 | Am9 | E7b9"),
    (Mode.MAJOR, (Mood.JAZZ,), "Dm9 | G13 | Em7 | A7b9"),
    (Mode.MAJOR, (Mood.JAZZ,), "Dm9 | Db9 | Cmaj9 | A7b9"),
    (Mode.MAJOR, (Mood.JAZZ, Mood.MELLOW), "Cmaj9 | Am9 | Dm9 | Db13"),
    (Mode.MAJOR, (Mood.JAZZ,), "Fmaj9 | Bb13 | Em7 | A7b9"),
    (Mode.MAJOR, (Mood.JAZZ, Mood.MELLOW), "Em7 | Ebm7 | Dm9 | G13"),
    (Mode.MAJOR, (Mood.JAZZ, Mood.SOUL), "Cmaj7 | C9 | Fmaj7 | Fm7 Bb9"),
    (Mode.MAJOR, (Mood.JAZZ,), "Am9 | D9 | Dm9 | Db13"),
    (Mode.MAJOR, (Mood.JAZZ, Mood.MELLOW), "Cmaj9 | Ebmaj7 | Abmaj7 | Db9"),
    (Mode.MAJOR, (Mood.JAZZ, Mood.SOUL), "Gm9 | C13 | Fmaj9 | Bb13"),
    (Mode.MAJOR, (Mood.JAZZ,), "Em7 A7b9 | Dm9 G13 | Cmaj9 | Fmaj7"),
    (Mode.MAJOR, (Mood.JAZZ, Mood.MELLOW), "Cmaj7 | C#dim7 | Dm9 | G13"),
    (Mode.MAJOR, (Mood.JAZZ,), "Bm7b5 E7b9 | Am9 D9 | Dm9 G13 | Cmaj9"),
    (Mode.MAJOR, (Mood.JAZZ, Mood.MELLOW), "Dm9 | Em7 | Fmaj9 | G13"),
    (Mode.MAJOR, (Mood.JAZZ, Mood.SOUL), "Fmaj9 | F#dim7 | Em7 A7b9 | Dm9 G13"),
    (Mode.MINOR, (Mood.JAZZ, Mood.DARK), "Am9 | Fmaj9 | Bm7b5 | E7b9"),
    (Mode.MINOR, (Mood.JAZZ,), "Dm9 | G13 | Cmaj9 | Bm7b5 E7b9"),
    (Mode.MINOR, (Mood.JAZZ, Mood.DARK), "Am9 | Am9 D9 | Fmaj7 | Bm7b5 Bb9"),
    (Mode.MINOR, (Mood.JAZZ, Mood.MELLOW), "Am9 | Dm9 G13 | Cmaj9 | Fmaj7 E7b9"),
    (Mode.MINOR, (Mood.JAZZ, Mood.DARK), "Bm7b5 | Bb13 | Am9 | F9"),
    (Mode.MINOR, (Mood.JAZZ, Mood.SOUL), "Am9 | Bm7b5 E7b9 | Am9 | Gm9 C13"),
    (Mode.MINOR, (Mood.JAZZ,), "Fmaj9 | Bb9 | Am9 | D9"),
    (Mode.MINOR, (Mood.JAZZ, Mood.DARK), "Dm9 | Db9 | Cmaj9 | E7b9"),
    (Mode.MAJOR, (Mood.BRIGHT, Mood.MELLOW), "Cmaj9 | Dm9 | Em7 | Fmaj9"),
    (Mode.MAJOR, (Mood.BRIGHT,), "Fmaj9 | G13 | Cmaj9 | Am7"),
    (Mode.MAJOR, (Mood.BRIGHT, Mood.SOUL), "Cmaj9 | Em7 | Am7 | G13"),
    (Mode.MAJOR, (Mood.BRIGHT,), "Fmaj9 | Cmaj9 | Dm9 | G7sus4"),
    (Mode.MAJOR, (Mood.BRIGHT, Mood.MELLOW), "Am7 | Fmaj9 | Cmaj9 | G7sus4"),
    (Mode.MAJOR, (Mood.BRIGHT,), "Dm9 | Em7 | Fmaj9 | G7sus4"),
    (Mode.MAJOR, (Mood.BRIGHT, Mood.SOUL), "Cmaj9 | D9 | Fmaj9 | Cmaj9"),
    (Mode.MAJOR, (Mood.BRIGHT,), "Cmaj9 G13 | Am7 Em7 | Fmaj9 Cmaj9 | Dm9 G13"),
    (Mode.MAJOR, (Mood.BRIGHT, Mood.JAZZ), "Cmaj9 | A7 | Dm9 | G13"),
    (Mode.MAJOR, (Mood.BRIGHT, Mood.MELLOW), "Em7 | Fmaj9 | Cmaj9 | Am7"),
    (Mode.MAJOR, (Mood.BRIGHT, Mood.SOUL), "Fmaj9 | Em7 Am7 | Dm9 G13 | Cmaj9"),
    (Mode.MAJOR, (Mood.BRIGHT,), "Cmaj9 | Fmaj9 | Dm9 | Em7 G7sus4"),
    (Mode.MAJOR, (Mood.BRIGHT, Mood.SOUL), "Dm9 | G13"),
    (Mode.MAJOR, (Mood.BRIGHT, Mood.MELLOW), "Fmaj9 | Cmaj9"),
    (Mode.MAJOR, (Mood.JAZZ, Mood.MELLOW), "Fmaj9 | Em7"),
    (Mode.MAJOR, (Mood.SOUL, Mood.MELLOW), "Cmaj9 | Gm9"),
    (Mode.MINOR, (Mood.DARK, Mood.SOUL), "Am9 | Fmaj9"),
    (Mode.MINOR, (Mood.JAZZ, Mood.DARK), "Am9 | D9"),
    (Mode.MINOR, (Mood.MELLOW, Mood.DARK), "Am9 | Em7"),
    (Mode.MINOR, (Mood.BRIGHT, Mood.MELLOW), "Fmaj9 | Am9"),
]
"""Loops of lo-fi practice: ii-V-I, i-VI-III-VII, iii-vi-ii-V and their kin, some with borrowed
chords. Two-bar ones are played twice."""

TAG_MOODS: dict[Mood, set[str]] = {
    Mood.BRIGHT: {"Joyful", "Playful", "Hopeful", "Excited", "Triumphant", "Empowered"},
    Mood.MELLOW: {"Relaxed", "Peaceful", "Nostalgic", "Tender", "Romantic"},
    Mood.DARK: {"Dark", "Sad", "Lonely", "Mysterious", "Fearful", "Anguished", "Dramatic"},
    Mood.SOUL: {"Spiritual", "Romantic", "Rebellious"},
}
NUMERALS = {"i": 0, "ii": 2, "iii": 4, "iv": 5, "v": 7, "vi": 9, "vii": 11}
MINOR_NUMERALS = {"i": 9, "ii": 11, "iii": 0, "iv": 2, "v": 4, "vi": 5, "vii": 7}
KINDS = {
    "major": Quality.MAJOR,
    "minor": Quality.MINOR,
    "dominant": Quality.DOMINANT_7,
    "minor-seventh": Quality.MINOR_7,
    "major-seventh": Quality.MAJOR_7,
    "major-sixth": Quality.SIXTH,
    "minor-sixth": Quality.MINOR_SIXTH,
    "dominant-ninth": Quality.DOMINANT_9,
    "dominant-13th": Quality.DOMINANT_13,
    "minor-ninth": Quality.MINOR_9,
    "major-ninth": Quality.MAJOR_9,
    "diminished": Quality.DIMINISHED_7,
    "diminished-seventh": Quality.DIMINISHED_7,
    "half-diminished": Quality.HALF_DIMINISHED,
    "suspended-fourth": Quality.SUS_7,
}


def extended_loop(loop: Loop) -> Loop | None:
    """Every chord extended, or None if one cannot be."""
    bars: list[Bar] = []
    for index, bar in enumerate(loop):
        chords = [coloured(chord, index) for chord in bar]
        if any(chord is None for chord in chords):
            return None
        bars.append(tuple(chord for chord in chords if chord is not None))
    return tuple(bars)


def numeral_chord(token: str, mode: Mode) -> Chord | None:
    """A chord of free-midi-chords' notation (``vi``, ``bVIM``, ``Idom7``), in C major/A minor."""
    match = re.fullmatch(r"([b#]?)([ivIV]+)(M|m|dim|dom7|m7|M7|7|add9|sus4|9|6|m9)?", token)
    if match is None:
        return None
    accidental, numeral, suffix = match[1], match[2], match[3] or ""
    degrees = MINOR_NUMERALS if mode is Mode.MINOR else NUMERALS
    root = (degrees[numeral.lower()] + {"": 0, "b": -1, "#": 1}[accidental]) % 12
    scale_triad = next((quality for at, quality in DIATONIC_SEVENTHS if at == root), None)
    quality = {
        "M": Quality.MAJOR,
        "m": Quality.MINOR,
        "dim": Quality.DIMINISHED,
        "dom7": Quality.DOMINANT_7,
        "m7": Quality.MINOR_7,
        "M7": Quality.MAJOR_7,
        "sus4": Quality.SUS4,
        "m9": Quality.MINOR_9,
    }.get(suffix, scale_triad if not accidental else None)
    return None if quality is None else Chord(root, quality)


def from_free_midi(data: Path) -> list[tuple[Mode, tuple[Mood, ...], Loop]]:
    """Progressions of four or eight chords, one a bar, with the moods of their tags."""
    found: dict[tuple[Mode, str], set[str]] = defaultdict(set)
    with (data / "chords_free_midi" / "index.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["kind"] == "progression" and row["mode"] in ("Major", "Minor"):
                found[Mode(row["mode"].lower()), row["chords"]] |= set(row["mood"].split())
    loops = []
    for (mode, text), tags in sorted(found.items()):
        chords = [numeral_chord(token, mode) for token in text.split()]
        moods = tuple(mood for mood in Mood if tags & TAG_MOODS.get(mood, set()))
        if len(chords) not in (4, 8) or None in chords or not moods:
            continue
        loop = extended_loop(tuple((chord,) for chord in chords if chord is not None))
        if loop is not None and is_moving(loop):
            loops.append((mode, moods, loop))
    return loops


def sheet_bars(path: Path, tonic: int) -> list[Bar | None]:
    """A lead sheet's bars in C: the chords at their first and third beat; None if it has others.

    Sheets with a pick-up start their bars where most chords fall.
    """
    events = [
        (beat, Chord((Chord.parse(root).root - tonic) % 12, KINDS[kind]))
        for beat, root, kind, bass, degrees in json.loads(path.read_text())
        if kind in KINDS and bass is None and not degrees and re.fullmatch(r"[A-G][#b]?", root)
    ]
    if not events:
        return []
    offset = Counter(beat % 4 for beat, _ in events).most_common(1)[0][0]
    bars: dict[int, dict[float, Chord]] = defaultdict(dict)
    for beat, chord in events:
        bars[int((beat - offset) // 4)][(beat - offset) % 4] = chord
    result: list[Bar | None] = []
    last: Chord | None = None
    for index in range(max(bars) + 1):
        here = bars.get(index, {})
        opening = here.get(0.0, last)
        usable = opening is not None and not set(here) - {0.0, 2.0}
        if usable and opening is not None:
            result.append((opening, here[2.0]) if 2.0 in here else (opening,))
        else:
            result.append(None)
        last = here[max(here)] if here else last
    return result


def is_moving(loop: Loop) -> bool:
    """Whether a loop goes somewhere: three or more roots, none of them twice in a row."""
    roots = [chord.root for bar in loop for chord in bar]
    return len(set(roots)) >= 3 and all(a != b for a, b in itertools.pairwise(roots))


def from_lead_sheets(data: Path) -> list[tuple[Mode, tuple[Mood, ...], Loop]]:
    """Four- and eight-bar stretches that at least two sheets share."""
    folder = data / "leadsheets_openewld"
    sheets: dict[Loop, set[str]] = defaultdict(set)
    with (folder / "index.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            tonality = row["tonality"].replace("-", "b").split()
            if row["time_signature"] not in ("4/4", "2/2") or tonality[-1:] != ["major"]:
                continue
            tonic = Chord.parse(tonality[0]).root
            bars = sheet_bars(folder / "chords" / f"{row['id']}.json", tonic)
            for length in (4, 8):
                for start in range(0, len(bars) - length + 1, 4):
                    stretch = bars[start : start + length]
                    loop = tuple(bar for bar in stretch if bar is not None)
                    if len(loop) == length:
                        closed = extended_loop(loop)
                        if closed is not None and is_moving(closed):
                            sheets[closed].add(row["group"])
    shared = {loop: len(names) for loop, names in sheets.items() if len(names) >= 2}
    ranked = sorted(shared, key=lambda loop: (-shared[loop], written(loop)))
    return [(Mode.MAJOR, (Mood.JAZZ, Mood.SOUL), loop) for loop in ranked]


def written(loop: Loop) -> list[str]:
    """A loop as the file holds it: one string a bar, chord symbols separated by spaces."""
    return [" ".join(chord.symbol for chord in bar) for bar in loop]


def practice() -> list[tuple[Mode, tuple[Mood, ...], Loop]]:
    """The loops listed above."""
    loops = []
    for mode, moods, text in PRACTICE:
        bars = [tuple(map(Chord.parse, bar.split())) for bar in text.split("|")]
        loops.append((mode, moods, tuple(bars * 2 if len(bars) == 2 else bars)))
    return loops


def main(data: Path) -> None:
    """Write the table."""
    entries: dict[tuple[str, ...], dict[str, object]] = {}
    for source, loops in (
        ("practice", practice()),
        ("free-midi-chords", from_free_midi(data)),
        ("openewld", from_lead_sheets(data)),
    ):
        for mode, moods, loop in loops:
            entries.setdefault(
                (mode, *written(loop)),
                {"mode": mode, "moods": list(moods), "source": source, "bars": written(loop)},
            )
    lines = ",\n".join("  " + json.dumps(entry) for entry in entries.values())
    attribution = json.dumps(ATTRIBUTION)
    TARGET.write_text(f'{{"attribution": {attribution},\n "loops": [\n{lines}\n]}}\n')
    print(f"{len(entries)} loops:", dict(Counter(str(e["source"]) for e in entries.values())))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
