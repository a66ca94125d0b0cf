"""Reading the data sets: alignment, labels, home key, split."""

import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import mido
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


def test_the_pedal_holds_the_pianos_notes(tmp_path: Path, midi_writer: Callable[..., None]) -> None:
    """It is pressed in the first bar, lifted amid it, and forgotten from the third on."""
    pedal = [
        mido.Message("control_change", control=64, value=value, time=wait)
        for value, wait in ((127, 0), (0, 1200), (127, 2640), (0, 9000))
    ]
    piano = [(bar * 1920, pitch, 240, 60) for bar, pitch in enumerate((55, 59, 62, 67))]
    melody = [(bar * 1920 + 480, 79, 240, 90) for bar in range(4)]
    folder = tmp_path / "keys_pop909"
    parts = {"PIANO": piano, "MELODY": melody}
    midi_writer(folder / "original.mid", parts, channels={"MELODY": 1}, metas=pedal)
    chords = [(bar * 1920, pitch, 1920, 90) for bar in range(4) for pitch in (55, 59, 62)]
    labelled = {"piano": sorted(piano + melody), "chords": chords}
    midi_writer(folder / "POP909_CL/1.mid", labelled, "G")
    (folder / "index.csv").write_text(
        "id,group,file,bpm,cl_time_signature\n1,g,original.mid,80,4/4\n"
    )
    (song,) = pieces.read_pop909(open_archive(tmp_path, "keys_pop909"))
    assert [note.duration for bar in song.bars for note in bar.comping] == [1200, 240, 240, 240]
    assert [note.duration for bar in song.bars for note in bar.melody] == [240] * 4


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


def test_a_session_of_a_drummer_lies_in_one_half() -> None:
    def side(session: int) -> set[bool]:
        return {pieces.is_reported(f"gmd:drummer1/session{session}/{take}") for take in range(50)}

    sides = [side(session) for session in range(20)]
    assert all(len(found) == 1 for found in sides)
    assert set.union(*sides) == {False, True}
    songs = [pieces.is_reported(f"pop909:song:{number}") for number in range(2000)]
    assert sum(songs) == pytest.approx(1000, abs=100)


def _eighths_and(phase: int) -> list[list[Note]]:
    """Four bars of eighths, each followed by a hit so many ticks later."""
    return [
        [Note(tick, 42, 60, 80) for tick in range(0, 1920, 240)]
        + [Note(tick + phase, 42, 60, 50) for tick in range(0, 1920, 480)]
        for _ in range(4)
    ]


@pytest.mark.parametrize(("phase", "swung"), [(120, False), (108, False), (160, True), (80, True)])
def test_swing_is_heard_between_the_eighths(phase: int, swung: bool) -> None:
    assert pieces.is_swung(_eighths_and(phase)) is swung


def test_slow_hip_hop_and_slow_swing_are_wanted() -> None:
    def take(style: str, tempo: float, phase: int) -> pieces.DrumsPiece:
        bars = tuple(tuple(bar) for bar in _eighths_and(phase))
        return pieces.DrumsPiece("g", tempo, style, False, bars)

    wanted = [take("hiphop", 85, 120), take("funk", 90, 160)]
    assert all(one.is_wanted for one in wanted)
    others = [take("hiphop", 120, 120), take("funk", 90, 120), take("jazz", 180, 80)]
    others += [replace(one, fill=True) for one in wanted]
    assert not any(one.is_wanted for one in others)
