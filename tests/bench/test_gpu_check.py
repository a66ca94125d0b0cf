"""What runs on the first machine with a GPU, gone through in Triton's interpreter."""

import json
from pathlib import Path

import pytest

pytest.importorskip("triton")

from bench import gpu_check, gpu_steps
from bench.gpu_check import CHECKS, MEASUREMENTS, GpuReport, with_section
from lofid.judge.figures import Figure, Target

# They take long, and what they run is run by other tests.
SLOW = ("training", "training-compiled", "wkv-speed", "wkv", "torch-loop", "streams", "stages")


def test_every_step_has_its_turn() -> None:
    assert set(gpu_steps.STEPS) == {*CHECKS, *MEASUREMENTS}


@pytest.mark.parametrize("name", [name for name in (*CHECKS, *MEASUREMENTS) if name not in SLOW])
def test_steps_run_where_there_is_no_gpu(name: str) -> None:
    for figure in gpu_steps.STEPS[name](gpu_steps.INTERPRETED):
        assert figure.measured is not None
        assert figure.group != gpu_steps.CHECKS or figure.verdict == "met", figure


def test_a_step_that_hangs_hides_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written, docs = tmp_path / "gpu.json", tmp_path / "performance.md"
    docs.write_text("# Performance\n\nNot yet measured on a GPU.\n\n## The daemon\n\nFast.\n")
    monkeypatch.setattr(gpu_check, "STEP_SECONDS", 0.01)
    steps = ["--only", "stages", "--only", "philox"]
    files = ["--json", str(written), "--docs", str(docs)]
    assert gpu_check.main(["--interpret", *steps, *files]) == 1
    found = json.loads(written.read_text())
    assert found["failures"] == {"stages": "it took more than 0.01 s"}
    assert [figure["verdict"] for figure in found["figures"]] == ["met"]
    text = docs.read_text()
    assert "## On a GPU\n\nWhat `make gpu-bench` printed on " in text
    assert "* stages gave no figures: it took more" in text
    assert "Not yet measured" not in text
    assert text.endswith("## The daemon\n\nFast.\n")


def test_the_section_is_replaced() -> None:
    figure = Figure("Speed", "pair", 0.3, "ms", Target(high=0.35))
    section = GpuReport("a GPU", (figure,), {"fla": "it died"}).as_section("1 May 2027")
    assert "| pair | ≤ 0.35 | 0.300 ms | met |" in section
    assert "* fla gave no figures: it died" in section
    once = with_section("# P\n\nNot yet measured on a GPU.\n\n## Z\n\nz\n", section)
    assert with_section(once, section) == once
    assert (
        with_section(once, "## On a GPU\n\nother\n") == "# P\n\n## On a GPU\n\nother\n\n## Z\n\nz\n"
    )
