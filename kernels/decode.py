"""One token of RWKV-6 for every stream, six launches a layer, and a plain reference of each.

M models of one shape lie side by side, B slots each; a stream is a slot of a model. Everything
here is launches: no host sync and no allocation in a step, so a CUDA graph may hold several.
Knows nothing of music, of sampling or of files.

**Buffers** (:class:`Streams`), on the device, allocated once:

- ``tokens``: int32 [M, B], the token of each slot that is decoded next.
- ``active``: int32 [M, B]. Where it is 0, nothing of the slot is read and nothing written.
- ``logits``: float32 [M, B, V], those after the token; V is the filled vocabulary, and columns
  beyond a model's own vocabulary hold 0.
- ``att_shift``, ``ffn_shift``: float32 [L, M, B, D]; ``wkv``: float32 [L, M, B, H, 64, 64] (key,
  value).

**A step of generation** is two: whatever samples reads ``logits`` and writes ``tokens``, and
``active`` = 0 where a slot has come to its end; then :meth:`Decoder.step` notes each token in
``record`` (-1 where a slot is not active), advances the states and writes ``logits``. So every
token that was drawn is decoded, the last of a bar included.

**Stages** of a layer; each needs all of the one before, hence the launches:

1. ``mix_down``: LN, token shift, the mixes' low rank. 2. ``branches``: five mixes; k, v, r, g and
the decay's low rank. 3. ``wkv_step``: decay, WKV, group norm, gate. 4. ``output``: to the residual.
5. ``ffn_in``: LN, token shift, receptance, key. 6. ``ffn_out``: value, gated, to the residual.

Stages 2 and 6 are the last that read the shift states of time and channel mix; the stage after the
one and the other itself replaces them by the normed input that stages 1 and 5 leave in ``normed``.
No program ever reads what another of its launch writes.

**Numbers.** Weights are int8 with one float32 scale an output, the rest is float32. Few slots are
served by plain products; many by tensor cores. int8 is exact in bfloat16 and float16, and an
activation is split into a bfloat16 number, which has the range, and a float16 number for what that
lacks: together they keep 20 of its 24 bits. Triton's interpreter has no bfloat16 product; there,
both parts are multiplied in float32.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn import functional

from lofid.kernels.targets import Variant
from lofid.kernels.weights import BRANCHES, VECTORS, Shape, Weights

INTERPRETED: Final[bool] = bool(triton.knobs.runtime.interpret)
"""Whether Triton's interpreter runs the kernels, on the CPU."""

FEW: Final = 4
"""Slots up to which products are plain; above, tensor cores multiply tiles of at least 16."""

_HEAD: Final = 64
_ROW: Final = {name: row for row, name in enumerate(VECTORS)}

# What the kernels see of the above.
_EMULATED = tl.constexpr(INTERPRETED)
_VECTORS = tl.constexpr(len(VECTORS))
_LN1 = tl.constexpr(_ROW["ln1.weight"])
_LN2 = tl.constexpr(_ROW["ln2.weight"])
_LN_X = tl.constexpr(_ROW["att.ln_x.weight"])
_MAA_X = tl.constexpr(_ROW["att.time_maa_x"])
_MAA = tl.constexpr(_ROW[f"att.time_maa_{BRANCHES[0]}"])
_DECAY = tl.constexpr(_ROW["att.time_decay"])
_BONUS = tl.constexpr(_ROW["att.time_faaaa"])
_FFN_MAA_R = tl.constexpr(_ROW["ffn.time_maa_r"])
_FFN_MAA_K = tl.constexpr(_ROW["ffn.time_maa_k"])
_LN_EPSILON = tl.constexpr(1e-5)
_GROUP_NORM_EPSILON = tl.constexpr(64e-5)


@dataclass(frozen=True, slots=True)
class Streams:
    """The buffers that the module's docstring describes."""

    tokens: Tensor
    active: Tensor
    logits: Tensor
    att_shift: Tensor
    ffn_shift: Tensor
    wkv: Tensor

    @classmethod
    def allocate(cls, shape: Shape, slots: int, device: torch.device | str) -> "Streams":
        """Buffers for ``slots`` slots a model, none active, all states zero."""
        of = (shape.models, slots)

        def floats(*sizes: int) -> Tensor:
            return torch.zeros(sizes, dtype=torch.float32, device=device)

        return cls(
            tokens=torch.zeros(of, dtype=torch.int32, device=device),
            active=torch.zeros(of, dtype=torch.int32, device=device),
            logits=floats(*of, shape.vocabulary),
            att_shift=floats(shape.layers, *of, shape.width),
            ffn_shift=floats(shape.layers, *of, shape.width),
            wkv=floats(shape.layers, *of, shape.heads, _HEAD, _HEAD),
        )


