"""The WKV operator of RWKV-6: a linear attention with a decay that depends on the data.

Per head, with the state S [64 (key i), 64 (value j)], the decay w = exp(log_decay), the bonus u:

    y[j]    = sum_i r[i] * (S[i, j] + u[i] * k[i] * v[j])
    S[i, j] = w[i] * S[i, j] + k[i] * v[j]

Three forms of the same operator: the recurrence as written (the oracle), a chunked form in plain
torch for any device, and compiled scans for one CPU thread (``wkv_scan``); a fourth, for GPUs, is
:mod:`lofid.kernels.wkv`, and ``wkv_operator`` takes the fastest. All take r, k, v and log_decay as
[B, T, H, 64], u as [H, 64] and the initial state as [B, H, 64, 64], and return y [B, T, H, 64] and
the final state; all are differentiable in every input. This module knows nothing of models.
"""

from importlib.util import find_spec
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lofid.compiled import compiled

CHUNK = 16
"""Tokens a chunk of ``wkv_chunked``."""

_LEAST_LOG_DECAY = -8.0
"""Bound of ``wkv_chunked``: half a chunk at this decay, exp(64), still fits float32."""

_N = 64

_TRITON: Final = find_spec("triton") is not None

# The scans take C-contiguous float32 arrays, and ``fastmath`` lets their sums be vectorised.
_Array = NDArray[np.float32]


