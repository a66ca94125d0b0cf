from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lofid.compose.arranger import LoopPlace, WrittenNotes, arrange
from lofid.compose.chance import RandomStream, generator
from lofid.compose.hands import Comped, comped
from lofid.compose.lead import sung
from lofid.music.chords import Chord, Key
from lofid.music.notes import PPQ, SIXTEENTH, TICKS_PER_BAR, Note, Part
from lofid.music.parameters import Groove
from lofid.music.plan import BarPlan, CompingFigure, Section
from lofid.music.scales import chord_scale

STILL = Groove(snare_delay=0, hat_delay=0, bass_delay=0, looseness=0)


def plan_of(chords: str = "Cmaj9", **changes: object) -> BarPlan:
    plan = BarPlan(
        index=0,
        tempo=80,
        key=Key.parse("C"),
        chords=tuple(map(Chord.parse, chords.split())),
        section=Section.A,
        bar_in_section=0,
        density=0.4,
        energy=0.4,
        register=60,
        melody=0.4,
        swing=50,
        parts=frozenset(Part),
        following=Chord.parse("Fmaj9"),
        pedal=1.0,
        rootless=True,
    )
    return replace(plan, **changes)  # type: ignore[arg-type]


def struck(*pitches: int, at: int = 0, length: int = 240) -> list[Note]:
    return [Note(at * SIXTEENTH, pitch, length, 70) for pitch in pitches]


def hands(plan: BarPlan, notes: Sequence[Note], seed: int = 1, *, pushed: bool = False) -> Comped:
    return comped(plan, notes, generator(seed, RandomStream.HANDS, 3), pushed=pushed)


def test_chords_ring_to_the_next_one_as_far_as_the_pedal_is_down() -> None:
    chords = [*struck(52, 59, 62), *struck(53, 57, 62, at=8)]
    first = [note for note in hands(plan_of(pedal=1.0), chords).notes if note.start == 0]
    assert {note.start + note.duration for note in first if note.pitch != 62} == {8 * 120 + 60}
    assert [note.duration for note in first if note.pitch == 62] == [8 * 120]  # struck again
    assert {note.duration for note in hands(plan_of(pedal=0.0), chords).notes} == {240}
    half = {note.duration for note in hands(plan_of(pedal=0.5), chords).notes}
    assert 240 < min(half) < 8 * 120


def test_nothing_rings_into_other_harmony() -> None:
    notes = struck(52, 59, 62, length=1920)
    played = hands(plan_of("Cmaj9 Am7"), notes).notes
    assert max(note.duration for note in played) <= TICKS_PER_BAR // 2 + SIXTEENTH // 2


def test_a_ninth_replaces_the_root_that_the_bass_has() -> None:
    def classes(seed: int, chord: str, *, rootless: bool = True) -> set[int]:
        plan = plan_of(chord, rootless=rootless)
        return {note.pitch % 12 for note in hands(plan, struck(60, 64, 71), seed).notes}

    with_ninth = [2 in classes(seed, "Cmaj9") for seed in range(40)]
    assert sum(with_ninth) >= 30
    assert all(0 not in classes(seed, "Cmaj9") for seed in range(40) if with_ninth[seed])
    assert not any(2 in classes(seed, "Cmaj9", rootless=False) for seed in range(40))
    # Over E in C the ninth of the scale is a minor one: it stays away.
    assert not any(6 in classes(seed, "Em7") for seed in range(40))


@settings(deadline=None, max_examples=40)
@given(
    figure=st.sampled_from(CompingFigure),
    onsets=st.sets(st.integers(0, 15), min_size=1, max_size=5),
    pushed=st.booleans(),
    seed=st.integers(0, 99),
    chord=st.sampled_from(["Cmaj9", "Dm9", "G13", "Em7", "Am9", "Dm7 G13"]),
)
def test_whatever_the_figure_the_chords_stay_in_the_bar_and_the_scale(
    figure: CompingFigure, onsets: set[int], pushed: bool, seed: int, chord: str
) -> None:
    plan = plan_of(chord, figure=figure)
    notes = [note for at in sorted(onsets) for note in struck(52, 55, 59, at=at)]
    result = hands(plan, notes, seed, pushed=pushed)
    assert result.pushes <= (figure is CompingFigure.PUSH)
    places = {(note.start, note.pitch) for note in result.notes}
    assert len(places) == len(result.notes)
    for note in result.notes:
        assert 0 <= note.start < TICKS_PER_BAR
        assert note.duration > 0
        again = [n.start for n in result.notes if n.pitch == note.pitch and n.start > note.start]
        assert not again or note.start + note.duration <= min(again)


