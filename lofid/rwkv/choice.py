"""Which engine runs the models on this machine, and why.

It looks before it loads: torch takes seconds and hundreds of megabytes, so it is imported only
where the operating system shows a GPU, or where its engine was asked for. Knows no music.
"""

import importlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from lofid.rwkv.config import RwkvConfig
from lofid.rwkv.engine import Engine

if TYPE_CHECKING:
    from lofid.rwkv.weights import Model

OLDEST = (8, 0)
"""The CUDA compute capability that the kernels need: Ampere, the first with bfloat16."""

_DEVICES = ("/dev/nvidia[0-9]*", "/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
"""What the drivers of NVIDIA and AMD show, and that of Windows to its Linux (WSL 2)."""

_COPIES = 2
"""Of the weights at 8 bits: they are packed on the GPU from a first copy."""

_BESIDES = 256 * 2**20
"""Bytes for the states, the compiled kernels and the graphs."""

REST = 60.0
"""Seconds after which a GPU that failed is tried again; doubled each time that it fails."""

LONGEST_REST = 3600.0
"""Seconds that the doubling ends at."""


class EngineName(StrEnum):
    """What may be asked for. ``auto`` is the Triton engine where it runs, else the CPU engine."""

    AUTO = "auto"
    CPU = "cpu"
    TRITON = "triton"
    TORCH = "torch"


@dataclass(frozen=True, slots=True)
class Choice:
    """The engine to open, never ``auto``, and why it is that one.

    ``reason`` ends a sentence, such as ``no GPU was found``. ``refused`` is what was asked for
    where that cannot be had; None where all is as it was wished.
    """

    engine: EngineName
    reason: str
    refused: EngineName | None = None

    @property
    def notice(self) -> str | None:
        """What to tell somebody who asked for another engine."""
        if self.refused is None:
            return None
        return f"The engine '{self.refused}' cannot be used: {self.reason}; the CPU engine plays."


@dataclass(frozen=True, slots=True)
class Gpu:
    """What matters of a GPU.

    ``capability`` is CUDA's, None for AMD's; ``free`` counts the bytes that nobody uses.
    """

    name: str
    capability: tuple[int, int] | None
    free: int

    def objection(self, needed: int) -> str | None:
        """Why it cannot run models that need so many bytes; None where it can."""
        if self.capability is not None and self.capability < OLDEST:
            has, wants = (".".join(map(str, pair)) for pair in (self.capability, OLDEST))
            return f"the GPU {self.name} is too old ({has}; {wants} is needed)"
        if self.free < needed:
            return (
                f"the GPU {self.name} has too little memory left "
                f"({self.free / 2**30:.1f} GiB; {needed / 2**30:.1f} GiB is needed)"
            )
        return None


class EngineRole(StrEnum):
    """What the engine that writes is among those that may."""

    ONLY = "only"
    FASTER = "faster"
    STAND_IN = "stand-in"


@dataclass(frozen=True, slots=True)
class RunningEngine:
    """What writes the bars: the engine's name, why it is that one, and its role."""

    engine: str
    reason: str
    role: EngineRole


def rest_after(failures: int, first: float = REST) -> float:
    """Seconds after which an engine that has failed so many times in a row is tried again."""
    return min(LONGEST_REST, math.ldexp(first, min(failures, 64) - 1))


def choose(asked: EngineName, configs: Sequence[RwkvConfig]) -> Choice:
    """The engine for models of these shapes: the one asked for, or the CPU's where that fails."""
    if asked is EngineName.CPU:
        return Choice(EngineName.CPU, "it was asked for")
    if asked is EngineName.TORCH:
        objection = _import_failure("torch")
        if objection is None:
            return Choice(EngineName.TORCH, "it was asked for")
    else:
        found = _gpu()
        objection = found if isinstance(found, str) else found.objection(_bytes_needed(configs))
        if isinstance(found, Gpu) and objection is None:
            return Choice(EngineName.TRITON, f"on {found.name}")
    return Choice(EngineName.CPU, objection or "", None if asked is EngineName.AUTO else asked)


def open_engine(name: EngineName, model: "Model") -> Engine:
    """The chosen engine on a model; raises what its libraries raise where the GPU fails."""
    if name is EngineName.TRITON:
        from lofid.rwkv.triton import TritonEngine

        return TritonEngine(model.card.config, model.tensors)
    if name is EngineName.TORCH:
        from lofid.rwkv.torch_engine import TorchEngine

        return TorchEngine(model.card.config, model.tensors)
    from lofid.rwkv.cpu import CpuEngine

    return CpuEngine.of(model)


def device_files() -> Iterator[Path]:
    """The signs of a GPU that the operating system shows."""
    for pattern in _DEVICES:
        path = Path(pattern)
        yield from path.parent.glob(path.name)


def _gpu() -> Gpu | str:
    """The GPU that the Triton engine would use, or why there is none."""
    if not any(device_files()):
        return "no GPU was found"
    for library in ("torch", "triton"):
        failure = _import_failure(library)
        if failure is not None:
            return failure
    import torch

    if not torch.cuda.is_available():
        built = torch.version.cuda or torch.version.hip
        return (
            f"torch {torch.__version__} finds no GPU that it can use"
            if built
            else f"torch {torch.__version__} was built without GPU support"
        )
    try:
        capability = None if torch.version.hip else torch.cuda.get_device_capability()
        return Gpu(torch.cuda.get_device_name(), capability, torch.cuda.mem_get_info()[0])
    except RuntimeError as error:  # a driver that is broken, a device that is taken
        return f"the GPU does not answer ({str(error).splitlines()[0]})"


def _import_failure(library: str) -> str | None:
    """Why a library cannot be imported; None where it can."""
    try:
        importlib.import_module(library)
    except ModuleNotFoundError as error:
        if error.name == library:
            return f"{library} is not installed; 'lofid[gpu]' brings it"
        return f"{library} cannot be imported ({error})"
    except Exception as error:  # a damaged installation may raise anything
        return f"{library} cannot be imported ({error})"
    return None


def _bytes_needed(configs: Sequence[RwkvConfig]) -> int:
    from lofid.rwkv.weights import tensor_shapes

    weights = sum(math.prod(shape) for one in configs for shape in tensor_shapes(one).values())
    return _COPIES * weights + _BESIDES
