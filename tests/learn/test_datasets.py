"""Public data sets: from mirrors, checked; from what their authors publish, converted."""

import csv
import hashlib
import io
import json
import resource
import sqlite3
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from xml.sax.saxutils import escape

import pytest
from typer.testing import CliRunner

from lofid.cli import app
from lofid.errors import LofidError
from lofid.files import temporary_name
from lofid.learn import originals, pieces
from lofid.learn.archives import data_folder, open_archive
from lofid.learn.datasets import (
    DATA_SETS,
    DataSet,
    Original,
    Outcome,
    get,
    named,
    present,
)
from lofid.learn.harmony import name_chord
from lofid.learn.musicxml import drum_hits
from lofid.learn.sequences import DRUMS_SOURCES, KEYS_SOURCES
from lofid.learn.sources import SOURCES
from lofid.learn.unpack import tarred
from lofid.music.chords import Chord, Quality

Writer = Callable[..., None]


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder and the address at which a server on this machine offers it."""
    folder = tmp_path / "served"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def packed(data: Path, served: tuple[Path, str]) -> DataSet:
    """The loops of the tests, packed into the served folder."""
    path = served[0] / "lofi_magenta_player.tar.xz"
    with tarfile.open(path, "w:xz") as tar:
        tar.add(data / "lofi_magenta_player", "lofi_magenta_player")
    content = path.read_bytes()
    return replace(
        DATA_SETS["lofi_magenta_player"],
        packed_bytes=len(content),
        packed_sha256=hashlib.sha256(content).hexdigest(),
    )


def test_every_set_that_models_learn_from_can_be_got_and_is_credited() -> None:
    assert set(DATA_SETS) >= {*KEYS_SOURCES, *DRUMS_SOURCES}
    for item in DATA_SETS.values():
        assert SOURCES[item.name].licence
        assert item.source.attribution
        assert named(item.short) is named(item.name) is item
    with pytest.raises(LofidError, match=r"'lakh' is not known; choose one of pop909"):
        named("lakh")


def test_what_comes_only_packed_says_so(tmp_path: Path) -> None:
    for name in ("mcgill-billboard", "rs200", "lieder"):
        with pytest.raises(LofidError, match=rf"{name} comes only packed.*\.tar\.xz with --from"):
            get(named(name), tmp_path)
    assert not list(tmp_path.iterdir())


def test_all_leaves_out_what_a_mirror_lacks_or_has_otherwise(
    packed: DataSet, served: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is there, one has another length, one is missing."""
    sets = {"a": packed, "b": named("rs200"), "c": named("lieder")}
    monkeypatch.setattr("lofid.learn.datasets.DATA_SETS", sets)
    (served[0] / "form_rs200.tar.xz").write_bytes(b"half")
    arguments = ["data", "get", "all", "--from", str(served[0]), "--data", str(tmp_path), "--json"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0
    told = json.loads(result.stdout)
    assert [one["short"] for one in told["sets"]] == ["lofi-player"]
    assert told["left_out"] == ["rs200", "lieder"]
    assert "has 4 bytes instead of 364,028" in result.stderr
    assert "has no keys_openscore_lieder.tar.xz" in result.stderr
    assert [path.name for path in tmp_path.glob("*.xz")] == ["lofi_magenta_player.tar.xz"]
    arguments[2] = "lieder"
    assert CliRunner().invoke(app, arguments).exit_code != 0


def test_the_data_folder_follows_the_xdg_specification(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert data_folder() == tmp_path / "lofid" / "data"


def test_a_mirror_may_be_a_folder_or_an_address(
    packed: DataSet, served: tuple[Path, str], tmp_path: Path
) -> None:
    told: list[tuple[int, int | None]] = []
    for place, mirror in (("a", str(served[0])), ("b", served[1]), ("c", served[1] + "/")):
        told.clear()
        data = tmp_path / place
        outcome = get(packed, data, mirror, lambda *done: told.append(done))
        assert outcome is Outcome.VERIFIED
        assert told[-1][0] == told[-1][1]
        assert len(list(pieces.read_loops(open_archive(data, packed.name)))) == 1
        assert [path.name for path in data.iterdir()] == [f"{packed.name}.tar.xz"]
        assert get(packed, data, "nowhere") is Outcome.PRESENT


def test_what_a_killed_process_left_goes_with_the_next(
    packed: DataSet, served: tuple[Path, str], tmp_path: Path
) -> None:
    goal = tmp_path / f"{packed.name}.tar.xz"
    temporary_name(goal).write_bytes(b"half of it")
    get(packed, tmp_path, str(served[0]))
    assert [path.name for path in tmp_path.iterdir() if path != served[0]] == [goal.name]


def test_a_set_is_got_by_one_process(
    packed: DataSet, served: tuple[Path, str], tmp_path: Path
) -> None:
    refused: list[str] = []

    def meanwhile(_have: int, _whole: int | None) -> None:
        with pytest.raises(
            LofidError, match="lofi-player is being fetched by another lofid"
        ) as error:
            get(packed, tmp_path, served[1])
        refused.append(str(error.value))

    assert get(packed, tmp_path, str(served[0]), meanwhile) is Outcome.VERIFIED
    assert refused


@pytest.mark.parametrize("by_address", [True, False])
def test_an_archive_with_another_checksum_is_not_taken(
    packed: DataSet, served: tuple[Path, str], tmp_path: Path, by_address: bool
) -> None:
    other = replace(packed, packed_sha256="0" * 64)
    with pytest.raises(LofidError, match="another checksum"):
        get(other, tmp_path / "data", served[1] if by_address else str(served[0]))
    assert not list((tmp_path / "data").iterdir())


@pytest.mark.parametrize("by_address", [True, False])
def test_an_archive_of_another_size_is_not_taken(
    packed: DataSet, served: tuple[Path, str], tmp_path: Path, by_address: bool
) -> None:
    path = served[0] / f"{packed.name}.tar.xz"
    path.write_bytes(path.read_bytes() + bytes(1 << 20))
    told: list[int] = []
    with pytest.raises(LofidError, match=rf"{packed.packed_bytes:,}\b"):
        mirror = served[1] if by_address else str(served[0])
        get(packed, tmp_path / "data", mirror, lambda have, _whole: told.append(have))
    assert not list((tmp_path / "data").iterdir())
    assert max(told, default=0) == 0  # nothing was fetched to find that out


def test_a_mirror_without_the_set_is_one_sentence(
    packed: DataSet, served: tuple[Path, str], tmp_path: Path
) -> None:
    missing = replace(packed, name="drums_gmd")
    with pytest.raises(LofidError, match=r"has no drums_gmd\.tar\.xz"):
        get(missing, tmp_path / "data", str(served[0]))
    with pytest.raises(LofidError, match="404"):
        get(missing, tmp_path / "data", served[1])


def test_a_full_disk_takes_nothing(
    packed: DataSet, served: tuple[Path, str], tmp_path: Path
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(LofidError, match=r"could not be written.*make room"):
            get(packed, tmp_path / "data", str(served[0]))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list((tmp_path / "data").iterdir())
    assert get(packed, tmp_path / "data", str(served[0])) is Outcome.VERIFIED


def test_what_is_here_is_listed(packed: DataSet, data: Path, tmp_path: Path) -> None:
    assert not any(found.bytes for found in present(tmp_path / "nothing"))
    here = {found.item.name: found for found in present(data)}
    assert here["drums_gmd"].bytes > 1000
    assert not here["drums_gmd"].verified
    assert not here["folk_ceol_rince"].bytes


# --- originals ----------------------------------------------------------------------------------


def _zip(path: Path, files: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def _repository(path: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"repository-commit/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def _workbook(rows: list[list[str]]) -> bytes:
    """A spreadsheet as Excel writes it: texts in a table of their own, numbers in place."""
    texts = sorted({cell for row in rows for cell in row if not cell.isdigit()})
    cells = "".join(
        f'<row r="{r}">'
        + "".join(
            f'<c r="{"ABCDE"[c]}{r}"><v>{cell}</v></c>'
            if cell.isdigit()
            else f'<c r="{"ABCDE"[c]}{r}" t="s"><v>{texts.index(cell)}</v></c>'
            for c, cell in enumerate(row)
        )
        + "</row>"
        for r, row in enumerate(rows, 1)
    )
    space = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    shared = "".join(f"<si><t>{escape(text)}</t></si>" for text in texts)
    book = io.BytesIO()
    with zipfile.ZipFile(book, "w") as archive:
        archive.writestr("xl/sharedStrings.xml", f"<sst {space}>{shared}</sst>")
        archive.writestr(
            "xl/worksheets/sheet1.xml",
            f"<worksheet {space}><sheetData>{cells}</sheetData></worksheet>",
        )
    return book.getvalue()


def _direct(name: str, address: str, *files: str) -> DataSet:
    item = DATA_SETS[name]
    return replace(item, files=tuple(Original(f"{address}/{file}", file) for file in files))


def _midi(data: Path, name: str) -> bytes:
    return (data / name).read_bytes()


def test_groove_midi_is_converted(data: Path, served: tuple[Path, str], tmp_path: Path) -> None:
    folder, address = served
    takes = [_midi(data, f"drums_gmd/midi/{number}.mid") for number in range(5)]
    rows = [
        {
            "drummer": "drummer1",
            "id": f"drummer1/session1/{number}",
            "style": "funk/groove1",
            "bpm": "90",
            "beat_type": "beat",
            "time_signature": "4-4",
            "midi_filename": f"drummer1/session1/{number}.mid",
            "audio_filename": "",
            "duration": "10.0",
            "split": "train",
        }
        for number in range(6)
    ]
    rows.append({**rows[0], "id": "drummer1/eval_session/1", "midi_filename": "eval.mid"})
    info = io.StringIO()
    writer = csv.DictWriter(info, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    files = {"groove/info.csv": info.getvalue().encode(), "groove/LICENSE": b"CC BY 4.0"}
    for number in range(6):  # the last is the first again
        files[f"groove/drummer1/session1/{number}.mid"] = takes[number % 5]
    files["groove/eval.mid"] = _midi(data, "drums_gmd/midi/7.mid")
    _zip(folder / "groove.zip", files)

    item = _direct("drums_gmd", address, "groove.zip")
    assert get(item, tmp_path / "got") is Outcome.DIFFERENT
    archive = open_archive(tmp_path / "got", "drums_gmd")
    groups = [row["group"] for row in archive.rows]
    assert "evalgroove:groove1" in groups
    kept = [f"drummer1/session1/{number}" for number in range(5)]
    assert groups[:-1] == [group for group in kept if not originals.reserved("drums_gmd", group)]
    assert archive.files["LICENSE"] == b"CC BY 4.0"
    assert b"Licence: CC BY 4.0" in archive.files["SOURCE.md"]
    takes_read = list(pieces.read_gmd(archive))
    assert len(takes_read) == len(groups)
    assert takes_read[0].style == "funk"
    assert [path.name for path in (tmp_path / "got").rglob("*") if path.is_file()] == [
        "drums_gmd.tar.xz"
    ]

    digest = originals.content_digest(archive.files, archive.rows)
    same = replace(item, content_sha256=digest)
    assert get(same, tmp_path / "again") is Outcome.CONVERTED
    packed = [(tmp_path / place / "drums_gmd.tar.xz").read_bytes() for place in ("got", "again")]
    assert packed[0] == packed[1]


def test_pop909_is_converted(data: Path, served: tuple[Path, str], tmp_path: Path) -> None:
    folder, address = served
    beats = "".join(f"{0.05 + 0.75 * beat:.6f} 1.0 0.0\n" for beat in range(30)).encode()
    titles = [["song_id", "name", "artist"], ["1", "Dear Friend", "A & B"], ["2", "一剪梅", "C"]]
    songs = {"LICENSE": b"MIT", "POP909/index.xlsx": _workbook(titles)}
    corrected = {"LICENSE": b"MIT"}
    for number in ("001", "002"):
        songs[f"POP909/{number}/{number}.mid"] = _midi(
            data, f"keys_pop909/POP909/{number}/{number}.mid"
        )
        songs[f"POP909/{number}/beat_midi.txt"] = beats
        songs[f"POP909/{number}/versions/{number}-v1.mid"] = b"left out"
        corrected[f"POP909_processed/{number}.mid"] = _midi(
            data, f"keys_pop909/POP909_CL/{number}.mid"
        )
    _repository(folder / "pop.tar.gz", songs)
    _repository(folder / "cl.tar.gz", corrected)

    get(_direct("keys_pop909", address, "pop.tar.gz", "cl.tar.gz"), tmp_path / "got")
    archive = open_archive(tmp_path / "got", "keys_pop909")
    assert [(row["id"], row["group"], row["artist"]) for row in archive.rows] == [
        ("001", "song:dearfriend", "A & B"),
        ("002", "song:一剪梅", "C"),
    ]
    read = list(pieces.read_pop909(archive))
    assert [piece.tempo for piece in read] == [80, 80]
    expected = list(pieces.read_pop909(open_archive(data, "keys_pop909")))[1:3]
    assert [piece.bars for piece in read] == [piece.bars for piece in expected]
    assert not any("versions" in name for name in archive.files)


def test_loops_and_tunes_are_converted(
    data: Path, served: tuple[Path, str], tmp_path: Path
) -> None:
    folder, address = served
    loop = _midi(data, "lofi_magenta_player/loop.mid")
    names = ("I_V_vi_IV_C.mid", "IV_IV_I_I/melody/m_2_C.mid", "IV_IV_I_I/melody/m_1_C.mid")
    _repository(
        folder / "player.tar.gz",
        {
            "LICENSE": b"Apache",
            "assets/midi/x.mid": loop,
            **{f"midi/{name}": loop for name in names},
        },
    )
    get(_direct("lofi_magenta_player", address, "player.tar.gz"), tmp_path / "got")
    archive = open_archive(tmp_path / "got", "lofi_magenta_player")
    roles = {row["group"]: row["role"] for row in archive.rows}
    # The third is of those that are reserved.
    assert roles == {"I_V_vi_IV_C": "chords", "IV_IV_I_I/melody/m_2_C": "melody"}
    assert len(list(pieces.read_loops(archive))) == 2

    tunes = {f"cre_corpus/MIDI/{name}.mid": loop for name in ("ATripToGalway", "LordBanffsReel")}
    _repository(folder / "tunes.tar.gz", {**tunes, "FoNN/thesession_corpus/midi/x.mid": loop})
    get(_direct("folk_ceol_rince", address, "tunes.tar.gz"), tmp_path / "got")
    archive = open_archive(tmp_path / "got", "folk_ceol_rince")
    assert {row["id"] for row in archive.rows} == {"ATripToGalway", "LordBanffsReel"}


@pytest.mark.parametrize(
    ("mode", "numeral", "chord"),
    [
        ("Major", "ii", "Dm"),
        ("Major", "I7", "Cmaj7"),
        ("Major", "V7", "G7"),
        ("Major", "vii", "Bdim"),
        ("Minor", "i7", "Am7"),
        ("Minor", "VII", "G"),
        ("Minor", "v", "Em"),
        ("Modal", "bVIM7", "Abmaj7"),
        ("Modal", "im", "Cm"),
        ("Modal", "bi", "B"),
        ("Modal", "#IVdim", "F#dim"),
        ("Modal", "ivm9", "Fm9"),
    ],
)
def test_numerals_are_chords(mode: str, numeral: str, chord: str) -> None:
    assert name_chord(originals.numeral_pitches(mode, numeral)) == Chord.parse(chord)


@pytest.mark.parametrize("numeral", ["", "H", "IIII", "Imystery", "bb"])
def test_other_numerals_are_refused(numeral: str) -> None:
    with pytest.raises(ValueError, match="is not known"):
        originals.numeral_pitches("Major", numeral)


def test_progressions_are_converted(served: tuple[Path, str], tmp_path: Path) -> None:
    folder, address = served
    source = b"""# Copyright
prog_maj = [
    "ii7 V7 I7 =Triumphant",
    "I vi ii V =Nostalgic Romantic",
]
prog_min = ["i VI III VII =Nostalgic Hopeful"]
prog_modal = [
    "im bVIIM IV im =New",
    # cadences
    "im bVIIM IV im =Cadence",
]
chord_types_maj = ['sus2']  # 0, 2, 7
print("never run")
"""
    _repository(folder / "chords.tar.gz", {"LICENSE": b"MIT", "chords.py": source})
    get(_direct("chords_free_midi", address, "chords.tar.gz"), tmp_path / "got")
    loops = list(pieces.read_progressions(open_archive(tmp_path / "got", "chords_free_midi")))
    assert [loop.group.removeprefix("free-midi:prog:") for loop in loops] == [
        "Major:I vi ii V",
        "Major:ii7 V7 I7",
        "Minor:i VI III VII",
        "Modal:im bVIIM IV im",
    ]
    assert [bar[0].symbol for bar in loops[1].chords] == ["Dm7", "G7", "Cmaj7"]
    assert [bar[0].symbol for bar in loops[2].chords] == ["Am", "F", "C", "G"]


_DRUMS_XML = b"""<score-partwise version="4.0">
<part-list><score-part id="P1">
<midi-instrument id="K"><midi-unpitched>37</midi-unpitched></midi-instrument>
<midi-instrument id="S"><midi-unpitched>39</midi-unpitched></midi-instrument>
<midi-instrument id="H"><midi-unpitched>43</midi-unpitched></midi-instrument>
</score-part></part-list>
<part id="P1"><measure number="1"><attributes><divisions>2</divisions></attributes>
<note><unpitched/><duration>4</duration><instrument id="H"/></note>
<note><chord/><unpitched/><duration>4</duration><instrument id="S"/>
<notations><articulations><accent/></articulations></notations></note>
<note><grace/><unpitched/><instrument id="S"/></note>
<note><unpitched/><duration>4</duration><instrument id="S"/>
<notehead parentheses="yes">normal</notehead></note>
<backup><duration>8</duration></backup>
<note><rest/><duration>1</duration></note>
<note><unpitched/><duration>1</duration><instrument id="K"/></note>
<forward><duration>6</duration></forward>
</measure><measure number="2">
<note><unpitched/><duration>8</duration><instrument id="K"/></note>
</measure></part></score-partwise>"""


def test_percussion_scores_are_read() -> None:
    hits = drum_hits(_DRUMS_XML)
    assert [(hit.start, hit.pitch, hit.velocity) for hit in hits] == [
        (0, 38, 110),
        (0, 42, 80),
        (240, 36, 80),
        (960, 38, 40),
        (1920, 36, 80),
    ]


def test_stickflow_is_converted(served: tuple[Path, str], tmp_path: Path) -> None:
    folder, address = served
    about = {"category": "groove", "title": "Rock", "default_bpm": 90}
    about |= {"time_signature": "4/4", "bar_count": 2}
    files = {
        "LICENSE": b"CC0",
        "grooves/xml-groove-1.musicxml": _DRUMS_XML,
        "grooves/xml-groove-1.json": json.dumps(about).encode(),
        "patterns.json": b"[]",
    }
    _repository(folder / "stick.tar.gz", files)
    get(_direct("drums_stickflow", address, "stick.tar.gz"), tmp_path / "got")
    (take,) = pieces.read_stickflow(open_archive(tmp_path / "got", "drums_stickflow"))
    assert (take.tempo, take.fill, len(take.bars)) == (90, False, 8)
    assert [hit.pitch for hit in take.bars[0]] == [38, 42, 36, 38]


_SHEET_XML = b"""<score-partwise version="3.0"><part id="P1">
<measure number="0"><attributes><divisions>2</divisions>
<time><beats>4</beats><beat-type>4</beat-type></time></attributes>
<harmony><root><root-step>E</root-step><root-alter>-1</root-alter></root>
<kind>major-seventh</kind></harmony>
<note><pitch><step>G</step><octave>4</octave></pitch><duration>4</duration></note>
<harmony><root><root-step>F</root-step></root><kind>dominant</kind>
<bass><bass-step>A</bass-step></bass>
<degree><degree-value>9</degree-value><degree-alter>-1</degree-alter>
<degree-type>add</degree-type></degree><offset>2</offset></harmony>
<note><pitch><step>A</step><alter>-1</alter><octave>4</octave></pitch>
<duration>4</duration><tie type="start"/></note>
</measure><measure number="1">
<note><pitch><step>A</step><alter>-1</alter><octave>4</octave></pitch>
<duration>2</duration><tie type="stop"/></note>
<note><rest/><duration>6</duration></note>
</measure></part></score-partwise>"""


def test_openewld_is_converted(served: tuple[Path, str], tmp_path: Path) -> None:
    folder, address = served
    mxl = io.BytesIO()
    with zipfile.ZipFile(mxl, "w") as packed_score:
        packed_score.writestr("META-INF/container.xml", "<container/>")
        packed_score.writestr("Hj\u00e4rtat.xml", _SHEET_XML)
    database = tmp_path / "works.db"
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE works (id, title, date, language, lyrics, score)")
        connection.execute("CREATE TABLE features (id, metric, key, incipit, triplets, csv)")
        path = "./dataset/A/Hj\u00e4rtat/Hj\u00e4rtat.mxl"
        connection.execute("INSERT INTO works VALUES (12, 'A title', '', '', '', ?)", (path,))
        connection.execute("INSERT INTO features VALUES (12, '4/4', 'E- major', '', 0, '')")
        connection.commit()
    # As a Mac writes the name: a letter and its dots apart.
    apart = "dataset/A/Hja\u0308rtat/Hja\u0308rtat.mxl"
    files = {"OpenEWLD.db": database.read_bytes(), apart: mxl.getvalue()}
    _repository(folder / "ewld.tar.gz", files)
    get(_direct("leadsheets_openewld", address, "ewld.tar.gz"), tmp_path / "got")
    archive = open_archive(tmp_path / "got", "leadsheets_openewld")
    assert json.loads(archive.files["chords/ewld0012.json"]) == [
        [0.0, "Eb", "major-seventh", None, []],
        [3.0, "F", "dominant", 9, [[9, -1, "add"]]],
    ]
    (sheet,) = pieces.read_openewld(archive)
    # In the home key, three semitones lower.
    first = Chord(0, Quality.MAJOR_7)
    assert sheet.chords[0] == (first, first)
    assert sheet.chords[1][0] == Chord(2, Quality.DOMINANT_7_FLAT_9)
    assert [(note.start, note.pitch, note.duration) for note in sheet.melody[0]] == [
        (0, 64, 960),
        (960, 65, 1440),
    ]
    assert not any(b"A title" in content for content in archive.files.values())


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"no zip at all", "damaged or laid out in a new way"),
        (None, r"lacks the file info\.csv"),
    ],
)
def test_an_original_that_is_not_as_expected_is_one_sentence(
    served: tuple[Path, str], tmp_path: Path, content: bytes | None, says: str
) -> None:
    path = served[0] / "groove.zip"
    if content is None:
        _zip(path, {"groove/other": b""})
    else:
        path.write_bytes(content)
    with pytest.raises(LofidError, match=says):
        get(_direct("drums_gmd", served[1], "groove.zip"), tmp_path / "got")
    assert not [path for path in (tmp_path / "got").rglob("*") if path.is_file()]


def test_a_repository_that_unpacks_to_too_much_is_removed(
    served: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lofid.learn.originals.tarred", partial(tarred, most=1 << 20))
    _repository(served[0] / "player.tar.gz", {"midi/huge.mid": bytes(2 << 20)})
    assert (served[0] / "player.tar.gz").stat().st_size < 10_000
    with pytest.raises(LofidError, match=r"unpacks to more than 1,048,576 bytes\) and was removed"):
        get(_direct("lofi_magenta_player", served[1], "player.tar.gz"), tmp_path / "got")
    assert not [path for path in (tmp_path / "got").rglob("*") if path.is_file()]


def test_a_source_that_is_no_python_is_one_sentence(
    served: tuple[Path, str], tmp_path: Path
) -> None:
    _repository(served[0] / "chords.tar.gz", {"chords.py": b"prog_maj = ["})
    with pytest.raises(LofidError, match="laid out in a new way"):
        get(_direct("chords_free_midi", served[1], "chords.tar.gz"), tmp_path / "got")
