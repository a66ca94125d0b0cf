"""Weights of stacked models on a device, in the layout that the kernels read.

M models of one shape, each with its own vocabulary, lie side by side: one launch serves them all.
What differs from layer to layer has the layer as its first axis, so that ``tensor[layer]`` is what
a kernel gets: kernels know no layers.

The five branches of a layer are in the order of ``BRANCHES`` throughout: k, v, r, g (the inputs of
WKV and the gate), then w (the decay). Ranks are filled up with zeros to what a tile needs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lofid.rwkv.config import RwkvConfig

Floats = NDArray[np.float32]

Quantise = Callable[[Floats], tuple[NDArray[np.int8], Floats]]
"""A matrix [outputs, inputs] as int8 steps of that shape and one scale an output."""

BRANCHES: Final = "kvrgw"
"""The branches of time mix in the order in which they are stored."""

VECTORS: Final = (
    "ln1.weight",
    "ln1.bias",
    "att.time_maa_x",
    *(f"att.time_maa_{branch}" for branch in BRANCHES),
    "att.time_decay",
    "att.time_faaaa",
    "att.ln_x.weight",
    "att.ln_x.bias",
    "ln2.weight",
    "ln2.bias",
    "ffn.time_maa_r",
    "ffn.time_maa_k",
)
"""What the rows of a layer's vectors are, by their official names."""

