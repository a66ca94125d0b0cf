"""How loops return, vary and are left: the sentences of docs/composing.md, on scripted players.

What is heard is the station's doing then, and no model's. The script writes any number of different
bars that the guards like. Which one depends on the numbers that an attempt was given, so another
seed, bar or attempt is another bar.
"""

import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from lofid.compose.form import LoopName, locate
from lofid.compose.guards import has_groove
from lofid.compose.player import Attempt, Played, Player, Task, Write, drums_player, keys_player
from lofid.compose.station import SessionState, Station
from lofid.compose.steering import another_turn, reseeded
from lofid.kernels.bars import IntField
from lofid.music.notes import DRUM_PITCH, SIXTEENTH, DrumClass, Note, Part
from lofid.music.parameters import Settings
from lofid.music.plan import Bar, Section
from lofid.rwkv.engine import Engine
from lofid.rwkv.state import ModelState
from lofid.tokens import drums, keys
from lofid.tokens.grammar import Phase

Tokens = tuple[int, ...]
Script = Callable[[Attempt], Tokens]

STILL = Settings()
for path, value in {
    "form.variation": 0, "groove.fills": 0, "groove.looseness": 0, "music.melody": 0,
    "groove.swing": 50, "music.keys": ["C", "Am"], "music.pedal": 0, "groove.ghosts": 0,
    "form.spread": 0, "form.section_bars": 32, "form.sections": 4,
}.items():  # fmt: skip
    STILL = STILL.with_value(path, value)
"""Nothing varies that can be kept from it."""

BACKBEAT = tuple(
    Note(at * SIXTEENTH, DRUM_PITCH[drum], SIXTEENTH, velocity)
    for at, drum, velocity in (
        (0, DrumClass.KICK, 117), (4, DrumClass.SNARE, 99), (8, DrumClass.KICK, 45),
        (12, DrumClass.SNARE, 117),
    )
)  # fmt: skip


