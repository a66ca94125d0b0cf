"""Priming one stream with a text: all of its tokens at once, where decoding takes one at a time.

Plain products over the dense matrices, in float32 and with the very weights of decoding, and the
chunked WKV. Knows nothing of music, of slots or of files.
"""

import torch
from torch import Tensor
from torch.nn import functional

from lofid.kernels.decode import (
    layer_norm,
    reference_branches,
    reference_ffn_in,
    reference_head,
    reference_mix_down,
    reference_output,
    vector,
)
from lofid.kernels.weights import Weights
from lofid.kernels.wkv import wkv as wkv_fused
from lofid.rwkv.config import HEAD_SIZE


def prefill(
    weights: Weights,
    model: int,
    tokens: Tensor,
    att_shift: Tensor,
    ffn_shift: Tensor,
    wkv: Tensor,
) -> Tensor:
    """Advance the state of one stream of ``model`` in place over ``tokens`` int64 [T], T >= 1.

    ``att_shift`` and ``ffn_shift`` [L, D] and ``wkv`` [L, H, 64, 64] are float32 and may be views
    into the states of many. Returns the logits [V] after the last token, 0 beyond the model's own
    vocabulary. What decoding token by token gives, but for the last digits; the launches run in
    the current stream, without a word to the host.
    """
    one = slice(model, model + 1)
    width = weights.shape.width
    x = weights.embedding[one, tokens]
    for i in range(weights.shape.layers):
        vectors = weights.vectors[i, one]
        last, att_shift[i] = _shifted(layer_norm(x, vectors, "ln1"), att_shift[i])
        normed, low = reference_mix_down(x, last, vectors, weights.mix_down[i][one].dense())
        projected = reference_branches(
            normed,
            last,
            low,
            vectors,
            weights.mix_up[i][one].dense(),
            weights.branches[i][one].dense(),
        )
        k, v, r, g = (_heads(part) for part in projected[..., : 4 * width].chunk(4, -1))
        more = projected[..., 4 * width :] @ weights.decay_up[i][one].dense().mT
        y, after = wkv_fused(
            r,
            k,
            v,
            _heads(-(vector(vectors, "att.time_decay") + more).exp()),
            _heads(vector(vectors, "att.time_faaaa"))[0, 0],
            wkv[i, None],
        )
        wkv[i] = after[0]
        y = functional.layer_norm(y, (HEAD_SIZE,), eps=64e-5).flatten(-2)
        y = y * vector(vectors, "att.ln_x.weight") + vector(vectors, "att.ln_x.bias")
        gated = y * functional.silu(g).flatten(-2)
        x = reference_output(x, gated, weights.output[i][one].dense())

        last, ffn_shift[i] = _shifted(layer_norm(x, vectors, "ln2"), ffn_shift[i])
        _, inner = reference_ffn_in(x, last, vectors, weights.ffn_in[i][one].dense())
        gate, key = inner[..., :width], inner[..., width:]
        x = reference_output(x, key, weights.ffn_out[i][one].dense(), gate)
    return reference_head(x[:, -1:], weights.final[one], weights.head[one].dense())[0, 0]


def _shifted(normed: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
    """What came before each token's ``normed`` [1, T, D], and what comes before the next [D]."""
    return torch.cat((before[None, None], normed[:, :-1]), 1), normed[0, -1]


def _heads(x: Tensor) -> Tensor:
    """[..., D] as [..., H, 64]."""
    return x.reshape(*x.shape[:-1], -1, HEAD_SIZE)
