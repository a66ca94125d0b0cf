import itertools
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lofid.compose.form import (
    ENDING,
    Layout,
    Song,
    chords_of,
    compose_song,
    locate,
    own_chords,
    plan_bar,
)
from lofid.compose.preset import load_preset, preset_names
from lofid.music.chords import Quality
from lofid.music.notes import Part
from lofid.music.parameters import Form, Instrument, Settings
from lofid.music.plan import Automation, BarPlan, Section

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


@settings(deadline=None, max_examples=12)
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


@settings(deadline=None, max_examples=12)
@given(name=st.sampled_from(sorted(PRESETS)), seed=SEEDS)
def test_plans_stay_within_the_preset(name: str, seed: int) -> None:
    settings = PRESETS[name]
    song = compose_song(settings, seed, 0, None)
    assert song.key in settings.music.keys
    plans = plans_of(settings, seed, song)
    steady = [plan.tempo for plan in plans if plan.section is not Section.OUTRO]
    assert len(set(steady)) == 1
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
    plans = plans_of(settings, 1, song)
    assert {plan.tempo for plan in plans[: -ENDING - 1]} == {72.5}
    assert 72.5 > plans[-3].tempo > plans[-2].tempo > plans[-1].tempo > 60


@settings(deadline=None, max_examples=12)
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
    in_a = sum(plan.section is Section.A for plan in plans)
    assert 0 < by_section[Section.A][Part.BASS] < in_a
    resting = sum(Part.MELODY not in plan.parts for plan in plans)
    assert resting >= 0.3 * len(plans)


@settings(deadline=None, max_examples=12)
@given(seed=SEEDS)
def test_the_next_song_has_another_key(seed: int) -> None:
    settings = PRESETS["study"]
    song = compose_song(settings, seed, 0, None)
    following = compose_song(settings, seed, 1, song)
    assert following.key != song.key


def songs_of(settings: Settings, seed: int, count: int) -> list[Song]:
    songs = [compose_song(settings, seed, 0, None)]
    while len(songs) < count:
        songs.append(compose_song(settings, seed, len(songs), songs[-1]))
    return songs


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_an_hour_is_a_well_chosen_compilation(name: str) -> None:
    settings = PRESETS[name]
    songs = songs_of(settings, 3, 19)
    tempi = [plan_bar(settings, 3, song, locate(song, 0), 0).tempo for song in songs]
    lengths = [240 * song.bars / tempo for song, tempo in zip(songs, tempi, strict=True)]
    assert min(lengths) >= 120
    assert max(lengths) <= 223  # and the last bars are slower
    assert 16 <= 3600 / (sum(lengths) / len(lengths)) <= 24
    assert max(tempi) - min(tempi) >= 12
    for one, other in itertools.pairwise(tempi):
        assert abs(one - other) <= 8
    for song, following in itertools.pairwise(songs):
        steps = 7 * (song.key.transposition - following.key.transposition) % 12
        assert min(steps, 12 - steps) <= 2
        assert song.layout is not following.layout
        assert song.face is not None and following.face is not None
        voices = [(f.keys, f.melody, f.bass, f.kit) for f in (song.face, following.face)]
        assert voices[0] != voices[1]
    assert len({song.layout for song in songs}) >= 4
    drawn = {
        song.face.kit if name == "drums-only" else song.face.keys for song in songs if song.face
    }
    assert len(drawn) >= 3


def test_songs_do_not_differ_where_no_spread_is_asked_for() -> None:
    settings = Settings().with_value("form.spread", 0)
    for song in songs_of(settings, 5, 6):
        assert song.layout is Layout.ARCH
        assert song.face is not None
        face = song.face
        assert {face.low_pass, face.wow, face.vinyl, face.reverb} == {1.0}
        assert {plan.swing for plan in plans_of(settings, 5, song)} == {settings.groove.swing}
    spread = [song.face for song in songs_of(Settings(), 5, 6)]
    assert len({face.low_pass for face in spread if face}) == 6


@settings(deadline=None, max_examples=12)
@given(seed=SEEDS)
def test_a_song_draws_from_its_palettes(seed: int) -> None:
    settings = Settings().with_value("sound.keys", "harp").with_value("sound.kit", ["808", "jazz"])
    faces = [song.face for song in songs_of(settings, seed, 4)]
    assert {face.keys for face in faces if face} == {Instrument.HARP}
    assert [face.kit for face in faces if face][::2] == [faces[0] and faces[0].kit] * 2
    assert len({face.kit for face in faces if face}) == 2


@settings(deadline=None, max_examples=12)
@given(seed=SEEDS, name=st.sampled_from(sorted(PRESETS)))
def test_a_song_ends_on_its_tonic(seed: int, name: str) -> None:
    song = compose_song(PRESETS[name], seed, 2, None)
    *_, before, first, last = plans_of(PRESETS[name], seed, song)
    assert (first.final, last.final, before.final) == (True, True, False)
    assert first.chords == last.chords == (before.following,)
    assert first.chords[0].root == song.key.tonic
    assert first.chords[0].quality in (Quality.MAJOR_9, Quality.MINOR_9)
    assert last.automation != Automation()


def test_b_differs_from_a_in_more_than_its_chords() -> None:
    for song in songs_of(PRESETS["study"], 11, 8):
        plans = plans_of(PRESETS["study"], 11, song)
        a = [plan for plan in plans if plan.section is Section.A]
        b = [plan for plan in plans if plan.section is Section.B]
        if b:
            assert abs(a[0].register - b[0].register) >= 3
            assert b[0].lift > 1.1 * a[0].lift
            assert {plan.beat.kicks for plan in a} != {plan.beat.kicks for plan in b}


def test_a_loop_that_returns_turns_round_by_other_chords() -> None:
    jazz = PRESETS["late-night-jazz"]
    changed = substitutes = 0
    for song in songs_of(jazz, 1, 12):
        for bar in range(song.bars):
            place = locate(song, bar)
            if place.final or chords_of(jazz, song, place) == own_chords(song, place):
                continue
            assert place.closes_loop and place.stretch.variant
            changed += 1
            goal = song.loop(place.stretch.loop).bars[0][0]
            last = chords_of(jazz, song, place)[-1]
            assert (last.root - goal.root) % 12 in (1, 7, 10)
            substitutes += (last.root - goal.root) % 12 == 1
    assert changed and substitutes


def test_something_happens_in_a_section() -> None:
    """Parts, beat, figure and sound of four bars are never those of the four before."""
    alike = total = 0
    for song in songs_of(PRESETS["study"], 2, 10):
        plans = [p for p in plans_of(PRESETS["study"], 2, song) if p.section in ("A", "B")]
        fours = [
            [(p.parts, p.beat, p.figure, p.automation, p.fill) for p in plans[at : at + 4]]
            for at in range(0, len(plans) - 3, 4)
        ]
        alike += sum(one == other for one, other in itertools.pairwise(fours))
        total += len(fours) - 1
    assert alike <= 0.05 * total


@settings(deadline=None, max_examples=12)
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
