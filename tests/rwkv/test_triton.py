"""The Triton engine in Triton's interpreter, against the CPU engine and the rwkv package."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

pytest.importorskip("triton")

from lofid.errors import LofidError
from lofid.kernels.weights import Weights
from lofid.rwkv.config import RwkvConfig
from lofid.rwkv.cpu import CpuEngine
from lofid.rwkv.state import ModelState
from lofid.rwkv.triton import Deck, TritonEngine, stacked
from lofid.rwkv.weights import Tensors

Make = Callable[[RwkvConfig, int], Tensors]

KEYS = RwkvConfig(layers=1, width=128, vocabulary=90)
PAIR = (
    RwkvConfig(layers=1, width=64, vocabulary=60, mix_rank=16),
    RwkvConfig(layers=1, width=64, vocabulary=70, mix_rank=16),
)
END = 5
STEPS = 3


@pytest.fixture(scope="module")
def tensors(random_tensors: Make) -> Tensors:
    return random_tensors(KEYS, 0)


@pytest.fixture(scope="module")
def pair(random_tensors: Make) -> tuple[Tensors, Tensors]:
    return random_tensors(PAIR[0], 1), random_tensors(PAIR[1], 2)


@pytest.fixture(scope="module")
def weights(pair: tuple[Tensors, Tensors]) -> Weights:
    return stacked(list(zip(PAIR, pair, strict=True)))


@pytest.fixture(scope="module")
def cpu(pair: tuple[Tensors, Tensors]) -> list[CpuEngine]:
    return [CpuEngine(config, tensors) for config, tensors in zip(PAIR, pair, strict=True)]


class Likeliest:
    """A sampler: the likeliest token, until it is ``END`` or a slot has written ``longest``."""

    def __init__(self, deck: Deck, longest: int) -> None:
        self.written = torch.zeros_like(deck.streams.tokens)
        self.longest = longest

    def step(self, logits: torch.Tensor, tokens: torch.Tensor, active: torch.Tensor) -> None:
        ended = (self.written > 0) & ((tokens == END) | (self.written >= self.longest))
        active[ended] = 0
        tokens.copy_(torch.where(active != 0, logits.argmax(-1).int(), tokens))
        self.written += active
        self.written[ended] = 0


def likeliest(
    engine: CpuEngine, logits: NDArray[np.float32], state: ModelState, longest: int
) -> list[int]:
    tokens: list[int] = []
    while not tokens or (tokens[-1] != END and len(tokens) < longest):
        tokens.append(int(logits.argmax()))
        logits = engine.forward(tokens[-1:], state)
    return tokens


def assert_close(found: ModelState, expected: ModelState) -> None:
    for mine, other in zip(found.parts, expected.parts, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-4)


def collected(deck: Deck, sampler: Any, model: int, slot: int) -> list[int]:
    tokens: list[int] = []
    while (rows := deck.advance(sampler)) is not None:
        tokens += [int(token) for token in rows[:, model, slot] if token >= 0]
    return tokens


def test_forward_is_that_of_the_cpu_engine(tensors: Tensors) -> None:
    engine, other = TritonEngine(KEYS, tensors), CpuEngine(KEYS, tensors)
    state, expected = ModelState.zero(KEYS), ModelState.zero(KEYS)
    for tokens in ([3], [89, 0, 7], [*range(40)], [3]):
        logits = engine.forward(tokens, state)
        assert logits.shape == (KEYS.vocabulary,)
        np.testing.assert_allclose(logits, other.forward(tokens, expected), rtol=0, atol=1e-4)
        assert_close(state, expected)


def test_batches_of_any_size_and_order_follow_their_states(
    tensors: Tensors,
) -> None:
    engine, other = TritonEngine(KEYS, tensors), CpuEngine(KEYS, tensors)
    states = [ModelState.zero(KEYS) for _ in range(3)]
    for i, state in enumerate(states):
        other.forward([i], state)
    expected = [state.copy() for state in states]
    for chosen in ([0, 1, 2], [2, 0], [1], [1, 2, 0]):
        tokens = [10 + i for i in chosen]
        logits = engine.forward_batch(tokens, [states[i] for i in chosen])
        for row, i, token in zip(logits, chosen, tokens, strict=True):
            np.testing.assert_allclose(row, other.forward([token], expected[i]), rtol=0, atol=1e-4)
            assert_close(states[i], expected[i])


def test_a_state_that_another_engine_advanced_is_taken_anew(
    tensors: Tensors,
) -> None:
    engine, other = TritonEngine(KEYS, tensors), CpuEngine(KEYS, tensors)
    state = ModelState.zero(KEYS)
    engine.forward([1], state)
    other.forward([2], state)  # as after a GPU that failed
    expected = state.copy()
    logits = engine.forward([3], state)
    np.testing.assert_allclose(logits, other.forward([3], expected), rtol=0, atol=1e-4)
    before = state.copy()
    state.wkv[:] = ModelState.zero(KEYS).wkv
    state.att_shift[:] = 0
    engine.forward([3], state)
    assert not np.allclose(state.wkv, before.wkv)


def test_wrong_tokens_states_and_weights_are_refused(
    tensors: Tensors, random_tensors: Make
) -> None:
    engine = TritonEngine(KEYS, tensors)
    for tokens in ([], [-1], [0, 90]):
        with pytest.raises(ValueError, match="token ids"):
            engine.forward(tokens, ModelState.zero(KEYS))
    with pytest.raises(ValueError, match="another shape"):
        engine.forward([0], ModelState.zero(RwkvConfig(2, 128, 90)))
    with pytest.raises(ValueError, match="2 tokens for 1"):
        engine.forward_batch([0, 1], [ModelState.zero(KEYS)])
    with pytest.raises(LofidError, match=r"lack the tensor 'blocks\.1"):
        TritonEngine(RwkvConfig(2, 128, 90), tensors)
    other = RwkvConfig(1, 64, 90)
    with pytest.raises(ValueError, match="one shape"):
        stacked([(KEYS, tensors), (other, random_tensors(other, 0))])


def test_two_models_generate_what_each_would_alone(weights: Weights, cpu: list[CpuEngine]) -> None:
    deck = Deck(weights, 2, STEPS)
    sampler = Likeliest(deck, longest=STEPS + 1)
    slots = [deck.add(0), deck.add(1)]
    expected = []
    for model, slot in enumerate(slots):
        deck.hear(model, slot, [8, 9])
        state = ModelState.zero(PAIR[model])
        expected.append(likeliest(cpu[model], cpu[model].forward([8, 9], state), state, STEPS + 1))
        deck.start(model, slot)
    rows = []
    while (found := deck.advance(sampler)) is not None:
        rows.append(found)
    tokens = np.concatenate(rows)
    for model, slot in enumerate(slots):
        mine = tokens[:, model, slot]
        assert mine[mine >= 0].tolist() == expected[model]
        other = tokens[:, model, 1 - slot]
        assert (other == -1).all()
    assert deck.advance(sampler) is None


def test_slots_come_go_and_are_kept_while_others_run(
    weights: Weights, cpu: list[CpuEngine]
) -> None:
    deck = Deck(weights, 2, STEPS)
    sampler = Likeliest(deck, longest=1000)
    running = deck.add(0)
    deck.hear(0, running, [1])
    deck.start(0, running)
    first = deck.advance(sampler)
    assert first is not None
    with_state = ModelState.zero(PAIR[0])
    cpu[0].forward([2, 3], with_state)
    other = deck.add(0, with_state)
    assert other != running
    np.testing.assert_array_equal(deck.snapshot(0, other).wkv, with_state.wkv)
    with pytest.raises(ValueError, match="all 2 slots"):
        deck.add(0)
    second = deck.advance(sampler)
    assert second is not None and (second[:, 0, other] == -1).all()
    # What stood still is as it was, to the bit.
    for mine, expected in zip(deck.snapshot(0, other).parts, with_state.parts, strict=True):
        np.testing.assert_array_equal(mine, expected)
    deck.remove(0, running)
    again = deck.add(0, with_state)
    assert again == running
    third = deck.advance(sampler)  # was under way when the slot changed hands
    assert third is None or (third[:, 0, again] == -1).all()
    assert deck.advance(sampler) is None


def test_a_fork_goes_on_as_its_origin(weights: Weights) -> None:
    deck = Deck(weights, 2, STEPS)
    slot = deck.add(1)
    deck.hear(1, slot, [11, 12])
    fork = deck.fork(1, slot)
    deck.start(1, slot)
    deck.start(1, fork)
    rows = deck.advance(Likeliest(deck, longest=3))
    assert rows is not None
    np.testing.assert_array_equal(rows[:, 1, slot], rows[:, 1, fork])
    assert (rows[0, 1] >= 0).all()


def test_a_moment_kept_is_gone_on_from_to_the_bit_in_any_company(weights: Weights) -> None:
    deck = Deck(weights, 2)
    first, second = deck.add(0), deck.add(0)
    deck.hear(0, first, [3, 1])
    kept = deck.snapshot(0, first)
    tokens = np.full((2, 2), -1, np.int32)
    tokens[0, first] = 7
    deck.decode(tokens)
    alone = deck.logits(0, first).copy()
    after = deck.snapshot(0, first)
    deck.restore(0, second, kept)
    tokens[0] = 9
    tokens[0, second] = 7
    tokens[1] = 2
    deck.decode(tokens)
    np.testing.assert_array_equal(deck.logits(0, second), alone)
    for mine, expected in zip(deck.snapshot(0, second).parts, after.parts, strict=True):
        np.testing.assert_array_equal(mine, expected)
