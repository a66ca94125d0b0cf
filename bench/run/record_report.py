"""Measure whether what the presets play sounds like a record: songs, hands, kit, bass, melody.

python -m bench.run.record_report --seeds 10 --hour study --hour rain --json
"""

import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from bench.script import run_script
from lofid.compose.player import drums_player, keys_player
from lofid.compose.preset import DEFAULT, load_preset, preset_names
from lofid.compose.station import Station
from lofid.judge.figures import Figure, Share, as_markdown, as_table
from lofid.judge.record_notes import hour_figures, take_figures
from lofid.judge.record_sound import record_figures
from lofid.judge.report import MeasuredTake
from lofid.music.notes import BEATS_PER_BAR
from lofid.music.plan import Bar
from lofid.rwkv.shipped import shipped_engine
from lofid.tokens import drums, keys


def main(
    preset: Annotated[
        list[str] | None, typer.Option(help="A preset, repeatable. Default: all that ship.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=0, help="Seeds a preset, from 101.")] = 10,
    bars: Annotated[int, typer.Option(min=16, help="Bars a seed.")] = 80,
    sound: Annotated[
        int, typer.Option(min=0, help="How many of a preset's seeds are rendered and listened to.")
    ] = 1,
    hour: Annotated[
        list[str] | None,
        typer.Option(help="A preset of which an hour is measured, repeatable. Default: study."),
    ] = None,
    minutes: Annotated[float, typer.Option(min=4, help="How long that hour is.")] = 60,
    rolls: Annotated[
        Path | None, typer.Option(help="Also draw the first takes as piano rolls into that folder.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, not tables.")] = False,
    markdown: Annotated[Path | None, typer.Option(help="Also write the tables there.")] = None,
) -> None:
    """Print the figures of single presets, and of an hour."""
    figures: list[Figure] = []
    names = preset or preset_names()
    with _station() as station, Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("Writing", total=len(names) * seeds)
        for name in names:
            takes = []
            for seed in range(101, 101 + seeds):
                stream = station.bars(load_preset(name).settings, seed)
                takes.append(list(itertools.islice(stream, bars)))
                progress.advance(task)
            listened = [
                MeasuredTake(name, 101 + index, take, Share())
                for index, take in enumerate(takes[:sound])
            ]
            if takes:
                figures += record_figures((load_preset(name), take) for take in listened)
                figures += _grouped(name, take_figures(takes))
                _draw(rolls, name, takes[0])
        for name in hour or [DEFAULT]:
            progress.add_task(f"An hour of {name}", total=None)
            stream = station.bars(load_preset(name).settings, 31)
            played = list(_lasting(stream, 60 * minutes))
            figures += _grouped(f"an hour of {name}", hour_figures(played))
            _draw(rolls, f"{name}-hour", played)
    if as_json:
        print(json.dumps([figure.as_json() for figure in figures]))
    else:
        Console().print(as_table(figures, f"{seeds} seeds of {bars} bars"))
    if markdown:
        markdown.write_text(as_markdown(figures), "utf-8")


def _station() -> Station:
    return Station(
        keys_player(shipped_engine("pocket-keys", keys.VOCABULARY.hash)),
        drums_player(shipped_engine("pocket-drums", drums.VOCABULARY.hash)),
    )


def _lasting(bars: Iterator[Bar], seconds: float) -> Iterator[Bar]:
    """Bars for so long."""
    played = 0.0
    while played < seconds:
        bar = next(bars)
        played += 60 * BEATS_PER_BAR / bar.plan.tempo
        yield bar


def _grouped(group: str, figures: Sequence[Figure]) -> list[Figure]:
    return [replace(figure, group=group) for figure in figures]


def _draw(folder: Path | None, name: str, bars: Sequence[Bar]) -> None:
    if folder is None:
        return
    from lofid.judge import pictures  # noqa: PLC0415 - matplotlib is optional

    folder.mkdir(parents=True, exist_ok=True)
    pictures.piano_roll(bars, folder / f"{name}.png")


if __name__ == "__main__":
    run_script("record_report", main)
