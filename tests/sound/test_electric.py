"""The electric pianos, judged by numpy: pitch, decay, timbre, release, room for one more."""

import numpy as np
import pytest
from numpy.typing import NDArray

from lofid.sound import SAMPLE_RATE
from lofid.sound.electric import RHODES, WURLITZER, ElectricPiano, PianoModel

Line = NDArray[np.float32]


def played(model: PianoModel, pitch: int, velocity: int, held: float, whole: float) -> Line:
    """A note that is let go after ``held`` seconds."""
    piano = ElectricPiano()
    piano.strike(model, pitch, velocity, 1)
    first = taken(piano, held)
    piano.let_go(model, 1)
    return np.concatenate((first, taken(piano, whole - held)))


def taken(piano: ElectricPiano, seconds: float, block: int = 512) -> Line:
    sides = np.zeros((2, round(seconds * SAMPLE_RATE)), dtype=np.float32)
    for start in range(0, sides.shape[1], block):
        piano.add(sides[0, start : start + block], sides[1, start : start + block])
    np.testing.assert_array_equal(sides[0], sides[1])
    line: Line = sides[0]
    return line


def partials(tone: Line, hertz: float) -> NDArray[np.float64]:
    """Levels of the first six, in dB against the first."""
    spectrum = np.abs(np.fft.rfft(tone * np.hanning(len(tone))))
    width = len(tone) / SAMPLE_RATE
    levels = [
        spectrum[round(hertz * k * width) - 3 : round(hertz * k * width) + 4].max()
        for k in range(1, 7)
    ]
    decibels: NDArray[np.float64] = 20 * np.log10(np.array(levels) / levels[0])
    return decibels


def level(tone: Line) -> float:
    return float(20 * np.log10(np.sqrt(np.mean(np.square(tone.astype(float)))) + 1e-12))


@pytest.mark.parametrize("model", [RHODES, WURLITZER])
def test_a_hard_stroke_is_louder_and_brighter(model: PianoModel) -> None:
    soft, hard = (played(model, 57, velocity, 1.0, 1.0) for velocity in (35, 115))
    assert level(hard) > level(soft) + 10
    richer = partials(hard, 220.0)[1:4] - partials(soft, 220.0)[1:4]
    assert richer.mean() > 6


@pytest.mark.parametrize("model", [RHODES, WURLITZER])
def test_it_is_in_tune_dies_away_and_is_damped(model: PianoModel) -> None:
    tone = played(model, 69, 80, 1.5, 2.5)
    spectrum = np.abs(np.fft.rfft(tone[4800 : 4800 + SAMPLE_RATE] * np.hanning(SAMPLE_RATE)))
    assert 300 + int(spectrum[300:600].argmax()) == pytest.approx(440, abs=1)
    early, late = tone[4800:9600], tone[67_000:71_800]
    assert -30 < level(late) - level(early) < -6
    # No gate: 40 dB take a third of a second, more or less.
    gone = [
        level(tone[72_000 + at : 72_000 + at + 2400]) - level(late) for at in (4800, 14_400, 33_600)
    ]
    assert -22 < gone[0] < -3
    assert -60 < gone[1] < -25
    assert gone[2] < -60
    lasting, short = (played(model, pitch, 80, 1.5, 1.5) for pitch in (45, 84))
    lost = [level(one[4800:9600]) - level(one[67_000:71_800]) for one in (lasting, short)]
    assert lost[1] > lost[0] + 4


def test_the_two_do_not_sound_alike() -> None:
    shapes = [
        partials(played(model, 57, 90, 1.0, 1.0), 220.0)[1:4] for model in (RHODES, WURLITZER)
    ]
    assert np.abs(shapes[0] - shapes[1]).max() > 3


def test_it_is_the_same_however_it_is_cut() -> None:
    def whole(block: int) -> Line:
        piano = ElectricPiano()
        for count, pitch in enumerate((48, 55, 64)):
            piano.strike(RHODES, pitch, 80, count)
        return taken(piano, 0.5, block)

    np.testing.assert_array_equal(whole(64), whole(4096))


def test_one_note_too_many_ends_the_softest_without_a_click() -> None:
    piano = ElectricPiano()
    piano.strike(RHODES, 40, 20, 0)
    for count in range(1, 32):
        piano.strike(RHODES, 50 + count, 80, count)
    before = taken(piano, 0.5)
    piano.strike(RHODES, 90, 60, 99)
    after = taken(piano, 0.5)
    softest = 440 * 2 ** (-29 / 12)
    turn = np.exp(-2j * np.pi * softest / SAMPLE_RATE * np.arange(12_000)) * np.hanning(12_000)
    assert abs((after[-12_000:] * turn).sum()) < 0.2 * abs((before[-12_000:] * turn).sum())
    joined = np.concatenate((before, after)).astype(float)
    steps = np.abs(np.diff(joined, n=2))
    assert (
        steps[len(before) - 10 : len(before) + 2400].max()
        < 2 * steps[4800 : len(before) - 10].max()
    )


def test_silence_ends_everything() -> None:
    piano = ElectricPiano()
    piano.strike(WURLITZER, 60, 100, 1)
    taken(piano, 0.1)
    piano.silence()
    assert not taken(piano, 0.1).any()
