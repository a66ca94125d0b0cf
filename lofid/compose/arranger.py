"""What the models do not write: the hands, the kit, the bass, swing, micro-timing, the last touch.

Timing belongs to the place in the loop, not to the moment: each voice's offset at each sixteenth
is the same in every pass, as it would be in a sampler. Only the touch of repeated notes moves, by
a few velocity steps.
"""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lofid.compose.bass import EIGHTH, bass_line
from lofid.compose.chance import RandomStream, generator
from lofid.compose.hands import comped, last_chord
from lofid.compose.kit import drummed, last_hit
from lofid.compose.lead import sung
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
from lofid.music.parameters import Groove
from lofid.music.plan import Bar, BarPlan

TOUCH = 4
"""Velocity steps by which a repeated note may move either way."""

_WIDEST = 26
"""Ticks by which a drum hit's own feel may move it: two steps of the drums' vocabulary."""

_OFF_SHARE = 0.4
"""Share of a voice's looseness that its off-sixteenths get: the ear takes the rest for swing."""

_LOW_SWING = 0.55
"""Share of the swing that kick, snare and bass take: hats and hands lean, the beat stands."""

_STRUM_MS = (3.0, 16.0)
"""Between neighbouring notes of one chord: least and most."""
_LAST_STRUM_MS = 45.0

_VOICES = (0, -5, 3)
"""Velocity steps of a chord's lowest, inner and highest note, against what was written."""

_WANDERING = 3.0
"""Milliseconds by which a part may lie elsewhere when a bar stands in for one that did not come."""

_GHOST = 60
"""Velocity below which a hat may be missing unnoticed."""

_HATS = frozenset({DrumClass.CLOSED_HAT, DrumClass.OPEN_HAT, DrumClass.RIDE})


@dataclass(frozen=True, slots=True)
class LoopPlace:
    """A bar's place for everything that repeats with the loop: song, loop and bar in the loop."""

    song: int
    loop: int
    slot: int

    @property
    def number(self) -> int:
        """One number for the place."""
        return (self.song * 2 + self.loop) * 16 + self.slot


@dataclass(frozen=True, slots=True)
class WrittenNotes:
    """What the players wrote for a bar, in the home key and on the straight grid."""

    comping: tuple[Note, ...] = ()
    melody: tuple[Note, ...] = ()
    drums: tuple[Note, ...] = ()


@dataclass(frozen=True, slots=True)
class Arranged:
    """A bar's notes as they sound; ``pushes``: the next one's first chord is struck in it."""

    notes: dict[Part, tuple[Note, ...]]
    pushes: bool = False


def arrange(
    plan: BarPlan,
    groove: Groove,
    seed: int,
    place: LoopPlace,
    written: WrittenNotes,
    *,
    pushed: bool = False,
) -> Arranged:
    """The notes of a bar as they sound, for every part of the plan that has any.

    ``pushed`` says that the bar before has struck this one's first chord.
    """
    if plan.final:
        return Arranged(_final(plan, groove, seed, place))
    hits = (
        drummed(plan, _centred(written.drums), generator(seed, RandomStream.KIT, place.number))
        if written.drums
        else []
    )
    shift = plan.key.transposition
    chords = comped(
        plan,
        [replace(note, pitch=note.pitch + shift) for note in written.comping],
        generator(seed, RandomStream.HANDS, place.number),
        pushed=pushed,
    )
    melody = [replace(note, pitch=note.pitch + shift) for note in written.melody]
    straight = {
        Part.KEYS: list(chords.notes),
        Part.MELODY: list(sung(plan, melody, chords.notes)),
        Part.BASS: list(bass_line(plan, seed, place.number, hits))
        if Part.BASS in plan.parts
        else [],
        Part.DRUMS: hits,
    }
    return Arranged(_all_played(straight, plan, groove, seed, place), chords.pushes)


def _final(
    plan: BarPlan, groove: Groove, seed: int, place: LoopPlace
) -> dict[Part, tuple[Note, ...]]:
    """A song's last bars: a chord that is held over both, and nothing else."""
    if place.slot > 0:
        return {}
    chord = list(last_chord(plan)) if Part.KEYS in plan.parts else []
    root = bass_line(replace(plan, following=None), seed, place.number, ())[:1]
    held = [replace(note, duration=2 * TICKS_PER_BAR - PPQ) for note in root]
    hits = last_hit(plan) if Part.DRUMS in plan.parts else []
    straight = {Part.KEYS: chord, Part.BASS: held, Part.DRUMS: hits}
    return _all_played(straight, plan, groove, seed, place)