def wkv_sequential(
    r: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, u: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    """The recurrence, token by token, in the precision of its inputs: slow, the oracle."""
    outputs = []
    for t in range(r.shape[1]):
        kv = k[:, t, :, :, None] * v[:, t, :, None, :]
        seen = state + u[:, :, None] * kv
        outputs.append((r[:, t, :, :, None] * seen).sum(-2))
        state = log_decay[:, t, :, :, None].exp() * state + kv
    return torch.stack(outputs, 1), state


def wkv_chunked(
    r: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, u: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    """The operator by chunks of ``CHUNK`` tokens as matrix products, on any device.

    Computes in float32 (float64 if ``r`` is). Within a chunk, decays are taken relative to the
    chunk's middle, so that no factor leaves the range of float32; to that end a token's log decay
    is bounded below by -8 (a factor of 0.0003, which forgets within a token).
    """
    batch, length, heads, size = r.shape
    kind = torch.promote_types(r.dtype, torch.float32)
    padding = -length % CHUNK
    chunks = (length + padding) // CHUNK

    def by_chunk(x: Tensor) -> Tensor:
        # Padded tokens have k = 0 and log decay 0: they leave the state as it is.
        x = torch.nn.functional.pad(x.to(kind), (0, 0, 0, 0, 0, padding))
        return x.view(batch, chunks, CHUNK, heads, size).permute(0, 3, 1, 2, 4)

    r, k, v, log_decay = (by_chunk(x) for x in (r, k, v, log_decay.clamp(min=_LEAST_LOG_DECAY)))
    after = log_decay.cumsum(-2)  # decay from the chunk's start to after each token
    before = after - log_decay
    total = after[..., -1:, :]
    middle = before[..., CHUNK // 2 : CHUNK // 2 + 1, :]

    scores = (r * (before - middle).exp()) @ (k * (middle - after).exp()).transpose(-1, -2)
    bonus = (r * u.to(kind)[:, None, None] * k).sum(-1)
    inner = (scores.tril(-1) + torch.diag_embed(bonus)) @ v
    added = (k * (total - after).exp()).transpose(-1, -2) @ v
    kept = total.exp().transpose(-1, -2)

    state = state.to(kind)
    states = []
    for c in range(chunks):
        states.append(state)
        state = kept[:, :, c] * state + added[:, :, c]
    y = inner + (r * before.exp()) @ torch.stack(states, 2)
    y = y.permute(0, 2, 3, 1, 4).reshape(batch, chunks * CHUNK, heads, size)
    return y[:, :length], state


@compiled(fastmath=True, error_model="numpy")
def _scan(
    out: _Array,
    x: _Array,
    a: _Array,
    b: _Array,
    w: _Array,
    state: _Array,
    decay_rows: bool,
    backwards: bool,
) -> None:
    """One linear scan: out[c] = sum_q x[q] S[q, c], then S[q, c] = w S[q, c] + a[q] b[c].

    The decay w belongs to the rows q or to the columns c. ``state`` [B, H, 64, 64] is advanced in
    place. ``backwards`` runs from the last token to the first and applies the decay of a token
    before its addition, which is what gradients of the state do; every sum over a token then sees
    the state before both. Columns run along the vector lanes; four rows share one pass over the
    output. All of an operator's forward and backward passes are this scan with other arguments.
    """
    batch, length, heads, _ = x.shape
    acc = np.empty(_N, x.dtype)
    # Rows 4 q to 4 q + 3 live in four arrays: as rows of one array, the compiler could not show
    # that they do not overlap, and would not vectorise.
    rows0 = np.empty((_N // 4, _N), x.dtype)
    rows1 = np.empty((_N // 4, _N), x.dtype)
    rows2 = np.empty((_N // 4, _N), x.dtype)
    rows3 = np.empty((_N // 4, _N), x.dtype)
    for n in range(batch):
        for h in range(heads):
            for q in range(_N // 4):
                for c in range(_N):
                    rows0[q, c] = state[n, h, 4 * q, c]
                    rows1[q, c] = state[n, h, 4 * q + 1, c]
                    rows2[q, c] = state[n, h, 4 * q + 2, c]
                    rows3[q, c] = state[n, h, 4 * q + 3, c]
            for step in range(length):
                t = length - 1 - step if backwards else step
                xt = x[n, t, h]
                at = a[n, t, h]
                bt = b[n, t, h]
                wt = w[n, t, h]
                for c in range(_N):
                    acc[c] = 0
                for q in range(_N // 4):
                    i = 4 * q
                    x0, x1, x2, x3 = xt[i], xt[i + 1], xt[i + 2], xt[i + 3]
                    a0, a1, a2, a3 = at[i], at[i + 1], at[i + 2], at[i + 3]
                    if decay_rows:
                        w0, w1, w2, w3 = wt[i], wt[i + 1], wt[i + 2], wt[i + 3]
                        for c in range(_N):
                            bc = bt[c]
                            s0, s1, s2, s3 = rows0[q, c], rows1[q, c], rows2[q, c], rows3[q, c]
                            acc[c] += (x0 * s0 + x1 * s1) + (x2 * s2 + x3 * s3)
                            rows0[q, c] = w0 * s0 + a0 * bc
                            rows1[q, c] = w1 * s1 + a1 * bc
                            rows2[q, c] = w2 * s2 + a2 * bc
                            rows3[q, c] = w3 * s3 + a3 * bc
                    else:
                        for c in range(_N):
                            bc, wc = bt[c], wt[c]
                            s0, s1, s2, s3 = rows0[q, c], rows1[q, c], rows2[q, c], rows3[q, c]
                            acc[c] += (x0 * s0 + x1 * s1) + (x2 * s2 + x3 * s3)
                            rows0[q, c] = wc * s0 + a0 * bc
                            rows1[q, c] = wc * s1 + a1 * bc
                            rows2[q, c] = wc * s2 + a2 * bc
                            rows3[q, c] = wc * s3 + a3 * bc
                for c in range(_N):
                    out[n, t, h, c] = acc[c]
            for q in range(_N // 4):
                for c in range(_N):
                    state[n, h, 4 * q, c] = rows0[q, c]
                    state[n, h, 4 * q + 1, c] = rows1[q, c]
                    state[n, h, 4 * q + 2, c] = rows2[q, c]
                    state[n, h, 4 * q + 3, c] = rows3[q, c]


@compiled(fastmath=True, error_model="numpy")
def _add_bonus(y: _Array, r: _Array, k: _Array, v: _Array, u: _Array) -> None:
    """Add the bonus term to ``y`` in place."""
    batch, length, heads, _ = r.shape
    for n in range(batch):
        for t in range(length):
            for h in range(heads):
                weight = np.float32(0)
                for i in range(_N):
                    weight += r[n, t, h, i] * u[h, i] * k[n, t, h, i]
                for j in range(_N):
                    y[n, t, h, j] += weight * v[n, t, h, j]


@compiled(fastmath=True, error_model="numpy")
def _finish_backward(
    dr: _Array,
    dk: _Array,
    dv: _Array,
    dlog: _Array,
    du: NDArray[np.float64],
    dy: _Array,
    r: _Array,
    k: _Array,
    v: _Array,
    u: _Array,
    carried: NDArray[np.float64],
) -> None:
    """Turn the gradients of the recurrence into those of the operator.

    Fills ``dlog``, accumulates ``du`` and adds the bonus term to dr, dk and dv. The gradient of a
    log decay needs no pass over states: with A = sum_j dS[i, j] S[i, j] after a token
    (``carried`` [B, H, 64], initially of the final state), d log w = A - k dk, and A before the
    token is d log w + r dr. The sums run in float64 as they telescope over the whole sequence.
    """
    batch, length, heads, _ = r.shape
    for n in range(batch):
        for t in range(length - 1, -1, -1):
            for h in range(heads):
                match = np.float32(0)
                weight = np.float32(0)
                for i in range(_N):
                    match += v[n, t, h, i] * dy[n, t, h, i]
                    weight += r[n, t, h, i] * u[h, i] * k[n, t, h, i]
                for i in range(_N):
                    ri = r[n, t, h, i]
                    ki = k[n, t, h, i]
                    d = carried[n, h, i] - np.float64(ki) * np.float64(dk[n, t, h, i])
                    carried[n, h, i] = d + np.float64(ri) * np.float64(dr[n, t, h, i])
                    dlog[n, t, h, i] = d
                    du[h, i] += ri * ki * match
                    dr[n, t, h, i] += u[h, i] * ki * match
                    dk[n, t, h, i] += u[h, i] * ri * match
                    dv[n, t, h, i] += weight * dy[n, t, h, i]


def _array(x: Tensor) -> Any:
    """The tensor's values as a C-contiguous array in float32, shared where possible."""
    return x.detach().to(torch.float32).contiguous().numpy()


@torch.library.custom_op("lofid::wkv_scan", mutates_args=(), device_types="cpu")
def _wkv_scan(
    r: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, u: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    y = torch.empty(r.shape, dtype=torch.float32)
    final = state.detach().to(torch.float32, copy=True).contiguous()
    r_, k_, v_, w_ = _array(r), _array(k), _array(v), _array(log_decay.exp())
    _scan(y.numpy(), r_, k_, v_, w_, final.numpy(), True, False)
    _add_bonus(y.numpy(), r_, k_, v_, _array(u))
    return y, final


@_wkv_scan.register_fake
def _(
    r: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, u: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    return (
        torch.empty(r.shape, dtype=torch.float32),
        torch.empty(state.shape, dtype=torch.float32),
    )


@torch.library.custom_op("lofid::wkv_scan_backward", mutates_args=(), device_types="cpu")
def _wkv_scan_backward(
    dy: Tensor,
    dfinal: Tensor,
    r: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor,
    u: Tensor,
    state: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    dr, dk, dv, dlog = (torch.empty(r.shape, dtype=torch.float32) for _ in range(4))
    du = np.zeros(u.shape, np.float64)
    r_, k_, v_, dy_ = _array(r), _array(k), _array(v), _array(dy)
    w_ = _array(log_decay.exp())
    # The state is scanned again, transposed, so that the sums over values need no lane to meet
    # another; so is its gradient, in both orders.
    transposed = _array(state.transpose(-1, -2)).copy()
    _scan(dr.numpy(), dy_, v_, k_, w_, transposed, False, False)
    carried = (transposed.astype(np.float64) * _array(dfinal.transpose(-1, -2))).sum(-2)
    _scan(dk.numpy(), v_, dy_, r_, w_, _array(dfinal.transpose(-1, -2)).copy(), False, True)
    dstate = dfinal.detach().to(torch.float32, copy=True).contiguous()
    _scan(dv.numpy(), k_, r_, dy_, w_, dstate.numpy(), True, True)
    _finish_backward(
        dr.numpy(),
        dk.numpy(),
        dv.numpy(),
        dlog.numpy(),
        du,
        dy_,
        r_,
        k_,
        v_,
        _array(u),
        carried,
    )
    return dr, dk, dv, dlog, torch.from_numpy(du).to(torch.float32), dstate


@_wkv_scan_backward.register_fake
def _(
    dy: Tensor,
    dfinal: Tensor,
    r: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor,
    u: Tensor,
    state: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    dr, dk, dv, dlog = (torch.empty(r.shape, dtype=torch.float32) for _ in range(4))
    return dr, dk, dv, dlog, torch.empty(u.shape), torch.empty(state.shape)


def _setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, dy: Tensor, dfinal: Tensor) -> tuple[Tensor, ...]:
    gradients: tuple[Tensor, ...] = _wkv_scan_backward(dy, dfinal, *ctx.saved_tensors)
    return gradients


_wkv_scan.register_autograd(_backward, setup_context=_setup_context)


def wkv_scan(
    r: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, u: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    """The operator as compiled scans in float32: the fastest form on one CPU thread."""
    y, final = _wkv_scan(r, k, v, log_decay, u, state)
    return y, final


def wkv_operator(
    r: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, u: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    """The operator in float32, in the fastest form for the device that its inputs are on.

    r, k and v may be of any floating type.
    """
    if r.device.type == "cpu":
        return wkv_scan(r, k, v, log_decay, u, state)
    if r.device.type == "cuda" and _TRITON:
        # Triton takes long to import, and only machines with a GPU need it.
        from lofid.kernels.wkv import wkv as wkv_fused  # noqa: PLC0415

        return wkv_fused(r, k, v, log_decay, u, state)
    return wkv_chunked(r, k, v, log_decay, u, state)
