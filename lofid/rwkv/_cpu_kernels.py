"""RWKV-6 for one CPU thread: whole tokens in one compiled call, matrices in SIMD panels.

All compiled code of the CPU engine lives in this one file: numba's disk cache notices changes of
the file that defines a cached function, not of what that function calls elsewhere.

**Panels.** With one token at a time, speed is the reading of weights. So matrices lie in memory
in the order in which a token uses them, and each is read once, from front to back. A matrix
[outputs, inputs] is cut into panels of ``PANEL`` outputs; inside a panel the weights of one input
for all its outputs lie side by side. 64 running sums stay in vector registers while the inputs
are broadcast one by one; nothing is ever summed across a register. Outputs are filled up to a
multiple of ``PANEL`` with zeros. A panel is stored in one of three ways, told apart by the dtype:

- ``float32``: [inputs, PANEL].
- ``uint32``: bfloat16 in pairs, [inputs / 2, PANEL]; the even input is the low half.
- ``int8``: PANEL float32 scales, one an output, then [inputs, PANEL].

State, decay, norms, activations and sums are float32 in all three.

``cpu.py`` packs the weights; nothing here knows names of tensors.
"""

import math
from typing import Any, Final

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from lofid.compiled import compiled
from lofid.rwkv.config import HEAD_SIZE

PANEL: Final = 64
"""Outputs of one panel: four AVX-512 registers, eight of AVX2, sixteen of NEON."""

VECTORS: Final = (
    "ln1.weight",
    "ln1.bias",
    "att.time_maa_x",
    "att.time_maa_w",
    "att.time_maa_k",
    "att.time_maa_v",
    "att.time_maa_r",
    "att.time_maa_g",
    "att.time_decay",
    "att.time_faaaa",
    "att.ln_x.weight",
    "att.ln_x.bias",
    "ln2.weight",
    "ln2.bias",
    "ffn.time_maa_k",
    "ffn.time_maa_r",
)
"""What the rows of one layer's vectors are, by their official names."""

SCRATCH_ROWS: Final = 11

# Sums may be reordered and products fused; infinities and NaN keep their meaning.
_SUMS = {"reassoc", "contract"}

_Array = NDArray[Any]
_ONE = np.float32(1)
_TWO = np.float32(2)
_ZERO = np.float32(0)
_LAYER_NORM_EPSILON = np.float32(1e-5)
_GROUP_NORM_EPSILON = np.float32(64e-5)
_HEAD_SIZE = np.float32(HEAD_SIZE)

_LANES = 16  # floats of one vector in the code below; LLVM splits it where registers are smaller
_F32, _I8, _I32, _I64 = ir.FloatType(), ir.IntType(8), ir.IntType(32), ir.IntType(64)
_VF32, _VI8, _VI32 = (ir.VectorType(kind, _LANES) for kind in (_F32, _I8, _I32))