@dataclass(frozen=True, slots=True)
class Scratch:
    """What the stages of a step hand on: float32 [M, B, ...].

    ``x``: [D], the residual. ``normed``: [D], LN(x). ``low``: [5 x mix]. ``projected``: [4 x D +
    decay]. ``y``: [D], the time mix before its output. ``inner``: [D + F], activated receptance and
    key of the channel mix.
    """

    x: Tensor
    normed: Tensor
    low: Tensor
    projected: Tensor
    y: Tensor
    inner: Tensor

    @classmethod
    def allocate(cls, shape: Shape, slots: int, device: torch.device | str) -> "Scratch":
        """Buffers for ``slots`` slots a model."""

        def floats(size: int) -> Tensor:
            return torch.empty((shape.models, slots, size), dtype=torch.float32, device=device)

        return cls(
            x=floats(shape.width),
            normed=floats(shape.width),
            low=floats(5 * shape.mix),
            projected=floats(4 * shape.width + shape.decay),
            y=floats(shape.width),
            inner=floats(shape.width + shape.hidden),
        )


@triton.jit
def _rows(
    active: tl.tensor,
    SLOTS: tl.constexpr,
    BLOCK_B: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor]:
    """This program's rows [BLOCK_B] of all [M x B], and which of them are active."""
    slot = tl.program_id(2) * BLOCK_B + tl.arange(0, BLOCK_B)
    row = tl.program_id(1) * SLOTS + slot
    return row, tl.load(active + row, mask=slot < SLOTS, other=0) != 0


@triton.jit
def _product(
    sums: tl.tensor,
    a: tl.tensor,
    w: tl.tensor,
    DOT: tl.constexpr,
) -> tl.tensor:
    """``sums`` [B, N] + ``a`` [B, K] x the transpose of ``w`` int8 [N, K]."""
    if DOT:
        high = a.to(tl.bfloat16)
        rest = tl.clamp(a - high.to(tl.float32), -65504.0, 65504.0).to(tl.float16)
        if _EMULATED:
            wide = tl.trans(w.to(tl.float32))
            sums = tl.dot(high.to(tl.float32), wide, sums, input_precision="ieee")
            sums = tl.dot(rest.to(tl.float32), wide, sums, input_precision="ieee")
        else:
            sums = tl.dot(high, tl.trans(w.to(tl.bfloat16)), sums)
            sums = tl.dot(rest, tl.trans(w.to(tl.float16)), sums)
    else:
        sums += tl.sum(a[:, None, :] * w.to(tl.float32)[None, :, :], 2)
    return sums


@triton.jit
def _statistics(
    x: tl.tensor,
    at: tl.tensor,
    on: tl.tensor,
    WIDTH: tl.constexpr,
    BLOCK_B: tl.constexpr,
    BLOCK_K: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor]:
    """Mean and reciprocal deviation [BLOCK_B] of the rows of ``x`` that begin ``at``."""
    mean = tl.zeros([BLOCK_B], tl.float32)
    for start in range(0, WIDTH, BLOCK_K):
        k = start + tl.arange(0, BLOCK_K)
        inside = on[:, None] & (k < WIDTH)[None, :]
        mean += tl.sum(tl.load(x + at[:, None] + k[None, :], mask=inside, other=0.0), 1)
    mean = mean / WIDTH
    variance = tl.zeros([BLOCK_B], tl.float32)
    for start in range(0, WIDTH, BLOCK_K):
        k = start + tl.arange(0, BLOCK_K)
        inside = on[:, None] & (k < WIDTH)[None, :]
        value = tl.load(x + at[:, None] + k[None, :], mask=inside, other=0.0)
        away = tl.where(inside, value - mean[:, None], 0.0)
        variance += tl.sum(away * away, 1)
    return mean, 1 / tl.sqrt(variance / WIDTH + _LN_EPSILON)


@triton.jit
def _tile(
    w: tl.tensor,
    n: tl.tensor,
    k: tl.tensor,
    ROWS: tl.constexpr,
    WIDTH: tl.constexpr,
) -> tl.tensor:
    """Rows ``n`` and columns ``k`` of the int8 matrix [ROWS, WIDTH] at ``w``, zero outside."""
    inside = (n < ROWS)[:, None] & (k < WIDTH)[None, :]
    return tl.load(w + n[:, None] * WIDTH + k[None, :], mask=inside, other=0)


@triton.jit
def _exp(x: tl.tensor) -> tl.tensor:
    """e^x, and e^88 beyond: what comes of it here is then 0 or 1 to the last bit, not infinite."""
    return tl.exp(tl.minimum(x, 88.0, propagate_nan=tl.PropagateNan.ALL))


@triton.jit
def _sigmoid(
    x: tl.tensor,
) -> tl.tensor:
    return 1 / (1 + _exp(-x))


@triton.jit
def _tanh(
    x: tl.tensor,
) -> tl.tensor:
    return 1 - 2 / (_exp(2 * x) + 1)


