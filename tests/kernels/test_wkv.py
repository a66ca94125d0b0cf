"""The GPU's WKV, interpreted, against the recurrence in float64."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton")

from lofid.kernels.wkv import CHUNK, wkv
from lofid.rwkv.wkv import wkv_sequential

Form = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def random_inputs(batch: int, length: int, heads: int, fastest: float) -> list[Tensor]:
    """r, k, v, log_decay, u, state in float64; log decays from -0.02 to ``fastest``, about evenly.

    Evenly in their logarithm, as models have them.
    """
    generator = torch.Generator().manual_seed(length)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    tokens = (batch, length, heads, 64)
    even = torch.rand(*tokens, generator=generator, dtype=torch.float64)
    log_decay = -0.02 * (fastest / -0.02) ** even
    r, k, v = (normal(*tokens) for _ in range(3))
    return [r, k, v, log_decay, normal(heads, 64), normal(batch, heads, 64, 64)]


def run(form: Form, inputs: list[Tensor], kind: torch.dtype) -> list[Tensor]:
    """Output, final state and the gradients of a fixed random sum of both."""
    leaves = [x.detach().to(kind).clone().requires_grad_() for x in inputs]
    y, final = form(*leaves)
    generator = torch.Generator().manual_seed(1)
    loss = torch.zeros((), dtype=torch.float64)
    for x in (y, final):
        loss = loss + (x * torch.randn(x.shape, generator=generator, dtype=torch.float64)).sum()
    loss.backward()  # type: ignore[no-untyped-call]
    gradients = [x.grad for x in leaves]
    return [y.detach(), final.detach()] + [g for g in gradients if g is not None]


def relative_error(x: Tensor, exact: Tensor) -> float:
    return float((x - exact).norm() / exact.norm())


# -2 stays with one cut a chunk, -7 needs the levels in places, -150 everywhere.
@pytest.mark.parametrize(
    ("batch", "length", "heads", "fastest"),
    [(2, 1, 1, -7.0), (1, CHUNK, 1, -2.0), (2, CHUNK + 5, 2, -7.0), (1, 20, 1, -150.0)],
)
def test_agrees_with_the_recurrence(batch: int, length: int, heads: int, fastest: float) -> None:
    inputs = random_inputs(batch, length, heads, fastest)
    exact = run(wkv_sequential, inputs, torch.float64)
    found = run(wkv, inputs, torch.float32)
    assert len(found) == len(exact) == 8
    for x, y in zip(found[:2], exact[:2], strict=True):
        assert relative_error(x, y) < 1e-5
    for x, y in zip(found[2:], exact[2:], strict=True):
        assert relative_error(x, y) < 1e-4


def test_decays_that_leave_nothing() -> None:
    """A log decay of -inf, which float32 gives for large parameters, between slow ones."""
    inputs = random_inputs(1, CHUNK + 1, 1, -0.1)
    inputs[3][0, 5] = -1e30
    exact = run(wkv_sequential, inputs, torch.float64)
    inputs[3][0, 5] = -torch.inf
    for x, y in zip(run(wkv, inputs, torch.float32), exact, strict=True):
        assert relative_error(x, y) < 1e-5


def test_fast_decays_everywhere_spoil_no_digit() -> None:
    """Decays at the edge of what float32 can add to 1: their own gradients keep their digits."""
    inputs = random_inputs(1, CHUNK, 1, -6.0)
    inputs[3].fill_(-12.0)
    exact = run(wkv_sequential, inputs, torch.float64)
    for x, y in zip(run(wkv, inputs, torch.float32), exact, strict=True):
        assert relative_error(x, y) < 1e-5


def test_takes_bfloat16_and_gives_gradients_of_that_type() -> None:
    inputs = random_inputs(1, CHUNK + 3, 1, -2.0)
    halves = [x.bfloat16() for x in inputs[:3]]
    exact = run(wkv_sequential, [*halves, *inputs[3:]], torch.float64)
    leaves = [x.requires_grad_() for x in halves]
    y, final = wkv(*leaves, *(x.float() for x in inputs[3:]))
    assert y.dtype == final.dtype == torch.float32
    assert relative_error(y.detach(), exact[0]) < 1e-5
    assert relative_error(final.detach(), exact[1]) < 1e-5
    (y.sum() + final.sum()).backward()  # type: ignore[no-untyped-call]
    assert all(x.grad is not None and x.grad.dtype == torch.bfloat16 for x in leaves)


def test_the_state_carries_over_a_cut() -> None:
    r, k, v, log_decay, u, state = (x.float() for x in random_inputs(1, 23, 1, -3.0))
    y, final = wkv(r, k, v, log_decay, u, state)
    parts = []
    for cut in (slice(0, 18), slice(18, 23)):
        part, state = wkv(r[:, cut], k[:, cut], v[:, cut], log_decay[:, cut], u, state)
        parts.append(part)
    torch.testing.assert_close(torch.cat(parts, 1), y, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(state, final, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("used", ["outputs", "state", "both"])
def test_is_one_operator_to_the_compiler(used: str) -> None:
    inputs = [x.float() for x in random_inputs(1, 3, 1, -3.0)]

    def loss(*x: Tensor) -> Tensor:
        y, final = wkv(*(2 * part for part in x))
        return (y**2).sum() * (used != "state") + (final**2).sum() * (used != "outputs")

    found = []
    for form in (loss, torch.compile(loss, backend="aot_eager", fullgraph=True)):
        leaves = [x.clone().requires_grad_() for x in inputs]
        form(*leaves).backward()  # type: ignore[no-untyped-call]
        found.append([x.grad for x in leaves])
    for x, y in zip(*found, strict=True):
        torch.testing.assert_close(x, y)


def test_a_state_that_is_cut_off_needs_no_gradient() -> None:
    leaves = [x.float().requires_grad_() for x in random_inputs(1, 2, 1, -3.0)]
    y, _ = wkv(*leaves)
    y.sum().backward()  # type: ignore[no-untyped-call]
    assert all(x.grad is not None for x in leaves)
