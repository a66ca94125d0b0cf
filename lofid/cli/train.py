"""``lofid train``: train the keys or the drums on MIDI archives, resumable at any moment."""

from collections.abc import Generator
from contextlib import closing
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import progress as rich_progress

from lofid.cli._terminal import ERR, OUT, JsonOption, StopRequest, print_json
from lofid.errors import LofidError

if TYPE_CHECKING:
    from lofid.learn.train import Progress, Trainer


class PlayerChoice(StrEnum):
    """The two models, as the command line names them (``lofid.learn`` would load torch)."""

    KEYS = "keys"
    DRUMS = "drums"


def train(
    player: Annotated[PlayerChoice, typer.Argument(help="Which of the two models.")],
    data: Annotated[Path, typer.Option("--data", help="Folder with the archives.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the run; one there goes on.")],
    config: Annotated[str, typer.Option("--config", help="Size: pocket or studio.")] = "pocket",
    tokens: Annotated[
        float | None,
        typer.Option("--tokens", min=1, help="Budget, such as 20e6; may change on resuming."),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option("--minutes", min=0, help="Stop with a checkpoint after so many minutes."),
    ] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "auto",
    threads: Annotated[int, typer.Option("--threads", min=1, help="CPU threads.")] = 1,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the run.")] = 1,
    json: JsonOption = False,
) -> None:
    """Train a model; the same command goes on with a run that was stopped (Ctrl-C) or killed.

    [dim]Examples:[/dim]

    lofid train keys --data archives --out runs/keys

    lofid train drums --config studio --data archives --out runs/drums --minutes 8
    """
    try:
        import torch

        from lofid.learn import run
    except ModuleNotFoundError as error:
        raise LofidError(
            f"Training needs {error.name}, which is not installed; "
            "install it with: pip install 'lofid[train]'."
        ) from error
    from dataclasses import asdict, replace

    torch.set_num_threads(threads)
    name = run.PlayerName(player.value)
    settings = replace(run.DEFAULTS[name], seed=seed)
    if tokens is not None:
        settings = replace(settings, tokens=int(tokens))
    chosen = run.choose_device(device)
    with ERR.status("Reading the archives …"):
        corpus = run.open_corpus(name, data, seed)
    trainer = run.open_trainer(name, config, corpus, settings, out, chosen)
    if trainer.step:
        ERR.print(f"Going on at step {trainer.step} of {settings.steps}.")
    last = _followed(trainer, run.run(trainer, minutes))
    if trainer.step < settings.steps:
        ERR.print(f"Stopped at step {trainer.step} of {settings.steps}; the same command goes on.")
        return
    with ERR.status("Measuring the baselines …"):
        beside = run.baselines(corpus)
    path = out / f"{config}-{player.value}.safetensors"
    report = run.export(trainer, last, beside, path)
    if json:
        print_json({"model": str(path), "step": trainer.step, **asdict(report)})
        return
    OUT.print(
        f"{path}: held-out loss in nats a note {report.model:.3f} "
        f"(unigram {report.baselines.unigram:.3f}, 4-gram {report.baselines.four_gram:.3f}), "
        f"a token {report.model_per_token:.3f}",
        highlight=False,
        soft_wrap=True,
    )


def _followed(trainer: "Trainer", steps: "Generator[Progress, None, None]") -> "Progress | None":
    """Run through the steps behind a progress bar; returns the last line of progress."""
    settings = trainer.settings
    last: Progress | None = None
    columns = (
        rich_progress.TextColumn("{task.description}"),
        rich_progress.BarColumn(),
        rich_progress.TaskProgressColumn(),
        rich_progress.TimeRemainingColumn(),
    )
    with (
        StopRequest() as stop,
        closing(steps),
        rich_progress.Progress(*columns, console=ERR) as bar,
    ):
        task = bar.add_task("Training", total=settings.steps, completed=trainer.step)
        held_out = ""
        for last in steps:
            if last.held_out is not None:
                held_out = f", held-out {last.held_out:.3f}"
            text = f"loss {last.train:.3f}{held_out} nats a token"
            bar.update(task, completed=last.step, description=text)
            if stop.wanted:
                break
    return last