def chord_bar(attempt: Attempt) -> Tokens:
    """Three chord tones together; above kept chords, the highest melody note that may be."""
    rules, rng = attempt.rules, attempt.rng
    tables = rules.tables()
    if tables.whole[IntField.KEPT]:
        events = [
            (keys.VOCABULARY.block("position")[position], [pitch, length])
            for position, pitch, length in tables.owed
        ]
        lowest = tables.whole[IntField.LOWEST_LEAD]
        allowed = [
            token
            for token in keys.LEAD_TOKENS[:-8]
            if token >= lowest and tables.bias[-1][token] == 0
        ]
        lead = allowed[-1 - int(rng.integers(len(allowed)))]
        last = keys.VOCABULARY.block("position")[12 * SIXTEENTH // keys.POSITION_TICKS]
        events.append((last, [lead, keys.VOCABULARY.block("length")[25]]))
        tokens: list[int] = []
        for position, note in events:
            tokens += note if position in tokens else [position, *note]
        return (*tokens, keys.GRAMMAR.end)
    bias = rules.bias(Phase.POSITION)[list(keys.COMPING_TOKENS)]
    likely = np.argsort(-bias, kind="stable")[:3]
    velocity = int(rng.integers(2, 8)) * keys.VELOCITY_STEP
    lengths = rng.choice(keys.LENGTHS[3:9], 3)
    chord = [
        Note(0, keys.COMPING[int(pitch)], int(length), velocity)
        for pitch, length in zip(likely, lengths, strict=True)
    ]
    return tuple(keys.encode_notes(keys.KeysNotes(tuple(chord), ())))


def groove_bar(attempt: Attempt) -> Tokens:
    """A backbeat with eight hats of their own velocities, one of which lies elsewhere."""
    moved = int(attempt.rng.integers(8))
    hats = [
        Note(
            (2 * at + (at == moved)) * SIXTEENTH,
            DRUM_PITCH[DrumClass.CLOSED_HAT],
            SIXTEENTH,
            int(attempt.rng.integers(1, 7)) * drums.VELOCITY_STEP,
        )
        for at in range(8)
    ]
    return tuple(drums.encode_notes([*BACKBEAT, *hats]))


@dataclass(frozen=True, slots=True)
class Scripted(Player):
    """A player that writes by a script; its state counts bars and sums up what it heard."""

    script: Script = chord_bar
    tasks: list[Task] = field(default_factory=list)

    def play(self, task: Task) -> tuple[Played, ...]:
        self.tasks.append(task)
        if isinstance(task, Write):
            bars = [self.script(attempt) for attempt in task.attempts]
            return tuple(Played(bar, after(task.state, (*task.header, *bar))) for bar in bars)
        return (Played((), after(task.state, task.tokens)),)


def after(state: ModelState, tokens: Sequence[int]) -> ModelState:
    """The state after a bar."""
    heard = state.copy()
    memory = heard.att_shift[0]
    memory[0] += 1
    memory[1] = zlib.crc32(f"{memory[1]} {list(tokens)}".encode()) % 2**20
    return heard


def memory_of(state: ModelState) -> tuple[int, int]:
    """Bars heard, and the sum of what they were."""
    return int(state.att_shift[0, 0]), int(state.att_shift[0, 1])


class Band:
    """A station of scripted players, and what was asked of them."""

    def __init__(self, keys_part: Scripted, drums_part: Scripted) -> None:
        self.keys = keys_part
        self.drums = drums_part
        self.station = Station(keys_part, drums_part)

    def state(self, settings: Settings, seed: int = 7) -> SessionState:
        """The opening of a song that draws nothing for itself: the loop is played as written."""
        opening = self.station.opening(settings, seed)
        return replace(opening, song=replace(opening.song, dice=0))

    def line(
        self, settings: Settings, bars: int, state: SessionState | None = None, seed: int = 7
    ) -> tuple[list[Bar], list[SessionState]]:
        """So many bars, and the state after each of them."""
        now = state or self.state(settings, seed)
        played, states = [], []
        for _ in range(bars):
            step = self.station.step(now, settings)
            now = step.state
            played.append(step.bar)
            states.append(now)
        return played, states


BandMaker = Callable[..., Band]


@pytest.fixture
def band_of(
    fading_engine: Callable[[int, int, float], Engine],
) -> Iterator[BandMaker]:
    """Makes a station; other scripts for the keys or the drums may be given."""
    opened: list[Band] = []

    def make(keys_script: Script = chord_bar, drums_script: Script = groove_bar) -> Band:
        plain = (
            keys_player(fading_engine(len(keys.VOCABULARY), 1, 0.0)),
            drums_player(fading_engine(len(drums.VOCABULARY), 2, 0.0)),
        )
        players = [
            Scripted(one.engine, one.grammar, one.sampling, one.beginning, script)
            for one, script in zip(plain, (keys_script, drums_script), strict=True)
        ]
        opened.append(Band(*players))
        return opened[-1]

    yield make
    for one in opened:
        one.station.close()


@pytest.fixture
def band(band_of: BandMaker) -> Band:
    return band_of()


def set_to(**values: object) -> Settings:
    """Settings with some values: group__name=value."""
    settings = STILL
    for name, value in values.items():
        settings = settings.with_value(name.replace("__", "."), value)
    return settings


def comping(bar: Bar) -> list[tuple[int, int]]:
    """The chords of a bar without their touch."""
    return [(note.pitch, note.duration) for note in bar.notes.get(Part.KEYS, ())]


def hits(bar: Bar) -> list[tuple[int, int]]:
    return [(note.start, note.pitch) for note in bar.notes.get(Part.DRUMS, ())]


def melody(bar: Bar) -> list[tuple[int, int]]:
    return [(note.start, note.pitch) for note in bar.notes.get(Part.MELODY, ())]


def passes_of(bars: Sequence[Bar], section: Section, loop: int) -> list[list[Bar]]:
    """The passes of a section's loop, in order."""
    those = [bar for bar in bars if bar.plan.section is section]
    return [those[at : at + loop] for at in range(0, len(those), loop)]


# -- loops that return ------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_in_the_first_pass_every_bar_is_written_and_in_later_ones_none(
    band: Band, seed: int
) -> None:
    state = band.state(STILL, seed)
    loop = len(state.song.a.bars)
    band.line(STILL, 3 * loop, state)
    wrote = [isinstance(task, Write) for task in band.keys.tasks]
    assert wrote == [True] * loop + [False] * 2 * loop


