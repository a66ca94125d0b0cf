"""The ledger against a stage that locks whatever it legally may, at the worst moments."""

import itertools
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lofid.compose.station import SessionState
from lofid.daemon.ledger import BARS_AHEAD, Ledger, Take, Task
from lofid.music.parameters import Settings
from lofid.music.plan import Bar

# The ledger never looks into states and bars: a state here is the list of what led to it.
BAR = cast("Bar", "bar")


def state_of(path: tuple[Any, ...]) -> SessionState:
    return cast("SessionState", path)


def write(ledger: Ledger, task: Task) -> bool:
    before = cast("tuple[Any, ...]", task.state if task.state is not None else ("open",))
    after = (*before, task.settings.music.tempo)
    return ledger.written(task, state_of(before), BAR, state_of(after), 0.01)


def fill(ledger: Ledger) -> None:
    while (task := ledger.task()) is not None:
        assert write(ledger, task)


class Stage:
    """Plays the first cue that follows what it locked last; may not have heard the latest."""

    def __init__(self) -> None:
        self.last = 0
        self.known: tuple[tuple[int, int], ...] = ()

    def hear(self, ledger: Ledger) -> None:
        self.known = tuple((cue.take, cue.follows) for cue in ledger.cues().cues)

    def lock(self) -> int | None:
        for take, follows in self.known:
            if follows == self.last:
                self.last = take
                return take
        return None


ACTIONS = st.lists(
    st.one_of(
        st.just(("lock",)),
        st.just(("fill",)),
        st.just(("hear",)),
        st.just(("tell",)),
        st.just(("write late",)),
        st.tuples(st.just("tempo"), st.integers(60, 100)),
        st.tuples(st.just("steer"), st.integers(0, 9)),
        st.tuples(st.just("morph"), st.integers(60, 100), st.integers(1, 6)),
    ),
    max_size=60,
)


@given(ACTIONS)
def test_one_unbroken_line_whatever_happens(actions: list[tuple[Any, ...]]) -> None:
    ledger, stage = Ledger(Settings()), Stage()
    locked: list[Take] = []
    steered = 0
    late: Task | None = None

    def lock() -> None:
        if (number := stage.lock()) is not None:
            locked.append(ledger.locked(number))

    for action in actions:
        match action:
            case ("lock",):
                lock()
            case ("fill",):
                fill(ledger)
            case ("hear",):
                stage.hear(ledger)
            case ("tell",):
                ledger.delivered(stage.known[-1][0] if stage.known else 0)
            case ("write late",):
                if late is not None:
                    write(ledger, late)
                late = ledger.task()
            case ("tempo", tempo):
                ledger.change(lambda s, t=tempo: s.with_value("music.tempo", t))  # type: ignore[misc]
            case ("steer", _):
                steered += 1
                mark = f"steer {steered}"
                ledger.steer(lambda s, _, m=mark: state_of((*cast("Any", s), m)))  # type: ignore[misc]
            case ("morph", tempo, bars):
                ledger.morph(ledger.settings.with_value("music.tempo", tempo), bars)
    # In the end everything that was asked for has happened, once and in order.
    for _ in range(12):
        fill(ledger)
        assert ledger.ahead == BARS_AHEAD
        stage.hear(ledger)
        lock()
    assert ledger.morphing is None
    assert locked[-1].settings == ledger.settings
    for before, take in itertools.pairwise(locked):
        assert take.follows == before.number
        path, came = cast("Any", take.before), cast("Any", before.after)
        assert path[: len(came)] == came, "a bar goes on from the one that sounded before it"
    marks = [mark for mark in cast("Any", locked[-1].after) if isinstance(mark, str)]
    assert marks == ["open", *(f"steer {number + 1}" for number in range(steered))]


def test_a_change_throws_away_what_is_not_locked() -> None:
    ledger = Ledger(Settings())
    fill(ledger)
    ledger.locked(ledger.cues().cues[0].take)
    fill(ledger)
    assert ledger.change(lambda s: s.with_value("music.density", 0.9))
    assert ledger.ahead == 0
    task = ledger.task()
    assert task is not None
    assert task.settings.music.density == 0.9
    assert task.state is ledger.history[-1].after


def test_mix_changes_write_nothing_anew() -> None:
    ledger = Ledger(Settings())
    fill(ledger)
    assert not ledger.change(lambda s: s.with_value("mix.drums", -6))
    assert ledger.ahead == BARS_AHEAD


def test_a_morph_arrives_step_by_step() -> None:
    ledger = Ledger(Settings().with_value("music.tempo", 70))
    ledger.morph(ledger.settings.with_value("music.tempo", 90), 4)
    tempos = []
    for _ in range(6):
        fill(ledger)
        tempos.append(ledger.locked(ledger.cues().cues[0].take).settings.music.tempo)
    assert tempos == [75, 80, 85, 90, 90, 90]
    assert ledger.settings.music.tempo == 90
    assert ledger.morphing is None


