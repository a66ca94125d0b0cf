"""Even loudness: which velocity to send so that a note sounds as loud as its velocity says.

The presets of a SoundFont differ by 20 dB and more, from each other and between registers. A table,
measured by ``scripts/calibrate_instruments.py``, holds the loudness of single notes of every voice;
from it come a gain for each voice and a velocity for each note. The mapped velocity also chooses
the colour, as a player does who leans into a weak register.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from lofid.music.notes import DRUM_CLASS, DrumClass
from lofid.music.parameters import BassInstrument, Instrument, Kit
from lofid.sound.synth import Voice

LEVEL = -26.0
"""LUFS (K-weighted, 400 ms) of a single note at velocity 80, whatever plays it."""

_REFERENCE_VELOCITY = 80
_SLOPE = {Instrument: 30.0, BassInstrument: 16.0, Kit: 30.0}
"""dB for ten times the velocity. The bass is even; it carries the others."""

_CORE = {Instrument: (45, 90), BassInstrument: (26, 50)}
"""The pitches that a voice's own level is taken from."""

_DRUM_LEVEL: Mapping[DrumClass, float] = MappingProxyType(
    {
        DrumClass.KICK: 0.0,
        DrumClass.SNARE: 1.5,
        DrumClass.CLOSED_HAT: -12.0,
        DrumClass.OPEN_HAT: -10.0,
        DrumClass.LOW_TOM: -3.0,
        DrumClass.MID_TOM: -3.0,
        DrumClass.HIGH_TOM: -3.0,
        DrumClass.CRASH: -6.0,
        DrumClass.RIDE: -11.0,
    }
)
"""How loud each drum is against the kick at the same velocity: the balance inside the kit.

The drum bus lifts what is soft, hats most of all.
"""


@dataclass(frozen=True, slots=True)
class Calibration:
    """A voice's gain (linear) and the velocity to send for [pitch, velocity]."""

    gain: float
    velocities: NDArray[np.uint8]


def nominal(voice: Voice, pitch: int, velocity: int) -> float:
    """LUFS that a note of ``voice`` is meant to have."""
    level = LEVEL + _SLOPE[type(voice)] * np.log10(velocity / _REFERENCE_VELOCITY)
    if isinstance(voice, Kit):
        level += _DRUM_LEVEL[DRUM_CLASS.get(pitch, DrumClass.CLOSED_HAT)]
    return float(level)


@cache
def calibration(voice: Voice) -> Calibration:
    """The calibration of a voice, worked out from the measured table."""
    velocities, rows = _measured()[str(voice)]
    measured = sorted(rows)
    fine = np.arange(1, 128)
    # Loudness of every pitch and velocity. It never falls as the velocity grows, but for the
    # noise of the measurement.
    columns = [
        np.interp(np.arange(128), measured, [rows[pitch][i] for pitch in measured])
        for i in range(len(velocities))
    ]
    coarse = np.maximum.accumulate(np.stack(columns, axis=1), axis=1)
    loudness = np.stack([np.interp(np.log(fine), np.log(velocities), row) for row in coarse])
    wanted = np.array([[nominal(voice, p, int(velocity)) for velocity in fine] for p in range(128)])
    low, high = _CORE.get(type(voice), (0, 127))
    core = [pitch for pitch in measured if low <= pitch <= high]
    reference = _REFERENCE_VELOCITY - 1
    level = float(np.median((loudness - wanted)[core, reference]))
    mapped = np.zeros((128, 128), dtype=np.uint8)
    for pitch in range(128):
        away = np.abs(loudness[pitch][None, :] - (wanted[pitch][:, None] + level))
        mapped[pitch, 1:] = fine[away.argmin(axis=1)]
    return Calibration(gain=float(10 ** (-level / 20)), velocities=mapped)


@cache
def _measured() -> dict[str, tuple[list[int], dict[int, list[float]]]]:
    """For every voice: the velocities, and for each pitch the LUFS at them."""
    text = resources.files("lofid.sound").joinpath("data", "loudness.json").read_text("utf-8")
    table = json.loads(text)
    return {
        voice: (table["velocities"], {int(pitch): row for pitch, row in rows.items()})
        for voice, rows in table["voices"].items()
    }
