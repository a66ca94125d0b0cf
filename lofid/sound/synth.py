"""The synthesizer: FluidSynth with lofid's SoundFont, one stereo stem per part.

Notes go in at absolute frames, audio comes out part by part. FluidSynth starts a note on its own
grid of 64 frames; we round to the nearest line of that grid, so an onset is at most 32 frames
(0.7 ms) off, and errors never add up.
"""

import ctypes
import heapq
from collections.abc import Mapping
from contextlib import redirect_stdout
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


PARTS = tuple(Part)
_CHANNEL = {part: channel for channel, part in enumerate(PARTS)}
_GAIN = 0.6  # FluidSynth's; loud chords stay below full scale
_ALL_SOUND_OFF = 120  # the MIDI controller
_Rows = ctypes.c_void_p * len(PARTS)
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
        self._voices: dict[Part, Voice] = {}
        self._position = 0  # frames rendered, a multiple of GRID
        self._ready: Audio = np.zeros((2 * len(PARTS), 0), dtype=np.float32)
        self._count = 0
        self._events: list[tuple[int, int, int, int, int, int]] = []
        self._sounding: dict[tuple[int, int], int] = {}

    def close(self) -> None:
        """Free FluidSynth's memory; the synth cannot be used afterwards."""
        if self._synth is not None:
            self._fluid.delete_fluid_synth(self._synth)
            self._fluid.delete_fluid_settings(self._settings)
            self._synth = None

    def choose(self, part: Part, voice: Voice) -> None:
        """Let ``voice`` play what ``part`` plays from now on; sounding notes end as they began."""
        if self._voices.get(part) is not voice:
            bank, program = PROGRAMS[voice]
            self._fluid.fluid_synth_program_select(
                self._synth, _CHANNEL[part], self._font, bank, program
            )
            self._voices[part] = voice

    def note(self, part: Part, start: int, end: int, pitch: int, velocity: int) -> None:
        """Play a note from frame ``start`` to frame ``end``, counted from the first ever rendered.

        A start that has already been rendered is played at once.
        """
        self._count += 1
        channel = _CHANNEL[part]
        first = max((start + GRID // 2) // GRID * GRID, self._position)
        last = max((end + GRID // 2) // GRID * GRID, first + GRID)
        for frame, kind in ((first, _ON), (last, _OFF)):
            heapq.heappush(self._events, (frame, kind, self._count, channel, pitch, velocity))

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
        for channel in _CHANNEL.values():
            self._fluid.fluid_synth_cc(self._synth, channel, _ALL_SOUND_OFF, 0)
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

    def _play(self, kind: int, count: int, channel: int, pitch: int, velocity: int) -> None:
        place = (channel, pitch)
        if kind == _ON:
            if place in self._sounding:
                self._fluid.fluid_synth_noteoff(self._synth, channel, pitch)
            self._sounding[place] = count
            self._fluid.fluid_synth_noteon(self._synth, channel, pitch, velocity)
        elif self._sounding.get(place) == count:
            # Only the note that sounds last on a pitch may end it.
            del self._sounding[place]
            self._fluid.fluid_synth_noteoff(self._synth, channel, pitch)

    def _render_into(self, block: Audio, first: int, frames: int) -> None:
        """Let FluidSynth write ``frames`` into every row of ``block`` from frame ``first`` on."""
        row = block.strides[0]
        start = block.ctypes.data + first * block.itemsize
        left = _Rows(*range(start, start + row * 2 * len(PARTS), 2 * row))
        right = _Rows(*range(start + row, start + row * 2 * len(PARTS), 2 * row))
        self._fluid.write(self._synth, frames, left, right, 0, 0)


def _fluidsynth() -> Any:
    """The pyfluidsynth module, with the C function that writes one stem per part as ``write``."""
    try:
        # Where CI is set it prints where it found the library, into what our caller prints.
        with redirect_stdout(StringIO()):
            import fluidsynth  # noqa: PLC0415 - it looks for the C library as soon as imported
    except (ImportError, OSError):
        raise missing_error(FLUIDSYNTH) from None
    fluidsynth.write = fluidsynth.cfunc(
        "fluid_synth_nwrite_float",
        ctypes.c_int,
        ("synth", ctypes.c_void_p, 1),
        ("len", ctypes.c_int, 1),
        ("left", ctypes.c_void_p, 1),
        ("right", ctypes.c_void_p, 1),
        ("effects_left", ctypes.c_void_p, 1),
        ("effects_right", ctypes.c_void_p, 1),
    )
    return fluidsynth
