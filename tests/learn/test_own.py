"""One's own MIDI: what is taken, what is left out and why, and what is heard in it."""

import json
import os
import resource
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import mido
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lofid.errors import LofidError
from lofid.learn.hearing import Reason, Unusable, hear
from lofid.learn.own import (
    NothingUsable,
    OwnPieces,
    in_numbers,
    own_folder,
    own_pieces,
    save_own,
)
from lofid.music.chords import Chord, Quality

Notes = list[tuple[int, int, int, int]]
Writer = Callable[..., None]

II_V_I = ((50, 53, 57, 60), (43, 53, 59, 62), (48, 52, 55, 59), (48, 52, 55, 59))


def _comping(turns: int = 2, shift: int = 0, seed: int = 0) -> Notes:
    """Dm7 | G7 | Cmaj7 | Cmaj7, each bar struck twice."""
    rng = np.random.default_rng(seed)
    return [
        (bar * 1920 + strike * 960, pitch + shift, 900, int(rng.integers(50, 90)))
        for bar in range(4 * turns)
        for strike in (0, 1)
        for pitch in II_V_I[bar % 4]
    ]


def _melody(turns: int = 2, shift: int = 0) -> Notes:
    return [
        (bar * 1920 + beat * 480, 72 + (2, 5, 4, 7)[(bar + beat) % 4] + shift, 400, 90)
        for bar in range(4 * turns)
        for beat in range(4)
    ]


def _beat(bars: int = 4) -> Notes:
    return [
        (bar * 1920 + step * 240, pitch, 60, 80)
        for bar in range(bars)
        for step in range(8)
        for pitch in ((36, 42), (42,), (38, 42), (42,))[step % 4]
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "midi"
    place.mkdir()
    return place


def _reasons(folder: Path, midi_writer: Writer) -> dict[str, Reason]:
    midi_writer(folder / "good.mid", {"Piano": _comping()})
    pieces, findings = own_pieces(folder)
    assert [song.path for song in pieces.songs] == ["good.mid"]
    return {finding.path: finding.reason for finding in findings}


def test_a_file_gives_keys_and_drums_with_chords_in_the_home_key(
    folder: Path, midi_writer: Writer
) -> None:
    midi_writer(
        folder / "rain" / "song.mid",
        {
            "Rhodes": _comping(shift=3),
            "Melody": _melody(shift=3),
            "Bass": [(bar * 1920, (38, 43, 36, 36)[bar % 4] + 3, 1900, 80) for bar in range(8)],
            "Kit": _beat(8),
        },
        channels={"Rhodes": 0, "Melody": 1, "Bass": 2, "Kit": 9},
        metas=[mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(84))],
    )
    pieces, findings = own_pieces(folder)
    assert not findings
    (song,) = pieces.songs
    assert song.style == "rain"
    assert song.keys is not None
    assert song.drums is not None
    assert song.keys.tempo == pytest.approx(84, abs=0.1)
    assert len(song.keys.bars) == len(song.drums.bars) == 8
    dm7, cmaj7 = Chord(2, Quality.MINOR_7), Chord(0, Quality.MAJOR_7)
    assert song.keys.bars[0].chords == (dm7, dm7)
    assert song.keys.bars[3].chords == (cmaj7, cmaj7)
    for bar in song.keys.bars:
        assert len(bar.comping) == 8
        assert len(bar.melody) == 4
    assert {note.pitch for note in song.drums.bars[0]} == {36, 38, 42}
    assert pieces.of_style("rain") == pieces
    assert not pieces.of_style("other").songs


def test_a_line_on_top_of_a_solo_piano_is_its_melody(folder: Path, midi_writer: Writer) -> None:
    midi_writer(folder / "solo.mid", {"": sorted(_comping() + _melody())})
    (piece,) = own_pieces(folder)[0].keys
    assert all(len(bar.melody) == 4 and len(bar.comping) == 8 for bar in piece.bars)


