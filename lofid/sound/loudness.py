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


class Meter:
    """The K-weighted loudness of a stream, block by block."""

    def __init__(self) -> None:
        self._state = np.zeros((2, 2, 2))

    def measure(self, audio: Audio) -> float:
        """LUFS of the next block, without gates; SILENCE or below if nothing sounds."""
        energy = _kernels.k_weighted_energy(audio, self._state) / len(audio)
        return to_loudness(energy)


class Leveller:
    """Brings a stream to a loudness over some ``memory`` seconds.

    The first block that sounds sets the gain at once, no further than ``reach`` dB from ``gain``,
    which is the gain expected from the calibration.
    """

    def __init__(self, gain: float, reach: float, memory: float) -> None:
        self.gain = gain
        self._expected, self._reach, self._memory = gain, reach, memory
        self._meter = Meter()
        self._heard: deque[tuple[float, float]] = deque()  # (seconds, energy)
        self._seconds = 0.0

    def ramp(self, audio: Audio, target: float | None) -> NDArray[np.float32]:
        """The gain for every frame of the next block, [frames, 1], towards ``target`` LUFS.

        Without a target the gain stays and the block is not remembered (a tail, a fade).
        """
        if target is None:
            return np.full((len(audio), 1), 10.0 ** (self.gain / 20.0), dtype=np.float32)
        seconds = len(audio) / SAMPLE_RATE
        loudness = self._meter.measure(audio)
        first = not self._heard
        if loudness > SILENCE:
            self._heard.append((seconds, to_energy(loudness)))
            self._seconds += seconds
            while self._seconds > self._memory and len(self._heard) > 1:
                self._seconds -= self._heard.popleft()[0]
        before = self.gain
        if self._heard:
            wanted = target - self._integrated()
            near = min(self._expected + self._reach, max(self._expected - self._reach, wanted))
            # A single block says little: trust in what was heard grows with its length.
            trust = min(1.0, self._seconds / self._memory)
            wanted = trust * wanted + (1.0 - trust) * near
            step = np.inf if first else FASTEST * seconds
            self.gain += float(np.clip(wanted - self.gain, -step, step))
        if first:
            before = self.gain
        decibels = np.linspace(before, self.gain, len(audio), endpoint=False)
        return np.power(10.0, decibels / 20.0).astype(np.float32)[:, None]

    def _integrated(self) -> float:
        """Loudness of what is remembered, leaving out what lies 10 LU below its mean."""
        seconds, energy = np.array(self._heard).T
        mean = float((seconds * energy).sum() / seconds.sum())
        loud = energy >= mean / 10.0
        return to_loudness(float((seconds * energy)[loud].sum() / seconds[loud].sum()))


def to_loudness(energy: float) -> float:
    """LUFS of a mean square (both channels summed)."""
    return float(-0.691 + 10.0 * np.log10(energy + 1e-12))


def to_energy(loudness: float) -> float:
    """The inverse of :func:`to_loudness`."""
    return float(10.0 ** ((loudness + 0.691) / 10.0))
