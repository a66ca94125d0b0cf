from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lofid.compose.arranger import TOUCH, LoopPlace, WrittenNotes, arrange, swung, varied
from lofid.compose.bass import bass_line
from lofid.compose.form import compose_song, locate, plan_bar
from lofid.music.notes import (
    DRUM_PITCH,
    EARLIEST_START,
    PPQ,
    SIXTEENTH,
    TICKS_PER_BAR,
    DrumClass,
    Note,
    Part,
)
from lofid.music.parameters import Groove, Settings
from lofid.music.plan import Bar, BarPlan, Beat
from lofid.music.scales import chord_scale

SEEDS = st.integers(0, 2**64 - 1)
STILL = Groove(snare_delay=0, hat_delay=0, bass_delay=0, looseness=0)
HITS = st.lists(
    st.builds(
        Note,
        st.integers(0, 15).map(lambda at: at * SIXTEENTH),
        st.sampled_from(sorted(DRUM_PITCH.values())),
        st.just(SIXTEENTH),
        st.integers(1, 127),
    ),
    max_size=20,
    unique_by=lambda note: (note.start, note.pitch),
).map(tuple)


def plan_for(seed: int, **changes: object) -> BarPlan:
    song = compose_song(Settings(), seed, 0, None)
    plan = plan_bar(Settings(), seed, song, locate(song, 20), 20)
    values = {name: getattr(plan, name) for name in BarPlan.__dataclass_fields__}
    return BarPlan(**{**values, "parts": frozenset(Part), **changes})