@pytest.mark.parametrize(
    ("reason", "tracks", "metas"),
    [
        (Reason.EMPTY, {"Piano": []}, []),
        (Reason.ONE_NOTE, {"Piano": [(beat * 480, 60, 400, 80) for beat in range(16)]}, []),
        (Reason.TOO_SHORT, {"Piano": [(0, 60, 400, 80), (480, 64, 400, 80)]}, []),
        (
            Reason.NOT_FOUR_FOUR,
            {"Piano": _comping()},
            [mido.MetaMessage("time_signature", numerator=3, denominator=4)],
        ),
        (
            Reason.TEMPO,
            {"Piano": _comping()},
            [mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(700))],
        ),
        (
            Reason.TEMPO,
            {"Piano": _comping()},
            [mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(12))],
        ),
        (
            Reason.TOO_LONG,
            {"Piano": [*_comping(), (480 * 200_000, 60, 480, 80)]},
            [],
        ),
        (
            Reason.TOO_LONG,
            {"Piano": [(60 * note, 40 + note % 12, 50, 80) for note in range(30_001)]},
            [mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(230))],
        ),
    ],
)
def test_what_cannot_be_used_is_left_out_and_said(
    folder: Path,
    midi_writer: Writer,
    reason: Reason,
    tracks: dict[str, Notes],
    metas: Iterable[mido.MetaMessage],
) -> None:
    midi_writer(folder / "bad.mid", tracks, metas=metas)
    assert _reasons(folder, midi_writer) == {"bad.mid": reason}


def test_damaged_files_among_good_ones_are_left_out(folder: Path, midi_writer: Writer) -> None:
    midi_writer(folder / "whole.mid", {"Piano": _comping(seed=1, shift=1, turns=3)})
    content = (folder / "whole.mid").read_bytes()
    (folder / "whole.mid").unlink()
    (folder / "cut.mid").write_bytes(content[: len(content) // 2])
    (folder / "none.MID").write_bytes(b"")
    (folder / "noise.midi").write_bytes(bytes(range(256)) * 20)
    (folder / "huge.mid").write_bytes(bytes(2_000_001))
    (folder / "notes.txt").write_text("not counted")
    reasons = _reasons(folder, midi_writer)
    assert reasons == {
        "cut.mid": Reason.DAMAGED,
        "none.MID": Reason.DAMAGED,
        "noise.midi": Reason.DAMAGED,
        "huge.mid": Reason.TOO_LONG,
    }


def test_the_same_music_renamed_transposed_or_faster_is_a_duplicate(
    folder: Path, midi_writer: Writer
) -> None:
    midi_writer(folder / "renamed.mid", {"Other": _comping(seed=5)})
    midi_writer(folder / "transposed.mid", {"Piano": _comping(shift=-4)})
    midi_writer(
        folder / "yes" / "faster.mid",
        {"Piano": _comping()},
        metas=[mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(150))],
    )
    late = [(start + 1920, *rest) for start, *rest in _comping()]
    midi_writer(folder / "later.mid", {"Piano": late})
    reasons = _reasons(folder, midi_writer)
    assert set(reasons.values()) == {Reason.DUPLICATE}
    assert len(reasons) == 4


def test_the_longest_stretch_in_four_is_used_if_it_is_most(
    folder: Path, midi_writer: Writer
) -> None:
    pickup = [(0, 60, 400, 70), *((start + 480, *rest) for start, *rest in _comping(4))]
    midi_writer(
        folder / "pickup.mid",
        {"Piano": pickup},
        metas=[
            mido.MetaMessage("time_signature", numerator=1, denominator=4),
            mido.MetaMessage("time_signature", numerator=4, denominator=4, time=480),
        ],
    )
    (piece,) = own_pieces(folder)[0].keys
    assert len(piece.bars) == 16
    assert all(bar.comping[0].start == 0 for bar in piece.bars)


def _played_freely(notes: Notes, seconds_a_beat: float, seed: int) -> Notes:
    """The notes as somebody plays them without a click: 960 ticks a second, drifting, uneven."""
    rng = np.random.default_rng(seed)
    beats = max(start + length for start, _, length, _ in notes) // 480 + 2
    drift = np.clip(np.cumsum(rng.normal(0, 0.003, beats)), -0.06, 0.06)
    times = np.concatenate([[1.1], 1.1 + np.cumsum(seconds_a_beat * np.exp(drift))])
    played = []
    for start, pitch, length, velocity in notes:
        begin, end = np.interp([start / 480, (start + length) / 480], range(len(times)), times)
        begin += rng.normal(0, 0.008)
        played.append((round(begin * 960), pitch, max(1, round((end - begin) * 960)), velocity))
    return sorted(played)


@pytest.mark.parametrize("seed", range(3))
def test_beats_are_heard_in_what_was_played_without_a_click(
    folder: Path, midi_writer: Writer, seed: int
) -> None:
    walking = [(beat * 480, 40 + beat % 5, 400, 70) for beat in range(64)]
    played = _played_freely(sorted(_comping(4) + walking), 60 / 77, seed)
    midi_writer(folder / "free.mid", {"Piano": played})
    (piece,) = own_pieces(folder)[0].keys
    assert piece.tempo == pytest.approx(77, rel=0.06)
    near = [
        abs((note.start + 240) % 480 - 240)
        for bar in piece.bars
        for note in (*bar.comping, *bar.melody)
    ]
    assert np.mean(np.array(near) < 60) > 0.9


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_no_damage_is_a_crash(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.mid")
        write = mido.MidiFile(ticks_per_beat=480)
        write.tracks.append(
            mido.MidiTrack(
                mido.Message("note_on", note=pitch, velocity=70, time=time)
                for pitch, time in zip((50, 57, 60, 64) * 20, (0, 240, 240, 480) * 20, strict=True)
            )
        )
        write.save(path)
        content = bytearray(path.read_bytes())
        places = st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255))
        for place, value in data.draw(st.lists(places, min_size=1, max_size=8)):
            content[place] = value
        path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
        with suppress(Unusable):
            hear(path, "")


