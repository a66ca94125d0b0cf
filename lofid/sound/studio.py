"""The studio: bars in, audio out, as stems and as the finished mix.

Stems are brought to their places in the mix, the mix goes through the tape chain, texture is laid
on top, and loudness and true peak are made right. All of it depends on the bars, the settings and
the seed alone, never on the speed at which it is asked, nor on how much is asked at once.
"""

import heapq
import pickle
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from lofid.music.notes import DRUM_CLASS, TICKS_PER_BAR, DrumClass, Part
from lofid.music.parameters import Settings, Sound
from lofid.music.plan import Bar, Face
from lofid.sound import SAMPLE_RATE, _kernels, loudness
from lofid.sound._kernels import Audio
from lofid.sound.calibration import Calibration, calibration
from lofid.sound.effects import (
    KNEE,
    BassChain,
    DrumsChain,
    Ducker,
    KeysChain,
    Limiter,
    Ramps,
    TapeChain,
    TapeHalt,
)
from lofid.sound.lines import BarLines, frames_per_tick
from lofid.sound.rides import RideMoment, Rides
from lofid.sound.synth import MANNERS, Synth, Voice, voices
from lofid.sound.texture import LOUDNESS, TEXTURES, Needle

STEMS = ("keys", "bass", "drums", "texture")

BALANCE: Mapping[str, float] = MappingProxyType({"keys": -5.4, "bass": -6.6, "drums": -4.4})
"""LU of each stem relative to the whole mix, where all of them play."""

_EXPECTED_GAIN: Mapping[str, float] = MappingProxyType({"keys": 4.0, "bass": 7.6, "drums": 5.2})
"""dB from the calibrated instruments, played by a usual bar, to that balance at -16 LUFS."""

LEAD = 8192
"""Frames by which a bar line is rendered behind its place: more than the earliest note's lead."""

BLOCK = 512
"""Frames that are rendered with the same settings: the studio's grid, 10.7 ms."""

_STEM = {Part.KEYS: "keys", Part.MELODY: "keys", Part.BASS: "bass", Part.DRUMS: "drums"}
_PARTS = {stem: {part for part in Part if _STEM[part] == stem} for stem in BALANCE}
_REACH = 2.0  # LU by which a stem's leveller goes beyond what is expected
_MEMORY = 180.0  # seconds; longer than a section, which may be softer than the next
_FULL_PUSH = 64.0  # velocity from which a kick pushes others down as far as is set
_NOMINAL = -16.0  # LUFS of the mix in front of its fader
_MOST_LIMITED = 6.0  # LU; beyond that the mix is better a little soft than squashed
_AIM = -0.3  # LU; levels follow the music, and sections that grow come out so much too loud
_TAPE_LOSS = 3.5  # dB that compressor, saturation and filter usually take
_TEXTURE = -22.0  # LU relative to the mix, at half of vinyl or rain
_TEXTURE_RANGE = 8.0  # LU between none (where it is left out) and all of it
_SHORTEST_DRUM = SAMPLE_RATE * 2  # a drum rings out, whatever its note says
_TAIL = 4 * SAMPLE_RATE
_FADE = 2 * SAMPLE_RATE


@dataclass(frozen=True, slots=True)
class Rendered:
    """Audio: the mix and the stems (``STEMS``), each [frames, 2].

    The stems are what goes into the mix, at its loudness, before the tape and the limiter.
    """

    mix: Audio
    stems: Mapping[str, Audio]


@dataclass(frozen=True, slots=True, order=True)
class _Scheduled:
    """A note at its frame; ``count`` keeps the order of those that begin together."""

    start: int
    count: int
    end: int
    part: Part
    pitch: int
    velocity: int


@dataclass(frozen=True, slots=True)
class _Played:
    """A block as the instruments give it: [parts, 2, frames], gain and width of each, the kicks."""

    parts: Audio
    gains: Mapping[Part, float]
    widths: tuple[float, ...]
    kicks: list[tuple[int, float]]


_ONWARD = {"settings", "muted", "_synth", "_scheduled", "_count", "_rides", "_played", "_again"}
"""What of a studio only goes on: the instruments, what they are to play, and what was asked for."""


