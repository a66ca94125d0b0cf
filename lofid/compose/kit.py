"""The drummer's hands and feet: which voices of the kit play what a model wrote, and how hard.

The model writes kick, snare and hats as the drummers of its data hit electronic pads, kick softly
and snare hard. The kit's balance, its other voices and the fills are made here.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from lofid.music.notes import (
    DRUM_CLASS,
    DRUM_PITCH,
    SIXTEENTH,
    DrumClass,
    Note,
)
from lofid.music.plan import BarPlan, Timekeeper

RIM, CLAP, PEDAL_HAT = 37, 39, 44
"""General MIDI pitches of voices that the models' drum classes do not tell apart."""

GHOST = 50
"""Snares below this velocity are ghost notes."""

_PAD_GHOST = 60
"""The same on the pads of the models' data."""

_LEVELS: dict[DrumClass, tuple[float, float]] = {
    DrumClass.KICK: (62.0, 0.5),
    DrumClass.SNARE: (62.0, 0.28),
    DrumClass.CLOSED_HAT: (30.0, 0.45),
    DrumClass.OPEN_HAT: (30.0, 0.4),
    DrumClass.RIDE: (32.0, 0.4),
    DrumClass.CRASH: (40.0, 0.3),
    DrumClass.LOW_TOM: (48.0, 0.35),
    DrumClass.MID_TOM: (48.0, 0.35),
    DrumClass.HIGH_TOM: (48.0, 0.35),
}
"""Velocity on a real kit: so much, and so much for each step on the pads."""

_GHOSTS = (26.0, 0.28)
_ON_ONE = 6
"""Velocity steps by which the kick on the first beat is firmer."""

_HARDNESS = (0.84, 0.4)
"""The whole kit's factor: softest, and what full energy adds."""

_GHOST_PLACES = (7, 9, 15, 3, 11)
_BACKBEATS = (4, 12)
_MOST_GHOSTS = 2

_FILL_FROM = 10
_FILL_DRUMS = (DrumClass.HIGH_TOM, DrumClass.MID_TOM, DrumClass.LOW_TOM)


def drummed(plan: BarPlan, hits: Sequence[Note], rng: np.random.Generator) -> list[Note]:
    """A bar of drums on the voices of the plan's beat; ``rng`` is that of the place in the loop."""
    beat = plan.beat
    chances = rng.random(24)
    played = _weighed(hits, plan.energy)
    if beat.kicks is not None and not plan.fill:
        played = _kicked(played, beat.kicks)
    if beat.half_time:
        played = _halved(played)
    played = _ghosted(played, beat.ghosts, plan.energy, chances[:8])
    played = _voiced(played, plan)
    if plan.fill:
        played = _filled(played, plan.energy, chances[8:])
    if not beat.kick:
        played = [hit for hit in played if not _is(hit, DrumClass.KICK)]
    if beat.stop is not None:
        played = [hit for hit in played if _step(hit) * SIXTEENTH < beat.stop]
    if beat.crash:
        played = [hit for hit in played if not (_step(hit) == 0 and _is_hat(hit))]
        played.append(_hit(0, DRUM_PITCH[DrumClass.CRASH], 44 + 30 * plan.energy))
    return sorted(played)


def last_hit(plan: BarPlan) -> list[Note]:
    """What ends a song of drums alone: kick and cymbal on one."""
    return [
        _hit(0, DRUM_PITCH[DrumClass.KICK], 70 + 30 * plan.energy),
        _hit(0, DRUM_PITCH[DrumClass.CRASH], 40 + 30 * plan.energy),
    ]


def _hit(step: int, pitch: int, velocity: float) -> Note:
    return Note(step * SIXTEENTH, pitch, SIXTEENTH, min(127, max(1, round(velocity))))


def _step(hit: Note) -> int:
    """The sixteenth that a hit belongs to."""
    return min(max(round(hit.start / SIXTEENTH), 0), 15)


def _is(hit: Note, *drums: DrumClass) -> bool:
    return DRUM_CLASS[hit.pitch] in drums


def _is_hat(hit: Note) -> bool:
    return _is(hit, DrumClass.CLOSED_HAT, DrumClass.OPEN_HAT, DrumClass.RIDE)


def _weighed(hits: Iterable[Note], energy: float) -> list[Note]:
    """Velocities of the pads as those of a kit, in the kit's balance."""
    hardness = _HARDNESS[0] + _HARDNESS[1] * energy
    played = []
    for hit in hits:
        drum = DRUM_CLASS[hit.pitch]
        backbeat = _step(hit) in _BACKBEATS
        ghost = drum is DrumClass.SNARE and hit.velocity < _PAD_GHOST and not backbeat
        base, slope = _GHOSTS if ghost else _LEVELS[drum]
        firm = _ON_ONE if drum is DrumClass.KICK and _step(hit) == 0 else 0
        velocity = (base + slope * hit.velocity + firm) * hardness
        if ghost:
            velocity = min(velocity, GHOST - 4)
        played.append(replace(hit, velocity=min(124, max(1, round(velocity)))))
    return played


