"""Two players as one on a GPU: what both are asked for runs in the same launches.

The only room of the composers that loads torch, and only where the players' engines have done so.
"""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Generic

from lofid.compose.lockstep import DrumsT, Half, KeysT, ResultT, flat_bar, heard_bar
from lofid.compose.player import Hear, ModelFailure, Played, Player, Task
from lofid.kernels.bars import BarTable
from lofid.kernels.sample import Sampler
from lofid.kernels.weights import side_by_side
from lofid.rwkv.engine import Engine
from lofid.rwkv.state import ModelState
from lofid.rwkv.triton import STEPS, Deck, TritonEngine

SLOTS: Final = 4
"""Attempts of one player that are under way at a time; more take turns."""


class Stacked:
    """Keys and drums on one GPU; the states come from the host's memory and go back to it.

    Raises ValueError for models that differ in more than their vocabularies, TypeError for engines
    that are not Triton's.
    """

    def __init__(self, keys: Player, drums: Player) -> None:
        self._players = (keys, drums)
        weights = side_by_side([_engine(player.engine).weights for player in self._players])
        self._deck = Deck(weights, SLOTS, STEPS)
        self._sampler = Sampler(2, SLOTS, self._deck.shape.vocabulary, self._deck.device)

    def play(self, keys: Half[KeysT], drums: Half[DrumsT]) -> tuple[KeysT, DrumsT]:
        """The results of both halves; raises :class:`~lofid.compose.player.ModelFailure`."""
        for_keys, for_drums = _Waiting(keys), _Waiting(drums)
        while for_keys.task or for_drums.task:
            of_keys, of_drums = self._answers(for_keys.task, for_drums.task)
            for_keys.go_on(of_keys)
            for_drums.go_on(of_drums)
        return for_keys.result, for_drums.result

    def close(self) -> None:
        """Nothing is left running; the GPU's memory goes with this object."""

    def _answers(self, *tasks: Task | None) -> list[tuple[Played, ...]]:
        """What becomes of the tasks, one or none a model."""
        jobs = [
            list(_jobs(player, task)) if task else []
            for player, task in zip(self._players, tasks, strict=True)
        ]
        queues = [deque(of_model) for of_model in jobs]
        running: dict[tuple[int, int], _Job] = {}
        try:
            while True:
                for model, queue in enumerate(queues):
                    while queue and sum(model == of for of, _ in running) < SLOTS:
                        job = queue.popleft()
                        running[model, self._started(model, job)] = job
                tokens = self._deck.advance(self._sampler)
                if tokens is None:
                    break
                for (model, slot), job in list(running.items()):
                    drawn = tokens[:, model, slot]
                    job.tokens += drawn[drawn >= 0].tolist()
                    # Rows from before it began come first, and are empty.
                    if job.tokens and drawn[-1] < 0:
                        self._end(model, slot, job)
                        del running[model, slot]
        except ModelFailure:
            raise
        except Exception as error:
            name = self._players[0].engine.name
            raise ModelFailure.of(name, f"failed ({error!r})") from error
        finally:
            for model, slot in running:
                with suppress(Exception):  # of a GPU that has failed already
                    self._deck.remove(model, slot)
        return [tuple(job.played() for job in of_model) for of_model in jobs]

    def _started(self, model: int, job: "_Job") -> int:
        """The slot in which a job now runs."""
        slot = self._deck.add(model, job.state)
        with self._deck.stream():
            self._sampler.put(model, slot, job.bar)
        self._deck.start(model, slot)
        return slot

    def _end(self, model: int, slot: int, job: "_Job") -> None:
        """Take a job's state from its slot, and give that back."""
        with self._deck.stream():
            failed = self._sampler.failed(model, slot)
        if failed:
            name = self._players[model].engine.name
            raise ModelFailure.of(name, "gives logits that are no numbers")
        job.state = self._deck.snapshot(model, slot)
        self._deck.remove(model, slot)


@dataclass(slots=True)
class _Job:
    """A bar for one slot; ``state`` is that before it, and then that after it."""

    bar: BarTable
    state: ModelState
    tokens: list[int] = field(default_factory=list)

    def played(self) -> Played:
        """What was drawn; the forced tokens come before it."""
        return Played(tuple(self.tokens[len(self.bar.forced) :]), self.state)


def _jobs(player: Player, task: Task) -> Iterator[_Job]:
    if isinstance(task, Hear):
        yield _Job(heard_bar(task.tokens), task.state)
        return
    for attempt in task.attempts:
        yield _Job(flat_bar(player, task.header, attempt), task.state)


class _Waiting(Generic[ResultT]):
    """A half that waits for what becomes of ``task``, or has its ``result`` where that is None."""

    def __init__(self, half: Half[ResultT]) -> None:
        self._half = half
        self._results: list[ResultT] = []
        self.task: Task | None = None
        self._advance(lambda: next(half))

    def go_on(self, answer: tuple[Played, ...]) -> None:
        """Let it go on with what became of its task, if it has one."""
        if self.task is not None:
            self._advance(lambda: self._half.send(answer))

    def _advance(self, advance: Callable[[], Task]) -> None:
        try:
            self.task = advance()
        except StopIteration as end:
            self.task = None
            self._results.append(end.value)

    @property
    def result(self) -> ResultT:
        """What the half returned."""
        return self._results[0]


def _engine(engine: Engine) -> TritonEngine:
    if not isinstance(engine, TritonEngine):
        raise TypeError(f"the engine '{engine.name}' is not Triton's")
    return engine
