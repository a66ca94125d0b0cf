from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from lofid.compose.guards import has_groove
from lofid.compose.player import Player
from lofid.compose.preset import load_preset, preset_names
from lofid.compose.station import SessionState, Station
from lofid.errors import LofidError
from lofid.music.notes import Part
from lofid.music.parameters import Settings
from lofid.music.plan import Bar, Section


def pitches(bar: Bar, part: Part) -> list[tuple[int, int]]:
    return [(note.start, note.pitch) for note in bar.notes.get(part, ())]


def test_the_same_seed_gives_the_same_bars(
    station: Station, untrained_keys: Player, untrained_drums: Player
) -> None:
    with Station(Settings(), 7, untrained_keys, untrained_drums) as other:
        assert list(islice(station.bars(), 24)) == list(islice(other.bars(), 24))
    with Station(Settings(), 8, untrained_keys, untrained_drums) as another:
        assert list(islice(station.bars(), 8)) != list(islice(another.bars(), 8))


def test_a_step_leaves_its_state_as_it_was(station: Station) -> None:
    state = station.opening()
    for _ in range(9):
        _, state = station.step(state)
    keys_before = state.keys.att_shift.copy()
    first, after = station.step(state)
    again, after_again = station.step(state)
    assert first == again
    assert np.array_equal(state.keys.att_shift, keys_before)
    assert np.array_equal(after.keys.att_shift, after_again.keys.att_shift)


def test_a_loop_returns_note_for_note_when_nothing_varies(
    untrained_keys: Player, untrained_drums: Player
) -> None:
    settings = Settings().with_value("form.variation", 0.0).with_value("groove.fills", 0.0)
    with Station(settings, 5, untrained_keys, untrained_drums) as still:
        song = still.opening().song
        played = list(islice(still.bars(), song.bars))
    loop = len(song.a.bars)
    first_a = [bar for bar in played if bar.plan.section is Section.A]
    for bar, again in zip(first_a, first_a[loop : 3 * loop], strict=False):
        assert pitches(bar, Part.KEYS) == pitches(again, Part.KEYS)
        if Part.DRUMS in bar.notes and Part.DRUMS in again.notes:
            assert pitches(bar, Part.DRUMS) == pitches(again, Part.DRUMS)
    starts = [i for i, bar in enumerate(played) if bar.plan.bar_in_section == 0]
    returns = [i for i in starts if played[i].plan.section is Section.A]
    assert len(returns) >= 2
    assert pitches(played[returns[0]], Part.KEYS) == pitches(played[returns[1]], Part.KEYS)


def test_a_loop_returns_with_variations(station: Station) -> None:
    song = station.opening().song
    played = list(islice(station.bars(), song.bars))
    loop = len(song.a.bars)
    section = [bar for bar in played if bar.plan.section is Section.A][: song.bars // 4]
    same = [
        pitches(bar, Part.KEYS) == pitches(again, Part.KEYS)
        for bar, again in zip(section, section[loop:], strict=False)
    ]
    assert sum(same) / len(same) >= 0.6
    drums = {tuple(pitches(bar, Part.DRUMS)) for bar in section}
    assert len(drums) > loop


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_plays_what_its_plans_ask(
    name: str, untrained_keys: Player, untrained_drums: Player
) -> None:
    settings = load_preset(name).settings
    with Station(settings, 3, untrained_keys, untrained_drums) as station:
        for bar in islice(station.bars(), 40):
            assert set(bar.notes) <= bar.plan.parts
            needed = bar.plan.parts - {Part.MELODY}
            assert set(bar.notes) >= needed

            assert Part.DRUMS not in bar.notes or has_groove(bar.notes[Part.DRUMS])


def test_no_bar_of_a_loop_stays_the_same_for_ever(
    untrained_keys: Player, untrained_drums: Player
) -> None:
    settings = load_preset("keys-only").settings
    for path, value in (("form.variation", 0.0), ("music.melody", 0.0), ("form.section_bars", 64)):
        settings = settings.with_value(path, value)
    with Station(settings, 5, untrained_keys, untrained_drums) as still:
        loop = len(still.opening().song.a.bars)
        firsts = list(islice(still.bars(), 0, 8 * loop, loop))
    assert {bar.plan.section for bar in firsts} == {Section.INTRO, Section.A}
    assert len({tuple(pitches(bar, Part.KEYS)) for bar in firsts}) == 2


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_a_seed_out_of_range_is_named(
    seed: int, untrained_keys: Player, untrained_drums: Player
) -> None:
    with pytest.raises(LofidError, match=f"seed {seed} is out of range"):
        Station(Settings(), seed, untrained_keys, untrained_drums)


def test_songs_follow_each_other(station: Station) -> None:
    state = station.opening()
    first = state.song
    last: SessionState = replace(state, bar=first.bars - 1, index=first.bars - 1)
    _, following = station.step(last)
    assert (following.song.number, following.bar, following.index) == (1, 0, first.bars)
    assert following.song.key != first.key
    bar, _ = station.step(following)
    assert bar.plan.index == first.bars
