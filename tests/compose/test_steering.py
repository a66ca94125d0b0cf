from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lofid.compose.form import locate
from lofid.compose.preset import load_preset
from lofid.compose.session import same_session
from lofid.compose.station import SessionState, Station
from lofid.compose.steering import another_turn, next_section, next_song, reseeded
from lofid.errors import LofidError
from lofid.music.chords import Key
from lofid.music.notes import EARLIEST_START, TICKS_PER_BAR, Part
from lofid.music.parameters import Settings
from lofid.music.plan import Bar, Section

Steer = Callable[[SessionState], SessionState]


def after_bars(
    station: Station, bars: int, settings: Settings, seed: int = 7
) -> tuple[list[Bar], SessionState]:
    state = station.opening(settings, seed)
    played: list[Bar] = []
    for _ in range(bars):
        step = station.step(state, settings)
        played.append(step.bar)
        state = step.state
    return played, state


def line(station: Station, state: SessionState, bars: int, settings: Settings) -> list[Bar]:
    played: list[Bar] = []
    for _ in range(bars):
        step = station.step(state, settings)
        played.append(step.bar)
        state = step.state
    return played


def pitches(bar: Bar, part: Part, shift: int = 0) -> list[tuple[int, int]]:
    return [(note.start, note.pitch + shift) for note in bar.notes.get(part, ())]


def test_the_next_section_begins_with_the_next_bar(station: Station) -> None:
    _, state = after_bars(station, 7, Settings())
    step = station.step(next_section(state), Settings())
    assert (step.bar.plan.index, step.bar.plan.section) == (7, Section.B)
    assert step.bar.plan.bar_in_section == 0


def test_asked_for_twice_at_one_bar_line_one_section_is_left(station: Station) -> None:
    _, state = after_bars(station, 6, Settings())
    once = next_section(state)
    assert same_session(next_section(once), once)
    assert next_section(station.opening(Settings(), 7)).bar == 0


def test_after_the_last_section_comes_the_next_song(station: Station) -> None:
    _, state = after_bars(station, 1, Settings())
    last = replace(state, bar=state.song.bars - 1)
    assert locate(last.song, last.bar).stretch.section is Section.OUTRO
    step = station.step(next_section(last), Settings())
    assert step.state.song.number == 1
    assert step.bar.plan.section is Section.INTRO


def test_the_next_song_begins_with_the_next_bar(station: Station) -> None:
    _, state = after_bars(station, 9, Settings())
    step = station.step(next_song(state), Settings())
    assert (step.bar.plan.index, step.bar.plan.bar_in_section) == (9, 0)
    assert step.state.song.number == 1
    assert step.bar.plan.key != state.song.key


def test_another_seed_goes_on_in_the_same_song(station: Station) -> None:
    _, state = after_bars(station, 10, Settings())
    other = reseeded(state, 99)
    assert other.song is state.song
    assert line(station, other, 12, Settings()) != line(station, state, 12, Settings())
    with pytest.raises(LofidError, match="seed -1"):
        reseeded(state, -1)


def test_every_turn_is_another_one_and_always_the_same(station: Station) -> None:
    _, state = after_bars(station, 16, Settings())  # where loop A returns
    turns = [line(station, another_turn(state, turn), 4, Settings()) for turn in (1, 2, 3)]
    straight = line(station, state, 4, Settings())
    comping = [[pitches(bar, Part.KEYS) for bar in bars] for bars in (*turns, straight)]
    assert all(a != b for a in comping for b in comping if a is not b)
    assert all(bars[0].plan.chords == straight[0].plan.chords for bars in turns)
    assert line(station, another_turn(state, 2), 4, Settings()) == turns[1]
    over = next_song(state)
    assert line(station, another_turn(over, 1), 1, Settings())[0].plan.bar_in_section == 0


def test_another_key_of_the_mode_moves_the_song_and_its_loops(station: Station) -> None:
    before = Settings().with_value("form.variation", 0).with_value("music.keys", ["Am"])
    before = before.with_value("music.melody", 0).with_value("groove.fills", 0)
    after = before.with_value("music.keys", ["F", "Cm", "F#m"])
    _, state = after_bars(station, 24, before)
    here = line(station, state, 8, before)
    moved = line(station, state, 8, after)
    assert {bar.plan.key for bar in moved} == {Key.parse("Cm")}
    for bar, other in zip(here, moved, strict=True):
        assert pitches(bar, Part.KEYS, shift=3) == pitches(other, Part.KEYS)
        assert other.plan.section is bar.plan.section


