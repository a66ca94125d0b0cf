"""Held-out losses by piece and style, and their intervals."""

import numpy as np
import pytest

from lofid.learn.measure import Measured, batches, interval
from lofid.learn.sequences import ON_GRID, Span, TokenStream

SPANS = tuple(
    Span(f"g{number}", style, length, length // 2)
    for number, (style, length) in enumerate(
        [("funk", 30), ("funk", 6), ("jazz", 20), (ON_GRID, 40), ("jazz", 10)]
    )
)
TOKENS = np.arange(106, dtype=np.int16)
STREAM = TokenStream(TOKENS, TOKENS % 3 != 0, 53, SPANS)


def test_every_piece_is_read_once_and_padding_never_counts() -> None:
    read: dict[int, list[int]] = {}
    for batch in batches(STREAM, 2):
        assert batch.tokens.shape == batch.counted.shape
        assert len(batch.tokens) == 2
        for row in range(2):
            ids = batch.tokens[row][batch.counted[row]].tolist()
            if row < len(batch.places):
                read[batch.places[row]] = ids
            else:
                assert ids == []
    begins = np.cumsum([0, *(span.tokens for span in SPANS)])
    for place, span in enumerate(SPANS):
        inside = range(begins[place] + 1, begins[place] + span.tokens)
        assert read[place] == [token for token in inside if token % 3]


def test_a_stream_without_marks_is_one_piece() -> None:
    plain = TokenStream(TOKENS, TOKENS % 3 != 0, 53)
    (batch,) = batches(plain, 1)
    assert batch.tokens[0].tolist() == TOKENS.tolist()
    (piece,) = Measured.of(plain, [53.0]).pieces
    assert (piece.notes, piece.nats, piece.events) == (53, 53.0, 70)


def test_the_headline_is_the_mean_over_played_styles() -> None:
    found = Measured.of(STREAM, [30.0, 6.0, 60.0, 2.0, 30.0])
    assert found.styles == {"funk": 36 / 18, "jazz": 90 / 15, ON_GRID: 2 / 20}
    assert found.headline == (2 + 6) / 2
    assert found.per_note == 128 / 53


def test_intervals_widen_with_the_spread_and_pair_the_models() -> None:
    def of(*nats: float) -> Measured:
        spans = tuple(Span(str(place), "funk", 10, 10) for place in range(len(nats)))
        tokens = np.zeros(10 * len(nats), np.int16)
        return Measured.of(TokenStream(tokens, tokens == 0, len(tokens), spans), nats)

    even, uneven = of(*[20.0] * 12), of(*[10.0, 30.0] * 6)
    assert interval(lambda headlines: headlines[0], [even]) == (2, 2)
    low, high = interval(lambda headlines: headlines[0], [uneven])
    assert low == pytest.approx(1.45, abs=0.25)
    assert high == pytest.approx(2.55, abs=0.25)
    better = of(*[9.0, 27.0] * 6)
    less = interval(lambda two: 1 - two[1] / two[0], [uneven, better])
    assert less == pytest.approx((0.1, 0.1))
