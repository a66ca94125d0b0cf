"""How a record sounds: the kit's balance, the form in its loudness, low end, width and texture.

Everything is measured on the stems and the mix of a take as :func:`lofid.judge.listening.listen`
renders it, its first bar line in frame 0. Levels are dBFS of full scale ±1, NaN where there is
nothing to measure.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt, welch

from lofid.compose.preset import Preset
from lofid.judge import loudness
from lofid.judge.figures import Figure, Share, Target
from lofid.judge.listening import listen
from lofid.judge.loudness import Audio
from lofid.judge.report import MeasuredTake
from lofid.music.notes import DRUM_CLASS, DrumClass, Part
from lofid.music.parameters import Settings
from lofid.music.plan import Bar, Section
from lofid.sound import SAMPLE_RATE
from lofid.sound.lines import BarLines, frames_per_tick
from lofid.sound.texture import Rain

Numbers = NDArray[np.float64]

_ALONE = round(0.11 * SAMPLE_RATE)
"""Frames on either side of a hit in which no kick or snare may sound that would cover it."""
_HIT = round(0.06 * SAMPLE_RATE)
_GHOST = 50
"""Velocity below which a snare is no backbeat."""


@dataclass(frozen=True, slots=True)
class RecordSound:
    """The figures of one take.

    ``kick_under_snare`` dB between the medians of their peaks; ``hat`` the median peak of closed
    hats and ``snare_velocity`` that of backbeats; ``crest`` of the drum stem while it plays, dB;
    ``stem_peak`` of the loudest stem, dBFS; ``lufs``, ``lra`` and ``true_peak`` of the mix;
    ``b_above_a`` LU between the sections; ``low_end`` dB of 40-100 Hz over 200-500 Hz where the
    bass plays; ``side`` dB of side to mid above 200 Hz; ``mono_loss`` dB that are gone in mono.
    """

    kick_under_snare: float
    hat: float
    snare_velocity: float
    crest: float
    stem_peak: float
    lufs: float
    lra: float
    true_peak: float
    b_above_a: float
    low_end: float
    side: float
    mono_loss: float


BOUNDS: Mapping[str, tuple[str, str, Target]] = {
    "kick_under_snare": ("kick under the snare", "dB", Target(1, 5)),
    "hat": ("closed hat, median", "dBFS", Target(low=-28)),
    "snare_velocity": ("backbeat, median velocity", "", Target(high=127)),
    "crest": ("crest of the drums", "dB", Target(10, 16)),
    "stem_peak": ("loudest peak of a stem", "dBFS", Target(high=0)),
    "lufs": ("loudness", "LUFS", Target(-16.5, -15.5)),
    "lra": ("loudness range", "LU", Target(3, 7)),
    "true_peak": ("true peak", "dBTP", Target(high=-1)),
    "b_above_a": ("B above A", "LU", Target(1, 2.5)),
    "low_end": ("40-100 Hz over 200-500 Hz", "dB", Target(0, 6)),
    "side": ("side to mid above 200 Hz", "dB", Target(-14, -8)),
    "mono_loss": ("lost in mono", "dB", Target(high=0.8)),
}
"""Name, unit and the range asked for of every field of :class:`RecordSound`."""


def record_sound(bars: Sequence[Bar], mix: Audio, stems: Mapping[str, Audio]) -> RecordSound:
    """Measure a take of ``bars`` from its mix and its stems."""
    lines = bar_lines(bars)
    peaks = hit_peaks(bars, lines, stems["drums"])
    drums = _sounding(stems["drums"])
    return RecordSound(
        kick_under_snare=_median(peaks[DrumClass.SNARE]) - _median(peaks[DrumClass.KICK]),
        hat=_median(peaks[DrumClass.CLOSED_HAT]),
        snare_velocity=_median(_backbeats(bars)),
        crest=_decibels(np.max(np.abs(drums), initial=0.0)) - _decibels(_rms(drums)),
        stem_peak=max(_decibels(np.max(np.abs(stem), initial=0.0)) for stem in stems.values()),
        lufs=loudness.integrated(mix),
        lra=loudness.loudness_range(mix),
        true_peak=loudness.true_peak(mix),
        b_above_a=_of_section(bars, lines, mix, Section.B)
        - _of_section(bars, lines, mix, Section.A),
        low_end=_low_end(bars, lines, mix),
        side=side_to_mid(mix, 200.0),
        mono_loss=mono_loss(mix),
    )


def bar_lines(bars: Iterable[Bar]) -> list[int]:
    """The frame of every bar line, and of the end of the last bar."""
    lines = BarLines()
    return [*(round(lines.begin(bar.plan.tempo)) for bar in bars), round(lines.next)]


def hit_peaks(
    bars: Sequence[Bar], lines: Sequence[int], drums: Audio
) -> Mapping[DrumClass, list[float]]:
    """Peaks in dBFS of kicks, backbeats and closed hats that stand alone in the drum stem."""
    hits = [
        (round(line + note.start * frames_per_tick(bar.plan.tempo)), DRUM_CLASS[note.pitch], note)
        for bar, line in zip(bars, lines, strict=False)
        for note in bar.notes.get(Part.DRUMS, ())
    ]
    loud = np.array([f for f, drum, _ in hits if drum in (DrumClass.KICK, DrumClass.SNARE)])
    found: dict[DrumClass, list[float]] = {
        DrumClass.KICK: [], DrumClass.SNARE: [], DrumClass.CLOSED_HAT: []
    }  # fmt: skip
    for frame, drum, note in hits:
        if drum not in found or (drum is DrumClass.SNARE and note.velocity < _GHOST):
            continue
        alone = np.sum(np.abs(loud - frame) < _ALONE) <= (drum is not DrumClass.CLOSED_HAT)
        window = drums[max(0, frame - 96) : frame + _HIT]
        if alone and len(window):
            found[drum].append(_decibels(np.abs(window).max()))
    return found


def sidechain_depth(preset: Preset, bars: Sequence[Bar], seed: int) -> float:
    """How far a kick pushes the keys down, in dB: the median over the kicks of these bars.

    Each is the deepest 10 ms within 120 ms of the kick, against the same without a side-chain.
    """
    free = Preset(preset.name, "", preset.settings.with_value("sound.sidechain", 0.0))
    pushed, plain = (
        listen(one, MeasuredTake(preset.name, seed, bars, Share()))[1]["keys"]
        for one in (preset, free)
    )
    depths: list[float] = []
    for bar, line in zip(bars, bar_lines(bars), strict=False):
        for note in bar.notes.get(Part.DRUMS, ()):
            if DRUM_CLASS[note.pitch] is not DrumClass.KICK:
                continue
            frame = round(line + note.start * frames_per_tick(bar.plan.tempo))
            hops = [slice(frame + i * 480, frame + (i + 1) * 480) for i in range(1, 12)]
            levels = [(_rms(plain[hop]), _rms(pushed[hop])) for hop in hops]
            heard = [_decibels(a) - _decibels(b) for a, b in levels if a > 1e-3 and b > 0]
            if heard:
                depths.append(max(heard))
    return _median(depths)


def side_to_mid(audio: Audio, above: float) -> float:
    """Power of the side against the mid, in dB, above a frequency in Hz."""
    filtered = sosfilt(butter(4, above, "highpass", fs=SAMPLE_RATE, output="sos"), audio, axis=0)
    left, right = filtered.T
    return _decibels(_rms(left - right)) - _decibels(_rms(left + right))


def mono_loss(audio: Audio) -> float:
    """DB by which both channels together are softer in mono."""
    mono = audio.mean(axis=1, keepdims=True).repeat(2, axis=1)
    return loudness.integrated(audio) - loudness.integrated(mono)


def rain_movement(seed: int, seconds: int = 60) -> float:
    """Standard deviation of the rain's level over seconds, in dB."""
    audio = Rain(seed).take(seconds * SAMPLE_RATE).reshape(seconds, -1)
    return float(np.std(10 * np.log10(np.square(audio).mean(axis=1))))


