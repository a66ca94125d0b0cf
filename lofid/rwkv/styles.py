"""Styles: what tuning made of the models, in one small file, and the place where models are kept.

A style belongs to the very weights that it was tuned on. It holds, for each player, the state
before the first token (the weights stay as they are), low-rank additions to matrices, or whole
tensors. Knows no torch and nothing of music.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from lofid import __version__
from lofid.errors import LofidError
from lofid.files import is_there, user_path, xdg_folder
from lofid.rwkv.config import HEAD_SIZE, RwkvConfig
from lofid.rwkv.state import ModelState
from lofid.rwkv.weights import (
    INDEX,
    NO_SENSE,
    SINGLE,
    Model,
    Tensors,
    read_tensors,
    stored_tensor,
    write_tensors,
)

METADATA: Final = "lofid-style"
"""Name of the one metadata entry, a :class:`StyleCard` as JSON."""

WKV: Final = "initial.wkv"
"""Name, after the player's, of a tuned state: [layers, heads, 64 (key), 64 (value)]."""

SUFFIX: Final = ".safetensors"
"""Of a style's file."""

_DOWN, _UP = ".lora_down", ".lora_up"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Method(StrEnum):
    """What tuning changes."""

    STATE = "state"
    LORA = "lora"
    FULL = "full"


@dataclass(frozen=True, slots=True)
class StyleCard:
    """What a style says of itself.

    ``models`` are the hashes of the weights it was tuned on, by player; ``source`` names the
    folder and ``pieces`` counts, by player, the pieces learned from; ``metrics`` are losses in
    nats an event token; ``lofid`` is the version that wrote the file. ``model`` is the name under
    which the weights were installed, empty for those that come with lofid.
    """

    method: Method
    models: Mapping[str, str]
    source: str
    pieces: Mapping[str, int]
    seed: int
    metrics: Mapping[str, float] = field(default_factory=dict)
    lofid: str = __version__
    model: str = ""

    def to_metadata(self) -> dict[str, str]:
        """The metadata of a safetensors file, one JSON text under one name."""
        return {METADATA: json.dumps(asdict(self))}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> Self:
        """The inverse; raises one of ``NO_SENSE`` for what is no style's card."""
        entries = json.loads(metadata[METADATA])
        return cls(
            method=Method(entries["method"]),
            models={str(player): str(found) for player, found in entries["models"].items()},
            source=str(entries["source"]),
            pieces={str(player): int(count) for player, count in entries["pieces"].items()},
            seed=int(entries["seed"]),
            metrics={
                str(name): float(value)
                for name, value in entries["metrics"].items()
                if math.isfinite(float(value))  # JSON for scripts has no other numbers
            },
            lofid=str(entries["lofid"]),
            model=str(entries["model"]),
        )


@dataclass(frozen=True, slots=True)
class Style:
    """A style as a value; ``tensors`` are named ``PLAYER.TENSOR``, ``hash`` is the file's."""

    name: str
    card: StyleCard
    tensors: Tensors
    hash: str = ""

    def applied(self, player: str, model: Model) -> Model:
        """The player's weights with what the style changes; the model itself where that is nothing.

        A tuned state changes no weights. Raises :class:`LofidError` for other weights than those
        that the style was tuned on.
        """
        base = self.card.models.get(player)
        if base is None:
            return model
        if base != model.hash:
            raise LofidError(
                f"The style '{self.name}' was tuned on other weights of the {player} ({base} "
                f"instead of {model.hash}); tune it anew, or play it "
                + (f"with --model {self.card.model}." if self.card.model else "without a --model.")
            )
        own = self._own(player)
        if not own.keys() - {WKV}:
            return model  # as it is: tensors that nobody has read yet stay unread
        tensors = dict(model.tensors)
        for name, tensor in own.items():
            if name.endswith(_DOWN):
                matrix = name.removesuffix(_DOWN)
                up = own.get(matrix + _UP)
                if up is None or matrix not in tensors or up.ndim != 2 or tensor.ndim != 2:
                    raise self._unfit(name)
                ranks, (outputs, inputs) = (up.shape[1], len(tensor)), (len(up), tensor.shape[1])
                if (outputs, inputs) != tensors[matrix].shape or ranks[0] != ranks[1]:
                    raise self._unfit(name)
                tensors[matrix] = tensors[matrix] + up @ tensor
            elif name != WKV and not name.endswith(_UP):
                if name not in tensors or tensors[name].shape != tensor.shape:
                    raise self._unfit(name)
                tensors[name] = tensor
        return Model(model.card, tensors, self.identity(player, model))

    def identity(self, player: str, model: Model) -> str:
        """What a session knows the player by; that of the model where the style has no say.

        What a session remembers goes on as it was with the same weights in the same style only, and
        a tuned state is a style as well.
        """
        if player not in self.card.models:
            return model.hash
        return hashlib.sha256(f"{model.hash} {self.hash}".encode()).hexdigest()[:16]

    def beginning(self, player: str, config: RwkvConfig) -> ModelState | None:
        """The state before a song's first token, None where the style leaves it empty.

        Raises :class:`LofidError` where it is for a model of another shape.
        """
        wkv = self._own(player).get(WKV)
        if wkv is None:
            return None
        if wkv.shape != (config.layers, config.heads, HEAD_SIZE, HEAD_SIZE):
            raise self._unfit(WKV)
        empty = ModelState.zero(config)
        return ModelState(empty.att_shift, empty.ffn_shift, wkv.copy())

    def _own(self, player: str) -> Tensors:
        start = f"{player}."
        return {
            name.removeprefix(start): tensor
            for name, tensor in self.tensors.items()
            if name.startswith(start)
        }

    def _unfit(self, tensor: str) -> LofidError:
        return LofidError(
            f"The tensor '{tensor}' of the style '{self.name}' does not fit the model; tune the "
            "style anew."
        )