@intrinsic
def _panel(
    typing: Any, out: Any, first: Any, panels: Any, at: Any, x: Any, inputs: Any
) -> tuple[Any, Any]:
    """``out[first : first + PANEL]`` = the panel at ``panels[at]`` x ``x[:inputs]``.

    All arrays are contiguous and 1-D. Returns where the next panel begins. Written in LLVM's
    vector instructions because no loop of Python makes a compiler keep 64 sums in registers.
    """
    bf16, int8 = panels.dtype == types.uint32, panels.dtype == types.int8

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        def data(i: int) -> Any:
            return context.make_array(signature.args[i])(context, builder, args[i]).data

        def plus(a: Any, b: int) -> Any:
            return builder.add(a, ir.Constant(_I64, b))

        def vector_at(pointer: Any, kind: Any, align: int) -> Any:
            return builder.load(builder.bitcast(pointer, kind.as_pointer()), align=align)

        def multiply_add(a: Any, b: Any, c: Any) -> Any:
            product = builder.fmul(a, b, flags=("contract",))
            return builder.fadd(product, c, flags=("contract",))

        def broadcast(pointer: Any) -> Any:
            scalar = builder.load(pointer)
            one = builder.insert_element(ir.Constant(_VF32, ir.Undefined), scalar, _I32(0))
            return builder.shuffle_vector(one, one, ir.Constant(_VI32, [0] * _LANES))

        out_data = builder.gep(data(0), [args[1]])
        panel_data = builder.gep(data(2), [args[3]])
        x_data, count = data(4), args[5]
        vectors = range(0, PANEL, _LANES)
        scale_bytes = 4 * PANEL if int8 else 0
        weights = builder.gep(panel_data, [ir.Constant(_I64, scale_bytes)])
        rows = builder.udiv(count, ir.Constant(_I64, 2)) if bf16 else count
        zeros = ir.Constant(_VF32, None)
        sums = [cgutils.alloca_once_value(builder, zeros) for _ in vectors]  # type: ignore[no-untyped-call]
        with cgutils.for_range(builder, rows) as loop:
            row = builder.mul(loop.index, ir.Constant(_I64, PANEL))
            if bf16:
                even = builder.mul(loop.index, ir.Constant(_I64, 2))
                x0 = broadcast(builder.gep(x_data, [even]))
                x1 = broadcast(builder.gep(x_data, [plus(even, 1)]))
            else:
                x0 = broadcast(builder.gep(x_data, [loop.index]))
            for lane, total in zip(vectors, sums, strict=True):
                pointer = builder.gep(weights, [plus(row, lane)])
                value = builder.load(total)
                if bf16:
                    # A bfloat16 is the upper half of a float32.
                    pair = vector_at(pointer, _VI32, 4)
                    low = builder.shl(pair, ir.Constant(_VI32, [16] * _LANES))
                    high = builder.and_(pair, ir.Constant(_VI32, [0xFFFF0000] * _LANES))
                    value = multiply_add(builder.bitcast(low, _VF32), x0, value)
                    value = multiply_add(builder.bitcast(high, _VF32), x1, value)
                elif int8:
                    wide = builder.sext(vector_at(pointer, _VI8, 1), _VI32)
                    value = multiply_add(builder.sitofp(wide, _VF32), x0, value)
                else:
                    value = multiply_add(vector_at(pointer, _VF32, 4), x0, value)
                builder.store(value, total)
        for lane, total in zip(vectors, sums, strict=True):
            value = builder.load(total)
            if int8:
                pointer = builder.gep(panel_data, [ir.Constant(_I64, 4 * lane)])
                value = builder.fmul(value, vector_at(pointer, _VF32, 4))
            target = builder.gep(out_data, [ir.Constant(_I64, lane)])
            builder.store(value, builder.bitcast(target, _VF32.as_pointer()), align=4)
        words = builder.mul(rows, ir.Constant(_I64, PANEL))
        return plus(builder.add(args[3], words), scale_bytes)

    return types.int64(out, types.int64, panels, types.int64, x, types.int64), generate


@intrinsic
def _times_power(typing: Any, value: Any, shifted: Any) -> tuple[Any, Any]:
    """``value`` x 2^n, where ``shifted`` is n + 1.5 x 2^23: n then lies in its lowest bits."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        bits, power = (builder.bitcast(arg, _I32) for arg in args)
        power = builder.shl(power, ir.Constant(_I32, 23))
        return builder.bitcast(builder.add(bits, power), _F32)

    return types.float32(types.float32, types.float32), generate


_LOG2_E = np.float32(1.44269504)
_SHIFT = np.float32(12582912.0)  # 1.5 x 2^23: adding it rounds to a whole number
_LN2_HIGH = np.float32(0.693359375)
_LN2_LOW = np.float32(-2.12194440e-4)
_LEAST, _MOST = np.float32(-86), np.float32(88)
_E6, _E5, _E4 = np.float32(1.9875691500e-4), np.float32(1.3981999507e-3), np.float32(8.3334519e-3)
_E3, _E2, _E1 = np.float32(4.1665795894e-2), np.float32(1.6666665459e-1), np.float32(0.5)


@njit(error_model="numpy", fastmath={"contract"})
def _exp(x: Any) -> Any:
    """e^x to about 1e-7 of its value, between e^-86 and e^88 (after Cephes ``expf``).

    Unlike the C library's, loops over it become vector code.
    """
    x = min(max(x, _LEAST), _MOST)
    shifted = x * _LOG2_E + _SHIFT
    n = shifted - _SHIFT
    rest = x - n * _LN2_HIGH - n * _LN2_LOW
    value = ((((_E6 * rest + _E5) * rest + _E4) * rest + _E3) * rest + _E2) * rest + _E1
    # numba's stub counts the typing context as an argument of the caller, here and below.
    return _times_power(value * rest * rest + rest + _ONE, shifted)  # type: ignore[call-arg]


@njit(error_model="numpy")
def _tanh(x: _Array, size: int) -> None:
    """The hyperbolic tangent, in place."""
    for i in range(size):
        x[i] = _ONE - _TWO / (_exp(_TWO * x[i]) + _ONE)


@njit(error_model="numpy")
def _project(out: _Array, outputs: int, panels: _Array, at: int, x: _Array, inputs: int) -> int:
    """``out`` = the matrix at ``panels[at]`` x ``x``; returns where the next matrix begins."""
    for first in range(0, outputs, PANEL):
        at = _panel(out, first, panels, at, x, inputs)  # type: ignore[call-arg]
    return at


@njit(error_model="numpy", fastmath=_SUMS)
def _layer_norm(out: _Array, x: _Array, weight: _Array, bias: _Array, size: int) -> None:
    mean = _ZERO
    for i in range(size):
        mean += x[i]
    mean /= np.float32(size)
    variance = _ZERO
    for i in range(size):
        variance += (x[i] - mean) * (x[i] - mean)
    scale = _ONE / math.sqrt(variance / np.float32(size) + _LAYER_NORM_EPSILON)
    for i in range(size):
        out[i] = (x[i] - mean) * scale * weight[i] + bias[i]


@njit(error_model="numpy", fastmath=_SUMS)
def _step_back(step: _Array, last: _Array, x: _Array, size: int) -> None:
    """``step`` = the way from ``x`` back to the last token's, which ``x`` then replaces."""
    for i in range(size):
        step[i] = last[i] - x[i]
        last[i] = x[i]


