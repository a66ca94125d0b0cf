"""The hands at the keys: what a player makes of the chords that a model wrote.

Notes are in the sounding key and on the straight grid, as everywhere before the timing is laid on.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lofid.music.chords import Chord
from lofid.music.notes import PPQ, SIXTEENTH, TICKS_PER_BAR, Note, Part
from lofid.music.plan import BarPlan, CompingFigure
from lofid.music.scales import chord_scale
from lofid.music.voicing import COMPING_COMPASS, is_cluster

_OVERLAP = SIXTEENTH // 2
"""Ticks by which a chord rings into the next one, as under a pedal."""

_MOST_AT_ONCE = 5
_NINTHS = 0.9
"""How often a chord that has a ninth gets it, where a bass plays the root."""
_OTHER_NINTHS = 0.55
"""How often one that has none gets it all the same, where the scale does."""

_COLOURS = 0.3
"""How often a minor chord gets its eleventh, any other its thirteenth, in place of the fifth."""

_PUSHED = 14
"""The sixteenth of the "and" of four."""
_CATCHING_UP = 6
"""Where a chord goes whose beat the bar before has taken, if none follows soon."""
_SOON = 8

_SOFTER = 0.82
"""Velocity of what answers, to what it answers."""

Chords = dict[int, list[Note]]
"""Notes by their onset on the sixteenths, from the lowest up."""


@dataclass(frozen=True, slots=True)
class Comped:
    """A bar of chords as played; ``pushes`` says that the next bar's first chord is in it."""

    notes: tuple[Note, ...]
    pushes: bool = False


def comped(
    plan: BarPlan, comping: Sequence[Note], rng: np.random.Generator, *, pushed: bool
) -> Comped:
    """The chords of a bar as the plan's figure and pedal have them.

    ``pushed`` says that the bar before has taken this one's first beat; ``rng`` gives the same
    numbers whenever the bar returns.
    """
    chances = rng.random(8)  # drawn in any case: what a bar makes of them moves no other's
    chords = _gathered(comping)
    for share in range(len(plan.chords)):
        _add_ninth(chords, plan, share, float(chances[share]))
        if chances[4 + share] < _COLOURS:
            _colour(chords, plan, share)
    if pushed:
        _let_pass(chords)
    pushes = _figured(chords, plan, chances[2:])
    return Comped(tuple(sorted(_rung(chords, plan, pushes=pushes))), pushes)


def last_chord(plan: BarPlan) -> tuple[Note, ...]:
    """A song's last chord, spread over the register and held to the end of the bar after it."""
    chord, velocity = plan.chords[0], round(44 + 40 * plan.energy)
    steps = list(chord.quality.intervals)
    wide = steps[1:] if Part.BASS in plan.parts else steps
    pitches: list[int] = []
    floor = round(plan.register) - 12
    for step in wide:
        pitch = floor + (chord.root + step - floor) % 12
        pitches.append(pitch)
        floor = pitch + 3  # open, and no second in it
    return tuple(
        Note(0, pitch, 2 * TICKS_PER_BAR - PPQ, velocity + (6 if pitch == pitches[-1] else 0))
        for pitch in pitches
        if pitch <= COMPING_COMPASS.stop + 12
    )


def _gathered(comping: Iterable[Note]) -> Chords:
    chords: Chords = {}
    for note in sorted(comping):
        chords.setdefault(round(note.start / SIXTEENTH), []).append(note)
    return chords


