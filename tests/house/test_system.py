import os
import subprocess
import sys
from pathlib import Path

import pytest

from lofid.system import PARTS, Kind, SystemPart, advice, missing

ROOT = Path(__file__).parents[2]
GONE = SystemPart(
    Kind.LIBRARY,
    "no-such-library-anywhere",
    "is needed by this test",
    debian="libgone1",
    fedora="gone",
    arch="gone-arch",
    macos="",
)


def test_everything_the_tests_need_is_here() -> None:
    assert missing(PARTS["test"]) == []


def test_a_missing_library_is_named_for_every_system() -> None:
    assert missing([GONE]) == [GONE]
    sentence = advice([GONE])
    for command in ("apt install libgone1", "dnf install gone", "pacman -S gone-arch"):
        assert command in sentence
    assert "brew" not in sentence  # nothing to install there


@pytest.mark.parametrize("purpose", PARTS)
def test_the_table_runs_before_anything_is_installed(purpose: str) -> None:
    """With nothing but the standard library, and quietly where all is there."""
    result = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _RUN.format(root=str(ROOT), purpose=purpose)],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


_RUN = """
import sys
sys.path.insert(0, {root!r})
from lofid.system import main
sys.exit(main([{purpose!r}]))
"""


def test_where_apt_is_not_to_be_had_the_packages_are_named(tmp_path: Path) -> None:
    """A machine whose PATH holds neither apt-get nor jackd."""
    result = subprocess.run(
        [sys.executable, "-m", "lofid.system", "test"],
        cwd=ROOT,
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert "jackd" in result.stderr and "sudo apt install jackd2" in result.stderr
