"""Playing in this very process: bars from a thread ahead, blocks to the outputs as they are due."""

from collections.abc import Sequence
from dataclasses import replace

from lofid.cli._ahead import Ahead
from lofid.music.plan import Bar
from lofid.outputs import SAMPLE_RATE, Block, Output
from lofid.playback.cue import Cue
from lofid.playback.pace import Pace


class Coming:
    """The bars that lie ready to be played, as cues; making it waits for the first one."""

    def __init__(self, bars: Ahead[Bar], most: int) -> None:
        self._bars, self._most = bars, most
        self._cues = [Cue(1, 0, next(bars))]
        self._take = 1

    def cues(self) -> Sequence[Cue]:
        """What is ready by now."""
        while len(self._cues) < self._most and (bar := self._bars.ready()) is not None:
            self._cues.append(Cue(self._take + 1, self._take, bar))
            self._take += 1
        return self._cues

    def locked(self, takes: Sequence[int]) -> None:
        """These takes sound; they are no longer to come."""
        self._cues = [cue for cue in self._cues if cue.take not in takes]


class Writing:
    """Writes to all outputs at the speed of the music: a device's, or else the clock's."""

    def __init__(self, outputs: Sequence[Output]) -> None:
        self._outputs = outputs
        self._keeper = next((output for output in outputs if output.keeps_time), None)
        self._pace = Pace()

    def write(self, block: Block) -> None:
        """Write a block when it is due; after a sleep of the machine, from now on."""
        if self._keeper is None:
            self._pace.wait()
        for output in self._outputs:
            output.write(replace(block, moment=self._pace.moment))
        self._pace.advance(len(block.audio))
        if self._keeper is not None and (heard := self._keeper.heard()) is not None:
            frame, moment = heard
            self._pace.follow(moment + (block.frame + len(block.audio) - frame) / SAMPLE_RATE)
