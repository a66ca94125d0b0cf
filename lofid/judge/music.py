"""Musical figures of bars: harmony, groove, repetition, melody, form.

Every function takes bars, whoever wrote them, so that human playing is measured by the same rules.
It knows nothing of models, tokens or audio.
"""

import itertools
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lofid.judge.figures import Share
from lofid.music.chords import Chord
from lofid.music.notes import (
    DRUM_CLASS,
    EARLIEST_START,
    PPQ,
    SIXTEENTH,
    TICKS_PER_BAR,
    DrumClass,
    Note,
    Part,
)
from lofid.music.plan import Bar, BarPlan, Section
from lofid.music.scales import chord_scale

PITCHED = (Part.KEYS, Part.MELODY, Part.BASS)
_EIGHTH = 2 * SIXTEENTH
_NEAR = -EARLIEST_START
"""A hit within half a sixteenth of a beat is on it."""


Selection = Callable[[Chord, BarPlan], bool]
"""Picks notes by their planned chord."""


def chord_at(plan: BarPlan, start: int) -> Chord:
    """The planned chord under a note; just ahead of a chord change it is the new one."""
    index = (start - EARLIEST_START) * len(plan.chords) // TICKS_PER_BAR
    return plan.chords[min(max(index, 0), len(plan.chords) - 1)]


def _sounding(bars: Iterable[Bar], parts: Collection[Part]) -> Iterator[tuple[Bar, Note, Chord]]:
    for bar in bars:
        for part in parts:
            for note in bar.notes.get(part, ()):
                yield bar, note, chord_at(bar.plan, note.start)


def in_scale(bars: Iterable[Bar], parts: Collection[Part] = PITCHED) -> Share:
    """Notes whose pitch class is in the chord scale of their planned chord and key."""
    inside = [
        note.pitch % 12 in chord_scale(chord, bar.plan.key)
        for bar, note, chord in _sounding(bars, parts)
    ]
    return Share(sum(inside), len(inside))


def is_borrowed(chord: Chord, plan: BarPlan) -> bool:
    """Whether a chord has a tone from outside the plan's key."""
    return not chord.pitch_classes <= plan.key.pitch_classes


def is_extended(chord: Chord, plan: BarPlan) -> bool:
    """Whether a chord has a seventh or a ninth (the plan does not matter)."""
    return chord.quality.is_extended


def chord_tones(
    bars: Iterable[Bar],
    parts: Collection[Part] = (Part.KEYS,),
    which: Selection | None = None,
) -> Share:
    """Notes that are tones of their planned chord; ``which`` selects chords."""
    inside = [
        note.pitch % 12 in chord.pitch_classes
        for bar, note, chord in _sounding(bars, parts)
        if which is None or which(chord, bar.plan)
    ]
    return Share(sum(inside), len(inside))


def shuffled_chord_tones(
    bars: Sequence[Bar],
    seed: int,
    parts: Collection[Part] = (Part.KEYS,),
    which: Selection | None = None,
) -> Share:
    """The same under the chord of another note, drawn by ``seed``: what chance gives.

    All are moved to C major or A minor first, as the human songs are, so that the difference is the
    harmony's and not that of keys or modes. ``which`` selects notes by their own planned chord.
    """
    found = [
        note.pitch - bar.plan.key.transposition
        for bar, note, chord in _sounding(bars, parts)
        if which is None or which(chord, bar.plan)
    ]
    every = [
        chord.transposed(-bar.plan.key.transposition)
        for bar, _note, chord in _sounding(bars, parts)
    ]
    generator = np.random.Generator(np.random.Philox(seed))
    drawn = generator.integers(0, max(1, len(every)), len(found))
    inside = [
        pitch % 12 in every[other].pitch_classes for pitch, other in zip(found, drawn, strict=True)
    ]
    return Share(sum(inside), len(inside))


def extended_bars(bars: Iterable[Bar]) -> Share:
    """Bars whose plan has a chord with a seventh or a ninth."""
    rich = [any(chord.quality.is_extended for chord in bar.plan.chords) for bar in bars]
    return Share(sum(rich), len(rich))


