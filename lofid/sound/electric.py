"""Electric pianos, modelled: what is struck, what swings along, and the pickup in front of it.

A Rhodes' tine swings before a magnet: the voltage is the change of the flux, which is bent by how
far the tine swings and by where it rests. A Wurlitzer's reed swings in a charged plate's slot. So
a hard stroke is not only louder, it barks; and a note dies away by itself, the high ones sooner.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from lofid.compiled import compiled
from lofid.sound import SAMPLE_RATE
from lofid.sound._kernels import Audio


@dataclass(frozen=True, slots=True)
class PianoModel:
    """What makes an electric piano that piano.

    ``reed`` for the charged plate instead of the magnet; ``rest`` is how far off the pickup's
    middle the tine rests, or how much of the slot the reed's widest swing fills; ``bell`` the
    level of the second mode at a hard stroke; ``decay`` the seconds in which C3 loses 60 dB;
    ``damper`` those in which any note does when it is let go.
    """

    reed: bool
    rest: float
    bell: float
    decay: float
    damper: float


RHODES = PianoModel(reed=False, rest=0.42, bell=0.12, decay=12.0, damper=0.6)
WURLITZER = PianoModel(reed=True, rest=0.85, bell=0.04, decay=9.0, damper=0.6)

_MOST = 32
"""Notes that sound at once; one more silences the softest."""
_SPARE = 8  # for what is silenced, which takes some milliseconds
_SECOND_MODE = 6.267  # of a bar that is clamped at one end
_HIGHEST = 15_000.0  # Hz; a mode above it is left out
_STEAL = 0.015  # seconds in which a note that makes room loses 60 dB


class _Slot(IntEnum):
    """The columns of a voice."""

    STATE = 0  # free, held, let go, or making room
    TINE = 1  # real and imaginary part, and those of its turn in a frame; so for the next two
    BAR = 5
    BELL = 9
    REST = 13
    FLUX = 14
    GAIN = 15
    ATTACK = 16
    SOFTNESS = 17
    DAMPED = 18
    DAMPING = 19
    REED = 20
    PITCH = 21
    COUNT = 22


_WIDTH = max(_Slot) + 1
_FREE, _HELD, _LET_GO, _LEAVING = range(4)


class ElectricPiano:
    """The notes of one part, of either model, added to what the others play."""

    def __init__(self) -> None:
        self._voices = np.zeros((_MOST + _SPARE, _WIDTH))

    def strike(self, model: PianoModel, pitch: int, velocity: int, count: int) -> None:
        """Begin a note; ``count`` tells it from others of its pitch."""
        voices = self._voices
        self._make_room()
        free = np.flatnonzero(voices[:, _Slot.STATE] == _FREE)
        voice = voices[free[0] if len(free) else int(np.argmin(_swing(voices)))]
        hertz = 440.0 * 2 ** ((pitch - 69) / 12)
        hard = velocity / 127
        # The lower, the wider it swings, and the longer.
        swing = (0.12 + 0.95 * hard**1.6) * 2 ** ((60 - pitch) / 48)
        length = model.decay * 2 ** ((48 - pitch) / 24)
        voice[:] = 0.0
        voice[_Slot.STATE] = _HELD
        _set(voice, _Slot.TINE, 0.8 * swing, hertz, length)
        _set(voice, _Slot.BAR, 0.2 * swing, hertz * 1.0003, 1.6 * length)
        if hertz * _SECOND_MODE < _HIGHEST:
            bell = swing * model.bell * (0.15 + 0.85 * hard**1.5)
            _set(voice, _Slot.BELL, bell, hertz * _SECOND_MODE, 0.12 * length)
        voice[_Slot.REST] = model.rest
        voice[_Slot.FLUX] = 1.0 if model.reed else 1.0 / (1.0 + model.rest**2)
        voice[_Slot.GAIN] = 0.2 * SAMPLE_RATE / (2 * np.pi * hertz)
        voice[_Slot.SOFTNESS] = 1 - np.exp(-1 / ((0.0025 - 0.002 * hard) * SAMPLE_RATE))
        voice[_Slot.DAMPED] = voice[_Slot.DAMPING] = 1.0
        voice[_Slot.REED] = model.reed
        voice[_Slot.PITCH], voice[_Slot.COUNT] = pitch, count

    def let_go(self, model: PianoModel, count: int) -> None:
        """Let the damper fall on a note."""
        voices = self._voices
        mine = (voices[:, _Slot.COUNT] == count) & (voices[:, _Slot.STATE] == _HELD)
        voices[mine, _Slot.STATE] = _LET_GO
        voices[mine, _Slot.DAMPING] = _fading(model.damper)

    def silence(self) -> None:
        """End every note at once."""
        self._voices[:, _Slot.STATE] = _FREE

    def add(self, left: NDArray[np.float32], right: NDArray[np.float32]) -> None:
        """Add the next frames to both sides."""
        if self._voices[:, _Slot.STATE].any():
            _swung(self._voices, left, right)

    def _make_room(self) -> None:
        """Let the softest note go at once where as many sound as may."""
        voices = self._voices
        state = voices[:, _Slot.STATE]
        sounding = np.flatnonzero((state == _HELD) | (state == _LET_GO))
        if len(sounding) >= _MOST:
            softest = sounding[int(np.argmin(_swing(voices[sounding])))]
            voices[softest, _Slot.STATE] = _LEAVING
            voices[softest, _Slot.DAMPING] = _fading(_STEAL)


def _swing(voices: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far each voice swings."""
    tine = np.hypot(voices[:, _Slot.TINE], voices[:, _Slot.TINE + 1])
    swing: NDArray[np.float64] = tine * voices[:, _Slot.DAMPED]
    return swing


