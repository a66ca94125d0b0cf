"""The models that come with lofid, ready to play."""

from importlib import resources
from pathlib import Path

from lofid.rwkv.cpu import CpuEngine
from lofid.rwkv.weights import load_model


def shipped_engine(name: str, vocabulary_hash: str, instead: Path | None = None) -> CpuEngine:
    """The CPU engine on the weights in the package called ``name``, or on the file ``instead``.

    Raises :class:`LofidError` where the file cannot be used or is for another vocabulary.
    """
    packaged = resources.files("lofid").joinpath("models", f"{name}.safetensors")
    with resources.as_file(packaged) as path:
        model = load_model(instead or path, vocabulary_hash)
    return CpuEngine(model.card.config, model.tensors)
