"""The bass line, which no model writes: roots, and what leads from one to the next."""

import itertools
from collections.abc import Sequence

import numpy as np

from lofid.compose.chance import RandomStream, generator
from lofid.music.chords import Chord
from lofid.music.notes import DRUM_CLASS, PPQ, SIXTEENTH, TICKS_PER_BAR, DrumClass, Note
from lofid.music.plan import BarPlan
from lofid.music.scales import chord_scale
from lofid.music.voicing import BASS_COMPASS

EIGHTH = PPQ // 2

_APPROACHES = 0.4
"""How often a bar leads to a root that is another."""
_SLIDES = 0.12
"""How often a note in the middle of a bar is slid into from below."""
_SLIDE = SIXTEENTH // 2
_ADDED = ("fifth", "octave", "root", "tone")
_ADDED_SHARES = (0.38, 0.25, 0.27, 0.1)


def bass_line(plan: BarPlan, seed: int, number: int, drums: Sequence[Note]) -> tuple[Note, ...]:
    """The root of each chord as it enters, then what leads on: fifth, octave, a step to the next.

    Pitches lie within E1-G2. The line depends on the place in the loop (``number``) and on the
    kicks, so it returns with them.
    """
    rng = generator(seed, RandomStream.BASS, number)
    length = TICKS_PER_BAR // len(plan.chords)
    line = {share * length: low(chord.root) for share, chord in enumerate(plan.chords)}
    _add_near_kicks(line, plan, drums, rng)
    leads, slides = rng.random(2)
    onset = TICKS_PER_BAR - (EIGHTH if rng.random() < 0.7 else PPQ)
    if leads < _APPROACHES and (pitch := _approach(plan, rng)) is not None:
        for near in [start for start in line if start > onset - EIGHTH and start >= length]:
            line.pop(near)
        line[onset] = pitch
    notes = _struck(line, plan)
    if slides < _SLIDES and len(notes) > 1:
        notes = _slid(notes)
    return tuple(notes)


def low(pitch_class: int) -> int:
    """The pitch of a class in the lowest octave of the bass."""
    lowest = BASS_COMPASS.start
    return lowest + (pitch_class - lowest) % 12


def _add_near_kicks(
    line: dict[int, int], plan: BarPlan, drums: Sequence[Note], rng: np.random.Generator
) -> None:
    """One or two notes more, on kicks where there are any."""
    length = TICKS_PER_BAR // len(plan.chords)
    kicks = sorted(
        {
            round(hit.start / SIXTEENTH) * SIXTEENTH
            for hit in drums
            if DRUM_CLASS[hit.pitch] is DrumClass.KICK
        }
    )
    free = [kick for kick in kicks if all(abs(kick - start) >= EIGHTH for start in line)]
    choices = free or [5 * EIGHTH, 6 * EIGHTH]
    wanted = (1 if rng.random() < 0.75 else 0) + (rng.random() < 0.25 and len(plan.chords) == 1)
    for _ in range(wanted):
        onset = int(choices[int(rng.integers(len(choices)))])
        kind = _ADDED[int(rng.choice(len(_ADDED), p=_ADDED_SHARES))]
        if all(abs(onset - start) >= EIGHTH for start in line):
            line[onset] = _added(kind, plan.chords[min(onset // length, len(plan.chords) - 1)])


def _added(kind: str, chord: Chord) -> int:
    """A note of the chord: what it is called after the root, within the compass."""
    root, intervals = low(chord.root), chord.quality.intervals
    if kind == "octave" and root + 12 in BASS_COMPASS:
        return root + 12
    if kind == "fifth":
        fifth = next((step for step in intervals if step in (6, 7, 8)), 7)
        return root + fifth if root + fifth in BASS_COMPASS else root + fifth - 12
    if kind == "tone":
        tone = intervals[-1] if intervals[-1] in (9, 10, 11) else intervals[1]
        return root + tone if root + tone in BASS_COMPASS else low(chord.root + tone)
    return root


def _approach(plan: BarPlan, rng: np.random.Generator) -> int | None:
    """A semitone or a scale tone beside the next bar's root; None where the root stays."""
    chord = plan.chords[-1]
    if plan.following is None or plan.following.root == chord.root:
        return None
    goal, here = low(plan.following.root), low(chord.root)
    chromatic = rng.random() < 0.5
    scale = chord_scale(chord, plan.key)
    steps = [
        pitch
        for pitch in (goal - 1, goal + 1, goal - 2, goal + 2)
        if pitch in BASS_COMPASS
        and pitch != here
        and (abs(pitch - goal) == 1 if chromatic else pitch % 12 in scale)
    ]
    return min(steps, key=lambda pitch: abs(pitch - here), default=None)


def _struck(line: dict[int, int], plan: BarPlan) -> list[Note]:
    """The line with lengths and accents: firm on one, light before the next bar."""
    firm = 62 + 30 * plan.energy
    starts = [*sorted(line), TICKS_PER_BAR]
    notes = []
    for start, end in itertools.pairwise(starts):
        accent = 8 if start == 0 else 3 if start % PPQ == 0 else -4
        if start >= TICKS_PER_BAR - PPQ:
            accent -= 6
        span = end - start
        duration = round(span * (0.92 if span > PPQ else 0.84))
        notes.append(Note(start, line[start], duration, min(127, round(firm + accent))))
    return notes


def _slid(notes: list[Note]) -> list[Note]:
    """The second note slid into: a short one a tone below it takes the end of the first."""
    first, second, *rest = notes
    begin = second.start - _SLIDE
    if second.pitch - 2 not in BASS_COMPASS or begin - first.start < SIXTEENTH:
        return notes
    cut = min(first.duration, begin - first.start)
    grace = Note(begin, second.pitch - 2, _SLIDE, max(1, second.velocity - 14))
    return [Note(first.start, first.pitch, cut, first.velocity), grace, second, *rest]
