"""The models that come with lofid, ready to play."""

from importlib import resources
from pathlib import Path

from lofid.rwkv.choice import EngineName, open_engine
from lofid.rwkv.engine import Engine
from lofid.rwkv.packed import is_known
from lofid.rwkv.weights import Model, load_model


def shipped_model(name: str, vocabulary_hash: str, instead: Path | None = None) -> Model:
    """The weights in the package called ``name``, or the file ``instead``.

    Raises :class:`LofidError` where the file cannot be used or is for another vocabulary.
    """
    packaged = resources.files("lofid").joinpath("models", f"{name}.safetensors")
    with resources.as_file(packaged) as path:
        return load_model(instead or path, vocabulary_hash, known=is_known)


def shipped_engine(name: str, vocabulary_hash: str, instead: Path | None = None) -> Engine:
    """The CPU engine on :func:`shipped_model`; raises as that does."""
    return open_engine(EngineName.CPU, shipped_model(name, vocabulary_hash, instead))
