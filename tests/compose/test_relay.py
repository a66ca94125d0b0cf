from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lofid.compose.player import ModelFailure, Player, drums_player, keys_player
from lofid.compose.relay import Faster, Relay
from lofid.compose.station import Station
from lofid.music.parameters import Settings
from lofid.music.plan import Bar
from lofid.rwkv.choice import EngineRole
from lofid.rwkv.config import RwkvConfig
from lofid.rwkv.cpu import CpuEngine
from lofid.rwkv.engine import Engine
from lofid.rwkv.state import ModelState
from lofid.rwkv.weights import tensor_shapes
from lofid.tokens import drums, keys

BARS = 6


class FailingEngine:
    """A real engine that, as a GPU may, fails after so many tokens, and from then on."""

    name = "failing"

    def __init__(self, engine: Engine, healthy: int) -> None:
        self._engine = engine
        self._healthy = healthy

    @property
    def config(self) -> RwkvConfig:
        return self._engine.config

    def forward(self, tokens: Sequence[int], state: ModelState) -> NDArray[np.float32]:
        self._use(len(tokens))
        return self._engine.forward(tokens, state)

    def forward_batch(
        self, tokens: Sequence[int], states: Sequence[ModelState]
    ) -> NDArray[np.float32]:
        self._use(len(tokens))
        return self._engine.forward_batch(tokens, states)

    def _use(self, tokens: int) -> None:
        self._healthy -= tokens
        if self._healthy < 0:
            raise RuntimeError("CUDA error: an illegal memory access was encountered\nAborted.")


@pytest.fixture(scope="module")
def unbroken(untrained_keys: Player, untrained_drums: Player) -> list[Bar]:
    with Station(untrained_keys, untrained_drums) as station:
        return list(islice(station.bars(Settings(), 7), BARS))


def failing(keys: Player, drums: Player, healthy: Iterator[int]) -> Faster:
    """A station that may be opened again and again; each time it lasts so many tokens."""

    def opened() -> Station:
        return Station(replace(keys, engine=FailingEngine(keys.engine, next(healthy))), drums)

    return Faster("failing", "a test", opened)


@given(healthy=st.integers(0, 2000))
@settings(max_examples=8, deadline=None)
def test_the_bar_in_which_the_engine_fails_is_the_same(
    healthy: int, unbroken: list[Bar], untrained_keys: Player, untrained_drums: Player
) -> None:
    told: list[str] = []
    faster = failing(untrained_keys, untrained_drums, iter([healthy]))
    with Relay(untrained_keys, untrained_drums, "", faster, told.append, rest=None) as relay:
        assert (relay.running.engine, relay.running.role) == ("failing", EngineRole.FASTER)
        assert list(islice(relay.bars(Settings(), 7), BARS)) == unbroken
        if healthy == 0:
            assert relay.running.role is EngineRole.STAND_IN
    if relay.running.role is EngineRole.STAND_IN:
        assert relay.running.engine == untrained_keys.engine.name
        (sentence,) = told
        assert "'failing' failed" in sentence and "illegal memory access" in sentence
        assert "\n" not in sentence and "illegal memory access" in relay.running.reason
    else:
        assert not told


def test_it_is_tried_again_and_comes_back(
    unbroken: list[Bar], untrained_keys: Player, untrained_drums: Player
) -> None:
    told: list[str] = []
    lasts = iter([0, 0, 0, 10**9])
    faster = failing(untrained_keys, untrained_drums, lasts)
    with Relay(untrained_keys, untrained_drums, "", faster, told.append, rest=0.0) as relay:
        assert list(islice(relay.bars(Settings(), 7), BARS)) == unbroken
        assert relay.running.role is EngineRole.FASTER
    assert [sentence.split("'failing' ")[1].split(" ")[0] for sentence in told] == [
        "failed",
        "still",
        "works",
    ]


def test_one_that_cannot_even_be_opened(
    unbroken: list[Bar], untrained_keys: Player, untrained_drums: Player
) -> None:
    def opened() -> Station:
        raise RuntimeError("out of memory")

    told: list[str] = []
    faster = Faster("absent", "a test", opened)
    with Relay(untrained_keys, untrained_drums, "", faster, told.append) as relay:
        assert list(islice(relay.bars(Settings(), 7), BARS)) == unbroken
    assert told == [
        "The engine 'absent' failed (out of memory); the CPU engine goes on, and it is tried again "
        "in 60 s."
    ]


def test_what_fails_on_both_is_not_blamed_on_the_faster_one(
    untrained_keys: Player, untrained_drums: Player
) -> None:
    told: list[str] = []
    broken = replace(untrained_keys, engine=FailingEngine(untrained_keys.engine, 0))
    faster = failing(untrained_keys, untrained_drums, iter([0]))
    with Relay(broken, untrained_drums, "", faster, told.append) as relay:
        with pytest.raises(ModelFailure):
            relay.step(relay.opening(Settings(), 7), Settings())
        assert relay.running.role is EngineRole.FASTER
    assert not told


def test_a_triton_engine_whose_memory_decays_gives_way_in_mid_bar() -> None:
    """In Triton's interpreter: its weights become no numbers once it is open."""
    triton = pytest.importorskip("lofid.rwkv.triton")
    rng = np.random.default_rng(0)
    players = []
    for player, vocabulary in ((keys_player, keys.VOCABULARY), (drums_player, drums.VOCABULARY)):
        config = RwkvConfig(layers=1, width=64, vocabulary=len(vocabulary), mix_rank=16)
        tensors = {
            name: rng.normal(0, 0.2, shape).astype(np.float32)
            for name, shape in tensor_shapes(config).items()
        }
        players.append((player, CpuEngine(config, tensors), triton.TritonEngine(config, tensors)))

    def opened() -> Station:
        for _, _, engine in players:
            engine.weights.final.fill_(float("nan"))
        on_keys, on_drums = (player(engine) for player, _, engine in players)
        return Station(on_keys, on_drums)

    keys_on_cpu, drums_on_cpu = (player(engine) for player, engine, _ in players)
    told: list[str] = []
    with (
        Station(keys_on_cpu, drums_on_cpu) as unbroken,
        Relay(keys_on_cpu, drums_on_cpu, "", Faster("triton", "", opened), told.append) as relay,
    ):
        assert relay.step(relay.opening(Settings(), 7), Settings()).bar == next(
            unbroken.bars(Settings(), 7)
        )
        assert relay.running.role is EngineRole.STAND_IN
    assert "no numbers" in told[0]
