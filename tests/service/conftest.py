"""What the tests of the control sockets share."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import zmq

from lofid.music.parameters import Effect
from lofid.service import protocol
from lofid.service.places import Places
from lofid.service.protocol import Request, Result, Status
from lofid.service.server import Deferred, Server, Tcp

STATUS = Status(
    version="0", session="main", process=1, uptime=0, state=protocol.State.PLAYING, preset="study",
    seed=1,
)  # fmt: skip


class StandIn:
    """A server as a daemon has it, in a thread: the sockets are real, the answers are plain."""

    def __init__(self, places: Places) -> None:
        self.places = places
        self.seen: list[Request[Any]] = []
        self.publish: list[protocol.Event] = []
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
                case protocol.GetStatus():
                    return STATUS
                case protocol.Rewind():
                    return protocol.Heard(Effect.MUSICAL, request.bars)
                case protocol.Set():
                    raise protocol.Refused("No.", field="music.tempo", allowed="72", hint="72")
                case protocol.BranchPrepare():
                    late.append(Deferred())
                    return late[-1]
                case protocol.Panic():
                    raise RuntimeError("a fault that the test wants")
                case _:
                    return protocol.Done()

        while not self._stop.is_set():
            waited = list(late)
            late.clear()
            poller.poll(10)
            server.serve(handle)
            for deferred in waited:
                deferred.answer(protocol.Branches([]))
            while self.publish:
                server.publish(self.publish.pop(0))
        server.close()
        context.term()


@pytest.fixture
def places(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Places:
    """The folders of a session in a place of its own."""
    folder = tmp_path_factory.mktemp("p")  # a short name: sockets lie in it
    for variable in ("XDG_RUNTIME_DIR", "XDG_STATE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(variable, str(folder / variable[4:7].lower()))
    return Places.of()


@pytest.fixture
def stand_in(places: Places) -> Iterator[StandIn]:
    """A server that answers."""
    server = StandIn(places)
    server.start()
    yield server
    server.stop()
