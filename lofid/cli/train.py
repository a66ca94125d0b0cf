"""``lofid train``: train the keys or the drums on MIDI archives, resumable at any moment."""

from collections.abc import Generator
from contextlib import closing
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import progress as rich_progress

from lofid.cli._terminal import ERR, OUT, JsonOption, StopRequest, finite, print_json
from lofid.cli.data import DataOption
from lofid.errors import LofidError

if TYPE_CHECKING:
    from lofid.learn.journal import TrainingProgress
    from lofid.learn.run import StepReport
    from lofid.learn.train import Trainer

_RECENT = 300  # steps that the displayed loss is the mean of


class PlayerChoice(StrEnum):
    """The two models, as the command line names them (``lofid.learn`` would load torch)."""

    KEYS = "keys"
    DRUMS = "drums"


def _complete_config() -> list[str]:
    from lofid.learn.configs import CONFIGS

    return list(CONFIGS)


def train(
    player: Annotated[PlayerChoice, typer.Argument(help="Which of the two models.")],
    data: DataOption = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Folder of the run; one there goes on.",
            show_default="runs/CONFIG-PLAYER",
        ),
    ] = None,
    config: Annotated[
        str,
        typer.Option(
            "--config",
            help="pocket, studio, thesis, rnn, lstm or gpt.",
            autocompletion=_complete_config,
        ),
    ] = "pocket",
    begins: Annotated[
        Path | None,
        typer.Option("--from", help="Begin with the weights of this model file or folder."),
    ] = None,
    tokens: Annotated[
        float | None,
        typer.Option(
            "--tokens", min=1, callback=finite, help="Budget, such as 20e6; may change on resuming."
        ),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            "--minutes",
            min=0,
            callback=finite,
            help="Stop with a checkpoint after so many minutes.",
        ),
    ] = None,
    batch: Annotated[
        int | None, typer.Option("--batch", min=1, help="Lanes that are read side by side.")
    ] = None,
    context: Annotated[
        int | None, typer.Option("--context", min=1, help="Tokens of a lane in one step.")
    ] = None,
    accumulate: Annotated[
        int,
        typer.Option("--accumulate", min=1, help="Read the lanes in so many parts: less memory."),
    ] = 1,
    rate: Annotated[
        float | None, typer.Option("--rate", min=0, callback=finite, help="Highest learning rate.")
    ] = None,
    balance: Annotated[
        float | None,
        typer.Option(
            "--balance",
            callback=finite,
            help="Oversample rare styles: 0 not at all, 1 to equal shares.",
        ),
    ] = None,
    average: Annotated[
        int | None,
        typer.Option("--average", min=0, help="Keep the mean weights of so many steps; 0: none."),
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(
            "--patience", min=0, help="Checks without a better held-out loss until the end; 0: off."
        ),
    ] = None,
    samples: Annotated[
        int,
        typer.Option("--samples", min=0, help="Steps between two samples to listen to; 0: none."),
    ] = 1500,
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "auto",
    devices: Annotated[
        int, typer.Option("--devices", min=1, help="GPUs (or CPU processes) a machine.")
    ] = 1,
    nodes: Annotated[int, typer.Option("--nodes", min=1, help="Machines.")] = 1,
    strategy: Annotated[
        str,
        typer.Option("--strategy", help="How several share: ddp, fsdp or deepspeed_stage_2."),
    ] = "ddp",
    threads: Annotated[int, typer.Option("--threads", min=1, help="CPU threads.")] = 1,
    workers: Annotated[
        int,
        typer.Option("--workers", min=1, help="Processes that prepare data; 2 or more: all ahead."),
    ] = 1,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the run.")] = 1,
    json: JsonOption = False,
) -> None:
    """Train a model; the same command goes on with a run that was stopped (Ctrl-C) or killed.

    [dim]Examples:[/dim]

    lofid train keys

    lofid train drums --data archives --out runs/drums --minutes 30

    lofid train keys --config thesis --devices 8

    lofid train keys --from runs/pocket-keys/pocket-keys.safetensors --rate 8e-4 --out runs/longer
    """
    try:
        import torch

        from lofid.learn import archives, configs, run
        from lofid.rwkv.weights import load_model
    except ModuleNotFoundError as error:
        raise LofidError(
            f"Training needs {error.name}, which is not installed; "
            "install it with: pip install 'lofid[train]'."
        ) from error
    from dataclasses import replace

    torch.set_num_threads(threads)
    name = configs.PlayerName(player.value)
    data = data or archives.data_folder()
    out = out or Path("runs", f"{config}-{name}")
    chosen = configs.named(config)
    asked: dict[str, Any] = {
        "seed": seed,
        "tokens": None if tokens is None else int(tokens),
        "batch": batch,
        "context": context,
        "rate": rate,
        "balance": balance,
        "average": average,
        "patience": patience,
    }
    given = {key: value for key, value in asked.items() if value is not None}
    settings = replace(chosen.settings(name), **given)
    model = None if begins is None else load_model(begins)
    fabric = run.open_fabric(settings, run.choose_device(device), devices, nodes, strategy)
    ERR.quiet = OUT.quiet = not fabric.is_global_zero
    with fabric.rank_zero_first(local=True), ERR.status("Reading the data …"):
        corpus = run.open_corpus(name, data, settings, chosen.form, workers)
    trainer = run.open_trainer(chosen, corpus, settings, out, fabric, accumulate, model)
    if trainer.step:
        ERR.print(f"Going on at step {trainer.step} of {trainer.last_step}.")
    with StopRequest() as stop:
        steps = run.run(trainer, minutes, lambda: stop.wanted, samples)
        _followed(trainer, steps)
    if trainer.step < trainer.last_step:
        ERR.print(
            f"Stopped at step {trainer.step} of {trainer.last_step}; the same command goes on."
        )
        return
    if not fabric.is_global_zero:
        return
    with ERR.status("Measuring the baselines …"):
        beside = run.baselines(corpus)
    result = run.report(trainer, beside)
    path = None
    if chosen.network is configs.Network.RWKV:
        path = out / f"{config}-{player.value}.safetensors"
        run.export(trainer, result, path)
    _print_result(result, path or out, json)


