"""Vinyl, rain and places to sit in, synthesised: nothing is sampled, nothing repeats.

The texture is made in chunks of 0.1 s whose randomness comes from (seed, chunk) alone, so that it
is the same however the stream is cut into blocks.
"""

from collections.abc import Callable, Mapping
from functools import cache
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from lofid.sound import SAMPLE_RATE, _kernels
from lofid.sound._kernels import Audio

Numbers = NDArray[np.float64]

LOUDNESS = -20.0
"""LUFS of every texture as it comes from here, ± 1."""

_CHUNK = SAMPLE_RATE // 10
_RING = SAMPLE_RATE // 5  # frames that a click or a drop may ring over a chunk's end
_TURN = round(SAMPLE_RATE * 60 / (100 / 3))  # frames of a record's turn


class _Gusts:
    """A level that wanders slowly, as weather and crowds do: a few sines that never meet again."""

    def __init__(self, seed: int, stream: int, decibels: float, slowest: float = 0.03) -> None:
        random = np.random.Generator(np.random.Philox(key=_key(seed, stream)))
        count = 5
        self._rates = 2 * np.pi * 0.1 * slowest * random.uniform(4, 8) ** np.linspace(0, 1, count)
        self._phases = random.uniform(0, 2 * np.pi, count)
        self._depth = decibels * (2 / count) ** 0.5

    def decibels(self, chunk: int) -> float:
        """The level at the beginning of a chunk."""
        angles = (self._rates * chunk + self._phases) % (2 * np.pi)
        return float(self._depth * np.sin(angles).sum())

    def gains(self, chunk: int) -> Numbers:
        """The level in every frame of a chunk, linear."""
        ends = [10 ** (self.decibels(chunk + step) / 20) for step in (0, 1)]
        return np.linspace(ends[0], ends[1], _CHUNK, endpoint=False)


class _Source:
    """Noise in chunks, handed out in blocks of any size."""

    def __init__(self, seed: int, stream: int) -> None:
        self._random = np.random.Generator(np.random.Philox(key=_key(seed, stream)))
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
        line = np.zeros((_CHUNK + _RING, 2), dtype=np.float32)
        line[:_RING] = self._ringing
        self._add_events(random, line)
        self._ringing = line[_CHUNK:].copy()
        chunk: Audio = line[:_CHUNK] + self._noise(random)
        self._chunk += 1
        return chunk

    def _add_events(self, random: np.random.Generator, line: Audio) -> None:
        """Add what rings to the chunk and what comes behind it."""

    def _noise(self, random: np.random.Generator) -> Audio:
        raise NotImplementedError


class Vinyl(_Source):
    """The surface of a record: pink hiss, crackle, rare loud pops, and the thump of every turn."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed, stream=1)
        self._pink = np.zeros((2, 3))
        self._band = np.zeros((2, 2))
        self._wear = _Gusts(seed, 11, decibels=1.2)

    def _noise(self, random: np.random.Generator) -> Audio:
        noise = random.standard_normal((_CHUNK, 2), dtype=np.float32)
        # A record's hiss is mostly the same on both sides of the groove.
        noise[:, 1] = 0.8 * noise[:, 0] + 0.6 * noise[:, 1]
        _kernels.pink(noise, self._pink)
        _kernels.band(noise, _pole(60), _pole(6000), self._band)
        noise *= (0.145 * self._wear.gains(self._chunk))[:, None].astype(np.float32)
        return noise

    def _add_events(self, random: np.random.Generator, line: Audio) -> None:
        count = int(random.poisson(1.0))
        # Many are hardly heard, few stand out: levels follow a heavy tail.
        levels = 0.12 * np.minimum(random.pareto(1.5, count) + 0.2, 20.0)
        _kernels.add_rings(
            line,
            random.integers(0, _CHUNK, count),
            levels * random.choice((-1.0, 1.0), count),
            random.uniform(0.3, 0.7, count),
            _radians(random.uniform(1200, 4500, count)),
            _decay(random.uniform(0.15, 0.6, count)),
            _RING,
        )
        thump = -self._chunk * _CHUNK % _TURN
        if thump < _CHUNK:
            _kernels.add_rings(
                line,
                np.array([thump]),
                0.16 * random.uniform(0.6, 1.2, 1),
                np.array([0.5]),
                _radians(np.array([38.0])),
                _decay(np.array([45.0])),
                _RING,
            )


class Needle:
    """The needle set down on the record: a knock, and the dust that it runs into."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._place = _KNOCK

    def set_down(self, frame: int) -> None:
        """Begin in that frame of the next block."""
        self._place = -frame

    def add(self, out: Audio, level: Numbers) -> None:
        """Add the next block of it to ``out`` at its ``level`` [2]."""
        first, last = max(0, self._place), min(_KNOCK, self._place + len(out))
        if first < last:
            piece = np.zeros_like(out)
            piece[first - self._place : last - self._place] = _knock(self._seed)[first:last]
            _kernels.add(out, piece, level)
        self._place = min(_KNOCK, self._place + len(out))