def test_the_models_hear_what_is_played_again(band: Band) -> None:
    """Their state is that of somebody who heard every bar, written anew or not."""
    settings = set_to(form__variation=0.6, groove__fills=0.5, music__melody=0.7)
    played, states = band.line(settings, 60)
    for bars, (bar, state) in enumerate(zip(played, states, strict=True), start=1):
        assert memory_of(state.keys)[0] <= bars
        if bar.plan.bar_in_section:
            before = states[bars - 2]
            assert memory_of(state.keys)[0] == memory_of(before.keys)[0] + 1
            drums_play = Part.DRUMS in bar.plan.parts
            assert memory_of(state.drums)[0] == memory_of(before.drums)[0] + drums_play


@pytest.mark.parametrize("seed", [1, 2, 5])
def test_a_loop_that_comes_back_is_taken_up_as_both_models_knew_it(band: Band, seed: int) -> None:
    """They get back the states that they had at the end of its first pass."""
    state = band.state(STILL, seed)
    _, states = band.line(STILL, state.song.bars, state)
    a = len(state.song.a.bars)
    intro, first_a = state.song.stretches[0], state.song.stretches[1]
    opens = (intro.passes + first_a.passes) * a + state.song.stretches[2].passes * len(
        state.song.b.bars
    )
    back = locate(state.song, opens)
    assert (back.stretch.loop, back.opens_stretch) == (LoopName.A, True)
    kept = states[-1].a
    assert kept is not None
    for part, scripted in (("keys", band.keys), ("drums", band.drums)):
        memory = getattr(kept, part).after
        pass_ends = {memory_of(getattr(one, part)) for one in states[:opens]}
        assert memory_of(memory) in pass_ends, "it is a state that the model had"
        assert memory_of(memory)[0] == a, "at the end of the first pass that it played"
        began = [memory_of(task.state) for task in scripted.tasks]
        assert memory_of(memory) in began[opens - 2 * a :] if part == "keys" else True
    first = band.station.step(states[opens - 1], STILL)
    # Had nothing been given back, more bars would have been heard by now.
    assert memory_of(first.state.keys)[0] == a + 1
    plays = Part.DRUMS in first.bar.plan.parts
    assert memory_of(first.state.drums)[0] == a + plays


def test_variations_are_not_kept(band: Band) -> None:
    settings = set_to(form__variation=1.0, form__section_bars=64)
    state = band.state(settings)
    loop = len(state.song.a.bars)
    played, states = band.line(settings, 6 * loop, state)
    kept = [one.a for one in states[2 * loop :]]
    assert all(
        one is not None and one.keys.comping == kept[0].keys.comping for one in kept if kept[0]
    )
    for memory in filter(None, kept):
        for items in (memory.keys.comping, memory.keys.lead, memory.drums.bars, memory.repeats):
            assert len(items) == loop
    firsts = passes_of(played, Section.A, loop)
    assert all(comping(one[0]) == comping(firsts[0][0]) for one in firsts)


