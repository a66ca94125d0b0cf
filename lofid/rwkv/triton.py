"""The Triton engine: states stay on the GPU, and a step is a few launches for all streams.

:class:`Deck` is stacked models (keys and drums, say) with slots that streams take and leave while
others run; it generates many steps without asking the host. :class:`TritonEngine` is one model for
whoever has a state in the host's memory. Both keep the very weights of the CPU engine at 8 bits.
Knows nothing of music; how tokens are drawn is a :class:`DeckSampler`'s business.
"""

import ctypes
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from threading import Lock
from typing import Any, Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lofid.kernels.decode import INTERPRETED, Decoder, Streams
from lofid.kernels.prefill import prefill
from lofid.kernels.weights import Shape, Weights, pack
from lofid.rwkv.config import HEAD_SIZE, RwkvConfig
from lofid.rwkv.quantise import quantised
from lofid.rwkv.state import ModelState
from lofid.rwkv.weights import Tensors, check_tensors

STEPS: Final = 8
"""Steps between two words with the host: a dozen waits a bar, few steps done in vain at its end."""

_LONG = 24  # tokens; a text as long is many launches at once, a shorter one few for each token
_AHEAD = 2  # launches of ``steps`` steps that are under way at a time
_CAPTURING = Lock()  # beginning a capture waits for the device, which no other capture survives
_NEVER = np.iinfo(np.int64).max


class DeckSampler(Protocol):
    """Draws tokens on the device."""

    def step(self, logits: Tensor, tokens: Tensor, active: Tensor) -> None:
        """Draw the next token of every active slot: launches only, no sync and no allocation.

        Reads ``logits`` [M, B, V], writes ``tokens`` [M, B]. A slot whose end has been drawn and
        decoded gets no token, but 0 in ``active`` [M, B].
        """
        ...


def default_device() -> torch.device:
    """The GPU; the CPU where Triton interprets kernels."""
    return torch.device("cpu" if INTERPRETED else "cuda")


def stacked(
    models: Sequence[tuple[RwkvConfig, Tensors]], device: torch.device | None = None
) -> Weights:
    """Models of one shape side by side on a device, quantised as the CPU engine does.

    Raises :class:`~lofid.errors.LofidError` for tensors that do not fit, ValueError for models that
    differ in more than their vocabularies.
    """
    for config, tensors in models:
        check_tensors(config, tensors, "the model")
    configs, tensors_of = zip(*models, strict=True)
    return pack(configs, tensors_of, quantised, device or default_device())


@dataclass(frozen=True, slots=True)
class _Launched:
    """Steps under way: the ``number`` of their launch, where tokens [steps, M, B] will be."""

    number: int
    tokens: Tensor
    done: torch.cuda.Event | None


