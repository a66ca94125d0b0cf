"""Model files: safetensors with the official ``x060`` tensor names and a card in the header.

A file holds the whole model, so that it can be played, checked and credited without anything
beside it. Knows no torch and no engine.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save as serialized

from lofid import __version__
from lofid.errors import LofidError
from lofid.files import replacing
from lofid.rwkv.config import HEAD_SIZE, RwkvConfig

Tensors = dict[str, NDArray[np.float32]]
"""float32 arrays under their official names."""

METADATA: Final = "lofid"
"""Name of the one metadata entry, a :class:`ModelCard` as JSON."""

# Stored types that we read, and the numpy type of their bits. bfloat16 is no numpy type.
_STORED: Final = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}


@dataclass(frozen=True, slots=True)
class DataSource:
    """One data set that a model learned from: its name, its licence, whom to credit."""

    name: str
    licence: str
    attribution: str


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What a model file says of itself.

    ``vocabulary`` and ``vocabulary_hash`` name the token ids it was trained on; ``metrics`` are
    held-out figures, such as ``loss_per_note`` in nats; ``step`` is the optimiser step of the
    weights and ``seed`` that of the training run; ``lofid`` is the version that wrote the file.
    """

    config: RwkvConfig
    vocabulary: str
    vocabulary_hash: str
    step: int
    seed: int
    data: tuple[DataSource, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    lofid: str = __version__

    def to_metadata(self) -> dict[str, str]:
        """The metadata of a safetensors file.

        One JSON text under one name: several would come in an order that changes from write to
        write, and the same model would not give the same file.
        """
        return {METADATA: json.dumps(asdict(self))}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> Self:
        """The inverse of :meth:`to_metadata`.

        Raises KeyError, TypeError or ValueError for anything that :meth:`to_metadata` cannot give.
        """
        entries = json.loads(metadata[METADATA])
        config = RwkvConfig(**entries["config"])
        if min(asdict(config).values()) < 1 or config.width % HEAD_SIZE:
            raise ValueError("impossible shape")
        return cls(
            config=config,
            vocabulary=str(entries["vocabulary"]),
            vocabulary_hash=str(entries["vocabulary_hash"]),
            step=int(entries["step"]),
            seed=int(entries["seed"]),
            data=tuple(DataSource(**source) for source in entries["data"]),
            metrics={name: float(value) for name, value in entries["metrics"].items()},
            lofid=str(entries["lofid"]),
        )


@dataclass(frozen=True, slots=True)
class Model:
    """A model as a value: its card and its float32 tensors.

    ``hash`` is that of the file it was read from, 16 hexadecimal digits; empty for one that was
    never written: states mean something to the very same weights only.
    """

    card: ModelCard
    tensors: Tensors
    hash: str = ""


def tensor_shapes(config: RwkvConfig) -> dict[str, tuple[int, ...]]:
    """Official names and shapes of all tensors of an ``x060`` model."""
    width, hidden, mix, decay = config.width, config.hidden, config.mix_rank, config.decay_rank
    shapes: dict[str, tuple[int, ...]] = {
        "emb.weight": (config.vocabulary, width),
        "blocks.0.ln0.weight": (width,),
        "blocks.0.ln0.bias": (width,),
    }
    for layer in range(config.layers):
        block = f"blocks.{layer}."
        shapes |= {
            f"{block}{ln}.{part}": (width,)
            for ln in ("ln1", "ln2", "att.ln_x")
            for part in ("weight", "bias")
        }
        shapes |= {f"{block}att.time_maa_{kind}": (1, 1, width) for kind in "xwkvrg"}
        shapes |= {
            f"{block}att.time_maa_w1": (width, 5 * mix),
            f"{block}att.time_maa_w2": (5, mix, width),
            f"{block}att.time_decay": (1, 1, width),
            f"{block}att.time_decay_w1": (width, decay),
            f"{block}att.time_decay_w2": (decay, width),
            f"{block}att.time_faaaa": (config.heads, HEAD_SIZE),
        }
        shapes |= {
            f"{block}att.{matrix}.weight": (width, width)
            for matrix in ("receptance", "key", "value", "gate", "output")
        }
        shapes |= {
            f"{block}ffn.time_maa_k": (1, 1, width),
            f"{block}ffn.time_maa_r": (1, 1, width),
            f"{block}ffn.key.weight": (hidden, width),
            f"{block}ffn.receptance.weight": (width, width),
            f"{block}ffn.value.weight": (width, hidden),
        }
    return shapes | {
        "ln_out.weight": (width,),
        "ln_out.bias": (width,),
        "head.weight": (config.vocabulary, width),
    }


def check_tensors(
    config: RwkvConfig, tensors: Mapping[str, NDArray[Any]], where: str | Path
) -> None:
    """Raise a :class:`LofidError` naming ``where`` and the first tensor that does not fit."""
    shapes = tensor_shapes(config)
    for name, shape in shapes.items():
        if name not in tensors:
            raise LofidError(
                f"The weights of '{where}' lack the tensor '{name}'; get the file again or "
                "train the model anew."
            )
        if tensors[name].shape != shape:
            raise LofidError(
                f"The tensor '{name}' of '{where}' has the shape {_text(tensors[name].shape)} "
                f"instead of {_text(shape)}; use weights of an RWKV-6 model of this size."
            )
    for name in tensors:
        if name in shapes and not np.isfinite(tensors[name]).all():
            raise LofidError(
                f"The tensor '{name}' of '{where}' holds numbers that are infinite or none; get "
                "the file again or train the model anew."
            )
        if name not in shapes:
            raise LofidError(
                f"The weights of '{where}' hold an unknown tensor '{name}'; use weights of an "
                "RWKV-6 (x060) model of this size."
            )


def save_model(path: Path, model: Model) -> None:
    """Write ``model`` to ``path``, complete or not at all.

    Matrices are stored as float16, vectors as float32. float16 keeps eight times finer steps than
    bfloat16, trained weights lie far inside its range, and numpy reads it without help: a pocket
    model takes 13 MB. A matrix beyond float16's range stays float32. Raises :class:`LofidError`
    for tensors that do not fit the card, and where the file cannot be written.
    """
    check_tensors(model.card.config, model.tensors, path)
    stored = {name: _stored(tensor) for name, tensor in model.tensors.items()}
    content = serialized(stored, metadata=model.card.to_metadata())
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def load_model(path: Path, vocabulary_hash: str | None = None) -> Model:
    """Read a model file, for the vocabulary of that hash unless None.

    Raises :class:`LofidError` where the file cannot be read, is damaged or no model of ours, or
    was trained on another vocabulary.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise LofidError(
            f"The weights '{path}' could not be read ({error.strerror or error}); check the path."
        ) from error
    try:
        entries = deserialize(content)  # type: ignore[no-untyped-call]
        length = int.from_bytes(content[:8], "little")
        metadata = json.loads(content[8 : 8 + length]).get("__metadata__") or {}
    except (SafetensorError, ValueError) as error:
        raise LofidError(
            f"The file '{path}' is damaged or no safetensors file ({error}); get it again."
        ) from error
    try:
        card = ModelCard.from_metadata(metadata)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise LofidError(
            f"The file '{path}' carries no card of a lofid model ({error!r}); use weights that "
            "'lofid train' wrote."
        ) from error
    if vocabulary_hash is not None and card.vocabulary_hash != vocabulary_hash:
        raise LofidError(
            f"The weights '{path}' were trained on another vocabulary ('{card.vocabulary}', "
            f"{card.vocabulary_hash} instead of {vocabulary_hash}); use the weights of this "
            "version of lofid or train them anew."
        )
    tensors = {name: _loaded(path, name, entry) for name, entry in entries}
    check_tensors(card.config, tensors, path)
    return Model(card, tensors, hashlib.sha256(content).hexdigest()[:16])


def _stored(tensor: NDArray[np.float32]) -> NDArray[np.floating[Any]]:
    if sum(size > 1 for size in tensor.shape) < 2:
        return np.ascontiguousarray(tensor, np.float32)
    with np.errstate(over="ignore"):
        half = np.ascontiguousarray(tensor, np.float16)
    return half if np.isfinite(half).all() else np.ascontiguousarray(tensor, np.float32)


def _loaded(path: Path, name: str, entry: dict[str, Any]) -> NDArray[np.float32]:
    kind = _STORED.get(entry["dtype"])
    if kind is None:
        raise LofidError(
            f"The tensor '{name}' of '{path}' is stored as {entry['dtype']}, but only "
            f"{', '.join(_STORED)} can be read; convert it."
        )
    bits = np.frombuffer(entry["data"], kind).reshape(entry["shape"])
    if entry["dtype"] == "BF16":
        return (bits.astype(np.uint32) << 16).view(np.float32)
    return bits.astype(np.float32)


def _text(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
