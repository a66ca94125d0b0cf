"""Reading the data sets: alignment, labels, home key, split."""

import tarfile
from pathlib import Path

import pytest

from lofid.errors import LofidError
from lofid.learn import pieces
from lofid.learn.archives import open_archive
from lofid.music.chords import Chord, Quality
from lofid.music.notes import Note


def test_pop909_is_aligned_labelled_split_into_parts_and_moved_home(data: Path) -> None:
    song = next(pieces.read_pop909(open_archive(data, "keys_pop909")))
    assert song.tempo == 80
    assert len(song.bars) == 8
    for bar in song.bars:
        assert len(bar.comping) == 8
        assert len(bar.melody) == 1
        first, second = bar.chords
        assert first is not None
        assert first == second
        # G major's chords G C E(m) D, moved by a fourth: C F A(m) G.
        assert first.root in (0, 5, 9, 7)
        assert {note.pitch % 12 for note in bar.comping} <= first.pitch_classes


def test_lead_sheets_are_moved_home(data: Path) -> None:
    sheet = next(pieces.read_openewld(open_archive(data, "leadsheets_openewld")))
    c, d = Chord(0, Quality.MAJOR_7), Chord(2, Quality.MINOR_7)
    assert sheet.chords == ((c, c), (d, d))
    assert sheet.melody[0] == (Note(0, 60, 480, 80),)


def test_progressions_have_a_chord_a_bar(data: Path) -> None:
    loop = next(pieces.read_progressions(open_archive(data, "chords_free_midi")))
    a, f = Chord(9, Quality.MINOR), Chord(5, Quality.MAJOR)
    assert loop.chords == ((a, a), (f, f))


def test_a_hit_before_the_bar_line_belongs_to_the_bar_it_opens() -> None:
    bars = pieces.cut_bars([Note(1920 - 30, 36, 60, 100), Note(1920 - 70, 42, 60, 100)], 2, 120)
    assert bars == [(Note(1850, 42, 60, 100),), (Note(-30, 36, 60, 100),)]


def test_a_packed_archive_reads_like_a_folder(data: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "drums_gmd.tar.xz", "w:xz") as tar:
        tar.add(data / "drums_gmd", "drums_gmd")
    packed, folder = open_archive(tmp_path, "drums_gmd"), open_archive(data, "drums_gmd")
    assert packed == folder
    assert list(pieces.read_gmd(packed))


def test_a_missing_or_damaged_archive_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(LofidError, match=r"drums_gmd.*lofid data get drums_gmd"):
        open_archive(tmp_path, "drums_gmd")
    (tmp_path / "drums_gmd.tar.xz").write_bytes(b"rubbish")
    with pytest.raises(LofidError, match="damaged"):
        open_archive(tmp_path, "drums_gmd")


def test_the_split_is_about_five_percent_and_fixed() -> None:
    share = sum(pieces.held_out(f"group {number}") for number in range(10_000)) / 10_000
    assert 0.04 < share < 0.06
    assert pieces.held_out("group 26") == pieces.held_out("group 26")
