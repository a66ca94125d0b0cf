"""``lofid play``: an endless station, live."""

from contextlib import ExitStack
from typing import Annotated

import typer

from lofid.cli._ahead import Ahead
from lofid.cli._sound import opened_outputs
from lofid.cli._station import (
    DEFAULT_PRESET,
    DrumsModelOption,
    EngineOption,
    KeyOption,
    KeysModelOption,
    ModelOption,
    PresetOption,
    SeedOption,
    StyleOption,
    TempoOption,
    chosen_preset,
    chosen_seed,
    opened_station,
)
from lofid.cli._status import StatusLine
from lofid.cli._terminal import ERR, StopRequest
from lofid.outputs import KINDS, FileLabel, parse
from lofid.rwkv.choice import EngineName

BARS_AHEAD = 2
"""Bars that lie finished before they are due: six seconds at 80 BPM."""

MOST = 2048
"""Frames written at once, at most; between two blocks we look at whether to stop."""

_KINDS = "; ".join(f"{kind.syntax}: {kind.description}" for kind in KINDS.values())


def play(
    preset: PresetOption = DEFAULT_PRESET,
    seed: SeedOption = None,
    tempo: TempoOption = None,
    key: KeyOption = None,
    output: Annotated[
        list[str] | None,
        typer.Option("--output", "-o", help=f"Where to; repeatable; default: device. {_KINDS}."),
    ] = None,
    model: ModelOption = None,
    keys_model: KeysModelOption = None,
    drums_model: DrumsModelOption = None,
    style: StyleOption = None,
    engine: EngineOption = EngineName.AUTO,
) -> None:
    """Play until Ctrl-C.

    [dim]Examples:[/dim]

    lofid play

    lofid play --preset rain --seed 7

    lofid play --output device --output file:tonight.flac
    """
    seed = chosen_seed(seed)
    chosen = chosen_preset(preset, tempo, key)
    unopened = [parse(spec) for spec in output or ["device"]]
    for one in unopened:
        one.label = FileLabel(chosen.name, seed)
    with ExitStack() as stack:
        stop = stack.enter_context(StopRequest())
        outputs = stack.enter_context(opened_outputs(unopened, chosen.settings, keep=True))
        ERR.print(
            f"Playing {chosen.name}, seed {seed}. Ctrl-C ends.", highlight=False, markup=False
        )
        with ERR.status("Getting ready"):
            from lofid.cli._live import Coming, Writing
            from lofid.playback.transport import Transport
            from lofid.sound.studio import BLOCK, Studio

            transport = Transport(Studio(chosen.settings, seed), seed)
            station = stack.enter_context(
                opened_station(engine, model, keys_model, drums_model, style or chosen.style)
            )
            bars = stack.enter_context(Ahead(station.bars(chosen.settings, seed), BARS_AHEAD))
            coming = Coming(bars, BARS_AHEAD)
        status = stack.enter_context(StatusLine(chosen.name, station))
        writing = Writing(outputs)
        while not stop.wanted:
            transport.cue(coming.cues())
            passage = transport.block(max(BLOCK, transport.steady(MOST)))
            coming.locked(passage.locked)
            writing.write(passage.block)
            for line in passage.lines:
                status.show(line.bar)
        transport.stop()
        writing.write(transport.block(MOST).block)
