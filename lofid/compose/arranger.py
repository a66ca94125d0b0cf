"""What the models do not write: bass, swing and micro-timing, transposition, the last touch.

Timing belongs to the place in the loop, not to the moment: each voice's offset at each sixteenth
is the same in every pass, as it would be in a sampler. Only the touch of repeated notes moves, by
a few velocity steps.
"""

import itertools
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from lofid.compose.chance import Stream, generator
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
from lofid.music.parameters import Groove
from lofid.music.plan import Bar, BarPlan
from lofid.music.scales import chord_scale
from lofid.music.voicing import BASS_COMPASS

EIGHTH = PPQ // 2
TOUCH = 4
"""Velocity steps by which a repeated note may move either way."""

_WIDEST = 26
"""Ticks by which a drum hit's own feel may move it: two steps of the drums' vocabulary."""

_OFF_SHARE = 0.4
"""Share of a voice's looseness that its off-sixteenths get: the ear takes the rest for swing."""

_STRUM_MS = 4.0
"""Between neighbouring notes of one chord, from the lowest up."""

_WANDERING = 3.0
"""Milliseconds by which a part may lie elsewhere when a bar stands in for one that did not come."""

_GHOST = 60
"""Velocity below which a hat may be missing unnoticed."""

_LEADING = 0.6
"""How often a bass note on the fourth beat leads to the next root."""

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
class Written:
    """What the players wrote for a bar, in the home key and on the straight grid."""

    comping: tuple[Note, ...] = ()
    melody: tuple[Note, ...] = ()
    drums: tuple[Note, ...] = ()