class Deck:
    """M stacked models with ``slots`` slots each; one thread at a time may use it.

    It generates ``steps`` steps between two words with the host.

    A slot is taken with :meth:`add` and given back with :meth:`remove`. From :meth:`start` on,
    :meth:`advance` generates for it until its sampler has come to an end. All other methods may be
    called between two calls of :meth:`advance`, for any slot, whatever the others are doing.
    """

    def __init__(self, weights: Weights, slots: int, steps: int = STEPS) -> None:
        self.shape: Shape = weights.shape
        self.slots = slots
        self.device = weights.embedding.device
        self._on_gpu = self.device.type == "cuda"
        self._stream = torch.cuda.Stream(self.device) if self._on_gpu else None  # type: ignore[no-untyped-call]
        self._decoder = Decoder(weights, slots)

        models, layers, width = self.shape.models, self.shape.layers, self.shape.width
        sizes = (layers * width, layers * width, layers * self.shape.heads * HEAD_SIZE**2)
        self._staged = torch.empty(sum(sizes), device=self.device)
        self._carried = self._pinned(sum(sizes))
        self._parts = self._staged.split(sizes)  # type: ignore[no-untyped-call]
        self._host_parts = [part.numpy() for part in self._carried.split(sizes)]  # type: ignore[no-untyped-call]
        self._logits = self._pinned(self.shape.vocabulary)

        self._free = [list(range(slots))[::-1] for _ in range(models)]
        self._running = np.zeros((models, slots), bool)
        # The first launch that belongs to whoever now runs in a slot.
        self._since = np.full((models, slots), _NEVER)
        self._launched = 0
        self._under_way: deque[_Launched] = deque()
        self._record = torch.empty((steps, models, slots), dtype=torch.int32, device=self.device)
        self._own_record = torch.empty_like(self._record[0])
        self._ring = [self._pinned(steps, models, slots, dtype=torch.int32) for _ in range(_AHEAD)]
        self._sampler: DeckSampler | None = None
        self._steps: Callable[[], object] | None = None

        self._wanted_by_host = self._pinned(models, slots, dtype=torch.int32)
        self._wanted = torch.full_like(self.streams.tokens, -1)
        self._others = torch.empty_like(self.streams.active)
        self._once: Callable[[], object] | None = None

    @property
    def streams(self) -> Streams:
        """The buffers on the device; to be touched on :meth:`stream` only."""
        return self._decoder.streams

    def stream(self) -> AbstractContextManager[Any]:
        """Within it, torch and Triton work in order with the deck, after what came before."""
        if self._stream is None:
            return nullcontext()
        before = torch.cuda.current_stream(self.device)
        if before != self._stream:
            self._stream.wait_stream(before)
        return torch.cuda.stream(self._stream)

    def add(self, model: int, state: ModelState | None = None) -> int:
        """A free slot of a model, with this state (none: that before the first token).

        Raises ValueError if no slot is free or the state is of another model.
        """
        if not self._free[model]:
            raise ValueError(f"all {self.slots} slots are taken")
        slot = self._free[model][-1]
        with self.stream():
            if state is None:
                for part in self._state(model, slot):
                    part.zero_()
            else:
                self.restore(model, slot, state)
        return self._free[model].pop()

    def remove(self, model: int, slot: int) -> None:
        """Give a slot back, whatever it was doing."""
        with self.stream():
            self.streams.active[model, slot].zero_()
        self._running[model, slot] = False
        self._since[model, slot] = _NEVER
        self._free[model].append(slot)

    def fork(self, model: int, slot: int) -> int:
        """Another slot with the state and the logits of this one; ValueError if none is free."""
        other = self.add(model)
        with self.stream():
            for mine, copy in zip(self._state(model, slot), self._state(model, other), strict=True):
                copy.copy_(mine)
            self.streams.logits[model, other].copy_(self.streams.logits[model, slot])
        return other

    def snapshot(self, model: int, slot: int, into: ModelState | None = None) -> ModelState:
        """The state of a slot, in ``into`` where that is given; of one that runs, as of now.

        The GPU may then be further than what :meth:`advance` has returned.
        """
        with self.stream():
            for part, mine in zip(self._parts, self._state(model, slot), strict=True):
                part.view(mine.shape).copy_(mine)
            self._carried.copy_(self._staged, non_blocking=True)
        self._wait()
        shape = self.shape
        shift = (shape.layers, shape.width)
        wkv = (shape.layers, shape.heads, HEAD_SIZE, HEAD_SIZE)
        state = into or ModelState(*(np.empty(size, np.float32) for size in (shift, shift, wkv)))
        for array, part in zip(state.parts, self._host_parts, strict=True):
            array[:] = part.reshape(array.shape)
        return state

    def restore(self, model: int, slot: int, state: ModelState) -> None:
        """Give a slot this state; raises ValueError if it is of another model."""
        for array, mine in zip(state.parts, self._state(model, slot), strict=True):
            if array.shape != mine.shape:
                raise ValueError("the state belongs to a model of another shape")
        for part, array in zip(self._host_parts, state.parts, strict=True):
            part.reshape(array.shape)[:] = array
        with self.stream():
            self._staged.copy_(self._carried, non_blocking=True)
            for part, mine in zip(self._parts, self._state(model, slot), strict=True):
                mine.copy_(part.view(mine.shape))
        self._wait()  # what carried it may then be written again

    def decode(self, tokens: NDArray[np.int32]) -> None:
        """Advance slots that are not running by one token each, [M, B]; -1 leaves a slot alone."""
        self._wanted_by_host.numpy()[:] = tokens
        if self._once is None:
            self._once = self._replayable(self._decode_wanted)
        with self.stream():
            self._wanted.copy_(self._wanted_by_host, non_blocking=True)
            self._once()
        self._wait()

    def hear(self, model: int, slot: int, tokens: Sequence[int]) -> None:
        """Advance a slot that is not running over tokens; its logits are those after the last."""
        if len(tokens) >= _LONG:
            with self.stream():
                text = torch.tensor(tokens, device=self.device)
                state = self._state(model, slot)
                logits = prefill(self._decoder.weights, model, text, *state)
                self.streams.logits[model, slot].copy_(logits)
            self._wait()
            return
        wanted = np.full((self.shape.models, self.slots), -1, np.int32)
        for token in tokens:
            wanted[model, slot] = token
            self.decode(wanted)

    def logits(self, model: int, slot: int) -> NDArray[np.float32]:
        """The logits of a slot, [filled vocabulary]: a buffer that the next call overwrites."""
        with self.stream():
            self._logits.copy_(self.streams.logits[model, slot], non_blocking=True)
        self._wait()
        found: NDArray[np.float32] = self._logits.numpy()
        return found

    def start(self, model: int, slot: int) -> None:
        """Let a slot run from the next launch on; its sampler must know of it by then."""
        with self.stream():
            self.streams.active[model, slot].fill_(1)
        self._running[model, slot] = True
        self._since[model, slot] = self._launched

    def prepare(self, sampler: DeckSampler) -> Callable[[], object]:
        """Compile what :meth:`advance` launches, and capture it; what launches it, then.

        :meth:`advance` does so by itself; whoever does it before learns early whether it works.
        """
        if self._steps is None or sampler is not self._sampler:
            self._sampler = sampler
            self._steps = self._replayable(partial(self._generate, sampler))
        return self._steps

    def advance(self, sampler: DeckSampler) -> NDArray[np.int32] | None:
        """The tokens of the next ``steps`` steps, [steps, M, B]; None if no slot runs.

        -1 stands where a slot was not running. A slot has come to its end where its last row is
        -1. While the host looks at them, the GPU is already at what comes next.
        """
        while len(self._under_way) < _AHEAD and self._running.any():
            self._launch(sampler)
        if not self._under_way:
            return None
        oldest = self._under_way.popleft()
        if oldest.done is not None:
            oldest.done.synchronize()
        tokens: NDArray[np.int32] = oldest.tokens.numpy().copy()
        own = self._since <= oldest.number
        tokens[:, ~own] = -1
        self._running &= ~(own & (tokens[-1] < 0))
        return tokens

    def _launch(self, sampler: DeckSampler) -> None:
        """Set ``steps`` steps going, and their tokens on the way to the host."""
        generate = self.prepare(sampler)
        number = self._launched
        tokens = self._ring[number % _AHEAD]
        with self.stream():
            generate()
            tokens.copy_(self._record, non_blocking=True)
            done = torch.cuda.Event() if self._on_gpu else None  # type: ignore[no-untyped-call]
            if done is not None:
                done.record()
        self._under_way.append(_Launched(number, tokens, done))
        self._launched += 1

    def _generate(self, sampler: DeckSampler) -> None:
        buffers = self.streams
        for record in self._record:
            sampler.step(buffers.logits, buffers.tokens, buffers.active)
            self._decoder.step(record)

    def _decode_wanted(self) -> None:
        """Decode what the host wants, whatever runs besides."""
        buffers = self.streams
        self._others.copy_(buffers.active)
        buffers.active.copy_(self._wanted >= 0)
        buffers.tokens.copy_(self._wanted)
        self._decoder.step(self._own_record)
        buffers.active.copy_(self._others)

    def _replayable(self, launches: Callable[[], None]) -> Callable[[], object]:
        """The same launches as one graph, where graphs are to be had."""
        if self._stream is None:
            return launches
        buffers = self.streams
        with self.stream():
            # Once with no slot active, which changes nothing, so that all is compiled and loaded.
            active, wanted = buffers.active.clone(), self._wanted.clone()
            buffers.active.zero_()
            self._wanted.fill_(-1)
            launches()
            buffers.active.copy_(active)
            self._wanted.copy_(wanted)
        self._stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        captured = torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local")
        # `captured` does not leave its stream where a capture fails; this does.
        with _CAPTURING, self.stream(), captured:
            launches()
        return graph.replay

    def _state(self, model: int, slot: int) -> tuple[Tensor, Tensor, Tensor]:
        """Views of a slot's state, shaped as those of a :class:`ModelState`."""
        s = self.streams
        return s.att_shift[:, model, slot], s.ffn_shift[:, model, slot], s.wkv[:, model, slot]

    def _pinned(self, *sizes: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Memory of the host that the GPU copies from and to; it is never given back.

        For torch would then record an event, within a destructor, and where the GPU has failed,
        that ends the process. It is a few megabytes.
        """
        buffer = torch.empty(sizes, dtype=dtype, pin_memory=self._on_gpu)
        if self._on_gpu:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(buffer))
        return buffer

    def _wait(self) -> None:
        if self._stream is not None:
            self._stream.synchronize()


class TritonEngine:
    """One model on a GPU; see :class:`lofid.rwkv.engine.Engine` for the contract.

    ``tensors`` are float32 under their official names. The GPU keeps the states that it advanced
    last and takes one anew only where the caller's has changed since; every call brings the states
    back, so a failure costs nothing but the call. ``weights`` are for whoever stacks this model
    beside another (:func:`~lofid.kernels.weights.side_by_side`) on a :class:`Deck`.

    Raises :class:`~lofid.errors.LofidError` for tensors that are missing, unknown or of a wrong
    shape; RuntimeError where the GPU fails.
    """

    def __init__(
        self, config: RwkvConfig, tensors: Tensors, device: torch.device | None = None
    ) -> None:
        self.name = "triton-int8"
        self._config = config
        self.weights: Final = stacked([(config, tensors)], device)
        self._tables: dict[int, _Table] = {}

    @property
    def config(self) -> RwkvConfig:
        """The shape of the model."""
        return self._config

    def forward(self, tokens: Sequence[int], state: ModelState) -> NDArray[np.float32]:
        """Advance ``state`` in place over ``tokens``; the logits after the last.

        Raises ValueError for no token, an id outside the vocabulary, or a state of another model.
        """
        self._check(tokens)
        table = self._table(1)
        table.take(0, state)
        table.deck.hear(0, 0, tokens)
        table.bring(0, state)
        return table.deck.logits(0, 0)[: self._config.vocabulary]

    def forward_batch(
        self, tokens: Sequence[int], states: Sequence[ModelState]
    ) -> NDArray[np.float32]:
        """Advance each of B ``states`` in place over its own token; the logits [B, vocabulary].

        The logits are those of :meth:`forward` but for their last digits. Raises ValueError as it
        does.
        """
        self._check(tokens)
        count = len(tokens)
        if count != len(states):
            raise ValueError(f"{count} tokens for {len(states)} states")
        table = self._table(count)
        slots = table.places(states)
        wanted = np.full((1, table.deck.slots), -1, np.int32)
        for slot, token, state in zip(slots, tokens, states, strict=True):
            table.take(slot, state)
            wanted[0, slot] = token
        table.deck.decode(wanted)
        logits = np.empty((count, self._config.vocabulary), np.float32)
        for row, (slot, state) in enumerate(zip(slots, states, strict=True)):
            table.bring(slot, state)
            logits[row] = table.deck.logits(0, slot)[: self._config.vocabulary]
        return logits

    def _table(self, count: int) -> "_Table":
        """The one for so many states at a time."""
        slots = 1 << (count - 1).bit_length()
        if slots not in self._tables:
            self._tables[slots] = _Table(self.weights, slots)
        return self._tables[slots]

    def _check(self, tokens: Sequence[int]) -> None:
        vocabulary = self._config.vocabulary
        if not len(tokens) or min(tokens) < 0 or max(tokens) >= vocabulary:
            raise ValueError(f"token ids must lie in 0..{vocabulary - 1}")


class _Table:
    """A deck of one model all of whose slots are taken, and which state each of them holds."""

    def __init__(self, weights: Weights, slots: int) -> None:
        self.deck = Deck(weights, slots)
        for _ in range(slots):
            self.deck.add(0)
        # Of each slot: the array that its state was brought to, and the shift states that went.
        self._wkv: list[weakref.ref[NDArray[np.float32]] | None] = [None] * slots
        self._shifts: list[tuple[NDArray[np.float32], ...]] = [()] * slots

    def places(self, states: Sequence[ModelState]) -> list[int]:
        """A slot for each state: the one that holds it, else one that holds none of the others."""
        held = [reference() if reference else None for reference in self._wkv]
        slots = [next((i for i, wkv in enumerate(held) if wkv is s.wkv), -1) for s in states]
        free = iter(sorted(set(range(self.deck.slots)) - set(slots)))
        return [next(free) if slot < 0 else slot for slot in slots]

    def take(self, slot: int, state: ModelState) -> None:
        """Bring ``state`` to the device, unless the slot holds it already.

        Whoever advances a state changes its shift states, so only these are compared.
        """
        reference = self._wkv[slot]
        known = reference is not None and reference() is state.wkv
        if known and all(map(np.array_equal, self._shifts[slot], state.parts[:2])):
            return
        self._wkv[slot] = None
        self.deck.restore(0, slot, state)

    def bring(self, slot: int, state: ModelState) -> None:
        """Write what the slot holds into ``state``."""
        self._wkv[slot] = None  # in case of a failure half-way
        self.deck.snapshot(0, slot, state)
        self._shifts[slot] = (state.att_shift.copy(), state.ffn_shift.copy())
        self._wkv[slot] = weakref.ref(state.wkv)