def velocity_deviation(bars: Iterable[Bar], part: Part) -> float | None:
    """Standard deviation of a part's velocities (1-127) over all its notes."""
    velocities = [note.velocity for bar in bars for note in bar.notes.get(part, ())]
    return statistics.pstdev(velocities) if velocities else None


def swing_error(bars: Iterable[Bar]) -> float | None:
    """Swing played by the drums minus the swing asked for, in points (percent of an eighth).

    For each drum, the place of its off-sixteenths within their eighth, less the drum's own median
    lateness on the eighths (a late snare is late, not swung); the median over all of them.
    None where no off-sixteenth is played.
    """
    on: defaultdict[DrumClass, list[float]] = defaultdict(list)
    off: defaultdict[DrumClass, list[tuple[float, float]]] = defaultdict(list)
    for bar in bars:
        swing = bar.plan.swing
        # Half way from the off-sixteenth asked for to the eighth on either side.
        first, last = swing / 200, (swing / 100 + 1) / 2
        for note in bar.notes.get(Part.DRUMS, ()):
            share = note.start % _EIGHTH / _EIGHTH
            if first <= share < last:
                off[DRUM_CLASS[note.pitch]].append((100 * share, swing))
            else:
                on[DRUM_CLASS[note.pitch]].append(100 * (share if share < first else share - 1))
    errors = [
        place - (statistics.median(on[drum]) if on[drum] else 0.0) - swing
        for drum, places in off.items()
        for place, swing in places
    ]
    return statistics.median(errors) if errors else None


def has_full_kit(bar: Bar) -> bool:
    """Whether a bar should carry the groove: drums in an A or B section, and no fill."""
    plan = bar.plan
    return Part.DRUMS in plan.parts and plan.section in (Section.A, Section.B) and not plan.fill


def _hits(bar: Bar, drum: DrumClass, beat: int) -> bool:
    return any(
        DRUM_CLASS[note.pitch] is drum and abs(note.start - beat * PPQ) <= _NEAR
        for note in bar.notes.get(Part.DRUMS, ())
    )


def kick_on_one(bars: Iterable[Bar]) -> Share:
    """Full-kit bars with a kick on the first beat."""
    kicks = [_hits(bar, DrumClass.KICK, 0) for bar in bars if has_full_kit(bar)]
    return Share(sum(kicks), len(kicks))


def backbeat(bars: Iterable[Bar]) -> Share:
    """Full-kit bars with a snare on beats 2 and 4, or on 3 alone of the three (half time)."""
    found = []
    for bar in bars:
        if has_full_kit(bar):
            two, three, four = (_hits(bar, DrumClass.SNARE, beat) for beat in (1, 2, 3))
            found.append((two and four) or (three and not two and not four))
    return Share(sum(found), len(found))


Shape = frozenset[tuple[Part, int, int]]


def shape(bar: Bar, parts: Collection[Part] = tuple(Part)) -> Shape:
    """What a bar plays, as (part, sixteenth, pitch), less micro-timing, length and velocity.

    Pitches of the pitched parts are relative to the key, so that a loop stays itself when it moves.
    """
    return frozenset(
        (
            part,
            round(note.start / SIXTEENTH),
            note.pitch - (0 if part is Part.DRUMS else bar.plan.key.tonic),
        )
        for part in parts
        for note in bar.notes.get(part, ())
    )


def longest_repetition(bars: Iterable[Bar], parts: Collection[Part] = tuple(Part)) -> int:
    """The most bars in a row that play the same shape; bars without a note count as none."""
    runs = itertools.groupby(shape(bar, parts) for bar in bars)
    return max((len(list(same)) for played, same in runs if played), default=0)


def distinct_bars(bars: Iterable[Bar], parts: Collection[Part] = tuple(Part)) -> Share:
    """Different shapes among the bars that play at all."""
    shapes = [played for bar in bars if (played := shape(bar, parts))]
    return Share(len(set(shapes)), len(shapes))


def similarity(one: Shape, other: Shape) -> float:
    """Common events of two shapes over all of theirs: 0 nothing in common, 1 the same."""
    return len(one & other) / len(one | other) if one | other else 1.0


