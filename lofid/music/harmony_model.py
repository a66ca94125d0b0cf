"""Chord progressions for each section of a song, drawn from what songs do there.

An n-gram over chords as degrees of the key (``ii``, ``V7``, ``bVII``) for each mode, which backs
off to shorter contexts; and for each section with which chord it opens and how often the chord
changes in each bar of a phrase. (Which chord follows which is not counted by section: that made
it worse on songs that were left out.) All are counts, in ``harmony_model.json``, which
``scripts/build_harmony_model.py`` makes of the McGill Billboard annotations and measures. Sevenths
and ninths are not the songs' but lo-fi practice, added here; moods come from the table of loops,
whose chords are mixed in.

This module knows chords and keys. It must not know form or what else a song decides.
"""

import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from lofid.music.chords import Chord, Mode, Quality
from lofid.music.parameters import Mood
from lofid.music.plan import Section
from lofid.music.progressions import HOME, Progression, progressions

ORDER = 5
"""Chords that hang together: the next and the four before it."""
BACKING = 10.0
"""How strongly shorter contexts weigh; with ``ORDER`` and ``OPENING`` chosen on songs left out."""
OPENING = 100.0
"""How many sections of any kind weigh as much as those of one kind in what opens a section."""
START = "^"
"""Stands before the first chord of a section."""
PHRASE = 4
"""Bars of a phrase, by which the rhythm of the changes is counted."""
MOOD_SHARE = 0.4
"""How much of each draw comes from the loops of the moods that are asked for."""
SOURCE = "mcgill-billboard"
_CANDIDATES = 16  # of which one is drawn by how well its end leads back to its beginning

Shares = NDArray[np.float64]
"""Of every chord of ``NUMERALS``; they sum to 1."""

_DEGREES = ("I", "bII", "II", "bIII", "III", "IV", "#IV", "V", "bVI", "VI", "bVII", "VII")
_NUMERAL = re.compile(r"([b#]?)([IViv]+)(7|o|\+|s)?")


class SongSection(StrEnum):
    """The sections that the songs are counted by."""

    INTRO = "intro"
    VERSE = "verse"
    CHORUS = "chorus"
    BRIDGE = "bridge"
    INTERLUDE = "interlude"
    OUTRO = "outro"


SECTIONS: dict[Section, SongSection] = {
    Section.INTRO: SongSection.INTRO,
    Section.A: SongSection.VERSE,
    Section.B: SongSection.CHORUS,
    Section.BREAK: SongSection.INTERLUDE,
    Section.OUTRO: SongSection.OUTRO,
}
"""Which of the songs' sections each of ours is like."""

DIATONIC_SEVENTHS = {
    (0, Quality.MAJOR): (Quality.MAJOR_7, Quality.MAJOR_9),
    (2, Quality.MINOR): (Quality.MINOR_7, Quality.MINOR_9),
    (4, Quality.MINOR): (Quality.MINOR_7, Quality.MINOR_7),
    (5, Quality.MAJOR): (Quality.MAJOR_7, Quality.MAJOR_9),
    (7, Quality.MAJOR): (Quality.DOMINANT_7, Quality.DOMINANT_13),
    (9, Quality.MINOR): (Quality.MINOR_7, Quality.MINOR_9),
    (11, Quality.DIMINISHED): (Quality.HALF_DIMINISHED, Quality.HALF_DIMINISHED),
}
"""What a triad on a degree of C major becomes: on the loop's odd and on its even bars."""
BORROWED_SEVENTHS = {
    Quality.MAJOR: {
        2: Quality.DOMINANT_9, 4: Quality.DOMINANT_7, 9: Quality.DOMINANT_7,
        11: Quality.DOMINANT_7, 8: Quality.MAJOR_7, 10: Quality.MAJOR_7, 3: Quality.MAJOR_7,
        1: Quality.MAJOR_7, 6: Quality.DOMINANT_7,
    },
    Quality.MINOR: {5: Quality.MINOR_7, 7: Quality.MINOR_7, 0: Quality.MINOR_7},
}  # fmt: skip