def arrange(
    plan: BarPlan, groove: Groove, seed: int, place: LoopPlace, written: Written
) -> dict[Part, tuple[Note, ...]]:
    """The notes of a bar as they sound, for every part of the plan that has any."""
    shift = plan.key.transposition
    bass = bass_line(plan, seed, place, written.drums) if Part.BASS in plan.parts else ()
    comping = [replace(note, pitch=note.pitch + shift) for note in written.comping]
    melody = [replace(note, pitch=note.pitch + shift) for note in written.melody]
    straight = {
        Part.KEYS: _released(comping, TICKS_PER_BAR // len(plan.chords)),
        Part.MELODY: melody,
        Part.BASS: list(bass),
        Part.DRUMS: _centred(written.drums),
    }
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
    rng = generator(seed, Stream.STAND_IN, bar.plan.index, times)
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


def bass_line(
    plan: BarPlan, seed: int, place: LoopPlace, drums: Sequence[Note]
) -> tuple[Note, ...]:
    """One to three notes: the root of each chord as it enters, then one more near a kick.

    Pitches lie within E1-G2. The line depends on the loop's place and on the kicks, so it returns
    with them. The added note is the root, fifth or octave; on the fourth beat it may lead to the
    next bar's root by step.
    """
    rng = generator(seed, Stream.BASS, place.number)
    length = TICKS_PER_BAR // len(plan.chords)
    onsets = {share * length: _low(chord.root) for share, chord in enumerate(plan.chords)}
    kicks = sorted(
        round(hit.start / SIXTEENTH) * SIXTEENTH
        for hit in drums
        if DRUM_CLASS[hit.pitch] is DrumClass.KICK
    )
    free = [kick for kick in kicks if all(abs(kick - onset) >= EIGHTH for onset in onsets)]
    added = int(rng.random() * (2 if len(plan.chords) == 2 else 2.99))
    choices = free or [5 * EIGHTH, 7 * EIGHTH]
    for _ in range(min(added, len(choices), 3 - len(onsets))):
        onset = int(choices[int(rng.integers(len(choices)))])
        if any(abs(onset - other) < EIGHTH for other in onsets):
            continue
        chord = plan.chords[onset // length]
        root = _low(chord.root)
        fifth = _low(chord.root + _fifth(chord.quality.intervals))
        octave = root + 12 if root + 12 in BASS_COMPASS else root
        pitch = (root, fifth, octave)[int(rng.choice(3, p=(0.45, 0.35, 0.2)))]
        leads = bool(rng.random() < _LEADING)
        if leads and onset >= 3 * PPQ:
            pitch = _approach(root, chord, plan) or pitch
        onsets[onset] = pitch
    starts = [*sorted(onsets), TICKS_PER_BAR]
    loudness = round(62 + 30 * plan.energy)
    return tuple(
        Note(
            start,
            onsets[start],
            round((end - start) * 0.92),
            loudness + (6 if start % (2 * PPQ) == 0 else 0),
        )
        for start, end in itertools.pairwise(starts)
    )


def _approach(root: int, chord: Chord, plan: BarPlan) -> int | None:
    """A scale tone a step from the next bar's root, on the side of the present one.

    None where the root stays, or no such tone lies in the bass's compass.
    """
    if plan.following is None or plan.following.root == chord.root:
        return None
    goal = _low(plan.following.root)
    scale = chord_scale(chord, plan.key)
    steps = [
        pitch
        for pitch in (goal - 2, goal - 1, goal + 1, goal + 2)
        if pitch in BASS_COMPASS and pitch % 12 in scale
    ]
    return min(steps, key=lambda pitch: abs(pitch - root), default=None)


def swung(start: int, swing: float) -> int:
    """Where a straight start lies with a swing in percent: each eighth is bent at its middle."""
    eighth, inside = divmod(start, EIGHTH)
    bend = EIGHTH * swing / 100
    if inside <= SIXTEENTH:
        return round(eighth * EIGHTH + inside * bend / SIXTEENTH)
    rest = (inside - SIXTEENTH) * (EIGHTH - bend) / (EIGHTH - SIXTEENTH)
    return round(eighth * EIGHTH + bend + rest)


def _released(chords: list[Note], share: int) -> list[Note]:
    """Notes let go where the harmony changes or the same key is struck again."""
    ends: dict[int, int] = {}
    released: list[Note] = []
    for note in sorted(chords, reverse=True):
        change = (note.start // share + 1) * share
        end = min(note.start + note.duration, change, ends.get(note.pitch, change))
        ends[note.pitch] = note.start
        released.append(replace(note, duration=end - note.start))
    return released


def _one_voice(melody: Sequence[Note]) -> tuple[Note, ...]:
    """Melody notes, in order, that end where the next one begins, at the latest with the bar."""
    ends = [*(note.start for note in melody), TICKS_PER_BAR][1:]
    return tuple(
        replace(note, duration=min(note.duration, end - note.start))
        for note, end in zip(melody, ends, strict=True)
    )


def _low(pitch_class: int) -> int:
    """The pitch of a class in the lowest octave of the bass."""
    lowest = BASS_COMPASS.start
    return lowest + (pitch_class - lowest) % 12


def _fifth(intervals: tuple[int, ...]) -> int:
    return next((interval for interval in intervals if interval in (6, 7, 8)), 7)


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
    timing = generator(seed, Stream.TIMING, place.number, attempt=list(Part).index(part))
    spread = timing.normal(0.0, groove.looseness, size=(8, 2, 3)).clip(-15, 15)
    spread -= spread.mean(axis=0)  # neither early nor late, neither more nor less swing
    spread[:, 1] *= _OFF_SHARE
    touch = generator(seed, Stream.TOUCH, plan.index, attempt=list(Part).index(part))
    played: list[Note] = []
    strum: dict[int, int] = {}
    for note in sorted(notes):
        step = min(max(round(note.start / SIXTEENTH), 0), 15)
        rank = strum.get(note.start, 0)
        strum[note.start] = rank + 1
        delay = spread[step // 2, step % 2, _voice(part, note)]
        delay += _delay(part, note, groove) + (_STRUM_MS * rank if part is Part.KEYS else 0.0)
        # Micro-timing of the models' own is kept: only the sixteenth itself is swung.
        swing = swung(step * SIXTEENTH, plan.swing) - step * SIXTEENTH
        start = note.start + swing + round(delay * ticks_per_ms)
        start = min(max(start, EARLIEST_START), TICKS_PER_BAR - 1)
        velocity = note.velocity + int(touch.integers(-TOUCH, TOUCH + 1))
        played.append(Note(start, note.pitch, note.duration, min(max(velocity, 1), 127)))
    return tuple(sorted(played))


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
