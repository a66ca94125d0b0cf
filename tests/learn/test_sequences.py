"""Token streams: drawn from the seed, whole bars, styles in balance where asked."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lofid.learn import pieces
from lofid.learn.archives import open_archive
from lofid.learn.configs import PlayerName
from lofid.learn.pieces import DrumsPiece
from lofid.learn.sequences import (
    Corpus,
    TokenStream,
    _drums_variant,
    _order,
    drums_corpus,
    drums_stream,
    keys_corpus,
)
from lofid.learn.thesis import held_out, thesis_corpus
from lofid.music.notes import DRUM_CLASS, DRUM_PITCH, SIXTEENTH, DrumClass, Note
from lofid.tokens import drums, keys, thesis


@pytest.mark.parametrize("make", [keys_corpus, drums_corpus])
def test_streams_are_drawn_from_the_seed(data: Path, make: Callable[..., Corpus]) -> None:
    corpus, again = make(data, seed=3), make(data, seed=3)
    assert np.array_equal(corpus.stream(0).tokens, again.stream(0).tokens)
    assert not np.array_equal(corpus.stream(0).tokens[:500], corpus.stream(1).tokens[:500])
    assert np.array_equal(corpus.reported.tokens, again.reported.tokens)


@pytest.mark.parametrize("balance", [0.0, 1.0])
def test_streams_are_whole_bars(data: Path, balance: float) -> None:
    for codec, stream in (
        (keys, keys_corpus(data, 1, balance).stream(0)),
        (drums, drums_corpus(data, 1, balance).stream(0)),
    ):
        ends = np.flatnonzero(stream.tokens == codec.GRAMMAR.end)
        assert stream.is_event[ends].all()
        for first, last in zip([-1, *ends], ends, strict=False):
            bar = slice(first + 1, last + 1)
            events = stream.tokens[bar][stream.is_event[bar]]
            codec.decode_notes([int(token) for token in events])


def test_takes_vary_within_bounds() -> None:
    """A bar of one hit a sixteenth, of every drum in turn: soft, loud and accented."""
    hits = tuple(
        Note(position * SIXTEENTH, DRUM_PITCH[DrumClass(position % 9)], 120, velocity)
        for position, velocity in enumerate([40, 90, 120, 127] * 4)
    )
    take = DrumsPiece("group", 90.0, "soul", False, (hits,) * 4)
    original = {position: DRUM_CLASS[note.pitch] for position, note in enumerate(hits)}
    changed = {"drum": 0, "silent": 0, "velocity": 0, "time": 0}
    for seed in range(60):
        stream = drums_stream(take, np.random.default_rng(seed), tell_all=False)
        ends = np.flatnonzero(stream.tokens == drums.GRAMMAR.end)
        assert len(ends) == len(take.bars)
        for first, last in zip([-1, *ends], ends, strict=False):
            bar = stream.tokens[first + 1 : last + 1]
            notes = drums.decode_notes(bar[stream.is_event[first + 1 : last + 1]].tolist())
            there = {round(note.start / SIXTEENTH): note for note in notes}
            for position, note in there.items():
                asked, drum = hits[position].velocity, DRUM_CLASS[note.pitch]
                assert abs(note.start - position * SIXTEENTH) <= 13
                assert (note.velocity == 127) == (asked == 127)
                assert 0.7 * asked - 12 < note.velocity < 1.3 * asked + 12
                assert drum in (DrumClass.KICK, DrumClass.SNARE) or original[position] > 1
                changed["drum"] += drum != original[position]
                changed["velocity"] += asked == 90 and note.velocity != 99
                changed["time"] += note.start % SIXTEENTH != 0
            missing = {original[position] for position in original.keys() - there.keys()}
            assert len(missing) <= 1
            assert missing <= set(DrumClass) - {
                DrumClass.KICK,
                DrumClass.SNARE,
                DrumClass.CLOSED_HAT,
            }
            changed["silent"] += bool(missing)
    assert all(changed.values())


def test_patterns_on_the_grid_take_a_drummers_feel(data: Path) -> None:
    grid = next(iter(pieces.read_stickflow(open_archive(data, "drums_stickflow"))))
    late = Note(14, 36, 60, 100), Note(480 + 30, 38, 60, 60)
    drummer = DrumsPiece("d", 90, "hiphop", False, (late,))
    starts: dict[int, list[int]] = {36: [], 38: []}
    for seed in range(40):
        for bar in _drums_variant(grid, np.random.default_rng(seed), [drummer]):
            for note in bar:
                starts[note.pitch].append(note.start)
    assert 5 < np.mean(starts[36]) < 14  # three of four are late by 14, the others are not
    assert 480 + 15 < np.mean(starts[38]) < 480 + 30
    plain = [
        note.start
        for seed in range(40)
        for bar in _drums_variant(
            replace(grid, on_grid=False), np.random.default_rng(seed), [drummer]
        )
        for note in bar
    ]
    assert abs(np.mean([start % 480 - 480 * (start % 480 > 240) for start in plain])) < 3


def test_wanted_pieces_come_twice_as_often() -> None:
    rng = np.random.default_rng(1)
    styles, sizes, wanted = ["a"] * 100, [1] * 100, [True] * 20 + [False] * 80
    drawn = [index for _ in range(200) for index in _order(styles, sizes, 0.25, rng, wanted)]
    share = sum(index < 20 for index in drawn) / len(drawn)
    assert share == pytest.approx(40 / 120, abs=0.02)
    assert sorted(_order(styles, sizes, 0.0, rng, wanted)) == list(range(100))


def test_balance_oversamples_rare_styles_in_training_only(data: Path) -> None:
    def share(stream: TokenStream, style: str) -> float:
        """Of the bars whose style is told."""
        found = [
            int((stream.tokens == keys.VOCABULARY.tokens.index(f"style:{name}")).sum())
            for name in keys.STYLE.choices
        ]
        return found[keys.STYLE.choices.index(style)] / sum(found)

    plain, half, even = (keys_corpus(data, 1, balance) for balance in (0.0, 0.5, 1.0))
    # Of 38 songs of 8 bars, 20 sheets of 2 and 20 loops of 16 or 32.
    shares = [
        np.mean([share(corpus.stream(number), "jazz") for number in range(6)])
        for corpus in (plain, half, even)
    ]
    assert shares[0] < 0.1 < shares[1] < shares[2]
    assert shares[2] == pytest.approx(1 / 3, abs=0.07)
    assert np.array_equal(plain.reported.tokens, even.reported.tokens)


def test_the_thesis_data_are_whole_pieces_a_tenth_held_out(data: Path) -> None:
    share = np.mean([held_out(f"piece {number}") for number in range(10_000)])
    assert share == pytest.approx(0.1, abs=0.01)
    corpus = thesis_corpus(PlayerName.DRUMS, data, 1)
    first, second = corpus.stream(0).tokens, corpus.stream(1).tokens
    assert not np.array_equal(first, second)
    assert np.array_equal(np.sort(first), np.sort(second))
    assert corpus.vocabulary is thesis.VOCABULARY
    begins = np.flatnonzero(first == thesis.START)
    notes = 0
    for begin, end in zip(begins, [*begins[1:], len(first)], strict=True):
        assert first[end - 1] == thesis.END
        notes += len(thesis.decode(int(token) for token in first[begin:end]))
    assert notes == pytest.approx(corpus.stream(0).notes, rel=0.02)  # hits on one step are one
    assert not corpus.stream(0).is_event[begins].any()
