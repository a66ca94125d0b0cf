"""Compiles every kernel for the GPUs that we know of, on machines that have none.

Each module of kernels ends with ``VARIANTS``: what of it is launched, with which types and
constants. This module knows nothing of what the kernels compute. ``python -m
lofid.kernels.targets`` compiles them all and prints what each one takes.
"""

import importlib
import json
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.compiler import compile as compiled
from triton.runtime.jit import JITFunction

MODULES: Final[tuple[str, ...]] = ("decode", "philox", "sample", "wkv")
"""The modules of ``lofid.kernels`` that hold kernels."""

TARGETS: Final[Mapping[str, Any]] = {
    "sm_80": GPUTarget("cuda", 80, 32),  # A100
    "sm_90": GPUTarget("cuda", 90, 32),  # H100, H200
    "gfx942": GPUTarget("hip", "gfx942", 64),  # MI300
}
"""The GPUs compiled for, by name."""

SHARED: Final[Mapping[str, int]] = {"sm_80": 166_912, "sm_90": 232_448, "gfx942": 65_536}
"""Bytes of shared memory that one program may take there."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One way in which a kernel is launched.

    ``types`` are Triton's names of the types of the arguments that are no constants (``"*fp32"``,
    ``"*i8"``, ``"i32"``, ``"fp32"``), ``constants`` the values of the others; together they name
    every argument of ``kernel``. Pointers are taken to be aligned to 16 bytes, as torch's are.
    ``warps`` and ``stages`` are the launch's ``num_warps`` and ``num_stages``; ``targets`` names
    where it is launched, where that is not everywhere.
    """

    kernel: Any
    types: Mapping[str, str]
    constants: Mapping[str, Any]
    warps: int = 4
    stages: int = 3
    targets: tuple[str, ...] = tuple(TARGETS)


@dataclass(frozen=True, slots=True)
class Compiled:
    """What became of one variant: seconds to compile, bytes of shared memory, bytes of binary."""

    module: str
    kernel: str
    number: int
    target: str
    seconds: float
    shared: int
    binary: int


def compile_all(modules: tuple[str, ...] = MODULES) -> Iterator[Compiled]:
    """Compile every variant of ``modules`` for every target.

    Raises whatever Triton raises for a kernel that does not compile, ValueError for one that takes
    more shared memory than the target has, and RuntimeError where Triton interprets kernels.
    """
    for name in modules:
        variants: tuple[Variant, ...] = importlib.import_module(f"lofid.kernels.{name}").VARIANTS
        for number, variant in enumerate(variants):
            for target in variant.targets:
                yield _compile(name, number, variant, target)


def _compile(module: str, number: int, variant: Variant, target: str) -> Compiled:
    kernel = variant.kernel
    if not isinstance(kernel, JITFunction):
        raise RuntimeError("kernels cannot be compiled where TRITON_INTERPRET is set")
    names: list[str] = kernel.arg_names
    source = ASTSource(
        kernel,
        signature={name: variant.types.get(name, "constexpr") for name in names},
        constexprs=dict(variant.constants),
        attrs={
            (place,): [["tt.divisibility", 16]]
            for place, name in enumerate(names)
            if variant.types.get(name, "").startswith("*")
        },
    )
    options = {"num_warps": variant.warps, "num_stages": variant.stages}
    began = time.perf_counter()
    binary = compiled(source, target=TARGETS[target], options=options)
    seconds = time.perf_counter() - began
    shared: int = binary.metadata.shared
    if shared > SHARED[target]:
        raise ValueError(
            f"{module}.{kernel.__name__} variant {number} takes {shared:,} bytes of shared memory, "
            f"and {target} has {SHARED[target]:,}"
        )
    code = binary.asm["hsaco" if target.startswith("gfx") else "cubin"]
    return Compiled(module, kernel.__name__, number, target, seconds, shared, len(code))


if __name__ == "__main__":
    for found in compile_all(tuple(sys.argv[1:]) or MODULES):
        print(json.dumps(asdict(found)), flush=True)
