"""From logits to the next token of every stream, in one launch, and a plain reference of it.

Each slot writes a bar (:class:`~lofid.kernels.bars.BarTable`): first the tokens that are forced,
then tokens that are drawn, within a grammar and under rules, until the bar's end has been decoded.
All that depends on what was written so far is a row of integers, so nothing is asked of the host: a
step is a launch without sync or allocation, and a CUDA graph may hold several. Fits the buffers
and the order of :mod:`lofid.kernels.decode`: a step samples, then decodes.

**Buffers** (:class:`Sampler`), on the device, beside those of decoding:

- ``running``: int32 [M, B, ``SlotField``], all that changes while a bar is written.
- ``whole``: int32 [M, B, ``IntField``]; ``real``: float64 [M, B, ``FloatField``].
- ``flags``: int32 [M, B, V], sums of ``Flag``, 0 for tokens that are never drawn.
- ``bias``: float64 [M, B, ``SHARES``, V]; ``owed``: int32 [M, B, ``OWED``, 3].
- ``forced``: int32 [M, B, ``FORCED``].
- ``numbers``: int64 [M, B, 6], the bits of Philox' key and counter.

**The draw** is that of :class:`lofid.compose.player.Player`, in float64 as there: softmax, nucleus,
one number of numpy's Philox. A sorted list of shares is not needed. What falls into the nucleus is
decided by the largest share at which those no smaller sum to ``top_p``; the token, likewise, by the
largest at which they sum to more than the number drawn. Both are found by bisection between shares
that occur, some ten sums each; among equal shares the lower token comes first. Only the order of
summation differs from the host, so the same seed gives the same tokens.
"""

import zlib
from enum import IntEnum
from typing import Final

import numpy as np
import torch
import triton
import triton.language as tl
from numpy.typing import NDArray
from torch import Tensor

from lofid.kernels.bars import (
    OWED,
    SHARES,
    BarTable,
    Flag,
    FloatField,
    IntField,
    PlayerKind,
    TablePhase,
)
from lofid.kernels.philox import draws_reference, random_at
from lofid.kernels.targets import Variant

Integers = NDArray[np.int32]
Floats = NDArray[np.float64]

FORCED: Final = 512
"""Tokens at most that may come before anything is drawn."""


class SlotField(IntEnum):
    """Integers that change while a bar is written."""

    PHASE = 0
    FLOOR = 1
    """The lowest position that may come next."""
    NOTE_FLOOR = 2
    """The lowest note that may come next at this position."""
    QUEUED = 3
    """Forced tokens given out."""
    WRITTEN = 4
    """Tokens drawn."""
    DRAWN = 5
    """Words of Philox taken; see ``BarTable.drawn``."""
    PAID = 6
    """Events written of those owed."""
    POSITION = 7
    """From 0; -1 before the first of a bar of drums."""
    LAST = 8
    """The last note token."""
    HERE = 9
    """Comping notes at this position."""
    UPPERMOST = 10
    """The last comping token at this position."""
    LEAD_HERE = 11
    LEADS = 12
    NOTES = 13
    """Comping notes, or hits."""
    ONSETS = 14
    CRASHES = 15
    FAILED = 16
    """1 where logits were no numbers: the slot has stopped."""


_LAYOUT: Final = zlib.crc32(
    repr(
        [
            list(fields.__members__)
            for fields in (PlayerKind, TablePhase, Flag, IntField, FloatField, SlotField)
        ]
    ).encode()
)
"""Changes with the order of fields, which Triton's cache of kernels does not look into."""


@triton.constexpr_function
def _whole(name: str) -> int:
    return int(IntField[name])


@triton.constexpr_function
def _real(name: str) -> int:
    return int(FloatField[name])


@triton.constexpr_function
def _running(name: str) -> int:
    return int(SlotField[name])


@triton.constexpr_function
def _flag(name: str) -> int:
    return int(Flag[name])


@triton.constexpr_function
def _phase(name: str) -> int:
    return int(TablePhase[name])


_KEYS = tl.constexpr(int(PlayerKind.KEYS))
_WHOLES = tl.constexpr(len(IntField))
_REALS = tl.constexpr(len(FloatField))
_RUNNINGS = tl.constexpr(len(SlotField))
_SHARES = tl.constexpr(SHARES)
_OWED = tl.constexpr(OWED)


