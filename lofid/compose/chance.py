"""Randomness by name: every choice has its own stream, so that choices do not disturb each other.

A stream is a Philox generator keyed by the station's seed and the stream's number and set to a
counter of its own for each bar (or song) and attempt. Nothing is stored: the same seed, stream,
place and attempt give the same numbers on every machine (Salmon et al., "Parallel Random Numbers:
As Easy as 1, 2, 3", SC 2011).
"""

from enum import IntEnum

import numpy as np

from lofid.errors import LofidError
from lofid.music.parameters import HIGHEST_SEED


class RandomStream(IntEnum):
    """What a choice is about."""

    SONG = 1
    KEYS = 2
    DRUMS = 3
    VARIATION = 4
    BASS = 5
    TIMING = 6
    TOUCH = 7
    TURN = 8
    STAND_IN = 9
    HANDS = 10
    KIT = 11
    LEAD = 12
    FACE = 13
    FORM = 14


def checked_seed(seed: int) -> int:
    """The seed; raises :class:`LofidError` for one outside 0 to :data:`HIGHEST_SEED`."""
    if not 0 <= seed <= HIGHEST_SEED:
        raise LofidError(
            f"The seed {str(seed)[:40]} is out of range; choose one from 0 to {HIGHEST_SEED}."
        )
    return seed


def generator(seed: int, stream: RandomStream, place: int, attempt: int = 0) -> np.random.Generator:
    """The numbers of one stream (seed 0 to 2**64 - 1) at one place, for one attempt."""
    key = np.array([seed, stream], np.uint64)
    counter = np.array([0, 0, attempt, place], np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))
