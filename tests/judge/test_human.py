"""Human playing is read from small archives of the test's own."""

import csv
from pathlib import Path

import pytest

from lofid.errors import LofidError
from lofid.judge import human
from lofid.learn.pieces import KeysBar, KeysPiece
from lofid.music.chords import Chord
from lofid.music.midi import write_midi
from lofid.music.notes import Note, Part
from lofid.music.plan import Bar

TAKES = [("slow", "hiphop/groove1", 84, "beat"), ("fast", "funk", 140, "beat"),
         ("other", "rock", 84, "beat"), ("fill", "soul", 84, "fill")]  # fmt: skip


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "drums_gmd"
    (folder / "midi").mkdir(parents=True)
    columns = ["id", "group", "file", "style", "bpm", "beat_type", "time_signature"]
    chord = Chord.parse("C")
    model = human.keys_bars(KeysPiece("", 84.0, (KeysBar((chord, chord), (), ()),)))[0]
    hit = (Note(0, 36, 120, 100),)
    with (folder / "index.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(columns)
        for name, style, bpm, kind in TAKES:
            path = f"midi/{name}.mid"
            write_midi(folder / path, [Bar(model.plan, {Part.DRUMS: hit})] * 6)
            rows.writerow([name, name, path, style, bpm, kind, "4-4"])
    return tmp_path


def test_only_slow_grooves(data: Path) -> None:
    (take,) = human.groove_bars(data)
    assert [bar.notes[Part.DRUMS][0].pitch for bar in take] == [36] * 4
    assert take[0].plan.tempo == 84


def test_missing_archive(tmp_path: Path) -> None:
    with pytest.raises(LofidError, match="drums_gmd"):
        human.groove_bars(tmp_path)


def test_keys_bars() -> None:
    c, g = Chord.parse("C"), Chord.parse("G7")
    note = (Note(0, 60, 480, 70),)
    piece = KeysPiece(
        "x",
        None,
        (KeysBar((c, c), note, ()), KeysBar((None, g), note, ()), KeysBar((c, g), (), note)),
    )
    first, third = human.keys_bars(piece)
    assert (first.plan.chords, third.plan.chords) == ((c,), (c, g))
    assert first.notes[Part.KEYS] == third.notes[Part.MELODY] == note