def test_a_stage_that_died_plays_the_bar_that_was_cut_again() -> None:
    ledger = Ledger(Settings())
    fill(ledger)
    for _ in range(3):
        fill(ledger)
        cut = ledger.locked(ledger.cues().cues[0].take)
    ledger.restart_stage()
    task = ledger.task()
    assert task is not None
    assert task.follows == 0
    assert task.state is cut.before


def test_of_two_presets_the_second_is_not_taken_for_the_first() -> None:
    ledger = Ledger(Settings())
    first, second = (Settings().with_value("sound.rain", rain) for rain in (0.5, 0.9))
    fill(ledger)
    ledger.locked(ledger.cues().cues[0].take)
    ledger.switch(first)
    fill(ledger)
    crossing = ledger.cues().cues[0].take
    ledger.switch(second)
    ledger.locked(crossing)
    fill(ledger)
    assert ledger.cues().cues[0].settings == second


def test_takes_that_were_replaced_are_forgotten() -> None:
    ledger = Ledger(Settings())
    for number in range(20):
        ledger.change(lambda s, n=number: s.with_value("music.density", n / 20))  # type: ignore[misc]
        fill(ledger)
    line = [cue.take for cue in ledger.cues().cues]
    ledger.delivered(line[-1])
    with pytest.raises(KeyError):
        ledger.locked(line[0] - 1)
    for take in line:
        ledger.locked(take)


def test_a_late_fader_is_heard_with_the_change_that_is_on_its_way() -> None:
    """Bars of a morph and of a switch carry settings: those written before know no fader."""
    ledger = Ledger(Settings())
    fill(ledger)
    ledger.locked(ledger.cues().cues[0].take)
    ledger.switch(Settings().with_value("sound.rain", 0.5))
    fill(ledger)
    assert not ledger.change(lambda s: s.with_value("mix.drums", -6))
    fill(ledger)
    sent = ledger.cues().cues[0].settings
    assert sent is not None
    assert (sent.sound.rain, sent.mix.drums) == (0.5, -6)


def test_a_fader_moved_within_a_morph_is_heard_in_every_bar_of_it() -> None:
    ledger = Ledger(Settings().with_value("music.tempo", 70))
    ledger.morph(ledger.settings.with_value("music.tempo", 90), 4)
    fill(ledger)
    ledger.change(lambda s: s.with_value("mix.bass", -9))
    fill(ledger)
    cues = ledger.cues().cues
    assert [cue.settings.mix.bass for cue in cues if cue.settings] == [-9] * BARS_AHEAD
    assert [cue.settings.music.tempo for cue in cues if cue.settings] == [75, 80, 85, 90]


def test_what_was_pending_is_dropped_where_another_session_is_loaded() -> None:
    ledger = Ledger(Settings())
    fill(ledger)
    ledger.locked(ledger.cues().cues[0].take)
    ledger.steer(lambda _state, _settings: state_of(("old course",)))
    ledger.switch(Settings(), lambda _state, _settings: state_of(("loaded",)))
    task = ledger.task()
    assert task is not None
    assert task.state == state_of(("loaded",))
    assert len(task.steers) == 1


def test_a_switch_keeps_the_course_that_is_pending() -> None:
    ledger = Ledger(Settings())
    fill(ledger)
    ledger.locked(ledger.cues().cues[0].take)
    ledger.steer(lambda _state, _settings: state_of(("turned",)))
    ledger.switch(Settings().with_value("music.tempo", 66))
    task = ledger.task()
    assert task is not None
    assert task.state == state_of(("turned",))
    assert task.settings.music.tempo == 66


def test_a_steer_stays_pending_until_a_bar_that_carries_it_is_locked() -> None:
    ledger = Ledger(Settings())
    fill(ledger)
    crossing = ledger.cues().cues[0].take
    ledger.steer(lambda state, _settings: state_of((*state, "turn")))  # type: ignore[misc]
    ledger.locked(crossing)
    fill(ledger)
    first = ledger.locked(ledger.cues().cues[0].take)
    fill(ledger)
    second = ledger.locked(ledger.cues().cues[0].take)
    assert [list(cast("Any", take.before)).count("turn") for take in (first, second)] == [1, 1]


def test_only_bars_of_a_change_carry_settings() -> None:
    ledger = Ledger(Settings())
    fill(ledger)
    assert all(cue.settings is None for cue in ledger.cues().cues)
    ledger.locked(ledger.cues().cues[0].take)
    ledger.switch(Settings().with_value("sound.rain", 0.5))
    fill(ledger)
    carried = [cue.settings is not None for cue in ledger.cues().cues]
    assert carried == [True, False, False, False]
