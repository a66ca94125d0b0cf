"""The plan of a song and what the arranger adds: docs/composing.md, sentence by sentence."""

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest

from lofid.compose.arranger import TOUCH, LoopPlace, WrittenNotes, arrange
from lofid.compose.bass import bass_line
from lofid.compose.chance import RandomStream
from lofid.compose.form import LoopName, Song, compose_song, locate, plan_bar
from lofid.compose.headers import dialled, drums_header, keys_header, melody_notes
from lofid.music.chords import Chord, Key, Quality
from lofid.music.harmony_model import SOURCE
from lofid.music.notes import DRUM_PITCH, PPQ, SIXTEENTH, TICKS_PER_BAR, DrumClass, Note, Part
from lofid.music.parameters import Groove, Settings
from lofid.music.plan import BarPlan, Beat, CompingFigure, Section
from lofid.music.progressions import progressions
from lofid.tokens import drums, keys

SEEDS = range(24)
STILL = Groove(snare_delay=0, hat_delay=0, bass_delay=0, looseness=0)
MS_A_TICK = 60_000 / (80 * PPQ)


def set_to(**values: object) -> Settings:
    """Settings with some values: group__name=value."""
    settings = Settings()
    for name, value in values.items():
        settings = settings.with_value(name.replace("__", "."), value)
    return settings


def plans(settings: Settings, seed: int) -> tuple[Song, list[BarPlan]]:
    song = compose_song(settings, seed, 0, None)
    return song, [
        plan_bar(settings, seed, song, locate(song, bar), bar) for bar in range(song.bars)
    ]


# -- the plan of a song -----------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS[:8])
def test_layers_come_and_go_between_passes(seed: int) -> None:
    song, written = plans(set_to(form__section_bars=32), seed)
    gone = 0
    for bar, plan in enumerate(written):
        place = locate(song, bar)
        here = plan.parts & {Part.DRUMS, Part.BASS}
        if plan.section in (Section.INTRO, Section.OUTRO):
            assert Part.DRUMS not in here
        elif plan.section in (Section.A, Section.B):
            if place.stretch_number == 1 and place.turn == 0:
                assert Part.BASS not in here, "the bass enters with the second pass"
            gone += len(here) < 2
            assert here or place.stretch_number == 1
        assert Part.KEYS in plan.parts
    assert gone < len(written) / 3


def test_sections_have_dynamics() -> None:
    for dial in ("density", "energy", "drum_density"):
        by_section: dict[Section, set[float]] = {}
        for seed in SEEDS[:4]:
            for plan in plans(Settings(), seed)[1]:
                by_section.setdefault(plan.section, set()).add(getattr(plan, dial))
        loud = min(by_section[Section.B])
        usual = statistics.mean(by_section[Section.A])
        soft = [max(by_section[one]) for one in (Section.INTRO, Section.BREAK, Section.OUTRO)]
        assert max(soft) < usual < loud


def test_b_is_another_loop_of_the_same_key() -> None:
    for seed in range(150):
        song = compose_song(set_to(music__keys=["Am"], music__moods=["soul"]), seed, 0, None)
        assert song.a.bars != song.b.bars
        assert song.a.mode is song.b.mode


def test_loops_of_practice_are_four_times_as_likely() -> None:
    settings = set_to(music__keys=["Am"], music__borrowed=0, form__spread=0)
    moods = set(settings.music.moods)
    fitting = [
        loop
        for loop in progressions()
        if loop.mode is settings.music.keys[0].mode and loop.moods & moods and not loop.is_borrowing
    ]
    practice = sum(loop.source == "practice" for loop in fitting)
    expected = 4 * practice / (4 * practice + len(fitting) - practice)
    drawn = [compose_song(settings, seed, 0, None).a.source for seed in range(1500)]
    listed = [source for source in drawn if source != SOURCE]
    assert listed.count("practice") / len(listed) == pytest.approx(expected, abs=0.07)
    assert abs(expected - practice / len(fitting)) > 0.1, "else nothing is shown"


def test_loops_are_drawn_as_songs_have_them_coloured_and_borrowing_as_asked() -> None:
    for borrowed in (0, 1):
        settings = set_to(music__borrowed=borrowed, form__spread=0)
        songs = [compose_song(settings, seed, 0, None) for seed in range(150)]
        drawn = [loop for song in songs for loop in (song.a, song.b) if loop.source == SOURCE]
        assert 0.2 < len(drawn) / 300 < 0.45  # two of five, but for vamps
        obeyed = sum(loop.is_borrowing == bool(borrowed) for loop in drawn)
        assert obeyed / len(drawn) > 0.95
        chords = [chord for loop in drawn for bar in loop.bars for chord in bar]
        assert sum(chord.quality.is_extended for chord in chords) / len(chords) >= 0.8


