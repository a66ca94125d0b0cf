"""The one interface through which players use a model, whatever runs it."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lofid.rwkv.config import RwkvConfig
from lofid.rwkv.state import ModelState


class Engine(Protocol):
    """A loaded model. Holds weights only: the state belongs to the caller.

    One engine may be used by one thread at a time; two engines run in parallel (they release the
    GIL while they compute).
    """

    name: str
    """How status displays call it, such as ``cpu-int8``."""

    @property
    def config(self) -> RwkvConfig:
        """The shape of the model."""
        ...

    def forward(self, tokens: Sequence[int], state: ModelState) -> NDArray[np.float32]:
        """Advance ``state`` in place over ``tokens`` (at least one).

        Returns the logits [vocabulary] after the last token: a buffer that the next call of this
        engine overwrites.
        """
        ...

    def forward_batch(
        self, tokens: Sequence[int], states: Sequence[ModelState]
    ) -> NDArray[np.float32]:
        """Advance each of B ``states`` in place over its own one of B ``tokens``.

        All states are of this model and distinct. Returns the logits [B, vocabulary], a buffer that
        the next call of this engine overwrites: those of :meth:`forward`, on the CPU engine to the
        bit, on others but for their last digits.
        """
        ...
