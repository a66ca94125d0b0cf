"""Progressions from songs: what is counted, how it backs off, what is drawn."""

import numpy as np
import pytest

from lofid.music.chords import Chord, Mode
from lofid.music.harmony_model import (
    NUMERALS,
    SECTIONS,
    START,
    Ngram,
    SectionModel,
    chord_of,
    draw_progression,
    grams_of,
    numeral,
)
from lofid.music.parameters import Mood
from lofid.music.plan import Section
from lofid.music.progressions import HOME, Progression


def _rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def drawn(mode: Mode, section: Section, count: int, *moods: Mood) -> list[Progression]:
    return [draw_progression(mode, section, 4, _rng(seed), moods) for seed in range(count)]


@pytest.mark.parametrize(
    ("symbol", "mode", "name"),
    [
        ("Cmaj7", Mode.MAJOR, "I"),
        ("Dm9", Mode.MAJOR, "ii"),
        ("G13", Mode.MAJOR, "V7"),
        ("Bb", Mode.MAJOR, "bVII"),
        ("F#m7b5", Mode.MAJOR, "#IVo"),
        ("Am9", Mode.MINOR, "i"),
        ("F", Mode.MINOR, "bVI"),
        ("E7b9", Mode.MINOR, "V7"),
    ],
)
def test_numerals_are_degrees_of_the_key(symbol: str, mode: Mode, name: str) -> None:
    assert numeral(Chord.parse(symbol), mode) == name
    chord = chord_of(name, mode, 0)
    assert chord is not None
    assert chord.root == Chord.parse(symbol).root
    assert chord.quality.is_extended


def test_an_ngram_follows_what_it_saw_and_backs_off_from_what_it_did_not() -> None:
    seen = [["I", "vi", "ii", "V7"]] * 20 + [["I", "IV", "I", "IV"]]
    ngram = Ngram(grams_of(seen, 3), backing=1.0)

    def share(context: str, name: str) -> float:
        found = ngram.shares(context)
        assert found.sum() == pytest.approx(1)
        return float(found[NUMERALS.index(name)])

    assert share("vi ii", "V7") > 0.9
    assert share(f"{START} I", "vi") > share(f"{START} I", "IV") > share(f"{START} I", "bII")
    assert share("bII ii", "V7") > 0.8  # behind ii alone
    assert share("bII bII", "I") == pytest.approx(share("bVI bVI", "I"))  # behind nothing
    assert share("bII bII", "vi") > share("bII bII", "bII") > 0


def test_a_section_opens_with_its_own_chords() -> None:
    ngram = Ngram(grams_of([["I", "IV"]] * 50 + [["IV", "I"]] * 50, 5))
    verse = SectionModel(ngram, {"I": 300}, [[0, 1, 0]] * 4)
    chorus = SectionModel(ngram, {"IV": 300}, [[0, 1, 0]] * 4)
    one, four = NUMERALS.index("I"), NUMERALS.index("IV")
    assert verse.shares([])[one] > 2 * verse.shares([])[four]
    assert chorus.shares([])[four] > 2 * chorus.shares([])[one]
    assert np.array_equal(verse.shares(["I"]), chorus.shares(["I"]))


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("section", Section)
@pytest.mark.parametrize("length", [1, 2, 4, 8])
def test_every_loop_is_whole_and_coloured(mode: Mode, section: Section, length: int) -> None:
    for seed in range(2):
        loop = draw_progression(mode, section, length, _rng(seed), [Mood.SOUL])
        assert loop == draw_progression(mode, section, length, _rng(seed), [Mood.SOUL])
        assert loop.mode is mode
        assert len(loop.bars) == length
        assert all(1 <= len(bar) <= 2 for bar in loop.bars)
        assert all(chord.quality.is_extended for bar in loop.bars for chord in bar)
        if length >= 4:
            assert len({chord.root for bar in loop.bars for chord in bar}) >= 3


def test_loops_are_of_their_key_and_many() -> None:
    for mode in Mode:
        loops = drawn(mode, Section.A, 60)
        assert len({loop.bars for loop in loops}) > 50
        tonics = np.mean([HOME[mode].tonic in {c.root for b in x.bars for c in b} for x in loops])
        assert tonics > 0.75
        inside = np.mean(
            [c.root in HOME[mode].pitch_classes for x in loops for b in x.bars for c in b]
        )
        assert 0.75 < inside < 1  # songs borrow, too


@pytest.mark.parametrize("mode", Mode)
def test_borrowed_chords_come_where_they_are_asked_for(mode: Mode) -> None:
    def borrowing(wish: bool, seed: int) -> bool:
        return draw_progression(mode, Section.B, 4, _rng(seed), (), wish).is_borrowing

    assert not any(borrowing(False, seed) for seed in range(60))
    assert np.mean([borrowing(True, seed) for seed in range(60)]) >= 0.95


def test_a_loop_leads_back_to_its_beginning() -> None:
    """Mostly by a fifth or a fourth."""

    def share(loops: list[Progression]) -> float:
        steps = [(x.bars[0][0].root - x.bars[-1][-1].root) % 12 for x in loops]
        return float(np.mean([step in (5, 7) for step in steps]))

    assert share(drawn(Mode.MAJOR, Section.A, 80)) > 0.5


def test_moods_lean_the_draw() -> None:
    def dominants(*moods: Mood) -> float:
        loops = drawn(Mode.MAJOR, Section.A, 80, *moods)
        names = [numeral(chord, Mode.MAJOR) for x in loops for bar in x.bars for chord in bar]
        return sum(name in ("ii", "VI7", "V7") for name in names) / len(names)

    assert dominants(Mood.JAZZ) > 1.25 * dominants()


def test_sections_differ_in_rhythm() -> None:
    def changes(section: Section) -> float:
        return float(np.mean([len(set(sum(x.bars, ()))) for x in drawn(Mode.MAJOR, section, 80)]))

    assert set(SECTIONS) == set(Section)
    assert changes(Section.A) != changes(Section.BREAK)
