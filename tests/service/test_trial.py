"""Trials with real processes that say what a writer would."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from lofid.compose.relay import LONGEST_REST, REST
from lofid.service.children import Child
from lofid.service.links import WriterReady
from lofid.service.trial import Trial

SAYS = """
import sys, time
from pathlib import Path
import zmq
from lofid.compose.relay import Role, Running
from lofid.service.children import end_with_parent
from lofid.service.links import Link, WriterReady
end_with_parent()
socket, role = sys.argv[1:]
link = Link.calling(zmq.Context(), Path(socket))
link.send(WriterReady({}, {}, Running("an engine", "a test", Role(role))))
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
    assert trial.child.running
    while trial.outcome is None and trial.child.running and time.monotonic() < until:
        assert trial.child.link is not None
        trial.child.link.socket.poll(1000)
        trial.turn(began)


def test_an_engine_that_works_again_takes_over(child: Child) -> None:
    trial = Trial(child)
    child.arguments = ["faster"]
    assert not trial.resting
    assert trial.begin_rest(now=100.0) == REST
    trial.turn(100.0 + REST / 2)
    assert trial.resting and not child.running
    turned(trial, 100.0 + REST)
    assert isinstance(trial.outcome, WriterReady)

    process = child.pid
    writer = Child("writer", "says_ready", ["only"], Path(), child_context(child))
    writer.take_over(child)
    trial.succeed()
    assert writer.pid == process and writer.link is not None and writer.starts == 1
    assert not child.running and child.link is None
    trial.turn(1e9)
    assert not trial.resting and not child.running
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
