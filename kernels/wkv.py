"""The WKV operator of RWKV-6 on GPUs, by chunks, forward and backward; knows nothing of models.

Per head, with the state S [64 (key i), 64 (value j)], the decay w = exp(log_decay), the bonus u:

    y[j]    = sum_i r[i] * (S[i, j] + u[i] * k[i] * v[j])
    S[i, j] = w[i] * S[i, j] + k[i] * v[j]

A light sweep carries the state from chunk to chunk and leaves it at each border; with it, all
chunks are independent. The backward pass is a second sweep, of the state's gradient from the last
chunk to the first, and again all chunks at once.

Within a chunk, what reaches token t from an earlier token s is weighted by exp of the sum of the
log decays between them. Cut at the chunk's middle, the sum is a part for t and a part for s, and
all pairs are one matrix product. Where tokens decay so fast that these parts lose digits or their
exp overflows, the pairs are taken level by level instead: halves of the chunk, halves of the
halves, down to neighbours. A pair belongs to the level where t lies in the upper and s in the lower
half of one block, and is cut at that block's middle: no factor exceeds 1, and nothing cancels.

Everything is computed in float32; matrix products as three of TF32, nearly as exact.

The plain references are ``wkv_sequential`` and ``wkv_chunked`` of :mod:`lofid.rwkv.wkv`. After
Peng et al., "Eagle and Finch" (2024), and, for the pairs within a chunk, Yang et al., "Gated Linear
Attention Transformers with Hardware-Efficient Training" (2023), section 4.3.
"""

from typing import Any, Final

import torch
import triton
import triton.language as tl
from torch import Tensor

from lofid.kernels.targets import Variant

_N = tl.constexpr(64)  # head size
_C = tl.constexpr(16)  # tokens a chunk
_LEVELS = tl.constexpr(4)  # binary logarithm of it
_WHOLE = tl.constexpr(-1)  # all levels at once, cut at the chunk's middle
_FAST = tl.constexpr(-40.0)  # log decay of half a chunk below which the levels are taken
_K = tl.constexpr(32)  # keys at a time where pairs of tokens meet
_J = tl.constexpr(16)  # values at a time where they are summed over
_V = 32  # values a program of a sweep carries
_WARPS = 1  # of a program for one chunk: tiles are so small that more would do the same work twice

CHUNK: Final = 16
"""Tokens a chunk."""


@triton.jit
def _rows(
    x: tl.tensor,
    place: tl.tensor,
    first: tl.tensor,
    length: tl.tensor,
    heads: tl.tensor,
    columns: tl.tensor,
) -> tl.tensor:
    """The chunk of ``x`` [T, H, 64] at ``place`` that begins with token ``first``.

    [C, columns] in float32, 0 beyond the text.
    """
    t = first + tl.arange(0, _C)
    at = place + t[:, None].to(tl.int64) * heads * _N + columns[None, :]
    return tl.load(x + at, mask=(t < length)[:, None], other=0.0).to(tl.float32)


@triton.jit
def _store(
    x: tl.tensor,
    values: tl.tensor,
    place: tl.tensor,
    first: tl.tensor,
    length: tl.tensor,
    heads: tl.tensor,
    columns: tl.tensor,
) -> None:
    """The inverse of ``_rows``, in the type of ``x``."""
    t = first + tl.arange(0, _C)
    at = place + t[:, None].to(tl.int64) * heads * _N + columns[None, :]
    tl.store(x + at, values.to(x.dtype.element_ty), mask=(t < length)[:, None])


@triton.jit
def _high(x: tl.tensor) -> tl.tensor:
    """The part of ``x`` that TF32 holds exactly; it also holds what is left, but for 2^-22."""
    return (x.to(tl.int32, bitcast=True) & -8192).to(tl.float32, bitcast=True)


