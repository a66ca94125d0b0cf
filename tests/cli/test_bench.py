"""``lofid bench`` as a user meets it."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lofid.cli import app
from lofid.errors import LofidError


def test_figures_as_json(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        app,
        [
            "bench",
            "long",
            "--bars",
            "200",
            "--json",
            "--markdown",
            str(tmp_path / "m.md"),
        ],
    )
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    groups = {figure["group"] for figure in said["figures"]}
    assert groups == {"200 bars in one run, cpu-int8"}
    assert {"name", "measured", "target", "verdict", "unit"} <= said["figures"][0].keys()
    assert "### 200 bars in one run, cpu-int8" in (tmp_path / "m.md").read_text("utf-8")


def test_a_plot_needs_the_engines() -> None:
    done = CliRunner().invoke(app, ["bench", "long", "--plot", "p.png"])
    assert isinstance(done.exception, LofidError)
    with pytest.raises(LofidError, match="add 'engines'"):
        raise done.exception
