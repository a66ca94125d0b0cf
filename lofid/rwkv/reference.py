"""The readable RWKV-6 (``x060``) in torch: the model that is trained and that engines must match.

Parameters carry the official names and shapes, so that ``state_dict()`` saved as a ``.pth`` runs
in other RWKV software. Knows nothing of music or of training data.

After Peng et al., "Eagle and Finch: RWKV with Matrix-Valued States and Dynamic Recurrence"
(2024), and the initialisation of the official RWKV-LM repository.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from lofid.rwkv.config import HEAD_SIZE, RwkvConfig
from lofid.rwkv.wkv import wkv_operator

GROUP_NORM_EPS = 64e-5

TorchState = tuple[Tensor, Tensor, Tensor]
"""att_shift [L, B, D], ffn_shift [L, B, D], wkv [L, B, H, 64, 64], all float32."""


def zero_state(config: RwkvConfig, batch: int, device: torch.device | str = "cpu") -> TorchState:
    """The states of ``batch`` streams before their first token."""
    shift = torch.zeros(config.layers, batch, config.width, device=device)
    wkv = torch.zeros(config.layers, batch, config.heads, HEAD_SIZE, HEAD_SIZE, device=device)
    return shift, shift.clone(), wkv


def _shifted(x: Tensor, last: Tensor) -> Tensor:
    """The step from each token's ``x`` [B, T, D] back to the one before; ``last`` [B, D]."""
    return torch.cat((last.unsqueeze(1), x[:, :-1]), 1) - x


class TimeMix(nn.Module):
    """The attention of one block: data-dependent mixes, WKV, group norm, gate."""

    def __init__(self, config: RwkvConfig, layer: int) -> None:
        super().__init__()
        width, self.heads = config.width, config.heads
        depth = layer / max(config.layers - 1, 1)  # 0 to 1
        rest = 1 - layer / config.layers  # 1 to almost 0
        channel = torch.arange(width).view(1, 1, width) / width
        self.time_maa_x = nn.Parameter(1 - channel**rest)
        self.time_maa_w = nn.Parameter(1 - channel**rest)
        self.time_maa_k = nn.Parameter(1 - channel**rest)
        self.time_maa_v = nn.Parameter(1 - (channel**rest + 0.3 * depth))
        self.time_maa_r = nn.Parameter(1 - channel ** (0.5 * rest))
        self.time_maa_g = nn.Parameter(1 - channel ** (0.5 * rest))
        self.time_maa_w1 = nn.Parameter(torch.zeros(width, 5 * config.mix_rank))
        self.time_maa_w2 = nn.Parameter(
            torch.empty(5, config.mix_rank, width).uniform_(-0.01, 0.01)
        )
        place = torch.arange(width) / (width - 1)
        self.time_decay = nn.Parameter((-6 + 5 * place ** (0.7 + 1.3 * depth)).view(1, 1, width))
        self.time_decay_w1 = nn.Parameter(torch.zeros(width, config.decay_rank))
        self.time_decay_w2 = nn.Parameter(
            torch.empty(config.decay_rank, width).uniform_(-0.01, 0.01)
        )
        zigzag = ((torch.arange(width) + 1) % 3 - 1) * 0.1
        self.time_faaaa = nn.Parameter((depth * (1 - place) + zigzag).view(self.heads, HEAD_SIZE))
        self.receptance = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.gate = nn.Linear(width, width, bias=False)
        self.output = nn.Linear(width, width, bias=False)
        self.ln_x = nn.GroupNorm(self.heads, width, eps=GROUP_NORM_EPS)
        nn.init.orthogonal_(self.receptance.weight)
        nn.init.orthogonal_(self.key.weight, gain=0.1)
        nn.init.orthogonal_(self.value.weight)
        nn.init.orthogonal_(self.gate.weight, gain=0.1)
        nn.init.zeros_(self.output.weight)
        nn.init.constant_(self.ln_x.weight, ((1 + layer) / config.layers) ** 0.7)

    def forward(self, x: Tensor, last: Tensor, wkv: Tensor) -> tuple[Tensor, Tensor]:
        """From normed ``x`` [B, T, D], the input before it and the WKV state."""
        batch, length, width = x.shape
        step = _shifted(x, last)
        mix = torch.tanh((x + step * self.time_maa_x) @ self.time_maa_w1)
        mix = mix.view(batch * length, 5, -1).transpose(0, 1)
        mw, mk, mv, mr, mg = torch.bmm(mix, self.time_maa_w2).view(5, batch, length, width)
        low_rank = torch.tanh((x + step * (self.time_maa_w + mw)) @ self.time_decay_w1)
        decay = self.time_decay + (low_rank @ self.time_decay_w2).float()
        k = self.key(x + step * (self.time_maa_k + mk))
        v = self.value(x + step * (self.time_maa_v + mv))
        r = self.receptance(x + step * (self.time_maa_r + mr))
        g = functional.silu(self.gate(x + step * (self.time_maa_g + mg)))

        heads = (batch, length, self.heads, HEAD_SIZE)
        y, wkv = wkv_operator(
            r.view(heads),
            k.view(heads),
            v.view(heads),
            -decay.exp().view(heads),
            self.time_faaaa,
            wkv,
        )
        # A group norm over each head, written as a layer norm, which is quicker.
        y = functional.layer_norm(y, (HEAD_SIZE,), eps=GROUP_NORM_EPS).view(batch, length, width)
        y = y * self.ln_x.weight + self.ln_x.bias
        return self.output(y * g), wkv


