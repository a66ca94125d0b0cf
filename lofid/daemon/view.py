"""What the desk knows of the music that is heard and of its processes: the status is made of it.

Kept apart from the desk so that telling about the music never touches it.
"""

import time
from collections import deque
from dataclasses import dataclass, field

from lofid.daemon import links
from lofid.daemon.children import Child
from lofid.daemon.ledger import Take
from lofid.music.notes import BEATS_PER_BAR
from lofid.music.plan import BarPlan
from lofid.protocol.messages import (
    BarInfo,
    ChordEvent,
    EngineInfo,
    Health,
    LevelInfo,
    OutputInfo,
    Remark,
    SongInfo,
    StageInfo,
    WriterInfo,
)

_MOST_WARNINGS = 20


@dataclass
class View:
    """What was last heard from the stage and the writer."""

    started: links.BarStarted | None = None
    take: Take | None = None
    """The take that sounds, or the last one before a stand-in."""
    bars_played: int = 0
    levels: links.Levels | None = None
    outputs: dict[str, links.OutputState] = field(default_factory=dict)
    stage_ready: links.StageReady | None = None
    stage_status: links.StageStatus | None = None
    writer_ready: links.WriterReady | None = None
    write_seconds: float = 0.0
    slowest_write: float = 0.0
    """Seconds, of the current writer process."""
    load: float = 0.0
    """Share of real time that writing takes, smoothed over some 20 bars."""
    warnings: deque[Remark] = field(default_factory=lambda: deque(maxlen=_MOST_WARNINGS))

    def wrote(self, written: links.BarWritten) -> None:
        """A bar was written."""
        self.write_seconds = written.seconds
        self.slowest_write = max(self.slowest_write, written.seconds)
        share = written.seconds * written.bar.plan.tempo / 240.0
        self.load += (share - self.load) / 20

    @property
    def next_line(self) -> float | None:
        """Moment (monotonic) of the next bar line; None where nothing plays."""
        return self.started.moment + self.started.seconds if self.started else None

    def bar(self) -> BarInfo | None:
        """The bar that sounds."""
        started = self.started
        if started is None:
            return None
        return BarInfo.of(started.bar.plan, started.seconds, started.reason)

    def song(self) -> SongInfo | None:
        """The song of the bar that sounds."""
        if self.take is None:
            return None
        # The state before a song's first bar is still of the song before.
        after, plan = self.take.after, self.take.bar.plan
        song = after.song
        return SongInfo(song.number, after.bar - 1, song.bars, plan.key.symbol, plan.tempo)

    def level(self) -> LevelInfo:
        """How loud it is."""
        if self.levels is None:
            return LevelInfo()
        return LevelInfo(dict(self.levels.peaks), finite(self.levels.loudness))

    def output(self, name: str, spec: str) -> OutputInfo:
        """What has become of an output."""
        told = self.outputs.get(name)
        if told is None:
            return OutputInfo(name, spec, "opening")
        return OutputInfo(name, spec, told.state, told.reason, dict(told.details or {}))

    def engine(self) -> EngineInfo:
        """What writes the music."""
        ready = self.writer_ready
        if ready is None:
            return EngineInfo()
        return EngineInfo(
            ready.running.engine,
            ready.running.reason,
            dict(ready.models),
            dict(ready.vocabularies),
        )

    def writer(self, state: Health, ahead: int, child: Child) -> WriterInfo:
        """The process that holds the models."""
        return WriterInfo(
            state=state,
            last_write_ms=round(1000 * self.write_seconds, 2),
            load=self.load,
            ahead=ahead,
            restarts=max(0, child.starts - 1),
            process=child.pid,
        )

    def stage(self, state: Health, child: Child) -> StageInfo:
        """The process that keeps time."""
        ready, status = self.stage_ready, self.stage_status
        return StageInfo(
            state=state,
            clock=status.clock if status else "system",
            trouble=status.trouble if status else "",
            scheduling=ready.scheduling if ready else "",
            memory_locked=ready.memory_locked if ready else False,
            load=status.load if status else 0.0,
            xruns=status.xruns if status else 0,
            stand_ins=status.stand_ins if status else 0,
            restarts=max(0, child.starts - 1),
            process=child.pid,
            remarks=list(ready.remarks) if ready else [],
        )

    def warn(self, text: str) -> Remark:
        """Remember something that the user should know."""
        remark = Remark(time.time(), text)
        self.warnings.append(remark)
        return remark


def finite(number: float) -> float | None:
    """A number that JSON can hold."""
    return number if abs(number) < float("inf") else None


def chord_events(plan: BarPlan) -> list[ChordEvent]:
    """The chords of a bar, in order of time."""
    share = BEATS_PER_BAR / len(plan.chords)
    return [
        ChordEvent(plan.index, number * share, chord.symbol, sorted(chord.pitch_classes))
        for number, chord in enumerate(plan.chords)
    ]