def test_keys_of_the_other_mode_begin_a_new_song(station: Station) -> None:
    before = Settings().with_value("music.keys", ["Am"])
    _, state = after_bars(station, 10, before)
    step = station.step(state, before.with_value("music.keys", ["Eb"]))
    assert step.bar.plan.key == Key.parse("Eb")
    assert (step.state.song.number, step.state.bar, step.state.index) == (1, 1, 11)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("music.moods", ["dark"]),
        ("music.borrowed", 1.0),
        ("form.section_bars", 64),
        ("form.sections", 1),
        ("form.intro", False),
        ("form.breaks", False),
    ],
)
def test_what_comes_with_the_next_song_leaves_this_one_as_it_is(
    station: Station, path: str, value: object
) -> None:
    before = Settings().with_value("form.section_bars", 16)
    changed = before.with_value(path, value)
    _, state = after_bars(station, 3, before)
    assert line(station, state, 20, changed) == line(station, state, 20, before)
    late = replace(state, bar=state.song.bars)
    songs = [station.step(late, each).state.song for each in (before, changed)]
    assert songs[0] != songs[1]


def test_parts_may_join_a_loop_that_was_kept_without_them(station: Station) -> None:
    alone = load_preset("keys-only").settings.with_value("music.parts", ["bass"])
    _, state = after_bars(station, 20, alone)
    every = alone.with_value("music.parts", ["keys", "melody", "bass", "drums"])
    joined = line(station, state, 24, every.with_value("music.melody", 1))
    assert {part for bar in joined for part in bar.notes} == set(Part)


STEERS: dict[str, Steer] = {
    "straight on": lambda state: state,
    "next section": next_section,
    "next song": next_song,
    "reseeded": lambda state: reseeded(state, 2**64 - 1),
    "another turn": lambda state: another_turn(state, 3),
}


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_whatever_is_changed_in_mid_song_bars_stay_legal_and_repeatable(
    data: st.DataObject, station: Station, any_change: st.SearchStrategy[tuple[str, object]]
) -> None:
    musical = any_change.filter(lambda change: change[0].startswith(("music", "form", "groove")))
    moves = data.draw(
        st.lists(
            st.tuples(
                st.sampled_from(sorted(STEERS)),
                st.lists(musical, max_size=3),
                st.integers(1, 6),
            ),
            min_size=1,
            max_size=5,
        )
    )
    first, second = (walked(station, moves) for _ in range(2))
    assert first == second
    assert [bar.plan.index for bar in first] == list(range(len(first)))
    for bar in first:
        check_legal(bar)


def walked(station: Station, moves: list[tuple[str, list[tuple[str, object]], int]]) -> list[Bar]:
    now = Settings().with_value("form.section_bars", 16)
    state = station.opening(now, 1)
    played: list[Bar] = []
    for steer, changes, bars in moves:
        for path, value in changes:
            now = now.with_value(path, value)
        state = STEERS[steer](state)
        for _ in range(bars):
            step = station.step(state, now)
            state = step.state
            assert step.bar.plan.key in now.music.keys
            assert step.bar.plan.parts <= set(now.music.parts)
            played.append(step.bar)
    return played


def check_legal(bar: Bar) -> None:
    assert bar.plan.parts
    assert 60 <= bar.plan.tempo <= 100
    assert set(bar.notes) <= bar.plan.parts
    assert set(bar.notes) >= bar.plan.parts - {Part.MELODY}
    for notes in bar.notes.values():
        assert list(notes) == sorted(notes)
        for note in notes:
            assert EARLIEST_START <= note.start < TICKS_PER_BAR
            assert 0 <= note.pitch <= 127
            assert 1 <= note.velocity <= 127
            assert note.duration > 0
    for note, following in pairwise(bar.notes.get(Part.MELODY, ())):
        assert note.start + note.duration <= following.start
