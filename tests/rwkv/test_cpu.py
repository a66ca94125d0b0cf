import os
import subprocess
import sys
import textwrap
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lofid.errors import LofidError
from lofid.rwkv.config import RwkvConfig
from lofid.rwkv.cpu import STORAGES, CpuEngine, Storage
from lofid.rwkv.engine import Engine
from lofid.rwkv.state import ModelState
from lofid.rwkv.weights import Tensors

Floats = NDArray[np.float32]
Make = Callable[[RwkvConfig, int], Tensors]
Opened = Callable[[int, Storage], CpuEngine]

SHAPES = [
    RwkvConfig(layers=1, width=64, vocabulary=1),
    RwkvConfig(layers=3, width=128, vocabulary=531),
    RwkvConfig(layers=2, width=192, vocabulary=65, mix_rank=16, decay_rank=24),
    RwkvConfig(layers=6, width=256, vocabulary=723),
]


def random_tokens(config: RwkvConfig, count: int) -> list[int]:
    rng = np.random.default_rng(7)
    return [int(token) for token in rng.integers(config.vocabulary, size=count)]


def logits_one_by_one(engine: Engine, tokens: list[int], state: ModelState) -> Floats:
    return np.stack([engine.forward([token], state).copy() for token in tokens])


def package_model(config: RwkvConfig, tensors: Tensors, folder: Path) -> Any:
    os.environ["RWKV_V7_ON"] = "0"
    os.environ["RWKV_JIT_ON"] = "0"
    package = pytest.importorskip("rwkv.model")
    copies = {name: torch.from_numpy(tensor.copy()) for name, tensor in tensors.items()}
    torch.save(copies, folder / "model.pth")
    return package.RWKV(model=str(folder / "model"), strategy="cpu fp32", verbose=False)


def divergence(expected: Floats, found: Floats) -> float:
    """Kullback-Leibler divergence in nats a token, mean over tokens."""
    p, q = (torch.from_numpy(x).double().log_softmax(-1) for x in (expected, found))
    return float((p.exp() * (p - q)).sum(-1).mean())


