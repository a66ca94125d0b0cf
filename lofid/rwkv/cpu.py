"""The CPU engine: packs a model for the compiled kernels and runs it on the caller's thread.

Knows the official tensor names and the layout that ``_cpu_kernels`` reads; nothing of music.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from lofid.rwkv import _cpu_kernels as kernels
from lofid.rwkv.config import RwkvConfig
from lofid.rwkv.packed import Arrays, packed_path, read_packed, write_packed
from lofid.rwkv.quantise import quantised
from lofid.rwkv.state import ModelState
from lofid.rwkv.weights import Model, check_tensors, tensor_shapes

Storage = Literal["fp32", "bf16", "int8"]
"""How an engine keeps its matrices; everything else is float32."""

STORAGES: Final[tuple[Storage, ...]] = get_args(Storage)

_DTYPES: Final[Mapping[Storage, type[np.generic]]] = {
    "fp32": np.float32,
    "bf16": np.uint32,
    "int8": np.int8,
}

_Floats = NDArray[np.float32]
_LINE = 64  # bytes of a cache line
_LAYOUT = 1  # of packed weights; what an older one has kept is of no use
_FLOAT = np.dtype(np.float32)
_ALONE = np.zeros((0, 3), np.int64)


class CpuEngine:
    """An RWKV-6 on one CPU thread; see :class:`lofid.rwkv.engine.Engine` for the contract.

    ``tensors`` are float32 under their official names; they are copied. ``storage`` is how
    matrices are kept. ``int8`` reads least memory a token, is the fastest and moves the
    distribution of trained models by 1.5e-4 nats a token; ``bf16`` moves it by 1e-5; ``fp32`` is
    exact. Raises :class:`~lofid.errors.LofidError` for tensors that are missing, unknown or of a
    wrong shape.
    """

    def __init__(
        self, config: RwkvConfig, tensors: Mapping[str, _Floats], storage: Storage = "int8"
    ) -> None:
        check_tensors(config, tensors, "the model")
        self._use(config, _packed(config, tensors, storage), storage)

    @classmethod
    def of(cls, model: Model, storage: Storage = "int8") -> Self:
        """The engine on a model, from packed weights that an earlier start has kept where it can.

        Processes share the memory of packed weights. Raises as the constructor does.
        """
        config = model.card.config
        path = packed_path(model.hash, f"{storage}-{_LAYOUT}")
        arrays = read_packed(path) if model.hash else None
        if arrays is None or not _fits(config, arrays, storage):
            check_tensors(config, model.tensors, "the model")
            arrays = _packed(config, model.tensors, storage)
            if model.hash:
                write_packed(path, arrays)
        engine = cls.__new__(cls)
        engine._use(config, arrays, storage)
        return engine

    def _use(self, config: RwkvConfig, arrays: Arrays, storage: Storage) -> None:
        self.name = f"cpu-{storage}"
        self._config = config
        self._ranks = (config.mix_rank, config.decay_rank)
        shift, *_, wkv = (part.shape for part in ModelState.zero(config).parts)
        self._state_shapes = shift, wkv
        for array in arrays.values():
            array.setflags(write=False)
        self._embedding, self._vectors = arrays["embedding"], arrays["vectors"]
        self._matrices, self._head = arrays["matrices"], arrays["head"]
        self._final = arrays["final"]
        widest = max(config.width, config.hidden, 5 * config.mix_rank, config.decay_rank)
        self._scratch = _aligned((kernels.SCRATCH, kernels.ROWS, _filled(widest)), np.float32)
        self._logits = _aligned((1, _filled(config.vocabulary)), np.float32)
        self._token = np.zeros(1, np.int64)
        self._tokens = np.zeros(1, np.int64)
        self._addresses = np.zeros((1, 3), np.int64)

    @property
    def config(self) -> RwkvConfig:
        """The shape of the model."""
        return self._config

    @property
    def weight_bytes(self) -> int:
        """What is read for each token: all weights but the rows of the embedding not met."""
        arrays = (self._vectors, self._matrices, self._final, self._head)
        return sum(array.nbytes for array in arrays)

    def forward(self, tokens: Sequence[int], state: ModelState) -> _Floats:
        """Advance ``state`` in place over ``tokens``; the logits after the last.

        Raises ValueError for no token, an id outside the vocabulary, a state of another model, or
        one whose arrays are not float32, contiguous and writable.
        """
        if len(tokens) == 1:
            ids = self._token
            ids[0] = tokens[0]
        else:
            ids = np.asarray(tokens, np.int64)
        self._check(tokens, (state,))
        self._advance(ids, state, _ALONE)
        return self._logits[0, : self._config.vocabulary]

    def forward_batch(self, tokens: Sequence[int], states: Sequence[ModelState]) -> _Floats:
        """Advance each of ``states`` in place over its own one of ``tokens``.

        Returns the logits [B, vocabulary], to the bit those of :meth:`forward`. Up to ``ROWS``
        streams read the weights together. Raises ValueError as :meth:`forward` does, and for
        states that are not distinct or not as many as tokens.
        """
        count = len(tokens)
        if count != len(states) or len({id(state) for state in states}) != count:
            raise ValueError("a batch needs one state of its own for each token")
        self._check(tokens, states)
        if len(self._logits) < count:
            self._logits = _aligned((count, self._logits.shape[1]), np.float32)
            self._tokens = np.zeros(count, np.int64)
            self._addresses = np.zeros((count, 3), np.int64)
        self._tokens[:count] = tokens
        for row, state in enumerate(states):
            for column, part in enumerate((state.att_shift, state.ffn_shift, state.wkv)):
                self._addresses[row, column] = part.ctypes.data
        self._advance(self._tokens[:count], states[0], self._addresses[:count])
        return self._logits[:count, : self._config.vocabulary]

    def _check(self, tokens: Sequence[int], states: Sequence[ModelState]) -> None:
        config = self._config
        if min(tokens) < 0 or max(tokens) >= config.vocabulary:
            raise ValueError(f"token ids must lie in 0..{config.vocabulary - 1}")
        shift, wkv = self._state_shapes
        for state in states:
            shifts_fit = state.att_shift.shape == state.ffn_shift.shape == shift
            if not shifts_fit or state.wkv.shape != wkv:
                raise ValueError("the state belongs to a model of another shape")
            # The kernels go by addresses: they would read and write whatever lies there.
            for part in state.parts:
                if part.dtype != _FLOAT or not part.flags.carray:
                    raise ValueError("a state's arrays must be float32, contiguous and writable")

    def _advance(
        self, ids: NDArray[np.int64], state: ModelState, addresses: NDArray[np.int64]
    ) -> None:
        kernels.advance(
            ids,
            self._embedding,
            self._vectors,
            self._matrices,
            self._final,
            self._head,
            self._ranks,
            self._config.hidden,
            state.att_shift,
            state.ffn_shift,
            state.wkv,
            addresses,
            self._scratch,
            self._logits,
        )


def _packed(config: RwkvConfig, tensors: Mapping[str, _Floats], storage: Storage) -> Arrays:
    """The weights as the kernels read them, by the names of the engine's attributes."""
    layers = range(config.layers)
    vectors = np.empty((config.layers, len(kernels.VECTORS), config.width), np.float32)
    for layer in layers:
        for row, name in enumerate(kernels.VECTORS):
            vectors[layer, row] = tensors[f"blocks.{layer}.{name}"].reshape(-1)
    matrices = [
        [_panels(matrix, storage) for matrix in _in_order_of_use(tensors, layer)]
        for layer in layers
    ]
    return {
        "embedding": _layer_norm(
            tensors["emb.weight"], tensors["blocks.0.ln0.weight"], tensors["blocks.0.ln0.bias"]
        ),
        "vectors": vectors,
        "matrices": _stacked(matrices, storage),
        "final": np.stack((tensors["ln_out.weight"], tensors["ln_out.bias"])),
        "head": _stacked([[_panels(tensors["head.weight"], storage)]], storage)[0],
    }