def coloured(chord: Chord, bar: int) -> Chord | None:
    """A chord in C major or A minor with its seventh or ninth, as lo-fi has it in such a bar.

    None where no usual one is known.
    """
    if chord.quality.is_extended:
        return chord
    plain = {
        Quality.SIXTH: Quality.MAJOR,
        Quality.MINOR_SIXTH: Quality.MINOR,
        Quality.SUS4: Quality.MAJOR,
    }.get(chord.quality, chord.quality)
    if chord.quality is Quality.SUS4 and chord.root == 7:
        return Chord(7, Quality.SUS_7)
    if (chord.root, plain) in DIATONIC_SEVENTHS:
        return Chord(chord.root, DIATONIC_SEVENTHS[chord.root, plain][bar % 2])
    quality = BORROWED_SEVENTHS.get(plain, {}).get(chord.root)
    return Chord(chord.root, quality) if quality else None


_FAMILIES: dict[str, frozenset[Quality]] = {
    "": frozenset({Quality.MAJOR, Quality.SIXTH, Quality.ADD_9, Quality.MAJOR_7, Quality.MAJOR_9}),
    "m": frozenset({Quality.MINOR, Quality.MINOR_SIXTH, Quality.MINOR_7, Quality.MINOR_9}),
    "7": frozenset(
        {
            Quality.DOMINANT_7,
            Quality.DOMINANT_9,
            Quality.DOMINANT_7_FLAT_9,
            Quality.DOMINANT_13,
        }
    ),
    "o": frozenset({Quality.DIMINISHED, Quality.DIMINISHED_7, Quality.HALF_DIMINISHED}),
    "+": frozenset({Quality.AUGMENTED}),
    "s": frozenset({Quality.SUS4, Quality.SUS_7}),
}
"""What chords do in a key: qualities that differ in colour alone are of one family."""


def numeral(chord: Chord, mode: Mode) -> str:
    """What a chord is in C major or A minor: degree above the tonic and family, as ``bVII``."""
    degree = _DEGREES[(chord.root - HOME[mode].tonic) % 12]
    family = next(name for name, members in _FAMILIES.items() if chord.quality in members)
    return degree.lower() if family == "m" else degree + family


NUMERALS: tuple[str, ...] = tuple(
    degree.lower() if family == "m" else degree + family
    for degree in _DEGREES
    for family in _FAMILIES
)
"""All chords that the model knows."""


def chord_of(name: str, mode: Mode, bar: int) -> Chord | None:
    """A numeral as a chord in C major or A minor, coloured for a bar; None where none is usual."""
    match = _NUMERAL.fullmatch(name)
    if match is None:
        return None
    accidental, degree, family = match[1], match[2], match[3] or ""
    root = (_DEGREES.index(accidental + degree.upper()) + HOME[mode].tonic) % 12
    if degree.islower() and not family:
        return coloured(Chord(root, Quality.MINOR), bar)
    match family:
        case "7" | "+":
            return Chord(root, Quality.DOMINANT_7)
        case "o" if (root, Quality.DIMINISHED) in DIATONIC_SEVENTHS:
            return Chord(root, Quality.HALF_DIMINISHED)
        case "o":
            return Chord(root, Quality.DIMINISHED_7)
        case "s":
            return coloured(Chord(root, Quality.SUS4), bar)
    return coloured(Chord(root, Quality.MAJOR), bar)


@cache
def _playable(mode: Mode) -> NDArray[np.bool_]:
    """Which chords of ``NUMERALS`` have a usual colour."""
    return np.array([chord_of(name, mode, 0) is not None for name in NUMERALS])


@cache
def _diatonic(mode: Mode) -> NDArray[np.bool_]:
    """Which of them stay in the key, in bars of either colour."""
    chords = [[chord_of(name, mode, bar) for bar in range(2)] for name in NUMERALS]
    scale = HOME[mode].pitch_classes
    return np.array(
        [all(chord is not None and chord.pitch_classes <= scale for chord in two) for two in chords]
    )


