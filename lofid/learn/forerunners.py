"""What came before: a vanilla RNN, an LSTM and a small GPT, to be compared with honestly.

They read the same tokens in the same training loop as RWKV, with as many parameters as ``pocket``.
The recurrent ones carry their state from step to step as RWKV does; the GPT (nanoGPT's shape:
pre-norm blocks, learned positions, GELU, four times as wide inside) sees what lies in its context.
For generating it keeps keys and values of the tokens it has seen, so that a token costs one row of
attention; when the context is full, the later half of it is read again at new positions, as
learned positions cannot slide.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from lofid.learn.configs import Network

_GPT_HEAD = 64

Carried = tuple[Tensor, ...]
"""What a network carries from step to step; in each tensor, dimension 1 is the lane."""


@dataclass(frozen=True, slots=True)
class ForerunnerConfig:
    """Shape of a forerunner; ``context`` (tokens) is how far a GPT sees."""

    network: Network
    layers: int
    width: int
    vocabulary: int
    context: int


class Recurrent(nn.Module):
    """A vanilla RNN (tanh) or an LSTM between an embedding and a head."""

    def __init__(self, config: ForerunnerConfig, dropout: float = 0.0) -> None:
        super().__init__()
        kind = nn.LSTM if config.network is Network.LSTM else nn.RNN
        self.config = config
        self.emb = nn.Embedding(config.vocabulary, config.width)
        self.dropout = nn.Dropout(dropout)
        self.cells = kind(
            config.width, config.width, config.layers, batch_first=True, dropout=dropout
        )
        self.ln_out = nn.LayerNorm(config.width)
        self.head = nn.Linear(config.width, config.vocabulary, bias=False)

    def empty_state(self, lanes: int, device: torch.device) -> Carried:
        """Hidden state (and cell state of an LSTM) [layers, lanes, width] before any token."""
        shape = (self.config.layers, lanes, self.config.width)
        parts = 2 if self.config.network is Network.LSTM else 1
        return tuple(torch.zeros(shape, device=device) for _ in range(parts))

    def forward(self, tokens: Tensor, state: Carried) -> tuple[Tensor, Carried]:
        """Logits [B, T, V] of ``tokens`` [B, T], and the state after them."""
        x = self.dropout(self.emb(tokens))
        if self.config.network is Network.LSTM:
            y, after = self.cells(x, (state[0], state[1]))
        else:
            y, hidden = self.cells(x, state[0])
            after = (hidden,)
        return self.head(self.ln_out(y)), tuple(part.float() for part in after)


class _Attention(nn.Module):
    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = width // _GPT_HEAD, dropout
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, past: Tensor | None) -> tuple[Tensor, Tensor]:
        """From ``x`` [B, T, D] and earlier keys and values [2, B, H, P, 64]; and all of them."""
        batch, length, width = x.shape
        q, k, v = (
            part.view(batch, length, self.heads, _GPT_HEAD).transpose(1, 2)
            for part in self.qkv(x).split(width, 2)
        )
        if past is not None:
            k, v = torch.cat((past[0], k), 2), torch.cat((past[1], v), 2)
        # Behind a past come tokens one by one, each of which may see everything.
        y = functional.scaled_dot_product_attention(
            q, k, v, dropout_p=self.dropout if self.training else 0.0, is_causal=past is None
        )
        return self.out(y.transpose(1, 2).reshape(batch, length, width)), torch.stack((k, v))


class _Block(nn.Module):
    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = _Attention(width, dropout)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, past: Tensor | None) -> tuple[Tensor, Tensor]:
        mixed, seen = self.attention(self.ln1(x), past)
        x = x + self.dropout(mixed)
        return x + self.dropout(self.mlp(self.ln2(x))), seen


class Gpt(nn.Module):
    """A small GPT; nothing is carried from step to step in training."""

    def __init__(self, config: ForerunnerConfig, dropout: float = 0.0) -> None:
        super().__init__()
        self.config = config
        self.emb = nn.Embedding(config.vocabulary, config.width)
        self.positions = nn.Embedding(config.context, config.width)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(_Block(config.width, dropout) for _ in range(config.layers))
        self.ln_out = nn.LayerNorm(config.width)
        self.head = nn.Linear(config.width, config.vocabulary, bias=False)
        for name, parameter in self.named_parameters():  # nanoGPT's initialisation
            if parameter.ndim >= 2:
                last = name.endswith(("attention.out.weight", "mlp.2.weight"))
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * config.layers if last else 1))
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def empty_state(self, lanes: int, device: torch.device) -> Carried:
        """Nothing."""
        return ()

    def forward(self, tokens: Tensor, state: Carried = ()) -> tuple[Tensor, Carried]:
        """Logits [B, T, V] of ``tokens`` [B, T], T at most the context."""
        logits, _ = self.seen(tokens, None)
        return logits, state

    def seen(self, tokens: Tensor, past: list[Tensor] | None) -> tuple[Tensor, list[Tensor]]:
        """Logits, and keys and values of all tokens; with a ``past``, T must be 1."""
        begin = 0 if past is None else past[0].shape[3]
        place = torch.arange(begin, begin + tokens.shape[1], device=tokens.device)
        x = self.dropout(self.emb(tokens) + self.positions(place))
        kept = []
        for i, block in enumerate(self.blocks):
            x, layer = block(x, None if past is None else past[i])
            kept.append(layer)
        return self.head(self.ln_out(x)), kept


def build(config: ForerunnerConfig, dropout: float = 0.0) -> Recurrent | Gpt:
    """The network of a shape; random weights come from torch's generator."""
    return (Gpt if config.network is Network.GPT else Recurrent)(config, dropout)
