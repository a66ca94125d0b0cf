"""Loudness while it plays: measured on what was rendered, corrected too slowly to be heard.

Levellers see only audio that has been rendered, bar by bar, so live and rendered music get the same
gains. Loudness after ITU-R BS.1770-4; gating after EBU R 128.
"""

from collections import deque

import numpy as np
from numpy.typing import NDArray

from lofid.sound import SAMPLE_RATE, _kernels
from lofid.sound._kernels import Audio

SILENCE = -70.0
"""LUFS of BS.1770's absolute gate: what lies below does not count."""

FASTEST = 0.5
"""dB a second: how fast a leveller may change its gain."""

FIRST = 6.0
"""dB a second after the first second heard; half as much after two, and so on to ``FASTEST``."""

_PRIOR = 2.0  # seconds of music that the expected gain counts for

_HOP = SAMPLE_RATE // 10
_WINDOW = 4  # hops of 0.1 s in a gating block of 0.4 s


class Tenths:
    """How loud each tenth of a second of a stream is."""

    def __init__(self) -> None:
        self._state = np.zeros((2, 2, 2))
        self._partial = np.zeros(2)

    def hear(self, audio: Audio) -> NDArray[np.float64]:
        """Measure the next frames: the energies of the tenths that ended in them."""
        energies: NDArray[np.float64] = _kernels.k_weighted_hops(
            audio, _HOP, self._state, self._partial
        )
        return energies


class Meter:
    """The loudness of the last ``memory`` seconds of a stream in which something sounded."""

    def __init__(self, memory: float) -> None:
        self._tenths = Tenths()
        self._hops = np.zeros(0)
        self._blocks: deque[float] = deque(maxlen=round(memory * SAMPLE_RATE / _HOP))

    def hear(self, audio: Audio) -> None:
        """Measure the next frames."""
        self._hops = np.concatenate((self._hops, self._tenths.hear(audio)))
        if len(self._hops) >= _WINDOW:
            blocks = np.convolve(self._hops, np.full(_WINDOW, 1 / _WINDOW), "valid")
            self._blocks.extend(blocks[blocks > to_energy(SILENCE)])
            self._hops = self._hops[1 - _WINDOW :]

    @property
    def trust(self) -> float:
        """How full the memory is, 0 to 1."""
        return len(self._blocks) / (self._blocks.maxlen or 1)

    @property
    def seconds(self) -> float:
        """Seconds of sound that are remembered."""
        return len(self._blocks) * _HOP / SAMPLE_RATE

    @property
    def integrated(self) -> float:
        """LUFS of what is remembered, behind both gates; -inf if nothing sounded."""
        if not self._blocks:
            return -np.inf
        energy = np.array(self._blocks)
        return to_loudness(float(energy[energy >= energy.mean() / 10].mean()))


class Leveller:
    """Brings a stream to a loudness over some ``memory`` seconds.

    It begins at ``gain``, which is the gain expected from the calibration, and goes by what it has
    heard: fast within the first seconds, in which it stays within ``reach`` dB of that gain.
    """

    def __init__(self, gain: float, reach: float, memory: float) -> None:
        self.gain = gain
        self._expected, self._reach = gain, reach
        self._meter = Meter(memory)

    def ramp(self, audio: Audio, target: float | None) -> NDArray[np.float32]:
        """The gain for every frame of the next block, [frames, 1], towards ``target`` LUFS.

        Without a target the gain stays and the block is not remembered (a tail, a mute).
        """
        before = self.gain
        if target is not None:
            self._meter.hear(audio)
            if (heard := self._meter.seconds) > 0:
                # A single bar says little: it moves the gain only within reach of the expected.
                wanted = target - self._meter.integrated
                near = min(self._expected + self._reach, max(self._expected - self._reach, wanted))
                trust = self._meter.trust
                wanted = trust * wanted + (1.0 - trust) * near
                sure = heard / (heard + _PRIOR)
                wanted = sure * wanted + (1.0 - sure) * self._expected
                step = max(FASTEST, FIRST / heard) * len(audio) / SAMPLE_RATE
                self.gain += min(step, max(-step, wanted - self.gain))
        if self.gain == before:
            return np.full((len(audio), 1), 10.0 ** (self.gain / 20.0), dtype=np.float32)
        decibels = np.linspace(before, self.gain, len(audio), endpoint=False)
        return np.power(10.0, decibels / 20.0).astype(np.float32)[:, None]


def to_loudness(energy: float) -> float:
    """LUFS of a mean square (both channels summed)."""
    return float(-0.691 + 10.0 * np.log10(energy + 1e-12))


def to_energy(loudness: float) -> float:
    """The inverse of :func:`to_loudness`."""
    return float(10.0 ** ((loudness + 0.691) / 10.0))
