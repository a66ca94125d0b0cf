"""An output with a thread of its own: opened, fed, and opened anew when it fails.

Whatever an output does, it does it here: a disk that is slow, a device that hangs or vanishes
holds up neither the music nor the other outputs. A feed knows nothing of bars.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lofid.daemon.links import OutputState
from lofid.errors import LofidError
from lofid.music.parameters import Settings
from lofid.outputs.null import NullOutput
from lofid.outputs.output import SAMPLE_RATE, Block, FileLabel, Output, Received, parse

_LOG = logging.getLogger(__name__)

FIRST_RETRY, LAST_RETRY = 0.5, 4.0
"""Seconds until an output that failed is opened anew; each time twice as long, up to what somebody
waits gladly who has just plugged it in again."""

_SETTLED = 10.0  # seconds of playing after which the next failure is the first again
_PATIENCE, _OF_FILES = 1.0, 10.0  # seconds of music that may wait to be taken
_DETAILS = 1.0  # seconds between two looks at an output's details


class TimekeepingFeed:
    """Which feed keeps the time: the first one that asks, until it gives that up."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.feed: Feed | None = None

    def claim(self, feed: "Feed") -> bool:
        """Whether this feed keeps the time from now on."""
        with self._lock:
            if self.feed is None:
                self.feed = feed
            return self.feed is feed

    def release(self, feed: "Feed") -> None:
        """This feed keeps it no longer, if it did."""
        with self._lock:
            if self.feed is feed:
                self.feed = None


@dataclass(frozen=True, slots=True)
class _Silence:
    """End every note, before anything else that waits."""


_Order = Block | Settings | _Silence


