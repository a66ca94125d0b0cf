"""The host of a MIDI port through rtmidi: sends each message when it is due, and guards the notes.

``python -m lofid.outputs.midi_host``, started and fed by :mod:`lofid.outputs.midi`.
"""

import heapq
import select
import time
from collections import deque
from collections.abc import Iterable
from types import ModuleType
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
    serve,
)
from lofid.outputs.messages import MidiStatus, Sounding
from lofid.outputs.output import SAMPLE_RATE, Received
from lofid.outputs.patchbay import Patchbay, free_name, open_client, prefer_own_jack
from lofid.realtime import schedule

_PRIORITY = 40  # of SCHED_FIFO: above sound servers, for a message takes microseconds
_LATE = 0.005  # seconds
_REPORTING = 1.0  # seconds between two reports
_DOUBTFUL = 0.2  # seconds before an xrun is told in which messages may have been lost by it
_DRAINING = 0.05  # seconds in which a backend's own thread has sent what it was given


class Port:
    """A virtual output and input of one name; what comes in is told on the line.

    It stands on ALSA or CoreMIDI, else on JACK; raises :class:`LofidError` where none is there.
    On JACK it is two clients, NAME-out and NAME-in: NAME is that of a port of JACK's own kind.
    """

    def __init__(self, setup: Setup, line: MessagePipe) -> None:
        rtmidi = _rtmidi()
        self._line = line
        self._patchbay: Patchbay | None = None
        self._gone = False
        self.xruns = 0
        """Periods in which JACK may have dropped what was sent."""
        outgoing, incoming = setup.name, f"{setup.name}-in"
        apis = rtmidi.RtMidiAPI
        for system, api in (("ALSA", apis.LINUX_ALSA), ("CoreMIDI", apis.MACOSX_CORE)):
            if api in rtmidi.get_compiled_apis():
                try:
                    self._out = rtmidi.MidiOut(api, outgoing)
                except RuntimeError:  # what RtMidi throws where the system has no MIDI
                    continue
                self.system = system
                break
        else:
            api, self.system = apis.UNIX_JACK, "JACK"
            outgoing = f"{setup.name}-out"
            jack = _jack(setup.name, outgoing)
            jack.set_shutdown_callback(self._ended)
            jack.set_xrun_callback(self._count_xrun)
            jack.activate()
            self._out = rtmidi.MidiOut(api, outgoing)
            ports = f"{outgoing}:{outgoing}", f"{incoming}:{incoming}"
            self._patchbay = Patchbay(jack, *ports, setup.wires)
        self._in = rtmidi.MidiIn(api, incoming)
        self._out.open_virtual_port(outgoing)
        self._in.ignore_types(sysex=True, timing=False, active_sense=True)
        self._in.set_callback(self._came)
        self._in.open_virtual_port(incoming)
        if self._patchbay is not None:
            self._patchbay.restore()

    def send(self, message: bytes) -> None:
        """Send a message now."""
        self._out.send_message(message)

    def tend(self) -> None:
        """Restore and report connections; raises :class:`LofidError` where the server is gone."""
        if self._gone:
            raise LofidError("The JACK server has gone; the port opens again when it is back.")
        if self._patchbay is not None:
            self._patchbay.restore()
            self._line.send(self._patchbay.wires())

    def _came(self, message: Iterable[int], _since: float, _data: object) -> None:
        status, *data = message
        self._line.send(Received(time.monotonic(), status, tuple(data)))

    def _count_xrun(self, _delayed: float) -> None:
        self.xruns += 1

    def _ended(self, _status: object, _reason: str) -> None:
        self._gone = True


def _rtmidi() -> ModuleType:
    """The binding of RtMidi, which brings ALSA's and JACK's libraries; only a host loads it."""
    prefer_own_jack()
    try:
        import supriya_midi  # noqa: PLC0415
    except ImportError as error:
        raise LofidError(
            f"MIDI ports cannot be had here ({error}); install what they need: "
            "pip install --pre supriya-midi, and ALSA's library (Debian: libasound2)."
        ) from None
    return supriya_midi


