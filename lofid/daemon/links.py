"""What the daemon's own processes say to each other, and the sockets they say it on.

Every message is a frozen dataclass, pickled: both ends are the same program, started by the desk
over a socket in a folder that nobody else may enter. Messages from outside never come this way
(:mod:`lofid.protocol.messages`).

A written bar is a *take*. A take names the take that it follows, and the stage plays it only after
that one: however late or early a change arrives, what sounds is always one unbroken line of takes,
and the desk learns from :class:`Locked` which one it was.
"""

import copyreg
import pickle
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import zmq

from lofid.compose.station import SessionState
from lofid.music.notes import Part
from lofid.music.parameters import Settings
from lofid.music.plan import Bar
from lofid.outputs import FileLabel
from lofid.playback.cue import Cue
from lofid.rwkv.choice import RunningEngine
from lofid.rwkv.state import ModelState

MOST_WAITING = 10_000
"""Messages that may wait for a process before sending to it fails: it hangs."""


# -- desk to writer ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class WriteBar:
    """Write the bar after ``state``; ``job`` comes back with the answer."""

    job: int
    state: SessionState | None
    """None for the opening of a new session with ``seed``."""
    settings: Settings
    seed: int


# -- writer to desk ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class WriterReady:
    """The models are loaded: their hashes by name, what runs them, what is to be told of that."""

    models: Mapping[str, str]
    vocabularies: Mapping[str, str]
    running: RunningEngine
    beginnings: tuple[ModelState, ModelState]
    """The states of keys and drums before the first bar of a song, in their style."""
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BarWritten:
    """A bar, the state that it was written from and the state after it."""

    job: int
    before: SessionState
    bar: Bar
    after: SessionState
    seconds: float
    findings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EngineChanged:
    """Another engine writes from now on; ``remark`` is a sentence for the user."""

    running: RunningEngine
    remark: str


@dataclass(frozen=True, slots=True)
class WriteFailed:
    """The bar could not be written; the writer should be started anew."""

    job: int
    reason: str


# -- desk to stage ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Cues:
    """What is to come: replaces every cue that was sent before and is not locked."""

    cues: tuple[Cue, ...]


@dataclass(frozen=True, slots=True)
class Mixing:
    """Settings of sound, mix and MIDI, and who is muted; heard at once."""

    settings: Settings
    muted: frozenset[Part]


@dataclass(frozen=True, slots=True)
class AddOutput:
    """Open an output, ``KIND[:ARGUMENT]``, under a name; what becomes of it is an OutputState."""

    name: str
    spec: str
    label: FileLabel | None = None


@dataclass(frozen=True, slots=True)
class RemoveOutput:
    """Close an output: files are finished."""

    name: str


@dataclass(frozen=True, slots=True)
class StagePause:
    """Fall silent and hold the music where it is."""


@dataclass(frozen=True, slots=True)
class StagePlay:
    """Go on where the music was held."""


@dataclass(frozen=True, slots=True)
class StageStop:
    """Fall silent, drop the rest of the bar that sounds, and hold; the next cue comes at Play."""


@dataclass(frozen=True, slots=True)
class StagePanic:
    """End every note on every output at once; the music goes on with its next notes."""


@dataclass(frozen=True, slots=True)
class Leave:
    """Fade out, close all outputs, end."""


# -- stage to desk ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StageReady:
    """The stage plays, silence so far: how it is scheduled, and whether its memory is locked."""

    scheduling: str
    memory_locked: bool
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Locked:
    """The stage has taken a cue; it will sound, and can no longer be replaced."""

    take: int


@dataclass(frozen=True, slots=True)
class BarStarted:
    """A bar line is heard. ``take`` is 0 where the last good loop stands in (``reason`` says why).

    ``frame`` counts the frames that were heard since the stage was started, ``moment`` is the time
    of the monotonic clock in seconds, ``seconds`` the bar's length.
    """

    take: int
    bar: Bar
    frame: int
    moment: float
    seconds: float
    reason: str = ""


