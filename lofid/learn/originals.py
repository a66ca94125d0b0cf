"""From what the authors published to our archives: a folder of files with an ``index.csv``.

Each reader here gives rows of the index and files by path, from the downloaded originals;
:mod:`lofid.learn.datasets` packs them. A twentieth of each set, by hash of its group, is reserved
and never enters an archive, so that there is music on which nobody trained.

This module knows the layout of the originals. It must not know where they come from.
"""

import ast
import csv
import gzip
import hashlib
import io
import json
import re
import sqlite3
import statistics
import tempfile
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import mido

from lofid.errors import LofidError
from lofid.learn.musicxml import drum_hits, lead_sheet
from lofid.learn.unpack import tarred, zipped
from lofid.music.midi import parse_midi
from lofid.music.notes import PPQ, TICKS_PER_BAR, Note
from lofid.music.rig import DRUM_CHANNEL

Files = dict[str, bytes]
Rows = list[dict[str, str]]
Convert = Callable[[Sequence[Path]], tuple[Rows, Files]]

RESERVED = 500  # of 10,000


def reserved(name: str, group: str) -> bool:
    """Whether a group of a set is kept out of its archive."""
    digest = hashlib.sha256(f"{name}:{group}".encode()).hexdigest()
    return int(digest[:8], 16) % 10_000 < RESERVED


def _repository(path: Path) -> Iterator[tuple[str, bytes]]:
    """A repository's files by their path inside it, as GitHub packs them (below one folder)."""
    with gzip.open(path) as stream:
        for name, content in tarred(stream):
            yield name.partition("/")[2], content


def groove(paths: Sequence[Path]) -> tuple[Rows, Files]:
    """Groove MIDI Dataset 1.0.0, MIDI only: ``groove/info.csv`` and a folder a drummer.

    The grooves that every drummer played in the evaluation session are one group each.
    """
    content = {name.partition("/")[2]: data for name, data in zipped(paths[0])}
    rows: Rows = []
    files: Files = {name: content[name] for name in ("LICENSE", "README") if name in content}
    seen: set[bytes] = set()
    for take in csv.DictReader(io.StringIO(_needed(content, "info.csv").decode())):
        style = take["style"]
        evaluation = "eval_session" in take["id"]
        group = f"evalgroove:{style.rpartition('/')[2]}" if evaluation else take["id"]
        midi = _needed(content, take["midi_filename"])
        if reserved("drums_gmd", group) or midi in seen:
            continue
        seen.add(midi)
        file = f"midi/{take['midi_filename']}"
        files[file] = midi
        keep = ("id", "drummer", "style", "bpm", "beat_type", "time_signature", "duration")
        rows.append({"group": group, "file": file, **{column: take[column] for column in keep}})
    return rows, files


def pop909(paths: Sequence[Path]) -> tuple[Rows, Files]:
    """POP909 (its repository) and POP909-CL (its own), matched by number.

    Titles group the songs, lower case and without spaces; the tempo is that of the median beat of
    ``beat_midi.txt``.
    """
    songs: Files = {}
    for name, data in _repository(paths[0]):
        folder, _, inside = name.partition("/")
        if folder == "POP909" and "/versions/" not in name and inside:
            songs[inside] = data
        elif name == "LICENSE":
            songs["LICENSE_POP909"] = data
    corrected = {
        name.rpartition("/")[2]: data
        for name, data in _repository(paths[1])
        if name.startswith("POP909_processed/") or name == "LICENSE"
    }
    rows: Rows = []
    files = {"LICENSE_POP909_CL": corrected.get("LICENSE", b"")}
    files |= {name: data for name, data in songs.items() if name == "LICENSE_POP909"}
    for song in _sheet(_needed(songs, "index.xlsx")):
        number = f"{int(float(song['song_id'])):03d}"
        group = "song:" + "".join(song["name"].lower().split())
        labelled = corrected.get(f"{number}.mid")
        if labelled is None or reserved("keys_pop909", group):
            continue
        for inside, data in songs.items():
            if inside.startswith(f"{number}/"):
                files[f"POP909/{inside}"] = data
        files[f"POP909_CL/{number}.mid"] = labelled
        beats = [
            float(line.split()[0])
            for line in _needed(songs, f"{number}/beat_midi.txt").decode().splitlines()
            if line.strip()
        ]
        step = statistics.median(b - a for a, b in pairwise(beats))
        metre = parse_midi(labelled, Path(f"{number}.mid")).signatures[0]
        rows.append(
            {
                "id": number,
                "group": group,
                "file": f"POP909/{number}/{number}.mid",
                "title": song["name"],
                "artist": song.get("artist", ""),
                "bpm": f"{60 / step:.2f}",
                "cl_time_signature": f"{metre.numerator}/{metre.denominator}",
            }
        )
    return rows, files


