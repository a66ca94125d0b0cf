"""N-gram baselines: what a model must beat on the same tokens and the same split.

Interpolated Kneser-Ney smoothing with one absolute discount an order (Chen and Goodman, "An
Empirical Study of Smoothing Techniques for Language Modeling", 1998); below the unigram stands
the uniform distribution. Contexts run over header tokens; only event tokens count in the loss,
as for the models.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lofid.learn.sequences import TokenStream

Ids = NDArray[np.int64]


def _codes(tokens: Ids, order: int, vocabulary: int) -> Ids:
    """Each n-gram as one integer, by its last token's place (from ``order - 1`` on)."""
    count = len(tokens) - order + 1
    codes = np.zeros(count, np.int64)
    for place in range(order):
        codes = codes * vocabulary + tokens[place : place + count]
    return codes


class KneserNey:
    """An n-gram model of event tokens; ``vocabulary ** order`` must fit 63 bits."""

    def __init__(self, streams: Sequence[TokenStream], vocabulary: int, order: int) -> None:
        self._vocabulary, self.order = vocabulary, order
        counts: list[tuple[Ids, Ids]] = []
        for size in range(1, order + 1):
            codes = np.concatenate(
                [
                    _codes(stream.tokens.astype(np.int64), size, vocabulary)[
                        stream.is_event[size - 1 :]
                    ]
                    for stream in streams
                ]
            )
            counts.append(np.unique(codes, return_counts=True))
        # Below the highest order an n-gram counts once for each token that it was seen after.
        for size in range(1, order):
            counts[size - 1] = np.unique(counts[size][0] % vocabulary**size, return_counts=True)
        self._orders = [self._table(grams, seen) for grams, seen in counts]

    def _table(self, grams: Ids, seen: Ids) -> tuple[Ids, Ids, float, Ids, Ids, Ids]:
        """N-grams, counts, discount; and per context: its code, total count, distinct tokens."""
        contexts, first = np.unique(grams // self._vocabulary, return_index=True)
        once, twice = int((seen == 1).sum()), int((seen == 2).sum())
        discount = once / (once + 2 * twice) if once else 0.5
        totals = np.add.reduceat(seen, first)
        kinds = np.diff(np.append(first, len(grams)))
        return grams, seen, discount, contexts, totals, kinds

    def loss(self, stream: TokenStream) -> float:
        """Mean nats an event token."""
        tokens = stream.tokens.astype(np.int64)
        events = np.flatnonzero(stream.is_event)
        events = events[events >= self.order - 1]
        chance = np.full(len(events), 1 / self._vocabulary)
        for size, table in enumerate(self._orders, start=1):
            grams, seen, discount, contexts, totals, kinds = table
            codes = _codes(tokens, size, self._vocabulary)[events - size + 1]
            count = _looked_up(grams, seen, codes)
            total = _looked_up(contexts, totals, codes // self._vocabulary)
            kind = _looked_up(contexts, kinds, codes // self._vocabulary)
            known = total > 0
            own = np.maximum(count - discount, 0) / np.maximum(total, 1)
            rest = discount * kind / np.maximum(total, 1)
            chance = np.where(known, own + rest * chance, chance)
        return float(-np.log(chance).mean())


def _looked_up(keys: Ids, values: Ids, wanted: Ids) -> NDArray[np.float64]:
    """The value of each wanted key, 0 where there is none; ``keys`` are sorted."""
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    found: NDArray[np.float64] = np.where(keys[places] == wanted, values[places], 0).astype(float)
    return found