def test_what_has_no_beat_is_left_out(folder: Path, midi_writer: Writer) -> None:
    rng = np.random.default_rng(4)
    at = np.cumsum(rng.exponential(400, 400)).astype(int) + rng.integers(0, 100, 400)
    noise = [(int(start), int(rng.integers(40, 90)), 300, 80) for start in np.sort(at)]
    midi_writer(folder / "noise.mid", {"Piano": noise})
    assert _reasons(folder, midi_writer) == {"noise.mid": Reason.NO_BEAT}


def test_a_folder_without_midi_or_with_nothing_usable_is_one_sentence(
    folder: Path, midi_writer: Writer
) -> None:
    with pytest.raises(LofidError, match="does not exist"):
        own_pieces(folder / "nowhere")
    (folder / "readme.txt").write_text("x")
    with pytest.raises(LofidError, match="holds no MIDI files"):
        own_pieces(folder)
    (folder / "a.mid").write_bytes(b"MThd")
    midi_writer(folder / "b.mid", {"Piano": []})
    with pytest.raises(LofidError, match=r"None of the 2 .*1 damaged, 1 empty"):
        own_pieces(folder)


@pytest.fixture
def kept(folder: Path, tmp_path: Path, midi_writer: Writer) -> tuple[OwnPieces, Path]:
    midi_writer(
        folder / "jazz" / "a.mid", {"P": _comping(), "Drums": _beat()}, channels={"Drums": 9}
    )
    midi_writer(folder / "b.mid", {"Piano": _melody(3)})
    (folder / "c.mid").write_bytes(b"")
    pieces, findings = own_pieces(folder)
    return pieces, save_own(tmp_path, "mine", pieces, findings)


def test_a_prepared_set_needs_the_files_no_more(
    folder: Path, tmp_path: Path, kept: tuple[OwnPieces, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    pieces, place = kept
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    save_own(tmp_path / "home" / "lofid" / "data", "by-name", pieces, ())
    assert own_pieces(Path("by-name"))[0] == pieces
    for path in folder.rglob("*.mid"):
        path.unlink()
    again, findings = own_pieces(own_folder(tmp_path, "mine"))
    assert again == pieces
    assert in_numbers(findings) == "1 damaged"
    assert again.styles == ("", "jazz")
    assert again.of_style("jazz").drums[0].style == "jazz"
    save_own(tmp_path, "mine", pieces.of_style("jazz"), ())
    assert len(own_pieces(place)[0].songs) == 1
    assert len(list(place.glob("pieces-*"))) == 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda place: next(place.glob("pieces-*")).unlink(),
        lambda place: next(place.glob("pieces-*")).write_bytes(b"{}"),
        lambda place: (place / "own.json").write_text("{"),
        lambda place: (place / "own.json").write_text(
            json.dumps({**json.loads((place / "own.json").read_text()), "version": 99})
        ),
    ],
)
def test_a_damaged_set_is_one_sentence(
    kept: tuple[OwnPieces, Path], damage: Callable[[Path], object]
) -> None:
    damage(kept[1])
    with pytest.raises(LofidError, match="lofid data add"):
        own_pieces(kept[1])