def _set(voice: NDArray[np.float64], place: int, swing: float, hertz: float, length: float) -> None:
    """A swing from rest that loses 60 dB in ``length`` seconds."""
    turn = _fading(length) * np.exp(2j * np.pi * hertz / SAMPLE_RATE)
    voice[place : place + 4] = swing, 0.0, turn.real, turn.imag


def _fading(seconds: float) -> float:
    """The factor of a frame that makes 60 dB in so many seconds."""
    return float(10 ** (-3 / (seconds * SAMPLE_RATE)))


@compiled()
def _swung(voices: NDArray[np.float64], left: Audio, right: Audio) -> None:
    """Let every voice swing on, and add what the pickups give; ends those that are silent."""
    for v in range(voices.shape[0]):
        if voices[v, 0] == 0.0:
            continue
        a, b, ar, ai = voices[v, 1], voices[v, 2], voices[v, 3], voices[v, 4]
        c, d, cr, ci = voices[v, 5], voices[v, 6], voices[v, 7], voices[v, 8]
        e, f, er, ei = voices[v, 9], voices[v, 10], voices[v, 11], voices[v, 12]
        rest, before, gain = voices[v, 13], voices[v, 14], voices[v, 15]
        risen, softness = voices[v, 16], voices[v, 17]
        damped, damping, reed = voices[v, 18], voices[v, 19], voices[v, 20] > 0.0
        for n in range(left.shape[0]):
            a, b = a * ar - b * ai, a * ai + b * ar
            c, d = c * cr - d * ci, c * ci + d * cr
            e, f = e * er - f * ei, e * ei + f * er
            risen += softness * (1.0 - risen)
            damped *= damping
            # From rest: it is the imaginary part, a sine, that swings.
            x = (b + d + f) * risen * damped
            if reed:
                x = 0.7 * x
                flux = 1.0 / (1.0 - rest * x / (1.0 + abs(x)))
            else:
                flux = 1.0 / (1.0 + (x + rest) * (x + rest))
            y = np.float32(gain * (flux - before))
            before = flux
            left[n] += y
            right[n] += y
        voices[v, 1], voices[v, 2], voices[v, 5], voices[v, 6] = a, b, c, d
        voices[v, 9], voices[v, 10], voices[v, 14] = e, f, before
        voices[v, 16], voices[v, 18] = risen, damped
        if np.sqrt(a * a + b * b) * damped < 1e-5:
            voices[v, 0] = 0.0
