"""The rules of tests/conftest.py, tried on suites of one test."""

import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[1] / "conftest.py"

SKIPS = """
import pytest

def test_that_skips():
    pytest.skip("no such device")

@pytest.mark.xfail(reason="known", strict=True)
def test_that_is_expected_to_fail():
    assert False
"""
SKIPS_WHEN_COLLECTED = """
import pytest

pytest.importorskip("a_module_that_nobody_has")
"""
WRITES = """
import os
from pathlib import Path

def test_that_writes():
    path = Path(os.path.expandvars("{path}"))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("changed")
"""


def run(folder: Path, body: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run a suite that consists of ``body`` under these rules."""
    (folder / "conftest.py").write_text(CONFTEST.read_text())
    (folder / "test_sample.py").write_text(body)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "."],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("body", [SKIPS, SKIPS_WHEN_COLLECTED])
@pytest.mark.parametrize(("ci", "code"), [("true", {1, 2}), ("", {0, 5})])
def test_a_skip_fails_in_ci_only(tmp_path: Path, body: str, ci: str, code: set[int]) -> None:
    result = run(tmp_path, body, CI=ci)
    assert result.returncode in code, result.stdout


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("$HOME/.config/systemd/user/lofid.service", True),  # a unit, anew
        ("$HOME/.config/systemd/user/mine.service", True),  # a unit, another
        ("$HOME/.local/state/lofid/main/journal", True),  # what the user's own daemon keeps
        ("$HOME/notes.txt", True),
        ("$XDG_CACHE_HOME/lofid/weights", False),  # the tests' own
    ],
)
def test_what_changes_the_machine_is_told(tmp_path: Path, path: str, told: bool) -> None:
    home, suite = tmp_path / "home", tmp_path / "suite"
    for unit in (home / ".config/systemd/user/mine.service", suite / "pytest.ini"):
        unit.parent.mkdir(parents=True)
        unit.write_text("")
    result = run(suite, WRITES.format(path=path), HOME=str(home))
    assert result.returncode == told, result.stdout
    changed = path.replace("$HOME", str(home))
    assert (f"the tests have changed this machine: {home}" in result.stdout) == told
    assert (changed in result.stdout) == told
