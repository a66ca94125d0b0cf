"""Low-rank adaptation: a few numbers beside each matrix learn, the matrix itself stays.

After Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models" (2021). What was learned is
added to the weights when a style is loaded (:mod:`lofid.rwkv.styles`), so playing costs nothing.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from lofid.rwkv.reference import Rwkv6

RANK = 8


class _LowRank(nn.Module):
    """The matrix that a linear layer uses: its own [outputs, inputs] plus ``up @ down``."""

    def __init__(self, outputs: int, inputs: int, rank: int) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.randn(rank, inputs) / math.sqrt(inputs))
        self.up = nn.Parameter(torch.zeros(outputs, rank))

    def forward(self, matrix: Tensor) -> Tensor:
        """``matrix`` with the addition, in its own dtype."""
        return matrix + self.up @ self.down


def add_low_rank(model: Rwkv6, rank: int = RANK) -> dict[str, tuple[nn.Parameter, nn.Parameter]]:
    """Put an addition of ``rank`` beside each matrix of the blocks' mixes, and freeze the rest.

    At first they add nothing. Returns ``down`` [rank, inputs] and ``up`` [outputs, rank] by the
    official names of their matrices. Random values come from torch's global generator.
    """
    model.requires_grad_(False)
    linears = [
        (f"blocks.{name}.weight", module)
        for name, module in model.blocks.named_modules()
        if isinstance(module, nn.Linear)
    ]
    added = {}
    for name, linear in linears:
        addition = _LowRank(linear.out_features, linear.in_features, rank).to(linear.weight.device)
        parametrize.register_parametrization(linear, "weight", addition)
        added[name] = (addition.down, addition.up)
    return added