class ChannelMix(nn.Module):
    """The feed-forward part of one block."""

    def __init__(self, config: RwkvConfig, layer: int) -> None:
        super().__init__()
        rest = 1 - layer / config.layers
        channel = torch.arange(config.width).view(1, 1, config.width) / config.width
        self.time_maa_k = nn.Parameter(1 - channel**rest)
        self.time_maa_r = nn.Parameter(1 - channel**rest)
        self.key = nn.Linear(config.width, config.hidden, bias=False)
        self.receptance = nn.Linear(config.width, config.width, bias=False)
        self.value = nn.Linear(config.hidden, config.width, bias=False)
        nn.init.orthogonal_(self.key.weight)
        nn.init.zeros_(self.receptance.weight)
        nn.init.zeros_(self.value.weight)

    def forward(self, x: Tensor, last: Tensor) -> Tensor:
        """From normed ``x`` [B, T, D] and the input before it."""
        step = _shifted(x, last)
        k = torch.relu(self.key(x + step * self.time_maa_k)).square()
        r = torch.sigmoid(self.receptance(x + step * self.time_maa_r))
        mixed: Tensor = r * self.value(k)
        return mixed


class RwkvBlock(nn.Module):
    """Time mix and channel mix, each normed before and added to the residual."""

    def __init__(self, config: RwkvConfig, layer: int, dropout: float) -> None:
        super().__init__()
        self.ln0 = nn.LayerNorm(config.width) if layer == 0 else nn.Identity()
        self.ln1 = nn.LayerNorm(config.width)
        self.ln2 = nn.LayerNorm(config.width)
        self.att = TimeMix(config, layer)
        self.ffn = ChannelMix(config, layer)
        self.dropout = dropout

    def forward(
        self, x: Tensor, att_last: Tensor, ffn_last: Tensor, wkv: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The residual stream [B, T, D] and the three parts of the layer's state, advanced."""
        x = self.ln0(x)
        normed = self.ln1(x)
        mixed, wkv = self.att(normed, att_last, wkv)
        x = x + self._dropped(mixed)
        att_last, normed = normed[:, -1], self.ln2(x)
        mixed = self.ffn(normed, ffn_last)
        x = x + self._dropped(mixed)
        return x, att_last, normed[:, -1], wkv

    def _dropped(self, mixed: Tensor) -> Tensor:
        """Channels of ``mixed`` [B, T, D] left out at random, the same throughout a stream.

        One draw a stream costs next to nothing; one a token costs a fifth of the speed.
        """
        if not self.training or self.dropout == 0.0:
            return mixed
        kept = torch.rand(mixed.shape[0], 1, mixed.shape[2], device=mixed.device) >= self.dropout
        return mixed * kept / (1 - self.dropout)


class Rwkv6(nn.Module):
    """The whole model, freshly initialised after the official recipe.

    Random weights come from torch's global generator, which the caller seeds. ``dropout`` acts
    on the output of every mix, in training mode only.
    """

    def __init__(self, config: RwkvConfig, dropout: float = 0.0) -> None:
        super().__init__()
        self.config = config
        self.emb = nn.Embedding(config.vocabulary, config.width)
        self.blocks = nn.ModuleList(RwkvBlock(config, i, dropout) for i in range(config.layers))
        self.ln_out = nn.LayerNorm(config.width)
        self.head = nn.Linear(config.width, config.vocabulary, bias=False)
        nn.init.uniform_(self.emb.weight, -1e-4, 1e-4)
        nn.init.orthogonal_(
            self.head.weight, gain=0.5 * math.sqrt(max(config.vocabulary / config.width, 1.0))
        )

    def forward(self, tokens: Tensor, state: TorchState | None = None) -> tuple[Tensor, TorchState]:
        """Logits [B, T, V] for ``tokens`` [B, T], and the state after them.

        The new state is part of the graph: who carries it over chunks of a long text detaches it.
        """
        att, ffn, wkv = state or zero_state(self.config, tokens.shape[0], tokens.device)
        x = self.emb(tokens)
        states = []
        for i, block in enumerate(self.blocks):
            x, *layer = block(x, att[i], ffn[i], wkv[i])
            states.append(layer)
        new_att, new_ffn, new_wkv = (torch.stack(parts) for parts in zip(*states, strict=True))
        return self.head(self.ln_out(x)), (new_att, new_ffn, new_wkv)


def parameter_groups(model: Rwkv6, lr: float, weight_decay: float = 0.001) -> list[dict[str, Any]]:
    """Groups for AdamW after the official recipe.

    Weight decay acts on the weight matrices only (not on the low-rank factors, as upstream);
    ``time_decay`` learns at twice the rate. Every group carries ``scale``, its rate relative to
    ``lr``, for schedules.
    """
    groups: dict[str, list[nn.Parameter]] = {"decayed": [], "plain": [], "fast": []}
    for name, parameter in model.named_parameters():
        if name.endswith("time_decay"):
            groups["fast"].append(parameter)
        elif name.endswith(".weight") and parameter.ndim >= 2:
            groups["decayed"].append(parameter)
        else:
            groups["plain"].append(parameter)
    return [
        {"params": groups["decayed"], "lr": lr, "weight_decay": weight_decay, "scale": 1.0},
        {"params": groups["plain"], "lr": lr, "weight_decay": 0.0, "scale": 1.0},
        {"params": groups["fast"], "lr": 2 * lr, "weight_decay": 0.0, "scale": 2.0},
    ]
