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

**Rows.** Several tokens, of one stream or one of each of several, go through a layer together:
each panel is read once for up to ``ROWS`` of them. Sums have the same order whatever goes with
them, so what is written does not depend on how it is grouped, to the bit.

State, decay, norms, activations and sums are float32 in all three.

``cpu.py`` packs the weights; nothing here knows names of tensors.
"""

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
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

SCRATCH: Final = 11
"""Vectors that one row of a pass needs besides the logits."""

ROWS: Final = 8
"""Tokens that advance together, reading each weight once: so many streams, or so many tokens of
one. More would push each other's vectors out of the cache next to the core."""

_WIDE: Final = get_host_cpu_features().get("avx512f", False)
_PASS_OF_2: Final = PANEL if _WIDE else 32
_PASS_OF_4: Final = PANEL if _WIDE else 16
"""Outputs of two, and of three or four rows, whose sums fit into the vector registers: 32 of
AVX-512, 16 of AVX2."""

_LINE: Final = 64
_AHEAD: Final = 8192
"""Bytes of a cache line, and how far ahead of their use weights are asked for: the processor's own
guess ends with each page of 4 KB, and models larger than its caches wait for memory there."""

_RECALLED: Final = HEAD_SIZE if _WIDE else HEAD_SIZE // 2
"""Columns of a head's state that are worked on at a time, for the same reason."""

# Sums may be reordered and products fused; infinities and NaN keep their meaning.
_SUMS = {"reassoc", "contract"}

_Array = NDArray[Any]
_ONE = np.float32(1)
_TWO = np.float32(2)
_ZERO = np.float32(0)
_LAYER_NORM_EPSILON = np.float32(1e-5)
_GROUP_NORM_EPSILON = np.float32(64e-5)
_HEAD_SIZE = np.float32(HEAD_SIZE)
_HEAD_FLOATS: Final = HEAD_SIZE * HEAD_SIZE

_LANES = 16  # floats of one vector in the code below; LLVM splits it where registers are smaller
_F32, _I8, _I32, _I64 = ir.FloatType(), ir.IntType(8), ir.IntType(32), ir.IntType(64)
_VF32, _VI8, _VI32 = (ir.VectorType(kind, _LANES) for kind in (_F32, _I8, _I32))


def _instructions(code: Callable[..., Any]) -> Any:
    """Numba's ``intrinsic``, whose type counts the typing context as an argument of the caller."""
    return intrinsic(prefer_literal=True)(code)


def _everywhere(builder: Any, scalar: Any) -> Any:
    """A vector of one number."""
    one = builder.insert_element(ir.Constant(_VF32, ir.Undefined), scalar, _I32(0))
    return builder.shuffle_vector(one, one, ir.Constant(_VI32, [0] * _LANES))