@triton.jit
def _product(a: tl.tensor, b: tl.tensor, sums: tl.tensor, precision: tl.constexpr) -> tl.tensor:
    """``sums`` + ``a`` x ``b``, as nearly exact as float32."""
    if precision == "tf32":
        a_high = _high(a)
        b_high = _high(b)
        sums = tl.dot(a - a_high, b_high, acc=sums, input_precision="tf32")
        sums = tl.dot(a_high, b - b_high, acc=sums, input_precision="tf32")
        return tl.dot(a_high, b_high, acc=sums, input_precision="tf32")
    return tl.dot(a, b, acc=sums, input_precision=precision)


@triton.jit
def _along(path: tl.tensor, x: tl.tensor, sums: tl.tensor, precision: tl.constexpr) -> tl.tensor:
    """``sums`` + ``path`` x ``x``, where a path [C, C] is of 0, 1 and -1."""
    if precision == "tf32":
        high = _high(x)
        sums = tl.dot(path, x - high, acc=sums, input_precision="tf32")
        return tl.dot(path, high, acc=sums, input_precision="tf32")
    return tl.dot(path, x, acc=sums, input_precision=precision)


@triton.jit
def _kept(path: tl.tensor, decay: tl.tensor, precision: tl.constexpr) -> tl.tensor:
    """What is left [C, columns] along a path."""
    return tl.exp(_along(path, decay, tl.zeros_like(decay), precision))


@triton.jit
def _decays(
    log_decay: tl.tensor,
    place: tl.tensor,
    first: tl.tensor,
    length: tl.tensor,
    heads: tl.tensor,
    columns: tl.tensor,
) -> tl.tensor:
    """A chunk's log decays [C, columns], bounded where exp is 0 anyway: no infinity, no NaN."""
    return tl.maximum(_rows(log_decay, place, first, length, heads, columns), -1e4)


@triton.jit
def _earlier() -> tl.tensor:
    """[C (t), C (x)]: 1 where token x lies before token t."""
    t = tl.arange(0, _C)
    return (t[None, :] < t[:, None]).to(tl.float32)


@triton.jit
def _later() -> tl.tensor:
    """[C (t), C (x)]: 1 where token x lies after token t."""
    t = tl.arange(0, _C)
    return (t[None, :] > t[:, None]).to(tl.float32)


