"""Effects on a running stream: the channels of the parts, room, tape, sidechain and limiter.

Every effect keeps its state between blocks, and takes changed parameters from the next block on.
"""

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

from lofid.music.parameters import Sound
from lofid.sound import SAMPLE_RATE, _kernels
from lofid.sound._kernels import Audio

_WOW_HERTZ = (0.37, 0.71)
_FLUTTER_HERTZ = (6.3, 8.9)

Numbers = NDArray[np.float64]


class Ramps:
    """Levels that move over one block when they are changed: [before, behind] for each."""

    def __init__(self, count: int) -> None:
        self._now: Numbers | None = None
        self._count = count

    def to(self, *levels: float) -> Numbers:
        """The way to these levels, [2, count]; the first ones are there at once."""
        way = np.empty((2, self._count))
        way[1] = levels
        way[0] = way[1] if self._now is None else self._now
        self._now = way[1]
        return way

    def forget(self) -> None:
        """Let the next levels be there at once."""
        self._now = None


class Room:
    """A room around the audio: eight combs and four all-passes a side, tuned as Freeverb is.

    ``size`` and ``damping`` go from 0 to 1.
    """

    _COMBS = (1116, 1188, 1277, 1356, 1422, 1491, 1557, 1617)  # frames at 44.1 kHz
    _ALLPASSES = (556, 441, 341, 225)
    _SPREAD = 23  # frames by which the right side's are longer
    _WET = 3.0

    def __init__(self, size: float, damping: float) -> None:
        self._feedback, self._damping = 0.7 + 0.28 * size, 0.4 * damping
        self._combs, self._allpasses = self._tuned(self._COMBS), self._tuned(self._ALLPASSES)
        self._level = Ramps(1)
        self.reset()

    def process(self, audio: Audio, wet: float) -> None:
        """Lay the room over the audio, in place; ``wet`` is its level."""
        _kernels.reverberate(
            audio,
            self._level.to(self._WET * wet)[:, 0],
            self._feedback,
            self._damping,
            self._combs,
            self._allpasses,
            self._line,
            self._damped,
            self._places,
        )

    def reset(self) -> None:
        """End what rings."""
        count = self._combs.shape[1]
        length = int(self._combs.sum() + self._allpasses.sum())
        self._line = np.zeros(length, dtype=np.float32)
        self._damped = np.zeros((2, count), dtype=np.float32)
        self._places = np.zeros((2, count + self._allpasses.shape[1]), dtype=np.int64)

    def _tuned(self, lengths: tuple[int, ...]) -> NDArray[np.int64]:
        both = np.array([lengths, [length + self._SPREAD for length in lengths]])
        return both * SAMPLE_RATE // 44_100


_WIDEST = 0.9
"""Level of the keys' side against their middle, where chorus is 1."""


def _drive(sound: Sound) -> float:
    """The gain into the saturation of the keys' channel."""
    return 0.5 + 5.0 * sound.saturation


class KeysChain:
    """The keys as from a sampler: low cut, drive, width and tremolo, then a room."""

    _LOW_CUT = 140.0  # Hz; below lie the bass and the kick
    _WAVER, _SWAY = 0.6, 4.2  # Hz

    def __init__(self) -> None:
        self._room = Room(size=0.55, damping=0.5)
        self._drive, self._width, self._sway = Ramps(1), Ramps(1), Ramps(1)
        self._hertz = 2 * np.pi * np.array([self._WAVER, self._SWAY]) / SAMPLE_RATE
        self._history: Audio = np.zeros(704, dtype=np.float32)
        self._state = np.zeros((3, 2))
        self._frame = 0

    def process(self, audio: Audio, sound: Sound) -> None:
        """Lay their effects on the keys, [frames, 2], in place."""
        _kernels.channel_of_keys(
            audio,
            _warped(self._LOW_CUT),
            self._drive.to(_drive(sound))[:, 0],
            self._width.to(_WIDEST * sound.chorus)[:, 0],
            self._sway.to(0.5 * sound.tremolo)[:, 0],
            self._hertz,
            self._frame,
            self._history,
            self._state,
        )
        self._frame += len(audio)
        self._room.process(audio, 0.8 * sound.reverb)

    def reset(self) -> None:
        """End what rings."""
        self._room.reset()
        self._history[:] = 0.0
        self._state[:] = 0.0