@settings(deadline=None, max_examples=40)
@given(seed=SEEDS, hits=HITS)
def test_the_bass_plays_roots_low_and_sparsely(seed: int, hits: tuple[Note, ...]) -> None:
    plan = plan_for(seed)
    line = bass_line(plan, seed, 2, hits)
    assert 1 <= len(line) <= 5
    assert line[0].start == 0
    assert line[0].pitch % 12 == plan.chords[0].root
    assert all(28 <= note.pitch <= 43 for note in line)
    ends = [note.start + note.duration for note in line]
    starts = [*(note.start for note in line[1:]), TICKS_PER_BAR]
    assert all(end <= start for end, start in zip(ends, starts, strict=True))
    for note in line:
        chord = plan.chords[note.start * len(plan.chords) // TICKS_PER_BAR]
        slide = note.duration <= SIXTEENTH // 2
        fifth = (note.pitch - chord.root) % 12 == 7
        if note.pitch % 12 not in chord.pitch_classes and not slide and not fifth:
            assert note.start >= 3 * PPQ
            assert plan.following is not None
            step = (note.pitch - plan.following.root) % 12
            assert step in (1, 2, 10, 11)
            assert step in (1, 11) or note.pitch % 12 in chord_scale(chord, plan.key)


@pytest.mark.parametrize("swing", [50, 54, 58, 62, 66])
def test_swing_bends_each_eighth_at_its_middle(swing: float) -> None:
    eighth = 2 * SIXTEENTH
    for start in range(0, TICKS_PER_BAR, eighth):
        assert swung(start, swing) == start
        assert swung(start + SIXTEENTH, swing) == start + round(eighth * swing / 100)


@settings(deadline=None, max_examples=40)
@given(hits=HITS, swing=st.sampled_from([50.0, 58.0, 66.0]))
def test_hats_swing_as_asked_and_the_beat_about_half_as_much(
    hits: tuple[Note, ...], swing: float
) -> None:
    plan = plan_for(1, swing=swing, beat=Beat())
    played = arrange(plan, STILL, 1, LoopPlace(0, 0, 0), WrittenNotes(drums=hits)).notes
    low = (DRUM_PITCH[DrumClass.KICK], DRUM_PITCH[DrumClass.SNARE])
    backbeats = (4 * SIXTEENTH, 12 * SIXTEENTH)
    firm = [h for h in hits if h.pitch != low[1] or h.velocity >= 60 or h.start in backbeats]
    expected = sorted(
        (swung(hit.start, 50 + 0.55 * (swing - 50) if hit.pitch in low else swing), hit.pitch)
        for hit in firm
    )
    assert [(n.start, n.pitch) for n in played.get(Part.DRUMS, ())] == expected


@settings(deadline=None, max_examples=40)
@given(hits=HITS, late=st.integers(-40, 40))
def test_a_drummers_common_lateness_goes(hits: tuple[Note, ...], late: int) -> None:
    shifted = tuple(replace(hit, start=hit.start + late) for hit in hits if hit.start > 0)
    plain = tuple(hit for hit in hits if hit.start > 0)
    one, other = (
        arrange(plan_for(1), STILL, 1, LoopPlace(0, 0, 0), WrittenNotes(drums=notes))
        for notes in (shifted, plain)
    )
    assert one == other


@settings(deadline=None, max_examples=40)
@given(seed=SEEDS, hits=HITS)
def test_notes_stay_in_their_bar_and_timing_repeats(seed: int, hits: tuple[Note, ...]) -> None:
    written = WrittenNotes(comping=(Note(0, 60, 480, 70), Note(1800, 64, 1920, 1)), drums=hits)
    passes = [
        arrange(plan_for(seed, index=index), Groove(), seed, LoopPlace(0, 1, 3), written).notes
        for index in (4, 12)
    ]
    timings = [
        {
            part: sorted((n.start, n.pitch, n.duration) for n in notes)
            for part, notes in bar.items()
            if part is not Part.KEYS  # which are strummed a little otherwise
        }
        for bar in passes
    ]
    assert timings[0] == timings[1]
    for notes in passes[0].values():
        assert list(notes) == sorted(notes)
        for note in notes:
            assert EARLIEST_START <= note.start < TICKS_PER_BAR
            assert 1 <= note.velocity <= 127
            assert note.duration > 0


@settings(deadline=None, max_examples=40)
@given(seed=SEEDS)
def test_the_melody_is_one_voice_that_ends_with_its_bar(seed: int) -> None:
    starts = (0, 120, 240, 840, 1800)
    written = WrittenNotes(melody=tuple(Note(start, 72, 1920, 70) for start in starts))
    plan = plan_for(seed, swing=66.0)
    groove = Groove(looseness=15)
    melody = arrange(plan, groove, seed, LoopPlace(0, 0, 0), written).notes[Part.MELODY]
    ends = [note.start + note.duration for note in melody]
    assert len(melody) == len(starts)
    assert ends == [*(note.start for note in melody[1:]), TICKS_PER_BAR]


def test_parts_that_the_plan_leaves_out_are_silent() -> None:
    written = WrittenNotes(drums=(Note(0, DRUM_PITCH[DrumClass.KICK], SIXTEENTH, 90),))
    plan = plan_for(1, parts=frozenset({Part.BASS}))
    assert set(arrange(plan, STILL, 1, LoopPlace(0, 0, 0), written).notes) == {Part.BASS}


def test_a_bar_that_stands_in_is_the_same_bar_with_another_touch() -> None:
    comping = tuple(Note(at * 480, 60 + at, 400, 80) for at in range(4))
    melody = (Note(0, 72, 480, 70), Note(480, 74, 960, 70))
    hats = tuple(Note(at * 240, DRUM_PITCH[DrumClass.CLOSED_HAT], 120, 40) for at in range(8))
    kick = Note(0, DRUM_PITCH[DrumClass.KICK], 120, 110)
    bar = Bar(
        plan_for(1),
        {Part.KEYS: comping, Part.MELODY: melody, Part.DRUMS: tuple(sorted((*hats, kick)))},
    )
    turns = [varied(bar, 3, times) for times in range(1, 40)]
    assert len({str(sorted(turn.notes.items())) for turn in turns}) == len(turns)
    assert turns[4] == varied(bar, 3, 5)
    for turn in turns:
        assert turn.plan is bar.plan
        for part, notes in turn.notes.items():
            pitches = [note.pitch for note in bar.notes[part]]
            assert len(notes) in ({8, 9} if part is Part.DRUMS else {len(pitches)})
            for note in notes:
                assert EARLIEST_START <= note.start < TICKS_PER_BAR
                near = [n for n in bar.notes[part] if n.pitch == note.pitch]
                assert any(
                    abs(n.start - note.start) <= 3 and abs(n.velocity - note.velocity) <= TOUCH
                    for n in near
                )
        assert kick.pitch in {note.pitch for note in turn.notes[Part.DRUMS]}
        first, second = turn.notes[Part.MELODY]
        assert first.start + first.duration <= second.start
    assert {len(turn.notes[Part.DRUMS]) for turn in turns} == {8, 9}