def _jack(name: str, outgoing: str) -> Any:
    """A client that wires the port ``name``, once nobody else is called ``outgoing``."""
    try:
        client = open_client(f"{name}-wires")
    except LofidError as error:
        raise LofidError(
            "This machine has no ALSA sequencer (the kernel module snd-seq) for MIDI ports, and "
            f"JACK is no way out: {error}"
        ) from None
    free_name(client, outgoing)
    return client


class MidiSender:
    """Messages on their way to a port, each until it is due."""

    def __init__(self, port: Port) -> None:
        self._port = port
        self._queue: list[tuple[float, int, bytes]] = []  # a heap by moment, then order of coming
        self._count = 0
        self._sounding = Sounding()
        self._sent, self._late, self._worst = 0, 0, 0.0
        self._xruns_seen = 0
        self._released: deque[tuple[float, bytes]] = deque(maxlen=128)  # the latest note-offs

    def take(self, message: PlayEvents) -> None:
        """Queue messages for their moments."""
        for frame, content in message.messages:
            moment = message.moment + (frame - message.frame) / SAMPLE_RATE
            self._count += 1
            heapq.heappush(self._queue, (moment, self._count, content))

    def send(self, messages: tuple[bytes, ...]) -> None:
        """Send messages now."""
        for message in messages:
            self._port.send(message)
            self._sounding.take(message)
            self._sent += 1

    def send_due(self) -> None:
        """Send what is due by now."""
        while self._queue and self._queue[0][0] <= (now := time.monotonic()):
            moment, _, message = heapq.heappop(self._queue)
            self.send((message,))
            if message[0] & 0xF0 == MidiStatus.NOTE_OFF:
                self._released.append((now, message))
            self._worst = max(self._worst, now - moment)
            self._late += now - moment > _LATE

    def release_again(self) -> None:
        """After an xrun: JACK may have dropped note-offs, and no note may go on for that."""
        if self._port.xruns == self._xruns_seen:
            return
        self._xruns_seen = self._port.xruns
        since = time.monotonic() - _DOUBTFUL
        for moment, message in self._released:
            if moment >= since and not self._sounding.has(message):
                self._port.send(message)

    def due_in(self) -> float | None:
        """Seconds until something is due, 0 or more; None where nothing waits."""
        return max(0.0, self._queue[0][0] - time.monotonic()) if self._queue else None

    def end(self) -> None:
        """End every note, and whoever follows our clock."""
        self._queue.clear()
        self.send(tuple(self._sounding.farewell()))
        time.sleep(_DRAINING)

    def figures(self) -> Figures:
        """What was sent, how much of it late, and the worst lateness in ms so far."""
        return Figures(
            {
                "sent": self._sent,
                "late": self._late,
                "worst_ms": round(1000 * self._worst, 3),
                "xruns": self._port.xruns,
            }
        )


def host(setup: Setup, line: MessagePipe) -> None:
    """Open the port and serve it until the line ends."""
    port = Port(setup, line)
    player = MidiSender(port)
    player.send(setup.messages)
    line.send(Ready({"system": port.system, "scheduling": schedule(_PRIORITY)}))
    reporting, finishing = time.monotonic(), False
    try:
        while not finishing or player.due_in() is not None:
            due, report = player.due_in(), max(0.0, reporting - time.monotonic())
            reading = [] if finishing else [line.reading]
            select.select(reading, [], [], report if due is None else min(due, report))
            for message in line.receive() if reading else ():
                match message:
                    case PlayEvents():
                        player.take(message)
                    case AtOnce(messages):
                        player.send(messages)
                    case Finish():
                        finishing = True
            player.send_due()
            player.release_again()
            if time.monotonic() >= reporting:
                port.tend()
                line.send(player.figures())
                reporting += _REPORTING
    except EOFError:
        pass
    finally:
        player.end()


if __name__ == "__main__":
    serve(host)