@triton.jit
def mix_down_kernel(
    active: tl.tensor,
    tokens: tl.tensor,
    record: tl.tensor,
    embedding: tl.tensor,
    x: tl.tensor,
    normed: tl.tensor,
    low: tl.tensor,
    att_shift: tl.tensor,
    vectors: tl.tensor,
    w: tl.tensor,
    scales: tl.tensor,
    FIRST: tl.constexpr,
    SLOTS: tl.constexpr,
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
    VOCABULARY: tl.constexpr,
    DOT: tl.constexpr,
    BLOCK_B: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
) -> None:
    """``low`` [M, B, ROWS] = tanh(``w`` [M, ROWS, D] x (n + (``att_shift`` - n) maa_x)).

    n [M, B, D] is LN(``x``) and goes to ``normed``. With FIRST, ``x`` is made from ``embedding``
    and the tokens are noted in ``record`` [M, B]. Grid: (rows / BLOCK_N, M, slots / BLOCK_B).
    """
    model = tl.program_id(1)
    row, on = _rows(active, SLOTS, BLOCK_B)
    n = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    if FIRST:
        token = tl.load(tokens + row, mask=on, other=-1)
        if tl.program_id(0) == 0:
            here = tl.program_id(2) * BLOCK_B + tl.arange(0, BLOCK_B) < SLOTS
            tl.store(record + row, token, mask=here)
        source = embedding
        at = (model * VOCABULARY + token) * WIDTH
    else:
        source = x
        at = row * WIDTH
    if tl.max(on.to(tl.int32), 0) == 0:
        return
    vectors += model * _VECTORS * WIDTH
    mean, scale = _statistics(source, at, on, WIDTH, BLOCK_B, BLOCK_K)
    sums = tl.zeros([BLOCK_B, BLOCK_N], tl.float32)
    for start in range(0, WIDTH, BLOCK_K):
        k = start + tl.arange(0, BLOCK_K)
        inside = on[:, None] & (k < WIDTH)[None, :]
        weight = tl.load(vectors + _LN1 * WIDTH + k, mask=k < WIDTH, other=0.0)
        bias = tl.load(vectors + (_LN1 + 1) * WIDTH + k, mask=k < WIDTH, other=0.0)
        share = tl.load(vectors + _MAA_X * WIDTH + k, mask=k < WIDTH, other=0.0)
        value = tl.load(source + at[:, None] + k[None, :], mask=inside, other=0.0)
        n_k = (value - mean[:, None]) * scale[:, None] * weight[None, :] + bias[None, :]
        there = row[:, None] * WIDTH + k[None, :]
        last = tl.load(att_shift + there, mask=inside, other=0.0)
        if tl.program_id(0) == 0:
            tl.store(normed + there, n_k, mask=inside)
            if FIRST:
                tl.store(x + there, value, mask=inside)
        mixed = tl.where(inside, n_k + (last - n_k) * share[None, :], 0.0)
        sums = _product(sums, mixed, _tile(w + model * ROWS * WIDTH, n, k, ROWS, WIDTH), DOT)
    unit = tl.load(scales + model * ROWS + n, mask=n < ROWS, other=0.0)
    to = on[:, None] & (n < ROWS)[None, :]
    tl.store(low + row[:, None] * ROWS + n[None, :], _tanh(sums * unit[None, :]), mask=to)


def reference_mix_down(
    x: Tensor, last: Tensor, vectors: Tensor, w: Tensor
) -> tuple[Tensor, Tensor]:
    """Stage 1, plainly: from the residual [M, B, D] and the last normed input [M, B, D].

    ``vectors`` [M, ``len(VECTORS)``, D], ``w`` [M, 5 x mix, D]. Returns the normed input
    [M, B, D] and the mixes' low rank [M, B, 5 x mix].
    """
    normed = layer_norm(x, vectors, "ln1")
    mixed = normed + (last - normed) * vector(vectors, "att.time_maa_x")
    return normed, torch.tanh(mixed @ w.mT)


@triton.jit
def branches_kernel(
    active: tl.tensor,
    normed: tl.tensor,
    low: tl.tensor,
    att_shift: tl.tensor,
    projected: tl.tensor,
    vectors: tl.tensor,
    mix_up: tl.tensor,
    mix_scales: tl.tensor,
    w: tl.tensor,
    scales: tl.tensor,
    SLOTS: tl.constexpr,
    WIDTH: tl.constexpr,
    MIX: tl.constexpr,
    ROWS: tl.constexpr,
    DOT: tl.constexpr,
    BLOCK_B: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
) -> None:
    """``projected`` [M, B, ROWS] = ``w`` [M, ROWS, D] x the mix of each row's branch.

    The mix of branch c is n + (``att_shift`` - n) (maa_c + ``mix_up`` [M, 5 x D, MIX] x ``low``).
    Rows from 4 x D on, the decay's low rank, go through tanh. BLOCK_N divides D.
    Grid: (rows / BLOCK_N, M, slots / BLOCK_B).
    """
    model = tl.program_id(1)
    row, on = _rows(active, SLOTS, BLOCK_B)
    if tl.max(on.to(tl.int32), 0) == 0:
        return
    first = tl.program_id(0) * BLOCK_N
    n = first + tl.arange(0, BLOCK_N)
    branch = first // WIDTH
    rank = tl.arange(0, MIX)
    shares = vectors + (model * _VECTORS + _MAA + branch) * WIDTH
    at = row[:, None] * (5 * MIX) + branch * MIX + rank[None, :]
    low_c = tl.load(low + at, mask=on[:, None], other=0.0)
    above = (model * 5 + branch) * WIDTH
    sums = tl.zeros([BLOCK_B, BLOCK_N], tl.float32)
    for start in range(0, WIDTH, BLOCK_K):
        k = start + tl.arange(0, BLOCK_K)
        inside = on[:, None] & (k < WIDTH)[None, :]
        there = row[:, None] * WIDTH + k[None, :]
        n_k = tl.load(normed + there, mask=inside, other=0.0)
        last = tl.load(att_shift + there, mask=inside, other=0.0)
        share = tl.load(shares + k, mask=k < WIDTH, other=0.0)
        up = tl.load(
            mix_up + (above + k)[:, None] * MIX + rank[None, :], mask=(k < WIDTH)[:, None], other=0
        )
        unit = tl.load(mix_scales + above + k, mask=k < WIDTH, other=0.0)
        more = _product(tl.zeros([BLOCK_B, BLOCK_K], tl.float32), low_c, up, DOT)
        mixed = n_k + (last - n_k) * (share[None, :] + more * unit[None, :])
        sums = _product(sums, mixed, _tile(w + model * ROWS * WIDTH, n, k, ROWS, WIDTH), DOT)
    unit = tl.load(scales + model * ROWS + n, mask=n < ROWS, other=0.0)
    sums *= unit[None, :]
    sums = tl.where(first >= 4 * WIDTH, _tanh(sums), sums)
    to = on[:, None] & (n < ROWS)[None, :]
    tl.store(projected + row[:, None] * ROWS + n[None, :], sums, mask=to)