@pytest.mark.parametrize("part", ["keys", "drums"])
def test_more_variation_writes_more_bars_anew(band: Band, part: str) -> None:
    written: dict[float, Counter[str]] = {}
    heard = {"keys": comping, "drums": hits}[part]
    passes = 0
    for amount in (0.0, 0.3, 1.0):
        anew: Counter[str] = Counter()
        for seed in range(6):
            settings = set_to(
                form__variation=amount, form__breaks=False, form__intro=False, form__section_bars=64
            )
            state = band.state(settings, seed)
            loop = len(state.song.a.bars)
            played, _ = band.line(settings, 5 * loop, state, seed)
            first, *later = passes_of(played, Section.A, loop)
            passes += len(later)
            for one in later:
                for slot, (bar, known) in enumerate(zip(one, first, strict=True)):
                    place = "first" if slot == 0 else "last" if slot == loop - 1 else "inner"
                    anew[place] += heard(bar) != heard(known)
        written[amount] = anew
    totals = [sum(anew.values()) for anew in written.values()]
    assert totals[0] == 0
    assert totals[0] < totals[1] < totals[2]
    for anew in written.values():
        assert anew["first"] == 0
    # A loop has two inner bars and more, but its last one is varied oftener than any.
    assert written[0.3]["last"] >= written[0.3]["inner"] / 2
    share = written[1.0]["last"] / (passes / 3)
    assert share == pytest.approx(0.5 if part == "keys" else 1.0, abs=0.25)


def test_a_bar_that_came_six_times_unchanged_is_varied(band: Band) -> None:
    settings = set_to(form__section_bars=64, form__intro=False, form__breaks=False)
    for seed in range(4):
        state = band.state(settings, seed)
        loop = len(state.song.a.bars)
        played, _ = band.line(settings, 8 * loop, state, seed)
        passes = passes_of(played, Section.A, loop)
        if len(passes) < 8:
            continue
        for slot in range(loop):
            same = [hits(one[slot]) == hits(passes[0][slot]) for one in passes]
            assert same[:7] == [True] * 7
            assert not same[7]
            assert all(comping(one[slot]) == comping(passes[0][slot]) for one in passes)


@pytest.mark.parametrize("seed", [2, 3, 4])
def test_a_melody_is_written_above_kept_chords_and_returns(band: Band, seed: int) -> None:
    settings = set_to(music__melody=1.0, form__section_bars=64)
    state = band.state(settings, seed)
    loop = len(state.song.a.bars)
    played, _ = band.line(settings, 10 * loop, state, seed)
    passes = [one for one in passes_of(played, Section.A, loop) if melody(one[0])]
    assert len(passes) >= 2
    plain = passes_of(played, Section.INTRO, loop)[0]
    for one in passes:
        assert [comping(bar) for bar in one] == [comping(bar) for bar in plain]
        assert [melody(bar) for bar in one] == [melody(bar) for bar in passes[0]]


def test_touch_is_all_that_differs_where_a_loop_returns(band: Band) -> None:
    played, _ = band.line(STILL, 16)
    loop = len(band.state(STILL).song.a.bars)
    by_slot = [played[at::loop] for at in range(loop)]
    steps: set[int] = set()
    for bars in by_slot:
        for bar in bars[1:]:
            notes = zip(bars[0].notes[Part.KEYS], bar.notes[Part.KEYS], strict=True)
            for known, note in notes:
                assert (known.start, known.pitch) == (note.start, note.pitch)
                # A section's lift is no touch.
                lifts = bars[0].plan.lift, bar.plan.lift
                steps.add(round(note.velocity / lifts[1] - known.velocity / lifts[0]))
    assert len(steps) > 4
    assert max(map(abs, steps)) <= 9


def test_a_song_begins_with_an_empty_state(band: Band) -> None:
    state = band.state(STILL)
    _, states = band.line(STILL, state.song.bars + 1, state)
    assert memory_of(states[-1].keys)[0] == 1
    assert (states[-1].a is None, states[-1].b) == (False, None)
    assert states[-1].song.number == 1


# -- attempts and guards ----------------------------------------------------------------------