@njit(error_model="numpy", fastmath=_SUMS)
def _mix(out: _Array, x: _Array, step: _Array, share: _Array, size: int) -> None:
    for i in range(size):
        out[i] = x[i] + step[i] * share[i]


@njit(error_model="numpy", fastmath=_SUMS)
def _mix_by_token(
    out: _Array, x: _Array, step: _Array, share: _Array, more: _Array, size: int
) -> None:
    for i in range(size):
        out[i] = x[i] + step[i] * (share[i] + more[i])


@njit(error_model="numpy", fastmath=_SUMS)
def _wkv(
    y: _Array, state: _Array, r: _Array, k: _Array, v: _Array, decay: _Array, bonus: _Array
) -> None:
    """One head, all arguments [64] but ``state`` [64 (key), 64 (value)], advanced in place."""
    own = _ZERO
    for i in range(HEAD_SIZE):
        own += r[i] * bonus[i] * k[i]
    for j in range(HEAD_SIZE):
        y[j] = own * v[j]
    for i in range(0, HEAD_SIZE, 4):
        r0, r1, r2, r3 = r[i], r[i + 1], r[i + 2], r[i + 3]
        k0, k1, k2, k3 = k[i], k[i + 1], k[i + 2], k[i + 3]
        w0, w1, w2, w3 = decay[i], decay[i + 1], decay[i + 2], decay[i + 3]
        for j in range(HEAD_SIZE):
            s0, s1, s2, s3 = state[i, j], state[i + 1, j], state[i + 2, j], state[i + 3, j]
            value = v[j]
            y[j] += (r0 * s0 + r1 * s1) + (r2 * s2 + r3 * s3)
            state[i, j] = w0 * s0 + k0 * value
            state[i + 1, j] = w1 * s1 + k1 * value
            state[i + 2, j] = w2 * s2 + k2 * value
            state[i + 3, j] = w3 * s3 + k3 * value


@njit(error_model="numpy", fastmath=_SUMS)
def _norm_and_gate(y: _Array, weight: _Array, bias: _Array, gate: _Array) -> None:
    """Norm one head's output [64], then multiply it by SiLU(gate), in place."""
    mean = _ZERO
    for j in range(HEAD_SIZE):
        mean += y[j]
    mean /= _HEAD_SIZE
    variance = _ZERO
    for j in range(HEAD_SIZE):
        variance += (y[j] - mean) * (y[j] - mean)
    scale = _ONE / math.sqrt(variance / _HEAD_SIZE + _GROUP_NORM_EPSILON)
    for j in range(HEAD_SIZE):
        normed = (y[j] - mean) * scale * weight[j] + bias[j]
        y[j] = normed * gate[j] / (_ONE + _exp(-gate[j]))


