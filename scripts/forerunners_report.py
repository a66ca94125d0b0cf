"""RWKV beside a vanilla RNN, an LSTM and a GPT: same tokens, split, loop and parameter count.

Trains each on the same budget (a run that is there goes on) and prints the table:
python scripts/forerunners_report.py drums --data archives --out runs/forerunners --tokens 2e6
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from lofid.errors import LofidError
from lofid.learn import comparison, run
from lofid.learn.configs import PlayerName, named
from lofid.learn.forerunners import Gpt
from lofid.learn.sequences import Corpus
from lofid.learn.train import Trainer
from lofid.rwkv.config import RwkvConfig
from lofid.rwkv.cpu import CpuEngine

NAMES = ("pocket", "lstm", "rnn", "gpt")
_OUT, _ERR = Console(width=120), Console(stderr=True)


def _trained(name: str, corpus: Corpus, arguments: argparse.Namespace) -> Trainer:
    config = named(name)
    settings = replace(config.settings(arguments.player), tokens=int(arguments.tokens))
    fabric = run.open_fabric(settings, run.choose_device(arguments.device))
    out = arguments.out / f"{name}-{arguments.player}"
    trainer = run.open_trainer(config, corpus, settings, out, fabric)
    with _ERR.status(name) as status:
        for progress in run.run(trainer, None):
            status.update(f"{name}: step {progress.step} of {trainer.last_step}")
    trainer.model.load_state_dict(trainer.best_weights())
    trainer.model.cpu()
    return trainer


def _rows(name: str, corpus: Corpus, arguments: argparse.Namespace) -> Iterator[list[str]]:
    trainer = _trained(name, corpus, arguments)
    model, (_, loss) = trainer.model, trainer.best
    if isinstance(model, Gpt):
        loss = comparison.windowed_loss(model, corpus.held_out)
    count = sum(parameter.numel() for parameter in model.parameters())
    readers = {name: comparison.reader(model)}
    if isinstance(trainer.shape, RwkvConfig):
        tensors = {key: tensor.numpy() for key, tensor in trainer.best_weights().items()}
        engine = CpuEngine(trainer.shape, tensors)
        readers[f"{name}, {engine.name}"] = comparison.EngineReader(engine)
    torch.set_num_threads(1)
    for title, reader in readers.items():
        made = comparison.generate(reader, corpus, seed=1, long=int(arguments.length))
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


def main() -> None:
    """Train, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("player", type=PlayerName, choices=list(PlayerName))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/forerunners"))
    parser.add_argument("--tokens", type=float, default=2e6, help="training tokens of each")
    parser.add_argument("--length", type=float, default=comparison.LONG, help="tokens to generate")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=1, help="of training; generating has one")
    arguments = parser.parse_args()
    settings = named("pocket").settings(arguments.player)
    corpus = run.open_corpus(arguments.player, arguments.data, settings)
    long = f"{int(arguments.length) // 1000} k"
    table = Table(
        "network",
        "parameters, M",
        "held-out nats a note",
        "tokens/s at 1 k",
        f"at {long}",
        "memory, kB, at 1 k",
        f"at {long}",
        "repeated bars",
        title=f"{arguments.player}, {arguments.tokens / 1e6:g} M training tokens",
    )
    for name in NAMES:
        torch.set_num_threads(arguments.threads)
        for row in _rows(name, corpus, arguments):
            table.add_row(*row)
    own = comparison.repetition([events for _, events in comparison.bars(corpus.held_out)])
    table.add_row("held-out music", "", "", "", "", "", "", f"{own:.1%}")
    _OUT.print(table)


if __name__ == "__main__":
    try:
        main()
    except LofidError as error:
        raise SystemExit(str(error)) from None
