"""Sampling on the device against the player that samples on the host, over whole bars.

The models are two small random matrices, of which both get the same logits.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

pytest.importorskip("triton")

from lofid.compose.chance import RandomStream, generator
from lofid.compose.form import compose_song, locate, plan_bar
from lofid.compose.headers import drums_header, keys_header
from lofid.compose.lockstep import flat_bar, heard_bar
from lofid.compose.player import Attempt, Player, Write, drums_player, keys_player
from lofid.compose.preset import load_preset, preset_names
from lofid.compose.rules import DrumsRules, KeysRules, Rules
from lofid.kernels.bars import BarTable
from lofid.kernels.sample import FORCED, Sampler, reference_step
from lofid.music.notes import Part
from lofid.music.plan import BarPlan
from lofid.rwkv.engine import Engine
from lofid.tokens import drums, keys

WIDTH = 704
"""The filled vocabulary: that of the drums, up to a multiple of 64."""

MakeEngine = Callable[[int, int, float], Engine]
Step = Callable[[Sampler, Tensor, Tensor, Tensor], None]


@dataclass(frozen=True)
class Case:
    """One slot: a bar for the device, its player, the tokens that the host has for it."""

    bar: BarTable
    player: Player
    expected: tuple[int, ...]


def written(player: Player, header: list[int], rules: Callable[[], Rules], seed: int) -> Case:
    """A bar that is written."""
    stream = RandomStream.KEYS if player.grammar is keys.GRAMMAR else RandomStream.DRUMS
    bar = flat_bar(player, header, Attempt(rules(), generator(seed, stream, 3, seed % 5)))
    attempt = Attempt(rules(), generator(seed, stream, 3, seed % 5))
    (played,) = player.play(Write(header, player.initial_state(), [attempt]))
    return Case(bar, player, (*header, *played.tokens))


def heard(player: Player, tokens: tuple[int, ...]) -> Case:
    """A bar that is heard."""
    return Case(heard_bar(tokens), player, tokens)


def plan_for(seed: int) -> BarPlan:
    names = preset_names()
    choices = load_preset(names[seed % len(names)]).settings
    song = compose_song(choices, seed, 0, None)
    plan = plan_bar(choices, seed, song, locate(song, seed % song.bars), 0)
    return replace(plan, parts=frozenset(Part), melody=0.7, fill=bool(seed % 2))


def run(models: Sequence[Sequence[Case]], step: Step) -> list[list[tuple[int, ...]]]:
    """The tokens of every slot, the forced ones included; all slots end."""
    shape = (len(models), max(len(cases) for cases in models))
    sampler = Sampler(*shape, WIDTH, "cpu")
    logits = torch.full((*shape, WIDTH), torch.nan)
    tokens = torch.full(shape, -1, dtype=torch.int32)
    active = torch.zeros(shape, dtype=torch.int32)
    places = [(m, b, case) for m, cases in enumerate(models) for b, case in enumerate(cases)]
    states = {(m, b): case.player.initial_state() for m, b, case in places}
    found: dict[tuple[int, int], list[int]] = {(m, b): [] for m, b, _ in places}
    for m, b, case in places:
        sampler.put(m, b, case.bar)
        active[m, b] = 1
    while active.any():
        step(sampler, logits, tokens, active)
        for m, b, case in places:
            if active[m, b]:
                token = int(tokens[m, b])
                found[m, b].append(token)
                answer = case.player.engine.forward((token,), states[m, b])
                logits[m, b] = 0
                logits[m, b, : len(answer)] = torch.from_numpy(answer)
    return [[tuple(found[m, b]) for b in range(len(models[m]))] for m in range(len(models))]


def assert_same(models: Sequence[Sequence[Case]], step: Step) -> None:
    assert run(models, step) == [[case.expected for case in cases] for cases in models]


class NoNotes(KeysRules):
    """Rules that corner the grammar: a position must be followed by a note, and none is allowed."""

    def __init__(self, plan: BarPlan) -> None:
        super().__init__(plan)
        for bias in self._static:
            bias[keys.COMPING_TOKENS.start : keys.LEAD_TOKENS.stop] = -np.inf


def cases_for(engine: MakeEngine, seed: int, contrasts: Sequence[float]) -> list[list[Case]]:
    """A bar of each kind: comping, melody over it, heard, cornered; a groove or fill, a backbeat.

    ``contrasts``: how much the logits peak; at 0 all are the same.
    """
    flat, steep = (
        (
            keys_player(engine(len(keys.VOCABULARY), 1, contrast)),
            drums_player(engine(len(drums.VOCABULARY), 2, contrast)),
        )
        for contrast in contrasts
    )
    plan = plan_for(seed)
    plain = replace(plan, melody=0.0)
    comping = written(steep[0], keys_header(plain), lambda: KeysRules(plain), seed)
    base = comping.expected[len(keys_header(plain)) :]
    short = replace(flat[0], sampling=replace(flat[0].sampling, longest=7, top_p=1.0))
    return [
        [
            comping,
            written(flat[0], keys_header(plan), lambda: KeysRules(plan, over=base), seed),
            heard(flat[0], comping.expected),
            written(short, keys_header(plan), lambda: NoNotes(plan), seed),
        ],
        [
            written(flat[1], drums_header(plan), lambda: DrumsRules(plan, backbeat=False), seed),
            written(steep[1], drums_header(plan), lambda: DrumsRules(plan, backbeat=True), seed),
        ],
    ]


def test_the_device_draws_what_the_player_draws(fading_engine: MakeEngine) -> None:
    assert_same(cases_for(fading_engine, 2**63 + 13, (0.0, 1.0)), Sampler.step)


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 2**64 - 1),
    contrasts=st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from([1.0, 2.0, 8.0])),
)
def test_the_reference_draws_what_the_player_draws(
    fading_engine: MakeEngine, seed: int, contrasts: tuple[float, float]
) -> None:
    assert_same(cases_for(fading_engine, seed, contrasts), reference_step)


@pytest.mark.parametrize("step", [Sampler.step, reference_step])
def test_logits_that_are_no_numbers_stop_a_slot(step: Step) -> None:
    sampler = Sampler(1, 2, WIDTH, "cpu")
    for slot in range(2):
        sampler.put(0, slot, heard_bar((5,)))
    logits = torch.zeros(1, 2, WIDTH)
    tokens, active = (torch.ones((1, 2), dtype=torch.int32) for _ in range(2))
    step(sampler, logits, tokens, active)
    assert tokens.tolist() == [[5, 5]]
    logits[0, 1, 300] = torch.nan
    step(sampler, logits, tokens, active)
    assert active.tolist() == [[0, 0]]
    assert [sampler.failed(0, slot) for slot in range(2)] == [False, True]


def test_a_bar_too_long_for_a_slot_is_refused() -> None:
    with pytest.raises(ValueError, match="too long for a slot"):
        Sampler(1, 1, WIDTH, "cpu").put(0, 0, heard_bar((1,) * (FORCED + 1)))
