import signal
from collections.abc import Iterator

import pytest

from lofid.cli._terminal import StopRequest, obey
from lofid.processes import leave_signals_to_parent

_ENDING = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)


@pytest.fixture
def as_it_was() -> Iterator[None]:
    """What signals do is found again."""
    before = {number: signal.getsignal(number) for number in _ENDING}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("as_it_was")
def test_a_process_that_others_end_is_ended_by_no_signal() -> None:
    leave_signals_to_parent()
    for number in _ENDING:
        signal.raise_signal(number)


@pytest.mark.usefixtures("as_it_was")
def test_a_signal_that_is_ignored_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    obey(signal.SIGHUP, lambda *_: None)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    with StopRequest() as stop:
        signal.raise_signal(signal.SIGHUP)
        assert not stop.wanted
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


@pytest.mark.usefixtures("as_it_was")
def test_the_first_signal_is_a_wish_and_a_second_one_interrupts() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    with StopRequest() as stop:
        for _ in range(3):  # of a hang-up, several may come
            signal.raise_signal(signal.SIGHUP)
        assert stop.wanted
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL
