"""Ways to go on from a session state other than straight ahead; all pure.

What settings decide is no matter of this module: a step follows the settings that it is given.
"""

from dataclasses import replace

import numpy as np

from lofid.compose.chance import RandomStream, checked_seed, generator
from lofid.compose.form import locate
from lofid.compose.station import LoopMemory, SessionState


def next_section(state: SessionState) -> SessionState:
    """The state at the end of the section that is being played.

    That of the bar before: asked for twice at the same bar line, one section is left, not two.
    From a song's last section the next song follows.
    """
    if state.bar == 0:
        return state
    place = locate(state.song, state.bar - 1)
    length = place.stretch.passes * place.loop_bars
    return replace(state, bar=state.bar - 1 - place.bar_in_section + length, pushed=False)


def next_song(state: SessionState) -> SessionState:
    """The state at the end of the song: the next bar opens a new one."""
    return replace(state, bar=state.song.bars, pushed=False)


def reseeded(state: SessionState, seed: int) -> SessionState:
    """The same place in the same song; whatever is drawn from here on, is drawn from ``seed``.

    Raises :class:`~lofid.errors.LofidError` for a seed outside 0 to 2**64 - 1.
    """
    return replace(state, seed=checked_seed(seed))


def another_turn(state: SessionState, turn: int) -> SessionState:
    """The same place in the same song, gone on from otherwise; each ``turn`` from 1 in its own way.

    The loop that is played here is forgotten and written anew over its chords, so that the turn is
    heard even where the loop only returned; the models remember what led here. The seed is derived
    from the state's own and the turn.
    """
    seed = generator(state.seed, RandomStream.TURN, turn).integers(2**64, dtype=np.uint64)
    turned = reseeded(state, int(seed))
    if state.bar == state.song.bars:
        return turned
    place = locate(state.song, state.bar)
    return turned.keeping(place.stretch.loop, LoopMemory.empty(place.loop_bars))
