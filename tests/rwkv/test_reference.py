import os
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lofid.rwkv.config import RwkvConfig
from lofid.rwkv.reference import Rwkv6, parameter_groups, zero_state

CONFIG = RwkvConfig(layers=3, width=128, vocabulary=150)


def lively_model(seed: int = 0) -> Rwkv6:
    """A model whose every parameter matters: no zero matrices as after initialisation."""
    torch.manual_seed(seed)
    model = Rwkv6(CONFIG).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape))
        model.emb.weight.normal_()
    return model


def random_tokens(batch: int, length: int) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.randint(CONFIG.vocabulary, (batch, length), generator=generator)


def test_logits_match_the_rwkv_package(tmp_path: Path) -> None:
    os.environ["RWKV_V7_ON"] = "0"
    os.environ["RWKV_JIT_ON"] = "0"
    package = pytest.importorskip("rwkv.model")
    model = lively_model()
    # The package brings weights of its own layout in place, so it gets a copy.
    torch.save({n: p.clone() for n, p in model.state_dict().items()}, tmp_path / "model.pth")
    other = package.RWKV(model=str(tmp_path / "model"), strategy="cpu fp32", verbose=False)
    tokens = random_tokens(1, 40)
    with torch.no_grad():
        logits, _ = model(tokens)
        state = None
        for t, token in enumerate(tokens[0].tolist()):
            expected, state = other.forward([token], state)
            torch.testing.assert_close(logits[0, t], expected, rtol=1e-4, atol=1e-4)


def test_state_carried_over_chunks_equals_one_long_pass() -> None:
    model = lively_model()
    tokens = random_tokens(3, 50)
    with torch.no_grad():
        whole, final = model(tokens)
        state = zero_state(CONFIG, 3)
        parts = []
        for cut in (slice(0, 1), slice(1, 20), slice(20, 50)):
            logits, state = model(tokens[:, cut], state)
            parts.append(logits)
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=1e-4, atol=1e-4)
    for part, expected in zip(state, final, strict=True):
        torch.testing.assert_close(part, expected, rtol=1e-4, atol=1e-4)


def test_a_fresh_model_is_uncertain_and_learns() -> None:
    torch.manual_seed(0)
    model = Rwkv6(CONFIG, dropout=0.1)
    optimiser = torch.optim.AdamW(parameter_groups(model, 3e-3), betas=(0.9, 0.99))
    tokens = random_tokens(2, 33)
    losses = []
    for _ in range(25):
        logits, _ = model(tokens[:, :-1])
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[0] == pytest.approx(torch.log(torch.tensor(150.0)).item(), abs=0.6)
    assert losses[-1] < losses[0] - 1


def test_parameter_groups_follow_the_official_recipe() -> None:
    model = Rwkv6(CONFIG)
    decayed, plain, fast = parameter_groups(model, 1e-3)
    assert sum(len(g["params"]) for g in (decayed, plain, fast)) == len(list(model.parameters()))
    assert all(p.ndim == 2 for p in decayed["params"])
    assert len(decayed["params"]) == 2 + 8 * CONFIG.layers
    named = {n: p for n, p in model.named_parameters() if n.endswith("att.time_decay")}
    assert len(named) == CONFIG.layers
    assert {id(p) for p in fast["params"]} == {id(p) for p in named.values()}
    assert (fast["lr"], fast["weight_decay"], decayed["weight_decay"]) == (2e-3, 0.0, 0.001)