def _print_result(result: "StepReport", path: Path, json: bool) -> None:
    from dataclasses import asdict

    if json:
        print_json({"file": str(path), **asdict(result)})
        return
    OUT.print(
        f"{path}: loss on the reported half in nats a note {result.model:.3f} "
        f"(unigram {result.baselines.unigram:.3f}, 4-gram {result.baselines.four_gram:.3f}), "
        f"a token {result.model_per_token:.3f}; mean over styles {result.headline:.3f} "
        f"({result.interval[0]:.3f} to {result.interval[1]:.3f}), on the choosing half "
        f"{result.choosing:.3f}, at step {result.step}",
        highlight=False,
        soft_wrap=True,
    )


def _followed(trainer: "Trainer", steps: "Generator[TrainingProgress, None, None]") -> None:
    """Run through the steps behind a progress bar."""
    from collections import deque

    per_step = trainer.settings.tokens_per_step
    recent: deque[float] = deque(maxlen=_RECENT)
    columns = (
        rich_progress.TextColumn("{task.description}"),
        rich_progress.BarColumn(),
        rich_progress.TaskProgressColumn(),
        rich_progress.TextColumn("{task.fields[speed]}"),
        rich_progress.TimeRemainingColumn(),
    )
    with (
        closing(steps),
        rich_progress.Progress(*columns, console=ERR) as bar,
    ):
        task = bar.add_task("Training", total=trainer.last_step, completed=trainer.step, speed="")
        held_out = ""
        for last in steps:
            recent.append(last.train)
            if last.held_out is not None:
                held_out = f", held-out {last.held_out:.3f} a note"
            speed = bar.tasks[0].speed
            bar.update(
                task,
                completed=last.step,
                total=trainer.last_step,
                description=f"loss {sum(recent) / len(recent):.3f} nats a token{held_out}",
                speed="" if speed is None else f"{speed * per_step:,.0f} tokens/s",
            )