def _songs(bars: Iterable[Bar]) -> Iterator[list[list[Bar]]]:
    """Songs as lists of sections; a song ends with its outro, or where an intro begins."""
    sections: list[list[Bar]] = []
    for _, group in itertools.groupby(
        bars, key=lambda bar: (bar.plan.section, bar.plan.index - bar.plan.bar_in_section)
    ):
        section = list(group)
        before = sections[-1][0].plan.section if sections else None
        opens = section[0].plan.section is Section.INTRO or before is Section.OUTRO
        if sections and opens:
            yield sections
            sections = []
        sections.append(section)
    if sections:
        yield sections


def _loop_length(section: Sequence[Bar]) -> int | None:
    """The number of bars, 4 or 8, after which a section's chords come again."""
    chords = [bar.plan.chords for bar in section]
    for length in (4, 8):
        if len(chords) > length and chords[length:] == chords[:-length]:
            return length
    return None


@dataclass(frozen=True, slots=True)
class Returns:
    """How alike bars are (mean :func:`similarity`), by their places in the form.

    ``loop``: the same place of a loop in its successive passes. ``section``: the same place of
    section A when it returns. ``other``: different places of one loop, for comparison. None where
    no such pairs occur.
    """

    loop: float | None
    section: float | None
    other: float | None


def returns(runs: Iterable[Sequence[Bar]], parts: Collection[Part] = (Part.KEYS,)) -> Returns:
    """Whether what returns can be recognised, over runs of bars that do not continue each other."""
    loop: list[float] = []
    other: list[float] = []
    section: list[float] = []

    def compare(into: list[float], one: Bar, two: Bar) -> None:
        first, second = shape(one, parts), shape(two, parts)
        if first or second:
            into.append(similarity(first, second))

    for sections in itertools.chain.from_iterable(map(_songs, runs)):
        for played in sections:
            length = _loop_length(played)
            if length is None:
                continue
            for before, again in zip(played, played[length:], strict=False):
                compare(loop, before, again)
            for one, two in itertools.combinations(played[:length], 2):
                compare(other, one, two)
        first, *later = [s for s in sections if s[0].plan.section is Section.A] or [[]]
        for later_section in later:
            for one, two in zip(first, later_section, strict=False):
                compare(section, one, two)
    means = (statistics.fmean(values) if values else None for values in (loop, section, other))
    return Returns(*means)


def bass_below_keys(bars: Iterable[Bar]) -> Share:
    """Bars whose highest bass note lies at most an octave above the keys' lowest note."""
    kept = [
        max(note.pitch for note in bar.notes[Part.BASS])
        <= min(note.pitch for note in bar.notes[Part.KEYS]) + 12
        for bar in bars
        if bar.notes.get(Part.BASS) and bar.notes.get(Part.KEYS)
    ]
    return Share(sum(kept), len(kept))


def onsets_a_bar(bars: Iterable[Bar], part: Part) -> float | None:
    """Mean number of onsets in bars in which the part plays; notes struck together are one."""
    counts = [
        len({round(note.start / (SIXTEENTH // 2)) for note in notes})
        for bar in bars
        if (notes := bar.notes.get(part))
    ]
    return statistics.fmean(counts) if counts else None


def rests(bars: Iterable[Bar], part: Part) -> Share:
    """Bars in which no note of the part begins."""
    silent = [not bar.notes.get(part) for bar in bars]
    return Share(sum(silent), len(silent))


def layers(bars: Iterable[Bar]) -> Mapping[Section, tuple[int, Mapping[Part, float]]]:
    """For each section that occurs: its bars, and the share of them in which each part sounds."""
    count: Counter[Section] = Counter()
    sounding: Counter[tuple[Section, Part]] = Counter()
    for bar in bars:
        count[bar.plan.section] += 1
        sounding.update((bar.plan.section, part) for part, notes in bar.notes.items() if notes)
    return {
        section: (count[section], {part: sounding[section, part] / count[section] for part in Part})
        for section in Section
        if count[section]
    }