def ceol_rince(paths: Sequence[Path]) -> tuple[Rows, Files]:
    """The folder ``cre_corpus`` of folk_ngram_analysis, and nothing else of that repository."""
    rows: Rows = []
    files: Files = {}
    for name, data in _repository(paths[0]):
        title = Path(name).stem
        if not name.lower().startswith("cre_corpus/midi/") or Path(name).suffix != ".mid":
            continue
        if not reserved("folk_ceol_rince", title):
            files[f"midi/{title}.mid"] = data
            rows.append({"id": title, "group": title, "file": f"midi/{title}.mid"})
    return rows, files


def lofi_player(paths: Sequence[Path]) -> tuple[Rows, Files]:
    """The loops in ``midi/`` of Magenta's Lo-Fi Player: eight bars each, in C or A minor."""
    rows: Rows = []
    files: Files = {}
    for name, data in _repository(paths[0]):
        if name == "LICENSE":
            files[name] = data
        if not name.startswith("midi/") or not name.endswith(".mid"):
            continue
        group = name.removeprefix("midi/").removesuffix(".mid")
        if not reserved("lofi_magenta_player", group):
            files[name] = data
            role = "melody" if "/melody/" in name else "chords"
            rows.append({"id": group, "group": group, "file": name, "role": role})
    return rows, files


def stickflow(paths: Sequence[Path]) -> tuple[Rows, Files]:
    """StickFlow's patterns: MusicXML with a ``.json`` of the same name beside each.

    MIDI files are made of them: on the grid, accents at velocity 110, ghost notes (heads in
    parentheses) at 40, all else at 80; grace notes are left out.
    """
    content = dict(_repository(paths[0]))
    rows: Rows = []
    files: Files = {name: content[name] for name in ("LICENSE", "README.md") if name in content}
    for name in sorted(content):
        folder, _, file = name.partition("/")
        title = file.removesuffix(".musicxml")
        if folder not in ("fills", "grooves", "rudiments") or title == file:
            continue
        if reserved("drums_stickflow", title):
            continue
        about = json.loads(_needed(content, f"{folder}/{title}.json"))
        midi = f"midi/{folder}/{title}.mid"
        files[f"musicxml/{name}"] = content[name]
        files[midi] = _midi("Drums", DRUM_CHANNEL, drum_hits(content[name]))
        rows.append(
            {
                "id": title,
                "group": title,
                "file": midi,
                "original": f"musicxml/{name}",
                "category": about["category"],
                "title": about["title"],
                "bpm": str(about["default_bpm"]),
                "time_signature": about["time_signature"],
                "bars": str(about["bar_count"]),
            }
        )
    return rows, files


def openewld(paths: Sequence[Path]) -> tuple[Rows, Files]:
    """OpenEWLD: compressed MusicXML, and a database that numbers the works and names their keys.

    Of the database only number, key and path are taken: its titles and authors come from a source
    whose licence forbids commercial use.
    """
    content = {unicodedata.normalize("NFC", name): data for name, data in _repository(paths[0])}
    rows: Rows = []
    files: Files = {name: content[name] for name in ("LICENSE", "README.md") if name in content}
    for number, path, tonality in _works(_needed(content, "OpenEWLD.db")):
        title = f"ewld{number:04d}"
        if reserved("leadsheets_openewld", title):
            continue
        inside = path[max(path.find("dataset/"), 0) :]
        mxl = _needed(content, unicodedata.normalize("NFC", inside))
        metre, melody, chords = lead_sheet(mxl)
        row = {"id": title, "group": title, "file": f"midi/{title}.mid"}
        row |= {"original": f"mxl/{title}.mxl", "time_signature": metre, "tonality": tonality}
        files[row["original"]] = mxl
        files[row["file"]] = _midi("MELODY", 0, melody)
        files[f"chords/{title}.json"] = json.dumps(chords).encode()
        rows.append(row)
    return rows, files


