"""The stages of decoding in Triton's interpreter, against float64 and the rwkv package."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

pytest.importorskip("triton")

from bench.decode_check import stage_errors
from lofid.kernels.decode import Decoder, reference_decode
from lofid.kernels.weights import Shape, pack, side_by_side
from lofid.rwkv.config import RwkvConfig
from lofid.rwkv.quantise import quantised
from lofid.rwkv.weights import Tensors

Make = Callable[[RwkvConfig, int], Tensors]

PAIR = Shape(models=2, layers=2, width=128, hidden=448, mix=16, decay=64, vocabulary=192)
NARROW = Shape(models=2, layers=1, width=64, hidden=224, mix=16, decay=64, vocabulary=64)
ODD = Shape(models=1, layers=1, width=192, hidden=672, mix=32, decay=128, vocabulary=64)


@pytest.mark.parametrize(
    ("shape", "slots"), [(PAIR, 1), (PAIR, 3), (PAIR, 5), (ODD, 2), (NARROW, 65)], ids=str
)
def test_every_stage_is_its_reference(shape: Shape, slots: int) -> None:
    for found in stage_errors(shape, slots, "cpu", seed=slots):
        assert found.error < 1e-5, found
        assert found.kept, found


def as_quantised(tensors: Tensors) -> Tensors:
    """What the tensors are once their matrices have been quantised as every engine does."""

    def restored(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
        steps, scales = quantised(matrix)
        return steps * scales[:, None]

    found = dict(tensors)
    for name, tensor in tensors.items():
        if name.endswith(("_w1", "decay_w2")):
            found[name] = restored(tensor.T).T
        elif name.endswith("maa_w2"):
            found[name] = np.stack([restored(part.T).T for part in tensor])
        elif tensor.ndim == 2 and name != "emb.weight" and not name.endswith("faaaa"):
            found[name] = restored(tensor)
    return found


def package_model(tensors: Tensors, folder: Path) -> Any:
    os.environ["RWKV_V7_ON"] = "0"
    os.environ["RWKV_JIT_ON"] = "0"
    package = pytest.importorskip("rwkv.model")
    copies = {name: torch.tensor(tensor) for name, tensor in as_quantised(tensors).items()}
    torch.save(copies, folder / "model.pth")
    return package.RWKV(model=str(folder / "model"), strategy="cpu fp32", verbose=False)


def test_streams_of_two_models_advance_as_in_the_rwkv_package(
    random_tensors: Make, tmp_path: Path
) -> None:
    """Each stream in its own time: some rest while others go on."""
    slots = 5
    configs = [RwkvConfig(2, 128, vocabulary, 32, 24) for vocabulary in (100, 60)]
    tensors = [random_tensors(config, seed) for seed, config in enumerate(configs)]
    parts = [pack([c], [t], quantised, "cpu") for c, t in zip(configs, tensors, strict=True)]
    decoder = Decoder(side_by_side(parts), slots)
    others: list[Any] = []
    for i, one in enumerate(tensors):
        (tmp_path / str(i)).mkdir()
        others.append(package_model(one, tmp_path / str(i)))
    states: dict[tuple[int, int], Any] = {}
    streams, record = decoder.streams, torch.empty((2, slots), dtype=torch.int32)
    rng = np.random.default_rng(3)
    for step in range(3):
        tokens = np.stack([rng.integers(config.vocabulary, size=slots) for config in configs])
        active = rng.random((2, slots)) < (1 if step == 0 else 0.6)
        streams.tokens.copy_(torch.from_numpy(tokens))
        streams.active.copy_(torch.from_numpy(active))
        streams.logits.fill_(torch.nan)
        decoder.step(record)
        np.testing.assert_array_equal(record, np.where(active, tokens, -1))
        for model, slot in np.ndindex(2, slots):
            logits = streams.logits[model, slot]
            if not active[model, slot]:
                assert logits.isnan().all()
                continue
            expected, state = others[model].forward(
                [int(tokens[model, slot])], states.get((model, slot))
            )
            states[model, slot] = state
            size = configs[model].vocabulary
            np.testing.assert_allclose(logits[:size], expected, rtol=0, atol=1e-4)
            assert (logits[size:] == 0).all()
    for (model, slot), state in states.items():
        for layer in range(2):
            att, wkv, ffn = state[3 * layer : 3 * layer + 3]
            for mine, theirs in (
                (streams.att_shift[layer, model, slot], att),
                (streams.wkv[layer, model, slot], wkv),
                (streams.ffn_shift[layer, model, slot], ffn),
            ):
                np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-4)


def test_a_whole_step_is_its_reference(random_tensors: Make) -> None:
    configs = [RwkvConfig(1, 64, 50), RwkvConfig(1, 64, 70)]
    weights = pack(configs, [random_tensors(c, 5) for c in configs], quantised, "cpu")
    decoder = Decoder(weights, 2)
    streams = decoder.streams
    streams.tokens.copy_(torch.tensor([[3, 49], [69, -1]]))
    streams.active.copy_(torch.tensor([[1, 1], [1, 0]]))
    for _ in range(2):
        expected = reference_decode(weights, streams, torch.float64)
        decoder.step(torch.empty((2, 2), dtype=torch.int32))
        for name in ("logits", "att_shift", "ffn_shift", "wkv"):
            found = getattr(streams, name)
            np.testing.assert_allclose(found, getattr(expected, name), rtol=1e-4, atol=1e-4)


def test_extreme_activations_stay_finite(random_tensors: Make) -> None:
    config = RwkvConfig(1, 64, 50)
    tensors = random_tensors(config, 6)
    for name, tensor in tensors.items():
        if name.endswith(
            ("time_decay", "att.gate.weight", "ffn.receptance.weight", "ffn.key.weight")
        ):
            np.multiply(tensor, 1000, out=tensor)
    for slots in (1, 5):
        decoder = Decoder(pack([config], [tensors], quantised, "cpu"), slots)
        decoder.streams.active.fill_(1)
        for token in range(3):
            decoder.streams.tokens.fill_(token)
            decoder.step(decoder.record)
            assert decoder.streams.logits.isfinite().all()
