"""Pictures of bars and of audio: what a figure hides, an eye sees.

Needs matplotlib (``pip install 'lofid[report]'``); importing this module without it raises
:class:`LofidError`.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lofid.errors import LofidError
from lofid.files import replacing
from lofid.judge.loudness import Audio, short_term
from lofid.music.notes import DRUM_CLASS, EARLIEST_START, SIXTEENTH, TICKS_PER_BAR, DrumClass, Part
from lofid.music.plan import Bar
from lofid.sound import SAMPLE_RATE

try:
    from matplotlib.collections import PatchCollection
    from matplotlib.colors import to_rgba
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle
except ImportError as error:
    raise LofidError(
        "Pictures need matplotlib; install it with: pip install 'lofid[report]'."
    ) from error

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOUR = {
    Part.KEYS: "#3b6fb5",
    Part.MELODY: "#d1495b",
    Part.BASS: "#2e8b57",
    Part.DRUMS: "#555555",
}
_BARS_A_ROW = 8
_DRUM_ORDER = tuple(DrumClass)


def _save(figure: Figure, path: Path) -> None:
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=100)


def piano_roll(bars: Sequence[Bar], path: Path) -> None:
    """Draw bars as rows of eight: pitched parts above, drums below, loudness as opacity.

    Bar lines carry the chords; a section's name stands where it begins.
    """
    rows = [bars[first : first + _BARS_A_ROW] for first in range(0, len(bars), _BARS_A_ROW)]
    pitches = [
        note.pitch
        for bar in bars
        for part, notes in bar.notes.items()
        if part is not Part.DRUMS
        for note in notes
    ]
    low, high = min(pitches, default=36) - 2, max(pitches, default=84) + 2
    figure = Figure(figsize=(20, 4.2 * len(rows)), layout="constrained")
    axes = figure.subplots(2 * len(rows), 1, squeeze=False, height_ratios=[3, 1] * len(rows))[:, 0]
    for number, row in enumerate(rows):
        roll, kit = axes[2 * number], axes[2 * number + 1]
        _draw_pitched(roll, row, low, high)
        _draw_drums(kit, row)
        for axis in (roll, kit):
            axis.set_xlim(-SIXTEENTH, _BARS_A_ROW * TICKS_PER_BAR)
            axis.set_xticks([i * TICKS_PER_BAR for i in range(len(row))])
            axis.grid(axis="x", color="#999999", linewidth=0.8)
        roll.set_xticklabels([])
        kit.set_xticklabels([str(bar.plan.index) for bar in row])
    if rows:
        handles = [Rectangle((0, 0), 1, 1, color=colour) for colour in COLOUR.values()]
        names = [str(part) for part in COLOUR]
        figure.legend(handles, names, ncols=len(names), loc="outside upper right")
    _save(figure, path)


def _draw_pitched(axis: "Axes", row: Sequence[Bar], low: int, high: int) -> None:
    for part in (Part.KEYS, Part.MELODY, Part.BASS):
        notes = [
            (index * TICKS_PER_BAR + note.start, note)
            for index, bar in enumerate(row)
            for note in bar.notes.get(part, ())
        ]
        boxes = [Rectangle((start, n.pitch - 0.45), n.duration, 0.9) for start, n in notes]
        colours = [to_rgba(COLOUR[part], 0.25 + 0.75 * n.velocity / 127) for _, n in notes]
        axis.add_collection(PatchCollection(boxes, facecolors=colours, edgecolor="none"))
    for index, bar in enumerate(row):
        plan = bar.plan
        share = TICKS_PER_BAR / len(plan.chords)
        for place, chord in enumerate(plan.chords):
            where = index * TICKS_PER_BAR + place * share
            axis.text(where + 20, high - 0.5, chord.symbol, fontsize=8, va="top")
        if plan.bar_in_section == 0:
            line = index * TICKS_PER_BAR
            axis.axvline(line, color="black", linewidth=2)
            mark = f"{plan.section} · {plan.key.symbol} · {plan.tempo:g} BPM"
            axis.text(line + 20, low + 0.5, mark, fontsize=9, weight="bold")
    axis.set_ylim(low, high)
    axis.set_yticks([c for c in range(0, 128, 12) if low <= c <= high])
    axis.set_yticklabels([f"C{c // 12 - 1}" for c in range(0, 128, 12) if low <= c <= high])
    axis.grid(axis="y", color="#dddddd", linewidth=0.6)


def _draw_drums(axis: "Axes", row: Sequence[Bar]) -> None:
    hits = [
        (index * TICKS_PER_BAR + note.start, DRUM_CLASS[note.pitch], note.velocity)
        for index, bar in enumerate(row)
        for note in bar.notes.get(Part.DRUMS, ())
    ]
    axis.scatter(
        [start for start, _, _ in hits],
        [int(drum) for _, drum, _ in hits],
        s=[2 + 40 * (velocity / 127) ** 2 for _, _, velocity in hits],
        color=COLOUR[Part.DRUMS],
        marker="|",
    )
    axis.set_ylim(-0.7, len(_DRUM_ORDER) - 0.3)
    axis.set_yticks([int(drum) for drum in _DRUM_ORDER])
    axis.set_yticklabels([drum.name.lower().replace("_", " ") for drum in _DRUM_ORDER], fontsize=6)


def onset_histogram(bars: Iterable[Bar], path: Path) -> None:
    """Where in the bar each part's notes begin: one row a part, in steps of ten ticks.

    The grid lines are the straight sixteenths, so swing and lateness show as distance from them.
    """
    starts: defaultdict[Part, list[int]] = defaultdict(list)
    for bar in bars:
        for part, notes in bar.notes.items():
            starts[part].extend(note.start for note in notes)
    grid = [sixteenth * SIXTEENTH for sixteenth in range(17)]
    # The bins' middles lie on multiples of ten ticks, so that a bin stands on each grid line.
    edges = np.arange(EARLIEST_START - 5, TICKS_PER_BAR + 10, 10)
    _histogram_rows(starts, edges, grid, "ticks from the bar line", path)


def velocity_histogram(bars: Iterable[Bar], path: Path) -> None:
    """How hard each part plays: one row a part, velocities 1-127."""
    played: defaultdict[Part, list[int]] = defaultdict(list)
    for bar in bars:
        for part, notes in bar.notes.items():
            played[part].extend(note.velocity for note in notes)
    _histogram_rows(played, np.arange(0, 129, 2), list(range(0, 129, 16)), "velocity", path)


def _histogram_rows(
    values: Mapping[Part, list[int]],
    edges: NDArray[np.int_],
    ticks: list[int],
    label: str,
    path: Path,
) -> None:
    figure = Figure(figsize=(14, 8), layout="constrained")
    axes = figure.subplots(len(Part), 1, sharex=True)
    for axis, part in zip(axes, Part, strict=True):
        found = values.get(part, [])
        axis.set_axisbelow(True)
        axis.hist(found, bins=edges, histtype="stepfilled", color=COLOUR[part])
        axis.set_title(f"{part}: {len(found)} notes", loc="left", fontsize=9)
        axis.set_xticks(ticks)
        axis.grid(axis="x", color="#bbbbbb", linewidth=0.6)
    axes[-1].set_xlabel(label)
    _save(figure, path)


def spectrogram(audio: Audio, path: Path) -> None:
    """Spectrogram (30 Hz to 24 kHz, logarithmic) above the short-term loudness of a mix."""
    figure = Figure(figsize=(18, 9), layout="constrained")
    above, below = figure.subplots(2, 1, height_ratios=[3, 1], sharex=True)
    mono = audio.mean(axis=1)
    size, hop = 4096, 2048
    # Shown at most at one column a pixel: longer audio is looked at in wider steps.
    hop = max(hop, len(mono) // 2000)
    starts = range(0, max(1, len(mono) - size), hop)
    window = np.hanning(size)
    spectrum = np.array(
        [np.abs(np.fft.rfft(window * mono[start : start + size], size)) for start in starts]
        if len(mono) >= size
        else [np.zeros(size // 2 + 1)]
    )
    levels = 20 * np.log10(spectrum / (size / 4) + 1e-9)
    frequencies = np.fft.rfftfreq(size, 1 / SAMPLE_RATE)
    times = np.array(starts) / SAMPLE_RATE
    mesh = above.pcolormesh(times, frequencies, levels.T, vmin=-110, vmax=-20, cmap="magma")
    above.set_yscale("log")
    above.set_ylim(30, SAMPLE_RATE / 2)
    above.set_ylabel("Hz")
    figure.colorbar(mesh, ax=above, label="dBFS")
    loudness = short_term(audio)
    below.plot(np.arange(len(loudness)) + 1.5, np.maximum(loudness, -70), color="#3b6fb5")
    below.set_ylim(-50, 0)
    below.set_ylabel("LUFS in 3 s")
    below.set_xlabel("seconds")
    below.grid(color="#dddddd")
    _save(figure, path)


def bench_picture(times: Mapping[str, tuple[float, float, float | None]], path: Path) -> None:
    """Draw engines beside one another: milliseconds of a token.

    ``times`` are by engine the median, the 99th percentile and the memory's floor, None where
    that was not measured. The scale is logarithmic: a hundredfold lies between them.
    """
    figure = Figure(figsize=(9, 0.6 * len(times) + 1.5), layout="constrained")
    axes = figure.subplots()
    places = range(len(times))
    names = list(times)[::-1]
    medians = [times[name][0] for name in names]
    axes.barh(places, medians, color=COLOUR[Part.KEYS], height=0.6)
    for place, name in zip(places, names, strict=True):
        median, late, floor = times[name]
        axes.plot([median, late], [place, place], color="#222222", linewidth=1)
        axes.annotate(f" {median:.3g} ms", (late, place), va="center")
        if floor is not None:
            axes.plot([floor, floor], [place - 0.35, place + 0.35], color=COLOUR[Part.MELODY])
    axes.set_yticks(places, names)
    axes.set_xscale("log")
    axes.set_xlabel("ms a token: median, line to the 99th percentile; red: reading the weights")
    axes.spines[["top", "right"]].set_visible(False)
    _save(figure, path)
