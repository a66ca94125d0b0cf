"""Model files: safetensors with the official ``x060`` tensor names and a card in the header.

A file holds the whole model, so that it can be played, checked and credited without anything
beside it. A large model may lie in several files of a folder, its shards, with an index beside
them, as on the Hugging Face hub. Knows no torch and no engine.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save as serialized

from lofid import __version__
from lofid.errors import LofidError
from lofid.files import is_there, read_file, replacing
from lofid.rwkv.config import HEAD_SIZE, RwkvConfig

Tensors = dict[str, NDArray[np.float32]]
"""float32 arrays under their official names."""

METADATA: Final = "lofid"
"""Name of the one metadata entry, a :class:`ModelCard` as JSON."""

SINGLE: Final = "model.safetensors"
"""A folder's weights where they are one file; the name is the hub's."""

INDEX: Final = "model.safetensors.index.json"
"""The index of a folder's shards; name and form are the hub's."""

SHARD_BYTES: Final = 16_000_000
"""Most bytes of one shard."""

MOST_BYTES: Final = 32 * 2**30
"""A file beyond this is none of weights that this machine could play."""

NO_SENSE: Final = (
    KeyError,
    TypeError,
    ValueError,
    AttributeError,
    OverflowError,
    RecursionError,
)
"""What JSON that a stranger wrote may raise when it is read."""

_HEADER_BYTES: Final = 200_000  # of a shard: names and places of its tensors, and the card

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
    weights and ``seed`` that of the training run, None where an import does not know them;
    ``commit`` is the revision of the code that trained, empty where unknown; ``lofid`` is the
    version that wrote the file.
    """

    config: RwkvConfig
    vocabulary: str
    vocabulary_hash: str
    step: int | None
    seed: int | None
    data: tuple[DataSource, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    lofid: str = __version__
    commit: str = ""

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
        sizes = asdict(config).values()
        if any(type(size) is not int or size < 1 for size in sizes) or config.width % HEAD_SIZE:
            raise ValueError("impossible shape")
        return cls(
            config=config,
            vocabulary=str(entries["vocabulary"]),
            vocabulary_hash=str(entries["vocabulary_hash"]),
            step=_counted(entries["step"]),
            seed=_counted(entries["seed"]),
            data=tuple(DataSource(**source) for source in entries["data"]),
            metrics={name: float(value) for name, value in entries["metrics"].items()},
            lofid=str(entries["lofid"]),
            commit=str(entries.get("commit", "")),
        )


def _counted(value: Any) -> int | None:
    return None if value is None else int(value)


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
    if config.layers > len(tensors):  # a strange file may say any number
        raise LofidError(
            f"The weights of '{where}' have {len(tensors)} tensors, too few for {config.layers} "
            "layers; get the file again or train the model anew."
        )
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
    stored = {name: stored_tensor(tensor) for name, tensor in model.tensors.items()}
    write_tensors(path, stored, model.card.to_metadata())


def save_folder(folder: Path, model: Model, most: int = SHARD_BYTES) -> None:
    """Write ``model`` into a folder as the hub lays it out.

    One file, or where its tensors take more than ``most`` bytes, shards of at most so many (a
    tensor is never cut) and the index, which comes last. Raises as :func:`save_model` does.
    """
    check_tensors(model.card.config, model.tensors, folder)
    stored = {name: stored_tensor(tensor) for name, tensor in model.tensors.items()}
    metadata = model.card.to_metadata()
    shards: list[Mapping[str, NDArray[Any]]] = []
    room = 0
    for name, tensor in stored.items():
        if tensor.nbytes > room or not shards:
            shards.append({})
            room = most - _HEADER_BYTES
        shards[-1] = {**shards[-1], name: tensor}
        room -= tensor.nbytes
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LofidError(
            f"The folder '{folder}' could not be made ({error.strerror}); choose another place."
        ) from error
    if len(shards) == 1:
        write_tensors(folder / SINGLE, stored, metadata)
        (folder / INDEX).unlink(missing_ok=True)
        return
    names = [f"model-{n + 1:05d}-of-{len(shards):05d}.safetensors" for n in range(len(shards))]
    for name, shard in zip(names, shards, strict=True):
        write_tensors(folder / name, shard, metadata)
    index = {
        "metadata": {
            **metadata,
            "total_size": sum(tensor.nbytes for tensor in stored.values()),
            "sha256": {name: _sha256((folder / name).read_bytes()) for name in names},
        },
        "weight_map": {
            tensor: name for name, shard in zip(names, shards, strict=True) for tensor in shard
        },
    }
    with replacing(folder / INDEX) as temporary:
        temporary.write_text(json.dumps(index, indent=1))
    (folder / SINGLE).unlink(missing_ok=True)


class _UnreadModel(Model):
    """A model that was read and checked before: its tensors are read when they are asked for."""

    __slots__ = ("_path",)
    _path: Path

    def __init__(self, card: ModelCard, digest: str, path: Path) -> None:
        for name, value in (("card", card), ("hash", digest), ("_path", path)):
            object.__setattr__(self, name, value)

    @property
    def tensors(self) -> Tensors:
        found = load_model(self._path)
        if found.hash != self.hash:
            raise LofidError(
                f"The weights '{self._path}' were replaced by others ({found.hash} instead of "
                f"{self.hash}) while they were in use; start lofid again to play with those."
            )
        return found.tensors


def load_model(
    path: Path,
    vocabulary_hash: str | None = None,
    known: Callable[[str], bool] | None = None,
) -> Model:
    """Read a model file, a folder of one, or an index of shards.

    For the vocabulary of that hash unless None. Of a model whose hash is ``known``, because it was
    read before and is kept in another form, no tensor is read before one is asked for. Raises
    :class:`LofidError` where something cannot be read, is damaged or no model of ours, or was
    trained on another vocabulary.
    """
    if is_there(path / INDEX):
        path = path / INDEX
    elif is_there(path / SINGLE):
        path = path / SINGLE
    tensors: Tensors | None = None
    metadata, digest = _identity(path) if known else ({}, "")
    if not (known and known(digest)):
        read = _read_shards if path.suffix == ".json" else read_tensors
        tensors, metadata, digest = read(path)
    try:
        card = ModelCard.from_metadata(metadata)
    except NO_SENSE as error:
        raise LofidError(
            f"The file '{path}' carries no card of a lofid model; use the model file that "
            "'lofid train' names at its end, or import them with 'lofid models import'."
        ) from error
    if vocabulary_hash is not None and card.vocabulary_hash != vocabulary_hash:
        raise LofidError(
            f"The weights '{path}' were trained on another vocabulary ('{card.vocabulary}', "
            f"{card.vocabulary_hash or 'no hash'} instead of {vocabulary_hash}); use the weights "
            "of this version of lofid or train them anew."
        )
    if tensors is None:
        return _UnreadModel(card, digest, path)
    check_tensors(card.config, tensors, path)
    return Model(card, tensors, digest)


def _identity(path: Path) -> tuple[dict[str, str], str]:
    """Metadata and hash of a model file or an index, as far as they can be told."""
    content = _content(path)
    try:
        if path.suffix == ".json":
            metadata = json.loads(content)["metadata"]
            return metadata, _digest_of_shards(metadata["sha256"])
        return _metadata(content), _sha256(content)
    except NO_SENSE:
        return {}, ""  # whoever reads all of it will say what is wrong


def _metadata(content: bytes) -> dict[str, str]:
    length = int.from_bytes(content[:8], "little")
    found: dict[str, str] = json.loads(content[8 : 8 + length]).get("__metadata__") or {}
    return found


def _digest_of_shards(digests: Mapping[str, str]) -> str:
    return _sha256("".join(digests[name] for name in sorted(digests)).encode())


def _read_shards(path: Path) -> tuple[Tensors, dict[str, str], str]:
    """Tensors, metadata and hash of an index and the shards beside it."""
    try:
        index = json.loads(_content(path))
        metadata: dict[str, str] = index["metadata"]
        digests: dict[str, str] = dict(index["metadata"]["sha256"])
        place: dict[str, str] = dict(index["weight_map"])
        if set(place.values()) != set(digests) or any(Path(n).name != n for n in digests):
            raise ValueError("its shards are not those that it lists")
    except NO_SENSE as error:
        raise LofidError(
            f"The index '{path}' is damaged or none of a lofid model ({error!r}); get it again."
        ) from error
    tensors: Tensors = {}
    for name in sorted(digests):
        found, _, digest = read_tensors(path.parent / name)
        if digest != digests[name]:
            raise LofidError(
                f"The shard '{path.parent / name}' is not the one that its index names "
                f"({digest} instead of {digests[name]}); get the model again."
            )
        tensors |= found
    return tensors, metadata, _digest_of_shards(digests)


def write_tensors(path: Path, stored: Mapping[str, NDArray[Any]], metadata: dict[str, str]) -> None:
    """Write a safetensors file, complete or not at all; :class:`LofidError` where it cannot be."""
    content = serialized(dict(stored), metadata=metadata)
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def read_tensors(path: Path) -> tuple[Tensors, dict[str, str], str]:
    """The tensors of a safetensors file as float32, its metadata, its hash (16 hex digits).

    Raises :class:`LofidError` where it cannot be read, is damaged or holds other types of numbers.
    """
    content = _content(path)
    try:
        entries = deserialize(content)  # type: ignore[no-untyped-call]
        metadata = _metadata(content)
    except (SafetensorError, ValueError) as error:
        raise LofidError(
            f"The file '{path}' is damaged or no safetensors file ({error}); get it again."
        ) from error
    return {name: _loaded(path, name, entry) for name, entry in entries}, metadata, _sha256(content)


def _content(path: Path) -> bytes:
    return read_file(path, "file of weights", MOST_BYTES)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def stored_tensor(tensor: NDArray[np.float32]) -> NDArray[np.floating[Any]]:
    """A tensor as it is kept: matrices in float16 where that can hold them."""
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
