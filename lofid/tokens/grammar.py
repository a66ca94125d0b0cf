"""Which token may follow which: what comes out of a sampler under this mask is a legal bar.

After the header a bar is ``{position {note}}`` and an end, where positions rise through the bar
and the notes at one position rise through their block. In the keys' vocabulary a note is a pitch
and a length; in the drums' it is a single hit. The state is three small integers, so that the same
grammar can run beside the model on a GPU.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from lofid.tokens.vocabulary import Vocabulary


class TokenError(ValueError):
    """A token sequence that is no bar."""


class Phase(IntEnum):
    """What was written last, and so what may follow."""

    OPEN = 0
    """The header: a position or the end follows."""
    POSITION = 1
    """A position: a note must follow."""
    PITCH = 2
    """A pitch: its length must follow."""
    NOTE = 3
    """A whole note: a higher note here, a later position, or the end follows."""
    CLOSED = 4
    """The end: nothing follows."""


@dataclass(frozen=True, slots=True)
class GrammarState:
    """Where in a bar the writer is.

    ``floor`` is the lowest id that the next position may have, ``note_floor`` the lowest that the
    next note at the present position may have.
    """

    phase: Phase
    floor: int
    note_floor: int


class Grammar:
    """The grammar of one vocabulary.

    The vocabulary has blocks ``end`` (one token), ``position``, the blocks named by ``notes`` in
    rising order, and, where a note needs one, ``length``. ``stride`` note tokens in a row share
    one place in the order of notes (the velocities of one drum hit, say).
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        notes: tuple[str, ...],
        stride: int = 1,
        length: str | None = None,
    ) -> None:
        self.size = len(vocabulary)
        self.end = vocabulary.block("end")[0]
        self.positions = vocabulary.block("position")
        first, last = vocabulary.block(notes[0]), vocabulary.block(notes[-1])
        self.notes = range(first.start, last.stop)
        self.stride = stride
        self.lengths = vocabulary.block(length) if length else range(0)
        self.start = GrammarState(Phase.OPEN, self.positions.start, self.notes.start)

    def mask(self, state: GrammarState) -> NDArray[np.bool_]:
        """The tokens [vocabulary] that may come next."""
        mask = np.zeros(self.size, np.bool_)
        if state.phase is Phase.PITCH:
            mask[self.lengths.start : self.lengths.stop] = True
        elif state.phase is not Phase.CLOSED:
            if state.phase is not Phase.OPEN:
                mask[state.note_floor : self.notes.stop] = True
            if state.phase is not Phase.POSITION:
                mask[state.floor : self.positions.stop] = True
                mask[self.end] = True
        return mask

    def advance(self, state: GrammarState, token: int) -> GrammarState:
        """The state after one more token; raises :class:`TokenError` for an illegal one."""
        if not (0 <= token < self.size and self.mask(state)[token]):
            raise TokenError(f"token {token} may not follow in phase {state.phase.name}")
        if token == self.end:
            return GrammarState(Phase.CLOSED, state.floor, state.note_floor)
        if token in self.positions:
            return GrammarState(Phase.POSITION, token + 1, self.notes.start)
        if token in self.lengths:
            return GrammarState(Phase.NOTE, state.floor, state.note_floor)
        place = (token - self.notes.start) // self.stride
        floor = self.notes.start + (place + 1) * self.stride
        return GrammarState(Phase.PITCH if self.lengths else Phase.NOTE, state.floor, floor)
