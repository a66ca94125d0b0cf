"""Measure the music: what the presets play, beside targets and human playing.

    python -m bench.run.music_report --data DIR --markdown docs/music.md --pictures build/pictures

``DIR`` holds the training archives (``keys_pop909``, ``drums_gmd``); without it the human column
stays empty and recitation is not measured.
"""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from bench.script import run_script
from lofid.compose.preset import load_preset, preset_names
from lofid.files import replacing
from lofid.judge.figures import Figure, as_markdown, as_table
from lofid.judge.listening import listen
from lofid.judge.report import (
    Humans,
    MeasuredTake,
    layer_table,
    musical_figures,
    recital_figures,
    sound_figures,
)
from lofid.judge.takes import write_take
from lofid.rwkv.shipped import shipped_engine
from lofid.tokens import drums, keys

DEFAULT_SEEDS = 10
DEFAULT_BARS = 64


def main(
    preset: Annotated[
        list[str] | None, typer.Option(help="A preset, repeatable. Default: all that ship.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds a preset, from 1.")] = DEFAULT_SEEDS,
    bars: Annotated[int, typer.Option(min=1, help="Bars a seed.")] = DEFAULT_BARS,
    data: Annotated[Path | None, typer.Option(help="Folder of the training archives.")] = None,
    keys_model: Annotated[Path | None, typer.Option(help="Other weights of the keys.")] = None,
    drums_model: Annotated[Path | None, typer.Option(help="Other weights of the drums.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Also write the report there.")] = None,
    pictures: Annotated[
        Path | None, typer.Option(help="Also draw each preset's first seed into that folder.")
    ] = None,
    sound: Annotated[
        bool, typer.Option(help="Render each preset's first seed and measure its loudness.")
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, not tables.")] = False,
) -> None:
    """Print the musical figures of the presets."""
    names = preset or preset_names()
    keys_engine = shipped_engine("pocket-keys", keys.VOCABULARY.hash, keys_model)
    drums_engine = shipped_engine("pocket-drums", drums.VOCABULARY.hash, drums_model)
    console = Console()
    takes: list[MeasuredTake] = []
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("Writing", total=len(names) * seeds)
        for name in names:
            for seed in range(1, seeds + 1):
                progress.update(task, description=f"Writing {name}, seed {seed}")
                settings = load_preset(name)
                takes.append(write_take(settings, seed, bars, keys_engine, drums_engine))
                progress.advance(task)
        progress.add_task("Measuring", total=None)
        humans = Humans.read(data) if data else None
        figures = musical_figures(takes, humans)
        if humans:
            figures += recital_figures(takes, humans)
        firsts = [take for take in takes if take.seed == 1]
        if pictures:
            _draw(firsts, pictures)
        if sound:
            for take in firsts:
                figures += _measured_sound(take, pictures)
    if as_json:
        console.print_json(json.dumps([figure.as_json() for figure in figures]))
    else:
        title = f"{len(names)} presets, {seeds} seeds, {bars} bars each"
        console.print(as_table(figures, title), layer_table(takes))
    if markdown:
        _write(markdown, names, seeds, bars, figures)


def _draw(takes: list[MeasuredTake], folder: Path) -> None:
    from lofid.judge import pictures  # noqa: PLC0415 - matplotlib is optional

    folder.mkdir(parents=True, exist_ok=True)
    for take in takes:
        stem = folder / take.preset
        pictures.piano_roll(take.bars, stem.with_suffix(".roll.png"))
        pictures.onset_histogram(take.bars, stem.with_suffix(".onsets.png"))
        pictures.velocity_histogram(take.bars, stem.with_suffix(".velocities.png"))


def _measured_sound(take: MeasuredTake, folder: Path | None) -> list[Figure]:
    mix, stems = listen(load_preset(take.preset), take)
    if folder:
        from lofid.judge import pictures  # noqa: PLC0415 - matplotlib is optional

        pictures.spectrogram(mix, (folder / take.preset).with_suffix(".sound.png"))
    return sound_figures(take.preset, mix, stems)


def _write(path: Path, names: list[str], seeds: int, bars: int, figures: list[Figure]) -> None:
    head = (
        "# Musical figures\n\n"
        f"Presets: {', '.join(names)}. {seeds} seeds of {bars} bars each, all together. Human: "
        "POP909's held-out songs (keys, melody), GMD's slow groove takes (drums).\n\n"
    )
    with replacing(path) as temporary:
        temporary.write_text(head + as_markdown(figures), "utf-8")


if __name__ == "__main__":
    run_script("music_report", main)