Grams = Mapping[str, Mapping[str, int]]
"""How often each chord followed each context: chords with a space between, the last one last."""


def grams_of(sequences: Iterable[Sequence[str]], order: int) -> dict[str, dict[str, int]]:
    """The counts of a context of ``order`` - 1 chords in sequences of numerals."""
    found: dict[str, dict[str, int]] = {}
    for sequence in sequences:
        padded = [START] * (order - 1) + list(sequence)
        for place, chord in enumerate(sequence):
            after = found.setdefault(" ".join(padded[place : place + order - 1]), {})
            after[chord] = after.get(chord, 0) + 1
    return found


def shorter(grams: Grams) -> dict[str, dict[str, int]]:
    """The counts of contexts that are shorter by the earliest chord."""
    found: dict[str, dict[str, int]] = {}
    for context, after in grams.items():
        counts = found.setdefault(context.partition(" ")[2], {})
        for chord, count in after.items():
            counts[chord] = counts.get(chord, 0) + count
    return found


class Ngram:
    """Shares of the next chord, by counts that back off, after Witten and Bell (1991).

    A context's counts are mixed with the shares behind the shorter context, which weigh the more
    the more different chords followed it: ``backing`` times each. Below one chord alone stand
    equal shares.
    """

    def __init__(self, grams: Grams, backing: float = BACKING) -> None:
        self._grams, self._backing = grams, backing
        self._shorter = None if "" in grams else Ngram(shorter(grams), backing)
        self._known: dict[str, Shares] = {}

    def shares(self, context: str) -> Shares:
        """Of every chord behind a context: as many chords as the n-gram's order, less one."""
        if context not in self._known:
            self._known[context] = self._mixed(context)
        return self._known[context]

    def _mixed(self, context: str) -> Shares:
        below = np.full(len(NUMERALS), 1 / len(NUMERALS))
        if self._shorter is not None:
            below = self._shorter.shares(context.partition(" ")[2])
        after = self._grams.get(context, {})
        return mixed(after, below, self._backing * len(after)) if after else below


def mixed(counts: Mapping[str, int], below: Shares, weight: float) -> Shares:
    """The shares of counts, with those of ``below`` weighing as ``weight`` more."""
    own = np.array([float(counts.get(name, 0)) for name in NUMERALS])
    shares: Shares = (own + weight * below) / (own.sum() + weight)
    return shares


@dataclass(frozen=True, slots=True)
class SectionModel:
    """What is known of a section of a mode.

    ``openings`` counts its first chords, ``changes`` for each bar of a phrase how often it brings
    no, one or two chords.
    """

    ngram: Ngram
    openings: Mapping[str, int]
    changes: Sequence[Sequence[int]]

    def shares(self, before: Sequence[str]) -> Shares:
        """Of every chord behind those before it in its section."""
        padded = [START] * (ORDER - 1) + list(before)
        found = self.ngram.shares(" ".join(padded[1 - ORDER :]))
        return found if before else mixed(self.openings, found, OPENING)


@cache
def _model() -> dict[tuple[Mode, SongSection], SectionModel]:
    text = resources.files("lofid.music").joinpath("harmony_model.json").read_text("utf-8")
    return {
        (mode, SongSection(name)): SectionModel(ngram, section["openings"], section["changes"])
        for mode, content in ((mode, json.loads(text)["modes"][mode]) for mode in Mode)
        for ngram in (Ngram(content["grams"]),)
        for name, section in content["sections"].items()
    }


@cache
def _of_moods(mode: Mode, moods: frozenset[Mood]) -> Ngram | None:
    """Which chord follows which in the loops with one of these moods; None where there are none."""
    loops = [loop for loop in progressions() if loop.mode is mode and loop.moods & moods]
    return Ngram(grams_of(map(loop_numerals, loops), 2), backing=1.0) if loops else None


