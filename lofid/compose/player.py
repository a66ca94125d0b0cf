"""A player: one model that writes or hears the tokens of one bar.

Sampling stays within the grammar and within the bar's rules (:mod:`lofid.compose.rules`), so that
whatever comes out decodes to a legal bar; nothing is mended afterwards.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lofid.compose.rules import Rules
from lofid.errors import LofidError
from lofid.rwkv.engine import Engine
from lofid.rwkv.state import State
from lofid.tokens import drums, keys
from lofid.tokens.grammar import Grammar, GrammarState, Phase


class ModelFailure(LofidError):
    """A model that cannot go on: it raised, or answered with something that is no number."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn.

    ``temperature`` > 0; ``top_p`` keeps the likeliest tokens that together reach this share (below
    0.98, rare positions and with them syncopation die out); ``longest`` is the number of event
    tokens after which a bar closes as soon as the grammar and the rules let it.
    """

    temperature: float
    top_p: float = 0.98
    longest: int = 120


@dataclass(frozen=True, slots=True)
class Player:
    """A model with its grammar and its way of sampling; the state is the caller's."""

    engine: Engine
    grammar: Grammar
    sampling: Sampling

    def initial_state(self) -> State:
        """The state before the first bar of a song."""
        return State.zero(self.engine.config)

    def write(
        self, header: Sequence[int], rules: Rules, state: State, rng: np.random.Generator
    ) -> tuple[int, ...]:
        """Write one bar: its event tokens, the end included. Advances ``state`` over all of it.

        Raises :class:`ModelFailure`; ``state`` is of no use then.
        """
        logits = self._forward(header, state)
        here = self.grammar.start
        tokens: list[int] = []
        while here.phase is not Phase.CLOSED:
            token = self._next(logits, here, rules, len(tokens), rng)
            tokens.append(token)
            here = self.grammar.advance(here, token)
            rules.advance(token)
            logits = self._forward((token,), state)
        return tuple(tokens)

    def hear(self, header: Sequence[int], tokens: Sequence[int], state: State) -> None:
        """Advance ``state`` over a bar that is played again; raises as :meth:`write` does."""
        self._forward((*header, *tokens), state)

    def _forward(self, tokens: Sequence[int], state: State) -> NDArray[np.float32]:
        """The logits after the tokens, all of them finite."""
        try:
            logits = self.engine.forward(tokens, state)
        except Exception as error:
            raise ModelFailure(
                f"The model '{self.engine.name}' failed ({error!r}); it must start anew from an "
                "earlier state."
            ) from error
        if not np.isfinite(logits).all():
            raise ModelFailure(
                f"The model '{self.engine.name}' gives logits that are no numbers; it must start "
                "anew from an earlier state."
            )
        return logits

    def _next(
        self,
        logits: NDArray[np.float32],
        here: GrammarState,
        rules: Rules,
        written: int,
        rng: np.random.Generator,
    ) -> int:
        legal = self.grammar.mask(here)
        bias = rules.bias(here.phase)
        allowed = legal & (bias > -np.inf)
        if written >= self.sampling.longest and allowed[self.grammar.end]:
            return self.grammar.end
        if not allowed.any():  # rules may forbid, but never corner the grammar
            if legal[self.grammar.end]:
                return self.grammar.end
            allowed = legal
            bias = np.zeros_like(bias)
        candidates = np.flatnonzero(allowed)
        return int(candidates[_draw(logits[candidates] + bias[candidates], self.sampling, rng)])


def keys_player(engine: Engine) -> Player:
    """The keys' player on a model of the keys' vocabulary."""
    return Player(engine, keys.GRAMMAR, Sampling(temperature=0.95, longest=120))


def drums_player(engine: Engine) -> Player:
    """The drums' player; at temperature 1 the model loses its backbeat, at 0.9 it keeps it."""
    return Player(engine, drums.GRAMMAR, Sampling(temperature=0.9, longest=90))


def _draw(scores: NDArray[np.float64], sampling: Sampling, rng: np.random.Generator) -> int:
    """Index of one score, drawn from the nucleus of their softmax at the given temperature."""
    scaled = scores / sampling.temperature
    shares = np.exp(scaled - scaled.max())
    shares /= shares.sum()
    order = np.argsort(-shares, kind="stable")
    total = np.cumsum(shares[order])
    nucleus = int(np.searchsorted(total, sampling.top_p)) + 1
    point = rng.random() * total[min(nucleus, len(total)) - 1]
    return int(order[min(int(np.searchsorted(total, point, side="right")), len(order) - 1)])
