"""What models lose on music that nobody trained on, by style, with intervals: both halves.

Usage: ``python -m bench.run.held_out_report drums --data DIR [--model FILE] [--model FILE] …``; by
default the shipped model. Of several, each is compared with the first on the same pieces. Nats a
note, each piece read from the empty state, 95 % intervals by bootstrap over the pieces.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch.nn import functional

from bench.script import run_script
from lofid.learn import run
from lofid.learn.configs import PlayerName, named
from lofid.learn.measure import Measured, Read, interval, nats_by_piece
from lofid.learn.sequences import TokenStream
from lofid.rwkv.reference import Rwkv6, zero_state
from lofid.rwkv.shipped import shipped_model
from lofid.rwkv.weights import Model, load_model
from lofid.tokens import drums, keys

_OUT = Console()
_BATCH, _CONTEXT = 16, 256
_VOCABULARIES = {PlayerName.KEYS: keys.VOCABULARY, PlayerName.DRUMS: drums.VOCABULARY}


@torch.no_grad()
def _measured(model: Model, stream: TokenStream) -> Measured:
    network = Rwkv6(model.card.config).eval()
    network.load_state_dict({name: torch.from_numpy(one) for name, one in model.tensors.items()})

    def begin() -> Read:
        state = zero_state(model.card.config, _BATCH)

        def read(tokens: NDArray[np.int16], counted: NDArray[np.bool_]) -> NDArray[np.float64]:
            nonlocal state
            ids = torch.from_numpy(tokens.astype(np.int64))
            logits, state = network(ids[:, :-1], state)
            lost = functional.cross_entropy(
                logits.transpose(1, 2), ids[:, 1:], reduction="none"
            ).double()
            found: NDArray[np.float64] = (lost * torch.from_numpy(counted)).sum(1).numpy()
            return found

        return read

    return Measured.of(stream, nats_by_piece(stream, _BATCH, _CONTEXT, begin))


def _table(name: str, models: dict[str, Model], stream: TokenStream) -> None:
    found = [_measured(model, stream) for model in models.values()]
    table = Table("style", "pieces", "notes", *models, title=name)
    for style in found[0].styles:
        pieces = [piece for piece in found[0].pieces if piece.style == style]
        cells = [_cell([one.only(style)]) for one in found[:1]]
        cells += [_cell([found[0].only(style), one.only(style)]) for one in found[1:]]
        notes = f"{sum(piece.notes for piece in pieces):,}"
        table.add_row(style, str(len(pieces)), notes, *cells)
    count, notes = str(len(found[0].pieces)), f"{sum(p.notes for p in found[0].pieces):,}"
    cells = [_cell(found[:1])] + [_cell([found[0], one]) for one in found[1:]]
    table.add_row("mean over styles", count, notes, *cells)
    tokens = [f"{one.per_note:.3f} ({one.per_token:.3f} a token)" for one in found]
    table.add_row("all together", count, notes, *tokens)
    _OUT.print(table)


def _cell(models: list[Measured]) -> str:
    """The last model's figure; with an interval, or by how much less it is than the first's."""
    figure = f"{models[-1].headline:.3f}"
    if len(models) == 1:
        low, high = interval(lambda headlines: headlines[0], models)
        return f"{figure} ({low:.3f} to {high:.3f})"
    low, high = interval(_less, models)
    less = float(_less([np.array(one.headline) for one in models]))
    return f"{figure}, less by {less:.1f} % ({low:.1f} to {high:.1f})"


def _less(headlines: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    less: NDArray[np.float64] = 100 * (1 - headlines[-1] / headlines[0])
    return less


def main(
    player: PlayerName,
    data: Annotated[Path, typer.Option(help="Folder with the archives.")],
    model: Annotated[list[Path] | None, typer.Option(help="Model file; may be repeated.")] = None,
) -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    vocabulary = _VOCABULARIES[player].hash
    models = {str(path): load_model(path, vocabulary) for path in model or []}
    models = models or {"shipped": shipped_model(f"pocket-{player}", vocabulary)}
    corpus = run.open_corpus(player, data, named("pocket").settings(player))
    _table(f"{player}, the half that chooses", models, corpus.choosing)
    _table(f"{player}, the half that is only reported", models, corpus.reported)


if __name__ == "__main__":
    run_script("held_out_report", main)