@triton.jit
def _legal(
    v: tl.tensor,
    flags: tl.tensor,
    running: tl.tensor,
    phase: tl.tensor,
) -> tl.tensor:
    """The tokens that the grammar lets come next; ``flags`` [V] are those of the tokens ``v``."""
    at_place = (phase == _phase("POSITION")) | (phase == _phase("NOTE"))
    between = (phase == _phase("OPEN")) | (phase == _phase("NOTE"))
    higher = v >= tl.load(running + _running("NOTE_FLOOR"))
    later = v >= tl.load(running + _running("FLOOR"))
    notes = ((flags & _flag("NOTE")) != 0) & higher & at_place
    positions = ((flags & _flag("POSITION")) != 0) & later & between
    end = ((flags & _flag("END")) != 0) & between
    lengths = ((flags & _flag("LENGTH")) != 0) & (phase == _phase("PITCH"))
    return notes | positions | end | lengths


@triton.jit
def _keys_bias(
    bias: tl.tensor,
    v: tl.tensor,
    flags: tl.tensor,
    whole: tl.tensor,
    real: tl.tensor,
    owed: tl.tensor,
    running: tl.tensor,
    phase: tl.tensor,
) -> tl.tensor:
    """Rules of keys: ``bias`` [V], that of the chord, as it stands after what was written."""
    comping = (flags & _flag("COMPING")) != 0
    lead = (flags & _flag("LEAD")) != 0
    positions = (flags & _flag("POSITION")) != 0
    is_end = (flags & _flag("END")) != 0
    last = tl.load(running + _running("LAST"))
    here = tl.load(running + _running("HERE"))
    uppermost = tl.load(running + _running("UPPERMOST"))
    led = tl.load(running + _running("LEAD_HERE")) != 0
    spent = tl.load(running + _running("LEADS")) >= tl.load(whole + _whole("MOST_LEADS"))
    # The melody stays above the chords, and clear of one that it sounds with.
    clear = uppermost + tl.load(whole + _whole("INTERVAL")) + tl.load(whole + _whole("CLEARANCE"))
    lowest = tl.maximum(tl.where(here > 0, clear, 0), tl.load(whole + _whole("LOWEST_LEAD")))
    bias = tl.where(lead & (led | spent | (v < lowest)), float("-inf"), bias)
    if tl.load(whole + _whole("KEPT")) != 0:
        paid = tl.load(running + _running("PAID"))
        left = paid < tl.load(whole + _whole("OWED"))
        at = tl.load(owed + paid * 3, mask=left, other=-1)
        pitch = tl.load(owed + paid * 3 + 1, mask=left, other=-1)
        length = tl.load(owed + paid * 3 + 2, mask=left, other=-1)
        here_now = at == tl.load(running + _running("POSITION"))
        at_place = (phase == _phase("POSITION")) | (phase == _phase("NOTE"))
        unfinished = left & (phase == _phase("PITCH")) & (last == pitch)
        due = left & at_place & here_now & ~led
        only = tl.where(unfinished, length, tl.where(due, pitch, -1))
        kept_at = tl.load(whole + _whole("POSITIONS")) + at
        bias = tl.where(comping, float("-inf"), bias)
        owing = left & (phase != _phase("PITCH"))
        bias = tl.where(owing & (is_end | (positions & (v > kept_at))), float("-inf"), bias)
        bias = tl.where(only >= 0, tl.where(v == only, 0.0, float("-inf")), bias)
        # No melody note is left: only positions where comping follows.
        between = (phase == _phase("OPEN")) | (phase == _phase("NOTE"))
        useless = positions & ((v != kept_at) | ~left)
        bias = tl.where(between & spent & useless, float("-inf"), bias)
    else:
        short = ((flags & _flag("SHORT")) != 0) & (phase == _phase("PITCH")) & ~led
        bias = tl.where(short, tl.load(real + _real("CLIPPED")), bias)
        onsets = tl.load(running + _running("ONSETS")).to(tl.float64)
        enough = tl.load(real + _real("ENOUGH"))
        more = tl.load(real + _real("ONE_MORE")) * (onsets + 1.0 - enough)
        more = tl.where(onsets >= enough, more, 0.0)
        bias = tl.where(positions, bias + more, bias)
        notes = tl.load(running + _running("NOTES"))
        few = notes < tl.load(whole + _whole("FEWEST_NOTES"))
        bias = tl.where(is_end & few, float("-inf"), bias)
        late = ((flags & _flag("LATE")) != 0) & (notes == 0)
        bias = tl.where(late, bias + tl.load(real + _real("ENTERING_LATE")), bias)
        scattered = (here > 0) & (here < tl.load(whole + _whole("GATHERED")))
        early = tl.where(scattered, tl.load(real + _real("LEAVING_EARLY")), 0.0)
        bias = tl.where(positions | is_end, bias + early, bias)
        full = here >= tl.load(whole + _whole("NOTES_AT_ONCE"))
        low = (here > 0) & (uppermost < tl.load(whole + _whole("CLUSTERS_STOP")))
        mud = full | (low & (v == uppermost + 1))
        bias = tl.where(comping & mud, float("-inf"), bias)
    return bias