def reference_branches(
    normed: Tensor, last: Tensor, low: Tensor, vectors: Tensor, mix_up: Tensor, w: Tensor
) -> Tensor:
    """Stage 2, plainly: from the normed input and the one before [M, B, D].

    ``low`` [M, B, 5 x mix], ``mix_up`` [M, 5 x D, mix], ``w`` [M, 4 x D + decay, D]. Returns k, v,
    r, g and the decay's low rank, side by side, [M, B, 4 x D + decay].
    """
    width = normed.shape[-1]
    lows, ups = low.chunk(5, -1), mix_up.chunk(5, 1)
    found = []
    for c, branch in enumerate(BRANCHES):
        share = vector(vectors, f"att.time_maa_{branch}") + lows[c] @ ups[c].mT
        rows = w[:, c * width : (c + 1) * width if branch != "w" else None]
        found.append((normed + (last - normed) * share) @ rows.mT)
    found[-1] = torch.tanh(found[-1])
    return torch.cat(found, -1)


@triton.jit
def wkv_step_kernel(
    active: tl.tensor,
    projected: tl.tensor,
    normed: tl.tensor,
    att_shift: tl.tensor,
    wkv: tl.tensor,
    y: tl.tensor,
    vectors: tl.tensor,
    decay_up: tl.tensor,
    scales: tl.tensor,
    SLOTS: tl.constexpr,
    WIDTH: tl.constexpr,
    DECAY: tl.constexpr,
) -> None:
    """One head of one slot: ``y`` [M, B, D] = GN(WKV) silu(g); ``wkv`` [M, B, H, 64, 64] advanced.

    The decay is exp(-exp(time_decay + ``decay_up`` [M, D, DECAY] x its low rank)). The head's
    channels of ``att_shift`` become those of ``normed``. Grid: (B x H, M).
    """
    model = tl.program_id(1)
    heads = WIDTH // 64
    head = tl.program_id(0) % heads
    row = model * SLOTS + tl.program_id(0) // heads
    if tl.load(active + row) == 0:
        return
    i = tl.arange(0, 64)
    channel = head * 64 + i
    rank = tl.arange(0, DECAY)
    vectors += model * _VECTORS * WIDTH
    projected += row * (4 * WIDTH + DECAY)
    k = tl.load(projected + channel)
    v = tl.load(projected + WIDTH + channel)
    r = tl.load(projected + 2 * WIDTH + channel)
    g = tl.load(projected + 3 * WIDTH + channel)
    low = tl.load(projected + 4 * WIDTH + rank)
    up = tl.load(decay_up + (model * WIDTH + channel)[:, None] * DECAY + rank[None, :])
    more = tl.sum(up.to(tl.float32) * low[None, :], 1) * tl.load(scales + model * WIDTH + channel)
    decay = tl.exp(-_exp(tl.load(vectors + _DECAY * WIDTH + channel) + more))
    bonus = tl.load(vectors + _BONUS * WIDTH + channel)

    at = wkv + (row * heads + head).to(tl.int64) * 4096 + i[:, None] * 64 + i[None, :]
    state = tl.load(at)
    value = tl.sum(r[:, None] * state, 0) + tl.sum(r * bonus * k, 0) * v
    tl.store(at, decay[:, None] * state + k[:, None] * v[None, :])

    away = value - tl.sum(value, 0) / 64
    away = away / tl.sqrt(tl.sum(away * away, 0) / 64 + _GROUP_NORM_EPSILON)
    weight = tl.load(vectors + _LN_X * WIDTH + channel)
    bias = tl.load(vectors + (_LN_X + 1) * WIDTH + channel)
    there = row * WIDTH + channel
    tl.store(y + there, (away * weight + bias) * g * _sigmoid(g))
    tl.store(att_shift + there, tl.load(normed + there))


