"""The musical report: every figure of a set of takes, beside its target and human playing."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from rich.table import Table

from lofid.judge import human, loudness, music, recital
from lofid.judge.figures import Figure, Share, Target
from lofid.music.notes import Part
from lofid.music.plan import Bar

_SHUFFLE_SEED = 1
_TRAINING_EVERY = 3
"""Of POP909's training songs, every third stands for the corpus when recitation is measured."""


@dataclass(frozen=True, slots=True)
class MeasuredTake:
    """What one station wrote: ``legal`` counts the bars whose tokens decode under the grammar."""

    preset: str
    seed: int
    bars: Sequence[Bar]
    legal: Share


@dataclass(frozen=True, slots=True)
class Humans:
    """Human playing beside which takes are put: songs and drum takes as lists of bars."""

    songs: Sequence[Sequence[Bar]]
    grooves: Sequence[Sequence[Bar]]
    training: Sequence[Sequence[Bar]]

    @classmethod
    def read(cls, data: Path) -> "Humans":
        """POP909's held-out songs and part of its training songs, GMD's slow groove takes.

        Raises :class:`LofidError` where the archives in ``data`` are missing or damaged.
        """
        return cls(
            [human.keys_bars(piece) for piece in human.keys_pieces(data, held=True)],
            human.groove_bars(data),
            [
                human.keys_bars(piece)
                for piece in human.keys_pieces(data, held=False, every=_TRAINING_EVERY)
            ],
        )


def musical_figures(takes: Sequence[MeasuredTake], humans: Humans | None = None) -> list[Figure]:
    """The figures of harmony, groove, repetition and form over all takes together."""
    bars = [bar for take in takes for bar in take.bars]
    songs = list(chain.from_iterable(humans.songs)) if humans else []
    grooves = list(chain.from_iterable(humans.grooves)) if humans else []
    legal = sum((take.legal for take in takes), Share())
    return [
        Figure("Grammar", "legal bars", legal.value, "", Target(low=1)),
        *_harmony(bars, songs),
        *_groove(bars, grooves),
        *_repetition(takes, humans),
        *_lines(takes, songs),
    ]


def _harmony(bars: Sequence[Bar], songs: Sequence[Bar]) -> list[Figure]:
    def shuffled_gap(of: Sequence[Bar], which: music.Selection | None = None) -> float | None:
        own = music.chord_tones(of, which=which).value
        other = music.shuffled_chord_tones(of, _SHUFFLE_SEED, which=which).value
        return None if own is None or other is None else own - other

    group = "Harmony"
    kinds: list[tuple[str, music.Selection | None, float]] = [
        ("chord tones", None, 0.80),
        ("chord tones, borrowed chords", music.is_borrowed, 0.75),
        ("chord tones, seventh and ninth chords", music.is_extended, 0.75),
    ]
    figures = [
        Figure(
            group,
            "notes in the chord scale",
            music.in_scale(bars).value,
            "",
            Target(low=0.90),
            music.in_scale(songs).value,
            "keys, melody and bass",
        )
    ]
    for name, which, low in kinds:
        own = music.chord_tones(bars, which=which).value
        beside = music.chord_tones(songs, which=which).value
        figures.append(Figure(group, name, own, "", Target(low=low), beside, "keys"))
        figures.append(
            Figure(
                group,
                name + ", above shuffled",
                shuffled_gap(bars, which),
                "",
                Target(low=0.35) if which is None else None,
                shuffled_gap(songs, which),
            )
        )
    return [
        *figures,
        Figure(
            group,
            "chord tones, melody",
            music.chord_tones(bars, (Part.MELODY,)).value,
            human=music.chord_tones(songs, (Part.MELODY,)).value,
        ),
        Figure(
            group,
            "bars with a seventh or ninth",
            music.extended_bars(bars).value,
            "",
            Target(low=0.80),
            music.extended_bars(songs).value,
        ),
    ]


