"""Chord loops of four or eight bars in C major and A minor, by mood.

The table is derived from data sets and from lo-fi practice by ``scripts/build_progressions.py``;
its attribution is in the file.
"""

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources

from lofid.music.chords import Chord, Key, Mode
from lofid.music.parameters import Mood

HOME = {Mode.MAJOR: Key(0, Mode.MAJOR), Mode.MINOR: Key(9, Mode.MINOR)}


@dataclass(frozen=True, slots=True)
class Progression:
    """One loop in its home key: for each bar one or two chords."""

    mode: Mode
    moods: frozenset[Mood]
    source: str
    bars: tuple[tuple[Chord, ...], ...]

    @property
    def is_borrowing(self) -> bool:
        """Whether a chord tone lies outside the key."""
        scale = HOME[self.mode].pitch_classes
        return any(not chord.pitch_classes <= scale for bar in self.bars for chord in bar)


@cache
def progressions() -> tuple[Progression, ...]:
    """The whole table."""
    text = resources.files("lofid.music").joinpath("progressions.json").read_text("utf-8")
    return tuple(
        Progression(
            Mode(entry["mode"]),
            frozenset(map(Mood, entry["moods"])),
            entry["source"],
            tuple(tuple(map(Chord.parse, bar.split())) for bar in entry["bars"]),
        )
        for entry in json.loads(text)["loops"]
    )
