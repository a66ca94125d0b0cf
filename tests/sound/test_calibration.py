"""Single notes of every voice, rendered and measured: as loud as they are meant to be."""

import numpy as np
import pytest
from scipy.signal import lfilter

from lofid.music.notes import DRUM_PITCH, Part
from lofid.music.parameters import BassInstrument, Instrument, Kit
from lofid.sound import SAMPLE_RATE
from lofid.sound.calibration import calibration, nominal
from lofid.sound.synth import Synth, Voice

# BS.1770-4's filters for 48 kHz, here through scipy as an independent judge.
SHELF = (
    [1.53512485958697, -2.69169618940638, 1.19839281085285],
    [1, -1.69065929318241, 0.73248077421585],
)
HIGH_PASS = ([1.0, -2.0, 1.0], [1, -1.99004745483398, 0.99007225036621])


def momentary(audio: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> float:
    weighted = lfilter(*HIGH_PASS, lfilter(*SHELF, audio, axis=0), axis=0)
    energy = np.square(weighted).sum(axis=1)
    gathered = np.concatenate(([0.0], np.cumsum(energy)))
    loudest = (gathered[19_200:] - gathered[:-19_200]).max() / 19_200
    return float(-0.691 + 10 * np.log10(loudest))


@pytest.mark.parametrize("voice", [*Instrument, *BassInstrument, *Kit])
def test_every_voice_is_as_loud_as_its_velocity_says(voice: Voice) -> None:
    if isinstance(voice, Kit):
        pitches = sorted(DRUM_PITCH.values())
    else:
        pitches = (
            [28, 33, 38, 43] if isinstance(voice, BassInstrument) else [48, 53, 60, 67, 74, 79]
        )
    synth, table = Synth(), calibration(voice)
    synth.choose(Part.KEYS, voice)
    errors = []
    for pitch in pitches:
        for velocity in (40, 64, 90):
            synth.silence()
            synth.render(4_800)
            now = synth.position
            sent = int(table.velocities[pitch, velocity])
            synth.note(Part.KEYS, now, now + SAMPLE_RATE * 4 // 5, pitch, sent)
            audio = synth.render(SAMPLE_RATE)[0].T * table.gain
            errors.append(momentary(audio) - nominal(voice, pitch, velocity))
    synth.close()
    # The jazz guitar has two layers of recordings, 7 dB apart, and no velocity between them.
    # The snare's brushes cannot strike as hard as a backbeat asks.
    tolerance = 4.0 if voice in (Instrument.JAZZ_GUITAR, Kit.BRUSHES) else 1.5
    assert np.abs(errors).max() <= tolerance