@pytest.mark.parametrize("config", SHAPES, ids=str)
def test_fp32_logits_and_state_match_the_rwkv_package(
    random_tensors: Make, config: RwkvConfig, tmp_path: Path
) -> None:
    tensors = random_tensors(config, 0)
    other = package_model(config, tensors, tmp_path)
    engine, state = CpuEngine(config, tensors, "fp32"), ModelState.zero(config)
    other_state: Any = None
    for token in random_tokens(config, 80):
        logits = engine.forward([token], state)
        assert logits.shape == (config.vocabulary,)
        expected, other_state = other.forward([token], other_state)
        np.testing.assert_allclose(logits, expected.numpy(), rtol=0, atol=1e-4)
    for layer in range(config.layers):
        att, wkv, ffn = (part.numpy() for part in other_state[3 * layer : 3 * layer + 3])
        np.testing.assert_allclose(state.att_shift[layer], att, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(state.ffn_shift[layer], ffn, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(state.wkv[layer], wkv, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("storage", STORAGES)
def test_smaller_storage_stays_close(random_tensors: Make, storage: Storage) -> None:
    config = SHAPES[-1]
    tensors, tokens = random_tensors(config, 0), random_tokens(config, 64)
    exact = logits_one_by_one(CpuEngine(config, tensors, "fp32"), tokens, ModelState.zero(config))
    found = logits_one_by_one(CpuEngine(config, tensors, storage), tokens, ModelState.zero(config))
    assert divergence(exact, found) < {"fp32": 1e-9, "bf16": 1e-4, "int8": 2e-3}[storage]
    assert np.abs(exact).max() > 1  # or closeness would say nothing


@pytest.mark.parametrize("storage", STORAGES)
def test_many_tokens_in_one_call_equal_one_by_one(random_tensors: Make, storage: Storage) -> None:
    config = SHAPES[1]
    engine = CpuEngine(config, random_tensors(config, 0), storage)
    tokens = random_tokens(config, 50)
    single, block = ModelState.zero(config), ModelState.zero(config)
    expected = logits_one_by_one(engine, tokens, single)[-1]
    np.testing.assert_array_equal(engine.forward(tokens, block), expected)
    assert_same(block, single)


def assert_same(found: ModelState, expected: ModelState) -> None:
    np.testing.assert_array_equal(found.wkv, expected.wkv)
    np.testing.assert_array_equal(found.att_shift, expected.att_shift)
    np.testing.assert_array_equal(found.ffn_shift, expected.ffn_shift)


@pytest.fixture(scope="module")
def small_engine(random_tensors: Make) -> Opened:
    @cache
    def made(shape: int, storage: Storage) -> CpuEngine:
        return CpuEngine(SHAPES[shape], random_tensors(SHAPES[shape], 0), storage)

    return made


@settings(max_examples=40, deadline=None)
@given(
    shape=st.integers(0, 2),
    storage=st.sampled_from(STORAGES),
    streams=st.integers(1, 11),
    before=st.lists(st.integers(0, 20), min_size=11, max_size=11),
    seed=st.integers(0, 99),
)
def test_a_batch_is_to_the_bit_what_each_stream_is_alone(
    small_engine: Opened,
    shape: int,
    storage: Storage,
    streams: int,
    before: list[int],
    seed: int,
) -> None:
    """Streams of different pasts, several steps, so that each one's state has to be right."""
    config, engine = SHAPES[shape], small_engine(shape, storage)
    rng = np.random.default_rng(seed)
    together = [ModelState.zero(config) for _ in range(streams)]
    for state, length in zip(together, before, strict=False):
        if length:
            engine.forward(rng.integers(config.vocabulary, size=length).tolist(), state)
    alone = [state.copy() for state in together]
    for _ in range(2):
        tokens = rng.integers(config.vocabulary, size=streams).tolist()
        logits = engine.forward_batch(tokens, together).copy()
        assert logits.shape == (streams, config.vocabulary)
        for row, state in enumerate(alone):
            np.testing.assert_array_equal(logits[row], engine.forward([tokens[row]], state))
            assert_same(together[row], state)


@pytest.mark.parametrize("storage", STORAGES)
def test_nothing_is_allocated_for_a_token(small_engine: Opened, storage: Storage) -> None:
    config, engine = SHAPES[1], small_engine(1, storage)
    states = [ModelState.zero(config) for _ in range(3)]

    def advance() -> None:
        engine.forward([1], states[0])
        engine.forward_batch([1, 2, 3], states)

    advance()
    tracemalloc.start()
    try:
        advance()
        settled, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        for _ in range(500):
            advance()
        left, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # One vector of the model kept for each token would be 250 kB; numbers and views come and go.
    assert left - settled < 20_000
    assert most - settled < 20_000


def test_a_copied_state_is_a_moment_to_return_to(random_tensors: Make) -> None:
    config = SHAPES[1]
    engine, tokens = CpuEngine(config, random_tensors(config, 0)), random_tokens(config, 30)
    state = ModelState.zero(config)
    engine.forward(tokens, state)
    kept = state.copy()
    first = logits_one_by_one(engine, tokens, state)
    assert not np.array_equal(kept.wkv, state.wkv)
    np.testing.assert_array_equal(logits_one_by_one(engine, tokens, kept), first)


def test_two_engines_in_two_threads_give_what_they_give_alone(random_tensors: Make) -> None:
    config = SHAPES[-1]
    engines = [CpuEngine(config, random_tensors(config, seed)) for seed in (1, 2)]
    tokens = random_tokens(config, 200)

    def run(engine: CpuEngine) -> Floats:
        return logits_one_by_one(engine, tokens, ModelState.zero(config))

    alone = [run(engine) for engine in engines]
    with ThreadPoolExecutor(2) as threads:
        together = list(threads.map(run, engines))
    np.testing.assert_array_equal(together, alone)


def test_nothing_explodes_where_activations_are_extreme(random_tensors: Make) -> None:
    config = SHAPES[1]
    tensors = random_tensors(config, 0)
    for name, tensor in tensors.items():
        if name.endswith(("time_decay", "att.gate.weight", "ffn.receptance.weight")):
            np.multiply(tensor, 200, out=tensor)
    engine = CpuEngine(config, tensors)
    assert np.isfinite(engine.forward(random_tokens(config, 100), ModelState.zero(config))).all()


def test_wrong_tokens_and_states_are_refused(random_tensors: Make) -> None:
    config = SHAPES[1]
    engine = CpuEngine(config, random_tensors(config, 0))
    for token in (-1, config.vocabulary):
        with pytest.raises(ValueError, match="token ids"):
            engine.forward([token], ModelState.zero(config))
        with pytest.raises(ValueError, match="token ids"):
            engine.forward([0, token], ModelState.zero(config))
    with pytest.raises(ValueError, match="another shape"):
        engine.forward([0], ModelState.zero(SHAPES[0]))
    state = ModelState.zero(config)
    for tokens, states in (([0, 1], [state, state]), ([0], [state, ModelState.zero(config)])):
        with pytest.raises(ValueError, match="state of its own"):
            engine.forward_batch(tokens, states)
    with pytest.raises(LofidError, match=r"lack the tensor 'blocks\.3"):
        CpuEngine(RwkvConfig(4, 128, 531), random_tensors(config, 0))


@pytest.mark.parametrize("part", ["att_shift", "ffn_shift", "wkv"])
@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda array: array.astype(np.float64), "float32"),
        (lambda array: array.astype(np.float16), "float32"),
        (lambda array: np.repeat(array, 2, -1)[..., ::2], "contiguous"),
        (np.asfortranarray, "contiguous"),
        (lambda array: np.frombuffer(array.tobytes(), np.float32).reshape(array.shape), "writable"),
        (lambda array: array[..., :-1].copy(), "another shape"),
    ],
)
def test_no_kernel_reads_a_state_that_is_none(
    random_tensors: Make, part: str, harm: Callable[[Floats], NDArray[Any]], words: str
) -> None:
    config = SHAPES[1]
    engine = CpuEngine(config, random_tensors(config, 0))
    state = ModelState.zero(config)
    wrong = replace(state, **{part: harm(getattr(state, part))})
    with pytest.raises(ValueError, match=words):
        engine.forward([0], wrong)
    with pytest.raises(ValueError, match=words):
        engine.forward_batch([0, 0], [ModelState.zero(config), wrong])


