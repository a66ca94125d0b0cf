"""The stage: the process that keeps time. ``python -m lofid.daemon.stage SOCKET``.

One thread renders block after block, just in time, and hands each to every output; it alone
touches the transport. It goes by the output that keeps time, and where there is none by the clock.
With ``--virtual`` nothing waits but for cues and for the outputs: the same music, as fast as the
machine can.

The stage needs nobody: without the desk it would go on playing. It ends when the desk says so, or
is gone.
"""

import argparse
import gc
import math
import os
import queue
import signal
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import FrameType

import zmq

from lofid.compiled import begin_afresh
from lofid.daemon import links, priority
from lofid.daemon.children import end_with_parent
from lofid.daemon.feed import Feed, TimekeepingFeed
from lofid.daemon.levels import Meters
from lofid.daemon.links import Link
from lofid.daemon.lookahead import FAR, Lookahead
from lofid.daemon.memory import give_back, keep_tidy, unload_compiler
from lofid.music.parameters import Settings
from lofid.music.plan import BarPlan
from lofid.outputs.messages import MidiStatus
from lofid.outputs.output import SAMPLE_RATE, Received
from lofid.playback.pace import AHEAD, Pace
from lofid.playback.sync import ClockFollower
from lofid.playback.transport import BarStart, Passage, Transport
from lofid.sound.studio import BLOCK, Studio

MODULE = "lofid.daemon.stage"

FAST_BLOCK = 8 * BLOCK
"""Frames rendered at once on the virtual clock, where nobody steers."""

CALM = 3.0
"""Seconds after which somebody who has turned something counts as gone."""

_SPARE = 0.006  # seconds before a block must be heard by which an output that stalls is left
_SOON, _SHORT = AHEAD, BLOCK  # what ports get: seconds before it is due, frames at once
_NOW, _LONG = 0.0, 4 * BLOCK  # as much of files, and of what is told
_STATUS = 1.0  # seconds between two reports
_COLLECT = 60.0  # seconds between two looks for memory that nobody uses
_GRACE = 4.0  # seconds for the outputs to finish their files
_LIMIT = 5.0  # seconds after which the process ends, come what may
_DRIFT = 0.02  # seconds by which a sound server's clock may be off without having begun anew
_BACKLOG = SAMPLE_RATE // 2  # frames that an output may be behind on the virtual clock
_BAR = 240.0  # seconds of a bar at 1 BPM


