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


@pytest.mark.parametrize("body", [SKIPS, SKIPS_WHEN_COLLECTED])
@pytest.mark.parametrize(("ci", "code"), [("true", {1, 2}), ("", {0, 5})])
def test_a_skip_fails_in_ci_only(tmp_path: Path, body: str, ci: str, code: set[int]) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST.read_text())
    (tmp_path / "test_sample.py").write_text(body)
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "."],
        cwd=tmp_path,
        env={"CI": ci, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode in code, result.stdout
