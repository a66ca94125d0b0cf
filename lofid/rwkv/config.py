"""Shapes of the RWKV-6 (``x060``) models.

The named sizes are ``pocket`` (6 layers of 256, for CPUs) and ``studio`` (20 layers of 512, the
size of the thesis that lofid grows out of).
"""

from dataclasses import dataclass

HEAD_SIZE = 64


@dataclass(frozen=True, slots=True)
class RwkvConfig:
    """Shape of one model.

    ``layers`` blocks of width ``width`` (a multiple of ``HEAD_SIZE``), over ``vocabulary`` token
    ids. The low-rank sizes follow the official 0.1-1.5 B recipe: five token-shift mixes of rank
    ``mix_rank`` and a decay of rank ``decay_rank``; the channel mix is 3.5 x the width.
    """

    layers: int
    width: int
    vocabulary: int
    mix_rank: int = 32
    decay_rank: int = 64

    @property
    def heads(self) -> int:
        """Number of WKV heads."""
        return self.width // HEAD_SIZE

    @property
    def hidden(self) -> int:
        """Width of the channel mix, 3.5 x the model's, rounded down to a multiple of 32."""
        return int(self.width * 3.5) // 32 * 32


SIZES: dict[str, tuple[int, int]] = {"pocket": (6, 256), "studio": (20, 512)}
"""Layers and width of the named sizes."""


def sized(name: str, vocabulary: int) -> RwkvConfig:
    """The named size over a vocabulary; raises KeyError for an unknown name."""
    layers, width = SIZES[name]
    return RwkvConfig(layers=layers, width=width, vocabulary=vocabulary)