def reference_wkv_step(
    projected: Tensor, wkv: Tensor, vectors: Tensor, decay_up: Tensor
) -> tuple[Tensor, Tensor]:
    """Stage 3, plainly: from k, v, r, g and the decay's low rank [M, B, 4 x D + decay].

    ``wkv`` [M, B, H, 64, 64], ``decay_up`` [M, D, decay]. Returns the gated output [M, B, D] and
    the state after the token.
    """
    width = decay_up.shape[1]

    def heads(x: Tensor) -> Tensor:
        return x.reshape(*x.shape[:-1], -1, _HEAD)

    k, v, r, g = (heads(part) for part in projected[..., : 4 * width].chunk(4, -1))

    more = projected[..., 4 * width :] @ decay_up.mT
    decay = heads((-(vector(vectors, "att.time_decay") + more).exp()).exp())
    kv = k[..., :, None] * v[..., None, :]
    bonus = heads(vector(vectors, "att.time_faaaa"))
    value = (r[..., :, None] * (wkv + bonus[..., None] * kv)).sum(-2)
    gn = functional.layer_norm(value, (_HEAD,), eps=64e-5)
    weight, bias = (heads(vector(vectors, f"att.ln_x.{part}")) for part in ("weight", "bias"))
    return ((gn * weight + bias) * functional.silu(g)).flatten(-2), decay[..., None] * wkv + kv


@triton.jit
def output_kernel(
    active: tl.tensor,
    inner: tl.tensor,
    gate: tl.tensor,
    normed: tl.tensor,
    shift: tl.tensor,
    x: tl.tensor,
    w: tl.tensor,
    scales: tl.tensor,
    GATED: tl.constexpr,
    SLOTS: tl.constexpr,
    WIDTH: tl.constexpr,
    INPUTS: tl.constexpr,
    STRIDE: tl.constexpr,
    DOT: tl.constexpr,
    BLOCK_B: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
) -> None:
    """``x`` [M, B, D] += ``w`` [M, D, INPUTS] x ``inner``, rows of which are STRIDE apart.

    With GATED, the stage of the channel mix: the product is multiplied by ``gate``, rows of which
    are STRIDE apart too, and ``shift`` [M, B, D] becomes ``normed``.
    Grid: (D / BLOCK_N, M, slots / BLOCK_B).
    """
    model = tl.program_id(1)
    row, on = _rows(active, SLOTS, BLOCK_B)
    if tl.max(on.to(tl.int32), 0) == 0:
        return
    n = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    sums = tl.zeros([BLOCK_B, BLOCK_N], tl.float32)
    for start in range(0, INPUTS, BLOCK_K):
        k = start + tl.arange(0, BLOCK_K)
        inside = on[:, None] & (k < INPUTS)[None, :]
        a = tl.load(inner + row[:, None] * STRIDE + k[None, :], mask=inside, other=0.0)
        sums = _product(sums, a, _tile(w + model * WIDTH * INPUTS, n, k, WIDTH, INPUTS), DOT)
    sums *= tl.load(scales + model * WIDTH + n, mask=n < WIDTH, other=0.0)[None, :]
    to = on[:, None] & (n < WIDTH)[None, :]
    there = row[:, None] * WIDTH + n[None, :]
    if GATED:
        sums *= tl.load(gate + row[:, None] * STRIDE + n[None, :], mask=to, other=0.0)
        tl.store(shift + there, tl.load(normed + there, mask=to, other=0.0), mask=to)
    tl.store(x + there, tl.load(x + there, mask=to, other=0.0) + sums, mask=to)


def reference_output(x: Tensor, inner: Tensor, w: Tensor, gate: Tensor | None = None) -> Tensor:
    """Stages 4 and 6, plainly: the residual [M, B, D] after ``w`` [M, D, K] x ``inner`` [M, B, K].

    ``gate`` [M, B, D] multiplies the product.
    """
    product = inner @ w.mT
    return x + (product if gate is None else gate * product)


