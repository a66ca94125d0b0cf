"""What a bar's plan allows and favours, token by token, beyond the grammar.

The models know their data; the rules hold them to the plan: the chord scale, the register, room
for the melody, a backbeat. A rule is a bias on the logits: ``-inf`` forbids, a finite number makes
a token less or more likely. Rules follow the bar as it is written, so they are used once. Where a
device samples, it follows the same rules by :class:`Tables`.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lofid.compose.headers import dialled, melody_notes
from lofid.kernels.bars import Flag, FloatField, IntField, PlayerKind
from lofid.music.notes import SIXTEENTH, TICKS_PER_BAR, DrumClass, Part
from lofid.music.plan import BarPlan
from lofid.music.voicing import comping_pitches, is_cluster, melody_pitches
from lofid.tokens import drums, keys
from lofid.tokens.grammar import Phase

FORBIDDEN = -np.inf
BACKBEATS = (4, 12)
"""Sixteenths of the second and fourth beat."""

_FOREIGN_TO_CHORD = -0.7
"""Scale tones outside the chord are this much less likely (half as likely)."""

_OFF_CENTRE = -0.15
"""A comping note is this much less likely for each semitone that it lies off the centre."""
_BELOW_MIDDLE = 4
"""Semitones of that centre below the register asked for: chords are written from below upwards."""

_GATHERED = 3
_NOTES_AT_ONCE = 5
_LEAVING_EARLY = -6.0
"""Leaving a chord of fewer than ``_GATHERED`` notes, where the plan wants chords unbroken."""

_ONE_MORE_CHORD = -2.5
"""Each onset beyond those that the asked notes make up, gathered into chords."""

_CLIPPED = -2.0
"""Notes of the comping shorter than an eighth: lo-fi lets its chords ring."""

_CLEARANCE = 3
"""Semitones between a melody note and the chord that is struck with it, at least."""

FEWEST_NOTES = 2
MOST_HITS = 30
MOST_CRASHES = 2
_RARE_OUTSIDE_FILLS: dict[DrumClass, float] = {
    DrumClass.CRASH: -3.0,
    DrumClass.LOW_TOM: -2.0,
    DrumClass.MID_TOM: -2.0,
    DrumClass.HIGH_TOM: -2.0,
}
_RIDE_FOR_HAT = -2.5
_HAT_ON_EIGHTHS = 1.5
"""The hi-hat keeps lo-fi's time, on eighths more than between; the ride belongs to jazz."""


@dataclass(frozen=True, slots=True)
class Tables:
    """The rules of one bar as flat numbers; :class:`~lofid.kernels.bars.BarTable` explains them.

    ``bias``: float64 [chords, vocabulary].
    """

    whole: Mapping[IntField, int]
    real: Mapping[FloatField, float]
    flags: Mapping[Flag, range]
    bias: NDArray[np.float64]
    owed: tuple[tuple[int, int, int], ...]


class Rules(Protocol):
    """The rules of one bar while it is written."""

    def bias(self, phase: Phase) -> NDArray[np.float64]:
        """What to add to the logits [vocabulary] of the next token."""
        ...

    def advance(self, token: int) -> None:
        """Take note of a token that was written."""
        ...

    def tables(self) -> Tables:
        """The rules for a device, of a bar of which nothing is written yet."""
        ...


def _set(bias: NDArray[np.float64], tokens: range, value: float) -> None:
    bias[tokens.start : tokens.stop] = value


_POSITIONS = keys.VOCABULARY.block("position")
_SHORT = keys.VOCABULARY.block("length")[
    : keys.VELOCITIES * sum(ticks < 2 * SIXTEENTH for ticks in keys.LENGTHS)
]


