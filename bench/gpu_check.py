"""Checks and measures everything that runs on a GPU, in one go of at most nine minutes.

``python -m bench.gpu_check`` prints a table; ``--json FILE`` and ``--docs FILE`` write it
down. Each step is a process of its own with a time of its own, so that one that fails, hangs or
takes the GPU's context with it does not hide the others. What the steps are:
:mod:`bench.gpu_steps`. ``--interpret`` goes through all of them with small shapes in
Triton's interpreter, where no GPU is needed and times say nothing.
"""

import argparse
import json
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from bench import environment as child_environment
from lofid.files import replacing
from lofid.judge.figures import Figure, Target, as_markdown, as_table

MOST_SECONDS: Final = 530.0
"""Of everything together."""
STEP_SECONDS: Final = 120.0
"""Of one step, compiling included; the last one may take what is left."""

_UNMEASURED = "Not yet measured on a GPU."
_HEADING = "## On a GPU"


@dataclass(frozen=True, slots=True)
class GpuReport:
    """What came of a run: ``failures`` says why a step gave no figures."""

    machine: str
    figures: tuple[Figure, ...]
    failures: dict[str, str]

    @property
    def passed(self) -> bool:
        """Whether every step ran and every target was met."""
        return not self.failures and all(f.verdict != "missed" for f in self.figures)

    def as_json(self) -> dict[str, object]:
        """Plain data."""
        return {
            "machine": self.machine,
            "figures": [figure.as_json() for figure in self.figures],
            "failures": self.failures,
        }

    def as_section(self, day: str) -> str:
        """The section of ``docs/performance.md``."""
        lines = [
            _HEADING,
            "",
            f"What `make gpu-bench` printed on {day} on {self.machine}.",
            "",
            as_markdown(self.figures),
        ]
        lines += [f"* {step} gave no figures: {reason}" for step, reason in self.failures.items()]
        return "\n".join(lines).strip() + "\n"


def with_section(document: str, section: str) -> str:
    """A document with its section on GPUs replaced, or put where it says that there is none."""
    if _UNMEASURED in document:
        before, after = document.split(_UNMEASURED, 1)
    else:
        before, _, rest = document.partition(f"{_HEADING}\n")
        after = "".join(re.split(r"^(?=## )", rest, maxsplit=1, flags=re.MULTILINE)[1:])
    parts = (before.rstrip(), section.strip(), after.strip())
    return "\n\n".join(part for part in parts if part) + "\n"


def run_steps(names: Sequence[str], interpret: bool) -> GpuReport:
    """All steps in turn, each in a process of its own."""
    ends = time.monotonic() + MOST_SECONDS
    environment = {name: x for name, x in child_environment().items() if name != "TRITON_INTERPRET"}
    if interpret:
        environment["TRITON_INTERPRET"] = "1"
    figures: list[Figure] = []
    failures: dict[str, str] = {}
    machine = "an unknown machine"
    console = Console(stderr=True)
    for name in names:
        left = ends - time.monotonic()
        if left < 5:
            failures[name] = "no time was left"
            continue
        began = time.monotonic()
        limit = left if name == names[-1] else min(left, STEP_SECONDS)
        try:
            done = subprocess.run(
                [sys.executable, "-m", "bench.gpu_check", "--alone", name],
                env=environment,
                capture_output=True,
                text=True,
                timeout=limit,
                check=False,
            )
        except subprocess.TimeoutExpired as late:
            failures[name] = f"it took more than {limit:.3g} s"
            said = (late.stderr or b"").decode(errors="replace")  # bytes, whatever was asked for
        else:
            said = done.stderr
            if done.returncode or not done.stdout:
                failures[name] = (said.strip().splitlines() or ["it died silently"])[-1]
            else:
                answer = json.loads(done.stdout.splitlines()[-1])
                machine = answer["machine"]
                figures += [_figure(fields, interpret) for fields in answer["figures"]]
        if name in failures:
            console.print(said, markup=False, highlight=False)
        console.print(f"{name}: {failures.get(name, 'done')}, {time.monotonic() - began:.0f} s")
    return GpuReport(machine, tuple(figures), failures)


def _alone(name: str) -> None:
    """Run one step in this process; its figures go to standard output, as JSON."""
    # Only here: the process that starts the others must not load torch, nor hold the GPU.
    import torch  # noqa: PLC0415
    import triton  # noqa: PLC0415

    from bench import gpu_steps  # noqa: PLC0415

    interpreted = bool(triton.knobs.runtime.interpret)
    scale = gpu_steps.INTERPRETED if interpreted else gpu_steps.GPU
    figures = gpu_steps.STEPS[name](scale)
    gpu = "Triton's interpreter" if interpreted else torch.cuda.get_device_name()
    machine = f"{gpu}, torch {torch.__version__}, Triton {triton.__version__}"
    print(json.dumps({"machine": machine, "figures": [asdict(figure) for figure in figures]}))


def _figure(fields: dict[str, Any], interpreted: bool) -> Figure:
    """A figure from a step's answer; what an interpreter takes has no target."""
    target = fields.pop("target")
    timed = interpreted and fields["unit"]
    return Figure(target=Target(**target) if target and not timed else None, **fields)


CHECKS: Final = ("stages", "philox", "sampling", "wkv", "prefill", "graphs")
"""Steps that compare with float64 and numpy."""
MEASUREMENTS: Final = (
    "pair",
    "streams",
    "restoring",
    "prefill-speed",
    "bars",
    "wkv-speed",
    "torch-loop",
    "fla",
    "training",
    "training-compiled",
)
"""Steps that measure."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0 if all steps ran and all targets were met."""
    parser = argparse.ArgumentParser(description="Check and measure lofid on a GPU.")
    parser.add_argument("--checks", action="store_true", help="only compare, measure nothing")
    parser.add_argument("--only", action="append", choices=(*CHECKS, *MEASUREMENTS))
    parser.add_argument("--interpret", action="store_true", help="small shapes, without a GPU")
    parser.add_argument("--json", type=Path, help="also write the figures there")
    parser.add_argument("--docs", type=Path, help="write the section of that document")
    parser.add_argument("--alone", help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.alone:
        _alone(chosen.alone)
        return 0
    names = chosen.only or (CHECKS if chosen.checks else (*CHECKS, *MEASUREMENTS))
    report = run_steps(names, chosen.interpret)
    Console().print(as_table(report.figures, report.machine))
    for step, reason in report.failures.items():
        print(f"{step} failed: {reason}")
    if chosen.json:
        with replacing(chosen.json) as temporary:
            temporary.write_text(json.dumps(report.as_json(), indent=1), "utf-8")
    if chosen.docs:
        now = datetime.now(UTC)
        section = report.as_section(f"{now.day} {now:%B %Y}")
        document = chosen.docs.read_text("utf-8")
        with replacing(chosen.docs) as temporary:
            temporary.write_text(with_section(document, section), "utf-8")
    return 0 if report.passed else 1


if __name__ == "__main__":
    sys.exit(main())