@triton.jit
def ffn_in_kernel(
    active: tl.tensor,
    x: tl.tensor,
    normed: tl.tensor,
    inner: tl.tensor,
    ffn_shift: tl.tensor,
    vectors: tl.tensor,
    w: tl.tensor,
    scales: tl.tensor,
    SLOTS: tl.constexpr,
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
    DOT: tl.constexpr,
    BLOCK_B: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
) -> None:
    """``inner`` [M, B, ROWS] = ``w`` [M, ROWS, D] x (n + (``ffn_shift`` - n) maa), activated.

    n [M, B, D] is LN(``x``) and goes to ``normed``. The first D rows are the receptance (maa_r,
    sigmoid), the others the key (maa_k, relu squared). BLOCK_N divides D.
    Grid: (rows / BLOCK_N, M, slots / BLOCK_B).
    """
    model = tl.program_id(1)
    row, on = _rows(active, SLOTS, BLOCK_B)
    if tl.max(on.to(tl.int32), 0) == 0:
        return
    first = tl.program_id(0) * BLOCK_N
    n = first + tl.arange(0, BLOCK_N)
    vectors += model * _VECTORS * WIDTH
    shares = vectors + tl.where(first < WIDTH, _FFN_MAA_R, _FFN_MAA_K) * WIDTH
    mean, scale = _statistics(x, row * WIDTH, on, WIDTH, BLOCK_B, BLOCK_K)
    sums = tl.zeros([BLOCK_B, BLOCK_N], tl.float32)
    for start in range(0, WIDTH, BLOCK_K):
        k = start + tl.arange(0, BLOCK_K)
        inside = on[:, None] & (k < WIDTH)[None, :]
        weight = tl.load(vectors + _LN2 * WIDTH + k, mask=k < WIDTH, other=0.0)
        bias = tl.load(vectors + (_LN2 + 1) * WIDTH + k, mask=k < WIDTH, other=0.0)
        share = tl.load(shares + k, mask=k < WIDTH, other=0.0)
        there = row[:, None] * WIDTH + k[None, :]
        value = tl.load(x + there, mask=inside, other=0.0)
        n_k = (value - mean[:, None]) * scale[:, None] * weight[None, :] + bias[None, :]
        last = tl.load(ffn_shift + there, mask=inside, other=0.0)
        if tl.program_id(0) == 0:
            tl.store(normed + there, n_k, mask=inside)
        mixed = tl.where(inside, n_k + (last - n_k) * share[None, :], 0.0)
        sums = _product(sums, mixed, _tile(w + model * ROWS * WIDTH, n, k, ROWS, WIDTH), DOT)
    sums *= tl.load(scales + model * ROWS + n, mask=n < ROWS, other=0.0)[None, :]
    key = tl.maximum(sums, 0.0)
    sums = tl.where(first < WIDTH, _sigmoid(sums), key * key)
    to = on[:, None] & (n < ROWS)[None, :]
    tl.store(inner + row[:, None] * ROWS + n[None, :], sums, mask=to)


