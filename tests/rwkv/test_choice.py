import os
import subprocess
import sys
from pathlib import Path

import pytest

from lofid.rwkv.choice import Choice, EngineName, Gpu, choose, device_files
from lofid.rwkv.config import sized

PAIR = (sized("studio", 1024), sized("studio", 1024))
GIB = 2**30


def test_a_gpu_that_can_has_nothing_against_it() -> None:
    assert Gpu("NVIDIA H200", (9, 0), 100 * GIB).objection(GIB) is None
    assert Gpu("AMD Instinct MI300X", None, 100 * GIB).objection(GIB) is None


def test_one_that_cannot_says_why_in_figures() -> None:
    old = Gpu("Tesla T4", (7, 5), 15 * GIB).objection(GIB)
    assert old == "the GPU Tesla T4 is too old (7.5; 8.0 is needed)"
    full = Gpu("NVIDIA A100", (8, 0), GIB // 4).objection(GIB // 2)
    assert full == "the GPU NVIDIA A100 has too little memory left (0.2 GiB; 0.5 GiB is needed)"


def test_the_cpu_engine_is_had_for_the_asking() -> None:
    choice = choose(EngineName.CPU, PAIR)
    assert choice == Choice(EngineName.CPU, "it was asked for")
    assert choice.notice is None


@pytest.mark.skipif(any(device_files()), reason="needs a machine without a GPU")
def test_without_a_gpu() -> None:
    assert choose(EngineName.AUTO, PAIR) == Choice(EngineName.CPU, "no GPU was found")
    assert choose(EngineName.TRITON, PAIR).notice == (
        "The engine 'triton' cannot be used: no GPU was found; the CPU engine plays."
    )


def chosen(engine: EngineName, path: Path | None = None) -> str:
    """What a process of its own chooses, and whether it imported torch for that."""
    code = (
        "import sys; from lofid.rwkv.choice import EngineName, choose; "
        f"print(choose(EngineName({str(engine)!r}), []).reason, 'torch' in sys.modules)"
    )
    beside = [str(path)] if path is not None else []
    searched = os.pathsep.join([*beside, *filter(None, [os.environ.get("PYTHONPATH")])])
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": searched},
        capture_output=True,
        text=True,
        check=True,
    )
    return result.stdout.strip()


@pytest.mark.skipif(any(device_files()), reason="needs a machine without a GPU")
def test_without_a_gpu_torch_stays_out() -> None:
    assert chosen(EngineName.AUTO) == "no GPU was found False"


def test_a_library_that_cannot_be_imported_is_named_with_its_fault(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('libcudart.so.13: cannot open')")
    reason = "torch cannot be imported (libcudart.so.13: cannot open)"
    assert chosen(EngineName.TORCH, tmp_path).startswith(reason)
    (tmp_path / "torch.py").write_text("import a_part_of_it_that_is_missing")
    assert "No module named 'a_part_of_it_that_is_missing'" in chosen(EngineName.TORCH, tmp_path)