def test_a_plan_knows_the_chord_that_follows() -> None:
    for seed in SEEDS[:6]:
        _, written = plans(Settings(), seed)
        for plan, following in pairwise(written):
            assert plan.final or plan.following == following.chords[0]


def test_fills_come_more_surely_at_the_end_of_a_section() -> None:
    ends: list[bool] = []
    phrases: list[bool] = []
    for seed in range(30):
        song, written = plans(set_to(groove__fills=0.4), seed)
        for bar, plan in enumerate(written):
            place = locate(song, bar)
            if Part.DRUMS not in plan.parts:
                assert not plan.fill
            elif place.closes_stretch:
                ends.append(plan.fill)
            elif place.closes_phrase:
                phrases.append(plan.fill)
            else:
                assert not plan.fill
    assert statistics.mean(ends) == pytest.approx(0.8, abs=0.13)
    assert statistics.mean(phrases) == pytest.approx(0.4, abs=0.1)


def test_the_next_song_is_in_another_key_where_there_is_one() -> None:
    two = set_to(music__keys=["C", "Am"])
    one = set_to(music__keys=["C"])
    for seed in SEEDS:
        in_c = compose_song(one, seed, 0, None)
        assert compose_song(two, seed, 1, in_c).key == Key.parse("Am")
        assert compose_song(one, seed, 1, in_c).key == Key.parse("C")


def test_loops_are_moved_to_the_songs_key() -> None:
    for seed in SEEDS:
        song, written = plans(Settings(), seed)
        home = song.loop(LoopName.A).bars[0][0]
        assert written[0].chords[0] == home.transposed(song.key.transposition)


# -- headers: what the models are asked ----------------------------------------------------------


@pytest.mark.parametrize("field", [keys.DENSITY, keys.ENERGY, drums.DENSITY, drums.ENERGY])
def test_a_dial_reaches_every_bin_in_order(field: object) -> None:
    assert isinstance(field, type(keys.DENSITY))
    bins = [field.member(dialled(step / 60, field)) for step in range(61)]
    assert bins == sorted(bins)
    assert set(bins) == set(range(2, len(field.edges) + 2))


def test_headers_say_what_the_plan_says() -> None:
    plan = bar_plan("Dm7", key=Key.parse("Eb"), tempo=72.0, register=60.0)
    header = keys_header(plan)
    block = keys.VOCABULARY.block
    assert block("tempo")[keys.TEMPO.member(72)] in header
    assert block("register")[keys.REGISTER.member(60 - 3)] in header, "in the home key"
    assert block("root")[1 + 11] in header, "D, three semitones down"
    hits = drums_header(replace(plan, fill=True, drum_style="jazz"))
    assert drums.VOCABULARY.block("fill")[drums.FILL.member("fill")] in hits
    assert drums.VOCABULARY.block("style")[drums.STYLE.member("jazz")] in hits
    assert [melody_notes(dial) for dial in (0.0, 0.5, 1.0)] == [0, 2, 3]


# -- the arranger -----------------------------------------------------------------------------


def bar_plan(*chords: str, **changes: object) -> BarPlan:
    settings = set_to(music__tempo=80, music__tempo_spread=0)
    song = compose_song(settings, 1, 0, None)
    plan = plan_bar(settings, 1, song, locate(song, 20), 20)
    plan = replace(
        plan, key=Key.parse("C"), chords=tuple(map(Chord.parse, chords)), swing=50.0,
        parts=frozenset(Part), following=Chord.parse("G7"), beat=Beat(),
        figure=CompingFigure.WRITTEN, pedal=0.0, lift=1.0,
    )  # fmt: skip
    return replace(plan, **changes)  # type: ignore[arg-type]


def kicks(*sixteenths: int) -> tuple[Note, ...]:
    pitch = DRUM_PITCH[DrumClass.KICK]
    return tuple(Note(at * SIXTEENTH, pitch, SIXTEENTH, 100) for at in sixteenths)


def lines(plan: BarPlan, drums_part: Sequence[Note], count: int = 300) -> list[tuple[Note, ...]]:
    return [bass_line(plan, seed, seed % 4, drums_part) for seed in range(count)]