def record_figures(takes: Iterable[tuple[Preset, MeasuredTake]]) -> list[Figure]:
    """Medians over the takes of each preset, beside the ranges asked for."""
    by_preset: dict[str, list[RecordSound]] = {}
    depths: dict[str, list[float]] = {}
    asked: dict[str, Settings] = {}
    for preset, take in takes:
        mix, stems = listen(preset, take)
        by_preset.setdefault(preset.name, []).append(record_sound(take.bars, mix, stems))
        depths.setdefault(preset.name, []).append(_depth_of(preset, take))
        asked[preset.name] = preset.settings
    figures: list[Figure] = []
    for name, sounds in by_preset.items():
        for row in fields(RecordSound):
            title, unit, target = BOUNDS[row.name]
            value = _median([getattr(one, row.name) for one in sounds])
            figures.append(Figure(f"Sound of {name}", title, _or_none(value), unit, target))
        wanted = asked[name].sound.sidechain
        figures.append(
            Figure(
                f"Sound of {name}", "side-chain", _or_none(_median(depths[name])), "dB",
                Target(max(0.0, wanted - 0.7), wanted + 0.7),
            )
        )  # fmt: skip
    if any(settings.sound.rain > 0 for settings in asked.values()):
        moved = rain_movement(seed=1)
        group = next(name for name, settings in asked.items() if settings.sound.rain > 0)
        figures.append(
            Figure(f"Sound of {group}", "rain's level over seconds", moved, "dB", Target(low=1))
        )
    return figures