class Stage:
    """Plays what the desk sends; :meth:`run` in the main thread."""

    def __init__(self, link: Link, seed: int, *, virtual: bool) -> None:
        self._link = link
        self._virtual = virtual
        self._settings = Settings()
        self._transport = Transport(Studio(self._settings, seed), seed, self._tempo)
        self._ahead = Lookahead(self._transport)
        self._calm_at = time.monotonic() + CALM
        self._waking, self._wake = os.pipe()  # readable when an output has taken what it got
        for end in (self._waking, self._wake):
            os.set_blocking(end, False)
        self._pace = Pace()
        self._meters = Meters()
        self._follower = ClockFollower()
        self._timekeeper = TimekeepingFeed()
        self._feeds: dict[str, Feed] = {}
        self._closing: list[Feed] = []
        self._said: queue.SimpleQueue[tuple[Feed, links.OutputState]] = queue.SimpleQueue()
        self._to_be_heard: deque[tuple[float, object]] = deque()
        self._leaving = threading.Event()
        self._sounding: BarStart | None = None
        self._stand_ins = 0
        self._clock = "virtual" if virtual else "system"
        self._bpm, self._following = 0.0, False
        self._busy = 0.0  # seconds of rendering since the last report
        self._played = 0  # frames since the last report
        self._report_at = self._collect_at = 0.0
        self._heard: tuple[int, float] | None = None  # what the pace was last corrected by
        self._anchor: tuple[str, int] | None = None

    def leave(self) -> None:
        """End soon, from whichever thread: fade out, finish the files."""
        self._leaving.set()

    def run(self) -> None:
        """Play until told to leave."""
        give_back()  # before it is locked
        granted = priority.Granted("usual", False, ()) if self._virtual else priority.ask()
        gc.disable()  # what plays makes no cycles worth a pause in the music
        self._link.send(
            links.StageReady(granted.scheduling, granted.memory_locked, granted.remarks)
        )
        while not self._leaving.is_set():
            if self._virtual:
                self._wait_for_cues(FAST_BLOCK)
                self._receive()
            else:
                self._wait()
            if not self._leaving.is_set():
                self._play(self._far())
        self._end()

    # -- what the desk says -------------------------------------------------------------------

    def _receive(self) -> None:
        while (message := self._link.receive()) is not None:
            self._obey(message)

    def _obey(self, message: object) -> None:
        match message:
            case links.Cues():
                coming = self._transport.coming
                self._transport.cue(message.cues)
                if self._transport.coming != coming:
                    self._take_back()
            case links.Mixing():
                self._steered()
                self._transport.mix(message.settings, message.muted)
                self._adopt(message.settings)
            case links.AddOutput():
                self._add(message)
            case links.RemoveOutput():
                self._remove(message.name)
            case links.StagePause():
                self._steered()
                self._transport.pause()
            case links.StagePlay():
                self._steered()
                self._transport.play()
            case links.StageStop():
                self._steered()
                self._transport.stop()
            case links.StagePanic():
                self._steered()
                self._transport.panic()
                for feed in self._feeds.values():
                    feed.silence()
            case links.Leave():
                self.leave()

    def _adopt(self, settings: Settings) -> None:
        if settings is not self._settings:
            self._settings = settings
            for feed in self._feeds.values():
                feed.adopt(settings)

    def _add(self, wanted: links.AddOutput) -> None:
        name = wanted.name
        self._remove(name)
        timekeeper = None if self._virtual else self._timekeeper
        feed = Feed(
            name,
            wanted.spec,
            self._settings,
            timekeeper,
            self._said.put,
            wanted.label,
            self._woken,
        )
        self._feeds[name] = feed
        feed.start()

    def _remove(self, name: str) -> None:
        feed = self._feeds.pop(name, None)
        if feed is not None:
            feed.close()
            self._closing = [one for one in self._closing if not one.closed(0)]
            self._closing.append(feed)

    # -- time ---------------------------------------------------------------------------------

    def _wait(self) -> None:
        """Wait until the next block is due; meanwhile do what the desk says.

        It is looked at until the last moment: what is turned now is heard with that block.
        """
        if self._pace.woke():
            self._skip()
        while not self._leaving.is_set():
            self._receive()
            self._listen()
            self._hand_out()
            self._tell_heard()
            keeper = self._timekeeper.feed
            waits = keeper is not None and keeper.playing
            left = self._pace.left - (_SPARE if waits else AHEAD)
            if left <= 0 or (keeper is not None and keeper.ready(0)):
                break
            if self._ahead.waiting:
                left = min(left, self._until(self._ahead.handed) - self._portion()[0])
            if self._to_be_heard:
                left = min(left, self._to_be_heard[0][0] - time.monotonic())
            self._sleep(left)
        keeper = self._timekeeper.feed
        taken = keeper is not None and keeper.ready(0)
        self._clock = "system"
        if keeper is None:
            self._go_by_server()
        elif keeper.heard is not None and keeper.heard is not self._heard:
            # Whether in time or late: it plays, and the others follow.
            self._heard = keeper.heard
            self._pace.follow(self._moment(*keeper.heard))
            self._clock = keeper.name
        # Where nobody keeps the time, or whoever should takes nothing, the others must not wait.
        if not taken and not self._pace.wait():
            self._skip()

    def _sleep(self, seconds: float) -> None:
        """Wait, but for a word from the desk, and for an output that has taken what it got."""
        self._report()
        waited: list[tuple[zmq.Socket[bytes] | int, int]] = [
            (self._link.socket, zmq.POLLIN),
            (self._waking, zmq.POLLIN),
        ]
        zmq.zmq_poll(waited, max(0, math.ceil(1000 * seconds)))
        with suppress(BlockingIOError):
            os.read(self._waking, 4096)

    def _woken(self) -> None:
        """An output has taken what it got; from its thread."""
        with suppress(BlockingIOError):  # a full pipe wakes as well
            os.write(self._wake, b".")

    def _until(self, frame: int) -> float:
        """Seconds until a frame of the stream is heard."""
        return self._pace.left + (frame - self._transport.frame) / SAMPLE_RATE

    def _skip(self) -> None:
        """The machine has slept, or nobody has taken anything for long: the next bar begins now."""
        self._take_back()
        self._transport.skip()

    # -- far ahead, while nobody steers -------------------------------------------------------

    def _far(self) -> int:
        """How many frames to render behind the next block."""
        if self._virtual:
            return FAST_BLOCK - BLOCK
        return FAR if time.monotonic() >= self._calm_at else 0

    def _steered(self) -> None:
        """Somebody turns something: it is heard as soon as can be, and so is what follows."""
        self._calm_at = time.monotonic() + CALM
        self._take_back()

    def _take_back(self) -> None:
        """Stand where what is rendered can still be changed."""
        keeper = self._timekeeper.feed
        frames = self._ahead.room
        if frames and keeper is not None:
            frames = keeper.take_back(frames)
        self._ahead.take_back(frames)
        self._pace.advance(-frames)
        self._played -= frames

    def _portion(self) -> tuple[float, int]:
        """How long before it is due, in seconds, what is rendered ahead goes out; frames at once.

        The output that keeps time gets all at once, and gives it back where it is asked for.
        """
        others = (feed for feed in self._feeds.values() if feed is not self._timekeeper.feed)
        return (_SOON, _SHORT) if any(feed.live for feed in others) else (_NOW, _LONG)

    def _hand_out(self) -> None:
        """Hand out what is due: everything, where somebody steers."""
        until = self._transport.frame
        if not self._virtual and self._far():
            lead, frames = self._portion()
            if self._until(self._ahead.handed) > lead:
                return
            due = math.ceil((lead - self._pace.left) * SAMPLE_RATE / BLOCK) * BLOCK
            until = min(until, until + due + frames)
        for passage in self._ahead.pieces(until):
            place = self._pace.moment - (self._transport.frame - passage.block.frame) / SAMPLE_RATE
            block = replace(passage.block, moment=None if self._virtual else place)
            if passage.settings is not None:
                self._adopt(passage.settings)
            for feed in self._feeds.values():
                if feed is not self._timekeeper.feed:
                    feed.offer(block)
            self._hear(passage, place)

    def _moment(self, frame: int, moment: float) -> float:
        """When the next block is heard, from when a frame of the stream is."""
        return moment + (self._transport.frame - frame) / SAMPLE_RATE

    def _go_by_server(self) -> None:
        """Keep to the clock of a sound server, where an output stands on one."""
        for feed in self._feeds.values():
            reading = feed.clock
            if reading is None:
                continue
            count, moment = reading
            if self._anchor is None or self._anchor[0] != feed.name:
                ahead = round((self._pace.moment - moment) * SAMPLE_RATE)
                self._anchor = feed.name, count + ahead - self._transport.frame
            place = count - self._anchor[1]
            if abs(self._moment(place, moment) - self._pace.moment) < _DRIFT:
                self._pace.follow(self._moment(place, moment))
                self._clock = feed.name
            else:
                self._anchor = None  # its count has begun anew
            return
        self._anchor = None

    def _wait_for_cues(self, frames: int) -> None:
        """On the virtual clock: wait until there is something to play, and room for it."""
        while not self._leaving.is_set() and (
            self._transport.held or self._transport.lacks_cue(frames)
        ):
            self._report()
            self._link.socket.poll(100)
            self._receive()
        for feed in self._feeds.values():
            while feed.opening or (feed.backlog > _BACKLOG and not self._leaving.is_set()):
                feed.ready(0.01)

    def _tempo(self, frame: int, plan: BarPlan) -> float:
        """BPM of the bar whose line is heard at a frame: the plan's, or what another clock asks."""
        self._bpm, self._following = plan.tempo, False
        if self._settings.midi.follow and not self._virtual:
            now = time.monotonic()
            asked = self._follower.tempo(now)
            if asked is not None:
                self._bpm, self._following = asked, True
                line = self._pace.moment + (frame - self._transport.frame) / SAMPLE_RATE
                # Where our next line lies nearest to one of the clock's, let it fall on that.
                following = self._follower.bar_line(line + 0.5 * _BAR / asked)
                if following is not None:
                    self._bpm = _BAR / (following[1] - line)
        return self._bpm

    def _trouble(self, now: float) -> str:
        """Why the clock that should be followed is not; empty where nothing plays."""
        follows = self._settings.midi.follow and not self._virtual and not self._transport.held
        return self._follower.trouble(now) if follows else ""

    # -- playing ------------------------------------------------------------------------------

    def _play(self, far: int) -> None:
        """Render the next block and ``far`` more frames at most, and hand out what is due."""
        began = time.perf_counter()
        passage = self._ahead.render(BLOCK, far)
        self._busy += time.perf_counter() - began
        frames = len(passage.block.audio)
        self._played += frames
        keeper = self._timekeeper.feed
        if keeper is not None:
            keeper.offer(replace(passage.block, moment=self._pace.moment))
        for take in passage.locked:
            self._link.send(links.Locked(take))
        self._pace.advance(frames)
        self._hand_out()
        self._listen()
        self._report()

    def _hear(self, passage: Passage, moment: float) -> None:
        """Have the bar lines of a passage told when they are heard, and measure it."""
        for line in passage.lines:
            at = moment + (line.frame - passage.block.frame) / SAMPLE_RATE
            if self._sounding is not None:
                sounded = links.BarSounded(self._sounding.take, self._meters.bar())
                self._to_be_heard.append((at, sounded))
            started = links.BarStarted(
                line.take, line.bar, line.frame, at, line.seconds, line.reason
            )
            self._to_be_heard.append((at, started))
            self._sounding = line
            self._stand_ins += not line.take
        for levels in self._meters.hear(passage):
            self._link.send(levels)
        self._tell_heard()

    def _tell_heard(self) -> None:
        """Tell what is heard by now."""
        now = time.monotonic()
        while self._to_be_heard and (self._virtual or self._to_be_heard[0][0] <= now):
            self._link.send(self._to_be_heard.popleft()[1])

    def _listen(self) -> None:
        """Take what came in through the outputs: controllers, and another program's clock."""
        for feed in self._feeds.values():
            while feed.received:
                self._came_in(feed.received.popleft())

    def _came_in(self, message: Received) -> None:
        if message.status & 0xF0 == MidiStatus.CONTROL:
            control, value = message.data
            self._link.send(links.Controller((message.status & 0x0F) + 1, control, value))
            return
        self._follower.hear(message)
        if self._settings.midi.follow:
            match message.status:
                case MidiStatus.START:
                    self._steered()
                    self._transport.stop()
                    self._transport.play()
                case MidiStatus.CONTINUE:
                    self._steered()
                    self._transport.play()
                case MidiStatus.STOP:
                    self._steered()
                    self._transport.pause()

    def _report(self) -> None:
        """Tell what has become of the outputs and, once a second, the counters."""
        while not self._said.empty():
            feed, state = self._said.get()
            # What a name stood for before is of no more interest.
            if self._feeds.get(state.name, feed) is feed:
                self._link.send(state)
        now = time.monotonic()
        if now < self._report_at:
            return
        self._report_at = now + _STATUS
        load = self._busy * SAMPLE_RATE / self._played if self._played else 0.0
        self._busy, self._played = 0.0, 0
        xruns = sum(feed.xruns for feed in self._feeds.values())
        self._link.send(
            links.StageStatus(
                "midi" if self._following else self._clock,
                self._transport.held,
                load,
                self._stand_ins,
                xruns,
                self._bpm,
                self._transport.cued,
                self._trouble(now),
            )
        )
        if now >= self._collect_at:
            self._collect_at = now + _COLLECT
            gc.collect()
            unload_compiler()

    def _end(self) -> None:
        """Fade out, and let every output finish what it makes."""
        self._steered()
        self._transport.stop()
        for _ in range(2):
            self._play(0)
        for name in list(self._feeds):
            self._remove(name)
        until = time.monotonic() + _GRACE
        for feed in self._closing:
            feed.closed(max(0.0, until - time.monotonic()))
        self._report()


def _warm_up() -> None:
    """Have compiled and loaded what else would be when it is first used, in the music."""
    studio = Studio(Settings(), 0)
    studio.render(BLOCK)
    Meters().hear(Transport(studio, 0).block(BLOCK))
    studio.close()


def main() -> None:
    """Start the stage."""
    parser = argparse.ArgumentParser(prog=f"python -m {MODULE}")
    parser.add_argument("socket", type=Path)
    parser.add_argument("--seed", type=int, default=1, help="of texture and tape, and of stand-ins")
    parser.add_argument("--virtual", action="store_true", help="as fast as the machine can")
    arguments = parser.parse_args()
    keep_tidy()
    _warm_up()
    begin_afresh(MODULE)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    stage = Stage(
        Link.calling(context, arguments.socket), arguments.seed, virtual=arguments.virtual
    )

    def leave() -> None:
        stage.leave()
        time.sleep(_LIMIT)
        os._exit(1)

    def terminated(_number: int, _frame: FrameType | None) -> None:
        stage.leave()

    end_with_parent(leave)
    signal.signal(signal.SIGTERM, terminated)
    stage.run()
    context.destroy(linger=200)


if __name__ == "__main__":
    main()
