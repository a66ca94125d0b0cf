import itertools
import threading
from collections.abc import Iterator

import pytest

from lofid.cli._ahead import Ahead


def test_items_arrive_in_order_and_end() -> None:
    with Ahead(iter(range(100)), 3) as ahead:
        assert list(ahead) == list(range(100))
        assert list(ahead) == []


def test_an_error_comes_after_the_items_before_it() -> None:
    def failing() -> Iterator[int]:
        yield 1
        yield 2
        raise ValueError("no third")

    with Ahead(failing(), 5) as ahead:
        assert [next(ahead), next(ahead)] == [1, 2]
        with pytest.raises(ValueError, match="no third"):
            next(ahead)


def test_it_works_ahead_only_so_far() -> None:
    made = 0
    filled = threading.Event()

    def counted() -> Iterator[int]:
        nonlocal made
        for item in itertools.count():
            made += 1
            if made == 4:  # three lie ready, the fourth waits for its place
                filled.set()
            yield item

    with Ahead(counted(), 3) as ahead:
        assert filled.wait(timeout=30)
        assert made == 4
        assert next(ahead) == 0


def test_leaving_ends_an_endless_thread() -> None:
    before = threading.active_count()
    with Ahead(itertools.count(), 2) as ahead:
        next(ahead)
    assert threading.active_count() == before