_AFTER_AN_EIGHTH = _POSITIONS[2 * SIXTEENTH // keys.POSITION_TICKS + 1 :]
_ENTERING_LATE = -4.0
"""A bar whose chord comes after the first eighth is a hole, which a loop would repeat."""


class KeysRules:
    """Chord scale, register, voicing; sixteenths only, since swing is the arranger's.

    ``over`` gives a bar's event tokens whose comping is to be kept note for note while a melody
    is written above it.
    """

    def __init__(self, plan: BarPlan, over: Sequence[int] | None = None) -> None:
        self._plan = plan
        self._over = None if over is None else _comping_events(over)
        self._top = max((_comping_pitch(event[1]) for event in self._over or ()), default=0)
        self._static = [self._pitch_bias(share) for share in range(len(plan.chords))]
        self._position = 0
        self._last_pitch = 0
        self._comping_here: list[int] = []
        self._lead_here = False
        self._leads = 0
        self._notes = 0
        self._onsets = 0
        self._most_leads = round(melody_notes(plan.melody)) + 1
        together = 1 + (_GATHERED - 1) * (1 - plan.broken)
        self._enough = max(dialled(plan.density, keys.DENSITY) / together, len(plan.chords))

    def _pitch_bias(self, share: int) -> NDArray[np.float64]:
        """The bias during one of the bar's chords, whatever was written before."""
        plan = self._plan
        chord, shift = plan.chords[share], plan.key.transposition
        bias = np.zeros(len(keys.VOCABULARY))
        for position in range(keys.POSITIONS):
            if position * keys.POSITION_TICKS % SIXTEENTH:
                bias[_POSITIONS[position]] = FORBIDDEN
        _set(bias, keys.COMPING_TOKENS, FORBIDDEN)
        _set(bias, keys.LEAD_TOKENS, FORBIDDEN)
        for compass, block, pitches in (
            (
                keys.COMPING,
                keys.COMPING_TOKENS,
                comping_pitches(chord, plan.key, bass_plays=Part.BASS in plan.parts),
            ),
            (keys.MELODY, keys.LEAD_TOKENS, melody_pitches(chord, plan.key)),
        ):
            if block is keys.LEAD_TOKENS and plan.melody == 0:
                continue
            for pitch in pitches:
                home = pitch - shift
                if home in compass:
                    foreign = pitch % 12 not in chord.pitch_classes
                    value = _FOREIGN_TO_CHORD if foreign else 0.0
                    if block is keys.COMPING_TOKENS:
                        value += _OFF_CENTRE * abs(pitch - (plan.register - _BELOW_MIDDLE))
                    bias[block[home - compass.start]] = value
        return bias

    def bias(self, phase: Phase) -> NDArray[np.float64]:
        """What to add to the logits of the next token."""
        share = self._position * keys.POSITION_TICKS * len(self._static) // TICKS_PER_BAR
        bias = self._static[share].copy()
        leads = keys.LEAD_TOKENS
        if self._lead_here or self._leads >= self._most_leads:
            _set(bias, leads, FORBIDDEN)
        else:  # the melody stays above the chords, and clear of one that it sounds with
            here = self._comping_here[-1] + _CLEARANCE if self._comping_here else 0
            lowest = max(here, self._top + 1)
            _set(bias, leads[: max(lowest - keys.MELODY.start, 0)], FORBIDDEN)
        if self._over is not None:
            self._keep_comping(bias, phase)
            return bias
        if phase is Phase.PITCH and self._last_pitch in keys.COMPING_TOKENS:
            _set(bias, _SHORT, _CLIPPED)
        if self._onsets >= self._enough:
            excess = self._onsets + 1 - self._enough
            bias[_POSITIONS.start : _POSITIONS.stop] += _ONE_MORE_CHORD * excess
        if self._notes < FEWEST_NOTES:
            bias[keys.GRAMMAR.end] = FORBIDDEN
        if self._notes == 0:
            bias[_AFTER_AN_EIGHTH.start : _AFTER_AN_EIGHTH.stop] += _ENTERING_LATE
        if self._comping_here:
            if len(self._comping_here) < _GATHERED:
                reluctance = _LEAVING_EARLY * (1 - self._plan.broken)
                bias[_POSITIONS.start : _POSITIONS.stop] += reluctance
                bias[keys.GRAMMAR.end] += reluctance
            last = self._comping_here[-1]
            shift = self._plan.key.transposition
            if len(self._comping_here) >= _NOTES_AT_ONCE:
                _set(bias, keys.COMPING_TOKENS, FORBIDDEN)
            elif is_cluster(last + shift, last + 1 + shift) and last + 1 in keys.COMPING:
                bias[keys.COMPING_TOKENS[last + 1 - keys.COMPING.start]] = FORBIDDEN
        return bias

    def advance(self, token: int) -> None:
        """Take note of a token that was written."""
        if token in _POSITIONS:
            self._position = token - _POSITIONS.start
            self._comping_here = []
            self._lead_here = False
        elif token in keys.COMPING_TOKENS:
            self._notes += 1
            self._onsets += not self._comping_here
            self._comping_here.append(_comping_pitch(token))
            self._last_pitch = token
        elif token in keys.LEAD_TOKENS:
            self._lead_here = True
            self._leads += 1
            self._last_pitch = token
        elif self._over and self._last_pitch == self._over[0][1]:
            self._over.pop(0)  # its length has been written

    def tables(self) -> Tables:
        """The rules for a device, of a bar of which nothing is written yet."""
        of_pitch = keys.COMPING_TOKENS.start - keys.COMPING.start
        lead_of_pitch = keys.LEAD_TOKENS.start - keys.MELODY.start
        shift = self._plan.key.transposition
        clusters = sum(is_cluster(pitch + shift, pitch + 1 + shift) for pitch in keys.COMPING)
        whole = {
            IntField.KIND: PlayerKind.KEYS,
            IntField.CHANGE: keys.POSITIONS // len(self._static),
            IntField.KEPT: self._over is not None,
            IntField.INTERVAL: lead_of_pitch - of_pitch,
            IntField.CLEARANCE: _CLEARANCE,
            IntField.LOWEST_LEAD: self._top + 1 + lead_of_pitch,
            IntField.MOST_LEADS: self._most_leads,
            IntField.FEWEST_NOTES: FEWEST_NOTES,
            IntField.GATHERED: _GATHERED,
            IntField.NOTES_AT_ONCE: _NOTES_AT_ONCE,
            IntField.CLUSTERS_STOP: keys.COMPING_TOKENS.start + clusters,
        }
        real = {
            FloatField.ENOUGH: self._enough,
            FloatField.ONE_MORE: _ONE_MORE_CHORD,
            FloatField.LEAVING_EARLY: _LEAVING_EARLY * (1 - self._plan.broken),
            FloatField.CLIPPED: _CLIPPED,
            FloatField.ENTERING_LATE: _ENTERING_LATE,
        }
        flags = {
            Flag.COMPING: keys.COMPING_TOKENS,
            Flag.LEAD: keys.LEAD_TOKENS,
            Flag.SHORT: _SHORT,
            Flag.LATE: _AFTER_AN_EIGHTH,
        }
        return Tables(whole, real, flags, np.stack(self._static), tuple(self._over or ()))

    def _keep_comping(self, bias: NDArray[np.float64], phase: Phase) -> None:
        """Allow the next note of the kept comping, or a melody note before it; nothing else."""
        assert self._over is not None
        following = self._over[0] if self._over else None
        _set(bias, keys.COMPING_TOKENS, FORBIDDEN)
        if phase is Phase.PITCH:
            if following and self._last_pitch == following[1]:
                bias[:] = FORBIDDEN
                bias[following[2]] = 0.0
        elif following:
            bias[keys.GRAMMAR.end] = FORBIDDEN
            due = phase in (Phase.POSITION, Phase.NOTE) and following[0] == self._position
            if due and not self._lead_here:
                bias[:] = FORBIDDEN
                bias[following[1]] = 0.0
            else:
                _set(bias, _POSITIONS[following[0] + 1 :], FORBIDDEN)
        if phase in (Phase.OPEN, Phase.NOTE) and self._leads >= self._most_leads:
            # No melody note is left: only positions where comping follows.
            kept = following[0] if following else None
            for position in range(keys.POSITIONS):
                if position != kept:
                    bias[_POSITIONS[position]] = FORBIDDEN


def _comping_pitch(token: int) -> int:
    """The pitch of a comping token, in the home key."""
    return token - keys.COMPING_TOKENS.start + keys.COMPING.start


def _comping_events(tokens: Sequence[int]) -> list[tuple[int, int, int]]:
    """Position, pitch token and length token of each comping note."""
    events: list[tuple[int, int, int]] = []
    position = 0
    for token, following in itertools.pairwise(tokens):
        if token in _POSITIONS:
            position = token - _POSITIONS.start
        elif token in keys.COMPING_TOKENS:
            events.append((position, token, following))
    return events


class DrumsRules:
    """Crashes and toms are for fills, the ride is for jazz; ``backbeat`` insists on a groove.

    With ``backbeat`` the bar has its kick on the first beat and its snare on the second and fourth
    whatever the model would rather do.
    """

    def __init__(self, plan: BarPlan, *, backbeat: bool) -> None:
        self._static = np.zeros(len(drums.VOCABULARY))
        self._positions = drums.VOCABULARY.block("position")
        self._due = [(0, DrumClass.KICK)] if backbeat else []
        self._due += [(at, DrumClass.SNARE) for at in BACKBEATS] if backbeat else []
        self._position = -1
        self._written = 0
        self._crashes = 0
        for drum, penalty in _RARE_OUTSIDE_FILLS.items():
            _set(self._static, _hits(drum), penalty if not plan.fill else penalty / 3)
        self._hat_leads = plan.drum_style != "jazz"
        if self._hat_leads:
            _set(self._static, _hits(DrumClass.RIDE), _RIDE_FOR_HAT)

    def bias(self, phase: Phase) -> NDArray[np.float64]:
        """What to add to the logits of the next token."""
        bias = self._static.copy()
        if self._hat_leads and self._position % 2 == 0:
            hat = _hits(DrumClass.CLOSED_HAT)
            bias[hat.start : hat.stop] += _HAT_ON_EIGHTHS
        full = self._written >= MOST_HITS - len(self._due)
        if self._due:
            at, drum = self._due[0]
            bias[drums.GRAMMAR.end] = FORBIDDEN
            if at == self._position:
                # Hits at one position rise through the classes: nothing beyond the one that is due.
                beyond = range(_hits(drum).stop, drums.HIT_TOKENS.stop)
                _set(bias, beyond, FORBIDDEN)
                _set(bias, self._positions, FORBIDDEN)
                if full:
                    _set(bias, range(drums.HIT_TOKENS.start, _hits(drum).start), FORBIDDEN)
            else:
                _set(bias, self._positions[at + 1 :], FORBIDDEN)
                if full:
                    _set(bias, drums.HIT_TOKENS, FORBIDDEN)
                    _set(bias, self._positions[:at], FORBIDDEN)
        elif full:
            _set(bias, drums.HIT_TOKENS, FORBIDDEN)
            _set(bias, self._positions, FORBIDDEN)
        return bias

    def advance(self, token: int) -> None:
        """Take note of a token that was written."""
        if token in self._positions:
            self._position = token - self._positions.start
            return
        self._written += token in drums.HIT_TOKENS
        if token in _hits(DrumClass.CRASH):
            self._crashes += 1
            if self._crashes == MOST_CRASHES:
                _set(self._static, _hits(DrumClass.CRASH), FORBIDDEN)
        if self._due:
            at, drum = self._due[0]
            if (
                token in drums.HIT_TOKENS
                and at == self._position
                and drums.hit_class(token) is drum
            ):
                self._due.pop(0)

    def tables(self) -> Tables:
        """The rules for a device, of a bar of which nothing is written yet."""
        whole = {
            IntField.KIND: PlayerKind.DRUMS,
            IntField.CHANGE: drums.POSITIONS,
            IntField.MOST_CRASHES: MOST_CRASHES,
            IntField.MOST_HITS: MOST_HITS,
        }
        real = {FloatField.ON_EIGHTHS: _HAT_ON_EIGHTHS}
        flags = {Flag.CRASH: _hits(DrumClass.CRASH)}
        if self._hat_leads:
            flags[Flag.HAT] = _hits(DrumClass.CLOSED_HAT)
        owed = tuple((at, _hits(drum).start, _hits(drum).stop) for at, drum in self._due)
        return Tables(whole, real, flags, self._static[None].copy(), owed)


def _hits(drum: DrumClass) -> range:
    """The hit tokens of a drum class."""
    width = drums.OFFSETS * drums.VELOCITIES
    start = drums.HIT_TOKENS.start + drum * width
    return range(start, start + width)