@triton.jit
def _levels(decay: tl.tensor) -> tuple[tl.tensor, tl.tensor]:
    """The first level to take for these log decays [C, columns], and the one after the last."""
    t = tl.arange(0, _C)[:, None]
    lower = tl.min(tl.sum(tl.where(t < _C // 2, decay, 0.0), 0), 0)
    upper = tl.min(tl.sum(tl.where(t < _C // 2, 0.0, decay), 0), 0)
    slow = tl.minimum(lower, upper) > _FAST
    return tl.where(slow, _WHOLE, 0), tl.where(slow, _WHOLE + 1, _LEVELS)


@triton.jit
def _cut(level: tl.tensor) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """How the pairs of a level are cut.

    Two matrices [C, C] of 0, 1 and -1 that sum log decays: from the middle to before the later
    token, and from after the earlier token to the middle. Third, which pairs [C (t), C (s)] these
    are.
    """
    t = tl.arange(0, _C)[:, None]
    x = tl.arange(0, _C)[None, :]
    middle = _C // 2
    later = ((x >= middle) & (x < t)).to(tl.float32) - ((x >= t) & (x < middle)).to(tl.float32)
    earlier = ((x > t) & (x < middle)).to(tl.float32) - ((x >= middle) & (x <= t)).to(tl.float32)
    half = _LEVELS - 1 - tl.maximum(level, 0)
    upper = (t >> half) % 2 == 1
    between = ((x < t) & upper) | ((x > t) & (upper == 0))
    between = (between & (t >> half == x >> half)).to(tl.float32)
    pairs = (t >> half == (x >> half) + 1) & upper
    whole = level == _WHOLE
    return (
        tl.where(whole, later, between),
        tl.where(whole, earlier, between),
        tl.where(whole, x < t, pairs),
    )


@triton.jit
def _place(length: tl.tensor, heads: tl.tensor) -> tl.tensor:
    """Where the text of this program's stream and head begins in [B, T, H, 64]."""
    n = (tl.program_id(0) // heads).to(tl.int64)
    return (n * length * heads + tl.program_id(0) % heads) * _N


@triton.jit
def _sweep(
    a: tl.tensor,
    b: tl.tensor,
    log_decay: tl.tensor,
    state: tl.tensor,
    borders: tl.tensor,
    final: tl.tensor,
    length: tl.tensor,
    heads: tl.tensor,
    chunks: tl.tensor,
    backwards: tl.constexpr,
    columns: tl.constexpr,
    precision: tl.constexpr,
) -> None:
    """The scan S[i, j] = w[i] S[i, j] + a[i] b[j], which leaves S before each chunk.

    a, b [B, T, H, 64]; log_decay [B, T, H, 64] float32; state, final [B, H, 64, 64] float32;
    borders [B, H, chunks, 64, 64] float32. ``backwards`` runs from the last token to the first and
    applies the decay of a token after its addition: the gradient of the state. One program a
    stream and head, and ``columns`` values.
    """
    place = _place(length, heads)
    i = tl.arange(0, _N)
    j = tl.program_id(1) * columns + tl.arange(0, columns)
    square = i[:, None] * _N + j[None, :]
    n = tl.program_id(0).to(tl.int64)
    carried = tl.load(state + n * _N * _N + square)
    for step in range(chunks):
        c = chunks - 1 - step if backwards else step
        tl.store(borders + (n * chunks + c) * _N * _N + square, carried)
        first = c * _C
        decay = _decays(log_decay, place, first, length, heads, i)
        to_border = _earlier() if backwards else _later()
        added = _rows(a, place, first, length, heads, i) * _kept(to_border, decay, precision)
        kept = tl.exp(tl.sum(decay, 0))[:, None] * carried
        bj = _rows(b, place, first, length, heads, j)
        carried = _product(tl.trans(added), bj, kept, precision)
    tl.store(final + n * _N * _N + square, carried)


@triton.jit
def _outputs(
    r: tl.tensor,
    k: tl.tensor,
    a: tl.tensor,
    log_decay: tl.tensor,
    u: tl.tensor,
    borders: tl.tensor,
    out: tl.tensor,
    length: tl.tensor,
    heads: tl.tensor,
    chunks: tl.tensor,
    backwards: tl.constexpr,
    precision: tl.constexpr,
) -> None:
    """The outputs y or, ``backwards``, the gradient of the values, of a chunk, stream and head.

    Both are a sum over other tokens of ``a`` [B, T, H, 64], weighted by how r of the later of two
    tokens meets k of the earlier: for the outputs, ``a`` are the values of this and earlier tokens
    and ``borders`` the state before each chunk; for the gradient, ``a`` are the outputs' gradients
    of this and later tokens and ``borders`` the gradient of the state after each chunk. ``out``
    [B, T, H, 64]; r, k, log_decay as the operator's; u [H, 64] and borders [B, H, chunks, 64, 64]
    float32.
    """
    place = _place(length, heads)
    c = tl.program_id(1)
    first = c * _C
    j = tl.arange(0, _N)
    t = tl.arange(0, _C)
    base = (tl.program_id(0).to(tl.int64) * chunks + c) * _N * _N
    scores = tl.zeros((_C, _C), tl.float32)
    found = tl.zeros((_C, _N), tl.float32)
    for block in range(_N // _K):
        i = block * _K + tl.arange(0, _K)
        ri = _rows(r, place, first, length, heads, i)
        ki = _rows(k, place, first, length, heads, i)
        ui = tl.load(u + tl.program_id(0) % heads * _N + i)[None, :]
        decay = _decays(log_decay, place, first, length, heads, i)
        scores += tl.where(t[:, None] == t[None, :], tl.sum(ri * ui * ki, 1)[:, None], 0.0)
        level, end = _levels(decay)
        while level < end:
            to_later, to_earlier, pairs = _cut(level)
            ahead = ri * _kept(to_later, decay, precision)
            behind = ki * _kept(to_earlier, decay, precision)
            met = _product(ahead, tl.trans(behind), tl.zeros_like(scores), precision)
            scores += tl.where(pairs, met, 0.0)
            level += 1
        if backwards:
            at_border = ki * _kept(_later(), decay, precision)
        else:
            at_border = ri * _kept(_earlier(), decay, precision)
        border = tl.load(borders + base + i[:, None] * _N + j[None, :])
        found = _product(at_border, border, found, precision)
    if backwards:
        scores = tl.trans(scores)
    aj = _rows(a, place, first, length, heads, j)
    found = _product(scores, aj, found, precision)
    _store(out, found, place, first, length, heads, j)


@triton.jit
def _gradients(
    dy: tl.tensor,
    r: tl.tensor,
    k: tl.tensor,
    v: tl.tensor,
    log_decay: tl.tensor,
    u: tl.tensor,
    borders: tl.tensor,
    dborders: tl.tensor,
    dr: tl.tensor,
    dk: tl.tensor,
    dlog: tl.tensor,
    du: tl.tensor,
    length: tl.tensor,
    heads: tl.tensor,
    chunks: tl.tensor,
    precision: tl.constexpr,
) -> None:
    """The gradients by keys, of ``_K`` keys of a chunk, stream and head a program.

    ``dy`` [B, T, H, 64] float32 is that of the outputs, ``dborders`` [B, H, chunks, 64, 64] that of
    the state after each chunk; dr, dk as r, k; dlog as log_decay; du [B, H, chunks, 64] float32,
    each chunk's part. A factor that is exp of a sum of log decays hands its gradient times itself
    on to each of them, by the transposed sum.
    """
    place = _place(length, heads)
    c = tl.program_id(1)
    first = c * _C
    i = tl.program_id(2) * _K + tl.arange(0, _K)
    t = tl.arange(0, _C)
    part = tl.program_id(0).to(tl.int64) * chunks + c

    # Sums over the values: where dy of a token meets v of another, and both meet the borders.
    dscores = tl.zeros((_C, _C), tl.float32)
    dr_i = tl.zeros((_C, _K), tl.float32)
    dk_i = tl.zeros((_C, _K), tl.float32)
    passing_all = tl.zeros((_K,), tl.float32)
    for block in range(_N // _J):
        j = block * _J + tl.arange(0, _J)
        square = part * _N * _N + i[:, None] * _N + j[None, :]
        vj = _rows(v, place, first, length, heads, j)
        dyj = _rows(dy, place, first, length, heads, j)
        state = tl.load(borders + square)
        dstate = tl.load(dborders + square)
        dscores = _product(dyj, tl.trans(vj), dscores, precision)
        dr_i = _product(dyj, tl.trans(state), dr_i, precision)
        dk_i = _product(vj, tl.trans(dstate), dk_i, precision)
        passing_all += tl.sum(state * dstate, 1)

    # What passes over the chunk's borders.
    ri = _rows(r, place, first, length, heads, i)
    ki = _rows(k, place, first, length, heads, i)
    decay = _decays(log_decay, place, first, length, heads, i)
    dr_i *= _kept(_earlier(), decay, precision)
    dk_i *= _kept(_later(), decay, precision)
    dlog_i = _along(_later(), ri * dr_i, tl.zeros_like(decay), precision)
    dlog_i = _along(_earlier(), ki * dk_i, dlog_i, precision)
    dlog_i += (passing_all * tl.exp(tl.sum(decay, 0)))[None, :]

    # What passes between tokens within it.
    level, end = _levels(decay)
    while level < end:
        to_later, to_earlier, pairs = _cut(level)
        kept_r = _kept(to_later, decay, precision)
        kept_k = _kept(to_earlier, decay, precision)
        met = tl.where(pairs, dscores, 0.0)
        zero = tl.zeros_like(decay)
        dr_pairs = kept_r * _product(met, ki * kept_k, zero, precision)
        dk_pairs = kept_k * _product(tl.trans(met), ri * kept_r, zero, precision)
        dlog_i = _along(tl.trans(to_later), ri * dr_pairs, dlog_i, precision)
        dlog_i = _along(tl.trans(to_earlier), ki * dk_pairs, dlog_i, precision)
        dr_i += dr_pairs
        dk_i += dk_pairs
        level += 1

    ui = tl.load(u + tl.program_id(0) % heads * _N + i)[None, :]
    match = tl.sum(tl.where(t[:, None] == t[None, :], dscores, 0.0), 1)[:, None]
    _store(dlog, dlog_i, place, first, length, heads, i)
    _store(dr, dr_i + ui * ki * match, place, first, length, heads, i)
    _store(dk, dk_i + ui * ri * match, place, first, length, heads, i)
    tl.store(du + part * _N + i, tl.sum(ri * ki * match, 0))


def _precision() -> str:
    """How matrix products of float32 are taken: AMD's units have float32 proper."""
    return "ieee" if torch.version.hip else "tf32"


def _swept(
    a: Tensor, b: Tensor, log_decay: Tensor, state: Tensor, backwards: bool
) -> tuple[Tensor, Tensor]:
    """The state before each chunk [B, H, chunks, 64, 64] and after the last [B, H, 64, 64]."""
    batch, length, heads, size = a.shape
    chunks = triton.cdiv(length, CHUNK)
    borders = a.new_empty((batch, heads, chunks, size, size), dtype=torch.float32)
    final = torch.empty_like(state)
    _sweep[(batch * heads, size // _V)](
        a,
        b,
        log_decay,
        state,
        borders,
        final,
        length,
        heads,
        chunks,
        backwards=backwards,
        columns=_V,
        precision=_precision(),
    )
    return borders, final


def _summed(
    r: Tensor,
    k: Tensor,
    a: Tensor,
    log_decay: Tensor,
    u: Tensor,
    borders: Tensor,
    out: Tensor,
    backwards: bool,
) -> None:
    batch, length, heads, _ = r.shape
    chunks = borders.shape[2]
    _outputs[(batch * heads, chunks)](
        r,
        k,
        a,
        log_decay,
        u,
        borders,
        out,
        length,
        heads,
        chunks,
        backwards=backwards,
        precision=_precision(),
        num_warps=_WARPS,
    )


@torch.library.custom_op("lofid::wkv", mutates_args=())
def _wkv(
    r: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, u: Tensor, state: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    borders, final = _swept(k, v, log_decay, state, backwards=False)
    y = torch.empty(r.shape, dtype=torch.float32, device=r.device)
    _summed(r, k, v, log_decay, u, borders, y, backwards=False)
    return y, final, borders


@_wkv.register_fake
def _(
    r: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, u: Tensor, state: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    batch, length, heads, size = r.shape
    chunks = (length + CHUNK - 1) // CHUNK
    return (
        r.new_empty(r.shape, dtype=torch.float32),
        torch.empty_like(state),
        r.new_empty((batch, heads, chunks, size, size), dtype=torch.float32),
    )


@torch.library.custom_op("lofid::wkv_backward", mutates_args=())
def _wkv_backward(
    dy: Tensor,
    dfinal: Tensor,
    r: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor,
    u: Tensor,
    borders: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    batch, length, heads, size = r.shape
    chunks = borders.shape[2]
    dborders, dstate = _swept(r, dy, log_decay, dfinal, backwards=True)
    dr, dk, dv, dlog = (torch.empty_like(x) for x in (r, k, v, log_decay))
    du = dy.new_empty((batch, heads, chunks, size))
    _summed(r, k, dy, log_decay, u, dborders, dv, backwards=True)
    _gradients[(batch * heads, chunks, size // _K.value)](
        dy,
        r,
        k,
        v,
        log_decay,
        u,
        borders,
        dborders,
        dr,
        dk,
        dlog,
        du,
        length,
        heads,
        chunks,
        precision=_precision(),
        num_warps=_WARPS,
    )
    return dr, dk, dv, dlog, du.sum((0, 2)), dstate


@_wkv_backward.register_fake
def _(
    dy: Tensor,
    dfinal: Tensor,
    r: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor,
    u: Tensor,
    borders: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    dr, dk, dv, dlog, du, dstate = (torch.empty_like(x) for x in (r, k, v, log_decay, u, dfinal))
    return dr, dk, dv, dlog, du, dstate


def _setup_context(
    ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor, Tensor]
) -> None:
    ctx.set_materialize_grads(False)  # nobody has a gradient of the borders, which are large
    *without_state, _ = inputs
    ctx.save_for_backward(*without_state, output[2])


def _backward(
    ctx: Any, dy: Tensor | None, dfinal: Tensor | None, _: Tensor | None
) -> tuple[Tensor, ...]:
    r, borders = ctx.saved_tensors[0], ctx.saved_tensors[-1]
    if dy is None:
        dy = r.new_zeros(r.shape, dtype=torch.float32)
    if dfinal is None:
        batch, heads, _chunks, keys, values = borders.shape
        dfinal = borders.new_zeros((batch, heads, keys, values))
    gradients: tuple[Tensor, ...] = _wkv_backward(
        dy.contiguous(), dfinal.contiguous(), *ctx.saved_tensors
    )
    return gradients


_wkv.register_autograd(_backward, setup_context=_setup_context)


def wkv(
    r: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, u: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    """The operator, differentiable in every input, on a GPU.

    ``r``, ``k``, ``v`` [B, T, H, 64] are float32, float16 or bfloat16, ``log_decay`` (at most 0,
    -inf allowed) of the same shape, the bonus ``u`` [H, 64] and ``state`` [B, H, 64, 64] float32;
    T is at least 1. Returns y [B, T, H, 64] and the state after the last token, both float32. The
    backward pass needs what the forward one keeps: the state before each chunk, 1 kB a token and
    head. Sums run in a fixed order: the same inputs give the same bits on the same GPU.
    """
    y, final, _ = _wkv(
        *(x.contiguous() for x in (r, k, v)),
        *(x.float().contiguous() for x in (log_decay, u, state)),
    )
    return y, final


def _variants(kind: str, precision: str, target: str) -> tuple[Variant, ...]:
    """The forward sweep and outputs, the backward ones, the gradients."""
    x, f, n = "*" + kind, "*fp32", "i32"
    sizes = {"length": n, "heads": n, "chunks": n}
    sweep = {"log_decay": f, "state": f, "borders": f, "final": f, **sizes}
    pairs = {"r": x, "k": x, "log_decay": f, "u": f, "borders": f, **sizes}
    keys = dict.fromkeys(("dy", "dborders", "dlog", "du"), f)
    forwards = {"backwards": False, "precision": precision}
    back = {"backwards": True, "precision": precision}
    of = (target,)
    return (
        Variant(_sweep, {"a": x, "b": x, **sweep}, {"columns": _V, **forwards}, targets=of),
        Variant(_outputs, {**pairs, "a": x, "out": f}, forwards, _WARPS, targets=of),
        Variant(_sweep, {"a": x, "b": f, **sweep}, {"columns": _V, **back}, targets=of),
        Variant(_outputs, {**pairs, "a": f, "out": x}, back, _WARPS, targets=of),
        Variant(
            _gradients,
            {**pairs, **keys, "v": x, "dr": x, "dk": x},
            {"precision": precision},
            _WARPS,
            targets=of,
        ),
    )


# All on one target, and each kernel on the others.
VARIANTS: Final = (
    *_variants("bf16", "tf32", "sm_90"),
    *_variants("fp32", "tf32", "sm_80")[2:],
    *_variants("bf16", "ieee", "gfx942")[2:],
)
"""What of this module is launched, for :mod:`lofid.kernels.targets`."""
