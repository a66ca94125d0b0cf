"""From what the authors published to our archives: a folder of files with an ``index.csv``.

Only for sets whose files we take as they are. Each reader here gives rows of the index and files by
path, from the downloaded originals; :mod:`lofid.learn.datasets` packs them. A twentieth of each
set, by hash of its group, is reserved and never enters an archive, so that there is music on which
nobody trained.

This module knows the layout of the originals. It must not know where they come from.
"""

import csv
import hashlib
import io
import statistics
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

from lofid.errors import LofidError
from lofid.music.midi import parse_midi

Files = dict[str, bytes]
Rows = list[dict[str, str]]
Convert = Callable[[Sequence[Path]], tuple[Rows, Files]]

RESERVED = 500  # of 10,000


def reserved(name: str, group: str) -> bool:
    """Whether a group of a set is kept out of its archive."""
    digest = hashlib.sha256(f"{name}:{group}".encode()).hexdigest()
    return int(digest[:8], 16) % 10_000 < RESERVED


def _zipped(path: Path) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if not name.endswith("/"):
                yield name, archive.read(name)


def _tarred(path: Path) -> Iterator[tuple[str, bytes]]:
    """A repository's files by their path inside it, as GitHub packs them (below one folder)."""
    with tarfile.open(path, "r:gz") as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isfile() else None
            if content is not None:
                yield member.name.partition("/")[2], content.read()


def groove(paths: Sequence[Path]) -> tuple[Rows, Files]:
    """Groove MIDI Dataset 1.0.0, MIDI only: ``groove/info.csv`` and a folder a drummer.

    The grooves that every drummer played in the evaluation session are one group each.
    """
    content = {name.partition("/")[2]: data for name, data in _zipped(paths[0])}
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
    for name, data in _tarred(paths[0]):
        folder, _, inside = name.partition("/")
        if folder == "POP909" and "/versions/" not in name and inside:
            songs[inside] = data
        elif name == "LICENSE":
            songs["LICENSE_POP909"] = data
    corrected = {
        name.rpartition("/")[2]: data
        for name, data in _tarred(paths[1])
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
    for name, data in _tarred(paths[0]):
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
    for name, data in _tarred(paths[0]):
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


def index_csv(rows: Rows) -> bytes:
    """The index as a file."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def content_digest(files: Mapping[str, bytes], rows: Rows) -> str:
    """One SHA-256 for the music that the index names, whatever the files are called."""
    digests = sorted(hashlib.sha256(files[row["file"]]).hexdigest() for row in rows)
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def _needed(content: Mapping[str, bytes], name: str) -> bytes:
    if name not in content:
        raise LofidError(
            f"The original lacks the file {name}: its authors have changed it; "
            "get the data set from a mirror with --from."
        )
    return content[name]


_SHEET = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"


def _sheet(xlsx: bytes) -> Iterator[dict[str, str]]:
    """The rows of a workbook's first sheet (ECMA-376), by the names in its first row."""
    with zipfile.ZipFile(io.BytesIO(xlsx)) as book:
        shared: list[str] = []
        if "xl/sharedStrings.xml" in book.namelist():
            for item in ElementTree.fromstring(book.read("xl/sharedStrings.xml")):
                # Readings of Chinese titles (rPh) stand beside the text proper.
                texts = [*item.findall(f"{_SHEET}t"), *item.findall(f"{_SHEET}r/{_SHEET}t")]
                shared.append("".join(text.text or "" for text in texts))
        sheet = ElementTree.fromstring(book.read("xl/worksheets/sheet1.xml"))
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