def loop_numerals(loop: Progression) -> list[str]:
    """A loop twice over, as the changes of its chords."""
    return changes([numeral(chord, loop.mode) for bar in loop.bars * 2 for chord in bar])


def changes(names: Sequence[str]) -> list[str]:
    """Chords without those that only go on."""
    return [name for place, name in enumerate(names) if place == 0 or name != names[place - 1]]


def draw_progression(
    mode: Mode,
    section: Section,
    length: int,
    rng: np.random.Generator,
    moods: Collection[Mood] = (),
    borrowing: bool | None = None,
) -> Progression:
    """A loop of ``length`` bars (1 or more) for a section, in C major or A minor.

    All its chords are coloured, one or two a bar, and its end leads back to its beginning. Loops
    of four bars and more have three roots or more. ``moods`` lean it towards loops that have them;
    ``borrowing`` says whether it has a chord from outside the key, None leaves that open. Where
    none that is drawn is as asked, the one comes that is nearest.
    """
    model, wished = _model()[mode, SECTIONS[section]], frozenset(moods)
    leaning = _of_moods(mode, wished) if wished else None

    def shares(before: Sequence[str]) -> Shares:
        found = model.shares(before)
        if leaning is not None:
            wished_for = leaning.shares(before[-1] if before else START)
            found = (1 - MOOD_SHARE) * found + MOOD_SHARE * wished_for
        return found

    playable = _playable(mode) & (_diatonic(mode) if borrowing is False else True)
    drawn = []
    for _ in range(_CANDIDATES):
        names, rhythm = _drawn(model, length, rng, shares, playable)
        loop = Progression(mode, wished, SOURCE, _coloured_bars(names, rhythm, mode))
        drawn.append((loop, _closing(names, shares)))
    drawn = [one for one in drawn if borrowing in (None, one[0].is_borrowing)] or drawn
    drawn = [one for one in drawn if len(_roots(one[0])) >= min(3, length)] or drawn
    weights = np.array([closing for _, closing in drawn])
    return drawn[int(rng.choice(len(drawn), p=weights / weights.sum()))][0]


def _roots(loop: Progression) -> set[int]:
    return {chord.root for bar in loop.bars for chord in bar}


def _drawn(
    model: SectionModel,
    length: int,
    rng: np.random.Generator,
    shares: Callable[[Sequence[str]], Shares],
    playable: NDArray[np.bool_],
) -> tuple[list[str], list[int]]:
    """The changes of a loop, and how many of them each bar has (the first at least one)."""
    rhythm = []
    for bar in range(length):
        counts = np.array(model.changes[bar % PHRASE], float)
        if bar == 0:
            counts[0] = 0
        rhythm.append(int(rng.choice(3, p=counts / counts.sum())))
    names: list[str] = []
    for _ in range(sum(rhythm)):
        found = np.where(playable, shares(names), 0.0)
        if names:
            found[NUMERALS.index(names[-1])] = 0  # a change is a change
        names.append(NUMERALS[int(rng.choice(len(found), p=found / found.sum()))])
    return names, rhythm


def _coloured_bars(
    names: Sequence[str], rhythm: Sequence[int], mode: Mode
) -> tuple[tuple[Chord, ...], ...]:
    """The chords of each bar; one without a change goes on with the chord before."""
    bars: list[tuple[Chord, ...]] = []
    place = 0
    for index, changes in enumerate(rhythm):
        here = names[place : place + changes] or names[place - 1 : place]
        place += changes
        chords = (chord_of(name, mode, index) for name in here)
        bars.append(tuple(chord for chord in chords if chord is not None))
    return tuple(bars)


def _closing(names: Sequence[str], shares: Callable[[Sequence[str]], Shares]) -> float:
    """How surely a loop's end leads back to its first chord."""
    return float(shares(names)[NUMERALS.index(names[0])])
