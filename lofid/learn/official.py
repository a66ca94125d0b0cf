"""Weights to and from other RWKV software: official ``.pth`` checkpoints of RWKV-6 (``x060``).

A ``.pth`` is read without running what is pickled in it. This module knows files and shapes, not
music: what the token ids of a foreign model mean, somebody must say.
"""

import re
import warnings
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from lofid.errors import LofidError
from lofid.files import opened_file, replacing
from lofid.rwkv.config import HEAD_SIZE, RwkvConfig
from lofid.rwkv.weights import Model, ModelCard, Tensors, check_tensors
from lofid.tokens import drums, keys, thesis

UNKNOWN: Final = "unknown"

VOCABULARIES: Final = {
    vocabulary.name.removeprefix("lofid-").removesuffix("-1"): vocabulary
    for vocabulary in (keys.VOCABULARY, drums.VOCABULARY, thesis.VOCABULARY)
}
"""What an imported model's token ids may be said to mean."""

_WRAPPERS = ("_forward_module.", "module.", "_orig_mod.", "model.")
"""Left before the names by DeepSpeed, DataParallel, torch.compile and Lightning, also several."""
_POINTER = b"version https://git-lfs.github.com/spec/"
_LAYER = re.compile(r"blocks\.(\d+)\.")


def export_official(model: Model, path: Path) -> None:
    """Write a ``.pth`` in float32, as PyPI's ``rwkv`` and RWKV-LM read it.

    Raises :class:`LofidError` where it cannot be written.
    """
    tensors = {name: torch.from_numpy(tensor) for name, tensor in model.tensors.items()}
    with replacing(path) as temporary:
        try:
            torch.save(tensors, temporary)
        except RuntimeError as error:  # torch's own writer speaks so of a full disk
            raise OSError(None, str(error).splitlines()[0]) from error


def import_official(path: Path, vocabulary: str = UNKNOWN) -> Model:
    """Read a ``.pth`` of any size; ``vocabulary`` is one of ``VOCABULARIES`` or ``UNKNOWN``.

    The card leaves open what such a file does not tell: data, steps, seed, losses. Raises
    :class:`LofidError` for a file that cannot be read, another architecture, or a vocabulary of
    another size.
    """
    tensors = _read(path)
    config = _config(path, tensors)
    check_tensors(config, tensors, path)
    if vocabulary == UNKNOWN:
        return Model(ModelCard(config, UNKNOWN, "", step=None, seed=None), tensors)
    if vocabulary not in VOCABULARIES:
        raise LofidError(
            f"The vocabulary '{vocabulary}' is not known; choose {', '.join(VOCABULARIES)} or "
            f"{UNKNOWN}."
        )
    meant = VOCABULARIES[vocabulary]
    if config.vocabulary != len(meant):
        raise LofidError(
            f"The model '{path}' has {config.vocabulary} token ids, but the vocabulary "
            f"'{vocabulary}' has {len(meant)}; choose another, or {UNKNOWN}."
        )
    return Model(ModelCard(config, meant.name, meant.hash, step=None, seed=None), tensors)


def _read(path: Path) -> Tensors:
    with opened_file(path, "checkpoint") as file:
        if file.read(len(_POINTER)) == _POINTER:
            raise LofidError(
                f"The file '{path}' only names weights that Git LFS keeps elsewhere; get them with "
                "'git lfs pull' in its repository, or download the file itself."
            )
        file.seek(0)
        try:
            with warnings.catch_warnings(action="ignore"):  # that an odd file is to be reported
                found = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises whatever its unpickler meets
            # Its own words advise to run what is in the file.
            raise LofidError(
                f"The file '{path}' is damaged or no plain checkpoint of torch, one that holds "
                "weights and no code; get one of weights alone from whoever made it."
            ) from error
    if isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
        found = found["state_dict"]  # beside what a training run keeps
    if not isinstance(found, dict) or not all(map(_is_plain, found.values())):
        raise LofidError(
            f"The file '{path}' holds no plain tensors by name; use a '.pth' of weights alone."
        )
    return {
        _bare(str(name)): tensor.detach().float().contiguous().numpy()
        for name, tensor in found.items()
    }


def _bare(name: str) -> str:
    """A tensor's name without what wrapped its model."""
    for wrapper in _WRAPPERS:
        if name.startswith(wrapper):
            return _bare(name.removeprefix(wrapper))
    return name


def _is_plain(one: object) -> bool:
    return isinstance(one, Tensor) and one.layout == torch.strided and one.is_floating_point()


def _config(path: Path, tensors: Tensors) -> RwkvConfig:
    """The shape, read off the tensors."""
    needed = ("emb.weight", "blocks.0.att.time_maa_w1", "blocks.0.att.time_decay_w1")
    shapes = [tensors[name].shape for name in needed if name in tensors]
    if len(shapes) != len(needed) or any(len(shape) != 2 for shape in shapes):
        raise LofidError(
            f"The checkpoint '{path}' is not of RWKV-6 (x060): it lacks "
            f"{', '.join(name for name in needed if name not in tensors) or 'its matrices'}; "
            "other versions of RWKV cannot be used."
        )
    (vocabulary, width), (_, mixes), (_, decay) = shapes
    if width % HEAD_SIZE:
        raise LofidError(
            f"The checkpoint '{path}' has a width of {width}, which is no multiple of {HEAD_SIZE}; "
            "such heads cannot be used."
        )
    layers = 1 + max(int(found[1]) for name in tensors if (found := _LAYER.match(name)))
    return RwkvConfig(layers, width, vocabulary, mixes // 5, decay)