class BassChain:
    """The bass, in mono, with overtones that small speakers play."""

    def __init__(self) -> None:
        self._drive = Ramps(1)

    def process(self, audio: Audio, sound: Sound) -> None:
        """Drive the bass, [frames, 2], in place."""
        _kernels.channel_of_bass(audio, self._drive.to(1.5 * _drive(sound))[:, 0])


class DrumsChain:
    """The drum bus: parallel compression, saturation and low-pass, then a small room."""

    _THRESHOLD = -26.0  # dBFS of the compressor, 4 to 1
    _SLOPE = 1 / 4 - 1

    def __init__(self) -> None:
        self._room = Room(size=0.3, damping=0.6)
        self._share, self._drive, self._cutoff = Ramps(1), Ramps(1), Ramps(1)
        self._state = np.zeros((3, 2))

    def process(self, audio: Audio, sound: Sound) -> None:
        """Lay bus and room on the drums, [frames, 2], in place."""
        punch = sound.punch
        _kernels.channel_of_drums(
            audio,
            10 ** (self._THRESHOLD / 20),
            self._SLOPE,
            _coefficient(0.003),
            _coefficient(0.120),
            self._share.to(0.3 * punch)[:, 0],
            self._drive.to(0.5 + 8.0 * punch)[:, 0],
            self._cutoff.to(_warped(12_000 * (1 / 3) ** punch))[:, 0],
            self._state,
        )
        self._room.process(audio, 0.35 * sound.reverb)

    def reset(self) -> None:
        """End what rings."""
        self._room.reset()
        self._state[:] = 0.0


class TapeChain:
    """The master chain up to the noise: filter, compress, saturate, wow and flutter, crush."""

    LATENCY = 256
    """Frames between input and output: half the delay line that wow and flutter move in."""

    _THRESHOLD = -20.0  # dBFS of the compressor, 1.8 to 1
    _SLOPE = 1 / 1.8 - 1
    _SAMPLER = 10_000.0  # Hz of the low-pass behind the sampler, which takes its images away
    _RUMBLE, _MONO = 25.0, 120.0  # Hz below which there is nothing, and nothing at the sides

    def __init__(self, seed: int) -> None:
        key = np.array([seed % 2**64, 3], dtype=np.uint64)
        random = np.random.Generator(np.random.Philox(key=key))
        hertz = np.array([*_WOW_HERTZ, *_FLUTTER_HERTZ])
        self._rates = 2 * np.pi * hertz / SAMPLE_RATE
        self._phases = random.uniform(0, 2 * np.pi, len(hertz))
        self._poles, self._drive = Ramps(1), Ramps(1)
        self._depths, self._mix = Ramps(len(hertz)), Ramps(1)
        self._frame = 0
        self._compressing = np.zeros((2, 3))
        self._history: Audio = np.zeros((2 * self.LATENCY, 2), dtype=np.float32)
        self._held = np.zeros(3)
        self._smoothed, self._ground = np.zeros((2, 2)), np.zeros((2, 2))

    def process(self, audio: Audio, sound: Sound, low_pass: float | None = None) -> Audio:
        """The mix as a worn tape gives it back, LATENCY frames late; ``audio`` is used up.

        ``low_pass`` in Hz is that of a hand at the desk, beside the tape's own.
        """
        _kernels.grounded(audio, _warped(self._RUMBLE), _warped(self._MONO), self._ground)
        # Two gentle poles: 12 dB an octave, and nothing is taken from the bass.
        warped = _warped(min(sound.low_pass, low_pass or sound.low_pass))
        _kernels.filter_and_compress(
            audio,
            self._poles.to(warped / (1 + warped))[:, 0],
            10 ** (self._THRESHOLD / 20),
            self._SLOPE,
            _coefficient(0.020 / (2 * np.pi)),
            _coefficient(0.180 / (2 * np.pi)),
            self._compressing,
        )
        # A sine of the delay with depth d frames changes the speed by d * rate at most.
        wow, flutter = 0.01 * sound.wow, 0.01 * sound.flutter
        speeds = (0.6 * wow, 0.4 * wow, 0.6 * flutter, 0.4 * flutter)
        out = np.empty_like(audio)
        _kernels.saturate_and_waver(
            audio,
            self._drive.to(0.2 + 2.3 * sound.saturation)[:, 0],
            self._depths.to(*(speeds / self._rates)),
            self._frame,
            self._phases,
            self._rates,
            self._history,
            out,
        )
        self._frame += len(audio)
        mix = self._mix.to(sound.crush)[:, 0]
        if mix.any():
            step = min(1.0, sound.crush_rate * 1000 / SAMPLE_RATE)
            cutoff = _warped(self._SAMPLER)
            _kernels.crush(out, sound.crush_bits, step, cutoff, mix, self._held, self._smoothed)
        return out

    def reset(self) -> None:
        """End what the low cut of a deep note still rings."""
        self._ground[:] = 0.0


