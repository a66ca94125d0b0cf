"""``lofid tune`` and ``lofid styles``: a style from a folder of MIDI files, and those at hand."""

import math
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import progress as rich_progress
from rich.markup import escape
from rich.table import Table

from lofid.cli._station import ModelOption
from lofid.cli._terminal import (
    ERR,
    OUT,
    JsonOption,
    StopRequest,
    escaped,
    finite,
    print_json,
    remark,
)
from lofid.errors import LofidError
from lofid.files import alone_in, unfinished
from lofid.rwkv.styles import Method, load_style, save_style, style_names, style_path

if TYPE_CHECKING:
    from lofid.learn.tune import Tuning, TuningProgress
    from lofid.rwkv.styles import Style
    from lofid.rwkv.weights import Model


_MOST_THREADS = 4  # more gain nothing with one piece at a time


def tune(
    folder: Annotated[Path, typer.Argument(help="Folder with MIDI files.")],
    name: Annotated[str, typer.Option("--as", help="Name of the style.")],
    method: Annotated[
        Method,
        typer.Option(
            "--method",
            help="state: the weights stay as they are; lora, full: they change, and may forget.",
        ),
    ] = Method.STATE,
    minutes: Annotated[
        float,
        typer.Option(
            "--minutes",
            min=0.01,
            callback=finite,
            help="About so long at most; it ends when it is done.",
        ),
    ] = 15.0,
    model: ModelOption = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Archives, to measure what is lost on other music."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the run.")] = 1,
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "auto",
    json: JsonOption = False,
) -> None:
    """Teach the models the manner of your own music; a fifth of the files is kept for testing.

    Ctrl-C keeps what was learned so far; the same command goes on from there.

    [dim]Examples:[/dim]

    lofid tune ~/midi/mine --as mine

    lofid play --style mine
    """
    try:
        import torch

        from lofid.learn.own import in_numbers, own_pieces
        from lofid.learn.tune import Tuning, drums_pieces, keys_pieces, split
    except ModuleNotFoundError as error:
        raise LofidError(
            f"Tuning needs {error.name}, which is not installed; "
            "install it with: pip install 'lofid[train]'."
        ) from error
    from lofid.learn.run import choose_device
    from lofid.learn.shards import recipe

    path = style_path(name)
    place = path.with_name(f".{name}.tuning")
    _check_unfinished(name, path, place)
    hardware = choose_device(device)
    torch.set_num_threads(min(torch.get_num_threads(), _MOST_THREADS))
    with ERR.status("Reading the pieces …"):
        own, left_out = own_pieces(folder)
        found = {"keys": keys_pieces(own.keys), "drums": drums_pieces(own.drums)}
    if left_out:
        ERR.print(f"Left out: {in_numbers(left_out)}.", highlight=False)
    pieces = {player: split(some) for player, some in found.items() if len(some) >= 2}
    if not pieces:
        raise LofidError(
            f"The folder '{folder}' holds fewer than two pieces that can be learned from; see "
            f"'lofid data add {folder}' for what was left out and why."
        )
    models = {player: _model(player, model) for player in pieces}
    if data is not None:
        for player in models:
            recipe(player, data, seed)  # an archive that is missing is told before the tuning
    with alone_in(place, f"The style '{name}' is being tuned"):
        _check_unfinished(name, path, place)  # another lofid may have ended it meanwhile
        for left in unfinished(path):  # of a process that was killed
            left.unlink(missing_ok=True)
        tuning = Tuning(
            name, models, pieces, method, seed, place, folder.name, hardware, model or ""
        )
        stopped = _followed(tuning, tuning.steps(60 * minutes), path)
        style = tuning.style(_general(tuning, data, seed) if data else {})
        save_style(path, style)
        if tuning.is_finished:
            tuning.forget()
    if stopped and not tuning.is_finished:
        ERR.print("Stopped; what was learned so far is kept, and the same command goes on.")
    if json:
        print_json({"style": str(path), "finished": tuning.is_finished, **_plain(style)})
        return
    for player in style.card.models:
        before, after = (style.card.metrics[f"{player}_{when}"] for when in ("before", "after"))
        OUT.print(
            f"{player}: held-out loss {before:.3f} → {after:.3f} nats a token "
            f"({100 * (1 - after / before):.0f} % less), learned from "
            f"{style.card.pieces[player]} pieces",
            highlight=False,
            soft_wrap=True,
        )
        if f"{player}_general_before" in style.card.metrics:
            general = [
                style.card.metrics[f"{player}_general_{when}"] for when in ("before", "after")
            ]
            OUT.print(
                f"{player}: on other music {general[0]:.3f} → {general[1]:.3f}",
                highlight=False,
                soft_wrap=True,
            )
    OUT.print(
        f"Play it with: lofid play --style {name}", highlight=False, soft_wrap=True, markup=False
    )