@triton.jit
def _drums_bias(
    bias: tl.tensor,
    v: tl.tensor,
    flags: tl.tensor,
    whole: tl.tensor,
    real: tl.tensor,
    owed: tl.tensor,
    running: tl.tensor,
) -> tl.tensor:
    """Rules of drums: ``bias`` [V] of the bar as it stands after what was written."""
    hits = (flags & _flag("NOTE")) != 0
    positions = (flags & _flag("POSITION")) != 0
    position = tl.load(running + _running("POSITION"))
    crashed = tl.load(running + _running("CRASHES")) >= tl.load(whole + _whole("MOST_CRASHES"))
    bias = tl.where(((flags & _flag("CRASH")) != 0) & crashed, float("-inf"), bias)
    on_eighth = ((flags & _flag("HAT")) != 0) & (position % 2 == 0)
    bias = tl.where(on_eighth, bias + tl.load(real + _real("ON_EIGHTHS")), bias)
    paid = tl.load(running + _running("PAID"))
    owes = tl.load(whole + _whole("OWED"))
    left = paid < owes
    written = tl.load(running + _running("NOTES"))
    full = written >= tl.load(whole + _whole("MOST_HITS")) - (owes - paid)
    at = tl.load(owed + paid * 3, mask=left, other=-1)
    first = tl.load(owed + paid * 3 + 1, mask=left, other=-1)
    stop = tl.load(owed + paid * 3 + 2, mask=left, other=-1)
    due_at = tl.load(whole + _whole("POSITIONS")) + at
    # Hits at one position rise through the classes: nothing beyond the one that is due.
    due_now = positions | (hits & ((v >= stop) | (full & (v < first))))
    due_later = positions & (v > due_at)
    due_later = due_later | (full & (hits | (positions & (v < due_at))))
    owing = ((flags & _flag("END")) != 0) | tl.where(at == position, due_now, due_later)
    banned = tl.where(left, owing, full & (hits | positions))
    return tl.where(banned, float("-inf"), bias)


@triton.jit
def _share_at(
    shares: tl.tensor,
    mass: tl.tensor,
    STRICT: tl.constexpr,
) -> tl.tensor:
    """The largest share at which those no smaller sum to ``mass``, or to more if ``STRICT``.

    Where none does, for rounding, the smallest. ``shares`` [V] float64, those not meant 0.
    """
    low = tl.min(tl.where(shares > 0.0, shares, float("inf")), 0)
    high = tl.max(shares, 0)
    while low < high:
        middle = (low + high) * 0.5
        middle = tl.where(middle > low, middle, high)
        above = tl.sum(tl.where(shares >= middle, shares, 0.0), 0)
        reached = (above > mass) if STRICT else (above >= mass)
        smallest = tl.min(tl.where(shares >= middle, shares, float("inf")), 0)
        largest = tl.max(tl.where(shares < middle, shares, 0.0), 0)
        low = tl.where(reached, smallest, low)
        high = tl.where(reached, high, largest)
    return low


@triton.jit
def _drawn(
    scores: tl.tensor,
    v: tl.tensor,
    top_p: tl.tensor,
    number: tl.tensor,
) -> tl.tensor:
    """The token drawn from the nucleus of the softmax of ``scores`` [V] float64, -inf if barred."""
    shares = tl.exp(scores - tl.max(scores, 0))
    shares = shares / tl.sum(shares, 0)
    edge = _share_at(shares, top_p, STRICT=False)
    before = tl.sum(tl.where(shares > edge, shares, 0.0), 0)
    equals = shares == edge
    rank = tl.cumsum(equals.to(tl.int32), 0) - 1
    kept = (shares > edge) | (equals & (before + rank.to(tl.float64) * edge < top_p))
    shares = tl.where(kept, shares, 0.0)
    point = number * tl.sum(shares, 0)
    edge = _share_at(shares, point, STRICT=True)
    before = tl.sum(tl.where(shares > edge, shares, 0.0), 0)
    equals = shares == edge
    rank = tl.cumsum(equals.to(tl.int32), 0)
    hit = equals & (before + rank.to(tl.float64) * edge > point)
    fallback = tl.max(tl.where(equals, v, -1), 0)
    return tl.min(tl.where(hit, v, fallback), 0)