def _works(database: bytes) -> list[tuple[int, str, str]]:
    """Number, path of the score and key of each work, in order of number.

    The tables are read by place, as the authors' program writes them: a work's number comes first
    and its score sixth, a feature row's work first and its key third.
    """
    with tempfile.NamedTemporaryFile(suffix=".db") as file:
        file.write(database)
        file.flush()
        with closing(sqlite3.connect(file.name)) as connection:
            keys = {row[0]: row[2] for row in connection.execute("SELECT * FROM features")}
            works = connection.execute("SELECT * FROM works").fetchall()
    return sorted((int(row[0]), str(row[5]), str(keys.get(row[0]) or "")) for row in works)


def _midi(name: str, channel: int, notes: Sequence[Note]) -> bytes:
    """Notes as a MIDI file of one track."""
    events = [(note.start, True, note.pitch, note.velocity) for note in notes]
    events += [(note.start + note.duration, False, note.pitch, 0) for note in notes]
    track = mido.MidiTrack([mido.MetaMessage("track_name", name=name)])
    now = 0
    for tick, _, pitch, velocity in sorted(events):
        track.append(
            mido.Message("note_on", channel=channel, note=pitch, velocity=velocity, time=tick - now)
        )
        now = tick
    file = mido.MidiFile(ticks_per_beat=PPQ)
    file.tracks.append(track)
    content = io.BytesIO()
    file.save(file=content)
    return content.getvalue()


_PROGRESSIONS = {"prog_maj": "Major", "prog_min": "Minor", "prog_modal": "Modal"}
_SCALES = {
    "Major": (0, 0, 2, 4, 5, 7, 9, 11),
    "Modal": (0, 0, 2, 4, 5, 7, 9, 11),
    "Minor": (9, 0, 2, 3, 5, 7, 8, 10),
}
"""The tonic's pitch class, then the degrees above it."""
_NUMERALS = ("I", "II", "III", "IV", "V", "VI", "VII")
_SUFFIXES = {
    "5": (0, 7),
    "M": (0, 4, 7),
    "m": (0, 3, 7),
    "dim": (0, 3, 6),
    "M-5": (0, 4, 6),
    "sus2": (0, 2, 7),
    "sus4": (0, 5, 7),
    "6": (0, 4, 7, 9),
    "M6": (0, 4, 7, 9),
    "m6": (0, 3, 7, 9),
    "M7": (0, 4, 7, 11),
    "m7": (0, 3, 7, 10),
    "dom7": (0, 4, 7, 10),
    "add9": (0, 4, 7, 14),
    "madd9": (0, 3, 7, 14),
    "69": (0, 4, 7, 9, 14),
    "9": (0, 4, 7, 10, 14),
    "m9": (0, 3, 7, 10, 14),
}
_NUMERAL = re.compile(r"([b#]?)([IViv]+)(.*)")


def free_midi_chords(paths: Sequence[Path]) -> tuple[Rows, Files]:
    """The progressions of ``chords.py``, which that project's generator makes its files from.

    One block chord a bar over its root, in C major or A minor: the ``long`` form of the packs.
    Its single chords and its other rhythms, which nobody here learns from, are left out.
    """
    content = dict(_repository(paths[0]))
    rows: Rows = []
    files: Files = {name: content[name] for name in ("LICENSE", "README.md") if name in content}
    lists = {
        target.id: ast.literal_eval(statement.value)
        for statement in ast.parse(_needed(content, "chords.py").decode()).body
        if isinstance(statement, ast.Assign)
        for target in statement.targets
        if isinstance(target, ast.Name) and target.id in _PROGRESSIONS
    }
    seen: set[bytes] = set()
    for name, mode in _PROGRESSIONS.items():
        lines = [line.partition("=") for line in lists.get(name, ())]
        for chords, mood in sorted((chords.strip(), mood.strip()) for chords, _, mood in lines):
            group = f"prog:{mode}:{chords}"
            midi = _midi(
                "chords",
                0,
                [
                    Note(bar * TICKS_PER_BAR, pitch, TICKS_PER_BAR, 100)
                    for bar, numeral in enumerate(chords.split())
                    for pitch in numeral_pitches(mode, numeral)
                ],
            )
            if midi in seen or reserved("chords_free_midi", group):
                continue
            seen.add(midi)
            title = f"progression-{len(rows) + 1:04d}"
            file = f"progressions/{title}.mid"
            files[file] = midi
            row = {"id": title, "group": group, "file": file, "kind": "progression"}
            rows.append({**row, "mode": mode, "style": "long", "chords": chords, "mood": mood})
    return rows, files


