"""The benchmark's instruments, on real processes and a real station."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from bench import processes
from lofid.errors import LofidError

# Holds 60 MB in itself and 40 MB in a child, and works for half a second of CPU.
_HUNGRY = """
import subprocess, sys, time
mine = bytearray(60_000_000)
child = "theirs = bytearray(40_000_000); print('ready', flush=True); input()"
other = subprocess.Popen([sys.executable, "-c", child], stdin=0, stdout=subprocess.PIPE)
other.stdout.readline()
while time.process_time() < 0.5:
    pass
print("ready", flush=True)
other.wait()
"""


def test_children_are_counted() -> None:
    command = [sys.executable, "-c", _HUNGRY]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        watched = psutil.Process(process.pid)
        assert processes._memory(watched) > 100
        assert processes._cpu(watched) >= 0.45
        process.communicate(b"\n")


def test_writing_measures_the_shipped_models() -> None:
    mean, slowest = processes.writing(bars=3)
    assert mean.measured is not None
    assert slowest.measured is not None
    assert 0 < mean.measured <= slowest.measured
    assert mean.unit == "%"


def test_a_failing_render_is_told(tmp_path: Path) -> None:
    with pytest.raises(LofidError, match="lofid render"):
        processes._render(tmp_path / "no-folder" / "music.mid", "--bars", "1")
