"""Acoustic figures: loudness of the mix and balance of its stems.

Loudness is that of ITU-R BS.1770-4 and EBU Tech 3342 as pyloudnorm measures them; true peak is
that of BS.1770-4 annex 2. Audio is float, [frames, 2], full scale ±1, at ``SAMPLE_RATE``.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyloudnorm
from numpy.typing import NDArray
from scipy.signal import resample_poly

from lofid.judge.figures import Share
from lofid.sound import SAMPLE_RATE

Audio = NDArray[np.float32]

SILENCE = -70.0
"""LUFS below which BS.1770 counts nothing, and we call a stem silent."""

_SHORT_TERM = 3.0
"""Seconds in a short-term window (EBU Tech 3341)."""
_OVERSAMPLING = 4
_PEAK_BLOCK = 10 * SAMPLE_RATE
_PEAK_MARGIN = 64
"""Frames either side of a block, so that the interpolation sees no edges."""


def integrated(audio: Audio) -> float:
    """Integrated loudness in LUFS, -inf for silence or less than a gating block (0.4 s)."""
    if len(audio) < 0.4 * SAMPLE_RATE or not np.any(audio):
        return -math.inf
    with np.errstate(divide="ignore"):
        loudness: float = pyloudnorm.Meter(SAMPLE_RATE).integrated_loudness(audio)
    return loudness


def loudness_range(audio: Audio) -> float:
    """Loudness range (LRA) in LU; NaN where the audio is silent or under 3 s."""
    if len(audio) < _SHORT_TERM * SAMPLE_RATE or not np.any(audio):
        return math.nan
    with np.errstate(divide="ignore"):
        spread: float = pyloudnorm.Meter(SAMPLE_RATE).loudness_range(audio)
    return spread


def short_term(audio: Audio) -> NDArray[np.float64]:
    """Short-term loudness [windows] in LUFS: 3 s windows, one a second, -inf for silence."""
    if len(audio) < _SHORT_TERM * SAMPLE_RATE:
        return np.empty(0)
    meter = pyloudnorm.Meter(SAMPLE_RATE, block_size=_SHORT_TERM, overlap=1 - 1 / _SHORT_TERM)
    with np.errstate(divide="ignore", invalid="ignore"):
        meter.integrated_loudness(audio)
    return np.asarray(meter.blockwise_loudness, np.float64)


def true_peak(audio: Audio) -> float:
    """The highest peak between the samples, in dBTP, by four-fold oversampling."""
    highest = float(np.max(np.abs(audio), initial=0.0))
    for first in range(0, len(audio), _PEAK_BLOCK):
        block = audio[max(0, first - _PEAK_MARGIN) : first + _PEAK_BLOCK + _PEAK_MARGIN]
        oversampled = resample_poly(block, _OVERSAMPLING, 1, axis=0)
        highest = max(highest, float(np.max(np.abs(oversampled))))
    return 20 * math.log10(highest) if highest else -math.inf


@dataclass(frozen=True, slots=True)
class Balance:
    """A stem beside its mix.

    ``level``: its integrated loudness less the mix's, in LU. ``inside``: the windows of 3 s, among
    those in which it sounds, in which that difference lies in the range asked for.
    """

    level: float
    inside: Share


def balance(
    stems: Mapping[str, Audio], mix: Audio, wanted: Mapping[str, tuple[float, float]]
) -> Mapping[str, Balance]:
    """Compare the stems that are wanted within some range with a mix; silent ones are left out."""
    whole, windows = integrated(mix), short_term(mix)
    found: dict[str, Balance] = {}
    for name, (low, high) in wanted.items():
        level = integrated(stems[name]) - whole if name in stems else -math.inf
        if math.isfinite(level):
            own = short_term(stems[name])
            differences = (own - windows)[(own > SILENCE) & (windows > SILENCE)]
            inside = int(np.sum((differences >= low) & (differences <= high)))
            found[name] = Balance(level, Share(inside, len(differences)))
    return found


BALANCE: Mapping[str, tuple[float, float]] = {
    "drums": (-7.0, -3.0),
    "keys": (-8.0, -4.0),
    "bass": (-10.0, -6.0),
    "texture": (-26.0, -18.0),
}
"""Where each stem should lie, in LU relative to the mix."""