def numeral_pitches(mode: str, numeral: str) -> list[int]:
    """The MIDI pitches of a Roman numeral such as ``bVIM7``: the root below, the chord above it.

    ``mode`` is Major, Minor or Modal (in which numerals count from the major scale). Without a
    suffix, or with a 7, a numeral is the triad or seventh chord of the scale, moved as a whole by
    its accidental; its case means nothing. Raises ValueError for one that is not known.
    """
    match = _NUMERAL.fullmatch(numeral)
    if match is None or match[2].upper() not in _NUMERALS:
        raise ValueError(f"the numeral {numeral} is not known")
    tonic, *scale = _SCALES[mode]
    degree = _NUMERALS.index(match[2].upper())
    root = tonic + scale[degree] + {"": 0, "b": -1, "#": 1}[match[1]]
    suffix = match[3]
    if suffix in ("", "7"):
        steps = [(degree + third) % 7 for third in ((0, 2, 4, 6) if suffix else (0, 2, 4))]
        tones = [(scale[step] - scale[degree]) % 12 for step in steps]
    elif suffix in _SUFFIXES:
        tones = list(_SUFFIXES[suffix])
    else:
        raise ValueError(f"the chord {numeral} is not known")
    return [36 + root % 12, *(60 + root % 12 + tone for tone in tones)]


def index_csv(rows: Rows) -> bytes:
    """The index as a file."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def content_digest(files: Mapping[str, bytes], rows: Rows) -> str:
    """One SHA-256 for the music that the index names, whatever the files are called.

    Of the originals, where the files are made of them.
    """
    paths = [row.get("original", row["file"]) for row in rows]
    digests = sorted(hashlib.sha256(files[path]).hexdigest() for path in paths)
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def _needed(content: Mapping[str, bytes], name: str) -> bytes:
    if name not in content:
        raise LofidError(
            f"The original lacks the file {name}: its authors have changed it; "
            "get the data set from a mirror with --from."
        )
    return content[name]


_MOST_SHEET = 64 << 20
"""Bytes that a workbook may unpack to."""
_SHEET = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"


def _sheet(xlsx: bytes) -> Iterator[dict[str, str]]:
    """The rows of a workbook's first sheet (ECMA-376), by the names in its first row."""
    book = dict(zipped(io.BytesIO(xlsx), _MOST_SHEET))
    shared: list[str] = []
    if "xl/sharedStrings.xml" in book:
        for item in ElementTree.fromstring(book["xl/sharedStrings.xml"]):
            # Readings of Chinese titles (rPh) stand beside the text proper.
            texts = [*item.findall(f"{_SHEET}t"), *item.findall(f"{_SHEET}r/{_SHEET}t")]
            shared.append("".join(text.text or "" for text in texts))
    sheet = ElementTree.fromstring(book["xl/worksheets/sheet1.xml"])
    names: dict[str, str] = {}
    for row in sheet.iter(f"{_SHEET}row"):
        cells: dict[str, str] = {}
        for cell in row.iter(f"{_SHEET}c"):
            value = cell.find(f"{_SHEET}v")
            text = value.text or "" if value is not None else "".join(cell.itertext())
            if cell.get("t") == "s":
                text = shared[int(text)]
            cells["".join(filter(str.isalpha, cell.get("r", "")))] = text
        if not names:
            names = cells
        elif cells:
            yield {names[column]: text for column, text in cells.items() if column in names}
