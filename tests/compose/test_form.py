from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lofid.compose.form import Song, compose_song, locate, plan_bar
from lofid.compose.preset import load_preset, preset_names
from lofid.music.notes import Part
from lofid.music.parameters import Form, Settings
from lofid.music.plan import BarPlan, Section

PRESETS = {name: load_preset(name).settings for name in preset_names()}
SEEDS = st.integers(0, 2**64 - 1)
FORMS = st.builds(
    Form,
    section_bars=st.integers(16, 64),
    sections=st.integers(1, 8),
    intro=st.booleans(),
    breaks=st.booleans(),
)


def plans_of(settings: Settings, seed: int, song: Song) -> list[BarPlan]:
    return [
        plan_bar(settings, seed, song, locate(song, bar), 100 + bar) for bar in range(song.bars)
    ]


@given(form=FORMS, seed=SEEDS, number=st.integers(0, 10_000))
def test_a_song_is_sections_of_whole_loops(form: Form, seed: int, number: int) -> None:
    settings = Settings(form=form)
    song = compose_song(settings, seed, number, None)
    sections = [stretch.section for stretch in song.stretches]
    assert sections.count(Section.A) + sections.count(Section.B) == form.sections
    assert (Section.INTRO in sections) == form.intro
    assert sections[-1] is Section.OUTRO
    for stretch in song.stretches:
        if stretch.section in (Section.A, Section.B):
            bars = stretch.passes * len(song.loop(stretch.loop).bars)
            assert abs(bars - form.section_bars) <= 4
    with pytest.raises(IndexError):
        locate(song, song.bars)


@given(name=st.sampled_from(sorted(PRESETS)), seed=SEEDS)
def test_plans_stay_within_the_preset(name: str, seed: int) -> None:
    settings = PRESETS[name]
    song = compose_song(settings, seed, 0, None)
    assert song.key in settings.music.keys
    plans = plans_of(settings, seed, song)
    assert len({plan.tempo for plan in plans}) == 1
    assert abs(plans[0].tempo - settings.music.tempo) <= settings.music.tempo_spread + 0.5
    for plan in plans:
        assert plan.parts
        assert plan.parts <= set(settings.music.parts)
        assert 0 <= plan.density <= 1
        assert 0 <= plan.energy <= 1
        assert (plan.melody > 0) == (Part.MELODY in plan.parts)
        assert Part.DRUMS in plan.parts or not plan.fill


def test_a_tempo_without_spread_is_kept_as_it_is() -> None:
    settings = Settings().with_value("music.tempo", 72.5).with_value("music.tempo_spread", 0)
    song = compose_song(settings, 1, 0, None)
    assert {plan.tempo for plan in plans_of(settings, 1, song)} == {72.5}


@given(seed=SEEDS)
def test_layers_come_and_go(seed: int) -> None:
    settings = PRESETS["study"]
    song = compose_song(settings, seed, 0, None)
    plans = plans_of(settings, seed, song)
    by_section: dict[Section, Counter[Part]] = {section: Counter() for section in Section}
    for plan in plans:
        by_section[plan.section].update(plan.parts)
    assert by_section[Section.INTRO][Part.DRUMS] == by_section[Section.OUTRO][Part.DRUMS] == 0
    assert by_section[Section.A][Part.DRUMS] > 0
    assert 0 < by_section[Section.A][Part.BASS] < 2 * settings.form.section_bars
    resting = sum(Part.MELODY not in plan.parts for plan in plans)
    assert resting >= 0.3 * len(plans)


@given(seed=SEEDS)
def test_the_next_song_has_another_key(seed: int) -> None:
    settings = PRESETS["study"]
    song = compose_song(settings, seed, 0, None)
    following = compose_song(settings, seed, 1, song.key)
    assert following.key != song.key


@given(seed=SEEDS)
def test_plans_are_pure(seed: int) -> None:
    song = compose_song(Settings(), seed, 3, None)
    assert song == compose_song(Settings(), seed, 3, None)
    assert plans_of(Settings(), seed, song) == plans_of(Settings(), seed, song)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_seeds_give_different_songs(name: str) -> None:
    songs = {
        (song.key, song.a.bars, song.b.bars)
        for seed in range(20)
        for song in [compose_song(PRESETS[name], seed, 0, None)]
    }
    assert len(songs) >= 15


def test_four_bars_in_five_have_sevenths_in_the_default_preset() -> None:
    bars = [
        chords
        for seed in range(40)
        for song in [compose_song(PRESETS["study"], seed, 0, None)]
        for chords in (*song.a.bars, *song.b.bars)
    ]
    rich = sum(any(chord.quality.is_extended for chord in bar) for bar in bars)
    assert rich >= 0.8 * len(bars)


def test_borrowed_chords_come_as_often_as_asked() -> None:
    settings = PRESETS["study"]
    for share in (0.0, 1.0):
        music = replace(settings.music, borrowed=share)
        songs = [compose_song(replace(settings, music=music), seed, 0, None) for seed in range(20)]
        assert all(song.a.is_borrowing == bool(share) for song in songs)
