"""The host of a JACK MIDI port: every message on its frame, and no note left behind.

``python -m lofid.outputs.jack_host``, started and fed by :mod:`lofid.outputs.jack`. JACK calls
:meth:`JackStream.process` from a real-time thread of its own; everything else happens in the main
one. The two share deques, whose operations at the ends need no lock.
"""

import os
import select
import time
from collections import deque
from contextlib import suppress
from typing import Any

from lofid.errors import LofidError
from lofid.outputs.hosting import (
    AtOnce,
    Figures,
    Finish,
    MessagePipe,
    PlayEvents,
    Ready,
    Setup,
    Ticking,
    serve,
)
from lofid.outputs.messages import MidiStatus, Sounding
from lofid.outputs.output import SAMPLE_RATE, Received
from lofid.outputs.patchbay import Patchbay, open_client
from lofid.realtime import schedule

_PRIORITY = (
    12  # of SCHED_FIFO: above JACK's own by default, as it shares Python's lock with one of them
)
_TICKING = 0.1  # seconds between two reports of JACK's clock
_REPORTING = 1.0  # seconds between two reports of the rest
_TOLERANCE = 0.005  # seconds that stream and JACK may drift apart before they are joined anew
_SLACK = 0.002  # seconds to bring a message from the stage to JACK's thread
_MOST_DELAY = 0.02  # seconds beyond JACK's period that the stream may be held back
_DOUBTFUL = 8  # periods before an xrun is told that may have been dropped by it
_ENDING = 0.5  # seconds to send the last messages
_WRAP = 1 << 32  # JACK counts frames in 32 bits: a day at 48 kHz


class Clock:
    """JACK's count of frames, never starting over, against the monotonic clock."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.rate: int = client.samplerate
        self.frame: int = client.frame_time
        self.moment = time.monotonic()

    def extended(self, count: int) -> int:
        """A count of 32 bits, within 12 hours of the last reading, without the wrap."""
        return self.frame + (count - self.frame + _WRAP // 2) % _WRAP - _WRAP // 2

    def read(self) -> None:
        """Take frame and moment anew."""
        self.moment, self.frame = time.monotonic(), self.extended(self._client.frame_time)

    def at(self, moment: float) -> float:
        """The frame at a moment near the last reading."""
        return self.frame + (moment - self.moment) * self.rate

    def when(self, frame: int) -> float:
        """The moment of a frame near the last reading."""
        return self.moment + (frame - self.frame) / self.rate


class Anchor:
    """Where the stream lies on JACK's frames: fixed, so that every gap is exact to the frame.

    It is moved only where stream and JACK have drifted apart, or where messages come so shortly
    before they are due that JACK's period has begun: then the stream is held back a little.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._origin: float | None = None  # JACK's frame of the stream's frame 0
        self._delay = 0.0  # frames that the stream is held back
        self.moves = 0

    @property
    def delay(self) -> float:
        """Seconds that the stream is held back."""
        return self._delay / self._clock.rate

    def place(self, play: PlayEvents, period: int) -> list[tuple[int, bytes]]:
        """JACK's frame for every message; ``period`` is that of JACK, in frames."""
        clock = self._clock
        ratio = clock.rate / SAMPLE_RATE
        clock.read()
        wanted = clock.at(play.moment) + self._delay - play.frame * ratio
        if self._origin is None or abs(wanted - self._origin) > _TOLERANCE * clock.rate:
            self._origin = wanted
            self.moves += 1
        earliest = clock.frame + period + _SLACK * clock.rate
        lacking = earliest - (self._origin + play.messages[0][0] * ratio)
        room = period + _MOST_DELAY * clock.rate - self._delay
        if lacking > 0 and room > 0:
            self._delay += min(lacking, room)
            self._origin += min(lacking, room)
            self.moves += 1
        origin = self._origin
        return [(round(origin + frame * ratio), message) for frame, message in play.messages]


