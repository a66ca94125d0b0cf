"""The pace where the machine sleeps; its time is what the stage's tests look at."""

import time

from lofid.playback.pace import AHEAD, Pace


def test_a_machine_that_runs_was_not_suspended() -> None:
    pace = Pace()
    time.sleep(0.05)
    assert not pace.woke()


def test_who_wakes_up_is_told_once_and_goes_on_from_now() -> None:
    asleep = [100.0, 100.0, 3700.0, 3700.0]
    pace = Pace(lambda: asleep.pop(0))
    pace.moment -= 5
    assert not pace.woke()
    assert pace.left < 0
    assert pace.woke()
    assert 0 < pace.left <= AHEAD
    assert not pace.woke()
