"""One station on two engines: the CPU's, and Triton's in Triton's interpreter."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("triton")

from lofid.compose import stacked
from lofid.compose.chance import RandomStream, generator
from lofid.compose.form import compose_song, locate, plan_bar
from lofid.compose.headers import drums_header, keys_header
from lofid.compose.lockstep import Half, OnThreads
from lofid.compose.player import (
    Attempt,
    Hear,
    ModelFailure,
    Played,
    Player,
    Write,
    drums_player,
    keys_player,
)
from lofid.compose.rules import DrumsRules, KeysRules, Rules
from lofid.compose.stacked import Stacked
from lofid.compose.station import Station, opened_duo
from lofid.music.parameters import Settings
from lofid.rwkv.config import RwkvConfig
from lofid.rwkv.cpu import CpuEngine
from lofid.rwkv.triton import TritonEngine
from lofid.rwkv.weights import Tensors
from lofid.tokens import drums, keys

Make = Callable[[RwkvConfig, int], Tensors]
PLAYERS = {"keys": keys_player, "drums": drums_player}
CONFIGS = {
    name: RwkvConfig(layers=1, width=64, vocabulary=len(of.VOCABULARY), mix_rank=16)
    for name, of in (("keys", keys), ("drums", drums))
}
SHORT = 4
"""Event tokens after which a bar ends as soon as it may: the interpreter is slow."""


def players(
    engine: type[CpuEngine] | type[TritonEngine], random_tensors: Make
) -> tuple[Player, Player]:
    of: list[Player] = []
    for seed, (name, config) in enumerate(CONFIGS.items()):
        player = PLAYERS[name](engine(config, random_tensors(config, seed)))
        of.append(replace(player, sampling=replace(player.sampling, longest=SHORT)))
    return of[0], of[1]


@pytest.fixture(scope="module")
def on_cpu(random_tensors: Make) -> tuple[Player, Player]:
    return players(CpuEngine, random_tensors)


@pytest.fixture(scope="module")
def on_gpu(random_tensors: Make) -> tuple[Player, Player]:
    return players(TritonEngine, random_tensors)


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter takes its time for steps in which nobody runs any more."""
    monkeypatch.setattr(stacked, "STEPS", 1)


def hearing(player: Player, *tokens: int) -> Half[Played]:
    (played,) = yield Hear(tokens, player.initial_state())
    return played


def writing(
    player: Player, header: list[int], rules: Callable[[], Rules], attempts: int
) -> Half[tuple[Played, ...]]:
    numbers = [generator(7, RandomStream.DRUMS, 1, attempt) for attempt in range(attempts)]
    ways = [Attempt(rules(), rng) for rng in numbers]
    return (yield Write(header, player.initial_state(), ways))


def test_both_engines_write_the_same_bar(
    on_cpu: tuple[Player, Player], on_gpu: tuple[Player, Player]
) -> None:
    settings = Settings().with_value("form.intro", False).with_value("music.melody", 0.0)
    settings = settings.with_value("music.parts", ["keys"])
    with Station(*on_cpu) as one, Station(*on_gpu) as other:
        step = one.step(one.opening(settings, 7), settings)
        again = other.step(other.opening(settings, 7), settings)
    assert again.bar == step.bar
    assert again.findings == step.findings
    np.testing.assert_allclose(again.state.keys.wkv, step.state.keys.wkv, atol=1e-4)


def test_more_attempts_than_slots_take_turns_beside_the_other_player(
    on_cpu: tuple[Player, Player],
    on_gpu: tuple[Player, Player],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stacked, "SLOTS", 2)
    song = compose_song(Settings(), 7, 0, None)
    plan = plan_bar(Settings(), 7, song, locate(song, 5), 5)
    written = [
        duo.play(
            writing(of_keys, keys_header(plan), lambda: KeysRules(plan), 1),
            writing(of_drums, drums_header(plan), lambda: DrumsRules(plan, backbeat=False), 3),
        )
        for duo, (of_keys, of_drums) in (
            (OnThreads(*on_cpu), on_cpu),
            (Stacked(*on_gpu), on_gpu),
        )
    ]
    for mine, theirs in zip(*written, strict=True):
        assert [played.tokens for played in theirs] == [played.tokens for played in mine]
        for played, other in zip(mine, theirs, strict=True):
            np.testing.assert_allclose(other.state.wkv, played.state.wkv, atol=1e-4)


def test_halves_of_different_length_hear_the_same(
    on_cpu: tuple[Player, Player], on_gpu: tuple[Player, Player]
) -> None:
    heard = [
        duo.play(hearing(of_keys, 3, 90, 200), hearing(of_drums, 7))
        for duo, (of_keys, of_drums) in (
            (OnThreads(*on_cpu), on_cpu),
            (Stacked(*on_gpu), on_gpu),
        )
    ]
    for mine, theirs in zip(*heard, strict=True):
        assert mine.tokens == theirs.tokens == ()
        np.testing.assert_allclose(theirs.state.wkv, mine.state.wkv, atol=1e-5)
        np.testing.assert_allclose(theirs.state.ffn_shift, mine.state.ffn_shift, atol=1e-5)


def test_logits_that_are_no_numbers_are_told_and_slots_are_free_again(
    on_gpu: tuple[Player, Player], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stacked, "SLOTS", 1)
    of_keys, of_drums = on_gpu
    lost = of_drums.initial_state()
    lost.wkv[:] = np.nan
    broken = replace(of_drums, beginning=lost)
    duo = Stacked(of_keys, of_drums)
    for _ in range(2):
        with pytest.raises(ModelFailure, match="'triton-int8' gives logits that are no numbers"):
            duo.play(hearing(of_keys, 3), hearing(broken, 7))


def test_models_of_different_shape_play_on_two_threads(
    on_gpu: tuple[Player, Player], random_tensors: Make
) -> None:
    config = replace(CONFIGS["drums"], width=128)
    wider = drums_player(TritonEngine(config, random_tensors(config, 3)))
    assert isinstance(opened_duo(*on_gpu), Stacked)
    assert isinstance(opened_duo(on_gpu[0], wider), OnThreads)