class TapeHalt:
    """The tape slowing to a halt: lower and softer, then nothing, until it runs again."""

    _LONGEST = 2**18  # frames; the longest bar is shorter

    def __init__(self) -> None:
        self._speed = Ramps(1)
        self._line: Audio | None = None
        """What the slowing tape has yet to play, from where it began to slow."""
        self._state = np.zeros(2)

    def process(self, audio: Audio, speed: float) -> None:
        """The next frames at that speed at their end, in place; at 1 they pass untouched."""
        way = self._speed.to(speed)[:, 0]
        if way[1] >= 1.0 and way[0] >= 1.0:
            self._line = None
            return
        if self._line is None:
            self._line = np.zeros((self._LONGEST, 2), dtype=np.float32)
            self._state[:] = 0.0
        _kernels.slowed(audio, way, self._line, self._state)


KNEE = 0.5
"""-6 dBFS: where peaks begin to be rounded off towards full scale, as tape does.

A bare drum kit stands 20 dB above its own loudness; brought to the loudness of a full band, a
limiter alone would duck all of it at every stroke.
"""


class Ducker:
    """The sidechain: how far the kick pushes others down, from the kicks' own frames."""

    def __init__(self) -> None:
        self._state = np.zeros(3)

    def envelope(self, kicks: list[tuple[int, float]], frames: int) -> NDArray[np.float32]:
        """0 to 1 for every frame of the next block; kicks are (frame in it, strength 0-1)."""
        out = np.empty(frames, dtype=np.float32)
        _kernels.ducking(
            np.array([frame for frame, _ in kicks], dtype=np.int64),
            np.array([strength for _, strength in kicks], dtype=np.float64),
            _coefficient(0.007),
            int(0.060 * SAMPLE_RATE),
            _coefficient(0.160),
            self._state,
            out,
        )
        return out


class Limiter:
    """A look-ahead limiter that holds the true peak below a ceiling."""

    CEILING = -1.2
    """dBTP; a margin below -1 for the interpolators of others."""

    _LOOK = 240
    _TAPS = 24
    LATENCY = _LOOK + _TAPS // 2 - 1
    """Frames between input and output."""

    def __init__(self) -> None:
        phases = np.arange(1, 4)[:, None] / 4
        places = np.arange(self._TAPS) - self._TAPS // 2 + phases
        window = np.cos(np.pi * places / (self._TAPS + 1)) ** 2
        self._taps = np.sinc(places) * window
        self._history: Audio = np.zeros((self.LATENCY, 2), dtype=np.float32)
        self._needed = np.ones((2, self._LOOK))
        self._state = np.array([1.0, 0.0, float(self._LOOK), 0.0])

    def process(self, audio: Audio) -> Audio:
        """The audio with its true peak below the ceiling, LATENCY frames late."""
        out = np.empty_like(audio)
        ceiling = 10 ** (self.CEILING / 20)
        _kernels.limit(
            audio,
            ceiling,
            _coefficient(0.08),
            self._taps,
            self._history,
            self._needed,
            self._state,
            out,
        )
        return out


def _warped(hertz: float) -> float:
    """The coefficient of a filter at ``hertz``, as the kernels want it."""
    return math.tan(math.pi * hertz / SAMPLE_RATE)


@cache
def _coefficient(seconds: float) -> float:
    """Of a one-pole that comes 63 % of the way in ``seconds``."""
    return float(1 - np.exp(-1 / (seconds * SAMPLE_RATE)))