def _groove(bars: Sequence[Bar], grooves: Sequence[Bar]) -> list[Figure]:
    group = "Groove"
    deviation = music.velocity_deviation(bars, Part.DRUMS)
    reference = music.velocity_deviation(grooves, Part.DRUMS) or human.GROOVE_VELOCITY_DEVIATION
    return [
        Figure(
            group,
            "drum velocity deviation, to GMD's",
            None if deviation is None else deviation / reference,
            "",
            Target(0.8, 1.2),
            1.0,
            f"standard deviation over GMD's groove styles: {reference:.1f}",
        ),
        Figure(
            group,
            "swing, less what was asked",
            music.swing_error(bars),
            "points",
            Target(-2, 2),
            note="median over the drums' off-sixteenths, less each drum's own lateness",
        ),
        Figure(
            group,
            "kick on one",
            music.kick_on_one(bars).value,
            "",
            Target(low=0.95),
            music.kick_on_one(grooves).value,
            "bars of A and B with drums, without fills",
        ),
        Figure(
            group,
            "backbeat",
            music.backbeat(bars).value,
            "",
            Target(low=0.95),
            music.backbeat(grooves).value,
            "snare on 2 and 4, or on 3 in half time; bars as above",
        ),
    ]


def _repetition(takes: Sequence[MeasuredTake], humans: Humans | None) -> list[Figure]:
    group = "Repetition"
    songs = humans.songs if humans else ()

    def longest(of: Iterable[Sequence[Bar]], *parts: Part) -> float | None:
        return max(
            (music.longest_repetition(bars, parts or tuple(Part)) for bars in of), default=None
        )

    def distinct(of: Iterable[Sequence[Bar]], *parts: Part) -> float | None:
        shares = (music.distinct_bars(bars, parts or tuple(Part)) for bars in of)
        return sum(shares, Share()).value

    every = [take.bars for take in takes]
    found = music.returns(every)
    return [
        Figure(group, "longest run of one bar", longest(every), "bars", Target(high=8)),
        Figure(group, "longest run of one bar, drums", longest(every, Part.DRUMS), "bars"),
        Figure(
            group,
            "longest run of one bar, keys",
            longest(every, Part.KEYS),
            "bars",
            human=longest(songs, Part.KEYS),
        ),
        Figure(group, "different bars", distinct(every)),
        Figure(
            group,
            "different bars, keys",
            distinct(every, Part.KEYS),
            human=distinct(songs, Part.KEYS),
        ),
        Figure(
            group,
            "likeness of a loop's passes",
            found.loop,
            note="keys on the sixteenth grid: common notes over all notes of two bars",
        ),
        Figure(group, "likeness of A when it returns", found.section),
        Figure(group, "likeness of different bars of a loop", found.other),
    ]


def _lines(takes: Sequence[MeasuredTake], songs: Sequence[Bar]) -> list[Figure]:
    group = "Lines and dynamics"
    bars = [bar for take in takes for bar in take.bars]
    sung = [
        bar
        for take in takes
        if any(Part.MELODY in bar.plan.parts for bar in take.bars)
        for bar in take.bars
    ]
    return [
        Figure(
            group,
            "bars whose bass stays below",
            music.bass_below_keys(bars).value,
            "",
            Target(low=1),
            note="never above the keys' lowest note by more than an octave",
        ),
        Figure(
            group,
            "melody onsets",
            music.onsets_a_bar(bars, Part.MELODY),
            "a bar",
            Target(high=4),
            music.onsets_a_bar(songs, Part.MELODY),
            "in bars in which it plays",
        ),
        Figure(
            group,
            "bars without melody",
            music.rests(sung, Part.MELODY).value,
            "",
            Target(low=0.30),
            music.rests(songs, Part.MELODY).value,
            "of takes that have a melody at all",
        ),
        Figure(
            group,
            "bass onsets",
            music.onsets_a_bar(bars, Part.BASS),
            "a bar",
        ),
        Figure(
            group,
            "keys velocity deviation",
            music.velocity_deviation(bars, Part.KEYS),
            human=music.velocity_deviation(songs, Part.KEYS),
        ),
    ]


