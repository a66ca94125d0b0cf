"""The numbers of numpy's Philox generator, drawn on the device.

Philox4x64-10 (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011) turns a
counter into four words of 64 bits; numpy counts up before each block and takes its words in order.
So a draw is a pure function of the key, the counter and the number of draws before it: whoever
knows these needs no generator.
"""

import numpy as np
import triton
import triton.language as tl
from numpy.typing import NDArray

from lofid.kernels.targets import Variant

_M0 = tl.constexpr(0xD2E7470EE14C6C93)
_M1 = tl.constexpr(0xCA5A826395121157)
_W0 = tl.constexpr(0x9E3779B97F4A7C15)
_W1 = tl.constexpr(0xBB67AE8584CAA73B)


@triton.jit
def philox4x64(
    k0: tl.tensor,
    k1: tl.tensor,
    c0: tl.tensor,
    c1: tl.tensor,
    c2: tl.tensor,
    c3: tl.tensor,
) -> tuple[tl.tensor, tl.tensor, tl.tensor, tl.tensor]:
    """The four words of one block: key and counter uint64, words first to last."""
    m0 = tl.full((), _M0, tl.uint64)
    m1 = tl.full((), _M1, tl.uint64)
    for _ in tl.static_range(10):
        high0 = tl.umulhi(m0, c0)
        high1 = tl.umulhi(m1, c2)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, m1 * c2, high0 ^ c3 ^ k1, m0 * c0
        k0 = k0 + tl.full((), _W0, tl.uint64)
        k1 = k1 + tl.full((), _W1, tl.uint64)
    return c0, c1, c2, c3


@triton.jit
def random_at(
    numbers: tl.tensor,
    drawn: tl.tensor,
) -> tl.tensor:
    """What ``Generator.random()`` gives: float64 in [0, 1).

    ``numbers`` points at six words of 64 bits, two of the key and four of the counter; ``drawn``
    counts the words taken since the block of that counter, whose own four words come first.
    """
    block = (drawn // 4).to(tl.uint64)
    c0 = tl.load(numbers + 2).to(tl.uint64) + block
    carry = (c0 < block).to(tl.uint64)
    c1 = tl.load(numbers + 3).to(tl.uint64) + carry
    carry = carry & (c1 == 0).to(tl.uint64)
    c2 = tl.load(numbers + 4).to(tl.uint64) + carry
    carry = carry & (c2 == 0).to(tl.uint64)
    c3 = tl.load(numbers + 5).to(tl.uint64) + carry
    k0 = tl.load(numbers).to(tl.uint64)
    k1 = tl.load(numbers + 1).to(tl.uint64)
    w0, w1, w2, w3 = philox4x64(k0, k1, c0, c1, c2, c3)
    place = drawn % 4
    word = tl.where(place < 2, tl.where(place == 0, w0, w1), tl.where(place == 2, w2, w3))
    return (word >> 11).to(tl.int64).to(tl.float64) * (1.0 / 9007199254740992.0)


@triton.jit
def draw_kernel(
    numbers: tl.tensor,
    drawn: tl.tensor,
    out: tl.tensor,
) -> None:
    """``out[i]`` float64 [N] from ``numbers`` int64 [N, 6] and ``drawn`` int32 [N]; grid (N,)."""
    i = tl.program_id(0)
    tl.store(out + i, random_at(numbers + i * 6, tl.load(drawn + i)))


def draws_reference(numbers: NDArray[np.int64], drawn: NDArray[np.int32]) -> NDArray[np.float64]:
    """What :func:`draw_kernel` gives, by numpy's own generator; arguments as there."""
    found = np.empty(len(drawn))
    for i, (words, before) in enumerate(zip(numbers.view(np.uint64), drawn.tolist(), strict=True)):
        philox = np.random.Philox(key=words[:2], counter=words[2:])
        philox.advance((before // 4 - 1) % 2**256)  # it counts up before each block
        found[i] = np.random.Generator(philox).random(4)[before % 4]
    return found


VARIANTS = (
    Variant(draw_kernel, {"numbers": "*i64", "drawn": "*i32", "out": "*fp64"}, {}, warps=1),
)