def test_a_chord_is_strummed_from_below() -> None:
    chord = tuple(Note(at, pitch, 480, 70) for at in (0, 960) for pitch in (53, 57, 60, 64))
    played = arrange(
        bar_plan("Dm7"), STILL, 1, LoopPlace(0, 0, 0), WrittenNotes(comping=chord)
    ).notes
    for begin in (0, 960):
        notes = [note for note in played[Part.KEYS] if begin <= note.start < begin + 100]
        assert [note.pitch for note in notes] == [53, 57, 60, 64]
        gaps = [(b.start - a.start) * MS_A_TICK for a, b in pairwise(notes)]
        assert notes[0].start == begin
        assert gaps == pytest.approx([gaps[0]] * 3, abs=1.1 * MS_A_TICK)
        assert 3 - MS_A_TICK <= gaps[0] <= 16 + MS_A_TICK
    drummed = arrange(
        bar_plan("Dm7"), STILL, 1, LoopPlace(0, 0, 0), WrittenNotes(drums=kicks(0, 8))
    ).notes
    assert [note.start for note in drummed[Part.DRUMS]] == [0, 960]


def test_the_bass_plays_the_root_with_every_chord() -> None:
    for line in lines(bar_plan("Dm7", "G7"), kicks(0, 6, 10)):
        at = {note.start: note.pitch % 12 for note in line}
        assert (at[0], at[960]) == (2, 7)
        assert len(line) <= 5
        assert all(28 <= note.pitch <= 43 for note in line)


def test_further_bass_notes_are_tones_of_the_chord_on_kicks() -> None:
    plan = bar_plan("Fmaj7", following=Chord.parse("F6"))  # which stays on F, so nothing leads
    added: Counter[int] = Counter()
    for line in lines(plan, kicks(0, 3, 6, 13)):
        assert 1 <= len(line) <= 4
        for note in line[1:]:
            if note.duration > SIXTEENTH // 2:  # else it slides into the next
                assert note.start in {6 * SIXTEENTH, 13 * SIXTEENTH, 3 * SIXTEENTH}
                added[note.pitch - line[0].pitch] += 1
    assert set(added) == {0, 7, 11, 12}
    assert added[7] > added[12] > added[11] > 0


def test_without_kicks_the_bass_moves_in_the_second_half() -> None:
    plan = bar_plan("Dm7", following=Chord.parse("Dm9"))
    starts = {
        note.start
        for line in lines(plan, ())
        for note in line[1:]
        if note.duration > SIXTEENTH // 2
    }
    assert starts == {5 * 240, 6 * 240}


def test_the_fifth_is_that_of_the_chord() -> None:
    plan = bar_plan("Bm7b5", following=Chord.parse("Bm7b5"))
    steps = {
        note.pitch - line[0].pitch
        for line in lines(plan, kicks(6))
        for note in line[1:]
        if note.duration > SIXTEENTH // 2
    }
    assert steps == {0, 6, -2}, "the octave lies beyond the compass"


def test_at_the_end_of_a_bar_the_bass_often_leads_to_the_next_root() -> None:
    plan = bar_plan("G7", following=Chord.parse("Cmaj7"))
    found = lines(plan, kicks(0, 6))
    leading = [line for line in found if line[-1].start >= 3 * PPQ]
    assert len(leading) / len(found) == pytest.approx(0.4, abs=0.1)
    assert {line[-1].pitch for line in leading} <= {34, 35, 37, 38}, "beside C"
    assert {line[-1].pitch for line in leading} >= {35}
    staying = lines(bar_plan("G7", following=Chord.parse("G13")), kicks(0, 6))
    assert not [line for line in staying if line[-1].start >= 3 * PPQ]


