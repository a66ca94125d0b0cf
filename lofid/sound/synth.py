"""The synthesizer: FluidSynth with lofid's SoundFont and electric pianos, one stem per part.

Notes go in at absolute frames, audio comes out part by part. FluidSynth starts a note on its own
grid of 64 frames; we round to the nearest line of that grid, so an onset is at most 32 frames
(0.7 ms) off, and errors never add up.
"""

import ctypes
import heapq
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from importlib import resources
from io import StringIO
from types import MappingProxyType
from typing import Any

import numpy as np

from lofid.errors import LofidError
from lofid.music.notes import Part
from lofid.music.parameters import BassInstrument, Instrument, Kit, Sound
from lofid.music.plan import Face
from lofid.sound import SAMPLE_RATE
from lofid.sound._kernels import Audio
from lofid.sound.electric import RHODES, WURLITZER, ElectricPiano, PianoModel
from lofid.system import FLUIDSYNTH, missing_error

GRID = 64
"""Frames between two possible onsets: FluidSynth's own block (FLUID_BUFSIZE)."""

DRUM_BANK = 128
Voice = Instrument | BassInstrument | Kit

PROGRAMS: Mapping[Voice, tuple[int, int]] = MappingProxyType(
    {
        Instrument.PIANO: (0, 0),
        Instrument.RHODES: (0, 4),
        Instrument.WURLITZER: (0, 5),
        Instrument.CELESTA: (0, 8),
        Instrument.MUSIC_BOX: (0, 10),
        Instrument.VIBRAPHONE: (0, 11),
        Instrument.MARIMBA: (0, 12),
        Instrument.NYLON_GUITAR: (0, 24),
        Instrument.JAZZ_GUITAR: (0, 26),
        Instrument.HARP: (0, 46),
        Instrument.FLUTE: (0, 73),
        Instrument.PAD: (0, 89),
        Instrument.KALIMBA: (0, 108),
        BassInstrument.UPRIGHT: (0, 32),
        BassInstrument.FINGERED: (0, 33),
        BassInstrument.FRETLESS: (0, 35),
        Kit.ACOUSTIC: (DRUM_BANK, 0),
        Kit.MACHINE: (DRUM_BANK, 25),
        Kit.JAZZ: (DRUM_BANK, 32),
        Kit.BRUSHES: (DRUM_BANK, 40),
    }
)
"""Bank and program of everything that can play."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How a voice is played beyond what the SoundFont says.

    ``release`` in timecents (1200 double it) by which notes take longer to end: the font ends them
    like a gate. ``dark`` in cents by which the filter lies below its place at velocity 127, and
    ``touch`` in cents by which it falls from there to velocity 0. ``width`` is what is kept of the
    sides: the piano's two microphones are out of phase. What has recordings of soft and hard
    strokes needs no touch.
    """

    release: float = 1200.0
    dark: float = 1200.0
    touch: float = 2400.0
    width: float = 1.0


_KIT = Manner(release=0.0, dark=0.0, touch=4200.0)
MANNERS: Mapping[Voice, Manner] = MappingProxyType(
    {
        **{voice: Manner() for voice in Instrument},
        Instrument.PIANO: Manner(width=0.25),
        Instrument.VIBRAPHONE: Manner(release=1500.0, dark=0.0, touch=0.0),
        Instrument.JAZZ_GUITAR: Manner(release=3600.0, dark=0.0, touch=0.0),
        Instrument.NYLON_GUITAR: Manner(release=2400.0, dark=0.0, touch=0.0),
        BassInstrument.UPRIGHT: Manner(release=2300.0, dark=0.0),
        BassInstrument.FINGERED: Manner(release=1500.0, dark=0.0),
        BassInstrument.FRETLESS: Manner(release=1300.0, dark=0.0),
        **{voice: _KIT for voice in Kit},
        Kit.BRUSHES: replace(_KIT, touch=0.0),
    }
)
"""How every voice is played."""

PARTS = tuple(Part)
MODELS: Mapping[Voice, PianoModel] = MappingProxyType(
    {Instrument.RHODES: RHODES, Instrument.WURLITZER: WURLITZER}
)
"""What is modelled instead of sampled."""

_TURNS = 4
"""Channels that a part's voices take in turn, so that what sounds is left as it is."""
_TOUCH_CONTROL = 20  # the MIDI controller, undefined elsewhere, that scales the velocity's filter
_MOST_TOUCH = 4800.0  # cents at its highest value
_RELEASE, _CUTOFF = 38, 8  # generators of the SoundFont
_GAIN = 0.6  # FluidSynth's; loud chords stay below full scale
_ALL_SOUND_OFF = 120  # the MIDI controller
_Rows = ctypes.c_void_p * len(PARTS)
_Place = int | tuple[int, bool]
"""Where a note goes: FluidSynth's channel, or an electric piano: its part, and whether of reeds."""
_OFF, _ON = 0, 1  # in this order at the same frame, so that a repeated pitch sounds again