def reference_ffn_in(x: Tensor, last: Tensor, vectors: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """Stage 5, plainly: from the residual and the last normed input [M, B, D].

    ``w`` [M, D + F, D]. Returns the normed input [M, B, D] and the activated receptance and key,
    side by side, [M, B, D + F].
    """
    width = x.shape[-1]
    normed = layer_norm(x, vectors, "ln2")
    r, k = (
        (normed + (last - normed) * vector(vectors, f"ffn.time_maa_{name}")) @ rows.mT
        for name, rows in (("r", w[:, :width]), ("k", w[:, width:]))
    )
    return normed, torch.cat((torch.sigmoid(r), torch.relu(k).square()), -1)


@triton.jit
def head_kernel(
    active: tl.tensor,
    x: tl.tensor,
    logits: tl.tensor,
    final: tl.tensor,
    w: tl.tensor,
    scales: tl.tensor,
    SLOTS: tl.constexpr,
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
    DOT: tl.constexpr,
    BLOCK_B: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
) -> None:
    """``logits`` [M, B, ROWS] = ``w`` [M, ROWS, D] x LN(``x``).

    Grid: (rows / BLOCK_N, M, slots / BLOCK_B).
    """
    model = tl.program_id(1)
    row, on = _rows(active, SLOTS, BLOCK_B)
    if tl.max(on.to(tl.int32), 0) == 0:
        return
    n = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    final += model * 2 * WIDTH
    mean, scale = _statistics(x, row * WIDTH, on, WIDTH, BLOCK_B, BLOCK_K)
    sums = tl.zeros([BLOCK_B, BLOCK_N], tl.float32)
    for start in range(0, WIDTH, BLOCK_K):
        k = start + tl.arange(0, BLOCK_K)
        inside = on[:, None] & (k < WIDTH)[None, :]
        weight = tl.load(final + k, mask=k < WIDTH, other=0.0)
        bias = tl.load(final + WIDTH + k, mask=k < WIDTH, other=0.0)
        value = tl.load(x + row[:, None] * WIDTH + k[None, :], mask=inside, other=0.0)
        n_k = (value - mean[:, None]) * scale[:, None] * weight[None, :] + bias[None, :]
        n_k = tl.where(inside, n_k, 0.0)
        sums = _product(sums, n_k, _tile(w + model * ROWS * WIDTH, n, k, ROWS, WIDTH), DOT)
    sums *= tl.load(scales + model * ROWS + n, mask=n < ROWS, other=0.0)[None, :]
    to = on[:, None] & (n < ROWS)[None, :]
    tl.store(logits + row[:, None] * ROWS + n[None, :], sums, mask=to)


def reference_head(x: Tensor, final: Tensor, w: Tensor) -> Tensor:
    """The head, plainly: logits [M, B, V] of the residual [M, B, D].

    ``final`` [M, 2, D], ``w`` [M, V, D].
    """
    normed = functional.layer_norm(x, x.shape[-1:]) * final[:, :1] + final[:, 1:]
    return normed @ w.mT


def reference_decode(weights: Weights, streams: Streams, dtype: torch.dtype) -> Streams:
    """One token, plainly, in ``dtype``: the buffers as they should be afterwards.

    Computes all slots, and leaves those that are not active as they were.
    """
    s = streams
    models = torch.arange(weights.shape.models, device=s.tokens.device)[:, None]
    on = s.active[..., None] != 0
    x = weights.embedding[models, torch.where(s.active != 0, s.tokens, 0)].to(dtype)
    att, ffn, states = [], [], []
    for i in range(weights.shape.layers):
        vectors = weights.vectors[i].to(dtype)

        def dense(matrix: str, layer: int = i) -> Tensor:
            found: Tensor = getattr(weights, matrix)[layer].dense(dtype)
            return found

        last, wkv = s.att_shift[i].to(dtype), s.wkv[i].to(dtype)
        normed, low = reference_mix_down(x, last, vectors, dense("mix_down"))
        projected = reference_branches(
            normed, last, low, vectors, dense("mix_up"), dense("branches")
        )
        y, new = reference_wkv_step(projected, wkv, vectors, dense("decay_up"))
        x = reference_output(x, y, dense("output"))
        att.append(torch.where(on, normed, last))
        states.append(torch.where(on[..., None, None], new, wkv))
        last = s.ffn_shift[i].to(dtype)
        normed, inner = reference_ffn_in(x, last, vectors, dense("ffn_in"))
        gate, key = inner[..., : weights.shape.width], inner[..., weights.shape.width :]
        x = reference_output(x, key, dense("ffn_out"), gate)
        ffn.append(torch.where(on, normed, last))
    logits = reference_head(x, weights.final.to(dtype), weights.head.dense(dtype))
    return Streams(
        tokens=s.tokens,
        active=s.active,
        logits=torch.where(on, logits, s.logits.to(dtype)),
        att_shift=torch.stack(att),
        ffn_shift=torch.stack(ffn),
        wkv=torch.stack(states),
    )


def vector(vectors: Tensor, name: str) -> Tensor:
    """One vector of each model, [M, 1, D]."""
    return vectors[:, _ROW[name], None]


def layer_norm(x: Tensor, vectors: Tensor, name: str) -> Tensor:
    """LN of ``x`` [M, B, D] with the weight and bias of that name among ``vectors``."""
    normed = functional.layer_norm(x, x.shape[-1:])
    return normed * vector(vectors, f"{name}.weight") + vector(vectors, f"{name}.bias")


@dataclass(frozen=True, slots=True)
class Tiling:
    """How launches for a number of slots are cut up.

    ``dot``: whether tensor cores multiply. ``slots``: slots a program, a power of two.
    """

    dot: bool
    slots: int

    @classmethod
    def of(cls, slots: int) -> "Tiling":
        """The tiling for ``slots`` slots a model."""
        enough = 1 << (slots - 1).bit_length()
        return cls(False, enough) if slots <= FEW else cls(True, min(_MOST, max(16, enough)))

    def blocks(self, rows: int, inputs: int, width: int) -> dict[str, Any]:
        """Constants of a kernel whose programs take ``rows`` outputs each where slots are few.

        There, so many rows a program give an H200 one or two programs for each of its 132
        multiprocessors, and 8,192 products at a time leave a thread 64 registers for them. The
        interpreter is quickest with few large programs.
        """
        if INTERPRETED:
            rows, step = width & -width, 512
        elif self.dot:
            rows, step = (32 if self.slots < _MOST else 64), 64
        else:
            step = 8192 // (self.slots * rows)
        across = min(step, 1 << (inputs - 1).bit_length())
        return {"DOT": self.dot, "BLOCK_B": self.slots, "BLOCK_N": rows, "BLOCK_K": across}


_MOST = 64  # slots of one program
# Of one program. With eight, Hopper's tensor cores want other layouts for the two products of a
# tile, and the sums are carried from one to the other and back at every step.
_WARPS = 4

_FEW_ROWS = {"mix_down": 8, "branches": 32, "output": 8, "ffn_in": 16, "ffn_out": 8, "head": 8}


@dataclass(frozen=True, slots=True)
class Launch:
    """A kernel, ready to be launched: ``grid``, tensors in order, constants, warps a program.

    ``stage`` and ``layer`` (0 for the head) say which part of a step it is.
    """

    stage: str
    layer: int
    kernel: Any
    grid: tuple[int, ...]
    tensors: tuple[Tensor, ...]
    constants: dict[str, Any]
    warps: int

    def __call__(self) -> None:
        """Put it on the current stream."""
        self.kernel[self.grid](*self.tensors, **self.constants, num_warps=self.warps)


class Decoder:
    """The launches of one step, over buffers of its own, for ``slots`` slots of each model.

    ``streams`` are the caller's to read and write between steps. ``launches`` are those of a step,
    in order; what the first one writes into ``record`` int32 [M, B], :meth:`step` hands on.
    """

    def __init__(self, weights: Weights, slots: int) -> None:
        device = weights.embedding.device
        self.weights = weights
        self.slots = slots
        self.streams = Streams.allocate(weights.shape, slots, device)
        self.scratch = Scratch.allocate(weights.shape, slots, device)
        self.record = torch.empty_like(self.streams.tokens)
        self.launches = tuple(_launches(weights, self.streams, self.scratch, self.record, slots))

    def step(self, record: Tensor) -> None:
        """Decode the token of every active slot; ``record`` int32 [M, B] takes the tokens."""
        for launch in self.launches:
            launch()
        record.copy_(self.record)


def _launches(
    weights: Weights, streams: Streams, scratch: Scratch, record: Tensor, slots: int
) -> Iterator[Launch]:
    """All launches of a step."""
    shape, s, t, tiling = weights.shape, streams, scratch, Tiling.of(slots)
    width, ffn_rows = shape.width, shape.width + shape.hidden
    low_rows, branch_rows = 5 * shape.mix, 4 * shape.width + shape.decay
    # The channel mix's key: rows as far apart as those of `inner`, of which it is a part.
    key = t.inner[..., width:]

    def launch(
        stage: str, layer: int, kernel: Any, rows: int, *tensors: Tensor, **sizes: Any
    ) -> Launch:
        inputs = sizes.get("INPUTS", width)
        constants = {**sizes, **tiling.blocks(_FEW_ROWS[stage], inputs, width)}
        constants |= {"SLOTS": slots, "WIDTH": width}
        across = triton.cdiv(slots, tiling.slots)
        grid = (triton.cdiv(rows, constants["BLOCK_N"]), shape.models, across)
        return Launch(stage, layer, kernel, grid, tensors, constants, _WARPS)

    for i in range(shape.layers):
        vectors, att_shift, ffn_shift = weights.vectors[i], s.att_shift[i], s.ffn_shift[i]
        down, up, branches = weights.mix_down[i], weights.mix_up[i], weights.branches[i]
        decay, output = weights.decay_up[i], weights.output[i]
        ffn_in, ffn_out = weights.ffn_in[i], weights.ffn_out[i]
        yield launch(
            "mix_down",
            i,
            mix_down_kernel,
            low_rows,
            *(s.active, s.tokens, record, weights.embedding, t.x, t.normed, t.low, att_shift),
            *(vectors, down.steps, down.scales),
            FIRST=i == 0,
            ROWS=low_rows,
            VOCABULARY=shape.vocabulary,
        )
        yield launch(
            "branches",
            i,
            branches_kernel,
            branch_rows,
            *(s.active, t.normed, t.low, att_shift, t.projected, vectors),
            *(up.steps, up.scales, branches.steps, branches.scales),
            MIX=shape.mix,
            ROWS=branch_rows,
        )
        yield Launch(
            "wkv_step",
            i,
            wkv_step_kernel,
            (slots * shape.heads, shape.models),
            (
                *(s.active, t.projected, t.normed, att_shift, s.wkv[i], t.y, vectors),
                *(decay.steps, decay.scales),
            ),
            {"SLOTS": slots, "WIDTH": width, "DECAY": shape.decay},
            _WARPS,
        )
        yield launch(
            "output",
            i,
            output_kernel,
            width,
            *(s.active, t.y, t.y, t.normed, att_shift, t.x, output.steps, output.scales),
            GATED=False,
            INPUTS=width,
            STRIDE=width,
        )
        yield launch(
            "ffn_in",
            i,
            ffn_in_kernel,
            ffn_rows,
            *(s.active, t.x, t.normed, t.inner, ffn_shift, vectors, ffn_in.steps, ffn_in.scales),
            ROWS=ffn_rows,
        )
        yield launch(
            "ffn_out",
            i,
            output_kernel,
            width,
            *(s.active, key, t.inner, t.normed, ffn_shift, t.x, ffn_out.steps, ffn_out.scales),
            GATED=True,
            INPUTS=shape.hidden,
            STRIDE=ffn_rows,
        )
    head = weights.head
    yield launch(
        "head",
        0,
        head_kernel,
        shape.vocabulary,
        *(s.active, t.x, s.logits, weights.final, head.steps, head.scales),
        ROWS=shape.vocabulary,
    )


_TYPES: Final = {torch.float32: "*fp32", torch.int32: "*i32", torch.int8: "*i8"}


def _variants() -> Iterator[Variant]:
    """The kernels of the studio models, for one slot and for many.

    Each kernel on all targets; plain products on CUDA's, tensor cores on one of either kind.
    """
    shape = Shape(models=2, layers=1, width=512, hidden=1792, mix=32, decay=64, vocabulary=768)
    weights = Weights.empty(shape, "meta")
    for slots in (1, 1024):
        for launch in Decoder(weights, slots).launches:
            if slots > 1 and launch.stage == "wkv_step":
                continue  # a slot a program, however many there are
            tensors = zip(launch.kernel.arg_names, launch.tensors, strict=False)
            types = {name: _TYPES[tensor.dtype] for name, tensor in tensors}
            variant = Variant(launch.kernel, types, launch.constants, launch.warps)
            if launch.stage == "wkv_step":
                yield variant
            elif slots == 1:
                yield replace(variant, targets=("sm_80", "sm_90"))
            else:
                yield replace(variant, targets=("sm_90", "gfx942"))


VARIANTS: Final = tuple(_variants())