def _share(onset: int, plan: BarPlan) -> int:
    return min(onset * len(plan.chords) // 16, len(plan.chords) - 1)


def _add_ninth(chords: Chords, plan: BarPlan, share: int, chance: float) -> None:
    """A ninth for the root in every strike of a chord, or on top; where a bass has the root."""
    chord = plan.chords[share]
    ninth = (chord.root + 2) % 12
    has_one = ninth in chord.pitch_classes
    if not plan.rootless or ninth not in chord_scale(chord, plan.key):
        return
    if chance >= (_NINTHS if has_one else _OTHER_NINTHS):
        return
    for onset, notes in chords.items():
        if _share(onset, plan) != share or any(note.pitch % 12 == ninth for note in notes):
            continue
        if len(notes) < 2:
            continue
        roots = [note for note in notes if note.pitch % 12 == chord.root]
        for root in reversed(roots):
            others = [note.pitch for note in notes if note is not root]
            if _sounds_clear(root.pitch + 2, others):
                notes[notes.index(root)] = replace(root, pitch=root.pitch + 2)
                notes.sort(key=lambda note: note.pitch)
                break
        else:
            top = notes[-1]
            above = top.pitch + 2 + (ninth - top.pitch - 2) % 12
            if (
                above - top.pitch <= 9
                and above < COMPING_COMPASS.stop
                and len(notes) < _MOST_AT_ONCE
            ):
                notes.append(replace(top, pitch=above))


def _colour(chords: Chords, plan: BarPlan, share: int) -> None:
    """An eleventh or a thirteenth for the fifth of a full chord, where the scale has it."""
    chord = plan.chords[share]
    step = -2 if 3 in chord.quality.intervals else 2
    if (chord.root + 7 + step) % 12 not in chord_scale(chord, plan.key):
        return
    for onset, notes in chords.items():
        fifths = [note for note in notes if (note.pitch - chord.root) % 12 == 7]
        if _share(onset, plan) != share or len(notes) < 3 or not fifths:
            continue
        others = [note.pitch for note in notes if note is not fifths[0]]
        if _sounds_clear(fifths[0].pitch + step, others):
            notes[notes.index(fifths[0])] = replace(fifths[0], pitch=fifths[0].pitch + step)
            notes.sort(key=lambda note: note.pitch)


def _sounds_clear(pitch: int, others: Iterable[int]) -> bool:
    return all(
        pitch != other and not (abs(pitch - other) == 1 and is_cluster(*sorted((pitch, other))))
        for other in others
    )


def _let_pass(chords: Chords) -> None:
    """Leave out the first chord, which the bar before has struck; where none is near, delay it."""
    first = chords.pop(0, None)
    if first and not any(onset <= _SOON for onset in chords):
        chords[_CATCHING_UP] = [
            replace(note, start=_CATCHING_UP * SIXTEENTH, velocity=round(note.velocity * _SOFTER))
            for note in first
        ]


def _figured(chords: Chords, plan: BarPlan, chances: np.ndarray) -> bool:
    """Change the rhythm as the plan's figure asks; whether the next bar's chord is now in it."""
    if not chords:
        return False
    match plan.figure:
        case CompingFigure.PUSH if plan.following is not None:
            return _push(chords, plan, plan.following)
        case CompingFigure.ANSWER:
            _answer(chords, float(chances[0]))
        case CompingFigure.SPLIT:
            _split(chords, float(chances[1]))
        case CompingFigure.THIN if len(chords) > 1:
            chords.pop(max(chords))
        case CompingFigure.TURN:
            _turn(chords, plan)
    return False


def _push(chords: Chords, plan: BarPlan, following: Chord) -> bool:
    """The next chord on the "and" of four: each voice moves to the nearest of its tones."""
    for onset in [onset for onset in chords if onset > _PUSHED - 3]:
        if len(chords) > 1:
            chords.pop(onset)
    last = chords[max(chords)]
    if len(last) < 2 or max(chords) >= _PUSHED:
        return False
    tones = set(following.pitch_classes)
    if plan.rootless and len(tones) > 3:
        tones.discard(following.root)
    pitches: list[int] = []
    for note in last:
        near = sorted(
            (pitch for pitch in COMPING_COMPASS if pitch % 12 in tones),
            key=lambda pitch: (abs(pitch - note.pitch), pitch),
        )
        chosen = next((pitch for pitch in near if _sounds_clear(pitch, pitches)), None)
        if chosen is not None:
            pitches.append(chosen)
    start, velocity = _PUSHED * SIXTEENTH, max(note.velocity for note in last)
    chords[_PUSHED] = [
        Note(start, pitch, 2 * SIXTEENTH + TICKS_PER_BAR // 2, velocity)
        for pitch in sorted(pitches)
    ]
    return True


def _answer(chords: Chords, chance: float) -> None:
    """The upper voices once more, softer, off the beat in the longest gap."""
    onsets = sorted(chords)
    gaps = [(end - begin, begin) for begin, end in zip(onsets, [*onsets[1:], 16], strict=True)]
    gap, begin = max(gaps)
    places = [begin + step for step in (3, 6, 7, 10) if step <= gap - 2]
    if not places:
        return
    onset = places[int(chance * len(places))]
    voices = chords[begin][-2:] if chance < 0.6 else chords[begin][1:]
    chords[onset] = [
        replace(note, start=onset * SIXTEENTH, velocity=max(1, round(note.velocity * _SOFTER)))
        for note in voices or chords[begin]
    ]


def _split(chords: Chords, chance: float) -> None:
    """The lowest voice of the first chord alone on its beat, the others a little later."""
    first = min(chords)
    low, *upper = chords[first]
    later = first + (2 if chance < 0.5 else 3)
    if not upper or later > 14 or any(first < onset <= later + 1 for onset in chords):
        return
    chords[first] = [low]
    chords[later] = [replace(note, start=later * SIXTEENTH) for note in upper]


def _turn(chords: Chords, plan: BarPlan) -> None:
    """The top voice leaves the last chord by a step of the scale, toward the next bar's chord."""
    last = max(chords)
    top = chords[last][-1]
    onset = max(last + 3, 13)
    if onset > 15 or plan.following is None:
        return
    scale = chord_scale(plan.chords[-1], plan.key)
    goals = [p for p in COMPING_COMPASS if p % 12 in plan.following.pitch_classes]
    goal = min(goals, key=lambda pitch: (abs(pitch - top.pitch), pitch))
    steps = [p for p in range(top.pitch - 3, top.pitch + 4) if p % 12 in scale and p != top.pitch]
    if not steps:
        return
    step = min(steps, key=lambda pitch: (abs(pitch - goal), abs(pitch - top.pitch)))
    chords[onset] = [
        Note(onset * SIXTEENTH, step, 2 * SIXTEENTH, max(1, round(top.velocity * _SOFTER)))
    ]


def _rung(chords: Chords, plan: BarPlan, *, pushes: bool) -> list[Note]:
    """Every note as long as the pedal holds it.

    A chord rings until the next one, a lone note does not end it; what is struck again ends first,
    and where the harmony changes no more than a little is left.
    """
    share = TICKS_PER_BAR // len(plan.chords)
    onsets = sorted(chords)
    played: list[Note] = []
    for number, onset in enumerate(onsets):
        full = next(
            (
                later
                for later in onsets[number + 1 :]
                if len(chords[later]) > 1 or later - onset > 8
            ),
            16,
        )
        last = pushes and onset == onsets[-1]
        for note in chords[onset]:
            change = TICKS_PER_BAR if last else (note.start // share + 1) * share
            ring = min(full * SIXTEENTH, change) + _OVERLAP
            struck = next(
                (
                    later * SIXTEENTH
                    for later in onsets[number + 1 :]
                    if any(other.pitch == note.pitch for other in chords[later])
                ),
                None,
            )
            written = min(note.duration, max(change - note.start, SIXTEENTH))
            duration = (
                note.duration
                if last
                else round(written + plan.pedal * max(0, ring - note.start - written))
            )
            if struck is not None:
                duration = min(duration, struck - note.start)
            played.append(replace(note, duration=max(1, duration)))
    return played
