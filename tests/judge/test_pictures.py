"""Pictures are drawn, and show what was played."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from lofid.errors import LofidError
from lofid.judge import pictures
from lofid.music.chords import Chord, Key
from lofid.music.notes import Note, Part
from lofid.music.plan import Bar, BarPlan, Section


def bars(count: int, notes: dict[Part, tuple[Note, ...]]) -> list[Bar]:
    return [
        Bar(
            BarPlan(
                index=index,
                tempo=80.0,
                key=Key.parse("Eb"),
                chords=(Chord.parse("Ebmaj7"), Chord.parse("Cm9")),
                section=Section.A,
                bar_in_section=index % 8,
                density=0.5,
                energy=0.5,
                register=60.0,
                melody=0.5,
                swing=58.0,
                parts=frozenset(Part),
            ),
            notes,
        )
        for index in range(count)
    ]


NOTES = {
    Part.KEYS: (Note(0, 60, 900, 70), Note(5, 63, 900, 60)),
    Part.BASS: (Note(0, 39, 480, 90),),
    Part.DRUMS: (Note(-8, 36, 120, 100), Note(500, 38, 120, 110)),
}


def coloured(path: Path, colour: str) -> int:
    """Pixels close to a colour."""
    wanted = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return int((np.abs(imread(path)[:, :, :3] - wanted).max(axis=2) < 0.05).sum())


@pytest.mark.parametrize("count", [1, 20])
def test_piano_roll(count: int, tmp_path: Path) -> None:
    pictures.piano_roll(bars(count, NOTES), tmp_path / "full.png")
    pictures.piano_roll(bars(count, {}), tmp_path / "empty.png")
    full, empty = (imread(tmp_path / f"{name}.png") for name in ("full", "empty"))
    assert full.shape[1] == empty.shape[1] > 1000
    assert len(full) > 300 * (1 + count // 8)
    assert full.shape != empty.shape or np.any(full != empty)


def test_histograms(tmp_path: Path) -> None:
    for draw in (pictures.onset_histogram, pictures.velocity_histogram):
        draw(bars(4, NOTES), tmp_path / "full.png")
        draw(bars(4, {}), tmp_path / "empty.png")
        for part in NOTES:
            colour = pictures.COLOUR[part]
            drawn = coloured(tmp_path / "full.png", colour)
            assert drawn > coloured(tmp_path / "empty.png", colour)


@pytest.mark.parametrize("seconds", [0.01, 5.0])
def test_spectrogram(seconds: float, tmp_path: Path) -> None:
    time = np.arange(int(48_000 * seconds)) / 48_000
    tone = np.sin(2 * np.pi * 440 * time)
    pictures.spectrogram(np.stack([tone, tone], 1).astype(np.float32), tmp_path / "s.png")
    assert imread(tmp_path / "s.png").shape[1] > 1000


def test_unwritable(tmp_path: Path) -> None:
    with pytest.raises(LofidError, match="could not be written"):
        pictures.piano_roll(bars(1, NOTES), tmp_path / "none" / "roll.png")