def test_a_bar_is_the_best_of_three_attempts_and_the_first_drums_of_five(band: Band) -> None:
    settings = set_to(form__intro=False)
    state = band.state(settings)
    loop = len(state.song.a.bars)
    band.line(settings, loop, state)
    attempts = [
        [len(task.attempts) for task in part.tasks if isinstance(task, Write)]
        for part in (band.keys, band.drums)
    ]
    assert attempts[0] == [3] * loop
    assert attempts[1][0] == 5
    assert attempts[1][1:4] == [3, 3, 3]


def test_the_best_attempt_is_played(band_of: BandMaker) -> None:
    """Two attempts in three lack the chord's third; the third one is heard, whichever it is."""

    def now_and_then_whole(attempt: Attempt) -> Tokens:
        whole = chord_bar(attempt)
        if attempt.rng.integers(4) == 0:
            return whole
        bar = keys.decode_notes(whole).comping
        thin = tuple(replace(note, pitch=bar[0].pitch + 12 * at) for at, note in enumerate(bar[:2]))
        return tuple(keys.encode_notes(keys.KeysNotes(thin, ())))

    def heard(played: list[Bar]) -> float:
        return sum(len({pitch % 12 for pitch, _ in comping(bar)}) > 1 for bar in played) / len(
            played
        )

    settings = set_to(music__parts=["keys"])
    bars = [
        bar
        for seed in range(12)
        for bar in band_of(now_and_then_whole).line(settings, 4, seed=seed)[0]
    ]
    assert heard(bars) == pytest.approx(1 - (3 / 4) ** 3, abs=0.2)


def test_drums_without_a_groove_are_written_once_more_with_the_rule(band_of: BandMaker) -> None:
    def without_kick(attempt: Attempt) -> Tokens:
        due = attempt.rules.tables().owed
        return groove_bar(attempt) if due else tuple(drums.encode_notes(BACKBEAT[1:]))

    settings = set_to(form__intro=False)
    band = band_of(chord_bar, without_kick)
    state = band.state(settings)
    step = band.station.step(state, settings)
    assert has_groove(step.bar.notes[Part.DRUMS])
    assert step.findings == ()
    due = [
        [len(attempt.rules.tables().owed) for attempt in task.attempts]
        for task in band.drums.tasks
        if isinstance(task, Write)
    ]
    assert due[-1] == [3]
    assert all(one == 0 for tried in due[:-1] for one in tried)


def test_where_a_variation_fails_the_loops_own_bar_is_played(band_of: BandMaker) -> None:
    broken = False

    def failing(attempt: Attempt) -> Tokens:
        return (keys.GRAMMAR.end,) if broken else chord_bar(attempt)

    settings = set_to(form__variation=1.0, form__section_bars=64, music__parts=["keys"])
    band = band_of(failing)
    state = band.state(settings)
    loop = len(state.song.a.bars)
    first, states = band.line(settings, loop, state)
    broken = True
    now = states[-1]
    findings: list[str] = []
    for known in [*first] * 3:
        step = band.station.step(now, settings)
        now = step.state
        findings += step.findings
        assert comping(step.bar) == comping(known)
    assert findings
    assert all("silence: 0 notes; the loop's own bar is played" in said for said in findings)


def test_a_variation_that_says_the_same_is_tried_again(band_of: BandMaker) -> None:
    def always_the_same(_: Attempt) -> Tokens:
        hats = [
            Note(at * 2 * SIXTEENTH, DRUM_PITCH[DrumClass.CLOSED_HAT], 60, 60) for at in range(8)
        ]
        return tuple(drums.encode_notes([*BACKBEAT, *hats]))

    settings = set_to(form__intro=False, form__variation=1.0)
    band = band_of(chord_bar, always_the_same)
    state = band.state(settings)
    loop = len(state.song.a.bars)
    band.line(settings, 2 * loop, state)
    attempts = [len(task.attempts) for task in band.drums.tasks if isinstance(task, Write)]
    assert attempts[-2:] == [5, 5], "ten for the last bar of the second pass"


