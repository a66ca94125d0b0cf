"""Guards against collapse: what is wrong with a bar that a model has written.

Each guard names what it saw. The station answers by writing the bar again from the state before
it; the least bad attempt is played. Guards judge notes, they never change them.
"""

import statistics
from collections import Counter
from collections.abc import Sequence

from lofid.compose.rules import BACKBEATS, FEWEST_NOTES, MOST_HITS
from lofid.music.notes import DRUM_CLASS, SIXTEENTH, TICKS_PER_BAR, DrumClass, Note
from lofid.music.plan import BarPlan

MOST_KEYS = 40
FEWEST_HITS = 3
TIMEKEEPERS = (DrumClass.CLOSED_HAT, DrumClass.OPEN_HAT, DrumClass.RIDE)
LIVELY = 32.0
"""Velocity steps: seven in ten groove bars of the Groove MIDI Dataset spread further."""


def pattern(hits: Sequence[Note]) -> frozenset[tuple[int, DrumClass]]:
    """Which drums are hit on which sixteenths: what makes two bars of drums sound like one."""
    return frozenset((round(hit.start / SIXTEENTH), DRUM_CLASS[hit.pitch]) for hit in hits)


def has_groove(hits: Sequence[Note]) -> bool:
    """Whether a bar has its kick on the first beat and its snare on the second and fourth."""
    groove = {(0, DrumClass.KICK), *((at, DrumClass.SNARE) for at in BACKBEATS)}
    return groove <= pattern(hits)


def drums_findings(hits: Sequence[Note]) -> list[str]:
    """What is wrong with a bar of drums; empty if nothing is."""
    findings = []
    if len(hits) < FEWEST_HITS:
        findings.append(f"silence: {len(hits)} drum hits")
    if len(hits) > MOST_HITS:
        findings.append(f"crowd: {len(hits)} drum hits")
    if not has_groove(hits):
        findings.append("no groove: the kick on 1 or the backbeat is missing")
    return findings


def drums_weakness(hits: Sequence[Note], wanted: float) -> float:
    """How far a sound bar of drums is from a good one: 0 is best.

    Counts hits that are missing or too many against ``wanted``, flat playing (velocities whose
    standard deviation falls short of ``LIVELY``), time kept by no hat or ride, and a snare that
    keeps it instead.
    """
    spread = statistics.pstdev(hit.velocity for hit in hits) if hits else 0.0
    classes = Counter(DRUM_CLASS[hit.pitch] for hit in hits)
    keeping_time = sum(classes[drum] for drum in TIMEKEEPERS)
    return (
        abs(len(hits) - wanted) / 8
        + max(0.0, LIVELY - spread) / 12
        + max(0, 4 - keeping_time) / 2
        + max(0, classes[DrumClass.SNARE] - 5) / 2
    )


def keys_findings(comping: Sequence[Note], plan: BarPlan) -> list[str]:
    """What is wrong with a bar of comping, pitches as they sound; empty if nothing is."""
    findings = []
    if len(comping) < FEWEST_NOTES:
        findings.append(f"silence: {len(comping)} notes")
    if len(comping) > MOST_KEYS:
        findings.append(f"crowd: {len(comping)} notes")
    for share, chord in enumerate(plan.chords):
        length = TICKS_PER_BAR // len(plan.chords)
        here = [note for note in comping if note.start // length == share]
        if here and not {note.pitch % 12 for note in here} & chord.pitch_classes:
            findings.append(f"off the chord: no tone of {chord.symbol}")
    return findings


def keys_weakness(comping: Sequence[Note], plan: BarPlan) -> float:
    """How far a sound bar of comping is from a good one: 0 is best.

    Counts tones outside the chord, a missing third or seventh, and a chord that enters late.
    """
    weakness = 0.0
    length = TICKS_PER_BAR // len(plan.chords)
    for share, chord in enumerate(plan.chords):
        here = [note for note in comping if note.start // length == share]
        if not here:
            weakness += 1.0
            continue
        classes = {note.pitch % 12 for note in here}
        guides = {(chord.root + step) % 12 for step in chord.quality.intervals[1:4:2]}
        weakness += 0.5 * len(guides - classes)
        weakness += sum(n.pitch % 12 not in chord.pitch_classes for n in here) / len(here)
        weakness += 0.25 * (min(n.start for n in here) - share * length > SIXTEENTH)
    return weakness