class JackStream:
    """The client's ports, and what passes through them."""

    def __init__(self, client: Any, clock: Clock) -> None:
        self._client, self._clock = client, clock
        self._out = client.midi_outports.register("out")
        self._in = client.midi_inports.register("in")
        self.ports = self._out.name, self._in.name
        self.queue: deque[tuple[int, bytes]] = deque()
        self.at_once: deque[bytes] = deque()
        self.came: deque[tuple[int, bytes]] = deque()
        self._sounding = Sounding()
        self._ending = False
        self.ended = False  # whether all that was to be sent has been taken by JACK
        self.sent, self.late, self.lost, self.xruns = 0, 0, 0, 0
        self._xruns_seen = 0
        self._released: deque[tuple[int, bytes]] = deque(maxlen=128)  # the latest note-offs
        self.gone = False
        self.waking, self._wake = os.pipe()  # readable when something has come in
        os.set_blocking(self.waking, False)
        os.set_blocking(self._wake, False)
        client.set_process_callback(self.process)
        client.set_shutdown_callback(self._shut_down)
        client.set_xrun_callback(self._count_xrun)

    def process(self, frames: int) -> None:
        """One period, in JACK's thread: may neither wait nor work long."""
        begins = self._clock.extended(self._client.last_frame_time)
        self._out.clear_buffer()
        if self._ending:
            self._end()
            return
        while self.at_once:
            self._send(0, self.at_once.popleft())
        if self.xruns != self._xruns_seen:
            self._xruns_seen = self.xruns
            self._release_again(begins - _DOUBTFUL * frames)
        latest = 0
        queue = self.queue
        while queue and queue[0][0] < begins + frames:
            frame, message = queue.popleft()
            self.late += frame < begins
            latest = max(latest, frame - begins)
            self._send(latest, message)
            if message[0] & 0xF0 == MidiStatus.NOTE_OFF:
                self._released.append((begins, message))
        came = False
        for offset, message in self._in.incoming_midi_events():
            self.came.append((begins + offset, bytes(message)))
            came = True
        if came:
            self._notify()

    def end(self) -> None:
        """From the next period on: end every note, then send nothing more."""
        self._ending = True

    def _release_again(self, since: int) -> None:
        """After an xrun JACK may have dropped what we sent: no note may go on for that."""
        for frame, message in self._released:
            if frame >= since and not self._sounding.has(message):
                self._send(0, message)

    def _end(self) -> None:
        if self.ended:
            return
        self.ended = True
        for message in self._sounding.farewell():
            self._send(0, message)

    def _send(self, offset: int, message: bytes) -> None:
        import jack  # noqa: PLC0415 - loaded long since

        try:
            self._out.write_midi_event(offset, message)
        except jack.JackError:  # the port's buffer is full
            self.lost += 1
            return
        self._sounding.take(message)
        self.sent += 1

    def _notify(self) -> None:
        with suppress(BlockingIOError):  # it is woken already
            os.write(self._wake, b"\0")

    def _shut_down(self, _status: object, _reason: str) -> None:
        self.gone = True
        self._notify()

    def _count_xrun(self, _delayed: float) -> None:
        self.xruns += 1


def host(setup: Setup, line: MessagePipe) -> None:
    """Open the port and serve it until the line ends."""
    client = open_client(setup.name)
    clock = Clock(client)
    anchor, stream = Anchor(clock), JackStream(client, clock)
    patchbay = Patchbay(client, *stream.ports, setup.wires)
    scheduling = schedule(_PRIORITY)
    client.activate()
    patchbay.restore()
    stream.at_once.extend(setup.messages)
    line.send(Ready({"system": "JACK", "scheduling": scheduling, "rate": clock.rate}))
    ticking = reporting = time.monotonic()
    finishing = False
    try:
        while not (finishing and not stream.queue):
            reading = [stream.waking] if finishing else [stream.waking, line.reading]
            select.select(reading, [], [], max(0.0, ticking - time.monotonic()))
            for message in () if finishing else line.receive():
                match message:
                    case PlayEvents():
                        stream.queue.extend(anchor.place(message, client.blocksize))
                    case AtOnce(messages):
                        stream.at_once.extend(messages)
                    case Finish():
                        finishing = True
            if stream.gone:
                raise LofidError("The JACK server has gone; the port opens again when it is back.")
            _report(stream, clock, line)
            if time.monotonic() >= ticking:
                clock.read()
                line.send(Ticking(clock.frame, clock.moment))
                ticking += _TICKING
            if time.monotonic() >= reporting:
                patchbay.restore()
                line.send(patchbay.wires())
                line.send(_figures(stream, anchor))
                reporting += _REPORTING
    except EOFError:
        pass
    finally:
        _leave(stream, client)


def _report(stream: JackStream, clock: Clock, line: MessagePipe) -> None:
    """Tell what has come in."""
    try:
        os.read(stream.waking, 4096)
    except BlockingIOError:
        return
    while stream.came:
        frame, (status, *data) = stream.came.popleft()
        line.send(Received(clock.when(frame), status, tuple(data)))


def _figures(stream: JackStream, anchor: Anchor) -> Figures:
    return Figures(
        {
            "sent": stream.sent,
            "late": stream.late,
            "lost": stream.lost,
            "xruns": stream.xruns,
            "anchored": anchor.moves,
            "delay_ms": round(1000 * anchor.delay, 3),
        }
    )


def _leave(stream: JackStream, client: Any) -> None:
    """End every note, as far as there still is a server."""
    stream.end()
    latest = time.monotonic() + _ENDING
    while not stream.ended and not stream.gone and time.monotonic() < latest:
        time.sleep(0.001)
    if not stream.gone:
        time.sleep(2 * client.blocksize / client.samplerate)  # whoever listens hears it first
        client.close()


if __name__ == "__main__":
    serve(host)
