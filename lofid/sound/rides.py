"""What the plans of the bars do to the sound: the song's face, and the hands at the desk."""

from collections import deque
from dataclasses import dataclass, replace

from lofid.music.parameters import PARAMETERS, Sound
from lofid.music.plan import Automation, BarPlan, Face, Ride


@dataclass(frozen=True, slots=True)
class RideMoment:
    """Where everything stands at the end of a block.

    ``low_pass`` in Hz, or None where nothing is filtered; ``level`` and ``texture`` in dB;
    ``speed`` of the tape, 1 as ever and 0 where it stands still; ``needle`` is the frame of the
    block in which the needle is set down, if it is.
    """

    face: Face | None = None
    low_pass: float | None = None
    level: float = 0.0
    texture: float = 0.0
    speed: float = 1.0
    needle: int | None = None


class Rides:
    """The bars that were scheduled, and where their rides stand at any frame."""

    def __init__(self) -> None:
        self._bars: deque[tuple[int, int, BarPlan]] = deque()
        self._worn: tuple[Sound, Face | None, Sound] | None = None

    def add(self, first: int, last: int, plan: BarPlan) -> None:
        """A bar from frame ``first`` to before ``last``."""
        while len(self._bars) >= _KEPT:
            self._bars.popleft()
        self._bars.append((first, last, plan))

    def clear(self, frame: int) -> None:
        """Forget the bars that begin behind ``frame``, and let go of what is ridden."""
        self._bars = deque(
            (first, last, replace(plan, automation=Automation()))
            for first, last, plan in self._bars
            if first < frame
        )

    def at(self, frame: int, frames: int) -> RideMoment:
        """What holds at the end of the block of ``frames`` that begins at ``frame``.

        Behind the last bar, everything stays where it was left.
        """
        end = frame + frames
        begun = (bar for bar in reversed(self._bars) if bar[0] < end)
        if (bar := next(begun, None)) is None:
            return RideMoment()
        first, last, plan = bar
        share = min(1.0, (end - first) / max(1, last - first))
        hands = plan.automation
        return RideMoment(
            plan.face,
            None if hands.low_pass is None else _pitched(hands.low_pass, share),
            _even(hands.level, share),
            _even(hands.texture, share),
            1.0 - share if hands.tape_stop else 1.0,
            first - frame if hands.needle and first >= frame else None,
        )

    def worn(self, sound: Sound, face: Face | None) -> Sound:
        """The settings as a song with that face wears them."""
        if face is None:
            return sound
        if self._worn is None or self._worn[0] is not sound or self._worn[1] is not face:
            worn = replace(
                sound,
                low_pass=_scaled(sound, "low_pass", face.low_pass),
                wow=_scaled(sound, "wow", face.wow),
                vinyl=_scaled(sound, "vinyl", face.vinyl),
                reverb=_scaled(sound, "reverb", face.reverb),
            )
            self._worn = (sound, face, worn)
        return self._worn[2]


_KEPT = 16
"""Bars that are remembered: what was rendered ahead may be mixed anew."""


def _scaled(sound: Sound, name: str, factor: float) -> float:
    """A number of the settings times a factor, within its range."""
    row = PARAMETERS[f"sound.{name}"]
    value: float = getattr(sound, name) * factor
    return min(row.maximum or value, max(row.minimum or 0.0, value))


def _even(ride: Ride, share: float) -> float:
    return ride.begin + (ride.end - ride.begin) * share


def _pitched(ride: Ride, share: float) -> float:
    """By equal intervals, as frequencies are heard."""
    return float(ride.begin * (ride.end / ride.begin) ** share)
