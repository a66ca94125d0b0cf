"""Takes of a real station on small models with random weights."""

import numpy as np

from lofid.compose.preset import load_preset
from lofid.judge.report import musical_figures
from lofid.judge.takes import write_take
from lofid.rwkv.config import RwkvConfig
from lofid.rwkv.cpu import CpuEngine
from lofid.rwkv.weights import tensor_shapes
from lofid.tokens import drums, keys


def engine(vocabulary: int) -> CpuEngine:
    generator = np.random.Generator(np.random.Philox(1))
    config = RwkvConfig(layers=1, width=64, vocabulary=vocabulary, mix_rank=32, decay_rank=64)
    weights = {
        name: (0.1 * generator.standard_normal(shape)).astype(np.float32)
        for name, shape in tensor_shapes(config).items()
    }
    return CpuEngine(config, weights, "fp32")


def test_random_models_write_legal_bars_in_the_scale() -> None:
    engines = engine(len(keys.VOCABULARY)), engine(len(drums.VOCABULARY))
    take = write_take(load_preset("study"), 5, 12, *engines)
    assert len(take.bars) == 12
    # At least one attempt a bar, and more where drums play.
    assert take.legal.hits == take.legal.total > 12
    found = {figure.name: figure for figure in musical_figures([take])}
    assert found["legal bars"].verdict == "met"
    assert found["notes in the chord scale"].verdict == "met"
    again = write_take(load_preset("study"), 5, 12, *engines)
    assert [bar.notes for bar in again.bars] == [bar.notes for bar in take.bars]
