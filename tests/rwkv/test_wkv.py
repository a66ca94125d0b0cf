from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from lofid.rwkv.wkv import wkv_chunked, wkv_scan, wkv_sequential

Form = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def random_inputs(length: int) -> list[Tensor]:
    """r, k, v, log_decay, u, state in float64, with slow and fast decays."""
    generator = torch.Generator().manual_seed(length)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    tokens = (2, length, 2, 64)
    log_decay = -(normal(*tokens) * 2 - 2).clamp(max=2).exp()
    r, k, v = (normal(*tokens) for _ in range(3))
    return [r, k, v, log_decay, normal(2, 64), normal(2, 2, 64, 64)]


def run(form: Form, inputs: list[Tensor], kind: torch.dtype) -> list[Tensor]:
    """Output, final state and the gradients of a fixed random sum of both."""
    leaves = [x.detach().to(kind).clone().requires_grad_() for x in inputs]
    y, final = form(*leaves)
    generator = torch.Generator().manual_seed(1)
    loss = sum(
        (x * torch.randn(x.shape, generator=generator, dtype=torch.float64)).sum()
        for x in (y, final)
    )
    assert isinstance(loss, Tensor)
    loss.backward()  # type: ignore[no-untyped-call]
    gradients = [x.grad for x in leaves]
    return [y.detach(), final.detach()] + [g for g in gradients if g is not None]


def relative_error(x: Tensor, exact: Tensor) -> float:
    return float((x - exact).detach().norm() / exact.norm())


@pytest.mark.parametrize("length", [1, 16, 37])
@pytest.mark.parametrize(
    ("form", "kind"),
    [(wkv_chunked, torch.float64), (wkv_chunked, torch.float32), (wkv_scan, torch.float32)],
)
def test_forms_agree_with_the_recurrence(form: Form, kind: torch.dtype, length: int) -> None:
    inputs = random_inputs(length)
    exact = run(wkv_sequential, inputs, torch.float64)
    found = run(form, inputs, kind)
    assert len(found) == len(exact) == 8
    for x, y in zip(found[:2], exact[:2], strict=True):
        assert relative_error(x, y) < 1e-5
    for x, y in zip(found[2:], exact[2:], strict=True):
        assert relative_error(x, y) < 1e-4


def test_the_recurrence_follows_its_definition() -> None:
    r, k, v, log_decay, u, state = random_inputs(3)
    y, final = wkv_sequential(r, k, v, log_decay, u, state)
    s = state[1, 0].clone()
    for t in range(3):
        for j in (0, 17):
            seen = sum(
                r[1, t, 0, i] * (s[i, j] + u[0, i] * k[1, t, 0, i] * v[1, t, 0, j])
                for i in range(64)
            )
            assert float(y[1, t, 0, j]) == pytest.approx(float(seen))
        s = log_decay[1, t, 0].exp()[:, None] * s + torch.outer(k[1, t, 0], v[1, t, 0])
    torch.testing.assert_close(final[1, 0], s)


@pytest.mark.parametrize("form", [wkv_chunked, wkv_scan])
def test_very_fast_decays_stay_finite(form: Form) -> None:
    inputs = [x.float() for x in random_inputs(40)]
    inputs[3] = torch.full_like(inputs[3], -150.0)
    for x in run(form, inputs, torch.float32):
        assert bool(x.isfinite().all())


@pytest.mark.parametrize("form", [wkv_sequential, wkv_chunked, wkv_scan])
def test_the_state_carries_over_a_cut(form: Form) -> None:
    r, k, v, log_decay, u, state = (x.float() for x in random_inputs(40))
    y, final = form(r, k, v, log_decay, u, state)
    parts = []
    for cut in (slice(0, 21), slice(21, 40)):
        part, state = form(r[:, cut], k[:, cut], v[:, cut], log_decay[:, cut], u, state)
        parts.append(part)
    torch.testing.assert_close(torch.cat(parts, 1), y, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(state, final, rtol=1e-4, atol=1e-4)