def _fits(config: RwkvConfig, arrays: Arrays, storage: Storage) -> bool:
    """Whether arrays that were kept are those of such a model."""
    width = config.width
    floats = {
        "embedding": (config.vocabulary, width),
        "vectors": (config.layers, len(kernels.VECTORS), width),
        "final": (2, width),
    }
    # Shapes alone: such an array takes no memory, however large it says that it is.
    one = tensor_shapes(replace(config, layers=1))
    blank = {name: np.broadcast_to(np.float32(0), shape) for name, shape in one.items()}
    layer = sum(_panels_bytes(matrix, storage) for matrix in _in_order_of_use(blank, 0))
    head = _panels_bytes(blank["head.weight"], storage)
    kept = {"matrices": config.layers * layer, "head": head}
    return arrays.keys() == floats.keys() | kept.keys() and all(
        array.shape == floats[name] and array.dtype == np.float32
        if name in floats
        else array.nbytes == kept[name] and array.dtype == _DTYPES[storage]
        for name, array in arrays.items()
    )


def _in_order_of_use(tensors: Mapping[str, _Floats], layer: int) -> list[_Floats]:
    """The matrices [outputs, inputs] of one layer in the order in which a token meets them."""
    att, ffn = f"blocks.{layer}.att.", f"blocks.{layer}.ffn."
    mix_w, mix_k, mix_v, mix_r, mix_g = (low.T for low in tensors[att + "time_maa_w2"])
    return [
        tensors[att + "time_maa_w1"].T,
        mix_w,
        tensors[att + "time_decay_w1"].T,
        tensors[att + "time_decay_w2"].T,
        mix_k,
        tensors[att + "key.weight"],
        mix_v,
        tensors[att + "value.weight"],
        mix_r,
        tensors[att + "receptance.weight"],
        mix_g,
        tensors[att + "gate.weight"],
        tensors[att + "output.weight"],
        tensors[ffn + "receptance.weight"],
        tensors[ffn + "key.weight"],
        tensors[ffn + "value.weight"],
    ]


