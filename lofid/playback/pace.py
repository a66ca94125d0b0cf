"""When a block is due, and when it is heard.

The pace follows whatever plays the stream where something does, and goes on by the monotonic clock
where nothing does, or does no longer: the moments of the frames never jump on the way from one to
the other. It knows no outputs.
"""

import time
from collections.abc import Callable

from lofid.outputs.output import SAMPLE_RATE

AHEAD = 0.03
"""Seconds between a block's being due and its being heard, where the clock keeps time."""

LATEST = 1.0
"""Seconds of lateness that are caught up with; beyond, the machine has slept."""

_NAP = 0.5  # seconds of suspension that are heard as one
_JUMP = 0.1  # seconds; what is further off is a new beginning
_SHARE, _MOST = 0.05, 0.0003  # of the error that a block corrects, and seconds at most


def suspended() -> float:
    """Seconds that the machine was suspended, since some moment; 0 where nobody tells.

    Linux's monotonic clock stands still meanwhile: lateness does not show it.
    """
    if not hasattr(time, "CLOCK_BOOTTIME"):
        return 0.0
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic()


class Pace:
    """The moment, in seconds of the monotonic clock, when each frame of the stream is heard."""

    def __init__(self, suspended: Callable[[], float] = suspended) -> None:
        self.moment = time.monotonic() + AHEAD
        """When the first frame of the next block is heard."""
        self._suspended = suspended
        self._known = suspended()

    def woke(self) -> bool:
        """Whether the machine was suspended since this was last asked; the stream goes on now."""
        before, self._known = self._known, self._suspended()
        if self._known - before < _NAP:
            return False
        self.moment = time.monotonic() + AHEAD
        return True

    def wait(self) -> bool:
        """Sleep until the next block is due by the clock; False where it is long overdue.

        In that case the stream goes on from now.
        """
        left = self.moment - AHEAD - time.monotonic()
        if left < -LATEST:
            self.moment = time.monotonic() + AHEAD
            return False
        if left > 0:
            time.sleep(left)
        return True

    @property
    def left(self) -> float:
        """Seconds until the next block should be heard."""
        return self.moment - time.monotonic()

    def advance(self, frames: int) -> None:
        """A block has been handed out."""
        self.moment += frames / SAMPLE_RATE

    def follow(self, moment: float) -> None:
        """Move towards the moment at which the next block is heard by who keeps the time."""
        error = moment - self.moment
        if abs(error) > _JUMP:
            self.moment = moment
        else:
            self.moment += min(_MOST, max(-_MOST, _SHARE * error))