@dataclass(frozen=True, slots=True)
class BarSounded:
    """A bar was heard to its end; ``loudness`` in LUFS as measured at the output."""

    take: int
    loudness: float


@dataclass(frozen=True, slots=True)
class Levels:
    """How loud the last tenth of a second was: peak dBFS of every stem and of the mix, LUFS."""

    peaks: Mapping[str, float]
    loudness: float


@dataclass(frozen=True, slots=True)
class OutputState:
    """What has become of an output: opening, playing, waiting (to be tried again), closed."""

    name: str
    spec: str
    state: str
    reason: str = ""
    details: Mapping[str, float | int | str] | None = None


@dataclass(frozen=True, slots=True)
class Controller:
    """A MIDI controller was moved: channel 1-16, control and value 0-127."""

    channel: int
    control: int
    value: int


@dataclass(frozen=True, slots=True)
class StageStatus:
    """Counters, told about once a second."""

    clock: str
    """What keeps time: the name of an output, ``system``, ``midi``, or ``virtual``."""
    paused: bool
    load: float
    """Share of real time that rendering took, 0 to 1."""
    stand_ins: int
    """Bars for which the last good loop stood in."""
    xruns: int
    tempo: float
    cued: int
    """The last take of the cues that it holds, 0 without any."""
    trouble: str = ""
    """Why the clock that should be followed is not, a sentence; else empty."""


class Link:
    """One end of the line between the desk and one of its processes.

    :meth:`send` never waits; :meth:`receive` takes what is there. The socket may be polled. What is
    sent before the other end is there, or reads again, is kept for it.
    """

    def __init__(self, socket: "zmq.Socket[bytes]") -> None:
        self.socket = socket
        self._kept: deque[bytes] = deque()

    @classmethod
    def listening(cls, context: "zmq.Context[zmq.Socket[bytes]]", path: Path) -> Self:
        """The desk's end; raises zmq.ZMQError where the system refuses."""
        socket = _socket(context)
        try:
            socket.bind(f"ipc://{path}")
        except zmq.ZMQError:
            socket.close(linger=0)
            raise
        return cls(socket)

    @classmethod
    def calling(cls, context: "zmq.Context[zmq.Socket[bytes]]", path: Path) -> Self:
        """The end of a process that the desk has started."""
        socket = _socket(context)
        socket.connect(f"ipc://{path}")
        return cls(socket)

    def send(self, message: object) -> bool:
        """Send; False where the other end has not read for so long that no more may wait."""
        if len(self._kept) >= MOST_WAITING:
            return False
        self._kept.append(pickle.dumps(message, pickle.HIGHEST_PROTOCOL))
        self._flush()
        return True

    def receive(self) -> Any | None:
        """The next message; None where there is none."""
        self._flush()
        try:
            return pickle.loads(self.socket.recv(zmq.DONTWAIT))
        except zmq.Again:
            return None

    def _flush(self) -> None:
        # A socket without a peer takes nothing: the desk speaks before its processes listen.
        with suppress(zmq.Again):
            while self._kept:
                self.socket.send(self._kept[0], zmq.DONTWAIT)
                self._kept.popleft()

    def close(self) -> None:
        """Drop what was not sent, and end."""
        self.socket.close(linger=0)


def _read_only(mapping: dict[Any, Any]) -> "MappingProxyType[Any, Any]":
    return MappingProxyType(mapping)


# A bar's notes are a read-only mapping, which pickle does not know.
copyreg.pickle(MappingProxyType, lambda proxy: (_read_only, (dict(proxy),)))


def _socket(context: "zmq.Context[zmq.Socket[bytes]]") -> "zmq.Socket[bytes]":
    socket = context.socket(zmq.PAIR)
    socket.sndhwm = socket.rcvhwm = MOST_WAITING
    return socket
