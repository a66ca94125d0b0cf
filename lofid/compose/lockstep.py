"""How two players play a bar: each on a thread of its own, or both as one on a device.

A half of a step (all that the keys do for one bar, or all that the drums do) is a generator: it
yields tasks, gets back what became of them, and returns its result. It does not know who plays.
Here they are played: on CPU engines the halves run side by side; on a device that holds both
models, the pending tasks of both become one stacked run. The bars are the same.
"""

from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

from lofid.compose.player import Played, Player, Task

_T = TypeVar("_T")
_Keys = TypeVar("_Keys")
_Drums = TypeVar("_Drums")

Half = Generator[Task, tuple[Played, ...], _T]
"""What one player does for a bar."""


class Duo(Protocol):
    """Two players, ready to play."""

    def play(self, keys: Half[_Keys], drums: Half[_Drums]) -> tuple[_Keys, _Drums]:
        """The results of both halves; raises :class:`~lofid.compose.player.ModelFailure`."""
        ...

    def close(self) -> None:
        """End what they were run with."""
        ...


def opened_duo(keys: Player, drums: Player) -> Duo:
    """The two players as their engines let them play."""
    return OnThreads(keys, drums)


class OnThreads:
    """The keys on the caller's thread, the drums on another."""

    def __init__(self, keys: Player, drums: Player) -> None:
        self._keys = keys
        self._drums = drums
        self._second_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="drums")

    def play(self, keys: Half[_Keys], drums: Half[_Drums]) -> tuple[_Keys, _Drums]:
        """The results of both halves; raises :class:`~lofid.compose.player.ModelFailure`."""
        later = self._second_thread.submit(_played, self._drums, drums)
        return _played(self._keys, keys), later.result()

    def close(self) -> None:
        """End the second thread."""
        self._second_thread.shutdown()


def _played(player: Player, half: Half[_T]) -> _T:
    """The result of a half that one player plays."""
    try:
        task = next(half)
        while True:
            task = half.send(player.play(task))
    except StopIteration as end:
        result: _T = end.value
        return result
