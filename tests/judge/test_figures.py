"""Figures and how they are shown."""

import json

import pytest
from rich.console import Console

from lofid.judge.figures import Figure, Share, Target, as_markdown, as_table

FIGURES = [
    Figure("Groove", "swing", 0.5, "points", Target(-2, 2), note="asked against played"),
    Figure("Groove", "kick on one", 0.9, "", Target(low=0.95), human=0.8),
    Figure("Sound", "true peak", None, "dBTP", Target(high=-1)),
    Figure("Sound", "bars", 1200.0),
]


def test_verdicts() -> None:
    assert [figure.verdict for figure in FIGURES] == ["met", "missed", "", ""]


@pytest.mark.parametrize(
    ("target", "text"),
    [(Target(0.8, 1.2), "0.8 to 1.2"), (Target(5), "≥ 5"), (Target(None, 1), "≤ 1")],
)
def test_target_text(target: Target, text: str) -> None:
    assert str(target) == text


def test_shares_add_up() -> None:
    assert Share(1, 2) + Share(2, 6) == Share(3, 8)
    assert Share(3, 8).value == 0.375
    assert Share().value is None


def test_shown_everywhere() -> None:
    markdown = as_markdown(FIGURES)
    assert "| swing | -2 to 2 | 0.500 points |" in markdown
    assert "* swing: asked against played" in markdown
    assert markdown.count("|---|---:|") == 2
    console = Console(width=120)
    with console.capture() as capture:
        console.print(as_table(FIGURES, "Report"))
    assert "1,200" in capture.get()
    assert "missed" in capture.get()
    assert json.loads(json.dumps([figure.as_json() for figure in FIGURES]))[1]["human"] == 0.8