def test_now_and_then_a_bass_note_is_slid_into() -> None:
    found = lines(bar_plan("G7", following=Chord.parse("G13")), kicks(0, 8))
    slid = [line for line in found if any(note.duration <= SIXTEENTH // 2 for note in line)]
    assert 0.03 < len(slid) / len(found) < 0.2
    for _, grace, goal, *_ in slid:
        assert (goal.pitch - grace.pitch, goal.start - grace.start) == (2, SIXTEENTH // 2)


def test_bass_notes_reach_to_the_next_and_follow_the_energy() -> None:
    loudness = []
    for energy in (0.0, 0.5, 1.0):
        line = next(
            line
            for line in lines(bar_plan("Dm7", energy=energy, following=None), kicks(6))
            if len(line) == 2
        )
        ends = [*(note.start for note in line[1:]), TICKS_PER_BAR]
        for note, end in zip(line, ends, strict=True):
            assert 0.8 < note.duration / (end - note.start) < 1
        assert line[0].velocity > line[1].velocity, "the first beat is the stronger one"
        loudness.append(line[1].velocity)
    assert loudness[0] + 10 < loudness[1] < loudness[2] - 10


def test_a_hits_own_feel_stays_up_to_26_ticks() -> None:
    snare = DRUM_PITCH[DrumClass.SNARE]
    for own, left in ((0, 0), (12, 12), (-20, -20), (40, 26), (-52, -26)):
        hits = [Note(at * PPQ, DRUM_PITCH[DrumClass.KICK], 60, 90) for at in range(4)]
        hits.append(Note(2 * SIXTEENTH + own, snare, 60, 90))
        played = arrange(
            bar_plan("Dm7"), STILL, 1, LoopPlace(0, 0, 0), WrittenNotes(drums=tuple(hits))
        ).notes
        (heard,) = [note.start for note in played[Part.DRUMS] if note.pitch == snare]
        assert heard - 2 * SIXTEENTH == left


def test_looseness_is_less_between_the_eighths() -> None:
    hat = DRUM_PITCH[DrumClass.CLOSED_HAT]
    hits = tuple(Note(at * SIXTEENTH, hat, 60, 90) for at in range(16))
    moves: tuple[list[int], list[int]] = ([], [])
    for slot in range(16):
        groove = replace(STILL, looseness=8)
        place = LoopPlace(0, slot // 8, slot % 8)
        played = arrange(bar_plan("Dm7"), groove, 1, place, WrittenNotes(drums=hits)).notes[
            Part.DRUMS
        ]
        for at, note in enumerate(played):
            moves[at % 2].append(note.start - at * SIXTEENTH)
    on, off = (statistics.pstdev(each) for each in moves)
    assert off / on == pytest.approx(0.4, abs=0.12)
    for spread in moves:
        assert statistics.mean(spread) == pytest.approx(0, abs=0.6), "neither early nor late"


def test_touch_moves_velocities_by_four_at_most_and_otherwise_in_each_pass() -> None:
    hits = tuple(Note(at * SIXTEENTH, 42, 60, 90) for at in range(16))
    passes = []
    for index in (4, 12, 20):
        plan = bar_plan("Dm7", index=index)
        played = arrange(plan, STILL, 1, LoopPlace(0, 0, 0), WrittenNotes(drums=hits)).notes[
            Part.DRUMS
        ]
        passes.append([note.velocity for note in played])
    steps = [velocity for one in passes for velocity in one]
    assert max(steps) - min(steps) == 2 * TOUCH
    assert passes[0] != passes[1] != passes[2]


def test_chords_are_released_where_the_harmony_changes() -> None:
    chord = (Note(0, 60, 1920, 70), Note(1440, 64, 1920, 70))
    plan = bar_plan("Dm7", "G7")
    played = arrange(plan, STILL, 1, LoopPlace(0, 0, 0), WrittenNotes(comping=chord)).notes[
        Part.KEYS
    ]
    assert [note.duration for note in played] == [960, 480]


def test_keys_and_melody_sound_in_the_songs_key() -> None:
    written = WrittenNotes(comping=(Note(0, 60, 480, 70),), melody=(Note(0, 72, 480, 70),))
    for key, shift in (("C", 0), ("Eb", 3), ("A", -3), ("Cm", 3)):
        plan = bar_plan("Dm7", key=Key.parse(key))
        played = arrange(plan, STILL, 1, LoopPlace(0, 0, 0), written).notes
        assert played[Part.KEYS][0].pitch == 60 + shift
        assert played[Part.MELODY][0].pitch == 72 + shift


# -- what all of it stands on ---------------------------------------------------------------------

SPELLED = {
    "": "C E G", "m": "C Eb G", "dim": "C Eb F#", "aug": "C E Ab", "sus4": "C F G",
    "6": "C E G A", "m6": "C Eb G A", "7": "C E G Bb", "maj7": "C E G B", "m7": "C Eb G Bb",
    "m7b5": "C Eb F# Bb", "dim7": "C Eb F# A", "7sus4": "C F G Bb", "add9": "C E G D",
    "9": "C E G Bb D", "maj9": "C E G B D", "m9": "C Eb G Bb D", "7b9": "C E G Bb Db",
    "13": "C E G Bb D A",
}  # fmt: skip


def test_chords_are_spelled_as_lead_sheets_spell_them() -> None:
    assert {quality.suffix for quality in Quality} == set(SPELLED)
    for suffix, tones in SPELLED.items():
        spelled = frozenset(Chord.parse(tone).root for tone in tones.split())
        assert Chord.parse(f"C{suffix}").pitch_classes == spelled
    extended = {quality.suffix for quality in Quality if quality.is_extended}
    assert set(SPELLED) - extended == {"", "m", "dim", "aug", "sus4", "6", "m6"}


def test_no_two_streams_of_chance_are_one() -> None:
    assert len(RandomStream) == len(RandomStream.__members__)


def test_the_grid_of_lengths_is_musical() -> None:
    assert all(length % (PPQ // 8) == 0 for length in keys.LENGTHS)
    assert list(keys.LENGTHS) == sorted(set(keys.LENGTHS))
    assert keys.LENGTHS[-1] == TICKS_PER_BAR
