"""What the tests of the control sockets share."""

import select
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import pytest
import zmq

from lofid.compose.player import drums_player, keys_player
from lofid.compose.preset import load_preset
from lofid.compose.station import Station
from lofid.daemon import links
from lofid.daemon.desk import Beginning, Desk
from lofid.daemon.handlers import RequestHandlers
from lofid.daemon.notify import Notifier
from lofid.daemon.server import Deferred, Server, Tcp
from lofid.errors import LofidError
from lofid.music.parameters import Effect
from lofid.music.plan import Bar
from lofid.protocol import messages
from lofid.protocol.messages import Event, Request, Result, StateEvent, Status
from lofid.protocol.paths import SessionPaths
from lofid.rwkv.choice import EngineRole, RunningEngine
from lofid.rwkv.engine import Engine
from lofid.rwkv.state import ModelState
from lofid.tokens import drums, keys

_R = TypeVar("_R", bound=Result)

STATUS = Status(
    version="0", session="main", process=1, uptime=0, state=messages.PlayState.PLAYING,
    preset="study", seed=1,
)  # fmt: skip


class StandIn:
    """A server as a daemon has it, in a thread: the sockets are real, the answers are plain."""

    def __init__(self, places: SessionPaths) -> None:
        self.places = places
        self.seen: list[Request[Any]] = []
        self.publish: list[messages.Event] = []
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, tcp: Tcp | None = None) -> None:
        """Serve until :meth:`stop`."""
        self._stop.clear()
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        server = Server(context, self.places, tcp)
        self._thread = threading.Thread(target=self._run, args=(context, server))
        self._thread.start()

    def stop(self) -> None:
        """End, as a daemon that is shut down."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self, context: "zmq.Context[zmq.Socket[bytes]]", server: Server) -> None:
        server.welcome(STATUS)
        poller = zmq.Poller()
        for socket in server.sockets:
            poller.register(socket, zmq.POLLIN)
        late: list[Deferred] = []

        def handle(request: Request[Any]) -> Result | Deferred:
            self.seen.append(request)
            match request:
                case messages.GetStatus():
                    return STATUS
                case messages.Rewind():
                    return messages.Heard(Effect.MUSICAL, request.bars)
                case messages.Set():
                    raise messages.Refused("No.", field="music.tempo", allowed="72", hint="72")
                case messages.BranchPrepare():
                    late.append(Deferred())
                    return late[-1]
                case messages.Panic():
                    raise RuntimeError("a fault that the test wants")
                case messages.Like():
                    return messages.Saved("\udcff", "no text")
                case _:
                    return messages.Done()

        while not self._stop.is_set():
            waited = list(late)
            late.clear()
            poller.poll(10)
            server.serve(handle)
            for deferred in waited:
                deferred.answer(messages.Branches([]))
            while self.publish:
                server.publish(self.publish.pop(0))
        server.close()
        context.term()


@pytest.fixture
def stand_in(places: SessionPaths) -> Iterator[StandIn]:
    """A server that answers."""
    server = StandIn(places)
    server.start()
    yield server
    server.stop()


def _desk(places: SessionPaths) -> Desk:
    beginning = Beginning(preset=load_preset("study"), seed=7, outputs=("null",))
    return Desk(places, beginning, Notifier.taken_from({}))


class Rehearsal:
    """A desk without its processes: a station writes the bars, and what is locked is said here."""

    def __init__(self, places: SessionPaths, station: Station) -> None:
        self.desk = _desk(places)
        self._answers = RequestHandlers(self.desk)
        self._station = station
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._events = self._context.socket(zmq.SUB)
        self._events.subscribe("")
        self._events.connect(f"ipc://{places.events}")
        self.desk.server.welcome(self.desk.status())
        while not self._events.poll(1):  # greeted
            for socket in self.desk.server.sockets:
                socket.poll(1)
        self.told()
        self.hear_writer(
            links.WriterReady(
                {"keys": "k", "drums": "d"},
                {},
                RunningEngine("cpu", "", EngineRole.ONLY),
                station.beginnings,
            )
        )

    def again(self) -> Desk:
        """The desk, ended and started anew."""
        self.desk.close()
        self.desk = _desk(self.desk.places)
        return self.desk

    def restart_stage(self) -> None:
        """The stage has died, and is there again."""
        self.desk._stage_anew()
        self.desk._tell()

    def close(self) -> None:
        self.desk.close()
        self._context.destroy(linger=0)

    def hear_writer(self, message: object) -> None:
        self.desk._hear_writer(message)
        self.desk._tell()

    def hear_stage(self, message: object) -> None:
        self.desk._hear_stage(message)
        self.desk._tell()

    def ask(self, request: Request[_R]) -> _R:
        """What is answered, also where that waits for the disk."""
        answer: Any = self.desk.answered(self._answers.answer, request)
        if isinstance(answer, Deferred):
            late: list[Any] = []
            answer._connect(late.append)
            while not late:
                select.select([self.desk._wake[0]], [], [], 10)
                self.desk._wake[0].recv(4096)
                while self.desk._soon:
                    self.desk._soon.popleft()()
                self.desk._tell()
            answer = late[0]
        if isinstance(answer, LofidError):
            raise answer
        result: _R = answer
        return result

    def told(self) -> list[Event]:
        """The events since this was last asked; the status that greets is none."""
        events = []
        while self._events.poll(20):
            event = messages.decode_event(self._events.recv())
            if event is not None and not isinstance(event, messages.StatusEvent):
                events.append(event)
        return events

    def changed(self) -> Mapping[str, Any]:
        """What was told to have changed since this was last asked."""
        values: dict[str, Any] = {}
        for event in self.told():
            if isinstance(event, StateEvent):
                values |= event.changed
        return values

    def warned(self) -> list[str]:
        """What the user was warned of since this was last asked."""
        return [
            event.warning.text for event in self.told() if isinstance(event, messages.WarningEvent)
        ]

    def play(self, bars: int) -> list[Bar]:
        """Write and lock so many bars."""
        ledger, played = self.desk.ledger, []
        for _ in range(bars):
            while (task := ledger.task()) is not None:
                before = task.state or self._station.opening(task.settings, self.desk.seed)
                step = self._station.step(before, task.settings)
                ledger.written(task, before, step.bar, step.state, 0.01)
            take = ledger.cues().cues[0]
            self.hear_stage(links.Locked(take.take))
            played.append(take.bar)
        return played


@pytest.fixture(scope="session")
def station(fading_engine: Callable[[int, int, float], Engine]) -> Iterator[Station]:
    """A station that writes at once, though nothing worth hearing, in a tuned style."""
    engines = (
        fading_engine(len(keys.VOCABULARY), 1, 1.0),
        fading_engine(len(drums.VOCABULARY), 2, 1.0),
    )
    tuned = [ModelState.zero(engine.config) for engine in engines]
    for state in tuned:
        state.wkv[:] = 1.0
    players = keys_player(engines[0], tuned[0]), drums_player(engines[1], tuned[1])
    with Station(*players) as opened:
        yield opened


@pytest.fixture
def rehearsal(places: SessionPaths, station: Station) -> Iterator[Rehearsal]:
    """A desk to be asked and listened to."""
    made = Rehearsal(places, station)
    yield made
    made.close()
