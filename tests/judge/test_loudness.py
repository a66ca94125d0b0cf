"""Loudness against signals whose loudness the standards state."""

import math

import numpy as np
import pytest

from lofid.judge.loudness import (
    Audio,
    balance,
    integrated,
    loudness_range,
    short_term,
    true_peak,
)
from lofid.sound import SAMPLE_RATE


def sine(decibels: float, seconds: float = 6.0, hertz: float = 997.0, phase: float = 0.0) -> Audio:
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    wave = 10 ** (decibels / 20) * np.sin(2 * np.pi * hertz * time + phase)
    return np.stack([wave, wave], axis=1).astype(np.float32)


def test_integrated_is_that_of_the_standard() -> None:
    # EBU Tech 3341, case 1: a stereo sine of 1 kHz at -23 dBFS measures -23 LUFS.
    assert integrated(sine(-23.0)) == pytest.approx(-23.0, abs=0.1)
    assert integrated(np.zeros((SAMPLE_RATE, 2), np.float32)) == -math.inf


def test_range_is_that_of_the_standard() -> None:
    # EBU Tech 3342, case 1: 20 s at -20 and 20 s at -30 dBFS have a range of 10 LU.
    assert loudness_range(np.vstack([sine(-20, 20), sine(-30, 20)])) == pytest.approx(10, abs=1)
    assert math.isnan(loudness_range(sine(-20, 1)))


def test_true_peak_sees_between_the_samples() -> None:
    # A quarter of the sample rate at 45 degrees: samples at -3 dB of the wave's own peak.
    audio = sine(-6.0, 1.0, SAMPLE_RATE / 4, np.pi / 4)
    assert 20 * math.log10(float(np.max(audio))) == pytest.approx(-9.0, abs=0.05)
    assert true_peak(audio[1000:-1000]) == pytest.approx(-6.0, abs=0.3)
    assert true_peak(np.zeros((10, 2), np.float32)) == -math.inf


def test_true_peak_at_a_block_boundary() -> None:
    audio = np.zeros((10 * SAMPLE_RATE + 2000, 2), np.float32)
    around = 10 * SAMPLE_RATE
    audio[around - 500 : around + 500] = sine(-6.0, 1000 / SAMPLE_RATE, 12_000.0, np.pi / 4)
    whole = true_peak(audio)
    assert whole == pytest.approx(true_peak(audio[around - 1000 :]), abs=0.02)


def test_balance() -> None:
    mix, stem = sine(-16.0), sine(-21.0)
    half = np.vstack([stem[: 3 * SAMPLE_RATE], np.zeros((3 * SAMPLE_RATE, 2), np.float32)])
    stems = {"drums": stem, "keys": half, "bass": np.zeros_like(mix)}
    found = balance(stems, mix, dict.fromkeys(("drums", "keys", "bass", "texture"), (-7, -3)))
    assert set(found) == {"drums", "keys"}
    assert found["drums"].level == pytest.approx(-5.0, abs=0.05)
    assert found["drums"].inside.value == 1
    assert found["drums"].inside.total == len(short_term(mix)) == 4
    assert found["keys"].inside.total < 4
