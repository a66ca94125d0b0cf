"""Work done ahead of time in a second thread, so that a slow moment is not heard."""

import threading
from collections.abc import Iterator
from queue import Empty, Full, Queue
from typing import Generic, Self, TypeVar

_Item = TypeVar("_Item")
_POLL = 0.1  # seconds between two looks at whether to end


class Ahead(Generic[_Item]):
    """An iterator whose items are made up to ``depth`` ahead, in a thread of its own.

    What the maker raises is raised to the reader, after the items before it. Use it as a context
    manager: leaving it ends the thread, after the item that it is making.
    """

    def __init__(self, items: Iterator[_Item], depth: int) -> None:
        self._items = items
        self._ready: Queue[_Item] = Queue(depth)
        self._error: BaseException | None = None
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._make, name="ahead")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()

    def __iter__(self) -> Iterator[_Item]:
        return self

    def __next__(self) -> _Item:
        while True:
            # Looked at first: what the maker put down before it ended is then in the queue.
            ended = not self._thread.is_alive()
            try:
                return self._ready.get(timeout=0 if ended else _POLL)
            except Empty:
                if ended:
                    raise self._error or StopIteration from None

    def ready(self) -> _Item | None:
        """The next item if it lies ready; None where it does not, or none will come."""
        ended = not self._thread.is_alive()
        try:
            return self._ready.get_nowait()
        except Empty:
            if ended and self._error is not None:
                raise self._error from None
            return None

    def _make(self) -> None:
        try:
            for item in self._items:
                while not self._ending.is_set():
                    try:
                        self._ready.put(item, timeout=_POLL)
                        break
                    except Full:
                        continue
                if self._ending.is_set():
                    return
        except BaseException as error:  # handed to the reader
            self._error = error
