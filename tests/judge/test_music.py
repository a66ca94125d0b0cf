"""Musical figures of bars whose answers are known."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from lofid.judge import music
from lofid.judge.figures import Share
from lofid.music.chords import Chord, Key
from lofid.music.notes import DRUM_PITCH, DrumClass, Note, Part
from lofid.music.plan import Bar, BarPlan, Section

KICK, SNARE, HAT = (DRUM_PITCH[DrumClass(i)] for i in range(3))


def bar(
    notes: Mapping[Part, Sequence[Note]] | None = None,
    chords: str = "Cmaj7",
    key: str = "C",
    **changes: Any,
) -> Bar:
    values: dict[str, Any] = {
        "index": 0,
        "tempo": 80.0,
        "section": Section.A,
        "bar_in_section": 0,
        "density": 0.5,
        "energy": 0.5,
        "register": 60.0,
        "melody": 0.5,
        "swing": 58.0,
        "parts": frozenset(Part),
        "key": Key.parse(key),
        "chords": tuple(Chord.parse(symbol) for symbol in chords.split()),
    }
    plan = BarPlan(**{**values, **changes})
    return Bar(plan, {part: tuple(played) for part, played in (notes or {}).items()})


def keys(*pitches: int, start: int = 0) -> Mapping[Part, Sequence[Note]]:
    return {Part.KEYS: [Note(start, pitch, 480, 70) for pitch in pitches]}


def drums(*hits: tuple[int, int], velocity: int = 90) -> Mapping[Part, Sequence[Note]]:
    return {Part.DRUMS: [Note(start, pitch, 120, velocity) for start, pitch in hits]}


class TestHarmony:
    def test_scale_follows_the_chord(self) -> None:
        # Over E7 in C: G sharp and F belong, F sharp and G do not.
        assert music.in_scale([bar(keys(68, 65, 66, 67), "E7")]) == Share(2, 4)
        assert music.in_scale([bar(keys(68, 67), "Cmaj7")]) == Share(1, 2)

    def test_two_chords_share_the_bar(self) -> None:
        notes = {Part.KEYS: [Note(t, 60, 9, 9) for t in (0, 890, 910, 960, 1900)]}
        # C belongs to the first chord only; at 910 it already anticipates the second.
        assert music.chord_tones([bar(notes, "Cmaj7 G7")]) == Share(2, 5)

    def test_chord_tones_by_kind(self) -> None:
        bars = [bar(keys(60, 62), "C"), bar(keys(60, 61), "Abmaj7"), bar(keys(62, 63), "Dm7")]
        assert music.chord_tones(bars) == Share(3, 6)
        assert music.chord_tones(bars, which=music.is_borrowed) == Share(1, 2)
        assert music.chord_tones(bars, which=music.is_extended) == Share(2, 4)
        assert music.extended_bars(bars) == Share(2, 3)

    def test_shuffled(self) -> None:
        # Two chords without a common tone, each played in full: half of the draws fit.
        bars = [bar(keys(60, 64, 67), "C"), bar(keys(62, 65, 69), "Dm")] * 200
        assert music.chord_tones(bars).value == 1
        assert music.shuffled_chord_tones(bars, seed=1).value == pytest.approx(0.5, abs=0.05)
        assert music.shuffled_chord_tones(bars, 1) == music.shuffled_chord_tones(bars, 1)

    def test_shuffling_does_not_reward_another_key(self) -> None:
        bars = [bar(keys(60, 64, 67), "C"), bar(keys(66, 70, 73), "F#", key="F#")] * 50
        assert music.shuffled_chord_tones(bars, seed=1).value == 1

    def test_shuffling_does_not_reward_another_mode(self) -> None:
        bars = [bar(keys(60, 64, 67), "C"), bar(keys(60, 64, 67), "C", key="Am")] * 50
        assert music.shuffled_chord_tones(bars, seed=1).value == 1


class TestGroove:
    @pytest.mark.parametrize("swing", [50.0, 54.0, 58.0, 62.0, 66.7])
    @pytest.mark.parametrize("played", [-3.0, 0.0, 2.5])
    def test_swing(self, swing: float, played: float) -> None:
        late = {KICK: 0, HAT: 5, SNARE: 20}
        hits = [
            (round(eighth * 240 + offset + late[pitch]), pitch)
            for eighth, offset in itertools.product(range(8), (0, 2.4 * (swing + played)))
            for pitch in (KICK, HAT, SNARE)
        ]
        error = music.swing_error([bar(drums(*hits), swing=swing)])
        assert error == pytest.approx(played, abs=0.3)

    def test_no_off_sixteenths_no_swing(self) -> None:
        assert music.swing_error([bar(drums((0, KICK), (720, HAT), (1918, HAT)))]) is None

    def test_kick_and_backbeat(self) -> None:
        bars = [
            bar(drums((-20, KICK), (490, SNARE), (1450, SNARE))),
            bar(drums((100, KICK), (490, SNARE))),
            bar(drums((0, KICK), (960, SNARE))),  # half time
            bar(drums((0, KICK), (480, SNARE), (960, SNARE))),
            bar(drums((0, HAT)), section=Section.INTRO),
            bar(drums((0, HAT)), fill=True),
            bar(parts=frozenset({Part.KEYS})),
        ]
        assert music.kick_on_one(bars) == Share(3, 4)
        assert music.backbeat(bars) == Share(2, 4)

    def test_velocity_deviation(self) -> None:
        bars = [bar(drums((0, KICK), velocity=60)), bar(drums((0, KICK), velocity=100))]
        assert music.velocity_deviation(bars, Part.DRUMS) == 20
        assert music.velocity_deviation(bars, Part.BASS) is None


class TestRepetition:
    def test_longest_repetition_ignores_feel(self) -> None:
        a, b = bar(keys(60, start=3), index=1), bar(keys(60, start=-4), index=2)
        other, silent = bar(keys(62)), bar()
        bars = [a, b, other, a, b, a, silent, silent, silent, silent]
        assert music.longest_repetition(bars) == 3
        assert music.distinct_bars(bars) == Share(2, 6)
        assert music.longest_repetition(bars, (Part.DRUMS,)) == 0

    def test_a_moved_loop_is_itself(self) -> None:
        one, two = bar(keys(60, 64)), bar(keys(63, 67), key="Eb")
        assert music.similarity(music.shape(one), music.shape(two)) == 1

    def test_returns(self) -> None:
        loop = ["C", "Am", "F", "G"]

        def section(name: Section, at: int, pitches: Sequence[int]) -> list[Bar]:
            return [
                bar(
                    keys(*pitches, 60 + i % 4),
                    loop[i % 4],
                    section=name,
                    index=at + i,
                    bar_in_section=i,
                )
                for i in range(8)
            ]

        song = [
            *section(Section.INTRO, 0, [40]),
            *section(Section.A, 8, [41]),
            *section(Section.B, 16, [42]),
            *section(Section.A, 24, [41, 39]),
        ]
        found = music.returns([song])
        assert found.loop == 1
        assert found.section == pytest.approx(2 / 3)
        assert found.other == pytest.approx((1 / 3 + 1 / 3 + 1 / 3 + 1 / 2) / 4)
        # The A of the next song is not a return.
        after = [*section(Section.INTRO, 32, [40]), *section(Section.A, 40, [41])]
        assert music.returns([[*song[:16], *after]]).section is None
        assert music.returns([song[8:16], song[24:]]).section is None


class TestRegisterAndForm:
    def test_bass_below_keys(self) -> None:
        def together(bass: int) -> Bar:
            return bar({Part.BASS: [Note(0, bass, 9, 9)], **keys(48, 55)})

        assert music.bass_below_keys([together(36), together(60), together(61), bar()]) == Share(
            2, 3
        )

    def test_melody(self) -> None:
        tune = {Part.MELODY: [Note(0, 72, 9, 9), Note(2, 76, 9, 9), Note(480, 74, 9, 9)]}
        bars = [bar(tune), bar(), bar(), bar(tune)]
        assert music.onsets_a_bar(bars, Part.MELODY) == 2
        assert music.rests(bars, Part.MELODY) == Share(2, 4)

    def test_layers(self) -> None:
        bars = [bar(keys(60), section=Section.INTRO), bar(keys(60)), bar(drums((0, KICK)))]
        found = music.layers(bars)
        assert list(found) == [Section.INTRO, Section.A]
        assert found[Section.A][0] == 2
        assert found[Section.A][1][Part.KEYS] == 0.5
        assert found[Section.INTRO][1][Part.DRUMS] == 0
