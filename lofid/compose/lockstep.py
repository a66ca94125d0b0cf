"""How two players play a bar: each on a thread of its own, or both as one on a device.

A half of a step (all that the keys do for one bar, or all that the drums do) is a generator: it
yields tasks, gets back what became of them, and returns its result. It does not know who plays.
Here they are played: on CPU engines the halves run side by side; on a device that holds both
models (:mod:`lofid.compose.stacked`), the pending tasks of both become one stacked run. The bars
are the same.
"""

from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

import numpy as np

from lofid.compose.player import Attempt, Played, Player, Task
from lofid.kernels.bars import BarTable, Flag, FloatField, IntField
from lofid.kernels.bars import TablePhase as FlatPhase

ResultT = TypeVar("ResultT")
KeysT = TypeVar("KeysT")
DrumsT = TypeVar("DrumsT")

Half = Generator[Task, tuple[Played, ...], ResultT]
"""What one player does for a bar."""


class Duo(Protocol):
    """Two players, ready to play."""

    def play(self, keys: Half[KeysT], drums: Half[DrumsT]) -> tuple[KeysT, DrumsT]:
        """The results of both halves; raises :class:`~lofid.compose.player.ModelFailure`."""
        ...

    def close(self) -> None:
        """End what they were run with."""
        ...


class OnThreads:
    """The keys on the caller's thread, the drums on another."""

    def __init__(self, keys: Player, drums: Player) -> None:
        self._keys = keys
        self._drums = drums
        self._second_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="drums")

    def play(self, keys: Half[KeysT], drums: Half[DrumsT]) -> tuple[KeysT, DrumsT]:
        """The results of both halves; raises :class:`~lofid.compose.player.ModelFailure`."""
        later = self._second_thread.submit(_played, self._drums, drums)
        return _played(self._keys, keys), later.result()

    def close(self) -> None:
        """End the second thread."""
        self._second_thread.shutdown()


def flat_bar(player: Player, header: Sequence[int], attempt: Attempt) -> BarTable:
    """What a device must know to write an attempt of which nothing is written or drawn yet.

    Its numbers are those that the attempt's generator, a Philox, would give next.
    """
    grammar, tables = player.grammar, attempt.rules.tables()
    numbers: Any = attempt.rng.bit_generator.state  # numpy types it as any mapping
    return BarTable(
        whole={
            **tables.whole,
            IntField.LONGEST: player.sampling.longest,
            IntField.PHASE: FlatPhase[grammar.start.phase.name],
            IntField.END: grammar.end,
            IntField.POSITIONS: grammar.positions.start,
            IntField.NOTES: grammar.notes.start,
            IntField.STRIDE: grammar.stride,
            IntField.LENGTHS: len(grammar.lengths) > 0,
        },
        real={
            **tables.real,
            FloatField.TEMPERATURE: player.sampling.temperature,
            FloatField.TOP_P: player.sampling.top_p,
        },
        flags={
            **tables.flags,
            Flag.END: range(grammar.end, grammar.end + 1),
            Flag.POSITION: grammar.positions,
            Flag.NOTE: grammar.notes,
            Flag.LENGTH: grammar.lengths,
        },
        bias=tables.bias,
        owed=tables.owed,
        forced=tuple(header),
        key=numbers["state"]["key"],
        counter=numbers["state"]["counter"],
        drawn=numbers["buffer_pos"],
    )


def heard_bar(tokens: Sequence[int]) -> BarTable:
    """What a device must know to hear a bar, header and events, and to write nothing."""
    return BarTable(
        whole={IntField.PHASE: FlatPhase.CLOSED},
        real={},
        flags={},
        bias=np.zeros((1, 0)),
        owed=(),
        forced=tuple(tokens),
        key=np.zeros(2, np.uint64),
        counter=np.zeros(4, np.uint64),
        drawn=0,
    )


def _played(player: Player, half: Half[ResultT]) -> ResultT:
    """The result of a half that one player plays."""
    try:
        task = next(half)
        while True:
            task = half.send(player.play(task))
    except StopIteration as end:
        result: ResultT = end.value
        return result
