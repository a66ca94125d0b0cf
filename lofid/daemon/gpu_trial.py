"""The way back to an engine that failed: a fresh process tries it while the CPU engine writes.

Some faults of a GPU end only with the process that met them. So a second writer is started beside
the first, after a rest that doubles with each failure; where it can write with the faster engine,
the desk lets it take over between two bars.
"""

import math

from lofid.daemon.children import Child
from lofid.daemon.links import WriterReady
from lofid.rwkv.choice import EngineRole, rest_after

_PATIENCE = 180.0  # seconds until it must have written its first bar: it may have to compile


class Trial:
    """When the faster engine is tried again, and how that went. Moments are monotonic seconds."""

    def __init__(self, child: Child) -> None:
        self.child = child
        self.outcome: WriterReady | None = None
        """What the process that may take over has said; None before there is one."""
        self._due = math.inf
        self._failures = 0

    def begin_rest(self, now: float) -> float:
        """The faster engine has failed; returns the seconds until it is tried again."""
        self.child.end(grace=0)
        self.outcome = None
        self._failures += 1
        seconds = rest_after(self._failures)
        self._due = now + seconds
        return seconds

    @property
    def resting(self) -> bool:
        """Whether the faster engine has failed and was not brought back."""
        return self._due < math.inf

    def turn(self, now: float) -> None:
        """Start the process when it is due; give it up where it ends, hangs or has failed, too."""
        if now < self._due:
            return
        if self.child.link is None:
            self.child.start()
            return
        message = self.child.link.receive() if self.outcome is None else None
        if isinstance(message, WriterReady) and message.running.role is EngineRole.FASTER:
            self.outcome = message
        elif (
            message is not None
            or not self.child.running
            or (self.outcome is None and now - self.child.started_at > _PATIENCE)
        ):
            self.begin_rest(now)

    def succeed(self) -> None:
        """The process has taken over."""
        self.outcome = None
        self._due = math.inf
        self._failures = 0
