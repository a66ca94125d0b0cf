"""A real ``lofid serve`` in folders of its own, started, hurt and watched from outside.

Nothing here looks into the daemon: it is known by its processes, its sockets and its outputs.
Needs psutil.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

import psutil

from lofid.client import Address, Client, Events
from lofid.errors import LofidError
from lofid.protocol.messages import BarEvent, Event, StatusEvent
from lofid.protocol.paths import DEFAULT_SESSION

PATIENCE = 120.0
"""Seconds after which a daemon that has not sounded is given up: its first start compiles."""

DESK = "desk"


class Daemon:
    """A daemon with sockets and state in ``folder``; a context manager that ends it.

    ``options`` are those of ``lofid serve``; ``environment`` is added to ours. May be started again
    and again, and goes on where it was. The name of ``folder`` should be short: sockets lie in it.
    """

    def __init__(
        self,
        folder: Path,
        options: Sequence[str],
        environment: Mapping[str, str] | None = None,
        python: str | Path = sys.executable,
    ) -> None:
        folders = {
            f"XDG_{name}": str(folder / place)
            for name, place in (
                ("RUNTIME_DIR", "run"), ("STATE_HOME", "state"), ("CONFIG_HOME", "config"),
            )
        }  # fmt: skip
        self.environment = {**os.environ, **(environment or {}), **folders}
        self.log = folder / "daemon.log"
        self.config = folder / "config" / "lofid"
        """What its user made: presets and keys."""
        self.address = Address.of_url(f"ipc://{folder / 'run' / 'lofid' / DEFAULT_SESSION}")
        self._command = [str(python), "-P", "-m", "lofid", "serve", *options]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            under = self.family()[1:]
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(20)
            self._process.kill()
            self._process.wait()
            for process in psutil.wait_procs(under, 5)[1]:
                with suppress(psutil.NoSuchProcess):
                    process.kill()

    def start(self) -> None:
        """Start it; returns at once."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def stop(self) -> int:
        """Ask it to end as systemd does; returns its exit code once it has."""
        assert self._process is not None
        self._process.terminate()
        return int(self._process.wait(PATIENCE))

    def kill(self) -> list[psutil.Process]:
        """SIGKILL to the desk alone; returns its processes that are still there 5 s later."""
        assert self._process is not None
        under = self.family()[1:]
        self._process.kill()
        self._process.wait()
        return list(psutil.wait_procs(under, 5)[1])

    def check(self) -> None:
        """Raise :class:`LofidError`, with the end of its log, where it does not run."""
        if self._process is None or self._process.poll() is not None:
            said = self.log.read_text("utf-8", "replace").splitlines()[-5:]
            raise LofidError(f"The daemon has ended: {' | '.join(said)}")

    @contextmanager
    def listening(self, *topics: str) -> Iterator["Listener"]:
        """Hear events of these topics, across restarts."""
        with Client(self.address) as client, client.events(*topics) as events:
            yield Listener(self, client, events)

    def family(self) -> list[psutil.Process]:
        """The desk and every process under it."""
        assert self._process is not None
        desk = psutil.Process(self._process.pid)
        return [desk, *desk.children(recursive=True)]

    def processes(self) -> dict[str, psutil.Process]:
        """Its processes by what they are: desk, writer, stage; others by their module."""
        found: dict[str, psutil.Process] = {}
        with suppress(psutil.NoSuchProcess):
            for process in self.family():
                with suppress(psutil.NoSuchProcess):
                    found[_role(process.cmdline())] = process
        return found

    def process(self, role: str) -> psutil.Process:
        """One of its processes, as soon as it is there."""
        deadline = time.monotonic() + PATIENCE
        while role not in (found := self.processes()):
            self.check()
            if time.monotonic() > deadline:
                raise LofidError(f"The daemon has no process '{role}'.")
            time.sleep(0.02)
        return found[role]


class Listener:
    """Events of a daemon, in the order they came, and a client to steer it."""

    def __init__(self, daemon: Daemon, client: Client, events: Events) -> None:
        self.client = client
        self._daemon = daemon
        self._events = events

    def next(self, patience: float = PATIENCE) -> Event:
        """The next event but the status that greets; raises LofidError where none comes."""
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            event = self._events.wait(0.5)
            if event is not None and not isinstance(event, StatusEvent):
                return event
            self._daemon.check()
        raise LofidError(f"The daemon said nothing for {patience:g} s.")

    def bar(self, patience: float = PATIENCE) -> BarEvent:
        """The next bar that begins; other events are passed over."""
        while not isinstance(event := self.next(patience), BarEvent):
            pass
        return event

    def waiting(self, seconds: float) -> Iterator[Event]:
        """What comes within that time."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            event = self._events.wait(left)
            if event is not None and not isinstance(event, StatusEvent):
                yield event


def _role(command: Sequence[str]) -> str:
    """What a process of the daemon is, from its command line."""
    module = command[command.index("-m") + 1] if "-m" in command[:-1] else ""
    name = module.rpartition(".")[2]
    return DESK if name == "lofid" else name or "other"
