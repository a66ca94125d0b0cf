"""``lofid play``: an endless station, live."""

import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from lofid.cli._ahead import Ahead
from lofid.cli._sound import opened_outputs
from lofid.cli._station import (
    DEFAULT_PRESET,
    DrumsModelOption,
    KeyOption,
    KeysModelOption,
    PresetOption,
    SeedOption,
    TempoOption,
    chosen_preset,
    chosen_seed,
    opened_station,
)
from lofid.cli._status import Status
from lofid.cli._terminal import ERR, StopRequest
from lofid.music.plan import Bar
from lofid.outputs import KINDS, SAMPLE_RATE, Audio, Output

if TYPE_CHECKING:
    from lofid.sound.studio import Rendered

BARS_AHEAD = 2
"""Bars that lie finished before they are due: six seconds at 80 BPM."""

BLOCK = SAMPLE_RATE // 10
"""Frames between two looks at whether to stop."""

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
    keys_model: KeysModelOption = None,
    drums_model: DrumsModelOption = None,
) -> None:
    """Play until Ctrl-C.

    [dim]Examples:[/dim]

    lofid play

    lofid play --preset rain --seed 7

    lofid play --output device --output file:tonight.flac
    """
    seed = chosen_seed(seed)
    chosen = chosen_preset(preset, tempo, key)
    with ExitStack() as stack:
        stop = stack.enter_context(StopRequest())
        outputs = stack.enter_context(opened_outputs(output or ["device"], keep=True))
        ERR.print(
            f"Playing {chosen.name}, seed {seed}. Ctrl-C ends.", highlight=False, markup=False
        )
        with ERR.status("Getting ready"):
            from lofid.sound.studio import Studio, rendered_bars

            station = stack.enter_context(opened_station(keys_model, drums_model))
            music = rendered_bars(
                Studio(chosen.settings, seed), station.bars(chosen.settings, seed)
            )
            ahead = stack.enter_context(Ahead(music, BARS_AHEAD))
            blocks = _blocks(ahead, stack.enter_context(Status(chosen.name)))
            block = next(blocks)
        pace = _Pace(outputs)
        while not stop.wanted:
            pace.write(block)
            block = next(blocks)
        fade = np.linspace(1, 0, len(block), dtype=np.float32)[:, None]
        pace.write(block * fade)


def _blocks(ahead: Iterable[tuple[Bar | None, "Rendered"]], status: Status) -> Iterator[Audio]:
    """The music in short blocks; tells the status of every bar whose first block was taken."""
    for bar, rendered in ahead:
        for begin in range(0, len(rendered.mix), BLOCK):
            yield rendered.mix[begin : begin + BLOCK]
            if begin == 0 and bar is not None:
                status.show(bar)


class _Pace:
    """Writes to all outputs at the speed of the music.

    A device sets it; where there is none, the clock does, and a stream that fell behind (the
    machine slept) goes on from now instead of hurrying.
    """

    def __init__(self, outputs: list[Output]) -> None:
        self._outputs = outputs
        self._by_clock = not any(output.keeps_time for output in outputs)
        self._due = time.monotonic()

    def write(self, audio: Audio) -> None:
        """Write frames [frames, 2] when they are due."""
        for output in self._outputs:
            output.write(audio)
        if self._by_clock:
            now = time.monotonic()
            self._due = max(self._due, now - 1.0) + len(audio) / SAMPLE_RATE
            time.sleep(max(0.0, self._due - now))
