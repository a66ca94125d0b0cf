"""Following a clock: whatever the tempo, the jitter and the seed, bar lines are foretold."""

import random
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lofid.outputs.messages import MidiStatus
from lofid.outputs.output import Received
from lofid.playback.sync import LOST_AFTER, TICKS_PER_BAR, TICKS_PER_BEAT, ClockFollower

BEGIN = 100.0
tempi = st.floats(40, 240)
seeds = st.integers(0, 2**32)


def ticks(bpm: float, count: int, begin: float = BEGIN, seed: int = 0) -> Iterator[Received]:
    """Ticks that jitter by up to 2 ms."""
    jitter = random.Random(seed)
    for n in range(count):
        moment = begin + n * 60 / (bpm * TICKS_PER_BEAT) + jitter.uniform(-0.002, 0.002)
        yield Received(moment, MidiStatus.CLOCK)


def told(follower: ClockFollower, messages: Iterator[Received]) -> float:
    """Let the follower hear the messages; returns when the last one came."""
    moment = BEGIN
    for message in messages:
        follower.hear(message)
        moment = message.moment
    return moment


@settings(deadline=None, max_examples=50)
@given(tempi, seeds)
def test_tempo_is_known_within_a_beat_and_exact_within_a_bar(bpm: float, seed: int) -> None:
    follower, bar = ClockFollower(), TICKS_PER_BAR
    messages = ticks(bpm, bar, seed=seed)
    now = told(follower, (next(messages) for _ in range(TICKS_PER_BEAT)))
    assert follower.tempo(now) == pytest.approx(bpm, rel=0.015)
    now = told(follower, messages)
    assert follower.tempo(now) == pytest.approx(bpm, rel=0.002)


@settings(deadline=None, max_examples=50)
@given(tempi, seeds, st.integers(0, 1023))
def test_bar_lines_are_foretold(bpm: float, seed: int, bar: int) -> None:
    follower = ClockFollower()
    position = bar * 16
    data = (position & 0x7F, position >> 7)
    follower.hear(Received(BEGIN - 0.01, MidiStatus.SONG_POSITION, data))
    follower.hear(Received(BEGIN - 0.005, MidiStatus.CONTINUE))
    now = told(follower, ticks(bpm, TICKS_PER_BAR, seed=seed))
    line = follower.bar_line(now)
    assert line is not None
    assert line[0] == bar + 1
    assert line[1] == pytest.approx(BEGIN + 240 / bpm, abs=0.003)
    after = follower.bar_line(line[1] + 0.01)
    assert after is not None
    assert after[0] == bar + 2
    assert after[1] == pytest.approx(BEGIN + 480 / bpm, abs=0.006)


@settings(deadline=None, max_examples=50)
@given(st.floats(50, 190), st.sampled_from((0.8, 0.95, 1.03, 1.25)), seeds)
def test_a_change_of_tempo_is_followed_within_a_bar(bpm: float, by: float, seed: int) -> None:
    follower = ClockFollower()
    told(follower, ticks(bpm, 2 * TICKS_PER_BAR, seed=seed))
    begin = BEGIN + 480 / bpm
    now = told(follower, ticks(by * bpm, TICKS_PER_BAR, begin, seed + 1))
    assert follower.tempo(now) == pytest.approx(by * bpm, rel=0.003)


def test_start_and_stop() -> None:
    follower = ClockFollower()
    now = told(follower, ticks(80, 50))
    assert follower.bar_line(now) is None
    follower.hear(Received(now, MidiStatus.START))
    assert follower.bar_line(now) is None  # the song begins with the next tick
    now = told(follower, ticks(80, 96 + 24, now + 0.03))
    assert follower.running
    line = follower.bar_line(now)
    assert line is not None and line[0] == 2
    follower.hear(Received(now, MidiStatus.STOP))
    assert follower.bar_line(now) is None
    follower.hear(Received(now, MidiStatus.CONTINUE))
    now = told(follower, ticks(80, 24, now + 0.03))
    line = follower.bar_line(now)
    assert line is not None and line[0] == 2
    assert line[1] == pytest.approx(now + (2 * 96 - 96 - 47) * 60 / (80 * 24), abs=0.005)


def test_a_clock_that_is_lost_and_comes_back() -> None:
    follower = ClockFollower()
    assert follower.lost(BEGIN)
    now = told(follower, ticks(120, 96))
    assert not follower.lost(now + LOST_AFTER / 2)
    later = now + LOST_AFTER + 0.01
    assert follower.lost(later)
    assert follower.tempo(later) is None
    now = told(follower, ticks(70, 24, later))
    assert not follower.lost(now)
    assert follower.tempo(now) == pytest.approx(70, rel=0.015)


@pytest.mark.parametrize("bpm", [20, 400])
def test_what_is_no_tempo_of_music_is_not_followed(bpm: float) -> None:
    follower = ClockFollower()
    now = told(follower, ticks(bpm, 96))
    assert follower.tempo(now) is None


@settings(deadline=None, max_examples=50)
@given(
    st.lists(
        st.tuples(
            st.floats(0, 2),
            st.sampled_from([*MidiStatus, 0xFE, 0xB0]),
            st.lists(st.integers(0, 127), max_size=3),
        ),
        max_size=60,
    )
)
def test_any_messages_are_survived(messages: list[tuple[float, int, list[int]]]) -> None:
    follower, now = ClockFollower(), 0.0
    for gap, status, data in messages:
        now += gap
        follower.hear(Received(now, status, tuple(data)))
        follower.tempo(now)
        line = follower.bar_line(now)
        assert line is None or line[1] >= now - 1e-6


def test_a_clock_that_cannot_be_followed_is_told() -> None:
    follower = ClockFollower()
    assert "No MIDI clock is heard" in follower.trouble(BEGIN)
    now = told(follower, ticks(100, TICKS_PER_BAR))
    assert follower.trouble(now) == ""
    assert "no longer heard" in follower.trouble(now + LOST_AFTER + 0.1)
    for bpm in (20, 300):
        other = ClockFollower()
        now = told(other, ticks(bpm, TICKS_PER_BAR))
        assert "slower than 40 BPM or faster than 240" in other.trouble(now)
