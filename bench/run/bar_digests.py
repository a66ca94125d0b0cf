"""Digests of what the presets play: the same before and after means that the music stayed the same.

    python -m bench.run.bar_digests > before.json
    python -m bench.run.bar_digests --against before.json

Every shipped preset, or those of the file compared with, is written for each seed. A digest is that
of the session journal: a bar's place, tempo and notes. Engines round differently, so compare on one
machine.
"""

import itertools
import json
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.progress import track

from bench.script import run_script
from lofid.compose.player import drums_player, keys_player
from lofid.compose.preset import load_preset, preset_names
from lofid.compose.station import Station
from lofid.daemon.store import digest
from lofid.errors import LofidError
from lofid.rwkv.shipped import shipped_engine
from lofid.tokens import drums, keys

Digests = dict[str, dict[int, list[str]]]
"""Of each bar, by preset and seed."""


def main(
    seeds: Annotated[int, typer.Option(min=1, help="Seeds a preset, from 1.")] = 2,
    bars: Annotated[int, typer.Option(min=1, help="Bars a seed.")] = 64,
    against: Annotated[
        Path | None, typer.Option(help="Compare with this output of an earlier run.")
    ] = None,
) -> None:
    """Print the digests as JSON, or compare them; the exit status is 1 where bars differ."""
    if against is None:
        takes = [(name, seed) for name in preset_names() for seed in range(1, seeds + 1)]
        print(json.dumps(_written(takes, bars), indent=1))
        return
    before = _read(against)
    takes = [(name, seed) for name, of_preset in before.items() for seed in of_preset]
    after = _written(takes, max(len(before[name][seed]) for name, seed in takes))
    same = [_is_same(take, before, after) for take in takes]
    print(f"{sum(same)} of {len(takes)} takes are the same, bar for bar.")
    raise typer.Exit(0 if all(same) else 1)


def _written(takes: list[tuple[str, int]], bars: int) -> Digests:
    """The digests of takes, preset and seed, written anew."""
    keys_engine = shipped_engine("pocket-keys", keys.VOCABULARY.hash)
    drums_engine = shipped_engine("pocket-drums", drums.VOCABULARY.hash)
    digests: Digests = {}
    with Station(keys_player(keys_engine), drums_player(drums_engine)) as station:
        for name, seed in track(takes, "Writing", console=Console(stderr=True), transient=True):
            endless = station.bars(load_preset(name).settings, seed)
            written = [digest(bar) for bar in itertools.islice(endless, bars)]
            digests.setdefault(name, {})[seed] = written
    return digests


def _read(path: Path) -> Digests:
    """An earlier run's output."""
    try:
        digests = msgspec.json.decode(path.read_bytes(), type=Digests)
    except (OSError, msgspec.MsgspecError) as error:
        raise LofidError(
            f"'{path}' cannot be read as digests ({error}); name the output of an earlier run."
        ) from error
    if not any(digests.values()):
        raise LofidError(f"'{path}' holds no takes; name the output of an earlier run.")
    return digests


def _is_same(take: tuple[str, int], before: Digests, after: Digests) -> bool:
    """Whether a take stayed the same; says where it did not."""
    name, seed = take
    old, new = before[name][seed], after[name][seed]
    differing = [
        bar for bar, digests in enumerate(zip(old, new, strict=False)) if len({*digests}) > 1
    ]
    if differing:
        print(
            f"{name}, seed {seed}: {len(differing)} of {len(old)} bars differ, "
            f"the first is bar {differing[0]}."
        )
    return not differing


if __name__ == "__main__":
    run_script("bar_digests", main)