def _depth_of(preset: Preset, take: MeasuredTake) -> float:
    """The side-chain's depth over the first eight bars in which both keys and drums play."""
    both = [bar for bar in take.bars if Part.KEYS in bar.notes and Part.DRUMS in bar.notes]
    return sidechain_depth(preset, both[:8], take.seed) if both else math.nan


def _of_section(bars: Sequence[Bar], lines: Sequence[int], mix: Audio, section: Section) -> float:
    pieces = [
        mix[start:end]
        for bar, start, end in zip(bars, lines, lines[1:], strict=False)
        if bar.plan.section is section
    ]
    return loudness.integrated(np.concatenate(pieces)) if pieces else math.nan


def _low_end(bars: Sequence[Bar], lines: Sequence[int], mix: Audio) -> float:
    pieces = [
        mix[start:end]
        for bar, start, end in zip(bars, lines, lines[1:], strict=False)
        if Part.BASS in bar.notes
    ]
    if not pieces:
        return math.nan
    mono = np.concatenate(pieces).mean(axis=1)
    hertz, power = welch(mono, SAMPLE_RATE, nperseg=16_384)
    low, middle = (
        power[(hertz >= start) & (hertz < end)].sum() for start, end in ((40, 100), (200, 500))
    )
    return float(10 * np.log10(low / middle))


def _backbeats(bars: Iterable[Bar]) -> list[float]:
    return [
        float(note.velocity)
        for bar in bars
        for note in bar.notes.get(Part.DRUMS, ())
        if DRUM_CLASS[note.pitch] is DrumClass.SNARE and note.velocity >= _GHOST
    ]


def _sounding(audio: Audio) -> Audio:
    """The seconds of a stem in which something sounds."""
    seconds = [audio[i : i + SAMPLE_RATE] for i in range(0, len(audio), SAMPLE_RATE)]
    kept = [one for one in seconds if _decibels(_rms(one)) > loudness.SILENCE]
    return np.concatenate(kept) if kept else audio[:0]


def _rms(audio: Audio) -> float:
    return float(np.sqrt(np.mean(np.square(audio, dtype=np.float64)))) if len(audio) else 0.0


def _decibels(level: float) -> float:
    return 20 * math.log10(level) if level > 0 else -math.inf


def _median(values: Sequence[float]) -> float:
    kept = [value for value in values if math.isfinite(value)]
    return float(np.median(kept)) if kept else math.nan


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None
