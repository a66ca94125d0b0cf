"""What may come out of a player, and what is favoured: docs/composing.md, "The players".

The rules are read as they are, without a model: a bias is by how much a token is more or less
likely than the model alone would have it.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from lofid.compose.form import compose_song, locate, plan_bar
from lofid.compose.rules import DrumsRules, KeysRules
from lofid.music.chords import Chord, Key
from lofid.music.notes import SIXTEENTH, DrumClass, Note, Part
from lofid.music.parameters import Settings
from lofid.music.plan import BarPlan
from lofid.tokens import drums, keys
from lofid.tokens.grammar import Phase

POSITIONS = keys.VOCABULARY.block("position")
LENGTHS = keys.VOCABULARY.block("length")
DRUM_POSITIONS = drums.VOCABULARY.block("position")
SUBDIVISION = SIXTEENTH // keys.POSITION_TICKS
ANOTHER = -2.0
"""Less likely by so much and more is what a listener would notice: one in seven."""


def plan_of(chord: str = "Dm7", **changes: object) -> BarPlan:
    """The plan of a bar in C with everybody in it."""
    song = compose_song(Settings(), 1, 0, None)
    plan = plan_bar(Settings(), 1, song, locate(song, 20), 20)
    plan = replace(
        plan, key=Key.parse("C"), chords=(Chord.parse(chord),), parts=frozenset(Part), melody=0.0,
        broken=0.0, register=60.0, density=0.4, fill=False, drum_style="hiphop",
    )  # fmt: skip
    return replace(plan, **changes)  # type: ignore[arg-type]


def comping(pitch: int) -> int:
    return keys.COMPING_TOKENS[pitch - keys.COMPING.start]


def lead(pitch: int) -> int:
    return keys.LEAD_TOKENS[pitch - keys.MELODY.start]


def after(plan: BarPlan, notes: Sequence[tuple[int, int]]) -> KeysRules:
    """The rules where chord tones (sixteenth, pitch) have been written."""
    rules, here = KeysRules(plan), -1
    for at, pitch in notes:
        if at != here:
            rules.advance(POSITIONS[at * SUBDIVISION])
            here = at
        rules.advance(comping(pitch))
        rules.advance(LENGTHS[5 * keys.VELOCITIES])
    return rules


def likely(rules: KeysRules, phase: Phase) -> list[int]:
    """The chord tones that may come."""
    bias = rules.bias(phase)
    return [pitch for pitch in keys.COMPING if bias[comping(pitch)] > -np.inf]


# -- chords -----------------------------------------------------------------------------------


@pytest.mark.parametrize("chord", ["Dm7", "G7", "Am9", "Fmaj7"])
def test_chords_keep_to_the_scale_from_c3_to_c5(chord: str) -> None:
    plan = plan_of(chord, parts=frozenset({Part.KEYS}))
    white = [pitch for pitch in range(48, 73) if pitch % 12 in {0, 2, 4, 5, 7, 9, 11}]
    assert likely(KeysRules(plan), Phase.POSITION) == white


@pytest.mark.parametrize("key", ["C", "Eb", "A", "F#m"])
def test_the_compass_is_that_of_the_sounding_key(key: str) -> None:
    home = Key.parse(key)
    plan = plan_of(key=home, chords=(Chord(home.tonic, Chord.parse("C").quality),))
    sounding = [pitch + home.transposition for pitch in likely(KeysRules(plan), Phase.POSITION)]
    assert min(sounding) in range(48, 52)
    assert max(sounding) in range(69, 73)


def test_onsets_lie_on_sixteenths() -> None:
    bias = KeysRules(plan_of()).bias(Phase.OPEN)
    open_to = [at for at, token in enumerate(POSITIONS) if bias[token] > -np.inf]
    assert open_to == [at * SUBDIVISION for at in range(16)]


def test_tones_outside_the_chord_are_half_as_likely() -> None:
    for register in range(56, 67):
        bias = KeysRules(plan_of(register=float(register))).bias(Phase.POSITION)
        middle = register - 4
        for away in range(1, 8):
            sides = {
                pitch % 12 in plan_of().chords[0].pitch_classes: bias[comping(pitch)]
                for pitch in (middle - away, middle + away)
                if bias[comping(pitch)] > -np.inf
            }
            if len(sides) == 2:
                assert np.exp(sides[False] - sides[True]) == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("register", [54.0, 60.0, 66.0])
def test_tones_far_from_the_register_are_less_likely(register: float) -> None:
    bias = KeysRules(plan_of(register=register)).bias(Phase.POSITION)
    tones = [p for p in range(48, 73) if p % 12 in plan_of().chords[0].pitch_classes]
    by_distance = sorted(
        (abs(pitch - (register - 4)), -bias[comping(pitch)])
        for pitch in tones
        if bias[comping(pitch)] > -np.inf
    )
    reluctance = [value for _, value in by_distance]
    assert reluctance == sorted(reluctance)
    assert 0.5 < reluctance[-1] < 4


def test_a_bass_takes_the_low_roots() -> None:
    with_bass = likely(KeysRules(plan_of()), Phase.POSITION)
    without = likely(KeysRules(plan_of(parts=frozenset({Part.KEYS}))), Phase.POSITION)
    assert set(without) - set(with_bass) == {50}
    assert 62 in with_bass


def test_low_semitones_are_none_and_high_ones_are() -> None:
    plan = plan_of("Cmaj7", parts=frozenset({Part.KEYS}))
    for pitch in (52, 59, 64, 71):
        together = pitch + 1 in likely(after(plan, [(0, pitch)]), Phase.NOTE)
        assert together == (pitch >= 60)


def test_the_first_chord_comes_within_the_first_eighth() -> None:
    early = KeysRules(plan_of()).bias(Phase.OPEN)
    assert [early[POSITIONS[at * SUBDIVISION]] for at in (0, 1, 2)] == [0, 0, 0]
    assert all(early[POSITIONS[at * SUBDIVISION]] < ANOTHER for at in range(3, 16))
    written = after(plan_of(), [(0, 53), (0, 57), (0, 60)]).bias(Phase.NOTE)
    assert written[POSITIONS[8 * SUBDIVISION]] == 0


@pytest.mark.parametrize(("broken", "notes"), [(0.0, 3), (0.5, 3), (1.0, 1)])
def test_notes_gather_into_chords_unless_they_may_be_broken(broken: float, notes: int) -> None:
    pitches = (53, 57, 60, 64)
    leaving = []
    for count in range(1, 5):
        rules = after(plan_of(broken=broken), [(0, pitch) for pitch in pitches[:count]])
        bias = rules.bias(Phase.NOTE)
        leaving.append(bias[POSITIONS[8 * SUBDIVISION]])
        if count > 1:
            assert bias[keys.GRAMMAR.end] == leaving[-1]
    assert [value < ANOTHER for value in leaving] == [count < notes for count in range(1, 5)]


def test_the_more_chords_may_be_broken_the_less_they_gather() -> None:
    leaving = [
        after(plan_of(broken=broken), [(0, 53)]).bias(Phase.NOTE)[POSITIONS[8 * SUBDIVISION]]
        for broken in (0.0, 0.5, 1.0)
    ]
    assert leaving[0] < leaving[1] < leaving[2] == 0


def test_no_more_than_five_notes_are_struck_at_once() -> None:
    pitches = (48, 53, 57, 60, 64)
    four, five = (after(plan_of(), [(0, p) for p in pitches[:n]]) for n in (4, 5))
    assert likely(four, Phase.NOTE)
    assert not likely(five, Phase.NOTE)


def test_chords_ring_for_an_eighth_and_more() -> None:
    rules = KeysRules(plan_of())
    rules.advance(POSITIONS[0])
    rules.advance(comping(53))
    bias = rules.bias(Phase.PITCH)
    for number, ticks in enumerate(keys.LENGTHS):
        for velocity in range(keys.VELOCITIES):
            reluctant = bias[LENGTHS[number * keys.VELOCITIES + velocity]]
            assert (reluctant <= ANOTHER) == (ticks < 2 * SIXTEENTH)


@pytest.mark.parametrize("density", [0.0, 0.5, 1.0])
def test_each_chord_beyond_the_density_is_less_likely(density: float) -> None:
    reluctance = []
    chords = [(at, pitch) for at in range(0, 16, 2) for pitch in (53, 57, 60)]
    for count in range(1, 8):
        bias = after(plan_of(density=density), chords[: 3 * count]).bias(Phase.NOTE)
        reluctance.append(bias[POSITIONS[15 * SUBDIVISION]])
    free = reluctance.count(0)
    assert free == {0.0: 0, 0.5: 3, 1.0: 7}[density]
    beyond = reluctance[free:]
    assert beyond == sorted(beyond, reverse=True)
    assert len(set(beyond)) == len(beyond)
    assert all(value < ANOTHER for value in beyond[1:])


def test_a_bar_has_two_notes_at_least() -> None:
    ends = [
        after(plan_of(), [(0, pitch) for pitch in (53, 57, 60)[:count]]).bias(Phase.NOTE)[
            keys.GRAMMAR.end
        ]
        for count in range(4)
    ]
    assert [end > -np.inf for end in ends] == [False, False, True, True]


# -- melody -----------------------------------------------------------------------------------


def leads(rules: KeysRules, phase: Phase = Phase.NOTE) -> list[int]:
    bias = rules.bias(phase)
    return [pitch for pitch in keys.MELODY if bias[lead(pitch)] > -np.inf]


def test_melody_comes_only_where_asked_from_f4_to_c6() -> None:
    assert not leads(KeysRules(plan_of()), Phase.POSITION)
    asked = leads(KeysRules(plan_of(melody=0.5)), Phase.POSITION)
    assert asked == [p for p in range(65, 85) if p % 12 in {0, 2, 4, 5, 7, 9, 11}]


def test_melody_is_one_voice() -> None:
    rules = KeysRules(plan_of(melody=1.0))
    rules.advance(POSITIONS[0])
    rules.advance(lead(72))
    rules.advance(LENGTHS[0])
    assert not leads(rules)
    rules.advance(POSITIONS[SUBDIVISION])
    assert leads(rules, Phase.POSITION)


@pytest.mark.parametrize(("melody", "most"), [(0.01, 2), (0.5, 3), (1.0, 4)])
def test_more_melody_means_more_notes_up_to_four(melody: float, most: int) -> None:
    rules = KeysRules(plan_of(melody=melody))
    written = 0
    for at in range(16):
        rules.advance(POSITIONS[at * SUBDIVISION])
        if not leads(rules, Phase.POSITION):
            break
        rules.advance(lead(72))
        rules.advance(LENGTHS[0])
        written += 1
    assert written == most


def test_a_melody_note_lies_clear_above_the_chord_it_sounds_with() -> None:
    for highest in (64, 67, 69):
        rules = after(plan_of(melody=1.0), [(0, 57), (0, highest)])
        here = leads(rules)
        assert min(here) - highest in (3, 4)
        rules.advance(POSITIONS[8 * SUBDIVISION])
        assert min(leads(rules, Phase.POSITION)) == 65


def test_a_melody_over_kept_chords_stays_above_all_of_them() -> None:
    chord = tuple(Note(0, pitch, 480, 72) for pitch in (57, 60, 64))
    later = (Note(960, 72, 480, 72), Note(960, 60, 480, 72))
    kept = keys.encode_notes(keys.KeysNotes((*chord, *later), ()))
    rules = KeysRules(plan_of(melody=1.0), over=kept)
    for token in kept[: kept.index(POSITIONS[8 * SUBDIVISION])]:
        rules.advance(token)
    rules.advance(POSITIONS[4 * SUBDIVISION])
    assert min(leads(rules, Phase.POSITION)) == 74


# -- drums ------------------------------------------------------------------------------------


def hits(drum: DrumClass) -> list[int]:
    return [token for token in drums.HIT_TOKENS if drums.hit_class(token) is drum]


def of_class(rules: DrumsRules, drum: DrumClass) -> float:
    (bias,) = {float(value) for value in rules.bias(Phase.NOTE)[hits(drum)]}
    return bias


def at(rules: DrumsRules, sixteenth: int) -> DrumsRules:
    rules.advance(DRUM_POSITIONS[sixteenth])
    return rules


RARE = (DrumClass.CRASH, DrumClass.LOW_TOM, DrumClass.MID_TOM, DrumClass.HIGH_TOM)


@pytest.mark.parametrize("drum", RARE)
def test_crashes_and_toms_are_rare_outside_fills(drum: DrumClass) -> None:
    groove, fill = (
        of_class(at(DrumsRules(plan_of(fill=fill), backbeat=False), 3), drum)
        for fill in (False, True)
    )
    assert groove <= ANOTHER < fill <= 0
    plain = (DrumClass.KICK, DrumClass.SNARE, DrumClass.OPEN_HAT)
    rules = at(DrumsRules(plan_of(), backbeat=False), 3)
    assert [of_class(rules, each) for each in plain] == [0, 0, 0]


def test_a_bar_has_two_crashes_at_most() -> None:
    rules = DrumsRules(plan_of(fill=True), backbeat=False)
    allowed = []
    for sixteenth in range(4):
        at(rules, sixteenth)
        allowed.append(of_class(rules, DrumClass.CRASH) > -np.inf)
        rules.advance(hits(DrumClass.CRASH)[30])
    assert allowed == [True, True, False, False]


@pytest.mark.parametrize(
    ("style", "leads_time"), [("hiphop", True), ("funk", True), ("jazz", False)]
)
def test_outside_jazz_the_hat_keeps_time_on_eighths(style: str, leads_time: bool) -> None:
    rules = DrumsRules(plan_of(drum_style=style), backbeat=False)
    hat = [of_class(at(rules, sixteenth), DrumClass.CLOSED_HAT) for sixteenth in range(16)]
    assert all(value == 0 for value in hat[1::2])
    assert all((value > 1) == leads_time for value in hat[::2])
    assert (of_class(rules, DrumClass.RIDE) <= ANOTHER) == leads_time


def test_a_bar_has_thirty_hits_at_most() -> None:
    rules = DrumsRules(plan_of(), backbeat=False)
    written = 0
    for sixteenth in range(16):
        at(rules, sixteenth)
        for drum in (DrumClass.KICK, DrumClass.SNARE, DrumClass.CLOSED_HAT):
            if of_class(rules, drum) > -np.inf:
                rules.advance(hits(drum)[30])
                written += 1
    assert written == 30
    assert rules.bias(Phase.NOTE)[drums.GRAMMAR.end] == 0


def test_the_backbeat_leaves_no_other_way_where_it_is_due() -> None:
    rules = DrumsRules(plan_of(), backbeat=True)
    opening = rules.bias(Phase.OPEN)
    assert [p for p in range(16) if opening[DRUM_POSITIONS[p]] > -np.inf] == [0]
    at(rules, 0)
    here = rules.bias(Phase.POSITION)
    assert of_class(rules, DrumClass.KICK) == 0
    assert of_class(rules, DrumClass.SNARE) == -np.inf
    assert here[drums.GRAMMAR.end] == -np.inf
    rules.advance(hits(DrumClass.KICK)[30])
    then = rules.bias(Phase.NOTE)
    assert [p for p in range(16) if then[DRUM_POSITIONS[p]] > -np.inf] == [0, 1, 2, 3, 4]
    for due in (4, 12):
        at(rules, due)
        rules.advance(hits(DrumClass.SNARE)[30])
    assert rules.bias(Phase.NOTE)[drums.GRAMMAR.end] == 0
