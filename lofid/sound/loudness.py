"""Loudness while it plays: measured on what was rendered, corrected too slowly to be heard.

Levellers see only audio that has been rendered, block by block, so live and rendered music get the
same gains. Loudness after ITU-R BS.1770-4; gating after EBU R 128.
"""

import math

import numpy as np

from lofid.sound import SAMPLE_RATE, _kernels
from lofid.sound._kernels import Audio

SILENCE = -70.0
"""LUFS of BS.1770's absolute gate: what lies below does not count."""

FASTEST = 0.5
"""dB a second: how fast a leveller may change its gain."""

FIRST = 20.0
"""dB a second after the first second heard; half as much after two, and so on to ``FASTEST``."""

_PRIOR = 20.0  # seconds of music that the expected gain counts for

_HOP = SAMPLE_RATE // 10
_WINDOW = 4  # hops of 0.1 s in a gating block of 0.4 s


class Tenths:
    """How loud each tenth of a second of a stream is."""

    def __init__(self) -> None:
        self._state = np.zeros((2, 2, 2))
        self._partial = np.zeros(2)

    def hear(self, audio: Audio) -> list[float]:
        """Measure the next frames: the energies of the tenths that ended in them."""
        energies: list[float] = _kernels.k_weighted_hops(
            audio, _HOP, self._state, self._partial
        ).tolist()
        return energies


class Meter:
    """The loudness of the last ``memory`` seconds of a stream in which something sounded."""

    def __init__(self, memory: float) -> None:
        self._tenths = Tenths()
        self._last = np.zeros(_WINDOW)  # energies of the last hops
        self._hops = 0
        # The energies of gating blocks, a ring.
        self._blocks = np.zeros(round(memory * SAMPLE_RATE / _HOP))
        self._count = 0
        self.integrated = -np.inf
        """LUFS of what is remembered, behind both gates; -inf if nothing sounded."""

    def hear(self, audio: Audio) -> None:
        """Measure the next frames."""
        for energy in self._tenths.hear(audio):
            self._last[self._hops % _WINDOW] = energy
            self._hops += 1
            block = self._last.mean()
            if self._hops >= _WINDOW and block > to_energy(SILENCE):
                self._blocks[self._count % len(self._blocks)] = block
                self._count += 1
                sounded = min(self._count, len(self._blocks))
                self.integrated = to_loudness(_kernels.gated_mean(self._blocks, sounded))

    @property
    def trust(self) -> float:
        """How full the memory is, 0 to 1."""
        return min(1.0, self._count / len(self._blocks))

    @property
    def seconds(self) -> float:
        """Seconds of sound that are remembered."""
        return min(self._count, len(self._blocks)) * _HOP / SAMPLE_RATE


class Leveller:
    """Brings a stream to a loudness over some ``memory`` seconds.

    It begins at ``gain``, which is the gain expected from the calibration, and goes by what it has
    heard, the further the longer: never beyond ``reach`` dB of that gain, for what is softer than
    expected over minutes is meant to be soft.
    """

    def __init__(self, gain: float, reach: float, memory: float) -> None:
        self.gain = gain
        """dB, at the end of what was heard last."""
        self._expected, self._reach = gain, reach
        self._meter = Meter(memory)

    def hear(self, audio: Audio, target: float) -> None:
        """Move the gain towards what brings the stream, of which this is next, to ``target`` LUFS.

        What is not to be remembered (a tail, a mute) is not heard, and the gain stays.
        """
        self._meter.hear(audio)
        if (heard := self._meter.seconds) == 0:
            return
        wanted = target - self._meter.integrated
        wanted = min(self._expected + self._reach, max(self._expected - self._reach, wanted))
        sure = heard / (heard + _PRIOR)
        wanted = sure * wanted + (1.0 - sure) * self._expected
        step = max(FASTEST, FIRST / heard) * len(audio) / SAMPLE_RATE
        self.gain += min(step, max(-step, wanted - self.gain))


def to_loudness(energy: float) -> float:
    """LUFS of a mean square (both channels summed)."""
    return -0.691 + 10.0 * math.log10(energy + 1e-12)


def to_energy(loudness: float) -> float:
    """The inverse of :func:`to_loudness`."""
    return float(10.0 ** ((loudness + 0.691) / 10.0))
