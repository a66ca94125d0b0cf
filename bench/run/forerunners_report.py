"""RWKV beside a vanilla RNN, an LSTM and a GPT: same tokens, split, loop and parameter count.

Trains each on the same budget (a run that is there goes on) and prints the table:
python -m bench.run.forerunners_report drums --data archives --out runs/forerunners --tokens 2e6
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table

from bench.script import run_script
from lofid.learn import comparison, run
from lofid.learn.configs import PlayerName, named
from lofid.learn.forerunners import Gpt
from lofid.learn.sequences import Corpus
from lofid.learn.train import Trainer
from lofid.rwkv.config import RwkvConfig
from lofid.rwkv.cpu import CpuEngine

NAMES = ("pocket", "lstm", "rnn", "gpt")
_OUT, _ERR = Console(width=120), Console(stderr=True)


def _trained(
    name: str, player: PlayerName, corpus: Corpus, out: Path, tokens: int, device: str
) -> Trainer:
    config = named(name)
    settings = replace(config.settings(player), tokens=tokens)
    fabric = run.open_fabric(settings, run.choose_device(device))
    trainer = run.open_trainer(config, corpus, settings, out / f"{name}-{player}", fabric)
    with _ERR.status(name) as status:
        for progress in run.run(trainer, None):
            status.update(f"{name}: step {progress.step} of {trainer.last_step}")
    trainer.take_best()
    return trainer


def _rows(name: str, trainer: Trainer, corpus: Corpus, length: int) -> Iterator[list[str]]:
    model = trainer.model
    loss = trainer.measure(corpus.reported).per_note
    model.cpu()
    if isinstance(model, Gpt):
        loss = comparison.windowed_loss(model, corpus.reported)
    count = sum(parameter.numel() for parameter in model.parameters())
    readers = {name: comparison.reader(model)}
    if isinstance(trainer.shape, RwkvConfig):
        tensors = {key: tensor.numpy() for key, tensor in trainer.best_weights().items()}
        engine = CpuEngine(trainer.shape, tensors)
        readers[f"{name}, {engine.name}"] = comparison.EngineReader(engine)
    torch.set_num_threads(1)
    for title, reader in readers.items():
        made = comparison.generate(reader, corpus, seed=1, long=length)
        yield [
            title,
            f"{count / 1e6:.2f}",
            f"{loss:.3f}",
            f"{made.short_speed:,.0f}",
            f"{made.long_speed:,.0f}",
            f"{made.short_bytes / 1e3:,.0f}",
            f"{made.long_bytes / 1e3:,.0f}",
            f"{made.repetition:.1%}",
        ]


def main(
    player: PlayerName,
    data: Annotated[Path, typer.Option(help="Folder with the archives.")],
    out: Annotated[Path, typer.Option(help="Folder of the runs.")] = Path("runs/forerunners"),
    tokens: Annotated[float, typer.Option(help="Training tokens of each.")] = 2e6,
    length: Annotated[float, typer.Option(help="Tokens to generate.")] = comparison.LONG,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    threads: Annotated[int, typer.Option(min=1, help="Of training; generating has one.")] = 1,
) -> None:
    """Train, measure, print."""
    corpus = run.open_corpus(player, data, named("pocket").settings(player))
    long = f"{int(length) // 1000} k"
    table = Table(
        "network",
        "parameters, M",
        "reported nats a note",
        "tokens/s at 1 k",
        f"at {long}",
        "memory, kB, at 1 k",
        f"at {long}",
        "repeated bars",
        title=f"{player}, {tokens / 1e6:g} M training tokens",
    )
    for name in NAMES:
        torch.set_num_threads(threads)
        trainer = _trained(name, player, corpus, out, int(tokens), device)
        for row in _rows(name, trainer, corpus, int(length)):
            table.add_row(*row)
    own = comparison.repetition([events for _, events in comparison.bars(corpus.reported)])
    table.add_row("held-out music", "", "", "", "", "", "", f"{own:.1%}")
    _OUT.print(table)


if __name__ == "__main__":
    run_script("forerunners_report", main)