def _all_played(
    straight: dict[Part, list[Note]],
    plan: BarPlan,
    groove: Groove,
    seed: int,
    place: LoopPlace,
) -> dict[Part, tuple[Note, ...]]:
    played = {
        part: _played(notes, part, plan, groove, seed, place)
        for part, notes in straight.items()
        if notes and part in plan.parts
    }
    if Part.MELODY in played:
        played[Part.MELODY] = _one_voice(played[Part.MELODY])
    return played


def varied(bar: Bar, seed: int, times: int) -> Bar:
    """A bar as it may be played once more, while no new one comes; ``times`` counts from 1.

    Every note is struck a little otherwise, each part lies a little earlier or later as a whole,
    and now and then one of the softest hats is left out. Which notes there are, and the plan, stay.
    """
    rng = generator(seed, RandomStream.STAND_IN, bar.plan.index, times)
    ticks = round(_WANDERING * bar.plan.tempo * PPQ / 60_000)
    notes: dict[Part, tuple[Note, ...]] = {}
    for part in Part:
        if part not in bar.notes:
            continue
        played = list(bar.notes[part])
        ghosts = [note for note in played if part is Part.DRUMS and _is_ghost_hat(note)]
        if ghosts and rng.random() < 0.5:
            played.remove(ghosts[int(rng.integers(len(ghosts)))])
        shift = int(rng.integers(-ticks, ticks + 1))
        touch = rng.integers(-TOUCH, TOUCH + 1, len(played))
        notes[part] = tuple(
            replace(
                note,
                start=min(max(note.start + shift, EARLIEST_START), TICKS_PER_BAR - 1),
                velocity=min(max(note.velocity + int(step), 1), 127),
            )
            for note, step in zip(played, touch, strict=True)
        )
    return Bar(bar.plan, notes)


def _is_ghost_hat(note: Note) -> bool:
    return DRUM_CLASS[note.pitch] is DrumClass.CLOSED_HAT and note.velocity < _GHOST


def swung(start: int, swing: float) -> int:
    """Where a straight start lies with a swing in percent: each eighth is bent at its middle."""
    eighth, inside = divmod(start, EIGHTH)
    bend = EIGHTH * swing / 100
    if inside <= SIXTEENTH:
        return round(eighth * EIGHTH + inside * bend / SIXTEENTH)
    rest = (inside - SIXTEENTH) * (EIGHTH - bend) / (EIGHTH - SIXTEENTH)
    return round(eighth * EIGHTH + bend + rest)


def _one_voice(melody: Sequence[Note]) -> tuple[Note, ...]:
    """Melody notes, in order, that end where the next one begins, at the latest with the bar."""
    ends = [*(note.start for note in melody), TICKS_PER_BAR][1:]
    return tuple(
        replace(note, duration=min(note.duration, end - note.start))
        for note, end in zip(melody, ends, strict=True)
    )


def _centred(hits: Sequence[Note]) -> list[Note]:
    """Hits with the drummer's own feel, but on the beat and without a swing of their own.

    Players, and so the model, lie ahead of or behind the beat for bars on end, which would pull
    the drums away from the other parts; and how late the off-sixteenths are is the plan's to say.
    What stays is the spread of single hits around both, up to ``_WIDEST``.
    """
    on = [_offset(hit) for hit in hits if not _is_off(hit)]
    ahead = statistics.median(on) if on else 0.0
    lateness: dict[DrumClass, float] = {}
    for drum in {DRUM_CLASS[hit.pitch] for hit in hits if _is_off(hit)}:
        own = [hit for hit in hits if DRUM_CLASS[hit.pitch] is drum]
        off = statistics.median(_offset(hit) for hit in own if _is_off(hit))
        eighths = [_offset(hit) for hit in own if not _is_off(hit)]
        # A drum that lies late of the others does so on the off-sixteenths too.
        lateness[drum] = off - (statistics.median(eighths) - ahead if eighths else 0.0)
    centred = []
    for hit in hits:
        common = lateness[DRUM_CLASS[hit.pitch]] if _is_off(hit) else ahead
        kept = min(max(round(_offset(hit) - common), -_WIDEST), _WIDEST)
        centred.append(replace(hit, start=hit.start - _offset(hit) + kept))
    return centred


