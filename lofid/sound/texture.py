"""Vinyl and rain, synthesised: nothing is sampled, nothing repeats.

The texture is made in chunks of 0.1 s whose randomness comes from (seed, chunk) alone, so that it
is the same however the stream is cut into blocks.
"""

import numpy as np
from numpy.typing import NDArray

from lofid.sound import SAMPLE_RATE, _kernels
from lofid.sound._kernels import Audio

Numbers = NDArray[np.float64]

LOUDNESS = -20.0
"""LUFS of vinyl and of rain as they come from here, ± 1."""

_CHUNK = SAMPLE_RATE // 10
_RING = SAMPLE_RATE // 50  # frames that a click or a drop may ring over a chunk's end


class _Source:
    """Noise in chunks, handed out in blocks of any size."""

    def __init__(self, seed: int, stream: int) -> None:
        key = np.array([seed % 2**64, stream], dtype=np.uint64)
        self._random = np.random.Generator(np.random.Philox(key=key))
        self._start = self._random.bit_generator.state
        self._chunk = 0
        self._ready: Audio = np.zeros((0, 2), dtype=np.float32)
        self._ringing: Audio = np.zeros((_RING, 2), dtype=np.float32)

    def take(self, frames: int) -> Audio:
        """The next frames, [frames, 2]."""
        parts, have = [self._ready], len(self._ready)
        while have < frames:
            parts.append(self._next_chunk())
            have += _CHUNK
        block = np.concatenate(parts)
        self._ready = block[frames:]
        return block[:frames]

    def skip(self, frames: int) -> None:
        """Pass over frames without making them: cheap, and what comes later hardly changes."""
        left = frames - len(self._ready)
        self._ready = self._ready[frames:]
        while left > 0:
            self._chunk += 1
            self._ready = np.zeros((max(0, _CHUNK - left), 2), dtype=np.float32)
            left -= _CHUNK

    def _next_chunk(self) -> Audio:
        # Put back and moved on: a new generator would ask the operating system for seeds.
        random = self._random
        self._start["state"]["counter"][3] = self._chunk
        random.bit_generator.state = self._start
        self._chunk += 1
        line = np.zeros((_CHUNK + _RING, 2), dtype=np.float32)
        line[:_RING] = self._ringing
        self._add_events(random, line)
        self._ringing = line[_CHUNK:].copy()
        return line[:_CHUNK] + self._noise(random)

    def _add_events(self, random: np.random.Generator, line: Audio) -> None:
        raise NotImplementedError

    def _noise(self, random: np.random.Generator) -> Audio:
        raise NotImplementedError


class Vinyl(_Source):
    """The surface of a record: pink hiss, fine crackle, now and then a pop."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed, stream=1)
        self._pink = np.zeros((2, 3))
        self._band = np.zeros((2, 2))

    def _noise(self, random: np.random.Generator) -> Audio:
        noise = random.standard_normal((_CHUNK, 2), dtype=np.float32)
        # A record's hiss is mostly the same on both sides of the groove.
        noise[:, 1] = 0.8 * noise[:, 0] + 0.6 * noise[:, 1]
        _kernels.pink(noise, self._pink)
        _kernels.band(noise, _pole(60), _pole(6000), self._band)
        return noise * np.float32(0.152)

    def _add_events(self, random: np.random.Generator, line: Audio) -> None:
        count = int(random.poisson(1.0))
        # Many are hardly heard, few stand out: levels follow a heavy tail, cut at its end.
        levels = 0.166 * np.minimum(random.pareto(1.8, count) + 0.2, 5.0)
        _kernels.add_rings(
            line,
            random.integers(0, _CHUNK, count),
            levels * random.choice((-1.0, 1.0), count),
            random.uniform(0.3, 0.7, count),
            _radians(random.uniform(1200, 4500, count)),
            _decay(random.uniform(0.15, 0.6, count)),
            _RING,
        )


class Rain(_Source):
    """Rain at the window: a soft rush and single drops near by."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed, stream=2)
        self._band = np.zeros((2, 2))
        self._rush = np.zeros((2, 2))

    def _noise(self, random: np.random.Generator) -> Audio:
        noise = random.standard_normal((_CHUNK, 2), dtype=np.float32)
        _kernels.band(noise, _pole(350), _pole(3500), self._band)
        _kernels.band(noise, _pole(120), _pole(9000), self._rush)
        return noise * np.float32(0.14)

    def _add_events(self, random: np.random.Generator, line: Audio) -> None:
        count = int(random.poisson(3.2))
        _kernels.add_rings(
            line,
            random.integers(0, _CHUNK, count),
            0.029 * np.minimum(random.pareto(2.2, count) + 0.3, 5.0),
            random.uniform(0.05, 0.95, count),
            _radians(random.uniform(900, 5500, count)),
            _decay(random.uniform(0.8, 3.0, count)),
            _RING,
        )


def _pole(hertz: float) -> float:
    return float(1.0 - np.exp(-2.0 * np.pi * hertz / SAMPLE_RATE))


def _radians(hertz: Numbers) -> Numbers:
    return 2.0 * np.pi * hertz / SAMPLE_RATE


def _decay(milliseconds: Numbers) -> Numbers:
    return np.exp(-1000.0 / (milliseconds * SAMPLE_RATE))
