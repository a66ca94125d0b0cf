"""Every kernel, compiled for GPUs that this machine need not have."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

pytest.importorskip("triton.backends")

from lofid.kernels.targets import MODULES, SHARED, TARGETS


@pytest.fixture(scope="module")
def compiled() -> list[dict[str, Any]]:
    """All variants, compiled by a process of its own: the tests here interpret kernels."""
    environment = {name: x for name, x in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-m", "lofid.kernels.targets"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("target", TARGETS)
def test_every_kernel_compiles(target: str, compiled: list[dict[str, Any]]) -> None:
    here = [variant for variant in compiled if variant["target"] == target]
    assert {variant["module"] for variant in here} == set(MODULES)
    for variant in here:
        assert variant["binary"] > 500, variant
        assert variant["shared"] <= SHARED[target], variant
