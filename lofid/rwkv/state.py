"""The recurrent state of one model as a value: the whole memory of the music so far."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lofid.rwkv.config import HEAD_SIZE, RwkvConfig


@dataclass(frozen=True, slots=True)
class ModelState:
    """Everything an RWKV-6 remembers.

    ``att_shift`` and ``ffn_shift``: float32 [layers, width], the layer-normed input of the last
    token to time mix and channel mix. ``wkv``: float32 [layers, heads, 64 (key), 64 (value)].
    fp32 is needed: entries beyond 140,000 occur in trained models, twice what fp16 holds. An engine
    advances a state in place, for the caller who owns it; whoever wants to keep a moment copies it.
    """

    att_shift: NDArray[np.float32]
    ffn_shift: NDArray[np.float32]
    wkv: NDArray[np.float32]

    @classmethod
    def zero(cls, config: RwkvConfig) -> "ModelState":
        """The state before the first token."""
        return cls(
            np.zeros((config.layers, config.width), np.float32),
            np.zeros((config.layers, config.width), np.float32),
            np.zeros((config.layers, config.heads, HEAD_SIZE, HEAD_SIZE), np.float32),
        )

    @property
    def parts(self) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """``att_shift``, ``ffn_shift`` and ``wkv``."""
        return self.att_shift, self.ffn_shift, self.wkv

    def copy(self) -> "ModelState":
        """An independent copy."""
        return ModelState(self.att_shift.copy(), self.ffn_shift.copy(), self.wkv.copy())
