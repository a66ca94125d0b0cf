import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from lofid.daemon.children import Child


@pytest.fixture
def context() -> Iterator["zmq.Context[zmq.Socket[bytes]]"]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    yield context
    context.destroy(linger=0)


def test_a_child_that_has_ended_has_a_reason(
    tmp_path_factory: pytest.TempPathFactory, context: "zmq.Context[zmq.Socket[bytes]]"
) -> None:
    child = Child("c", "lofid.none", [], tmp_path_factory.mktemp("c"), context)
    assert child.fate == ""
    child.start()
    assert child._process is not None
    child._process.wait()
    assert child.fate == "exit code 1"
    child.start()
    child._process.send_signal(signal.SIGKILL)
    child._process.wait()
    assert child.fate == "signal SIGKILL"
    child.end()
    assert child.fate == ""


def test_what_cannot_be_started_says_why(context: "zmq.Context[zmq.Socket[bytes]]") -> None:
    child = Child("c", "lofid.none", [], Path("/nowhere"), context)
    child.start()
    assert not child.running
    assert child.fate.startswith("No such file or directory")
