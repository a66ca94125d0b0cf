"""Where bar lines lie in a stream of frames, exactly, for ever.

A bar is hardly ever a whole number of frames long. Lines are counted in whole parts of 2 ** -32
frames, so that nothing gathers, however often the tempo changes.
"""

from fractions import Fraction

from lofid.music.notes import BEATS_PER_BAR, TICKS_PER_BAR
from lofid.sound import SAMPLE_RATE

_FRACTION = 32  # bits behind the point of a line's place


def frames_per_tick(tempo: float) -> float:
    """Frames that a tick lasts at ``tempo`` BPM."""
    return float(_bar(tempo) / TICKS_PER_BAR)


class BarLines:
    """The bar lines of a stream, one after the other, from frame ``first`` on."""

    def __init__(self, first: int = 0) -> None:
        self._next: int = first << _FRACTION

    @property
    def next(self) -> float:
        """The frame of the next bar line; it may lie between two frames."""
        return self._next / float(2**_FRACTION)

    def begin(self, tempo: float) -> float:
        """Begin a bar of ``tempo`` BPM at the next line; returns that line, and moves on."""
        line = self.next
        self._next += round(_bar(tempo) * 2**_FRACTION)
        return line


def _bar(tempo: float) -> Fraction:
    """Frames of a bar."""
    return Fraction(60 * BEATS_PER_BAR * SAMPLE_RATE) / Fraction(tempo)
