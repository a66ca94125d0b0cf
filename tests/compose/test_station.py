from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
from numpy.typing import NDArray

from lofid.compose.guards import has_groove
from lofid.compose.player import ModelFailure, Player
from lofid.compose.preset import load_preset, preset_names
from lofid.compose.station import SessionState, Station
from lofid.errors import LofidError
from lofid.judge.music import shape, similarity
from lofid.music.notes import Part
from lofid.music.parameters import Settings
from lofid.music.plan import Bar, Section
from lofid.rwkv.config import RwkvConfig
from lofid.rwkv.engine import Engine
from lofid.rwkv.state import ModelState
from lofid.tokens import keys


def pitches(bar: Bar, part: Part) -> list[tuple[int, int]]:
    return [(note.start, note.pitch) for note in bar.notes.get(part, ())]


def after_bars(station: Station, bars: int) -> SessionState:
    state = station.opening(Settings(), 7)
    for _ in range(bars):
        state = station.step(state, Settings()).state
    return state


def test_the_same_seed_gives_the_same_bars(station: Station) -> None:
    played = list(islice(station.bars(Settings(), 7), 24))
    assert list(islice(station.bars(Settings(), 7), 24)) == played
    assert list(islice(station.bars(Settings(), 8), 8)) != played[:8]


def test_a_step_leaves_its_state_as_it_was(station: Station) -> None:
    state = after_bars(station, 9)
    keys_before = state.keys.att_shift.copy()
    first = station.step(state, Settings())
    again = station.step(state, Settings())
    assert first.bar == again.bar
    assert np.array_equal(state.keys.att_shift, keys_before)
    assert np.array_equal(first.state.keys.att_shift, again.state.keys.att_shift)


def test_a_loop_returns_note_for_note_when_nothing_varies(station: Station) -> None:
    settings = Settings().with_value("form.breaks", False)
    for path in ("form.variation", "groove.fills", "form.spread"):
        settings = settings.with_value(path, 0.0)
    song = station.opening(settings, 5).song
    played = list(islice(station.bars(settings, 5), song.bars))
    loop = len(song.a.bars)
    first_a = [bar for bar in played if bar.plan.section is Section.A]
    for bar, again in zip(first_a, first_a[loop : 3 * loop], strict=False):
        leads = bar.plan.bar_in_section % loop == loop - 1  # to what may be something else
        if leads or bar.plan.parts != again.plan.parts:  # chords leave the root to a bass
            continue
        assert pitches(bar, Part.KEYS) == pitches(again, Part.KEYS)
        if Part.DRUMS in bar.notes and Part.DRUMS in again.notes:
            assert pitches(bar, Part.DRUMS) == pitches(again, Part.DRUMS)
    starts = [i for i, bar in enumerate(played) if bar.plan.bar_in_section == 0]
    returns = [i for i in starts if played[i].plan.section is Section.A]
    assert len(returns) >= 2
    assert pitches(played[returns[0]], Part.KEYS) == pitches(played[returns[1]], Part.KEYS)


