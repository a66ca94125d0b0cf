"""Processes that the desk starts, and the life line that ends them with it.

A child holds the reading end of a pipe as its standard input. Nothing is ever written there: when
the desk is gone, however it went, the child reads the end of the pipe and ends as well.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import zmq

from lofid.daemon.links import Link
from lofid.processes import python_module

_GRACE = 5.0  # seconds a child has to end by itself


def end_with_parent(ending: Callable[[], None] | None = None) -> None:
    """Run ``ending`` (by default: leave at once) when the parent is gone. Called by a child."""

    def wait() -> None:
        while os.read(sys.stdin.fileno(), 4096):
            pass
        if ending is None:
            os._exit(0)
        ending()

    threading.Thread(target=wait, name="life line", daemon=True).start()


class Child:
    """A process started anew each time it is needed, with a line of its own.

    ``module`` is run with the socket's path as its first argument. Each incarnation has a new
    socket: nothing that was meant for a dead one reaches the next.
    """

    def __init__(
        self,
        name: str,
        module: str,
        arguments: Sequence[str],
        folder: Path,
        context: "zmq.Context[zmq.Socket[bytes]]",
    ) -> None:
        self.name = name
        self.starts = 0
        self.ready = False
        """Whether this incarnation has said that it works; the owner sets it."""
        self.started_at = 0.0
        self._command = python_module(module)
        self.arguments = list(arguments)
        """Those of the next start; the owner may change them."""
        self._folder = folder
        self._context = context
        self._process: subprocess.Popen[bytes] | None = None
        self._path: Path | None = None
        self.link: Link | None = None
        self._refusal = ""

    @property
    def fate(self) -> str:
        """Why it does not run, to follow what has ended; empty while it does."""
        code = None if self._process is None else self._process.poll()
        if self._refusal or code is None:
            return self._refusal
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    @property
    def pid(self) -> int | None:
        """The process id; None where it does not run."""
        return self._process.pid if self.running and self._process else None

    @property
    def running(self) -> bool:
        """Whether the process is alive."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the process; the link to it may be used at once. It may not run: see ``fate``."""
        self.end(grace=0)
        self.starts += 1
        self.started_at = time.monotonic()
        self._path = self._folder / f"{self.name}-{os.getpid()}-{self.starts}"
        self._refusal = ""
        try:
            self.link = Link.listening(self._context, self._path)
            self._process = subprocess.Popen(
                [*self._command, str(self._path), *self.arguments],
                stdin=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C and a hang-up are for the desk, from the start
            )
        except (OSError, zmq.ZMQError) as error:
            # No memory, no more files or processes: it does not run, and is tried again.
            self._refusal = error.strerror or str(error)

    def take_over(self, other: "Child") -> None:
        """Go on with the process of another child, which is left without one."""
        self.end(grace=0)
        self.starts += 1
        self.ready = other.ready
        self.started_at = other.started_at
        self.link, other.link = other.link, None
        self._process, other._process = other._process, None
        self._path, other._path = other._path, None

    def send(self, message: object) -> bool:
        """Send where the process runs; False where nothing can be sent."""
        return self.link is not None and self.link.send(message)

    def end(self, grace: float = _GRACE) -> None:
        """End the process: its life line first, and by force after ``grace`` seconds."""
        process, self._process, self.ready = self._process, None, False
        if process is not None:
            assert process.stdin is not None
            if grace:
                process.stdin.close()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(grace)
            process.kill()
            process.wait()
            process.stdin.close()
        if self.link is not None:
            self.link.close()
            self.link = None
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            self._path = None