def test_a_full_disk_leaves_the_set_as_it_was(kept: tuple[OwnPieces, Path]) -> None:
    pieces, place = kept
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, hard))
    try:
        with pytest.raises(LofidError, match=r"could not be written.*make room"):
            save_own(place.parent.parent, "mine", pieces.of_style("jazz"), ())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert own_pieces(place)[0] == pieces
    assert len(list(place.iterdir())) == 2


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden"])
def test_a_set_has_a_plain_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(LofidError, match="cannot be a folder's"):
        own_folder(tmp_path, name)


NAMES = [b"\x83h\x83\x89\x83\x80.mid", "Müde.mid".encode("latin-1"), b"new\nline.mid"]


def test_names_that_are_no_text_are_kept(folder: Path, tmp_path: Path, midi_writer: Writer) -> None:
    for index, name in enumerate(NAMES):
        place = Path(os.fsdecode(os.fsencode(folder) + b"/M\xfcde"))
        midi_writer(place / os.fsdecode(name), {"P": _melody(2 + index)})
    (place / os.fsdecode(b"\xff.mid")).write_bytes(b"")
    midi_writer(folder / "good.mid", {"Piano": _comping()})
    pieces, findings = own_pieces(folder)
    again = own_pieces(save_own(tmp_path, "mine", pieces, findings))
    assert again == (pieces, findings)
    assert pieces.styles == ("", r"M\xfcde")
    assert {song.path for song in pieces.songs} == {
        "good.mid", r"M\xfcde/\x83h\x83\x89\x83\x80.mid", r"M\xfcde/M\xfcde.mid",
        "M\\xfcde/new\nline.mid",
    }  # fmt: skip
    assert [finding.path for finding in findings] == [r"M\xfcde/\xff.mid"]


def test_links_are_followed_once(folder: Path, tmp_path: Path, midi_writer: Writer) -> None:
    midi_writer(tmp_path / "elsewhere" / "a.mid", {"P": _melody()})
    midi_writer(folder / "b.RMI", {"P": _comping()})
    (folder / "rain").symlink_to(tmp_path / "elsewhere")
    (folder / "circle").symlink_to(folder)
    (tmp_path / "elsewhere" / "back").symlink_to(folder)
    (folder / "c.mid").symlink_to(tmp_path / "elsewhere" / "a.mid")
    (folder / "none.mid").symlink_to(tmp_path / "nowhere")
    os.mkfifo(folder / "pipe.mid")
    pieces, findings = own_pieces(folder)
    assert [(song.path, song.style) for song in pieces.songs] == [
        ("b.RMI", ""),
        ("c.mid", ""),
    ]
    assert [(finding.path, finding.reason) for finding in findings] == [
        ("none.mid", Reason.DAMAGED),
        ("pipe.mid", Reason.DAMAGED),
        ("rain/a.mid", Reason.DUPLICATE),
    ]


@pytest.mark.parametrize(
    ("metre", "bpm", "advice"), [(3, 80, "add some in 4/4"), (4, 12, "tempo that is meant")]
)
def test_why_nothing_can_be_used_is_said_with_what_to_do(
    folder: Path, midi_writer: Writer, metre: int, bpm: float, advice: str
) -> None:
    for index in range(3):
        midi_writer(
            folder / f"{index}.mid",
            {"Piano": _comping(shift=index)},
            metas=[
                mido.MetaMessage("time_signature", numerator=metre, denominator=4),
                mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(bpm)),
            ],
        )
    (folder / "x.mid").write_bytes(b"")
    with pytest.raises(
        NothingUsable, match=rf"None of the 4 .*\(3 .*, 1 damaged\); .*{advice}"
    ) as told:
        own_pieces(folder)
    assert [finding.path for finding in told.value.findings] == ["0.mid", "1.mid", "2.mid", "x.mid"]