def lora(name: str, down: NDArray[np.float32], up: NDArray[np.float32]) -> Tensors:
    """The tensors that add ``up`` [outputs, rank] @ ``down`` [rank, inputs] to a matrix."""
    return {name + _DOWN: down, name + _UP: up}


def data_folder() -> Path:
    """Where styles and installed models are kept."""
    return xdg_folder("XDG_DATA_HOME", Path.home() / ".local" / "share") / "lofid"


def style_path(name: str) -> Path:
    """Where the style of a name is kept; :class:`LofidError` for what can be no name."""
    if name.endswith(SUFFIX):
        raise LofidError(
            f"The name '{name[:80]}' cannot be a style's, as it would be taken for a file; leave "
            f"out '{SUFFIX}'."
        )
    return data_folder() / "styles" / f"{_checked(name, 'style')}{SUFFIX}"


def style_names() -> list[str]:
    """The styles that are kept here, in order."""
    return sorted(path.stem for path in (data_folder() / "styles").glob(f"[!.]*{SUFFIX}"))


def save_style(path: Path, style: Style) -> None:
    """Write a style, complete or not at all; raises :class:`LofidError`.

    A tuned state stays float32; matrices are stored as a model's are.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LofidError(
            f"The folder '{path.parent}' could not be made ({error.strerror}); check who owns it."
        ) from error
    stored: dict[str, NDArray[Any]] = {
        name: tensor if name.endswith(WKV) else stored_tensor(tensor)
        for name, tensor in style.tensors.items()
    }
    write_tensors(path, stored, style.card.to_metadata())


def load_style(name: str) -> Style:
    """The style of a name, or of a path, with or without ``.safetensors`` at its end.

    Raises :class:`LofidError` where there is none, or it is damaged.
    """
    is_path = name.endswith(SUFFIX) or "/" in name
    path = user_path(name) if is_path else style_path(name)
    if is_path and path.suffix != SUFFIX:
        path = path.with_name(path.name + SUFFIX)
    if not is_there(path):
        known = ", ".join(style_names())
        raise LofidError(
            f"There is no style '{name}' here ({path}); "
            + (
                f"choose one of {known}."
                if known
                else "make one with 'lofid tune FOLDER --as NAME'."
            )
        )
    tensors, metadata, digest = read_tensors(path)
    try:
        card = StyleCard.from_metadata(metadata)
    except NO_SENSE as error:
        raise LofidError(
            f"The file '{path}' is no style of lofid (its card cannot be read: "
            f"{type(error).__name__}); make one with 'lofid tune'."
        ) from error
    for tensor, values in tensors.items():
        if not np.isfinite(values).all():
            raise LofidError(
                f"The tensor '{tensor}' of the style '{path}' holds numbers that are infinite or "
                "none; tune it anew."
            )
    return Style(path.stem, card, tensors, digest)


def models_folder() -> Path:
    """Where installed models are kept: a folder a name, and in it one a player."""
    return data_folder() / "models"


def model_path(name: str) -> Path:
    """Where the model of a name is installed; :class:`LofidError` for what can be no name."""
    return models_folder() / _checked(name, "model")


def installed_names() -> list[str]:
    """The models that are installed here, in order."""
    folder = models_folder()
    return sorted(path.name for path in folder.glob("[!.]*") if path.is_dir())


def installed_model(name: str, player: str) -> Path | None:
    """The folder of an installed model's weights for a player; None where it has none.

    Raises :class:`LofidError` where no model of that name is installed.
    """
    folder = model_path(name)
    if not folder.is_dir():
        known = ", ".join(installed_names()) or "none is"
        raise LofidError(
            f"The model '{name}' is not installed ({known}); get it with 'lofid models get {name}'."
        )
    weights = folder / player
    return weights if (weights / INDEX).exists() or (weights / SINGLE).exists() else None


def _checked(name: str, what: str) -> str:
    if not _NAME.fullmatch(name):
        raise LofidError(
            f"The name '{name[:80]}' cannot be a {what}'s; use letters, digits, '-', '_' and '.', "
            "at most 64, a letter or digit first."
        )
    return name
