"""Held-out loss by piece and style, with intervals: what a model has learned that is not the data.

Every piece is read from the empty state, so what it loses depends on no other. A style's figure is
that of its notes together, and the headline is the mean over the styles, as a few long takes of one
style would decide any other. Patterns on the grid lose next to nothing; they stand apart.

This module knows streams and losses. It must not know how models are trained.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lofid.learn.sequences import ON_GRID, Span, TokenStream

SAMPLES = 2000
"""How often pieces are drawn anew for an interval."""
_INTERVAL = (2.5, 97.5)  # percent


@dataclass(frozen=True, slots=True)
class Batch:
    """Pieces side by side, padded at the end: ``tokens`` and which of them count [rows, length].

    ``places`` tells which pieces of the stream they are; there may be rows without one.
    """

    tokens: NDArray[np.int16]
    counted: NDArray[np.bool_]
    places: tuple[int, ...]


def spans_of(stream: TokenStream) -> tuple[Span, ...]:
    """The pieces of a stream; all of it where none are marked."""
    return stream.spans or (Span("", "all", len(stream.tokens), stream.notes),)


def batches(stream: TokenStream, rows: int) -> Iterator[Batch]:
    """All pieces of a stream, so many at a time, those of like length together."""
    lengths = [span.tokens for span in spans_of(stream)]
    begins = np.cumsum([0, *lengths])
    order = sorted(range(len(lengths)), key=lambda place: (-lengths[place], place))
    for first in range(0, len(order), rows):
        places = order[first : first + rows]
        tokens = np.zeros((rows, lengths[places[0]]), np.int16)
        counted = np.zeros(tokens.shape, np.bool_)
        for row, place in enumerate(places):
            piece = slice(begins[place], begins[place + 1])
            tokens[row, : lengths[place]] = stream.tokens[piece]
            counted[row, : lengths[place]] = stream.is_event[piece]
        counted[:, 0] = False  # nothing is said before the first token
        yield Batch(tokens, counted, tuple(places))


Read = Callable[[NDArray[np.int16], NDArray[np.bool_]], NDArray[np.float64]]
"""Reads the next tokens of all rows [rows, T + 1], the last of which begin the next reading; gives
the nats of those after the first that count [rows, T], summed by row [rows]."""


def nats_by_piece(
    stream: TokenStream, rows: int, context: int, begin: Callable[[], Read]
) -> list[float]:
    """Nats lost on each piece of a stream, read ``rows`` at a time in parts of ``context`` tokens.

    ``begin`` gives a reader that remembers nothing yet.
    """
    nats = [0.0] * len(spans_of(stream))
    for batch in batches(stream, rows):
        read = begin()
        for first in range(0, batch.tokens.shape[1] - 1, context):
            after = slice(first + 1, first + context + 1)
            lost = read(batch.tokens[:, first : after.stop], batch.counted[:, after])
            for place, one in zip(batch.places, lost.tolist(), strict=False):
                nats[place] += one
    return nats


@dataclass(frozen=True, slots=True)
class PieceLoss:
    """What a model loses on one piece: nats in all, over so many event tokens and notes."""

    group: str
    style: str
    nats: float
    events: int
    notes: int


@dataclass(frozen=True, slots=True)
class Measured:
    """The losses on a stream, piece by piece in its order."""

    pieces: tuple[PieceLoss, ...]

    @classmethod
    def of(cls, stream: TokenStream, nats: Sequence[float]) -> "Measured":
        """What is lost on each piece of a stream."""
        begins = np.cumsum([0, *(span.tokens for span in spans_of(stream))])
        return cls(
            tuple(
                PieceLoss(
                    span.group,
                    span.style,
                    float(lost),
                    int(stream.is_event[begin + 1 : begin + span.tokens].sum()),
                    span.notes,
                )
                for span, lost, begin in zip(spans_of(stream), nats, begins[:-1], strict=True)
            )
        )

    @property
    def _nats(self) -> float:
        return sum(piece.nats for piece in self.pieces)

    @property
    def per_token(self) -> float:
        """Nats an event token, of all pieces together."""
        return self._nats / max(sum(piece.events for piece in self.pieces), 1)

    @property
    def per_note(self) -> float:
        """Nats a note, of all pieces together."""
        return self._nats / max(sum(piece.notes for piece in self.pieces), 1)

    def only(self, style: str) -> "Measured":
        """The pieces of one style alone."""
        return Measured(tuple(piece for piece in self.pieces if piece.style == style))

    @property
    def styles(self) -> dict[str, float]:
        """Nats a note of each style."""
        return {
            style: self.only(style).per_note
            for style in sorted({piece.style for piece in self.pieces})
        }

    @property
    def headline(self) -> float:
        """The mean of the styles' nats a note, patterns on the grid left out where others are."""
        found = self.styles
        played = [loss for style, loss in found.items() if style != ON_GRID]
        return float(np.mean(played or list(found.values())))


def interval(
    figure: Callable[[Sequence[NDArray[np.float64]]], NDArray[np.float64]],
    measured: Sequence[Measured],
    seed: int = 1,
) -> tuple[float, float]:
    """The 95 % interval of a figure of the headlines of models on the same pieces.

    By bootstrap: the pieces of each style are drawn anew with replacement, the same for all models;
    ``figure`` gets each model's headlines [draws].
    """
    rng = np.random.default_rng(seed)
    styles = sorted({piece.style for piece in measured[0].pieces})
    played = [style for style in styles if style != ON_GRID] or styles
    headlines = np.zeros((len(measured), SAMPLES))
    for style in played:
        count = len(measured[0].only(style).pieces)
        drawn = rng.integers(count, size=(SAMPLES, count))
        for row, one in enumerate(measured):
            pieces = one.only(style).pieces
            nats = np.array([piece.nats for piece in pieces])[drawn].sum(1)
            notes = np.array([piece.notes for piece in pieces])[drawn].sum(1)
            headlines[row] += nats / np.maximum(notes, 1) / len(played)
    low, high = np.percentile(figure(list(headlines)), _INTERVAL)
    return float(low), float(high)
