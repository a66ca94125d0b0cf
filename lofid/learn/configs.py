"""Training runs by name: which network, which tokens, and the settings of each player.

Numbers only: this module knows neither torch nor data, so that a command line can list it.
"""

import math
from dataclasses import dataclass, replace
from enum import StrEnum

from lofid.errors import LofidError


class PlayerName(StrEnum):
    """Which of the two models."""

    KEYS = "keys"
    DRUMS = "drums"


class Network(StrEnum):
    """The family of a network: ours, or one of the forerunners that it is compared with."""

    RWKV = "rwkv"
    RNN = "rnn"
    LSTM = "lstm"
    GPT = "gpt"


class TokenForm(StrEnum):
    """How music is written: bars with headers, or the thesis' notes and waits."""

    BARS = "bars"
    THESIS = "thesis"


class Schedule(StrEnum):
    """The course of the learning rate after its warm-up.

    ``plateau`` stays and falls over the last quarter of the budget (Hu et al., "MiniCPM", 2024),
    so that a run may be lengthened or cut short when it is resumed; ``cosine`` falls throughout.
    """

    PLATEAU = "plateau"
    COSINE = "cosine"


DECAY_SHARE = 0.25
"""Share of the budget in which a plateau's rate falls to its end."""


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """What a run is made of.

    ``tokens`` is the budget (header and events); each optimiser step reads ``batch`` lanes of
    ``context`` tokens. ``rate`` is the highest learning rate, reached after ``warm_up`` steps, and
    ``final_rate`` the last. ``balance`` is how far rare styles are oversampled: 0 leaves the data
    as it is, 1 gives each style the same share. What is measured, played and kept is the mean of
    the weights of about the last ``average`` steps; 0 takes them as they are. Every
    ``check_steps`` steps the held-out loss is measured and a checkpoint written. After
    ``patience`` such checks without a new best the rate of a plateau falls early, and a cosine
    ends; 0 never does.
    """

    seed: int = 1
    tokens: int = 20_000_000
    batch: int = 8
    context: int = 256
    rate: float = 1.2e-3
    final_rate: float = 3e-5
    warm_up: int = 20
    schedule: Schedule = Schedule.PLATEAU
    dropout: float = 0.0
    weight_decay: float = 0.001
    clip: float = 1.0
    balance: float = 0.0
    average: int = 0
    check_steps: int = 300
    patience: int = 0

    def __post_init__(self) -> None:
        if min(self.tokens, self.batch, self.context, self.check_steps) < 1:
            raise LofidError(
                "Tokens, batch, context and check steps of a run must be at least 1; raise them."
            )
        if not 0 <= self.balance <= 1:
            raise LofidError(f"The balance {self.balance} is not between 0 and 1; choose another.")

    @property
    def tokens_per_step(self) -> int:
        """Tokens that one optimiser step reads."""
        return self.batch * self.context

    @property
    def steps(self) -> int:
        """Optimiser steps in the budget."""
        return max(1, self.tokens // self.tokens_per_step)

    def rate_at(self, step: int, steps: int) -> float:
        """The learning rate of a step in a run of so many."""
        if step < self.warm_up:
            return self.rate * (step + 1) / self.warm_up
        left = (steps - step) / steps
        if self.schedule is Schedule.COSINE:
            done = min(max((step - self.warm_up) / max(steps - self.warm_up, 1), 0.0), 1.0)
            high = 0.5 * (1 + math.cos(math.pi * done))
        else:
            high = min(max(left / DECAY_SHARE, 0.0), 1.0)
        return self.final_rate + (self.rate - self.final_rate) * high

    @property
    def course(self) -> dict[str, object]:
        """What must stay the same when a run goes on, as plain data.

        A plateau's budget may change, and so may when the run is checked and how patient it is.
        """
        free = {"check_steps", "patience"}
        if self.schedule is Schedule.PLATEAU:
            free.add("tokens")
        return {name: getattr(self, name) for name in self.__slots__ if name not in free}


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """A named run: ``layers`` of ``width`` (a size of ``lofid.rwkv.config`` for RWKV)."""

    network: Network
    layers: int
    width: int
    form: TokenForm
    keys: TrainSettings
    drums: TrainSettings

    def settings(self, player: PlayerName) -> TrainSettings:
        """The settings of one of the two models."""
        return self.keys if player is PlayerName.KEYS else self.drums


# One run from random weights; the shipped models were made in two (docs/training.md).
_POCKET_KEYS = TrainSettings(tokens=20_000_000, weight_decay=0.05, dropout=0.1, average=400)
_POCKET_DRUMS = TrainSettings(
    tokens=10_000_000, weight_decay=0.1, dropout=0.25, balance=0.25, average=400
)

_STUDIO_KEYS = TrainSettings(
    tokens=300_000_000,
    batch=64,
    context=512,
    rate=6e-4,
    final_rate=2e-5,
    warm_up=100,
    dropout=0.1,
    weight_decay=0.05,
    average=400,
    check_steps=200,
    patience=8,
)
_STUDIO_DRUMS = replace(_STUDIO_KEYS, tokens=150_000_000, batch=32, dropout=0.2, weight_decay=0.1)

_THESIS = TrainSettings(
    tokens=100_000_000,
    batch=16,
    context=512,
    rate=6e-4,
    final_rate=6e-5,
    warm_up=10,
    schedule=Schedule.COSINE,
)

CONFIGS: dict[str, TrainConfig] = {
    "pocket": TrainConfig(Network.RWKV, 6, 256, TokenForm.BARS, _POCKET_KEYS, _POCKET_DRUMS),
    "studio": TrainConfig(Network.RWKV, 20, 512, TokenForm.BARS, _STUDIO_KEYS, _STUDIO_DRUMS),
    "thesis": TrainConfig(Network.RWKV, 20, 512, TokenForm.THESIS, _THESIS, _THESIS),
    # As many parameters as pocket, with its data and its budget.
    "rnn": TrainConfig(Network.RNN, 4, 816, TokenForm.BARS, _POCKET_KEYS, _POCKET_DRUMS),
    "lstm": TrainConfig(Network.LSTM, 2, 592, TokenForm.BARS, _POCKET_KEYS, _POCKET_DRUMS),
    "gpt": TrainConfig(Network.GPT, 7, 256, TokenForm.BARS, _POCKET_KEYS, _POCKET_DRUMS),
}
"""By name, as ``lofid train --config`` takes them."""


def named(name: str) -> TrainConfig:
    """The configuration of that name; raises :class:`LofidError` for an unknown one."""
    if name not in CONFIGS:
        raise LofidError(
            f"The configuration '{name}' is not known; choose one of {', '.join(CONFIGS)}."
        )
    return CONFIGS[name]