def _kicked(hits: list[Note], kicks: Sequence[int]) -> list[Note]:
    """The song's own kicks in place of the written ones; those that both have stay as they are."""
    written = [hit for hit in hits if _is(hit, DrumClass.KICK)]
    others = [hit for hit in hits if not _is(hit, DrumClass.KICK)]
    if not written:
        return hits
    usual = sorted(hit.velocity for hit in written)[len(written) // 2]
    known = {_step(hit): hit for hit in written}
    own = [
        known.get(step) or _hit(step, DRUM_PITCH[DrumClass.KICK], usual - 5 * (step % 2) - 3)
        for step in (0, *kicks)
    ]
    return [*others, *own]


def _halved(hits: list[Note]) -> list[Note]:
    """Half time: one backbeat, on three; the kick leaves it room."""
    two = next((hit for hit in hits if _is(hit, DrumClass.SNARE) and _step(hit) == 4), None)
    kept = [
        hit
        for hit in hits
        if not (_is(hit, DrumClass.SNARE) and hit.velocity >= GHOST)
        and not (_is(hit, DrumClass.KICK) and _step(hit) in (7, 8, 9))
        and not (_is(hit, DrumClass.SNARE) and _step(hit) in (7, 8, 9))
    ]
    return kept if two is None else [*kept, replace(two, start=two.start + 4 * SIXTEENTH)]


def _ghosted(hits: list[Note], wanted: float, energy: float, chances: np.ndarray) -> list[Note]:
    """As many ghost notes as are wanted: the model's own, some of them gone, some added."""
    ghosts = [hit for hit in hits if _is(hit, DrumClass.SNARE) and hit.velocity < GHOST]
    count = min(_MOST_GHOSTS, int(wanted * 1.6 + chances[0]))
    kept = ghosts[:count]
    taken = {_step(hit) for hit in hits if _is(hit, DrumClass.SNARE, DrumClass.KICK)}
    free = [step for step in _GHOST_PLACES if step not in taken]
    start = int(chances[1] * 3)
    for number, step in enumerate((free[start:] + free[:start])[: count - len(kept)]):
        velocity = 24 + 12 * chances[2 + number] + 10 * energy
        kept.append(_hit(step, DRUM_PITCH[DrumClass.SNARE], min(velocity, GHOST - 4)))
    return [hit for hit in hits if hit not in ghosts] + kept


def _voiced(hits: list[Note], plan: BarPlan) -> list[Note]:
    """Rim for snare, ride for hat, an open hat, a foot on two and four, hands that clap."""
    beat = plan.beat
    played: list[Note] = []
    for hit in hits:
        drum, step, pitch = DRUM_CLASS[hit.pitch], _step(hit), hit.pitch
        firm_snare = drum is DrumClass.SNARE and hit.velocity >= GHOST
        if firm_snare and beat.rim:
            pitch = RIM
        elif drum is DrumClass.CLOSED_HAT and step == beat.open_hat:
            pitch = DRUM_PITCH[DrumClass.OPEN_HAT]
        elif drum is DrumClass.CLOSED_HAT and beat.timekeeper is Timekeeper.RIDE:
            pitch = DRUM_PITCH[DrumClass.RIDE]
        if firm_snare and beat.clap and step in _BACKBEATS:
            played.append(replace(hit, pitch=CLAP, velocity=max(1, hit.velocity - 24)))
        played.append(replace(hit, pitch=pitch))
    if beat.pedal:
        played = [
            hit
            for hit in played
            if not (_is(hit, DrumClass.CLOSED_HAT) and _step(hit) in _BACKBEATS)
        ]
        played += [_hit(step, PEDAL_HAT, 46 + 24 * plan.energy) for step in _BACKBEATS]
    return played


def _filled(hits: list[Note], energy: float, chances: np.ndarray) -> list[Note]:
    """A fill on snare and toms, down the kit and louder, for the end of a bar."""
    begin = _FILL_FROM + 2 * int(chances[0] * 2)
    kept = [hit for hit in hits if _step(hit) < begin or _is(hit, DrumClass.KICK)]
    steps = [step for step in range(begin, 16) if step % 2 == 0 or chances[step % 8 + 1] < 0.6]
    for number, step in enumerate(steps):
        share = number / max(1, len(steps) - 1)
        pitch = DRUM_PITCH[DrumClass.SNARE if number == 0 else _FILL_DRUMS[min(2, int(share * 3))]]
        kept.append(_hit(step, pitch, 52 + 30 * energy + 16 * share - 7 * (step % 2)))
    return kept