_KNOCK = 3 * SAMPLE_RATE // 5
"""Frames from the needle's knock to the record's usual surface."""


@cache
def _knock(seed: int) -> Audio:
    random = np.random.Generator(np.random.Philox(key=_key(seed, 6)))
    sound = np.zeros((_KNOCK, 2), dtype=np.float32)
    dust = 40
    _kernels.add_rings(
        sound,
        np.concatenate(([0, 900], random.integers(600, _KNOCK // 2, dust))),
        np.concatenate(([1.3, 0.7], 0.25 * np.minimum(random.pareto(1.6, dust) + 0.2, 6.0))),
        np.concatenate(([0.5, 0.5], random.uniform(0.3, 0.7, dust))),
        _radians(np.concatenate(([62.0, 190.0], random.uniform(900, 4000, dust)))),
        _decay(np.concatenate(([40.0, 12.0], random.uniform(0.2, 1.0, dust)))),
        _KNOCK,
    )
    return sound


class Rain(_Source):
    """Rain at the window: a rush that comes in gusts, and drops near by, some of them heavy."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed, stream=2)
        self._band = np.zeros((2, 2))
        self._rush = np.zeros((2, 2))
        self._gusts = _Gusts(seed, 21, decibels=1.8)
        self._sides = (_Gusts(seed, 22, decibels=1.3), _Gusts(seed, 23, decibels=1.3))

    def _noise(self, random: np.random.Generator) -> Audio:
        noise = random.standard_normal((_CHUNK, 2), dtype=np.float32)
        _kernels.band(noise, _pole(350), _pole(3500), self._band)
        _kernels.band(noise, _pole(120), _pole(9000), self._rush)
        common = 0.125 * self._gusts.gains(self._chunk)
        for channel, side in enumerate(self._sides):
            noise[:, channel] *= (common * side.gains(self._chunk)).astype(np.float32)
        return noise

    def _add_events(self, random: np.random.Generator, line: Audio) -> None:
        wet = 10 ** (self._gusts.decibels(self._chunk) / 20)
        count = int(random.poisson(1.6 * wet))
        _kernels.add_rings(
            line,
            random.integers(0, _CHUNK, count),
            0.03 * np.minimum(random.pareto(1.3, count) + 0.3, 14.0),
            random.uniform(0.05, 0.95, count),
            _radians(random.uniform(700, 4500, count)),
            _decay(random.uniform(1.0, 6.0, count)),
            _RING,
        )


class Cafe(_Source):
    """A café: people who talk at other tables, cups, and the room's own hum."""

    _TALKERS = 4
    _VOICES = ((260.0, 700.0), (320.0, 900.0))  # Hz of the bands that two pairs of them talk in

    def __init__(self, seed: int) -> None:
        super().__init__(seed, stream=3)
        self._bands = np.zeros((2, 2, 2))
        self._room = np.zeros((2, 2))
        self._talk = np.zeros(self._TALKERS)
        self._turns = [_Gusts(seed, 31 + talker, 4.0, 0.05) for talker in range(self._TALKERS)]
        self._places = (0.15, 0.4, 0.65, 0.9)

    def _noise(self, random: np.random.Generator) -> Audio:
        out = random.standard_normal((_CHUNK, 2), dtype=np.float32)
        _kernels.band(out, _pole(70), _pole(240), self._room)
        out *= np.float32(0.16)
        voices = random.standard_normal((2, _CHUNK, 2), dtype=np.float32)
        for pair, (low, high) in enumerate(self._VOICES):
            for _ in range(2):
                _kernels.band(voices[pair], _pole(low), _pole(high), self._bands[pair])
        # A syllable a tenth of a second, now loud, now next to nothing; who talks takes turns.
        syllables = random.gamma(0.9, 1.0, self._TALKERS)
        for talker, place in enumerate(self._places):
            loud = syllables[talker] * 10 ** (self._turns[talker].decibels(self._chunk) / 20)
            course = np.linspace(self._talk[talker], loud, _CHUNK, endpoint=False)
            self._talk[talker] = loud
            voice = 0.42 * course * voices[talker // 2, :, talker % 2]
            out[:, 0] += ((1.0 - place) * voice).astype(np.float32)
            out[:, 1] += (place * voice).astype(np.float32)
        return out

    def _add_events(self, random: np.random.Generator, line: Audio) -> None:
        if random.random() < 0.04:
            place, pitch = random.uniform(0.1, 0.9), random.uniform(2200, 3600)
            _kernels.add_rings(
                line,
                np.full(3, int(random.integers(0, _CHUNK))),
                random.uniform(0.05, 0.18) * np.array([1.0, 0.6, 0.35]),
                np.full(3, place),
                _radians(pitch * np.array([1.0, 1.52, 2.31])),
                _decay(np.array([45.0, 28.0, 15.0])),
                _RING,
            )


class Night(_Source):
    """A summer night: crickets near and far, and a little wind."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed, stream=4)
        self._band = np.zeros((2, 2))
        self._wind = _Gusts(seed, 41, 3.5)
        random = np.random.Generator(np.random.Philox(key=_key(seed, 42)))
        self._pitches = random.uniform(3800, 4900, 3)
        self._every = random.uniform(0.45, 0.85, 3)  # seconds from chirp to chirp
        self._offsets = random.uniform(0, 1, 3)
        self._near = tuple(_Gusts(seed, 43 + cricket, 3.0) for cricket in range(3))
        self._places = (0.15, 0.8, 0.55)

    def _noise(self, random: np.random.Generator) -> Audio:
        out = random.standard_normal((_CHUNK, 2), dtype=np.float32)
        _kernels.band(out, _pole(120), _pole(500), self._band)
        out *= (0.32 * self._wind.gains(self._chunk))[:, None].astype(np.float32)
        seconds = np.arange(_CHUNK) / SAMPLE_RATE + self._chunk * _CHUNK / SAMPLE_RATE
        for cricket, place in enumerate(self._places):
            since = (seconds / self._every[cricket] + self._offsets[cricket]) % 1.0
            since *= self._every[cricket]
            # A chirp is four strokes of the wings, 30 a second.
            stroke = np.square(np.sin(np.pi * 30 * since)) * (since < 4 / 30)
            turns = (self._pitches[cricket] * seconds) % 1.0
            near = 0.07 * self._near[cricket].gains(self._chunk)
            chirp = near * stroke * np.sin(2 * np.pi * turns)
            out[:, 0] += ((1.0 - place) * chirp).astype(np.float32)
            out[:, 1] += (place * chirp).astype(np.float32)
        return out


class Street(_Source):
    """A street below the window: the rumble of a town, and cars that pass."""

    _EVERY = 90  # chunks; in each such span one car passes

    def __init__(self, seed: int) -> None:
        super().__init__(seed, stream=5)
        self._seed = seed
        self._low, self._tyres = np.zeros((2, 2)), np.zeros((2, 2))
        self._town = _Gusts(seed, 51, 1.5)

    def _noise(self, random: np.random.Generator) -> Audio:
        out = random.standard_normal((_CHUNK, 2), dtype=np.float32)
        _kernels.band(out, _pole(50), _pole(260), self._low)
        out *= (0.55 * self._town.gains(self._chunk))[:, None].astype(np.float32)
        tyres = random.standard_normal((_CHUNK, 2), dtype=np.float32)
        _kernels.band(tyres, _pole(250), _pole(1500), self._tyres)
        chunks = self._chunk + np.arange(_CHUNK) / _CHUNK
        span = self._chunk // self._EVERY
        for car in (span - 1, span, span + 1):
            self._pass(car, chunks, tyres[:, 0], out)
        return out

    def _pass(self, car: int, chunks: Numbers, tyres: Audio, out: Audio) -> None:
        """Add a car: it swells over some seconds and goes by from one side to the other."""
        if car < 0:
            return
        random = np.random.Generator(np.random.Philox(key=_key(self._seed, 52), counter=car))
        here, length, level = random.uniform(0, 1), random.uniform(12, 26), random.uniform(0.2, 0.7)
        way = (chunks - (car + here) * self._EVERY) / length
        if way[0] > 3 or way[-1] < -3:
            return
        place = 0.5 + 0.45 * random.choice((-1, 1)) * np.tanh(way)
        swell = level * tyres / (1 + (2.2 * way) ** 2) * np.clip(3 - np.abs(way), 0, 1)
        out[:, 0] += ((1 - place) * swell).astype(np.float32)
        out[:, 1] += (place * swell).astype(np.float32)


TEXTURES: Mapping[str, Callable[[int], _Source]] = MappingProxyType(
    {"vinyl": Vinyl, "rain": Rain, "cafe": Cafe, "night": Night, "street": Street}
)
"""What the level of ``[sound]`` with that name turns up, from a seed."""


def _key(seed: int, stream: int) -> NDArray[np.uint64]:
    return np.array([seed % 2**64, stream], dtype=np.uint64)


def _pole(hertz: float) -> float:
    return float(1.0 - np.exp(-2.0 * np.pi * hertz / SAMPLE_RATE))


def _radians(hertz: Numbers) -> Numbers:
    return 2.0 * np.pi * hertz / SAMPLE_RATE


def _decay(milliseconds: Numbers) -> Numbers:
    return np.exp(-1000.0 / (milliseconds * SAMPLE_RATE))
