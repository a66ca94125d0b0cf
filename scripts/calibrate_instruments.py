"""Measure how loud single notes of lofid's SoundFont are, for lofid/sound/calibration.py.

Run it from the repository's root after the SoundFont has been cut anew:

    python scripts/calibrate_instruments.py lofid/sound/data/loudness.json
"""

import argparse
import json
from pathlib import Path

import numpy as np

from lofid.music.notes import DRUM_CLASS, Part
from lofid.music.parameters import BassInstrument, Instrument, Kit
from lofid.sound import SAMPLE_RATE, _kernels
from lofid.sound.loudness import to_loudness
from lofid.sound.synth import Synth, Voice

VELOCITIES = (8, 16, 24, 32, 40, 48, 56, 64, 72, 80, 88, 96, 104, 112, 120, 127)
_HOP = SAMPLE_RATE // 10  # four of them are BS.1770's momentary loudness


def main() -> None:
    """Measure every voice and write the table."""
    parser = argparse.ArgumentParser(description="Measure the loudness of every instrument.")
    parser.add_argument("target", type=Path, help="the .json file to write")
    target = parser.parse_args().target
    synth = Synth()  # one for all: loading the font takes half a second
    voices: dict[str, dict[int, list[float]]] = {}
    for voice in (*Instrument, *BassInstrument, *Kit):
        voices[str(voice)] = {
            pitch: [round(loudness(synth, voice, pitch, velocity), 2) for velocity in VELOCITIES]
            for pitch in _pitches(voice)
        }
    target.write_text(json.dumps({"velocities": VELOCITIES, "voices": voices}, indent=None) + "\n")


def _pitches(voice: Voice) -> list[int]:
    if isinstance(voice, Kit):
        return [pitch for pitch in sorted(DRUM_CLASS) if 35 <= pitch <= 51]
    low, high = (24, 60) if isinstance(voice, BassInstrument) else (36, 100)
    return list(range(low, high + 1))


def loudness(synth: Synth, voice: Voice, pitch: int, velocity: int) -> float:
    """LUFS of the loudest 400 ms of a note held for 0.8 s."""
    synth.choose(Part.KEYS, voice)
    now = synth.position
    synth.note(Part.KEYS, now, now + SAMPLE_RATE * 4 // 5, pitch, velocity)
    audio = synth.render(SAMPLE_RATE)[0].T
    synth.silence()
    synth.render(SAMPLE_RATE // 10)
    hops = _kernels.k_weighted_hops(audio, _HOP, np.zeros((2, 2, 2)), np.zeros(2))
    loudest = max(hops[i : i + 4].mean() for i in range(len(hops) - 3))
    return to_loudness(float(loudest))


if __name__ == "__main__":
    main()