class Feed:
    """Feeds the output ``spec``; what becomes of it is told to ``tell``, from the feed's thread.

    So is ``taken``, where the output keeps time and has taken what it was offered.

    All methods are for one other thread, and none of them waits unless it says so.
    """

    def __init__(
        self,
        name: str,
        spec: str,
        settings: Settings,
        timekeeper: TimekeepingFeed | None,
        tell: Callable[[tuple["Feed", OutputState]], None],
        label: FileLabel | None = None,
        taken: Callable[[], None] = lambda: None,
    ) -> None:
        self.name, self.spec = name, spec
        self.playing = False
        """Whether blocks are taken."""
        self.opening = True
        """Whether it is not known yet if they will be."""
        self.backlog = 0
        """Frames that wait to be taken."""
        self.heard: tuple[int, float] | None = None
        """A frame of the stream and the moment it is heard, where the output keeps the time."""
        self.clock: tuple[int, float] | None = None
        """The reading of a clock that the output has, as :meth:`Output.clock`."""
        self.received: deque[Received] = deque(maxlen=1000)
        self.xruns = 0
        self.live = False
        """Whether what is offered must come before it is due: not to a file."""
        self._output: Output | None = None  # while it plays
        self._written = 0  # frames that the output was given, less what was taken back
        self._taken = taken
        self._tell = tell
        self._label = label
        self._timekeeper = timekeeper
        self._settings = settings
        self._waiting: deque[_Order] = deque()
        self._patience = 0
        self._busy = False
        self._timed = False  # whether the output could keep the time
        self._too_slow = False
        self._ending = threading.Event()
        self._turn = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=f"feed {name}", daemon=True)

    def start(self) -> None:
        """Begin to open the output."""
        self._thread.start()

    def offer(self, block: Block) -> None:
        """Hand over the next block; it is dropped where the output does not play."""
        with self._turn:
            if not self.playing or self._too_slow:
                return
            self.backlog += len(block.audio)
            self._too_slow = self.backlog > self._patience
            self._waiting.append(block)
            self._turn.notify_all()

    def take_back(self, most: int) -> int:
        """Take back the frames offered last, ``most`` at most; returns how many could be.

        Others are offered in their place. All of them where the output does not play.
        """
        with self._turn:
            if not self.playing:
                return most
            for place in reversed(range(len(self._waiting))):
                block = self._waiting[place]
                if isinstance(block, Block):  # not looked at yet
                    taken = min(most, len(block.audio))
                    self._waiting[place] = block.cut(len(block.audio) - taken)[0]
                    self.backlog -= taken
                    return taken
            if not self._busy or self._output is None:
                return 0
            taken = self._output.take_back(most)
            self._written -= taken
            return taken

    def ready(self, timeout: float) -> bool:
        """Wait until everything offered was taken; False where that takes longer, or it fails."""
        until = time.monotonic() + timeout
        with self._turn:
            while self.playing and (self._waiting or self._busy):
                left = until - time.monotonic()
                if left <= 0 or not self._turn.wait(left):
                    return False
            return self.playing

    def adopt(self, settings: Settings) -> None:
        """Let the output take up settings, in its turn."""
        with self._turn:
            self._settings = settings
            if self.playing:
                self._waiting.append(settings)
                self._turn.notify_all()

    def silence(self) -> None:
        """End every note on the output, as soon as it can."""
        with self._turn:
            if self.playing:
                self._waiting.appendleft(_Silence())
                self._turn.notify_all()

    def close(self) -> None:
        """Begin to close the output, after what was offered."""
        with self._turn:
            self._ending.set()
            self._turn.notify_all()

    def closed(self, timeout: float) -> bool:
        """Wait until it is closed; False where that takes longer."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    # -- in the feed's thread -----------------------------------------------------------------

    def _run(self) -> None:
        wait, reason = FIRST_RETRY, ""
        output: Output | None = None
        while not self._ending.is_set():
            began = time.monotonic()
            try:
                # A port keeps its connections where it is opened anew; a device begins afresh.
                if output is None or self._timed:
                    output = parse(self.spec)
                    output.label = self._label
                    self._timed = output.keeps_time
                self._live(output)
                reason = ""
            except LofidError as error:
                reason = str(error)
            except Exception as error:
                _LOG.exception("output %s", self.name)
                reason = f"The output '{self.spec}' has failed ({error!r})."
            if self._ending.is_set() or output is None or not output.comes_back:
                break
            if time.monotonic() - began > _SETTLED:
                wait = FIRST_RETRY
            self._say("waiting", reason)
            with self._turn:
                self._turn.wait_for(self._ending.is_set, wait)
            wait = min(LAST_RETRY, 2 * wait)
        self._say("closed", reason)

    def _live(self, output: Output) -> None:
        """Open the output, feed it until it fails or is to end, and close it."""
        self._say("opening", output.notice())
        try:
            if self._timed:
                output.keeps_time = self._timekeeper is not None and self._timekeeper.claim(self)
            output.adopt(self._settings)
            output.open()
        except BaseException:
            self._forget()
            output.abort()
            raise
        self._patience = round(SAMPLE_RATE * (_PATIENCE if output.comes_back else _OF_FILES))
        self.live = output.comes_back and not isinstance(output, NullOutput)
        self._output, self._written = output, 0
        self.playing = True
        self._say("playing")
        failure: Exception | None = None
        try:
            self._feed(output)
        except Exception as error:
            failure = error
        self._forget()
        if failure is not None and output.comes_back:
            output.abort()
        else:
            output.close()
        if failure is not None:
            raise failure

    def _feed(self, output: Output) -> None:
        """Hand over what is offered until the feed is to end; raises what the output raises."""
        asked = 0.0
        details: Mapping[str, float | int | str] = {}
        while (order := self._next()) is not None:
            if isinstance(order, Settings):
                output.adopt(order)
            elif isinstance(order, Block):
                # Counted by what it was given: after a gap, frames of the stream are further on.
                offset = order.frame - self._written
                self._written += len(order.audio)
                output.write(order)
                self.clock = output.clock()
                if output.keeps_time and (heard := output.heard()) is not None:
                    self.heard = heard[0] + offset, heard[1]
                self.received.extend(output.received())
                if (now := time.monotonic()) - asked > _DETAILS:
                    asked, before, details = now, details, dict(output.details())
                    if details != before:
                        self._say("playing", details=details)
            else:
                output.silence()
            if self._too_slow:
                raise LofidError(f"The output '{self.spec}' does not keep up with the music.")

    def _next(self) -> _Order | None:
        """What to do next; None once all is done and the feed is to end."""
        with self._turn:
            self._busy = False
            self._turn.notify_all()
            self._tell_taken()
            self._turn.wait_for(lambda: self._waiting or self._ending.is_set())
            if not self._waiting:
                return None
            self._busy = True
            order = self._waiting.popleft()
            if isinstance(order, Block):
                self.backlog -= len(order.audio)
            return order

    def _forget(self) -> None:
        """The output plays no longer: whoever waits for it may go on."""
        with self._turn:
            self.playing = self._busy = self._too_slow = False
            self._output = None
            self._tell_taken()
            self._waiting.clear()
            self.backlog = 0
            self.heard = self.clock = None
            self._turn.notify_all()
        if self._timekeeper is not None:
            self._timekeeper.release(self)

    def _tell_taken(self) -> None:
        """Whoever goes by this output may have waited for it."""
        if self._timekeeper is not None and self._timekeeper.feed is self:
            self._taken()

    def _say(
        self, state: str, reason: str = "", details: Mapping[str, float | int | str] | None = None
    ) -> None:
        self.xruns = int((details or {}).get("xruns", self.xruns))
        self.opening = state == "opening"
        self._tell((self, OutputState(self.name, self.spec, state, reason, details)))