def voices(sound: Sound, face: Face | None = None) -> dict[Part, Voice]:
    """What plays each part: what the song drew, if the settings name it, else their first."""
    palettes: dict[Part, tuple[Voice, ...]] = {
        Part.KEYS: sound.keys,
        Part.MELODY: sound.melody,
        Part.BASS: sound.bass,
        Part.DRUMS: sound.kit,
    }
    if face is None:
        return {part: palette[0] for part, palette in palettes.items()}
    drawn: tuple[Voice, ...] = (face.keys, face.melody, face.bass, face.kit)
    return {
        part: own if own in palette else palette[0]
        for (part, palette), own in zip(palettes.items(), drawn, strict=True)
    }


def programs(sound: Sound, face: Face | None = None) -> dict[Part, int]:
    """The General MIDI program (0-127) of each part, for files and other synthesizers."""
    return {part: PROGRAMS[voice][1] for part, voice in voices(sound, face).items()}


class Synth:
    """FluidSynth playing four parts into four stereo stems.

    Raises :class:`LofidError` if libfluidsynth is missing. Not thread-safe; :meth:`close` frees
    the memory outside Python.
    """

    def __init__(self) -> None:
        self._fluid = _fluidsynth()
        self._settings = self._fluid.new_fluid_settings()
        for name, number in (
            (b"synth.audio-channels", len(PARTS)),
            (b"synth.audio-groups", len(PARTS)),
            (b"synth.midi-channels", 16),
            (b"synth.reverb.active", 0),
            (b"synth.chorus.active", 0),
            (b"synth.polyphony", 128),
        ):
            self._fluid.fluid_settings_setint(self._settings, name, number)
        self._fluid.fluid_settings_setnum(self._settings, b"synth.sample-rate", float(SAMPLE_RATE))
        self._fluid.fluid_settings_setnum(self._settings, b"synth.gain", _GAIN)
        self._synth = self._fluid.new_fluid_synth(self._settings)
        font = resources.files("lofid.sound").joinpath("data", "lofid.sf3")
        with resources.as_file(font) as path:
            self._font = self._fluid.fluid_synth_sfload(self._synth, str(path).encode(), 0)
        if self._font < 0:
            raise LofidError(
                f"The SoundFont '{font}' cannot be loaded; install lofid again, and a libfluidsynth"
                " that was built with libsndfile."
            )
        _let_velocity_close_the_filter(self._fluid, self._synth)
        self._voices: dict[Part, Voice] = {}
        # FluidSynth sends channel c to stem c modulo their number.
        self._channel = {part: index for index, part in enumerate(PARTS)}
        self._position = 0  # frames rendered, a multiple of GRID
        self._ready: Audio = np.zeros((2 * len(PARTS), 0), dtype=np.float32)
        self._count = 0
        self._events: list[tuple[int, int, int, _Place, int, int]] = []
        self._sounding: dict[tuple[_Place, int], int] = {}
        self._pianos = {part: ElectricPiano() for part in (Part.KEYS, Part.MELODY)}

    def close(self) -> None:
        """Free FluidSynth's memory; the synth cannot be used afterwards."""
        if self._synth is not None:
            self._fluid.delete_fluid_synth(self._synth)
            self._fluid.delete_fluid_settings(self._settings)
            self._synth = None

    def choose(self, part: Part, voice: Voice) -> None:
        """Let ``voice`` play what ``part`` plays from now on; sounding notes end as they began."""
        if self._voices.get(part) is voice:
            return
        self._voices[part] = voice
        if voice in MODELS:
            return
        channel = (self._channel[part] + len(PARTS)) % (_TURNS * len(PARTS))
        self._channel[part] = channel
        manner, (bank, program) = MANNERS[voice], PROGRAMS[voice]
        self._fluid.fluid_synth_program_select(self._synth, channel, self._font, bank, program)
        self._fluid.fluid_synth_set_gen(self._synth, channel, _RELEASE, manner.release)
        self._fluid.fluid_synth_set_gen(self._synth, channel, _CUTOFF, -manner.dark)
        depth = round(127 * manner.touch / _MOST_TOUCH)
        self._fluid.fluid_synth_cc(self._synth, channel, _TOUCH_CONTROL, depth)

    def note(self, part: Part, start: int, end: int, pitch: int, velocity: int) -> None:
        """Play a note from frame ``start`` to frame ``end``, counted from the first ever rendered.

        A start that has already been rendered is played at once.
        """
        self._count += 1
        model = MODELS.get(self._voices[part])
        place: _Place = self._channel[part] if model is None else (PARTS.index(part), model.reed)
        first = max((start + GRID // 2) // GRID * GRID, self._position)
        last = max((end + GRID // 2) // GRID * GRID, first + GRID)
        for frame, kind in ((first, _ON), (last, _OFF)):
            heapq.heappush(self._events, (frame, kind, self._count, place, pitch, velocity))

    @property
    def position(self) -> int:
        """The frame that the next :meth:`render` begins with."""
        return self._position - int(self._ready.shape[1])

    def silence(self, position: int | None = None) -> None:
        """Forget all notes and end every sound at once.

        What is rendered next is frame ``position`` where one is given, a multiple of ``GRID``.
        """
        self._events.clear()
        self._sounding.clear()
        for channel in range(_TURNS * len(PARTS)):
            self._fluid.fluid_synth_cc(self._synth, channel, _ALL_SOUND_OFF, 0)
        for piano in self._pianos.values():
            piano.silence()
        if position is not None:
            self._position, self._ready = position, self._ready[:, :0]

    def render(self, frames: int) -> Audio:
        """The next ``frames``, [parts in the order of ``PARTS``, 2, frames]."""
        have = int(self._ready.shape[1])
        whole = -(-max(0, frames - have) // GRID) * GRID
        block = np.empty((2 * len(PARTS), have + whole), dtype=np.float32)
        block[:, :have] = self._ready
        while have < block.shape[1]:
            while self._events and self._events[0][0] <= self._position:
                self._play(*heapq.heappop(self._events)[1:])
            wanted = block.shape[1] - have
            if self._events:
                wanted = min(wanted, self._events[0][0] - self._position)
            self._render_into(block, have, wanted)
            have += wanted
            self._position += wanted
        self._ready = block[:, frames:]
        return block[:, :frames].reshape(len(PARTS), 2, frames)

    def _play(self, kind: int, count: int, place: "_Place", pitch: int, velocity: int) -> None:
        sounding = self._sounding.get((place, pitch))
        if kind == _ON:
            if sounding is not None:
                self._let_go(place, pitch, sounding)
            self._sounding[place, pitch] = count
            if isinstance(place, int):
                self._fluid.fluid_synth_noteon(self._synth, place, pitch, velocity)
            else:
                part, reed = place
                model = WURLITZER if reed else RHODES
                self._pianos[PARTS[part]].strike(model, pitch, velocity, count)
        elif sounding == count:
            # Only the note that sounds last on a pitch may end it.
            del self._sounding[place, pitch]
            self._let_go(place, pitch, count)

    def _let_go(self, place: "_Place", pitch: int, count: int) -> None:
        if isinstance(place, int):
            self._fluid.fluid_synth_noteoff(self._synth, place, pitch)
        else:
            part, reed = place
            self._pianos[PARTS[part]].let_go(WURLITZER if reed else RHODES, count)

    def _render_into(self, block: Audio, first: int, frames: int) -> None:
        """Let FluidSynth write ``frames`` into every row of ``block`` from frame ``first`` on."""
        row = block.strides[0]
        start = block.ctypes.data + first * block.itemsize
        left = _Rows(*range(start, start + row * 2 * len(PARTS), 2 * row))
        right = _Rows(*range(start + row, start + row * 2 * len(PARTS), 2 * row))
        self._fluid.fluid_synth_nwrite_float(self._synth, frames, left, right, 0, 0)
        for part, piano in self._pianos.items():
            rows = block[2 * PARTS.index(part) :, first : first + frames]
            piano.add(rows[0], rows[1])


def _fluidsynth() -> Any:
    """The pyfluidsynth module, with the C functions that it has not got."""
    try:
        # Where CI is set it prints where it found the library, into what our caller prints.
        with redirect_stdout(StringIO()):
            import fluidsynth  # noqa: PLC0415 - it looks for the C library as soon as imported
    except (ImportError, OSError):
        raise missing_error(FLUIDSYNTH) from None
    pointer, integer = ctypes.c_void_p, ctypes.c_int
    for name, kinds in (
        ("fluid_synth_nwrite_float", (pointer, integer, *4 * (pointer,))),
        ("fluid_synth_set_gen", (pointer, integer, integer, ctypes.c_float)),
        ("fluid_synth_add_default_mod", (pointer, pointer, integer)),
    ):
        arguments = [(f"argument{place}", kind, 1) for place, kind in enumerate(kinds)]
        setattr(fluidsynth, name, fluidsynth.cfunc(name, integer, *arguments))
    return fluidsynth


def _let_velocity_close_the_filter(fluid: Any, synth: Any) -> None:
    """By ``_MOST_TOUCH`` cents where velocity is 0 and the channel's control at its highest.

    FluidSynth leaves out the modulator that SoundFont 2.04 has for it; this one is its own.
    """
    modulator = fluid.new_fluid_mod()
    falling = fluid.FLUID_MOD_LINEAR | fluid.FLUID_MOD_NEGATIVE
    fluid.fluid_mod_set_source1(modulator, fluid.FLUID_MOD_VELOCITY, falling)
    fluid.fluid_mod_set_source2(modulator, _TOUCH_CONTROL, fluid.FLUID_MOD_CC)
    fluid.fluid_mod_set_dest(modulator, _CUTOFF)
    fluid.fluid_mod_set_amount(modulator, -_MOST_TOUCH)
    fluid.fluid_synth_add_default_mod(synth, modulator, 1)  # beside the others
    fluid.delete_fluid_mod(modulator)