class Studio:
    """Renders what was scheduled, block by block.

    ``settings`` (sound, mix and the parts that play) and ``muted`` may be assigned at any time;
    what is rendered next takes them up: levels within 10 ms, instruments with their next note. A
    muted part is silent, all else as loud as it was.

    Frames count from the studio's first. A bar line at frame L is heard in frame ``L + LATENCY`` of
    what :meth:`render` returns: notes may begin before their line, tape and limiter look ahead.
    Raises :class:`LofidError` where a system library is missing. One thread at a time.
    """

    LATENCY = LEAD + TapeChain.LATENCY + Limiter.LATENCY

    def __init__(self, settings: Settings, seed: int) -> None:
        self.settings = settings
        self.muted: frozenset[Part] = frozenset()
        self.position = 0
        """The frame that the next :meth:`render` begins with."""
        self._scheduled: list[_Scheduled] = []
        self._count = 0
        self._rides = Rides()
        self._played: list[_Played] | None = None  # since :meth:`save`
        self._again: deque[_Played] = deque()  # played already, and to be mixed anew
        self._ready: list[Rendered] = []
        self._silencing = False
        self._levelling = True
        self._synth = Synth()
        self._keys, self._bass, self._drums = KeysChain(), BassChain(), DrumsChain()
        self._tape, self._halt, self._limiter = TapeChain(seed), TapeHalt(), Limiter()
        self._ducker = Ducker()
        self._textures = tuple(make(seed) for make in TEXTURES.values())
        self._needle = Needle(seed)
        self._levellers = {
            stem: loudness.Leveller(_EXPECTED_GAIN[stem], reach=_REACH, memory=_MEMORY)
            for stem in BALANCE
        }
        self._master = loudness.Leveller(_TAPE_LOSS, reach=6.0, memory=_MEMORY)
        self._before, self._behind = loudness.Meter(_MEMORY), loudness.Meter(_MEMORY)
        self._limited = 0.0  # LU that rounding and limiter take away
        self._parts, self._widths = Ramps(len(Part)), Ramps(len(Part))
        self._faders, self._level = Ramps(len(STEMS)), Ramps(3)
        self._depth, self._amounts = Ramps(1), Ramps(len(TEXTURES))
        late = TapeChain.LATENCY + Limiter.LATENCY
        self._late: tuple[Audio, ...] = tuple(
            np.zeros((Limiter.LATENCY if stem == "texture" else late, 2), dtype=np.float32)
            for stem in STEMS
        )

    def close(self) -> None:
        """Free the synthesizer; the studio cannot be used afterwards."""
        self._synth.close()

    def add(self, bar: Bar, line: float, frames_per_tick: float) -> None:
        """Schedule a bar whose bar line lies at frame ``line``.

        What should already have begun is played at once, what should be over is left out. Add a bar
        before frame ``line``, and every note begins where it should.
        """
        first = round(line) + LEAD
        self._rides.add(first, first + round(TICKS_PER_BAR * frames_per_tick), bar.plan)
        for part, notes in bar.notes.items():
            for note in notes:
                start = round(line + note.start * frames_per_tick) + LEAD
                end = start + round(note.duration * frames_per_tick)
                if end <= self._reached:
                    continue
                if part is Part.DRUMS:
                    end = start + _SHORTEST_DRUM
                self._count += 1
                scheduled = _Scheduled(start, self._count, end, part, note.pitch, note.velocity)
                heapq.heappush(self._scheduled, scheduled)

    def silence(self) -> None:
        """End everything that was played, within 10 ms, and forget what was scheduled."""
        self._scheduled.clear()
        self._rides.clear(self._reached)
        self._silencing = True

    def save(self) -> bytes:
        """Where the studio stands, for one :meth:`restore` before the next ``save``.

        Until then, or :meth:`forget`, it keeps what its instruments play.
        """
        self._played = []
        state = {name: value for name, value in vars(self).items() if name not in _ONWARD}
        return pickle.dumps(state, pickle.HIGHEST_PROTOCOL)

    def restore(self, saved: bytes) -> None:
        """Stand where :meth:`save` was called, to mix anew what was rendered since.

        What the instruments have played since then stays: other instruments begin behind it.
        """
        assert self._played is not None, "saved"
        vars(self).update(pickle.loads(saved))
        self._again.extendleft(reversed(self._played))
        self._played = None

    def forget(self) -> None:
        """Nothing that was saved will be restored."""
        self._played = None

    @property
    def _reached(self) -> int:
        """The frame that the next block begins with."""
        return self.position + sum(len(one.mix) for one in self._ready)

    def render(self, frames: int) -> Rendered:
        """The next frames; however they are cut, they are the same."""
        have = sum(len(one.mix) for one in self._ready)
        while have < frames:
            self._ready.append(self._block())
            have += BLOCK
        self.position += frames
        whole = _joined(self._ready)
        if have > frames:
            self._ready = [_cut(whole, slice(frames, None))]
            return _cut(whole, slice(0, frames))
        self._ready = []
        return whole

    def finish(self) -> Rendered:
        """What still rings after the last bar, faded out; the studio is closed by it."""
        self._levelling = False
        rendered = self.render(self.LATENCY + _TAIL)
        fade = np.linspace(1, 0, _FADE, dtype=np.float32)[:, None]
        for audio in (rendered.mix, *rendered.stems.values()):
            audio[-_FADE:] *= fade
        self.close()
        return rendered

    def _block(self) -> Rendered:
        """The next BLOCK frames, with the settings of now."""
        settings, muted = self.settings, self.muted
        ride = self._rides.at(self._reached, BLOCK)
        sound, mix = self._rides.worn(settings.sound, ride.face), settings.mix
        played = self._again.popleft() if self._again else self._play(settings.sound)
        if self._played is not None:
            self._played.append(played)
        push = self._ducker.envelope(played.kicks, BLOCK)
        stems: Audio = np.empty((len(STEMS), BLOCK, 2), dtype=np.float32)
        keys, bass, drums, texture = stems
        gains = dict(played.gains)
        gains[Part.KEYS] *= Part.KEYS not in muted
        gains[Part.MELODY] *= (Part.MELODY not in muted) * _linear(mix.melody)
        levels_of_parts = self._parts.to(*gains.values())
        widths = self._widths.to(*played.widths)
        _kernels.gathered(played.parts, levels_of_parts, widths, keys, bass, drums)
        self._keys.process(keys, sound)
        self._bass.process(bass, sound)
        self._drums.process(drums, sound)
        self._add_texture(texture, sound, ride.needle)
        _kernels.pushed(keys, texture, push, self._depth.to(sound.sidechain)[:, 0])
        if self._levelling:
            for stem, target in self._targets().items():
                # What a mute takes away is not music that is too soft.
                if muted.isdisjoint(_PARTS[stem]):
                    self._levellers[stem].hear(stems[STEMS.index(stem)], target)
        music = np.empty_like(keys)
        _kernels.balanced(stems, self._faders.to(*self._stem_levels(ride)), music)
        music = self._tape.process(music, sound, ride.low_pass)
        if self._levelling and not muted:
            # What rounding and limiter take is asked for on top: it is part of how loud the mix is.
            self._master.hear(music, _NOMINAL + _AIM + self._limited)
        level = _linear(mix.loudness - _NOMINAL)
        ridden = level * _linear(ride.level)
        levels = self._level.to(ridden * _linear(self._master.gain), level, ridden)
        self._halt.process(music, ride.speed)
        _kernels.laid_on(music, texture, levels)
        self._before.hear(music)
        _kernels.round_off(music, KNEE)
        limited = self._limiter.process(music)
        self._behind.hear(limited)
        if self._before.trust > 0:
            taken = self._before.integrated - self._behind.integrated
            self._limited = min(_MOST_LIMITED, max(0.0, taken))
        late = np.empty_like(stems)
        for stem, audio, history, out in zip(STEMS, stems, self._late, late, strict=True):
            _kernels.delayed(audio, levels[:, 1 if stem == "texture" else 2], history, out)
        if self._silencing:
            self._end_all()
        return Rendered(limited, dict(zip(STEMS, late, strict=True)))

    def _stem_levels(self, ride: RideMoment) -> list[float]:
        """The gain of every stem: its leveller's, its fader's."""
        levels = []
        for stem in BALANCE:
            audible = not (self._silencing or self.muted.issuperset(_PARTS[stem]))
            decibels = self._levellers[stem].gain + getattr(self.settings.mix, stem)
            levels.append(audible * _linear(decibels))
        return [*levels, _linear(self.settings.mix.texture + ride.texture)]

    def _play(self, sound: Sound) -> _Played:
        """Let the instruments play the next block."""
        chosen = self._choose_voices(sound, self._rides.at(self._synth.position, BLOCK).face)
        calibrations = {part: calibration(voice) for part, voice in chosen.items()}
        gains = {part: calibrations[part].gain for part in Part}
        widths = tuple(MANNERS[chosen[part]].width for part in Part)
        kicks = self._hand_over(calibrations)
        return _Played(self._synth.render(BLOCK), gains, widths, kicks)

    def _choose_voices(self, sound: Sound, face: Face | None) -> dict[Part, Voice]:
        chosen = voices(sound, face)
        for part, voice in chosen.items():
            self._synth.choose(part, voice)
        return chosen

    def _hand_over(self, calibrations: Mapping[Part, Calibration]) -> list[tuple[int, float]]:
        """Give the synth the next block's notes; returns its kicks: (frame in it, strength)."""
        first = self._synth.position
        kicks = []
        while self._scheduled and self._scheduled[0].start < first + BLOCK:
            note = heapq.heappop(self._scheduled)
            velocity = int(calibrations[note.part].velocities[note.pitch, note.velocity])
            self._synth.note(note.part, note.start, note.end, note.pitch, velocity)
            if note.part is Part.DRUMS and DRUM_CLASS.get(note.pitch) is DrumClass.KICK:
                kicks.append((max(0, note.start - first), min(1.0, note.velocity / _FULL_PUSH)))
        return kicks

    def _targets(self) -> dict[str, float]:
        """LUFS of each stem before the master: the balance, spread over the parts that play."""
        playing = {_STEM[part] for part in self.settings.music.parts}
        powers = {stem: 10 ** (level / 10) for stem, level in BALANCE.items()}
        share = sum(powers[stem] for stem in playing) / sum(powers.values())
        shift = _NOMINAL - 10 * np.log10(share)
        return {stem: float(level + shift) for stem, level in BALANCE.items()}

    def _add_texture(self, audio: Audio, sound: Sound, needle: int | None) -> None:
        amounts = [getattr(sound, name) for name in TEXTURES]
        middle = _NOMINAL + _TEXTURE - LOUDNESS
        levels = self._amounts.to(
            *(
                (amount > 0) * _linear(middle + _TEXTURE_RANGE * (amount - 0.5))
                for amount in amounts
            )
        )
        audio[:] = 0.0
        for index, source in enumerate(self._textures):
            if levels[:, index].any():
                _kernels.add(audio, source.take(BLOCK), levels[:, index])
            else:
                source.skip(BLOCK)
        if needle is not None:
            self._needle.set_down(needle)
        self._needle.add(audio, levels[:, 0])

    def _end_all(self) -> None:
        """The music has faded out: end what would go on behind the faders."""
        self._silencing = False
        self._again.clear()
        self._synth.silence(self._reached + BLOCK)
        self._keys.reset()
        self._drums.reset()
        self._tape.reset()
        # Nothing is left to fade in: what comes next begins at its full level.
        self._faders.forget()


def rendered_bars(studio: Studio, bars: Iterable[Bar]) -> Iterator[tuple[Bar | None, Rendered]]:
    """Each bar with its audio and, once the bars end, what still rings (None).

    A bar's audio is what is rendered from its line to the next, so it begins ``Studio.LATENCY``
    frames before the line is heard.
    """
    lines = BarLines(studio.position)
    for bar in bars:
        tempo = bar.plan.tempo
        studio.add(bar, lines.begin(tempo), frames_per_tick(tempo))
        yield bar, studio.render(int(lines.next) - studio.position)
    yield None, studio.finish()


def _joined(pieces: list[Rendered]) -> Rendered:
    if len(pieces) == 1:
        return pieces[0]
    return Rendered(
        mix=np.concatenate([one.mix for one in pieces]),
        stems={stem: np.concatenate([one.stems[stem] for one in pieces]) for stem in STEMS},
    )


def _cut(whole: Rendered, part: slice) -> Rendered:
    return Rendered(whole.mix[part], {stem: audio[part] for stem, audio in whole.stems.items()})


def _linear(decibels: float) -> float:
    return float(10 ** (decibels / 20))
