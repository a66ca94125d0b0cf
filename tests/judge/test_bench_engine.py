"""The engines' benchmark: that it measures what it says, on budgets that say nothing of speed."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from lofid.errors import LofidError
from lofid.judge import bench_engine
from lofid.judge.bench_engine import PACKAGE, Contestant
from lofid.judge.figures import Figure
from lofid.judge.pictures import bench_picture
from lofid.judge.player_view import player_python
from lofid.rwkv.config import RwkvConfig
from lofid.rwkv.state import ModelState
from lofid.rwkv.weights import Model, ModelCard, tensor_shapes

CONFIG = RwkvConfig(layers=1, width=64, vocabulary=8)


def measured(figures: list[Figure], name: str) -> float:
    found = next(figure.measured for figure in figures if figure.name == name)
    assert found is not None
    return found


def quiet(doing: str, done: float) -> None:
    assert doing
    assert 0 <= done < 1


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # the rwkv package's way
def test_everyone_takes_turns(pair: tuple[Model, ...]) -> None:
    everyone, remarks = bench_engine.contestants(pair)
    names = [one.name for one in everyone]
    assert names[:3] == ["cpu-int8", "cpu-bf16", "cpu-fp32"]
    assert (PACKAGE in names) + ("torch-cpu" in names) + len(remarks) >= 3
    bench_engine.compete(everyone, 2, quiet, turn=0.01)
    figures = bench_engine.engine_figures(everyone, studio=True)
    for one in everyone:
        own = [figure for figure in figures if one.name in figure.group]
        token = measured(own, "a token of the keys, median")
        assert 0 < token <= measured(own, "99th percentile")
        assert measured(own, "tokens a second") == pytest.approx(1000 / token)
        both = measured(own, "a token of both models")
        assert measured(own, "a bar") == pytest.approx(100 * both)
        assert measured(own, "of real time") == pytest.approx(30 / both)
    judged = {figure.name for figure in figures if figure.verdict}
    assert "of that floor" in judged
    if PACKAGE in names:
        assert {
            "one model faster than the rwkv package",
            "both faster than the rwkv package",
        } < judged


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_weights_are_counted_as_they_are_read(pair: tuple[Model, ...]) -> None:
    everyone, _ = bench_engine.contestants(pair)
    int8, bf16, fp32 = everyone[:3]
    matrices = sum(
        t.size for n, t in pair[0].tensors.items() if min(t.shape) > 1 and n != "emb.weight"
    )
    assert 4 * matrices < fp32.size < 4.4 * matrices  # panels are filled up, vectors come on top
    assert int8.size < bf16.size < fp32.size


@pytest.fixture(scope="module")
def pair() -> tuple[Model, ...]:
    """The pair of the pocket size, cut down to a layer."""
    cut = []
    for model in bench_engine.random_pair("pocket"):
        config = RwkvConfig(1, model.card.config.width, model.card.config.vocabulary)
        card = ModelCard(config, "cut", "0" * 16, 0, 0)
        tensors = {name: model.tensors[name] for name in tensor_shapes(config)}
        cut.append(Model(card, tensors))
    return tuple(cut)


def test_rounding_moves_the_shipped_models_little() -> None:
    figures = bench_engine.precision(bench_engine.shipped_pair(), 400)
    assert len(figures) == 6
    for figure in figures:
        assert figure.measured is not None
        assert figure.measured > 0
        if "against" in figure.name:
            assert figure.verdict == "met"


class Odd:
    """An engine whose tokens lie side by side, with a state and logits as a test wants them."""

    name = "odd"
    config = CONFIG

    def __init__(self, growth: float = 0.0, wrong_at: int = -1) -> None:
        self.count, self.growth, self.wrong_at = 0, growth, wrong_at

    def forward(self, tokens: object, state: ModelState) -> NDArray[np.float32]:
        self.count += 1
        state.wkv[:] = 1 + self.growth * self.count
        value = np.nan if self.count == self.wrong_at else 0
        return np.full(CONFIG.vocabulary, value, np.float32)

    def forward_batch(self, tokens: object, states: object) -> NDArray[np.float32]:
        raise NotImplementedError


def test_a_long_run_finds_what_goes_wrong() -> None:
    well = bench_engine.long_run(Odd(), 20, quiet, compared=5)
    assert [figure.verdict for figure in well[:2]] == ["met", "met"]
    assert measured(well, "state, largest norm late") == 1
    grown = bench_engine.long_run(Odd(growth=1), 40, quiet, compared=5)
    assert grown[1].verdict == "missed"
    wrong = bench_engine.long_run(Odd(wrong_at=77), 20, quiet, compared=5)
    assert measured(wrong, "logits that are no numbers") == 1
    assert wrong[0].verdict == "missed"
    with pytest.raises(LofidError, match="too short"):
        bench_engine.long_run(Odd(), 9, quiet, compared=5)


def test_the_picture_shows_everyone(tmp_path: Path) -> None:
    one = Contestant("a", [], single_times=[0.001, 0.002], floor_times=[0.0005])
    other = Contestant("b", [], single_times=[0.1])
    bench_picture({c.name: c.summary for c in (one, other)}, tmp_path / "p.png")
    assert (tmp_path / "p.png").stat().st_size > 1000


def test_a_player_has_no_extras(tmp_path: Path) -> None:
    python = player_python(tmp_path / "view")
    script = """if True:
        import importlib.util, lofid.cli, numba, numpy, safetensors, zmq
        for name in ("torch", "scipy", "matplotlib", "psutil", "pytest"):
            assert importlib.util.find_spec(name) is None, name
    """
    done = subprocess.run(
        [python, "-c", script], env={"PYTHONPATH": ""}, capture_output=True, text=True, check=False
    )
    assert not done.returncode, done.stderr
    assert sys.executable != str(python)