def recital_figures(takes: Sequence[MeasuredTake], humans: Humans) -> list[Figure]:
    """What takes share with the training songs, beside what held-out songs share with them.

    Of the takes and of the songs stand the median and the 95th percentile: two songs of POP909 are
    the same in all but name, so the very longest says nothing.
    """
    group = "Recitation"
    figures: list[Figure] = []
    for part in (Part.KEYS, Part.MELODY):

        def lines(of: Iterable[Sequence[Bar]], part: Part = part) -> list[recital.Steps]:
            found = (recital.steps([bar.notes.get(part, ()) for bar in bars]) for bars in of)
            return [line for line in found if len(line) >= recital.NOTES]

        corpus = recital.KnownNotes(lines(humans.training))
        ours = [corpus.overlap(line) for line in lines(take.bars for take in takes)]
        theirs = [corpus.overlap(line) for line in lines(humans.songs)]
        for percent, name in ((50, "median"), (95, "95th percentile")):
            shared, their_shared = (
                _percentile([found.shared.value or 0.0 for found in all_found], percent)
                for all_found in (ours, theirs)
            )
            longest, their_longest = (
                _percentile([found.longest for found in all_found], percent)
                for all_found in (ours, theirs)
            )
            figures += [
                Figure(
                    group,
                    f"{part}: share of runs known, {name}",
                    shared,
                    "",
                    None if their_shared is None else Target(high=their_shared),
                    their_shared,
                    f"different runs of {recital.NOTES} notes (intervals and times) that occur in "
                    "the training songs, no more than of held-out songs",
                ),
                Figure(
                    group,
                    f"{part}: longest run known, {name}",
                    longest,
                    "notes",
                    None if their_longest is None else Target(high=their_longest),
                    their_longest,
                ),
            ]
    return figures


def _percentile(values: Sequence[float], percent: float) -> float | None:
    return float(np.percentile(values, percent)) if values else None


def sound_figures(
    preset: str, mix: loudness.Audio, stems: Mapping[str, loudness.Audio]
) -> list[Figure]:
    """Loudness of a preset's mix and the balance of its stems (named as in ``BALANCE``)."""
    group = f"Sound of {preset}"
    spread = loudness.loudness_range(mix)
    figures = [
        Figure(group, "loudness", loudness.integrated(mix), "LUFS", Target(-16.5, -15.5)),
        Figure(group, "true peak", loudness.true_peak(mix), "dBTP", Target(high=-1)),
        Figure(group, "loudness range", None if math.isnan(spread) else spread, "LU", Target(3, 7)),
    ]
    to_mix = loudness.balance(stems, mix, loudness.BALANCE)
    music = sum(stems.values(), np.zeros_like(mix))
    to_sum = loudness.balance(stems, music, loudness.BALANCE)
    # A band of one has no balance: its only stem is the mix.
    players = [stem for stem in to_mix if stem != "texture"]
    for stem, (low, high) in loudness.BALANCE.items():
        level, note = None, ""
        target = None if players == [stem] else Target(low, high)
        if stem in to_mix:
            level = to_mix[stem].level
            note = (
                f"{to_mix[stem].inside.value or 0:.0%} of its 3 s windows inside; "
                f"to the sum of the stems {to_sum[stem].level:.1f} LU"
            )
        name = f"{stem}, to the mix"
        figures.append(Figure(group, name, level, "LU", target, note=note))
    return figures


def layer_table(takes: Sequence[MeasuredTake]) -> Table:
    """Which parts sound in which sections, as a table for the terminal."""
    table = Table(title="Sections and layers", title_justify="left")
    for heading in ("section", "bars", *Part):
        table.add_column(str(heading), justify="right" if heading != "section" else "left")
    for section, (count, parts) in music.layers(b for take in takes for b in take.bars).items():
        table.add_row(str(section), str(count), *(f"{parts[part]:.0%}" for part in Part))
    return table
