"""The studio: bars in, audio out, as stems and as the finished mix.

Stems are brought to their places in the mix, the mix goes through the tape chain, texture is laid
on top, and loudness and true peak are made right. All of it depends on the bars, the settings and
the seed alone, never on the speed at which it is asked.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from lofid.music.notes import (
    BEATS_PER_BAR,
    DRUM_CLASS,
    TICKS_PER_BAR,
    DrumClass,
    Part,
)
from lofid.music.parameters import Settings
from lofid.music.plan import Bar
from lofid.sound import SAMPLE_RATE, loudness
from lofid.sound._kernels import Audio
from lofid.sound.calibration import calibration
from lofid.sound.effects import DrumsChain, Ducker, KeysChain, Limiter, TapeChain, rounded
from lofid.sound.synth import Synth, voices
from lofid.sound.texture import LOUDNESS, Rain, Vinyl

Numbers = NDArray[np.float32]
STEMS = ("keys", "bass", "drums", "texture")

BALANCE: Mapping[str, float] = MappingProxyType({"keys": -5.0, "bass": -7.0, "drums": -4.4})
"""LU of each stem relative to the whole mix, where all of them play."""

_EXPECTED_GAIN: Mapping[str, float] = MappingProxyType({"keys": 5.0, "bass": 6.5, "drums": 5.5})
"""dB from the calibrated instruments, played by a usual bar, to that balance at -16 LUFS."""

_STEM = {Part.KEYS: "keys", Part.MELODY: "keys", Part.BASS: "bass", Part.DRUMS: "drums"}
_NOMINAL = -16.0  # LUFS of the mix in front of the master gain
_MOST_LIMITED = 6.0  # LU; beyond that the mix is better a little soft than squashed
_AIM = -0.3  # LU; levels follow the music, and sections that grow come out so much too loud
_TAPE_LOSS = 3.5  # dB that compressor, saturation and filter usually take
_TEXTURE = -22.0  # LU relative to the mix, at half of vinyl or rain
_TEXTURE_RANGE = 8.0  # LU between none (where it is left out) and all of it
_LEAD = 8192  # frames; more than half a sixteenth at 48 BPM, a multiple of the synth's grid
_SHORTEST_DRUM = SAMPLE_RATE * 2  # a drum rings out, whatever its note says
_TAIL = 4 * SAMPLE_RATE
_FADE = 2 * SAMPLE_RATE
_FRACTION = 32  # bits behind the point of a frame's place


@dataclass(frozen=True, slots=True)
class Rendered:
    """Audio of one bar: the mix and the stems (``STEMS``), each [frames, 2].

    The stems are what goes into the mix, at its loudness, before the tape and the limiter.
    """

    mix: Audio
    stems: Mapping[str, Audio]


class Studio:
    """Renders bars one after the other.

    Raises :class:`LofidError` where a system library is missing. One thread at a time. What
    :meth:`render` returns lies ``Studio.LATENCY`` frames behind the bar lines: notes may begin
    before their bar line, and limiter and tape look ahead.
    """

    LATENCY = _LEAD + TapeChain.LATENCY + Limiter.LATENCY

    def __init__(self, settings: Settings, seed: int) -> None:
        self.settings = settings
        self._synth = Synth()
        self._line = 0  # the next bar line, in 2 ** -_FRACTION frames
        self._keys, self._drums = KeysChain(), DrumsChain()
        self._tape, self._limiter = TapeChain(seed), Limiter()
        self._ducker = Ducker()
        self._vinyl, self._rain = Vinyl(seed), Rain(seed)
        self._kicks: list[tuple[int, float]] = []
        self._levellers = {
            stem: loudness.Leveller(_EXPECTED_GAIN[stem], reach=6.0, memory=40.0)
            for stem in BALANCE
        }
        self._master = loudness.Leveller(_TAPE_LOSS, reach=6.0, memory=180.0)
        self._before, self._behind = loudness.Meter(180.0), loudness.Meter(180.0)
        self._limited = 0.0  # LU that rounding and limiter take away
        self._faders = {stem: _Fader() for stem in STEMS}
        late = {stem: TapeChain.LATENCY + Limiter.LATENCY for stem in BALANCE}
        self._delays = {
            stem: _Delay(n) for stem, n in (late | {"texture": Limiter.LATENCY}).items()
        }

    def close(self) -> None:
        """Free the synthesizer; the studio cannot be used afterwards."""
        self._synth.close()

    def render(self, bar: Bar) -> Rendered:
        """The frames between this bar's line and the next one's, LATENCY frames late."""
        length = Fraction(60 * BEATS_PER_BAR * SAMPLE_RATE) / Fraction(bar.plan.tempo)
        start = self._line
        # Whole parts of 2 ** -32 frames: exact for ever, however often the tempo changes.
        self._line += round(length * 2**_FRACTION)
        self._choose_voices()
        self._schedule(bar, start / 2**_FRACTION, float(length / TICKS_PER_BAR))
        frames = (self._line >> _FRACTION) - (start >> _FRACTION)
        return self._processed(frames, levelling=True)

    def finish(self) -> Rendered:
        """What still rings after the last bar, faded out; the studio is closed by it."""
        rendered = self._processed(self.LATENCY + _TAIL, levelling=False)
        fade = np.linspace(1, 0, _FADE, dtype=np.float32)[:, None]
        for audio in (rendered.mix, *rendered.stems.values()):
            audio[-_FADE:] *= fade
        self.close()
        return rendered

    def _choose_voices(self) -> None:
        chosen = voices(self.settings.sound)
        for part, voice in chosen.items():
            self._synth.choose(part, voice)
        self._calibrations = {part: calibration(voice) for part, voice in chosen.items()}

    def _schedule(self, bar: Bar, line: float, frames_per_tick: float) -> None:
        for part, notes in bar.notes.items():
            velocities = self._calibrations[part].velocities
            for note in notes:
                start = round(line + note.start * frames_per_tick) + _LEAD
                end = start + round(note.duration * frames_per_tick)
                if part is Part.DRUMS:
                    end = start + _SHORTEST_DRUM
                    if DRUM_CLASS.get(note.pitch) is DrumClass.KICK:
                        self._kicks.append((start, min(1.0, note.velocity / 100)))
                velocity = int(velocities[note.pitch, note.velocity])
                self._synth.note(part, start, end, note.pitch, velocity)

    def _processed(self, frames: int, *, levelling: bool) -> Rendered:
        sound, mix = self.settings.sound, self.settings.mix
        push = self._pushed(frames)
        parts = self._synth.render(frames)
        parts = {
            part: audio * np.float32(self._calibrations[part].gain) for part, audio in parts.items()
        }
        melody = np.float32(_linear(mix.melody))
        keys = self._keys.process(parts[Part.KEYS] + melody * parts[Part.MELODY], sound)
        stems = {
            "keys": keys * _falling(sound.sidechain, push),
            "bass": parts[Part.BASS],
            "drums": self._drums.process(parts[Part.DRUMS], sound),
        }
        for stem, target in self._targets().items():
            stems[stem] *= self._levellers[stem].ramp(stems[stem], target if levelling else None)
        stems["texture"] = self._texture(frames) * _falling(sound.sidechain / 2, push)
        for stem, fader in self._faders.items():
            stems[stem] *= fader.ramp(_linear(getattr(mix, stem)), frames)
        music = self._tape.process(stems["keys"] + stems["bass"] + stems["drums"], sound)
        # What rounding and limiter take is asked for on top: it is part of how loud the mix is.
        wanted = mix.loudness + _AIM + self._limited if levelling else None
        music *= self._master.ramp(music, wanted)
        level = np.float32(_linear(mix.loudness - _NOMINAL))
        stems = {stem: audio * level for stem, audio in stems.items()}
        whole = music + stems["texture"]
        limited = self._limiter.process(rounded(whole))
        self._before.hear(whole)
        self._behind.hear(limited)
        if self._before.trust > 0:
            taken = self._before.integrated - self._behind.integrated
            self._limited = min(_MOST_LIMITED, max(0.0, taken))
        return Rendered(
            mix=limited,
            stems={stem: self._delays[stem].process(audio) for stem, audio in stems.items()},
        )

    def _pushed(self, frames: int) -> Numbers:
        """The sidechain's envelope for the next block; kicks behind it are kept."""
        first = self._synth.position
        self._kicks.sort()
        inside = [(frame - first, s) for frame, s in self._kicks if frame < first + frames]
        self._kicks = self._kicks[len(inside) :]
        return self._ducker.envelope(inside, frames)

    def _targets(self) -> dict[str, float]:
        """LUFS of each stem before the master: the balance, spread over the parts that play."""
        playing = {_STEM[part] for part in self.settings.music.parts}
        powers = {stem: 10 ** (level / 10) for stem, level in BALANCE.items()}
        share = sum(powers[stem] for stem in playing) / sum(powers.values())
        shift = _NOMINAL - 10 * np.log10(share)
        return {stem: float(level + shift) for stem, level in BALANCE.items()}

    def _texture(self, frames: int) -> Audio:
        sound = self.settings.sound
        audio: Audio = np.zeros((frames, 2), dtype=np.float32)
        for source, amount in ((self._vinyl, sound.vinyl), (self._rain, sound.rain)):
            if amount == 0:
                source.skip(frames)
                continue
            level = _NOMINAL + _TEXTURE + _TEXTURE_RANGE * (amount - 0.5) - LOUDNESS
            audio += source.take(frames) * np.float32(_linear(level))
        return audio


class _Fader:
    """A level that moves over one block when it is changed."""

    def __init__(self) -> None:
        self._level: float | None = None

    def ramp(self, level: float, frames: int) -> Numbers:
        before = level if self._level is None else self._level
        self._level = level
        return np.linspace(before, level, frames, endpoint=False, dtype=np.float32)[:, None]


class _Delay:
    """Holds audio back by some frames."""

    def __init__(self, frames: int) -> None:
        self._held: Audio = np.zeros((frames, 2), dtype=np.float32)

    def process(self, audio: Audio) -> Audio:
        line = np.concatenate((self._held, audio))
        self._held = line[len(audio) :]
        return line[: len(audio)]


def _linear(decibels: float) -> float:
    return float(10 ** (decibels / 20))


def _falling(decibels: float, push: Numbers) -> Numbers:
    """The gain that falls by ``decibels`` where the push is 1, [frames, 1]."""
    gain: Numbers = np.power(np.float32(10), push * np.float32(-decibels / 20))
    return gain[:, None]