@compiled(error_model="numpy", fastmath=_SUMS)
def advance(
    tokens: _Array,
    embedding: _Array,
    vectors: _Array,
    matrices: _Array,
    final: _Array,
    head: _Array,
    ranks: tuple[int, int],
    hidden: int,
    att_shift: _Array,
    ffn_shift: _Array,
    wkv: _Array,
    scratch: _Array,
    logits: _Array,
) -> None:
    """Advance the state in place over ``tokens`` [T]; ``logits`` are those after the last.

    Weights: ``embedding`` [vocabulary, width], already normed by ``ln0``; ``vectors`` [layers,
    ``len(VECTORS)``, width]; ``matrices`` [layers, panels of one layer] in the order of use below;
    ``final`` [2, width], weight and bias of ``ln_out``; ``head``: panels. ``ranks`` are those of
    mix and decay. ``scratch`` [``SCRATCH_ROWS``, at least the widest vector, filled up to a whole
    panel], ``logits`` [vocabulary, filled up]. Nothing is allocated and no bound is checked.
    """
    layers, _, width = vectors.shape
    heads = width // HEAD_SIZE
    mix_rank, decay_rank = ranks
    x, normed, step, mixed = scratch[0], scratch[1], scratch[2], scratch[3]
    low, more, decay = scratch[4], scratch[5], scratch[6]
    r, k, v, g = scratch[7], scratch[8], scratch[9], scratch[10]
    for token in tokens:
        for i in range(width):
            x[i] = embedding[token, i]
        for layer in range(layers):
            panels = matrices[layer]
            ln1, ln1_bias = vectors[layer, 0], vectors[layer, 1]
            maa_x, maa_w, maa_k = vectors[layer, 2], vectors[layer, 3], vectors[layer, 4]
            maa_v, maa_r, maa_g = vectors[layer, 5], vectors[layer, 6], vectors[layer, 7]
            base_decay, bonus = vectors[layer, 8], vectors[layer, 9]
            ln_x, ln_x_bias = vectors[layer, 10], vectors[layer, 11]
            ln2, ln2_bias = vectors[layer, 12], vectors[layer, 13]
            ffn_maa_k, ffn_maa_r = vectors[layer, 14], vectors[layer, 15]

            _layer_norm(normed, x, ln1, ln1_bias, width)
            _step_back(step, att_shift[layer], normed, width)
            _mix(mixed, normed, step, maa_x, width)
            at = _project(low, 5 * mix_rank, panels, 0, mixed, width)
            _tanh(low, 5 * mix_rank)

            at = _project(more, width, panels, at, low, mix_rank)
            _mix_by_token(mixed, normed, step, maa_w, more, width)
            at = _project(decay, decay_rank, panels, at, mixed, width)
            _tanh(decay, decay_rank)
            at = _project(more, width, panels, at, decay, decay_rank)
            for i in range(width):
                decay[i] = _exp(-_exp(base_decay[i] + more[i]))

            at = _project(more, width, panels, at, low[mix_rank:], mix_rank)
            _mix_by_token(mixed, normed, step, maa_k, more, width)
            at = _project(k, width, panels, at, mixed, width)
            at = _project(more, width, panels, at, low[2 * mix_rank :], mix_rank)
            _mix_by_token(mixed, normed, step, maa_v, more, width)
            at = _project(v, width, panels, at, mixed, width)
            at = _project(more, width, panels, at, low[3 * mix_rank :], mix_rank)
            _mix_by_token(mixed, normed, step, maa_r, more, width)
            at = _project(r, width, panels, at, mixed, width)
            at = _project(more, width, panels, at, low[4 * mix_rank :], mix_rank)
            _mix_by_token(mixed, normed, step, maa_g, more, width)
            at = _project(g, width, panels, at, mixed, width)

            for h in range(heads):
                a, b = h * HEAD_SIZE, (h + 1) * HEAD_SIZE
                y = mixed[a:b]
                _wkv(y, wkv[layer, h], r[a:b], k[a:b], v[a:b], decay[a:b], bonus[a:b])
                _norm_and_gate(y, ln_x[a:b], ln_x_bias[a:b], g[a:b])
            at = _project(more, width, panels, at, mixed, width)
            for i in range(width):
                x[i] += more[i]

            _layer_norm(normed, x, ln2, ln2_bias, width)
            _step_back(step, ffn_shift[layer], normed, width)
            _mix(mixed, normed, step, ffn_maa_r, width)
            at = _project(r, width, panels, at, mixed, width)
            _mix(mixed, normed, step, ffn_maa_k, width)
            at = _project(k, hidden, panels, at, mixed, width)
            for i in range(hidden):
                k[i] = max(k[i], _ZERO) * max(k[i], _ZERO)
            at = _project(more, width, panels, at, k, hidden)
            for i in range(width):
                x[i] += more[i] / (_ONE + _exp(-r[i]))
    _layer_norm(normed, x, final[0], final[1], width)
    _project(logits, logits.size, head, 0, normed, width)