_LOGITS = 64  # vocabularies are filled up to a multiple of this


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of stacked models; ranks and vocabulary are the filled ones that buffers have.

    ``mix`` and ``decay`` are powers of two; ``vocabulary`` holds the largest of the models.
    """

    models: int
    layers: int
    width: int
    hidden: int
    mix: int
    decay: int
    vocabulary: int

    @property
    def heads(self) -> int:
        """Number of WKV heads, 64 channels each."""
        return self.width // 64

    @classmethod
    def of(cls, configs: Sequence[RwkvConfig]) -> "Shape":
        """The shape that holds all of ``configs``; ValueError if more than vocabularies differ."""
        first = configs[0]
        for config in configs:
            if (config.layers, config.width, config.mix_rank, config.decay_rank) != (
                first.layers,
                first.width,
                first.mix_rank,
                first.decay_rank,
            ):
                raise ValueError("stacked models must be of one shape")
        widest = max(config.vocabulary for config in configs)
        return cls(
            models=len(configs),
            layers=first.layers,
            width=first.width,
            hidden=first.hidden,
            mix=max(16, _power_of_two(first.mix_rank)),
            decay=max(64, _power_of_two(first.decay_rank)),
            vocabulary=-(-widest // _LOGITS) * _LOGITS,
        )


@dataclass(frozen=True, slots=True)
class Matrix:
    """Quantised matrices: ``steps`` int8 [..., outputs, inputs], ``scales`` float32 [..., outputs].

    The matrix meant is ``steps * scales[..., None]``.
    """

    steps: Tensor
    scales: Tensor

    def dense(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """The matrix meant, [..., outputs, inputs]."""
        return self.steps.to(dtype) * self.scales.to(dtype)[..., None]

    def __getitem__(self, place: int | slice) -> "Matrix":
        return Matrix(self.steps[place], self.scales[place])


@dataclass(frozen=True, slots=True)
class Weights:
    """All weights of M stacked models; L layers of width D, hidden width F, filled vocabulary V.

    ``embedding``: float32 [M, V, D], normed by the first layer's ``ln0``, zero beyond a vocabulary.
    ``vectors``: float32 [L, M, ``len(VECTORS)``, D]. ``mix_down``: [L, M, 5 x mix, D], what
    ``time_maa_w1`` is, branch by branch. ``mix_up``: [L, M, 5 x D, mix], what ``time_maa_w2`` is.
    ``branches``: [L, M, 4 x D + decay, D]: key, value, receptance, gate, then ``time_decay_w1``.
    ``decay_up``: [L, M, D, decay], what ``time_decay_w2`` is. ``output``: [L, M, D, D].
    ``ffn_in``: [L, M, D + F, D]: receptance, then key. ``ffn_out``: [L, M, D, F]. ``final``:
    float32 [M, 2, D], weight and bias of ``ln_out``. ``head``: [M, V, D], zero beyond a vocabulary.
    """

    shape: Shape
    embedding: Tensor
    vectors: Tensor
    mix_down: Matrix
    mix_up: Matrix
    branches: Matrix
    decay_up: Matrix
    output: Matrix
    ffn_in: Matrix
    ffn_out: Matrix
    final: Tensor
    head: Matrix

    @classmethod
    def empty(cls, shape: Shape, device: torch.device | str) -> "Weights":
        """Weights of this shape that hold anything."""
        of, width = (shape.layers, shape.models), shape.width

        def floats(*sizes: int) -> Tensor:
            return torch.empty(sizes, dtype=torch.float32, device=device)

        def matrix(*sizes: int) -> Matrix:
            return Matrix(torch.empty(sizes, dtype=torch.int8, device=device), floats(*sizes[:-1]))

        return cls(
            shape=shape,
            embedding=floats(shape.models, shape.vocabulary, width),
            vectors=floats(*of, len(VECTORS), width),
            mix_down=matrix(*of, 5 * shape.mix, width),
            mix_up=matrix(*of, 5 * width, shape.mix),
            branches=matrix(*of, 4 * width + shape.decay, width),
            decay_up=matrix(*of, width, shape.decay),
            output=matrix(*of, width, width),
            ffn_in=matrix(*of, width + shape.hidden, width),
            ffn_out=matrix(*of, width, shape.hidden),
            final=floats(shape.models, 2, width),
            head=matrix(shape.models, shape.vocabulary, width),
        )


def pack(
    configs: Sequence[RwkvConfig],
    models: Sequence[Mapping[str, Floats]],
    quantise: Quantise,
    device: torch.device | str,
) -> Weights:
    """The weights of stacked ``models``, float32 under their official names, on ``device``.

    Shapes are taken as checked. Raises ValueError if the models differ in more than vocabularies.
    """
    shape = Shape.of(configs)
    layers = range(shape.layers)

    def matrix(of: Callable[[Mapping[str, Floats], str], list[Floats]]) -> Matrix:
        """[L, M, ...]: all matrices of each layer below each other."""
        return _stacked([[of(model, f"blocks.{i}.") for model in models] for i in layers])

    def _stacked(rows: list[list[list[Floats]]]) -> Matrix:
        pairs = [[_below(parts, quantise) for parts in row] for row in rows]
        steps = np.stack([np.stack([pair[0] for pair in row]) for row in pairs])
        scales = np.stack([np.stack([pair[1] for pair in row]) for row in pairs])
        return Matrix(_tensor(steps, device), _tensor(scales, device))

    def mix_down(model: Mapping[str, Floats], block: str) -> list[Floats]:
        parts = np.split(model[block + "att.time_maa_w1"].T, 5)
        return [_filled(part, shape.mix, shape.width) for part in _by_branch(parts)]

    def mix_up(model: Mapping[str, Floats], block: str) -> list[Floats]:
        parts = [part.T for part in model[block + "att.time_maa_w2"]]
        return [_filled(part, shape.width, shape.mix) for part in _by_branch(parts)]

    def branches(model: Mapping[str, Floats], block: str) -> list[Floats]:
        names = ("key", "value", "receptance", "gate")
        down = _filled(model[block + "att.time_decay_w1"].T, shape.decay, shape.width)
        return [*(model[f"{block}att.{name}.weight"] for name in names), down]

    def decay_up(model: Mapping[str, Floats], block: str) -> list[Floats]:
        return [_filled(model[block + "att.time_decay_w2"].T, shape.width, shape.decay)]

    def vectors(model: Mapping[str, Floats], block: str) -> Floats:
        return np.stack([model[block + name].reshape(-1) for name in VECTORS])

    def head(model: Mapping[str, Floats]) -> list[Floats]:
        return [_filled(model["head.weight"], shape.vocabulary, shape.width)]

    def final(model: Mapping[str, Floats]) -> Floats:
        return np.stack((model["ln_out.weight"], model["ln_out.bias"]))

    return Weights(
        shape=shape,
        embedding=_tensor(
            np.stack([_filled(_embedding(m), shape.vocabulary, shape.width) for m in models]),
            device,
        ),
        vectors=_tensor(
            np.stack([np.stack([vectors(m, f"blocks.{i}.") for m in models]) for i in layers]),
            device,
        ),
        mix_down=matrix(mix_down),
        mix_up=matrix(mix_up),
        branches=matrix(branches),
        decay_up=matrix(decay_up),
        output=matrix(lambda model, block: [model[block + "att.output.weight"]]),
        ffn_in=matrix(
            lambda model, block: [
                model[block + "ffn.receptance.weight"],
                model[block + "ffn.key.weight"],
            ]
        ),
        ffn_out=matrix(lambda model, block: [model[block + "ffn.value.weight"]]),
        final=_tensor(np.stack([final(model) for model in models]), device),
        head=_stacked([[head(model) for model in models]])[0],
    )


def side_by_side(parts: Sequence[Weights]) -> Weights:
    """The models of all ``parts`` as one stack, copied.

    Raises ValueError if the models differ in more than their vocabularies.
    """
    shape = replace(
        parts[0].shape,
        models=sum(part.shape.models for part in parts),
        vocabulary=max(part.shape.vocabulary for part in parts),
    )
    for part in parts:
        if replace(part.shape, models=shape.models, vocabulary=shape.vocabulary) != shape:
            raise ValueError("stacked models must be of one shape")

    def layered(of: Callable[[Weights], Matrix]) -> Matrix:
        matrices = [of(part) for part in parts]
        return Matrix(
            torch.cat([matrix.steps for matrix in matrices], 1),
            torch.cat([matrix.scales for matrix in matrices], 1),
        )

    def by_token(of: Callable[[Weights], Tensor]) -> Tensor:
        """From [M, vocabulary of a part, ...], filled up with zeros."""
        tensors = [of(part) for part in parts]
        return torch.cat(
            [
                torch.cat((x, x.new_zeros(len(x), shape.vocabulary - x.shape[1], *x.shape[2:])), 1)
                for x in tensors
            ]
        )

    return Weights(
        shape=shape,
        embedding=by_token(lambda part: part.embedding),
        vectors=torch.cat([part.vectors for part in parts], 1),
        mix_down=layered(lambda part: part.mix_down),
        mix_up=layered(lambda part: part.mix_up),
        branches=layered(lambda part: part.branches),
        decay_up=layered(lambda part: part.decay_up),
        output=layered(lambda part: part.output),
        ffn_in=layered(lambda part: part.ffn_in),
        ffn_out=layered(lambda part: part.ffn_out),
        final=torch.cat([part.final for part in parts]),
        head=Matrix(
            by_token(lambda part: part.head.steps), by_token(lambda part: part.head.scales)
        ),
    )


def _power_of_two(size: int) -> int:
    return 1 << (size - 1).bit_length()


def _by_branch(parts: Sequence[Floats]) -> list[Floats]:
    """From the official order of the branches to ``BRANCHES``."""
    return [parts["wkvrg".index(branch)] for branch in BRANCHES]


def _filled(matrix: Floats, outputs: int, inputs: int) -> Floats:
    """``matrix`` with rows and columns of zeros up to [outputs, inputs]."""
    filled = np.zeros((outputs, inputs), np.float32)
    filled[: matrix.shape[0], : matrix.shape[1]] = matrix
    return filled


def _below(parts: list[Floats], quantise: Quantise) -> tuple[NDArray[np.int8], Floats]:
    """All of ``parts`` quantised, one below the other."""
    pairs = [quantise(part) for part in parts]
    return np.concatenate([pair[0] for pair in pairs]), np.concatenate([pair[1] for pair in pairs])


def _embedding(model: Mapping[str, Floats]) -> Floats:
    """The embedding [vocabulary, D], normed by ``ln0``: it never meets anything else."""
    x = model["emb.weight"]
    centred = x - x.mean(-1, keepdims=True)
    scale = 1 / np.sqrt((centred**2).mean(-1, keepdims=True) + np.float32(1e-5))
    normed = centred * scale * model["blocks.0.ln0.weight"] + model["blocks.0.ln0.bias"]
    return np.ascontiguousarray(normed, np.float32)


def _tensor(array: NDArray[np.generic], device: torch.device | str) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(device)