@pytest.mark.parametrize("place", ["beside", "user", "nowhere"])
def test_machine_code_is_kept_wherever_that_is_possible(place: str, tmp_path: Path) -> None:
    """A copy of the package: read-only with a cache of the user's, or with none at all."""
    package = tmp_path / "site" / "lofid"
    source = Path(__file__).parents[2] / "lofid"
    for file in (
        "__init__.py",
        "compiled.py",
        "rwkv/__init__.py",
        "rwkv/config.py",
        "rwkv/_cpu_kernels.py",
    ):
        target = package / file
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((source / file).read_bytes())
    blocked = tmp_path / "a file"  # not even root can make folders in it
    blocked.touch()
    cache = tmp_path / "cache"
    if place != "beside":
        (package / "rwkv" / "__pycache__").touch()
    script = textwrap.dedent("""
        from lofid.rwkv import _cpu_kernels
        print(type(_cpu_kernels.advance._cache).__name__)
        print(_cpu_kernels.advance._cache.cache_path)
    """)
    home = cache if place == "user" else blocked
    environment = {
        **os.environ,
        "PYTHONPATH": str(package.parent),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": str(home),
        "XDG_CACHE_HOME": str(home),
    }
    environment.pop("NUMBA_CACHE_DIR", None)
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    kind, path = done.stdout.splitlines()
    if place == "nowhere":
        assert kind == "NullCache"
    else:
        expected = package if place == "beside" else cache
        assert kind == "FunctionCache"
        assert Path(path).is_relative_to(expected)
