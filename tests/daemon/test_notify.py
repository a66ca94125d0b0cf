import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lofid.daemon.notify import Notifier


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """A service manager's socket and how ``NOTIFY_SOCKET`` names it."""
    abstract = request.param == "abstract"
    name = f"@lofid-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0{name[1:]}" if abstract else name)
        listening.settimeout(10)
        yield name, listening


def test_what_is_told_arrives_line_by_line(manager: tuple[str, socket.socket]) -> None:
    name, listening = manager
    environment = {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "30000000", "HOME": "/"}
    notifier = Notifier.taken_from(environment)
    assert notifier.watchdog == 30
    assert environment == {"HOME": "/"}
    notifier.ready()
    notifier.status("study, bar 7:\nA minor ♪")
    notifier.feed()
    notifier.stopping()
    notifier.close()
    notifier.feed()
    heard = [listening.recv(4096).decode() for _ in range(4)]
    assert heard == ["READY=1", "STATUS=study, bar 7: A minor ♪", "WATCHDOG=1", "STOPPING=1"]
    listening.setblocking(False)
    with pytest.raises(BlockingIOError):
        listening.recv(4096)


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"NOTIFY_SOCKET": ""},
        {"NOTIFY_SOCKET": "@"},
        {"NOTIFY_SOCKET": "vsock:2:1"},
        {"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "soon"},
        {"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "5000000", "WATCHDOG_PID": "1"},
        {"WATCHDOG_USEC": "5000000"},
    ],
)
def test_where_nobody_listens_nothing_happens(environment: dict[str, str]) -> None:
    notifier = Notifier.taken_from(environment)
    assert notifier.watchdog is None
    assert not environment
    notifier.ready()
    notifier.feed()
    notifier.close()


def test_a_full_socket_neither_blocks_nor_fails(manager: tuple[str, socket.socket]) -> None:
    name, listening = manager
    notifier = Notifier(name, None)
    for _ in range(10_000):  # far more than a socket holds
        notifier.feed()
    notifier.close()
    assert listening.recv(4096) == b"WATCHDOG=1"


def test_processes_that_are_started_do_not_speak_for_us(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/nowhere")
    notifier = Notifier.taken_from(os.environ)
    child = "import os; print(os.environ.get('NOTIFY_SOCKET'))"
    told = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "None"
    notifier.close()