def _panels(matrix: _Floats, storage: Storage) -> NDArray[np.uint8]:
    """``matrix`` [outputs, inputs] as the bytes of its panels."""
    outputs, inputs = matrix.shape
    filled = np.zeros((_filled(outputs), inputs), np.float32)
    filled[:outputs] = matrix
    panels = filled.reshape(-1, kernels.PANEL, inputs)
    if storage == "fp32":
        return _bytes(panels.transpose(0, 2, 1))
    if storage == "bf16":
        bits = panels.transpose(0, 2, 1).reshape(-1, inputs // 2, 2, kernels.PANEL).view(np.uint32)
        # Round half to even, then keep the upper half.
        half = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
        return _bytes(half[:, :, 0] | (half[:, :, 1] << 16))
    steps, scales = quantised(filled)
    count = len(panels)
    return np.concatenate(
        (
            _bytes(scales).reshape(count, -1),
            _bytes(steps.reshape(panels.shape).transpose(0, 2, 1)).reshape(count, -1),
        ),
        1,
    ).reshape(-1)


def _panels_bytes(matrix: _Floats, storage: Storage) -> int:
    """How many bytes :func:`_panels` makes of ``matrix`` [outputs, inputs]."""
    outputs, inputs = matrix.shape
    each: int = {"fp32": 4 * inputs, "bf16": 2 * inputs, "int8": inputs + 4}[storage]
    return _filled(outputs) * each


def _stacked(layers: list[list[NDArray[np.uint8]]], storage: Storage) -> NDArray[np.generic]:
    """One row a layer, its matrices end to end, in the dtype by which the kernels know them."""
    dtype = _DTYPES[storage]
    rows = np.stack([np.concatenate(matrices) for matrices in layers]).view(dtype)
    stacked = _aligned(rows.shape, dtype)
    stacked[:] = rows
    return stacked


def _aligned(shape: tuple[int, ...], dtype: type[np.generic]) -> NDArray[Any]:
    """Zeros that begin on a cache line: a vector load across two lines takes twice as long."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    buffer = np.zeros(size + _LINE, np.uint8)
    start = -buffer.ctypes.data % _LINE
    return buffer[start : start + size].view(dtype).reshape(shape)


def _filled(outputs: int) -> int:
    """``outputs`` up to a multiple of a panel."""
    return -(-outputs // kernels.PANEL) * kernels.PANEL


def _bytes(array: NDArray[Any]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def _layer_norm(x: _Floats, weight: _Floats, bias: _Floats) -> _Floats:
    """Over the last axis; the kernels' own is for one token."""
    centred = x - x.mean(-1, keepdims=True)
    scale = 1 / np.sqrt((centred**2).mean(-1, keepdims=True) + np.float32(1e-5))
    return np.ascontiguousarray(centred * scale * weight + bias, np.float32)
