"""The shipped SoundFont: what is in it, and that it sounds like the font that it was cut from."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lofid.music.notes import DRUM_PITCH, Part
from lofid.music.parameters import BassInstrument, Instrument, Kit
from lofid.sound.synth import PROGRAMS, Synth, Voice
from lofid.system import FLUIDR3

ROOT = Path(__file__).parents[2]
FONT = ROOT / "lofid" / "sound" / "data" / "lofid.sf3"
SOURCE = Path(FLUIDR3.name)
HEADROOM = 0.75
VOICES: tuple[Voice, ...] = (*Instrument, *BassInstrument, *Kit)


def pitches(voice: Voice) -> list[int]:
    if isinstance(voice, Kit):
        return sorted(DRUM_PITCH.values())
    return list(range(24, 61)) if isinstance(voice, BassInstrument) else list(range(36, 97))


def phrase(font: Path, voice: Voice) -> NDArray[np.float64]:
    """A few notes of a voice, straight through pyfluidsynth, without our own synth."""
    fluidsynth: Any = pytest.importorskip("fluidsynth")
    synth = fluidsynth.Synth(gain=0.5, samplerate=48000.0)
    for name in ("synth.reverb.active", "synth.chorus.active"):
        synth.setting(name, 0)
    loaded = synth.sfload(str(font))
    assert loaded >= 0
    bank, program = PROGRAMS[voice]
    assert synth.program_select(0, loaded, bank, program) == 0
    parts = []
    for index, pitch in enumerate(pitches(voice)[:: 1 if isinstance(voice, Kit) else 5]):
        synth.noteon(0, pitch, 50 + 37 * index % 70)
        parts.append(synth.get_samples(12_000))
        synth.noteoff(0, pitch)
        parts.append(synth.get_samples(2_400))
    synth.delete()
    return np.concatenate(parts).astype(float)


def test_size_and_notice() -> None:
    assert FONT.stat().st_size <= 6_000_000
    notice = FONT.with_name(FONT.name + ".LICENSE.txt").read_text()
    assert "Frank Wen" in notice
    assert "Permission is hereby granted, free of charge" in notice


@pytest.fixture(scope="module")
def synth() -> Any:
    return Synth()


@pytest.mark.parametrize("voice", VOICES)
def test_every_pitch_of_every_voice_sounds(synth: Synth, voice: Voice) -> None:
    synth.choose(Part.KEYS, voice)
    for pitch in pitches(voice):
        synth.silence()
        synth.render(2_400)
        now = synth.position
        synth.note(Part.KEYS, now, now + 9_600, pitch, 90)
        level = np.abs(synth.render(9_600)[0]).max()
        assert level > 1e-3, f"{voice} is silent at {pitch}"


@pytest.mark.skipif(not SOURCE.exists(), reason="needs Fluid R3 GM (Debian: fluid-soundfont-gm)")
@pytest.mark.parametrize("voice", VOICES)
def test_it_sounds_like_the_whole_font(voice: Voice) -> None:
    whole, cut = phrase(SOURCE, voice), phrase(FONT, voice) / HEADROOM
    difference = np.square(whole - cut).mean() / np.square(whole).mean()
    assert 10 * np.log10(difference) <= -25


@pytest.mark.skipif(not SOURCE.exists(), reason="needs Fluid R3 GM (Debian: fluid-soundfont-gm)")
def test_the_script_makes_the_shipped_font(tmp_path: Path) -> None:
    target = tmp_path / "again.sf3"
    script = ROOT / "scripts" / "build_soundfont.py"
    subprocess.run([sys.executable, script, SOURCE, target], check=True, capture_output=True)
    # Ogg streams carry a random serial number, so bytes differ where audio does not.
    assert target.stat().st_size == FONT.stat().st_size
    for voice in (Instrument.RHODES, Kit.JAZZ):
        np.testing.assert_array_equal(phrase(target, voice), phrase(FONT, voice))