def test_a_loop_returns_with_variations(station: Station) -> None:
    song = station.opening(Settings(), 7).song
    played = list(islice(station.bars(Settings(), 7), song.bars))
    loop = len(song.a.bars)
    section = [bar for bar in played if bar.plan.section is Section.A][: song.bars // 4]
    likeness = [
        similarity(shape(bar, (Part.KEYS,)), shape(again, (Part.KEYS,)))
        for bar, again in zip(section, section[loop:], strict=False)
    ]
    assert 0.4 <= sum(likeness) / len(likeness) < 1
    drums = {tuple(pitches(bar, Part.DRUMS)) for bar in section}
    assert len(drums) > loop


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_plays_what_its_plans_ask(name: str, station: Station) -> None:
    for bar in islice(station.bars(load_preset(name).settings, 3), 80):
        plan, beat = bar.plan, bar.plan.beat
        assert set(bar.notes) <= plan.parts
        if plan.final:  # the last chord, which rings
            continue
        assert set(bar.notes) >= plan.parts - {Part.MELODY}
        plain = beat.kick and beat.stop is None and not (plan.fill or beat.half_time)
        assert not plain or Part.DRUMS not in bar.notes or has_groove(bar.notes[Part.DRUMS])


def test_no_bar_of_a_loop_stays_the_same_for_ever(station: Station) -> None:
    settings = load_preset("keys-only").settings
    for path, value in (("form.variation", 0.0), ("music.melody", 0.0), ("form.section_bars", 64)):
        settings = settings.with_value(path, value)
    loop = len(station.opening(settings, 5).song.a.bars)
    firsts = list(islice(station.bars(settings, 5), 0, 8 * loop, loop))
    assert {bar.plan.section for bar in firsts} == {Section.INTRO, Section.A}
    assert len({tuple(pitches(bar, Part.KEYS)) for bar in firsts}) == 2


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_a_seed_out_of_range_is_named(seed: int, station: Station) -> None:
    with pytest.raises(LofidError, match=f"seed {seed} is out of range"):
        station.opening(Settings(), seed)


def test_songs_follow_each_other(station: Station) -> None:
    state = station.opening(Settings(), 7)
    first = state.song
    last: SessionState = replace(state, bar=first.bars - 1, index=first.bars - 1)
    step = station.step(station.step(last, Settings()).state, Settings())
    following = step.state
    assert (following.song.number, following.bar, following.index) == (1, 1, first.bars + 1)
    assert following.song.key != first.key
    assert step.bar.plan.index == first.bars


class BrokenEngine:
    """A real engine until its ``healthy`` calls are used up; then it answers with ``answer``."""

    name = "broken"

    def __init__(self, engine: Engine, healthy: int, answer: float | None) -> None:
        self._engine = engine
        self._healthy = healthy
        self._answer = answer

    @property
    def config(self) -> RwkvConfig:
        return self._engine.config

    def forward(self, tokens: Sequence[int], state: ModelState) -> NDArray[np.float32]:
        self._healthy -= 1
        if self._healthy >= 0:
            return self._engine.forward(tokens, state)
        if self._answer is None:
            raise FloatingPointError("the model broke")
        return np.full(self.config.vocabulary, self._answer, np.float32)

    def forward_batch(
        self, tokens: Sequence[int], states: Sequence[ModelState]
    ) -> NDArray[np.float32]:
        pairs = zip(tokens, states, strict=True)
        return np.stack([self.forward((token,), state) for token, state in pairs])


@pytest.mark.parametrize("answer", [None, np.nan, np.inf])
@pytest.mark.parametrize("healthy", [0, 1, 70, 300])
@pytest.mark.parametrize("which", ["keys", "drums"])
def test_a_broken_model_is_told_and_nothing_is_played(
    which: str,
    healthy: int,
    answer: float | None,
    untrained_keys: Player,
    untrained_drums: Player,
) -> None:
    players = {"keys": untrained_keys, "drums": untrained_drums}
    broken = BrokenEngine(players[which].engine, healthy, answer)
    players[which] = replace(players[which], engine=broken)
    with Station(**players) as station, pytest.raises(ModelFailure, match="'broken'"):
        for bar in station.bars(Settings(), 7):
            assert bar.plan.final or set(bar.notes) >= bar.plan.parts - {Part.MELODY}


class StubbornEngine:
    """A model that plays no key but B, whatever the chord."""

    name = "stubborn"

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @property
    def config(self) -> RwkvConfig:
        return self._engine.config

    def forward(self, tokens: Sequence[int], state: ModelState) -> NDArray[np.float32]:
        logits = self._engine.forward(tokens, state).copy()
        for pitch, token in zip(keys.COMPING, keys.COMPING_TOKENS, strict=True):
            logits[token] -= 100 * (pitch % 12 != 11)
        return logits

    def forward_batch(
        self, tokens: Sequence[int], states: Sequence[ModelState]
    ) -> NDArray[np.float32]:
        pairs = zip(tokens, states, strict=True)
        return np.stack([self.forward((token,), state) for token, state in pairs])


def test_what_the_guards_found_comes_back_with_the_bar(
    untrained_keys: Player, untrained_drums: Player
) -> None:
    stubborn = replace(untrained_keys, engine=StubbornEngine(untrained_keys.engine))
    settings = Settings().with_value("form.intro", False)
    findings: list[str] = []
    with Station(stubborn, untrained_drums) as station:
        for seed in range(4):  # of which some draw loops with chords that have no B
            state = station.opening(settings, seed)
            for _ in range(8):
                step = station.step(state, settings)
                findings += step.findings
                state = step.state
    assert findings
    assert all(finding.startswith("keys, bar ") for finding in findings)
    assert all("off the chord: no tone of " in finding for finding in findings)


def test_a_tuned_beginning_comes_back_with_each_pass(
    untrained_keys: Player, untrained_drums: Player
) -> None:
    """The engine leaves ``wkv`` alone, so that counts how often the beginning was added."""
    players = [
        replace(player, beginning=replace(empty, wkv=np.ones_like(empty.wkv)))
        for player in (untrained_keys, untrained_drums)
        for empty in (player.initial_state(),)
    ]
    with Station(*players) as station:
        # Seed 7 begins with four bars of keys; the loops are four bars long, and the drums join in.
        counts = {}
        for bars in (0, 1, 4, 5, 8, 9):
            state = after_bars(station, bars)
            counts[bars] = float(state.keys.wkv.max()), float(state.drums.wkv.max())
    assert counts == {0: (1, 1), 1: (1, 1), 4: (1, 1), 5: (2, 1), 8: (2, 1), 9: (3, 2)}
