import numpy as np
import pytest
import torch

from lofid.errors import LofidError
from lofid.rwkv.config import RwkvConfig
from lofid.rwkv.cpu import CpuEngine
from lofid.rwkv.reference import Rwkv6
from lofid.rwkv.state import ModelState
from lofid.rwkv.torch_engine import TorchEngine
from lofid.rwkv.weights import Tensors

CONFIG = RwkvConfig(layers=2, width=128, vocabulary=90)


@pytest.fixture(scope="module")
def tensors() -> Tensors:
    """Fresh from the recipe, but with no tensor left at zero."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        parameters = Rwkv6(CONFIG).state_dict()
        return {
            name: (x + 0.1 * torch.randn(x.shape)).numpy().astype(np.float32)
            for name, x in parameters.items()
        }


def test_texts_and_batches_are_those_of_the_cpu_engine(tensors: Tensors) -> None:
    engine, other = TorchEngine(CONFIG, tensors), CpuEngine(CONFIG, tensors, "fp32")
    states = [ModelState.zero(CONFIG), ModelState.zero(CONFIG)]
    expected = [state.copy() for state in states]
    for state, same, text in zip(states, expected, ([1, 2, 3], [89]), strict=True):
        logits, wanted = engine.forward(text, state), other.forward(text, same)
        np.testing.assert_allclose(logits, wanted, rtol=0, atol=1e-4)
    for row, token, same in zip(
        engine.forward_batch([7, 8], states), (7, 8), expected, strict=True
    ):
        np.testing.assert_allclose(row, other.forward([token], same), rtol=0, atol=1e-4)
    for state, same in zip(states, expected, strict=True):
        for mine, theirs in zip(state.parts, same.parts, strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-4)


def test_wrong_tokens_states_and_weights_are_refused(tensors: Tensors) -> None:
    engine = TorchEngine(CONFIG, tensors)
    for tokens in ([], [-1], [0, 90]):
        with pytest.raises(ValueError, match="token ids"):
            engine.forward(tokens, ModelState.zero(CONFIG))
    with pytest.raises(ValueError, match="another shape"):
        engine.forward([0], ModelState.zero(RwkvConfig(1, 128, 90)))
    with pytest.raises(LofidError, match=r"lack the tensor 'blocks\.2"):
        TorchEngine(RwkvConfig(3, 128, 90), tensors)
