"""Measured figures beside their targets, as a table, as Markdown and as JSON."""

import json
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from lofid.files import replacing


@dataclass(frozen=True, slots=True)
class Share:
    """A count out of a total, so that shares of several runs add up."""

    hits: int = 0
    total: int = 0

    def __add__(self, other: "Share") -> "Share":
        return Share(self.hits + other.hits, self.total + other.total)

    @property
    def value(self) -> float | None:
        """The share, 0 to 1; None of nothing."""
        return self.hits / self.total if self.total else None


@dataclass(frozen=True, slots=True)
class Target:
    """The range that a figure should lie in, both ends included; None is open."""

    low: float | None = None
    high: float | None = None

    def holds(self, value: float) -> bool:
        """Whether ``value`` lies in the range."""
        return (self.low is None or value >= self.low) and (self.high is None or value <= self.high)

    def __str__(self) -> str:
        if self.low is None:
            return f"≤ {self.high:.3g}"
        if self.high is None:
            return f"≥ {self.low:.3g}"
        return f"{self.low:.3g} to {self.high:.3g}"


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure.

    ``measured`` is None where there was nothing to measure; ``human`` is the same measured on
    human playing, where such data is at hand. ``note`` says what exactly was counted.
    """

    group: str
    name: str
    measured: float | None
    unit: str = ""
    target: Target | None = None
    human: float | None = None
    note: str = ""

    @property
    def verdict(self) -> str:
        """``met``, ``missed``, or nothing where there is no target or no measurement."""
        if self.target is None or self.measured is None:
            return ""
        return "met" if self.target.holds(self.measured) else "missed"

    def as_json(self) -> dict[str, object]:
        """Plain data: group, name, unit, measured, target as text, human, verdict, note."""
        return {
            "group": self.group,
            "name": self.name,
            "unit": self.unit,
            "measured": self.measured,
            "target": str(self.target) if self.target else None,
            "human": self.human,
            "verdict": self.verdict or None,
            "note": self.note,
        }


def _columns(figures: Sequence[Figure]) -> list[str]:
    """The columns to show; human playing only where some was measured."""
    compared = any(figure.human is not None for figure in figures)
    return ["figure", "target", "measured", *(["human"] if compared else []), "verdict"]


def _cell(figure: Figure, column: str) -> str:
    match column:
        case "figure":
            return figure.name
        case "target":
            return str(figure.target or "")
        case "measured":
            return _number(figure.measured, figure.unit)
        case "human":
            return _number(figure.human, figure.unit)
        case _:
            return figure.verdict


def _number(value: float | None, unit: str) -> str:
    if value is None:
        return "–"  # noqa: RUF001 - an en dash is what a table shows for nothing
    digits = 0 if value % 1 == 0 and abs(value) != 1 else 3 if abs(value) < 1 else 2
    return f"{value:,.{digits}f} {unit}".strip()


def as_table(figures: Sequence[Figure], title: str) -> Table:
    """The figures as a table for the terminal, a section a group."""
    columns = _columns(figures)
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, justify="left" if column in ("figure", "verdict") else "right")
    group = ""
    colours = {"met": "green", "missed": "red"}
    for figure in figures:
        if figure.group != group:
            group = figure.group
            table.add_section()
            table.add_row(f"[bold]{group}[/bold]")
        *cells, verdict = (_cell(figure, column) for column in columns)
        colour = colours.get(verdict, "")
        table.add_row(*cells, f"[{colour}]{verdict}[/{colour}]" if colour else "")
    return table


def as_markdown(figures: Sequence[Figure]) -> str:
    """The figures as Markdown tables, one a group, with the notes below each."""
    columns = _columns(figures)
    rule = ["---" if column in ("figure", "verdict") else "---:" for column in columns]
    lines: list[str] = []
    for group in dict.fromkeys(figure.group for figure in figures):
        members = [figure for figure in figures if figure.group == group]
        lines += [f"### {group}", "", f"| {' | '.join(columns)} |", f"|{'|'.join(rule)}|"]
        lines += [f"| {' | '.join(_cell(f, column) for column in columns)} |" for f in members]
        lines += ["", *(f"* {f.name}: {f.note}" for f in members if f.note), ""]
    return "\n".join(lines).strip() + "\n"


def publish(figures: Sequence[Figure], title: str, *, as_json: bool, markdown: Path | None) -> bool:
    """Print the figures, as a table or as JSON; ``markdown`` also gets them, under ``title``.

    Returns whether no target was missed.
    """
    machine = (
        f"{platform.machine()}, {psutil.cpu_count()} cores, Python {platform.python_version()}"
    )
    console = Console()
    if as_json:
        described = [figure.as_json() for figure in figures]
        console.print_json(json.dumps({"machine": machine, "figures": described}))
    else:
        console.print(as_table(figures, machine))
    if markdown:
        with replacing(markdown) as temporary:
            text = f"# {title}\n\nOn {machine}.\n\n{as_markdown(figures)}"
            temporary.write_text(text, "utf-8")
    return all(figure.verdict != "missed" for figure in figures)
