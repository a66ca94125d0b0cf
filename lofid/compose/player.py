"""A player: one model that writes or hears the tokens of one bar.

Sampling stays within the grammar and within the bar's rules (:mod:`lofid.compose.rules`), so that
whatever comes out decodes to a legal bar; nothing is mended afterwards. Several attempts at a bar
are written in lockstep, so that the model's weights are read once for all of them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from lofid.compose.rules import Rules
from lofid.errors import LofidError
from lofid.rwkv.engine import Engine
from lofid.rwkv.state import ModelState
from lofid.tokens import drums, keys
from lofid.tokens.grammar import Grammar, GrammarState, Phase


class ModelFailure(LofidError):
    """A model that cannot go on: it raised, or answered with something that is no number."""

    @classmethod
    def of(cls, engine: str, what: str) -> "ModelFailure":
        """The failure of the model on an engine, which ``what`` it did."""
        return cls(f"The model '{engine}' {what}; it must start anew from an earlier state.")


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
class Attempt:
    """One way to write a bar: rules, which follow it as it is written, and the numbers drawn."""

    rules: Rules
    rng: np.random.Generator


@dataclass(frozen=True, slots=True)
class Write:
    """A bar to write, once for each of the attempts, which all begin at ``state``.

    The rules and the generators of the attempts are used up.
    """

    header: Sequence[int]
    state: ModelState
    attempts: Sequence[Attempt]


@dataclass(frozen=True, slots=True)
class Hear:
    """A bar that is played again, header and events, to be heard from ``state`` on."""

    tokens: Sequence[int]
    state: ModelState


Task = Write | Hear
"""What a player can be asked for; the state in it stays as it was."""


@dataclass(frozen=True, slots=True)
class Played:
    """What became of a bar.

    ``tokens`` are the event tokens that were written, the end included, and none where the bar was
    heard; ``state`` is that after them.
    """

    tokens: tuple[int, ...]
    state: ModelState


@dataclass(frozen=True, slots=True)
class Player:
    """A model with its grammar and its way of sampling; the state is the caller's.

    ``beginning`` is the state before the first bar of a song, for a model that was tuned together
    with one; else it is that of a model which has heard nothing.
    """

    engine: Engine
    grammar: Grammar
    sampling: Sampling
    beginning: ModelState | None = None

    def initial_state(self) -> ModelState:
        """The state before the first bar of a song."""
        if self.beginning is not None:
            return self.beginning.copy()
        return ModelState.zero(self.engine.config)

    def reminded(self, state: ModelState) -> ModelState:
        """The state as a pass of a loop begins with it: a tuned beginning is added once more.

        What a state was given first has faded after some twelve bars. The memory is linear in
        what it was given, so the addition acts as the beginning did, beside what was heard since.
        A player that has heard nothing yet is at its beginning still.
        """
        if self.beginning is None or not state.att_shift.any():
            return state
        return replace(state, wkv=state.wkv + self.beginning.wkv)

    def play(self, task: Task) -> tuple[Played, ...]:
        """What becomes of each attempt, or the one answer of what was heard.

        Raises :class:`ModelFailure`.
        """
        state = task.state.copy()
        if isinstance(task, Hear):
            self._checked(lambda: self.engine.forward(task.tokens, state))
            return (Played((), state),)
        logits = self._checked(lambda: self.engine.forward(task.header, state))
        attempts = [
            _Running(attempt, self.grammar.start, state.copy()) for attempt in task.attempts
        ]
        writing = attempts
        rows = [logits] * len(writing)
        while writing:
            for one, row in zip(writing, rows, strict=True):
                self._write_one(one, row)
            tokens, states = [one.tokens[-1] for one in writing], [one.state for one in writing]
            batch = self._checked(partial(self.engine.forward_batch, tokens, states))
            going = [one.here.phase is not Phase.CLOSED for one in writing]
            rows = [row for row, goes in zip(batch, going, strict=True) if goes]
            writing = [one for one, goes in zip(writing, going, strict=True) if goes]
        return tuple(Played(tuple(one.tokens), one.state) for one in attempts)

    def _checked(self, forward: Callable[[], NDArray[np.float32]]) -> NDArray[np.float32]:
        """The engine's logits, all of them finite."""
        try:
            logits = forward()
        except Exception as error:
            raise ModelFailure.of(self.engine.name, f"failed ({error!r})") from error
        if not np.isfinite(logits).all():
            raise ModelFailure.of(self.engine.name, "gives logits that are no numbers")
        return logits

    def _write_one(self, one: "_Running", logits: NDArray[np.float32]) -> None:
        """Draw an attempt's next token."""
        rules, rng = one.attempt.rules, one.attempt.rng
        token = self._next(logits, one.here, rules, len(one.tokens), rng)
        one.tokens.append(token)
        one.here = self.grammar.advance(one.here, token)
        rules.advance(token)

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


@dataclass(slots=True)
class _Running:
    """An attempt while it is written."""

    attempt: Attempt
    here: GrammarState
    state: ModelState
    tokens: list[int] = field(default_factory=list)


def keys_player(engine: Engine, beginning: ModelState | None = None) -> Player:
    """The keys' player on a model of the keys' vocabulary."""
    return Player(engine, keys.GRAMMAR, Sampling(temperature=0.95, longest=120), beginning)


def drums_player(engine: Engine, beginning: ModelState | None = None) -> Player:
    """The drums' player; at temperature 1 the model loses its backbeat, at 0.9 it keeps it."""
    return Player(engine, drums.GRAMMAR, Sampling(temperature=0.9, longest=90), beginning)


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