@triton.jit
def _next(
    x: tl.tensor,
    v: tl.tensor,
    flags: tl.tensor,
    whole: tl.tensor,
    real: tl.tensor,
    bias: tl.tensor,
    owed: tl.tensor,
    running: tl.tensor,
    numbers: tl.tensor,
    phase: tl.tensor,
    WIDTH: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor]:
    """The token that follows in a phase that is not ``CLOSED``, and the words of Philox then taken.

    ``x`` [V] float64 are logits.
    """
    legal = _legal(v, flags, running, phase)
    changed = tl.load(running + _running("POSITION")) >= tl.load(whole + _whole("CHANGE"))
    added = tl.load(bias + changed.to(tl.int32) * WIDTH + v, mask=flags != 0, other=0.0)
    if tl.load(whole + _whole("KIND")) == _KEYS:
        added = _keys_bias(added, v, flags, whole, real, owed, running, phase)
    else:
        added = _drums_bias(added, v, flags, whole, real, owed, running)
    end = tl.load(whole + _whole("END"))
    allowed = legal & (added > float("-inf"))
    end_legal = (phase == _phase("OPEN")) | (phase == _phase("NOTE"))
    may_end = tl.max((allowed & (v == end)).to(tl.int32), 0) != 0
    cornered = tl.max(allowed.to(tl.int32), 0) == 0
    long = tl.load(running + _running("WRITTEN")) >= tl.load(whole + _whole("LONGEST"))
    token = end
    words = tl.load(running + _running("DRAWN"))
    if ((long & may_end) | (cornered & end_legal)) == 0:
        # Rules may forbid, but never corner the grammar.
        allowed = tl.where(cornered, legal, allowed)
        added = tl.where(cornered, 0.0, added)
        scores = (x + added) / tl.load(real + _real("TEMPERATURE"))
        scores = tl.where(allowed, scores, float("-inf"))
        token = _drawn(scores, v, tl.load(real + _real("TOP_P")), random_at(numbers, words))
        words += 1
    return token, words