def test_a_groove_of_one_bar_is_varied_in_every_eighth(band_of: BandMaker) -> None:
    turn = 0

    def much_the_same(attempt: Attempt) -> Tokens:
        bar = groove_bar(attempt)
        plain = [
            Note(at * 2 * SIXTEENTH, DRUM_PITCH[DrumClass.CLOSED_HAT], 60, 60) for at in range(8)
        ]
        return bar if turn >= 8 else tuple(drums.encode_notes([*BACKBEAT, *plain]))

    settings = set_to(form__intro=False, form__section_bars=64, form__breaks=False)
    band = band_of(chord_bar, much_the_same)
    state, played = band.state(settings), []
    for _ in range(32):
        step = band.station.step(state, settings)
        played.append(step.bar)
        state, turn = step.state, turn + 1
    same = [hits(bar) == hits(played[0]) for bar in played]
    for eighth in range(15, 32, 8):
        assert not same[eighth]
    assert all(same[:15])


# -- going on otherwise -----------------------------------------------------------------------


def test_another_turn_forgets_the_loop_and_writes_it_over_the_same_chords(band: Band) -> None:
    settings = set_to(form__section_bars=64)
    loop = len(band.state(settings).song.a.bars)
    played, states = band.line(settings, 3 * loop)
    straight, _ = band.line(settings, loop, states[-1])
    assert [comping(bar) for bar in straight] == [comping(bar) for bar in played[:loop]]
    turned = [band.line(settings, loop, another_turn(states[-1], turn))[0] for turn in (1, 2)]
    for one in turned:
        assert [bar.plan.chords for bar in one] == [bar.plan.chords for bar in straight]
        assert all(comping(a) != comping(b) for a, b in zip(one, straight, strict=True))
        assert all(hits(a) != hits(b) for a, b in zip(one, straight, strict=True))
    assert turned[0] != turned[1]
    assert memory_of(another_turn(states[-1], 1).keys) == memory_of(states[-1].keys)


def test_another_turn_leaves_the_other_loop_as_it_was(band: Band) -> None:
    state = band.state(STILL)
    _, states = band.line(STILL, state.song.bars, state)
    in_b = next(one for one in states if one.b is not None and not one.opens_loop)
    turned = another_turn(in_b, 1)
    assert turned.a is in_b.a
    assert turned.b is not None
    assert not any(turned.b.keys.comping)
    assert turned.b.keys.after is None
    assert (turned.song, turned.bar, turned.index) == (in_b.song, in_b.bar, in_b.index)


def test_another_seed_keeps_the_loop_and_varies_it_otherwise(band: Band) -> None:
    settings = set_to(form__variation=1.0, form__section_bars=64)
    loop = len(band.state(settings).song.a.bars)
    _, states = band.line(settings, 2 * loop)
    ways = [
        [hits(bar) for bar in band.line(settings, 3 * loop, reseeded(states[-1], seed))[0]]
        for seed in (7, 8, 9)
    ]
    assert ways[0] != ways[1] != ways[2]
    assert ways[0][0] == ways[1][0] == ways[2][0]
    assert ways[0] == [hits(bar) for bar in band.line(settings, 3 * loop, states[-1])[0]]


def test_a_tuned_model_is_reminded_at_the_beginning_of_each_pass_where_it_plays(
    band: Band,
) -> None:
    tuned = replace(
        band.keys,
        beginning=replace(
            band.keys.initial_state(), wkv=np.ones_like(band.keys.initial_state().wkv)
        ),
    )
    band.station.close()
    with Station(tuned, band.drums) as station:
        state = station.opening(STILL, 7)
        loop = len(state.song.a.bars)
        added = []
        for _ in range(2 * loop + 1):
            state = station.step(state, STILL).state
            added.append(float(state.keys.wkv.max()))
    # The first pass begins with it; each later one is reminded, but for what a return gives back.
    assert added[:loop] == [1.0] * loop
    assert added[loop : 2 * loop] == [2.0] * loop
