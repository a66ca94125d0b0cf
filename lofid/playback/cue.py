"""A bar on its way to be played."""

from dataclasses import dataclass

from lofid.music.parameters import Settings
from lofid.music.plan import Bar


@dataclass(frozen=True, slots=True)
class Cue:
    """A take for the transport: ``bar`` may sound only straight after the take ``follows``.

    ``follows`` is 0 for the first take of all. ``settings`` of sound, mix and MIDI are taken up
    when the bar line is rendered, unless others came after the cue.
    """

    take: int
    follows: int
    bar: Bar
    settings: Settings | None = None
