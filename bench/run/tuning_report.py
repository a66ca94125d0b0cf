"""What tuning gains on a folder of MIDI files, by method and by bar, and what it costs elsewhere.

    python -m bench.run.tuning_report FOLDER
    python -m bench.run.tuning_report FOLDER --data archives --method state --method lora

Writes Markdown. Losses are in nats an event token on files of the folder that were held out;
"elsewhere" is the held-out part of the archives. A tuned state leaves the weights as they are, so
its "elsewhere" is that of the model itself.
"""

import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import torch
import typer

from bench.script import run_script
from lofid.compose.voices import VOCABULARIES
from lofid.learn.own import in_numbers, own_pieces
from lofid.learn.shards import prepared_corpus
from lofid.learn.tune import Split, Tuner, Tuning, drums_pieces, keys_pieces, split, stream_loss
from lofid.rwkv.shipped import shipped_model
from lofid.rwkv.styles import Method, save_style

_SPANS = ((0, 2), (2, 4), (4, 8), (8, 16), (16, 32), (32, 64))


def main(
    folder: Annotated[Path, typer.Argument(help="Folder with MIDI files.")],
    data: Annotated[Path | None, typer.Option(help="Archives, for the loss elsewhere.")] = None,
    method: Annotated[
        list[Method] | None, typer.Option(help="A method, repeatable. Default: all.")
    ] = None,
    minutes: Annotated[float, typer.Option(min=0.01, help="Of each method, at most.")] = 15.0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the runs.")] = 1,
    threads: Annotated[int, typer.Option(min=1, help="Of torch.")] = min(os.cpu_count() or 1, 4),
) -> None:
    """Tune by each method and print the tables."""
    torch.set_num_threads(threads)
    own, left_out = own_pieces(folder)
    found = {"keys": keys_pieces(own.keys), "drums": drums_pieces(own.drums)}
    pieces = {player: split(some) for player, some in found.items() if len(some) >= 2}
    print(f"{len(own.songs)} files; left out: {in_numbers(left_out) or 'none'}.\n")
    for player, parts in pieces.items():
        tokens = sum(len(piece.whole.tokens) for piece in parts.training)
        print(
            f"{player}: {len(parts.training)} pieces to learn from ({tokens:,} tokens), "
            f"{len(parts.held_out)} held out.\n"
        )
    for one in method or list(Method):
        _report(one, pieces, folder.name, seed, minutes, data)


def _report(
    method: Method,
    pieces: dict[str, Split],
    source: str,
    seed: int,
    minutes: float,
    data: Path | None,
) -> None:
    models = {player: shipped_model(f"pocket-{player}", VOCABULARIES[player]) for player in pieces}
    with tempfile.TemporaryDirectory() as place:
        tuning = Tuning(
            "report",
            models,
            pieces,
            method,
            seed,
            Path(place, "run"),
            source,
            torch.device("cpu"),
        )
        bars = {player: [("before", _spans(tuner))] for player, tuner in tuning.tuners.items()}
        began = time.monotonic()
        seen: dict[str, tuple[float, int]] = {}
        for player, progress in tuning.steps(60 * minutes):
            seen[player] = time.monotonic() - began, progress.tokens
        style = tuning.style({})
        save_style(Path(place, "style.safetensors"), style)
        size = Path(place, "style.safetensors").stat().st_size
    print(f"## {method.value}\n\n{size / 1e6:.2f} MB, {time.monotonic() - began:.0f} s in all.\n")
    print("| player | before | after | less | elsewhere before | after | tokens/s |")
    print("|---|---|---|---|---|---|---|")
    last = 0.0
    for player, tuner in tuning.tuners.items():
        elsewhere = ["-", "-"]
        if data is not None:
            stream = prepared_corpus(player, data, 1).reported
            elsewhere = [
                f"{stream_loss(weights, stream):.4f}"
                for weights in (models[player], style.applied(player, models[player]))
            ]
        seconds, tokens = seen[player]
        print(
            f"| {player} | {tuner.before:.3f} | {tuner.best:.3f} "
            f"| {100 * (1 - tuner.best / tuner.before):.1f} % | {' | '.join(elsewhere)} "
            f"| {tokens / (seconds - last):,.0f} |"
        )
        last = seconds
    heads = " | ".join(f"bars {first + 1} to {last}" for first, last in _SPANS)
    print(f"\n| player | | {heads} |\n|---|---|{'---|' * len(_SPANS)}")
    for player, tuner in tuning.tuners.items():
        tuner.take_back()
        bars[player].append(("after", _spans(tuner)))
        if method is Method.STATE:
            bars[player].append(("at the beginning alone", _spans(tuner, reminding=False)))
        for what, losses in bars[player]:
            print(f"| {player} | {what} | {' | '.join(losses)} |")
    print()


def _spans(tuner: Tuner, reminding: bool = True) -> Sequence[str]:
    """The held-out loss by distance from the beginning, as it stands."""
    bars = tuner.by_bar(reminding)
    parts = [bars[first:last] for first, last in _SPANS]
    return [
        f"{sum(total for total, _ in part) / count:.3f}"
        if (count := sum(count for _, count in part))
        else "-"
        for part in parts
    ]


if __name__ == "__main__":
    run_script("tuning_report", main)
