"""A bar to be written as flat numbers: what the sampler on a device needs to know of it.

Whoever knows the music fills these in; :mod:`lofid.kernels.sample` draws by them and knows no
music. Plain numpy, so that a station that plays on a CPU loads no torch for it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Final

import numpy as np
from numpy.typing import NDArray

SHARES: Final = 2
"""Chords that may share a bar, each with biases of its own."""

OWED: Final = 96
"""Events at most that a bar may owe."""


class PlayerKind(IntEnum):
    """Whose rules hold."""

    KEYS = 0
    DRUMS = 1


class TablePhase(IntEnum):
    """What was written last, and so what may follow: ``lofid.tokens.grammar.Phase`` by number."""

    OPEN = 0
    POSITION = 1
    PITCH = 2
    NOTE = 3
    CLOSED = 4


class Flag(IntFlag):
    """What a token is, in the grammar and to the rules."""

    END = 1
    POSITION = 2
    NOTE = 4
    LENGTH = 8

    # To the rules of keys.
    COMPING = 16
    LEAD = 32
    SHORT = 64
    """A short length."""
    LATE = 128
    """A position that is late for a bar's first chord."""

    # To the rules of drums.
    HAT = 256
    """A hat that keeps the time."""
    CRASH = 512


class IntField(IntEnum):
    """Integers of a bar; what a bar does not name is 0."""

    KIND = 0
    LONGEST = 1
    """Event tokens after which the bar closes as soon as it may."""
    OWED = 2
    """Events that the bar owes."""
    FORCED = 3
    """Tokens that come before anything is drawn."""

    # The grammar.
    PHASE = 4
    """Where it stands before the first token that is drawn; ``CLOSED`` if none is."""
    END = 5
    """The token that ends the bar."""
    POSITIONS = 6
    """The first position."""
    NOTES = 7
    """The first note."""
    STRIDE = 8
    """Note tokens that share one place in the order of notes."""
    LENGTHS = 9
    """1 where a length follows each note, else 0."""

    # The rules of keys.
    CHANGE = 10
    """The first position of the bar's second chord; beyond all positions if there is none."""
    KEPT = 11
    """1 where the bar's comping is kept (it is what the bar owes), else 0."""
    INTERVAL = 12
    """From a comping token to the lead token of the same pitch."""
    CLEARANCE = 13
    """Semitones between a lead and the chord below it."""
    LOWEST_LEAD = 14
    """The lowest lead token above all that is kept."""
    MOST_LEADS = 15
    FEWEST_NOTES = 16
    GATHERED = 17
    """Notes that make a chord."""
    NOTES_AT_ONCE = 18
    CLUSTERS_STOP = 19
    """Below this comping token a semitone upwards is mud."""

    # The rules of drums.
    MOST_CRASHES = 20
    MOST_HITS = 21


class FloatField(IntEnum):
    """Real numbers of a bar; what a bar does not name is 0."""

    TEMPERATURE = 0
    TOP_P = 1

    # What rules of keys add.
    ENOUGH = 2
    """Onsets that are enough; no bias but a bound."""
    ONE_MORE = 3
    """To positions, for each onset beyond enough."""
    LEAVING_EARLY = 4
    """To positions and the end, while a chord is not gathered."""
    CLIPPED = 5
    """To short lengths of the comping."""
    ENTERING_LATE = 6

    # What rules of drums add.
    ON_EIGHTHS = 7
    """To the hat at even positions."""


@dataclass(frozen=True, slots=True)
class BarTable:
    """A bar to be written, or only heard.

    ``whole`` and ``real`` say what is not 0; ``flags`` which tokens are what. ``bias``: float64
    [1 to ``SHARES``, vocabulary], what is added to the logits while each chord lasts, before all
    that depends on what was written.
    ``owed``: the events that the bar owes, in order. Of keys (``KEPT``): position from 0, pitch
    token, length token; of drums: position from 0, first token and the one after the last of the
    hits that will do. ``forced``: the tokens that come first: a header, or a bar to be heard.
    ``key`` and ``counter``: uint64 [2] and [4] of numpy's Philox; ``drawn`` how many of its words
    of 64 bits have been taken since the block at ``counter``, whose own four words come first.
    """

    whole: Mapping[IntField, int]
    real: Mapping[FloatField, float]
    flags: Mapping[Flag, range]
    bias: NDArray[np.float64]
    owed: tuple[tuple[int, int, int], ...]
    forced: tuple[int, ...]
    key: NDArray[np.uint64]
    counter: NDArray[np.uint64]
    drawn: int
