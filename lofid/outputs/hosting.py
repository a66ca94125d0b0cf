"""The MIDI host: a process of its own per live port, and the line to it.

Python that works makes its own threads late; a small process that only waits and sends is on time.
It is the guardian, too: when the line to it ends, however the stage went, it ends every note before
it leaves. What the two say to each other is defined here, and both ends of the line; the hosts
themselves are :mod:`lofid.outputs.midi_host` and :mod:`lofid.outputs.jack_host`.
"""

import gc
import os
import pickle
import select
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from traceback import format_exc
from typing import NoReturn, Self

from lofid.errors import LofidError
from lofid.outputs.output import Received
from lofid.processes import leave_signals_to_parent, python_module

_LENGTH = struct.Struct("<I")
_MOST_UNSENT = 1 << 20  # bytes; whoever reads so little hangs
_STARTING = 15.0  # seconds a host has to open its port
_GRACE = 3.0  # seconds to play what is queued and end the notes
_HASTE = 0.5  # seconds to end the notes


# -- to the host ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Wires:
    """Ports of other programs that ours are connected to, by JACK's names."""

    outgoing: tuple[str, ...] = ()
    incoming: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Setup:
    """Open the port ``name``, connect it as it was, and send ``messages`` before all others."""

    name: str
    wires: Wires
    messages: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class PlayEvents:
    """Messages at frames of the stream, of which ``frame`` is heard at ``moment``."""

    frame: int
    moment: float
    messages: tuple[tuple[int, bytes], ...]


@dataclass(frozen=True, slots=True)
class AtOnce:
    """Messages that are due now."""

    messages: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Finish:
    """Play what is left, then end all notes and leave."""


# -- from the host (and Received, Wires) ------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ready:
    """The port is open: what it stands on."""

    facts: Mapping[str, float | int | str]


@dataclass(frozen=True, slots=True)
class Failed:
    """The host leaves, for a reason: one sentence where a user can mend it."""

    reason: str


@dataclass(frozen=True, slots=True)
class Figures:
    """Counters, told about once a second."""

    figures: Mapping[str, float | int | str]


@dataclass(frozen=True, slots=True)
class Ticking:
    """A device's own clock: it counted ``frame`` at ``moment``."""

    frame: int
    moment: float


class MessagePipe:
    """One end of the pipes between an output and its host. Neither end ever waits in it."""

    def __init__(self, reading: int, writing: int) -> None:
        self.reading = reading
        self._writing = writing
        self._unread, self._unsent = bytearray(), bytearray()
        self._lock = threading.Lock()
        for descriptor in (reading, writing):
            os.set_blocking(descriptor, False)

    @classmethod
    def of_host(cls) -> Self:
        """The host's end: its standard input and output, which nothing else gets to use."""
        writing = os.dup(1)
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 1)  # libraries print
        return cls(0, writing)

    def send(self, message: object) -> bool:
        """Send; False where the other end is gone, or has not read for long."""
        content = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
        with self._lock:
            if len(self._unsent) > _MOST_UNSENT:
                return False
            self._unsent += _LENGTH.pack(len(content)) + content
            try:
                del self._unsent[: os.write(self._writing, self._unsent)]
            except BlockingIOError:
                pass
            except OSError:
                return False
        return True

    def receive(self) -> list[object]:
        """What has come; raises :class:`EOFError` where the other end is gone and all was read."""
        ended = False
        with suppress(BlockingIOError):
            while content := os.read(self.reading, 1 << 16):
                self._unread += content
            ended = True
        messages: list[object] = []
        while len(self._unread) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._unread)
            if len(self._unread) < _LENGTH.size + length:
                break
            messages.append(pickle.loads(self._unread[_LENGTH.size : _LENGTH.size + length]))
            del self._unread[: _LENGTH.size + length]
        if ended and not messages:
            raise EOFError
        return messages


def serve(host: Callable[[Setup, MessagePipe], None]) -> NoReturn:
    """Run ``host`` as the process that it is: never stopped by a signal, only by its line's end.

    Whatever goes wrong in it is told on the line.
    """
    leave_signals_to_parent()
    sys.setswitchinterval(0.0002)  # its threads do little, and none may wait for another
    line = MessagePipe.of_host()
    try:
        setup = _first(line)
        gc.freeze()
        gc.disable()  # what is made while messages pass forms no cycles
        host(setup, line)
    except EOFError:
        pass
    except LofidError as error:
        line.send(Failed(str(error)))
    except BaseException:
        line.send(Failed(f"The process that serves the MIDI port failed.\n{format_exc()}"))
    os._exit(0)  # sound systems' libraries hang in their destructors when their server is gone


def _first(line: MessagePipe) -> Setup:
    while True:
        select.select([line.reading], [], [])
        for message in line.receive():
            assert isinstance(message, Setup)
            return message


class Host:
    """A host as its output sees it: started, fed, listened to, ended.

    ``module`` is the host's. Raises :class:`LofidError` with the host's own reason where it
    cannot open its port, and where it has died or hangs.
    """

    def __init__(self, module: str, setup: Setup) -> None:
        self.wires = setup.wires
        self.figures: dict[str, float | int | str] = {}
        self.ticking: Ticking | None = None
        self._name = setup.name
        self._received: list[Received] = []
        self._process = subprocess.Popen(
            python_module(module),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # ALSA's and JACK's libraries grumble there
            start_new_session=True,  # Ctrl-C is for the daemon, which ends us in its own order
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._line = MessagePipe(self._process.stdout.fileno(), self._process.stdin.fileno())
        try:
            self.send(setup)
            self._wait_until_ready()
        except BaseException:
            self.end(_HASTE)
            raise

    def send(self, message: object) -> None:
        """Send a message to the host; never waits."""
        self.listen()
        if not self._line.send(message):
            raise LofidError(
                f"The process that serves the MIDI port '{self._name}' no longer listens; "
                "it is started anew."
            )

    def received(self) -> list[Received]:
        """What has come in at the port since the last call."""
        self.listen()
        received, self._received = self._received, []
        return received

    def listen(self) -> bool:
        """Take what the host has told; returns whether it has told that it is ready."""
        ready = False
        try:
            messages = self._line.receive()
        except EOFError:
            raise LofidError(
                f"The process that serves the MIDI port '{self._name}' has ended; "
                "it is started anew."
            ) from None
        for message in messages:
            match message:
                case Received():
                    self._received.append(message)
                case Ticking():
                    self.ticking = message
                case Wires():
                    self.wires = message
                case Figures(figures) | Ready(figures):
                    self.figures |= figures
                    ready = ready or isinstance(message, Ready)
                case Failed(reason):
                    raise LofidError(reason)
        return ready

    def finish(self) -> None:
        """Let the host play what it has, and wait for it."""
        with suppress(LofidError):
            self.send(Finish())
        self.end(_GRACE)

    def end(self, grace: float = _HASTE) -> None:
        """End the line: the host ends the notes and leaves, by force after ``grace`` seconds."""
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            process.wait(grace)
        process.kill()
        process.wait()
        process.stdout.close()

    def _wait_until_ready(self) -> None:
        latest = time.monotonic() + _STARTING
        while not self.listen():
            if time.monotonic() > latest:
                raise LofidError(f"The MIDI port '{self._name}' could not be opened in time.")
            select.select([self._line.reading], [], [], 0.1)
