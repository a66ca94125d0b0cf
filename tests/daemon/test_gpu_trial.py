"""An engine that failed is tried again, by processes that say what a writer would, and by one."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from lofid.client import Client
from lofid.compose.preset import load_preset
from lofid.daemon.children import Child
from lofid.daemon.desk import Beginning, Desk
from lofid.daemon.gpu_trial import Trial
from lofid.daemon.handlers import RequestHandlers
from lofid.daemon.links import WriterReady
from lofid.daemon.notify import Notifier
from lofid.protocol.messages import BarEvent, Status
from lofid.protocol.paths import SessionPaths
from lofid.rwkv import choice
from lofid.rwkv.choice import LONGEST_REST, REST, EngineName

SAYS = """
import sys, time
from pathlib import Path
import zmq
from lofid.rwkv.choice import EngineRole, RunningEngine
from lofid.daemon.children import end_with_parent
from lofid.daemon.links import Link, WriterReady
end_with_parent()
socket, role = sys.argv[1:]
link = Link.calling(zmq.Context(), Path(socket))
link.send(WriterReady({}, {}, RunningEngine("an engine", "a test", EngineRole(role)), None))
time.sleep(60)
"""


@pytest.fixture
def child(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Child]:
    folder = tmp_path_factory.mktemp("t")  # a short name: sockets lie in it
    (folder / "says_ready.py").write_text(SAYS)
    searched = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(searched))
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    made = Child("trial", "says_ready", [], folder, context)
    yield made
    made.end(grace=0)
    context.destroy(linger=0)


def turned(trial: Trial, began: float) -> None:
    """Let it go on until the process has spoken or was ended."""
    until = time.monotonic() + 60
    trial.turn(began)
    while trial.child.running and time.monotonic() < until:
        assert trial.child.link is not None
        trial.child.link.socket.poll(1000)
        trial.turn(began)
        if trial.outcome is not None:
            break


def test_an_engine_that_works_again_takes_over(child: Child) -> None:
    trial = Trial(child)
    child.arguments = ["faster"]
    assert not trial.resting
    assert trial.begin_rest(now=100.0) == REST
    trial.turn(100.0 + REST / 2)
    assert not child.running
    turned(trial, 100.0 + REST)
    assert isinstance(trial.outcome, WriterReady)

    process = child.pid
    writer = Child("writer", "says_ready", ["only"], Path(), child_context(child))
    writer.take_over(child)
    trial.succeed()
    assert (writer.pid, writer.starts) == (process, 1)
    trial.turn(1e9)
    assert child.pid is None
    assert not trial.resting
    writer.end(grace=0)


def child_context(child: Child) -> "zmq.Context[zmq.Socket[bytes]]":
    """The sockets' context of a child that runs."""
    assert child.link is not None
    return child.link.socket.context


@pytest.mark.parametrize("role", ["stand-in", "only", "what makes it end at once"])
def test_one_that_fails_again_rests_twice_as_long(role: str, child: Child) -> None:
    trial = Trial(child)
    child.arguments = [role]
    trial.begin_rest(now=0.0)
    turned(trial, REST)
    assert trial.outcome is None and not child.running and trial.resting
    trial.turn(REST + 1.9 * REST)
    assert not child.running, "it rests"
    trial.turn(REST + 2 * REST)
    assert child.running


def test_the_rest_has_an_end(child: Child) -> None:
    trial = Trial(child)
    rests = [trial.begin_rest(0.0) for _ in range(2000)]
    assert rests[:3] == [REST, 2 * REST, 4 * REST]
    assert rests[-1] == LONGEST_REST


def test_the_daemon_goes_over_to_the_cpu_and_back(
    places: SessionPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine that runs in plain torch stands in for a GPU: it is not the CPU engine."""
    monkeypatch.setattr(choice, "LONGEST_REST", 0.5)
    beginning = Beginning(preset=load_preset("study"), seed=7, outputs=("null",))
    nobody = Notifier(None, None)
    desk = Desk(places, beginning, nobody, engine=EngineName.TORCH)
    thread = threading.Thread(target=desk.run, args=(RequestHandlers(desk).answer,))
    thread.start()
    try:
        with Client() as client, client.events("bar") as events:
            bars: list[BarEvent] = []

            def played_by(engine: str) -> Status:
                until = time.monotonic() + 60
                while (status := client.status()).engine.name != engine:
                    assert time.monotonic() < until, status.engine
                    while isinstance(event := events.wait(0.1), BarEvent):
                        bars.append(event)
                return status

            first = played_by("torch")
            assert first.engine.reason == "it was asked for"
            assert first.writer.process is not None
            os.kill(first.writer.process, signal.SIGKILL)
            second = played_by("cpu-int8")
            assert second.engine.reason == "the engine 'torch' failed"
            third = played_by("torch")
            assert third.writer.process not in (first.writer.process, second.writer.process)
            assert "works again" in third.warnings[-1].text
    finally:
        desk.leave()
        thread.join()
    indices = [event.bar.index for event in bars]
    assert indices == list(range(indices[0], indices[0] + len(indices))), "nothing is left out"