def test_each_figure_changes_the_rhythm_in_its_way() -> None:
    chords = [*struck(52, 59, 62), *struck(53, 57, 62, at=8)]

    def onsets(figure: CompingFigure) -> set[int]:
        return {n.start // SIXTEENTH for n in hands(plan_of("Am9", figure=figure), chords).notes}

    assert onsets(CompingFigure.WRITTEN) == {0, 8}
    assert onsets(CompingFigure.PUSH) == {0, 8, 14}
    assert onsets(CompingFigure.THIN) == {0}
    assert onsets(CompingFigure.SPLIT) in ({0, 2, 8}, {0, 3, 8})
    assert len(onsets(CompingFigure.ANSWER)) == 3
    assert onsets(CompingFigure.TURN) == {0, 8, 13}


def test_a_push_has_the_next_chord_and_takes_its_beat() -> None:
    plan = plan_of("Am9", figure=CompingFigure.PUSH)
    pushed = hands(plan, [*struck(52, 59, 62), *struck(53, 57, 62, at=8)])
    assert pushed.pushes
    late = [note for note in pushed.notes if note.start == 14 * SIXTEENTH]
    assert plan.following is not None
    assert {note.pitch % 12 for note in late} <= plan.following.pitch_classes
    assert all(note.start + note.duration > TICKS_PER_BAR for note in late)
    following = [*struck(52, 57, 64), *struck(53, 57, 64, at=8)]
    after = hands(plan_of("Fmaj9"), following, pushed=True).notes
    assert min(note.start for note in after) == 8 * SIXTEENTH
    alone = hands(plan_of("Fmaj9"), struck(52, 57, 64), pushed=True).notes
    assert min(note.start for note in alone) == 6 * SIXTEENTH


def test_voices_of_a_chord_are_struck_differently() -> None:
    written = WrittenNotes(comping=tuple(struck(52, 55, 59, 64)))
    bars = [
        arrange(plan_of("Em7", index=index), STILL, 1, LoopPlace(index, 0, 0), written).notes
        for index in range(30)
    ]
    chords = [bar[Part.KEYS] for bar in bars]
    spread = [max(n.start for n in notes) - min(n.start for n in notes) for notes in chords]
    ticks_per_ms = 80 * PPQ / 60_000
    assert min(spread) >= 3 * 3 * ticks_per_ms - 2
    assert max(spread) > 2 * min(spread)
    tops = [max(notes, key=lambda note: note.pitch).velocity for notes in chords]
    inner = [sorted(notes, key=lambda note: note.pitch)[1].velocity for notes in chords]
    assert sum(tops) / 30 - sum(inner) / 30 == pytest.approx(8, abs=2)


@settings(deadline=None, max_examples=40)
@given(
    pitches=st.lists(st.integers(65, 84), min_size=1, max_size=4),
    below=st.sets(st.integers(50, 64), min_size=2, max_size=4),
    bar=st.integers(0, 3),
)
def test_no_melody_note_lies_a_minor_ninth_above_a_key(
    pitches: list[int], below: set[int], bar: int
) -> None:
    plan = plan_of("Cmaj9", bar_in_section=bar)
    melody = [Note(at * PPQ, pitch, PPQ, 70) for at, pitch in enumerate(pitches)]
    chords = [Note(0, pitch, TICKS_PER_BAR, 70) for pitch in sorted(below)]
    scale = chord_scale(plan.chords[0], plan.key)
    free = [p for p in range(65, 85) if p % 12 in scale and all((p - b) % 12 != 1 for b in below)]
    line = sung(plan, melody, chords)
    assert [note.start for note in line] == [note.start for note in melody]
    if len(free) > 8:
        for note in line:
            assert all((note.pitch - other) % 12 != 1 for other in below)


def test_a_phrase_ends_on_a_colour_and_is_held() -> None:
    melody = [Note(0, 72, PPQ, 70), Note(PPQ, 77, PPQ // 2, 70)]
    chords = [Note(0, pitch, TICKS_PER_BAR, 70) for pitch in (52, 55, 59)]
    open_end = sung(plan_of("Cmaj9", bar_in_section=0), melody, chords)[-1]
    end = sung(plan_of("Cmaj9", bar_in_section=1), melody, chords)[-1]
    assert open_end.duration == PPQ // 2
    assert end.duration > PPQ
    assert end.pitch % 12 in {4, 11, 2}
