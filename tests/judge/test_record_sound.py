"""How a record sounds, measured on made-up audio whose figures are known."""

from types import MappingProxyType

import numpy as np
import pytest

from lofid.compose.form import compose_song, locate, plan_bar
from lofid.judge.record_sound import bar_lines, hit_peaks, mono_loss, rain_movement, side_to_mid
from lofid.music.notes import DRUM_PITCH, PPQ, DrumClass, Note, Part
from lofid.music.parameters import Settings
from lofid.music.plan import Bar
from lofid.sound import SAMPLE_RATE

NOISE = np.random.default_rng(1).standard_normal((4 * SAMPLE_RATE, 2)).astype(np.float32) * 0.05


def test_width_and_what_is_lost_in_mono() -> None:
    middle, side = NOISE[:, :1], NOISE[:, 1:]
    wide = np.hstack((middle + 0.5 * side, middle - 0.5 * side))
    assert side_to_mid(wide, 200.0) == pytest.approx(-6, abs=0.3)
    assert mono_loss(wide) == pytest.approx(10 * np.log10(1.25), abs=0.1)
    assert mono_loss(np.hstack((middle, middle))) == pytest.approx(0, abs=0.01)


def test_hits_that_stand_alone_are_measured() -> None:
    song = compose_song(Settings(), 1, 0, None)
    plan = plan_bar(Settings(), 1, song, locate(song, 20), 20)
    hits = ((0, DrumClass.KICK, 0.25), (PPQ, DrumClass.SNARE, 0.5), (2 * PPQ, DrumClass.KICK, 0.25))
    notes = tuple(Note(start, DRUM_PITCH[drum], 120, 100) for start, drum, _ in hits)
    bar = Bar(plan, MappingProxyType({Part.DRUMS: notes}))
    lines = bar_lines([bar])
    drums = np.zeros((lines[-1], 2), dtype=np.float32)
    for start, _, level in hits:
        drums[round(start * lines[-1] / (4 * PPQ)) + 100] = level
    peaks = hit_peaks([bar], lines, drums)
    assert peaks[DrumClass.KICK] == pytest.approx([-12.04, -12.04], abs=0.01)
    assert peaks[DrumClass.SNARE] == pytest.approx([-6.02], abs=0.01)
    assert peaks[DrumClass.CLOSED_HAT] == []


def test_the_rain_moves() -> None:
    assert rain_movement(1, seconds=40) > 1