def styles(json: JsonOption = False) -> None:
    """List the styles that were tuned here.

    [dim]Examples:[/dim]

    lofid styles

    lofid styles --json
    """
    found = []
    for name in style_names():
        try:
            found.append(load_style(name))
        except LofidError as error:  # one damaged file does not hide the others
            remark(error)
    if json:
        print_json([{"name": style.name, **_plain(style)} for style in found])
        return
    if not found:
        OUT.print("There are no styles yet; make one with: lofid tune FOLDER --as NAME")
        return
    table = Table(box=None)
    for column in ("style", "method", "from", "players", "held-out loss"):
        table.add_column(column)
    for style in found:
        card = style.card
        losses = (
            f"{player} {card.metrics.get(f'{player}_before', math.nan):.3f} → "
            f"{card.metrics.get(f'{player}_after', math.nan):.3f}"
            for player in card.models
        )
        texts = (style.name, card.method, card.source, ", ".join(card.models), "; ".join(losses))
        table.add_row(*(escape(escaped(text)) for text in texts))
    OUT.print(table)


def _check_unfinished(name: str, path: Path, place: Path) -> None:
    """Raise :class:`LofidError` where there is such a style and nothing of its tuning is left."""
    if path.exists() and not any(place.glob("*.pt")):
        raise LofidError(
            f"The style '{name}' is there already, and its tuning has ended; choose another name, "
            f"or remove {path} to tune it anew."
        )


def _model(player: str, name: str | None) -> "Model":
    """The weights to tune: those that come with lofid, or an installed model's."""
    from lofid.compose.voices import load_model_of

    return load_model_of(player, name=name)


def _general(tuning: "Tuning", data: Path, seed: int) -> dict[str, float]:
    """Losses on the held-out part of the archives, before and after."""
    from lofid.learn.shards import prepared_corpus
    from lofid.learn.tune import stream_loss

    figures = {}
    style = tuning.style({})
    with ERR.status("Measuring on other music …"):
        for player in style.card.models:
            stream = prepared_corpus(player, data, seed).reported
            model = tuning.models[player]
            for when, weights in (("before", model), ("after", style.applied(player, model))):
                figures[f"{player}_general_{when}"] = stream_loss(weights, stream)
    return figures


def _plain(style: "Style") -> dict[str, object]:
    """A style's card as plain data."""
    card = style.card
    return {
        "method": card.method.value,
        "source": card.source,
        "pieces": dict(card.pieces),
        "models": dict(card.models),
        "metrics": dict(card.metrics),
    }


def _followed(
    tuning: "Tuning", steps: "Generator[tuple[str, TuningProgress], None, None]", path: Path
) -> bool:
    """Run through the steps behind a progress bar; whether somebody stopped it.

    The style is written whenever something better was found.
    """
    columns = (
        rich_progress.TextColumn("{task.description}"),
        rich_progress.BarColumn(),
        rich_progress.TextColumn("at most"),
        rich_progress.TimeRemainingColumn(),
    )
    with (
        StopRequest() as stop,
        closing(steps),
        rich_progress.Progress(*columns, console=ERR) as bar,
    ):
        task = bar.add_task("Tuning", total=None)
        for player, now in steps:
            if now.is_better:
                save_style(path, tuning.style({}))
            text = f"{player}: loss {now.train:.3f}, held-out {now.before:.3f} → {now.held_out:.3f}"
            bar.update(task, description=text, total=now.budget, completed=now.spent)
            if stop.wanted:
                return True
    return False