def _multiply_add(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """``a`` x ``b`` + ``c``, in one rounding where the processor can."""
    kind = ir.FunctionType(_VF32, [_VF32] * 3)
    fused = builder.module.declare_intrinsic(f"llvm.fmuladd.v{_LANES}f32", (), kind)
    return builder.call(fused, (a, b, c))


def _fetch(builder: Any, pointer: Any, ahead: int) -> None:
    """Ask for the cache line that lies so many bytes ahead; there need not be any memory."""
    byte = _I8.as_pointer()
    place = builder.gep(builder.bitcast(pointer, byte), [ir.Constant(_I64, ahead)])
    kind = ir.FunctionType(ir.VoidType(), [byte, _I32, _I32, _I32])
    prefetch = builder.module.declare_intrinsic("llvm.prefetch.p0", (), kind)
    builder.call(prefetch, [place, _I32(0), _I32(3), _I32(1)])  # to read, soon, data


@_instructions
def _panel(
    typing: Any,
    out: Any,
    row: Any,
    first: Any,
    panels: Any,
    at: Any,
    part: Any,
    x: Any,
    offset: Any,
    inputs: Any,
    rows: Any,
    columns: Any,
) -> tuple[Any, Any]:
    """Some outputs of a panel for a few rows: weights x ``x``, for rows from ``row`` on.

    ``out[row + n, first + c]`` = the sum over i of ``weight[part + c, i]`` x ``x[row + n, offset +
    i]``, for n below ``rows``, c below ``columns``, i below ``inputs``. The panel begins at
    ``panels[at]``; returns where the next one does. ``rows`` and ``columns`` are constants; ``out``
    and ``x`` are contiguous and 2-D. Written in LLVM's vector instructions because no loop of
    Python makes a compiler keep so many sums in registers. The order of each sum, and so each bit,
    is the same for any ``rows`` and ``columns``.
    """
    bf16, int8 = panels.dtype == types.uint32, panels.dtype == types.int8
    streams, width = rows.literal_value, columns.literal_value

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        def constant(value: int) -> Any:
            return ir.Constant(_I64, value)

        def array(i: int) -> Any:
            return context.make_array(signature.args[i])(context, builder, args[i])

        def row_of(i: int, n: int) -> Any:
            matrix = array(i)
            stride = builder.extract_value(matrix.shape, 1)
            return builder.gep(
                matrix.data, [builder.mul(builder.add(args[1], constant(n)), stride)]
            )

        def vector_at(pointer: Any, kind: Any, align: int) -> Any:
            return builder.load(builder.bitcast(pointer, kind.as_pointer()), align=align)

        def broadcast(pointer: Any) -> Any:
            return _everywhere(builder, builder.load(pointer))

        # One copy of it is enough: inlined wherever it is called, it took seconds to compile.
        builder.function.attributes.add("noinline")
        count = args[8]
        steps = builder.udiv(count, constant(2)) if bf16 else count
        scale_bytes = 4 * PANEL if int8 else 0
        words = builder.add(builder.mul(steps, constant(PANEL)), constant(scale_bytes))
        begin = builder.gep(array(3).data, [args[4]])
        weights = builder.gep(begin, [builder.add(args[5], constant(scale_bytes))])
        lanes = range(0, width, _LANES)
        ins = [builder.gep(row_of(6, n), [args[7]]) for n in range(streams)]
        zeros = ir.Constant(_VF32, None)
        sums = [
            [cgutils.alloca_once_value(builder, zeros) for _ in lanes]  # type: ignore[no-untyped-call]
            for _ in range(streams)
        ]
        with cgutils.for_range(builder, steps) as loop:
            step = builder.mul(loop.index, constant(PANEL))
            if bf16:
                even = builder.mul(loop.index, constant(2))
                odd = builder.add(even, constant(1))
                x0 = [broadcast(builder.gep(row, [even])) for row in ins]
                x1 = [broadcast(builder.gep(row, [odd])) for row in ins]
            else:
                x0 = [broadcast(builder.gep(row, [loop.index])) for row in ins]
            for place, lane in enumerate(lanes):
                pointer = builder.gep(weights, [builder.add(step, constant(lane))])
                if lane % (_LINE // panels.dtype.bitwidth * 8) == 0:
                    _fetch(builder, pointer, _AHEAD)
                if bf16:
                    # A bfloat16 is the upper half of a float32.
                    pair = vector_at(pointer, _VI32, 4)
                    low = builder.shl(pair, ir.Constant(_VI32, [16] * _LANES))
                    high = builder.and_(pair, ir.Constant(_VI32, [0xFFFF0000] * _LANES))
                    pieces = [(builder.bitcast(low, _VF32), x0), (builder.bitcast(high, _VF32), x1)]
                elif int8:
                    wide = builder.sext(vector_at(pointer, _VI8, 1), _VI32)
                    pieces = [(builder.sitofp(wide, _VF32), x0)]
                else:
                    pieces = [(vector_at(pointer, _VF32, 4), x0)]
                for n in range(streams):
                    value = builder.load(sums[n][place])
                    for piece, inputs_of in pieces:
                        value = _multiply_add(builder, piece, inputs_of[n], value)
                    builder.store(value, sums[n][place])
        for n in range(streams):
            target = builder.gep(row_of(0, n), [args[2]])
            for lane, total in zip(lanes, sums[n], strict=True):
                value = builder.load(total)
                if int8:
                    scale = builder.mul(builder.add(args[5], constant(lane)), constant(4))
                    value = builder.fmul(value, vector_at(builder.gep(begin, [scale]), _VF32, 4))
                here = builder.gep(target, [constant(lane)])
                builder.store(value, builder.bitcast(here, _VF32.as_pointer()), align=4)
        return builder.add(args[4], words)

    whole = types.int64
    return (
        whole(out, whole, whole, panels, whole, whole, x, whole, whole, rows, columns),
        generate,
    )


@_instructions
def _address(typing: Any, array: Any) -> tuple[Any, Any]:
    """Where an array's first number lies."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        return builder.ptrtoint(data, _I64)

    return types.int64(array), generate


@_instructions
def _floats_at(typing: Any, address: Any, size: Any) -> tuple[Any, Any]:
    """So many float32 at an address, as an array."""
    kind = types.Array(types.float32, 1, "C")

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array = context.make_array(kind)(context, builder)
        array.data = builder.inttoptr(args[0], _F32.as_pointer())
        array.nitems, array.itemsize = args[1], ir.Constant(_I64, 4)
        array.shape = cgutils.pack_array(builder, [args[1]])  # type: ignore[no-untyped-call]
        array.strides = cgutils.pack_array(builder, [array.itemsize])  # type: ignore[no-untyped-call]
        return array._getvalue()

    return kind(types.int64, types.int64), generate


@_instructions
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
    return _times_power(value * rest * rest + rest + _ONE, shifted)


@njit(error_model="numpy")
def _tanh(x: _Array, size: int) -> None:
    """The hyperbolic tangent, in place."""
    for i in range(size):
        x[i] = _ONE - _TWO / (_exp(_TWO * x[i]) + _ONE)


@njit(error_model="numpy")
def _project(
    out: _Array,
    rows: int,
    outputs: int,
    panels: _Array,
    at: int,
    x: _Array,
    offset: int,
    inputs: int,
) -> int:
    """``out[:rows]`` = the matrix at ``panels[at]`` x ``x[:rows, offset : offset + inputs]``.

    Returns where the next matrix begins. A panel comes from memory once, for all rows; up to four
    rows share each of its numbers in a register.
    """
    after = at
    for first in range(0, outputs, PANEL):
        row = 0
        while row < rows:
            left = rows - row
            if left >= 4:
                for part in range(0, PANEL, _PASS_OF_4):
                    after = _panel(
                        out, row, first + part, panels, at, part, x, offset, inputs, 4, _PASS_OF_4
                    )
            elif left == 3:
                for part in range(0, PANEL, _PASS_OF_4):
                    after = _panel(
                        out, row, first + part, panels, at, part, x, offset, inputs, 3, _PASS_OF_4
                    )
            elif left == 2:
                for part in range(0, PANEL, _PASS_OF_2):
                    after = _panel(
                        out, row, first + part, panels, at, part, x, offset, inputs, 2, _PASS_OF_2
                    )
            else:
                after = _panel(out, row, first, panels, at, 0, x, offset, inputs, 1, PANEL)
            row += 4
        at = after
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
def _decay(out: _Array, base: _Array, more: _Array, size: int) -> None:
    for i in range(size):
        out[i] = _exp(-_exp(base[i] + more[i]))


@njit(error_model="numpy", fastmath=_SUMS)
def _square(x: _Array, size: int) -> None:
    """The square of what is positive, in place."""
    for i in range(size):
        x[i] = max(x[i], _ZERO) * max(x[i], _ZERO)


@njit(error_model="numpy", fastmath=_SUMS)
def _add(x: _Array, more: _Array, size: int) -> None:
    for i in range(size):
        x[i] += more[i]


@njit(error_model="numpy", fastmath=_SUMS)
def _add_gated(x: _Array, more: _Array, gate: _Array, size: int) -> None:
    """Add ``more`` x sigmoid(``gate``)."""
    for i in range(size):
        x[i] += more[i] / (_ONE + _exp(-gate[i]))


@_instructions
def _recall(
    typing: Any, y: Any, first: Any, state: Any, r: Any, k: Any, v: Any, decay: Any
) -> tuple[Any, Any]:
    """Add what a head's state answers to ``r``, then advance the state, in ``_RECALLED`` columns.

    ``y[j]`` += the sum over i of ``r[i] state[i, j]``, and then ``state[i, j]`` = ``decay[i]
    state[i, j] + k[i] v[j]``, for the columns j from ``first``; contiguous arrays [64], ``state``
    [64 x 64]. Vector instructions, as in ``_panel``: a compiler does not keep ``y`` in registers
    while it writes to the state.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        def data(n: int) -> Any:
            return context.make_array(signature.args[n])(context, builder, args[n]).data

        def vector(pointer: Any) -> Any:
            return builder.bitcast(pointer, _VF32.as_pointer())

        places = [ir.Constant(_I64, lane) for lane in range(0, _RECALLED, _LANES)]
        y_data, v_data = (builder.gep(data(n), [args[1]]) for n in (0, 5))
        values = [builder.load(vector(builder.gep(v_data, [place])), align=4) for place in places]
        sums = []
        for place in places:
            start = builder.load(vector(builder.gep(y_data, [place])), align=4)
            sums.append(cgutils.alloca_once_value(builder, start))  # type: ignore[no-untyped-call]
        here = builder.gep(data(2), [args[1]])
        with cgutils.for_range(builder, ir.Constant(_I64, HEAD_SIZE)) as loop:
            # Neighbours change places: so the sums were ordered when the music was first judged.
            i = builder.xor(loop.index, ir.Constant(_I64, 1))
            asked, key, kept = (
                _everywhere(builder, builder.load(builder.gep(data(array), [i])))
                for array in (3, 4, 6)
            )
            row = builder.gep(here, [builder.mul(i, ir.Constant(_I64, HEAD_SIZE))])
            for place, value, total in zip(places, values, sums, strict=True):
                pointer = vector(builder.gep(row, [place]))
                old = builder.load(pointer, align=4)
                builder.store(_multiply_add(builder, asked, old, builder.load(total)), total)
                new = _multiply_add(builder, kept, old, builder.fmul(key, value))
                builder.store(new, pointer, align=4)
        for place, total in zip(places, sums, strict=True):
            builder.store(builder.load(total), vector(builder.gep(y_data, [place])), align=4)
        return context.get_dummy_value()

    return types.void(y, types.int64, state, r, k, v, decay), generate


@njit(error_model="numpy", fastmath=_SUMS)
def _own_part(y: _Array, r: _Array, k: _Array, v: _Array, bonus: _Array) -> None:
    """``y`` = what the token itself answers, before the state remembers it."""
    own = _ZERO
    for i in range(HEAD_SIZE):
        own += r[i] * bonus[i] * k[i]
    for j in range(HEAD_SIZE):
        y[j] = own * v[j]


@njit(error_model="numpy")
def _wkv(
    y: _Array, state: _Array, r: _Array, k: _Array, v: _Array, decay: _Array, bonus: _Array
) -> None:
    """One head, all arguments [64] but ``state`` [64 (key) x 64 (value)], advanced in place."""
    _own_part(y, r, k, v, bonus)
    for first in range(0, HEAD_SIZE, _RECALLED):
        _recall(y, first, state, r, k, v, decay)


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
    addresses: _Array,
    scratch: _Array,
    logits: _Array,
) -> None:
    """Advance one state over all ``tokens`` [T], or each of T states over one of them.

    One state is given by its three arrays, which are advanced in place, and ``addresses`` is empty;
    then ``logits[0]`` are those after the last token. With ``addresses`` [T, 3], where the three
    arrays of each state lie, the arrays are not used, and ``logits[t]`` are those of state t. To
    the bit, a token's result does not depend on what others go with it.

    Weights: ``embedding`` [vocabulary, width], already normed by ``ln0``; ``vectors`` [layers,
    ``len(VECTORS)``, width]; ``matrices`` [layers, panels of one layer] in the order of use below;
    ``final`` [2, width], weight and bias of ``ln_out``; ``head``: panels. ``ranks`` are those of
    mix and decay. ``scratch`` [``SCRATCH``, ``ROWS``, at least the widest vector, filled up to a
    whole panel], ``logits`` [1 or T, vocabulary, filled up]. Nothing is allocated and no bound is
    checked.
    """
    layers, _, width = vectors.shape
    heads = width // HEAD_SIZE
    mix_rank, decay_rank = ranks
    x, normed, step, mixed = scratch[0], scratch[1], scratch[2], scratch[3]
    low, more, decay = scratch[4], scratch[5], scratch[6]
    r, k, v, g = scratch[7], scratch[8], scratch[9], scratch[10]
    alone = addresses.shape[0] == 0
    att_at, ffn_at, wkv_at = _address(att_shift), _address(ffn_shift), _address(wkv)
    for start in range(0, tokens.size, ROWS):
        rows = min(ROWS, tokens.size - start)
        for row in range(rows):
            for i in range(width):
                x[row, i] = embedding[tokens[start + row], i]
        for layer in range(layers):
            panels = matrices[layer]
            ln1, ln1_bias = vectors[layer, 0], vectors[layer, 1]
            maa_x, maa_w, maa_k = vectors[layer, 2], vectors[layer, 3], vectors[layer, 4]
            maa_v, maa_r, maa_g = vectors[layer, 5], vectors[layer, 6], vectors[layer, 7]
            base_decay, bonus = vectors[layer, 8], vectors[layer, 9]
            ln_x, ln_x_bias = vectors[layer, 10], vectors[layer, 11]
            ln2, ln2_bias = vectors[layer, 12], vectors[layer, 13]
            ffn_maa_k, ffn_maa_r = vectors[layer, 14], vectors[layer, 15]
            shift = 4 * layer * width

            for row in range(rows):
                if not alone:
                    att_at = addresses[start + row, 0]
                last = _floats_at(att_at + shift, width)
                _layer_norm(normed[row], x[row], ln1, ln1_bias, width)
                _step_back(step[row], last, normed[row], width)
                _mix(mixed[row], normed[row], step[row], maa_x, width)
            at = _project(low, rows, 5 * mix_rank, panels, 0, mixed, 0, width)
            for row in range(rows):
                _tanh(low[row], 5 * mix_rank)

            at = _project(more, rows, width, panels, at, low, 0, mix_rank)
            for row in range(rows):
                _mix_by_token(mixed[row], normed[row], step[row], maa_w, more[row], width)
            at = _project(decay, rows, decay_rank, panels, at, mixed, 0, width)
            for row in range(rows):
                _tanh(decay[row], decay_rank)
            at = _project(more, rows, width, panels, at, decay, 0, decay_rank)
            for row in range(rows):
                _decay(decay[row], base_decay, more[row], width)

            at = _project(more, rows, width, panels, at, low, mix_rank, mix_rank)
            for row in range(rows):
                _mix_by_token(mixed[row], normed[row], step[row], maa_k, more[row], width)
            at = _project(k, rows, width, panels, at, mixed, 0, width)
            at = _project(more, rows, width, panels, at, low, 2 * mix_rank, mix_rank)
            for row in range(rows):
                _mix_by_token(mixed[row], normed[row], step[row], maa_v, more[row], width)
            at = _project(v, rows, width, panels, at, mixed, 0, width)
            at = _project(more, rows, width, panels, at, low, 3 * mix_rank, mix_rank)
            for row in range(rows):
                _mix_by_token(mixed[row], normed[row], step[row], maa_r, more[row], width)
            at = _project(r, rows, width, panels, at, mixed, 0, width)
            at = _project(more, rows, width, panels, at, low, 4 * mix_rank, mix_rank)
            for row in range(rows):
                _mix_by_token(mixed[row], normed[row], step[row], maa_g, more[row], width)
            at = _project(g, rows, width, panels, at, mixed, 0, width)

            for row in range(rows):
                if not alone:
                    wkv_at = addresses[start + row, 2]
                for h in range(heads):
                    a, b = h * HEAD_SIZE, (h + 1) * HEAD_SIZE
                    place = wkv_at + 4 * (layer * heads + h) * _HEAD_FLOATS
                    state = _floats_at(place, _HEAD_FLOATS)
                    y = mixed[row, a:b]
                    _wkv(
                        y, state, r[row, a:b], k[row, a:b], v[row, a:b], decay[row, a:b], bonus[a:b]
                    )
                    _norm_and_gate(y, ln_x[a:b], ln_x_bias[a:b], g[row, a:b])
            at = _project(more, rows, width, panels, at, mixed, 0, width)

            for row in range(rows):
                if not alone:
                    ffn_at = addresses[start + row, 1]
                last = _floats_at(ffn_at + shift, width)
                _add(x[row], more[row], width)
                _layer_norm(normed[row], x[row], ln2, ln2_bias, width)
                _step_back(step[row], last, normed[row], width)
                _mix(mixed[row], normed[row], step[row], ffn_maa_r, width)
            at = _project(r, rows, width, panels, at, mixed, 0, width)
            for row in range(rows):
                _mix(mixed[row], normed[row], step[row], ffn_maa_k, width)
            at = _project(k, rows, hidden, panels, at, mixed, 0, width)
            for row in range(rows):
                _square(k[row], hidden)
            at = _project(more, rows, width, panels, at, k, 0, hidden)
            for row in range(rows):
                _add_gated(x[row], more[row], r[row], width)
        if alone and start + rows < tokens.size:
            continue
        for row in range(rows):
            _layer_norm(normed[row], x[row], final[0], final[1], width)
        if alone:
            normed[0, :width] = normed[rows - 1, :width]
            rows = 1
        _project(logits[start * (not alone) :], rows, logits.shape[1], head, 0, normed, 0, width)