def _offset(note: Note) -> int:
    """Ticks by which a note is late of its nearest sixteenth."""
    return note.start - round(note.start / SIXTEENTH) * SIXTEENTH


def _is_off(note: Note) -> bool:
    return round(note.start / SIXTEENTH) % 2 == 1


def _played(
    notes: Iterable[Note],
    part: Part,
    plan: BarPlan,
    groove: Groove,
    seed: int,
    place: LoopPlace,
) -> tuple[Note, ...]:
    """Notes with swing, the voice's timing and touch, in order of time."""
    ticks_per_ms = plan.tempo * PPQ / 60_000
    timing = generator(seed, RandomStream.TIMING, place.number, attempt=list(Part).index(part))
    spread = timing.normal(0.0, groove.looseness, size=(8, 2, 3)).clip(-15, 15)
    spread -= spread.mean(axis=0)  # neither early nor late, neither more nor less swing
    spread[:, 1] *= _OFF_SHARE
    touch = generator(seed, RandomStream.TOUCH, plan.index, attempt=list(Part).index(part))
    swing = _swing(plan, part)
    hand = generator(seed, RandomStream.HANDS, place.number, attempt=1)
    strums = _strums(notes, plan, hand) if part is Part.KEYS else {}
    played: list[Note] = []
    for note in sorted(notes):
        step = min(max(round(note.start / SIXTEENTH), 0), 15)
        delay = spread[step // 2, step % 2, _voice(part, note)]
        delay += _delay(part, note, groove)
        velocity = note.velocity + int(touch.integers(-TOUCH, TOUCH + 1))
        if note in strums:
            later, firmer = strums[note]
            delay, velocity = delay + later, velocity + firmer
        # Micro-timing of the models' own is kept: only the sixteenth itself is swung.
        percent = swing if _voice(part, note) < 2 else plan.swing
        bent = swung(step * SIXTEENTH, percent) - step * SIXTEENTH
        start = note.start + bent + round(delay * ticks_per_ms)
        start = min(max(start, EARLIEST_START), TICKS_PER_BAR - 1)
        velocity = min(max(round(velocity * plan.lift), 1), 127)
        played.append(Note(start, note.pitch, note.duration, velocity))
    return tuple(sorted(played))


def _swing(plan: BarPlan, part: Part) -> float:
    """The swing of a part, in percent; of the drums, that of kick and snare."""
    low = part in (Part.DRUMS, Part.BASS)
    return 50 + (plan.swing - 50) * (_LOW_SWING if low else 1.0)


def _strums(
    notes: Iterable[Note], plan: BarPlan, rng: np.random.Generator
) -> dict[Note, tuple[float, int]]:
    """For each note of a chord: by how many ms it comes later, and how much firmer it is.

    From the lowest up, now and then from the highest down; slower where the chord is alone.
    """
    chords: dict[int, list[Note]] = {}
    for note in sorted(notes):
        chords.setdefault(note.start, []).append(note)
    least, most = _STRUM_MS
    found: dict[Note, tuple[float, int]] = {}
    for chord in chords.values():
        gap = least + (most - least) * float(rng.random()) ** 3
        if plan.final:
            gap = _LAST_STRUM_MS
        down = rng.random() < 0.12
        for rank, note in enumerate(reversed(chord) if down else chord):
            voice = 0 if note is chord[0] else 2 if note is chord[-1] else 1
            found[note] = gap * rank, _VOICES[voice] if len(chord) > 1 else 0
    return found


def _voice(part: Part, note: Note) -> int:
    """Kick, snare and hats have timings of their own; so has each pitched part."""
    if part is not Part.DRUMS:
        return 0
    drum = DRUM_CLASS[note.pitch]
    return 0 if drum is DrumClass.KICK else 1 if drum is DrumClass.SNARE else 2


def _delay(part: Part, note: Note, groove: Groove) -> float:
    """The preset's lateness of a voice in milliseconds."""
    if part is Part.BASS:
        return groove.bass_delay
    if part is not Part.DRUMS:
        return 0.0
    drum = DRUM_CLASS[note.pitch]
    if drum is DrumClass.SNARE:
        return groove.snare_delay
    return groove.hat_delay if drum in _HATS else 0.0