@triton.jit
def _advance(
    token: tl.tensor,
    flags: tl.tensor,
    whole: tl.tensor,
    owed: tl.tensor,
    running: tl.tensor,
) -> None:
    """Take note of a token that was drawn, in the grammar and in the rules; its own ``flags``."""
    notes_start = tl.load(whole + _whole("NOTES"))
    paid = tl.load(running + _running("PAID"))
    left = paid < tl.load(whole + _whole("OWED"))
    owed_first = tl.load(owed + paid * 3 + 1, mask=left, other=-1)
    written = tl.load(running + _running("WRITTEN"))
    tl.store(running + _running("WRITTEN"), written + 1)
    if (flags & _flag("END")) != 0:
        tl.store(running + _running("PHASE"), _phase("CLOSED"))
    elif (flags & _flag("POSITION")) != 0:
        tl.store(running + _running("PHASE"), _phase("POSITION"))
        tl.store(running + _running("FLOOR"), token + 1)
        tl.store(running + _running("NOTE_FLOOR"), notes_start)
        position = token - tl.load(whole + _whole("POSITIONS"))
        tl.store(running + _running("POSITION"), position)
        tl.store(running + _running("HERE"), 0)
        tl.store(running + _running("LEAD_HERE"), 0)
    elif (flags & _flag("NOTE")) != 0:
        unfinished = tl.load(whole + _whole("LENGTHS")) != 0
        tl.store(running + _running("PHASE"), tl.where(unfinished, _phase("PITCH"), _phase("NOTE")))
        stride = tl.load(whole + _whole("STRIDE"))
        following = notes_start + ((token - notes_start) // stride + 1) * stride
        tl.store(running + _running("NOTE_FLOOR"), following)
        tl.store(running + _running("LAST"), token)
        if (flags & _flag("LEAD")) != 0:
            tl.store(running + _running("LEAD_HERE"), 1)
            leads = tl.load(running + _running("LEADS"))
            tl.store(running + _running("LEADS"), leads + 1)
        else:
            notes = tl.load(running + _running("NOTES"))
            tl.store(running + _running("NOTES"), notes + 1)
            here = tl.load(running + _running("HERE"))
            onsets = tl.load(running + _running("ONSETS"))
            tl.store(running + _running("ONSETS"), onsets + (here == 0).to(tl.int32))
            tl.store(running + _running("HERE"), here + 1)
            tl.store(running + _running("UPPERMOST"), token)
            crashes = tl.load(running + _running("CRASHES"))
            crash = (flags & _flag("CRASH")) != 0
            tl.store(running + _running("CRASHES"), crashes + crash.to(tl.int32))
            if tl.load(whole + _whole("KIND")) != _KEYS:
                at = tl.load(owed + paid * 3, mask=left, other=-1)
                stop = tl.load(owed + paid * 3 + 2, mask=left, other=-1)
                due = left & (at == tl.load(running + _running("POSITION")))
                done = due & (token >= owed_first) & (token < stop)
                tl.store(running + _running("PAID"), paid + done.to(tl.int32))
    else:  # a length
        tl.store(running + _running("PHASE"), _phase("NOTE"))
        done = left & (tl.load(running + _running("LAST")) == owed_first)
        tl.store(running + _running("PAID"), paid + done.to(tl.int32))


@triton.jit
def sample_kernel(
    logits: tl.tensor,
    tokens: tl.tensor,
    active: tl.tensor,
    running: tl.tensor,
    whole: tl.tensor,
    real: tl.tensor,
    flags: tl.tensor,
    bias: tl.tensor,
    owed: tl.tensor,
    forced: tl.tensor,
    numbers: tl.tensor,
    SLOTS: tl.constexpr,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
    FORCED: tl.constexpr,
    LAYOUT: tl.constexpr,
) -> None:
    """Write the next token of every active slot, or end its activity; see the module's docstring.

    ``WIDTH`` is V, ``BLOCK`` that up to a power of two, ``SLOTS`` B. Grid: (B, M).
    """
    slot = tl.program_id(1) * SLOTS + tl.program_id(0)
    slot = slot.to(tl.int64)
    running += slot * _RUNNINGS
    whole += slot * _WHOLES
    flags += slot * WIDTH
    owed += slot * _OWED * 3
    going = tl.load(active + slot)
    queued = tl.load(running + _running("QUEUED"))
    phase = tl.load(running + _running("PHASE"))
    tl.debug_barrier()  # all warps have read what one of them will write
    if going != 0:
        if queued < tl.load(whole + _whole("FORCED")):
            tl.store(tokens + slot, tl.load(forced + slot * FORCED + queued))
            tl.store(running + _running("QUEUED"), queued + 1)
        else:
            v = tl.arange(0, BLOCK)
            what = tl.load(flags + v, mask=v < WIDTH, other=0)
            x = tl.load(logits + slot * WIDTH + v, mask=v < WIDTH, other=0.0)
            broken = tl.max((tl.abs(x) < float("inf")).to(tl.int32) ^ 1, 0)
            if (broken != 0) | (phase == _phase("CLOSED")):
                tl.store(running + _running("FAILED"), broken)
                tl.store(active + slot, 0)
            else:
                token, words = _next(
                    x.to(tl.float64),
                    v,
                    what,
                    whole,
                    real + slot * _REALS,
                    bias + slot * _SHARES * WIDTH,
                    owed,
                    running,
                    numbers + slot * 6,
                    phase,
                    WIDTH,
                )
                tl.debug_barrier()
                tl.store(tokens + slot, token)
                tl.store(running + _running("DRAWN"), words)
                _advance(token, tl.load(flags + token), whole, owed, running)


class Sampler:
    """What sampling keeps for M models of B slots each, and its launch.

    ``width`` is V, the filled vocabulary that the logits have.
    """

    def __init__(self, models: int, slots: int, width: int, device: torch.device | str) -> None:
        self._slots = slots
        self._width = width

        def zeros(*sizes: int, dtype: torch.dtype = torch.int32) -> Tensor:
            return torch.zeros((models, slots, *sizes), dtype=dtype, device=device)

        self.running = zeros(len(SlotField))
        self.whole = zeros(len(IntField))
        self.real = zeros(len(FloatField), dtype=torch.float64)
        self.flags = zeros(width)
        self.bias = zeros(SHARES, width, dtype=torch.float64)
        self.owed = zeros(OWED, 3)
        self.forced = zeros(FORCED)
        self.numbers = zeros(6, dtype=torch.int64)

    def put(self, model: int, slot: int, bar: BarTable) -> None:
        """Let a slot that is not active begin a bar; whoever calls makes it active.

        Raises ValueError for a bar that owes more than ``OWED`` events, or forces more than
        ``FORCED`` tokens.
        """
        if len(bar.owed) > OWED or len(bar.forced) > FORCED:
            raise ValueError(
                f"a bar of {len(bar.owed)} events owed and {len(bar.forced)} tokens forced is too "
                f"long for a slot, which holds {OWED} and {FORCED}"
            )
        whole = np.zeros(len(IntField), np.int32)
        for integer, value in bar.whole.items():
            whole[integer] = value
        real = np.zeros(len(FloatField))
        for number, amount in bar.real.items():
            real[number] = amount
        flags = np.zeros(self._width, np.int32)
        for flag, tokens in bar.flags.items():
            flags[tokens.start : tokens.stop] |= flag
        running = np.zeros(len(SlotField), np.int32)
        running[SlotField.PHASE] = whole[IntField.PHASE]
        running[SlotField.FLOOR] = whole[IntField.POSITIONS]
        running[SlotField.NOTE_FLOOR] = whole[IntField.NOTES]
        running[SlotField.DRAWN] = bar.drawn
        running[SlotField.POSITION] = 0 if whole[IntField.KIND] == PlayerKind.KEYS else -1
        whole[IntField.OWED], whole[IntField.FORCED] = len(bar.owed), len(bar.forced)
        for kept, values in (
            (self.running, running),
            (self.whole, whole),
            (self.real, real),
            (self.flags, flags),
            (self.owed, np.array(bar.owed, np.int32).reshape(-1, 3)),
            (self.forced, np.array(bar.forced, np.int32)),
            (self.numbers, np.concatenate((bar.key, bar.counter)).view(np.int64)),
        ):
            kept[model, slot, : len(values)] = torch.from_numpy(values).to(kept.device)
        shares, size = bar.bias.shape
        bias = torch.from_numpy(np.ascontiguousarray(bar.bias)).to(self.bias.device)
        self.bias[model, slot, :shares, :size] = bias

    def step(self, logits: Tensor, tokens: Tensor, active: Tensor) -> None:
        """Write the next token of every active slot, or end its activity.

        ``logits`` float32 [M, B, V], ``tokens`` and ``active`` int32 [M, B]. One launch.
        """
        models, slots = tokens.shape
        sample_kernel[(slots, models)](
            logits, tokens, active, *self._buffers(), **_constants(slots, self._width)
        )

    def failed(self, model: int, slot: int) -> bool:
        """Whether a slot has stopped for logits that were no numbers. Waits for the device."""
        return bool(self.running[model, slot, SlotField.FAILED].item())

    def _buffers(self) -> tuple[Tensor, ...]:
        return (
            self.running,
            self.whole,
            self.real,
            self.flags,
            self.bias,
            self.owed,
            self.forced,
            self.numbers,
        )


def _constants(slots: int, width: int) -> dict[str, int]:
    return {
        "SLOTS": slots,
        "WIDTH": width,
        "BLOCK": triton.next_power_of_2(width),
        "FORCED": FORCED,
        "LAYOUT": _LAYOUT,
    }


def reference_step(sampler: Sampler, logits: Tensor, tokens: Tensor, active: Tensor) -> None:
    """What :meth:`Sampler.step` does, slot by slot, on a CPU's tensors; the nucleus by sorting."""
    for m, b in np.argwhere(active.numpy() != 0):
        running, forced = sampler.running[m, b].numpy(), sampler.forced[m, b].numpy()
        whole, real = sampler.whole[m, b].numpy(), sampler.real[m, b].numpy()
        flags, owed = sampler.flags[m, b].numpy(), sampler.owed[m, b].numpy()
        queued = running[SlotField.QUEUED]
        if queued < whole[IntField.FORCED]:
            tokens[m, b] = int(forced[queued])
            running[SlotField.QUEUED] += 1
            continue
        x = logits[m, b].numpy()
        running[SlotField.FAILED] = not np.isfinite(x).all()
        if running[SlotField.FAILED] or running[SlotField.PHASE] == TablePhase.CLOSED:
            active[m, b] = 0
            continue
        left = [tuple(row) for row in owed[running[SlotField.PAID] : whole[IntField.OWED]].tolist()]
        chord = int(running[SlotField.POSITION] >= whole[IntField.CHANGE])
        bias = sampler.bias[m, b, chord].numpy().copy()
        rules = _reference_keys if whole[IntField.KIND] == PlayerKind.KEYS else _reference_drums
        rules(bias, flags, whole, real, running, left)
        numbers = sampler.numbers[m, b].numpy()
        tokens[m, b] = token = _reference_next(x, bias, flags, whole, real, running, numbers)
        _reference_advance(token, flags[token], whole, running, left)


_Owed = list[tuple[int, ...]]


def _reference_keys(
    bias: Floats, flags: Integers, whole: Integers, real: Floats, running: Integers, left: _Owed
) -> None:
    """Add the rules of keys."""
    v = np.arange(len(flags))
    comping, lead = flags & Flag.COMPING > 0, flags & Flag.LEAD > 0
    positions, end = flags & Flag.POSITION > 0, flags & Flag.END > 0
    phase, here, uppermost = (
        running[i] for i in (SlotField.PHASE, SlotField.HERE, SlotField.UPPERMOST)
    )
    spent = running[SlotField.LEADS] >= whole[IntField.MOST_LEADS]
    clear = uppermost + whole[IntField.INTERVAL] + whole[IntField.CLEARANCE] if here else 0
    no_lead = bool(running[SlotField.LEAD_HERE] or spent)
    bias[lead & (no_lead | (v < max(clear, whole[IntField.LOWEST_LEAD])))] = -np.inf
    if whole[IntField.KEPT]:
        at, pitch, length = left[0] if left else (-1, -1, -1)
        due = at == running[SlotField.POSITION] and not running[SlotField.LEAD_HERE]
        kept_at = at + whole[IntField.POSITIONS]
        bias[comping] = -np.inf
        if phase == TablePhase.PITCH:
            if running[SlotField.LAST] == pitch:
                bias[:] = np.where(v == length, 0.0, -np.inf)
        elif left:
            bias[end | (positions & (v > kept_at))] = -np.inf
            if due and phase != TablePhase.OPEN:
                bias[:] = np.where(v == pitch, 0.0, -np.inf)
        if phase in (TablePhase.OPEN, TablePhase.NOTE) and spent:
            bias[positions & ((v != kept_at) | (not left))] = -np.inf
        return
    if phase == TablePhase.PITCH and running[SlotField.LAST] in v[comping]:
        bias[flags & Flag.SHORT > 0] = real[FloatField.CLIPPED]
    if running[SlotField.ONSETS] >= real[FloatField.ENOUGH]:
        excess = running[SlotField.ONSETS] + 1 - real[FloatField.ENOUGH]
        bias[positions] += real[FloatField.ONE_MORE] * excess
    if running[SlotField.NOTES] < whole[IntField.FEWEST_NOTES]:
        bias[end] = -np.inf
    if running[SlotField.NOTES] == 0:
        bias[flags & Flag.LATE > 0] += real[FloatField.ENTERING_LATE]
    if 0 < here < whole[IntField.GATHERED]:
        bias[positions | end] += real[FloatField.LEAVING_EARLY]
    if here >= whole[IntField.NOTES_AT_ONCE]:
        bias[comping] = -np.inf
    elif here and uppermost < whole[IntField.CLUSTERS_STOP]:
        bias[comping & (v == uppermost + 1)] = -np.inf


def _reference_drums(
    bias: Floats, flags: Integers, whole: Integers, real: Floats, running: Integers, left: _Owed
) -> None:
    """Add the rules of drums."""
    v = np.arange(len(flags))
    hits, positions = flags & Flag.NOTE > 0, flags & Flag.POSITION > 0
    if running[SlotField.CRASHES] >= whole[IntField.MOST_CRASHES]:
        bias[flags & Flag.CRASH > 0] = -np.inf
    if running[SlotField.POSITION] % 2 == 0:
        bias[flags & Flag.HAT > 0] += real[FloatField.ON_EIGHTHS]
    full = running[SlotField.NOTES] >= whole[IntField.MOST_HITS] - len(left)
    if left:
        at, first, stop = left[0]
        bias[flags & Flag.END > 0] = -np.inf
        if at == running[SlotField.POSITION]:
            bias[positions | (hits & (v >= stop))] = -np.inf
            bias[hits & full & (v < first)] = -np.inf
        else:
            bias[positions & (v > whole[IntField.POSITIONS] + at)] = -np.inf
            bias[(hits | (positions & (v < whole[IntField.POSITIONS] + at))) & full] = -np.inf
    elif full:
        bias[hits | positions] = -np.inf


def _reference_next(
    x: NDArray[np.float32],
    bias: Floats,
    flags: Integers,
    whole: Integers,
    real: Floats,
    running: Integers,
    numbers: NDArray[np.int64],
) -> int:
    """Draw the next token."""
    v = np.arange(len(flags))
    phase, end = running[SlotField.PHASE], int(whole[IntField.END])
    at_place, between = (
        phase in (TablePhase.POSITION, TablePhase.NOTE),
        phase in (TablePhase.OPEN, TablePhase.NOTE),
    )
    legal = (flags & Flag.NOTE > 0) & (v >= running[SlotField.NOTE_FLOOR]) & at_place
    legal |= (flags & Flag.POSITION > 0) & (v >= running[SlotField.FLOOR]) & between
    legal |= (flags & Flag.LENGTH > 0) & (phase == TablePhase.PITCH)
    legal[end] = between
    allowed = legal & (bias > -np.inf)
    if running[SlotField.WRITTEN] >= whole[IntField.LONGEST] and allowed[end]:
        return end
    if not allowed.any():
        if legal[end]:
            return end
        allowed, bias = legal, np.zeros_like(bias)
    candidates = np.flatnonzero(allowed)
    scores = (x + bias)[candidates] / real[FloatField.TEMPERATURE]
    shares = np.exp(scores - scores.max())
    shares /= shares.sum()
    order = np.argsort(-shares, kind="stable")
    before = np.concatenate(([0.0], np.cumsum(shares[order])))
    nucleus = int((before[:-1] < real[FloatField.TOP_P]).sum())
    drawn = running[SlotField.DRAWN : SlotField.DRAWN + 1]
    point = draws_reference(numbers[None], drawn)[0] * before[nucleus]
    running[SlotField.DRAWN] += 1
    place = int(np.searchsorted(before[1:nucleus], point, side="right"))
    return int(candidates[order[place]])


def _reference_advance(
    token: int, what: int, whole: Integers, running: Integers, left: _Owed
) -> None:
    """Take note of a token."""
    running[SlotField.WRITTEN] += 1
    due = left[0] if left else (-1, -1, -1)
    if what & Flag.END:
        running[SlotField.PHASE] = TablePhase.CLOSED
    elif what & Flag.POSITION:
        running[SlotField.PHASE], running[SlotField.FLOOR] = TablePhase.POSITION, token + 1
        running[SlotField.NOTE_FLOOR] = whole[IntField.NOTES]
        running[SlotField.POSITION] = token - whole[IntField.POSITIONS]
        running[SlotField.HERE] = running[SlotField.LEAD_HERE] = 0
    elif what & Flag.LENGTH:
        running[SlotField.PHASE] = TablePhase.NOTE
        running[SlotField.PAID] += running[SlotField.LAST] == due[1]
    else:
        running[SlotField.PHASE] = TablePhase.PITCH if whole[IntField.LENGTHS] else TablePhase.NOTE
        start, stride = whole[IntField.NOTES], whole[IntField.STRIDE]
        running[SlotField.NOTE_FLOOR] = start + ((token - start) // stride + 1) * stride
        running[SlotField.LAST] = token
        if what & Flag.LEAD:
            running[SlotField.LEAD_HERE] = 1
            running[SlotField.LEADS] += 1
            return
        running[SlotField.NOTES] += 1
        running[SlotField.ONSETS] += running[SlotField.HERE] == 0
        running[SlotField.HERE] += 1
        running[SlotField.UPPERMOST] = token
        running[SlotField.CRASHES] += what & Flag.CRASH > 0
        if whole[IntField.KIND] == PlayerKind.DRUMS:
            running[SlotField.PAID] += (
                due[0] == running[SlotField.POSITION] and due[1] <= token < due[2]
            )


VARIANTS: Final = (
    Variant(
        sample_kernel,
        {
            "logits": "*fp32",
            "tokens": "*i32",
            "active": "*i32",
            "running": "*i32",
            "whole": "*i32",
            "real": "*fp64",
            "flags": "*i32",
            "bias": "*fp64",
            "owed": "*i32",
            "forced": "*i32",
            "numbers": "*i64",
        },
        _constants(slots=4, width=704),
    ),
)
