"""Each stage of decoding, on fresh random numbers, against its plain reference in float64.

Runs wherever kernels run: in Triton's interpreter for the tests, on a GPU for ``make gpu-test``.
What a stage is to write is filled with NaN before, so that nothing passes by being left over.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from lofid.kernels import decode
from lofid.kernels.decode import Decoder, Launch
from lofid.kernels.weights import Matrix, Shape, Weights


@dataclass(frozen=True, slots=True)
class StageError:
    """What was found of one stage.

    ``error``: the largest, relative to the largest number expected; NaN if one was not written.
    ``kept``: whether slots that are not active stayed as they were, to the bit.
    """

    stage: str
    layer: int
    error: float
    kept: bool


def stage_errors(shape: Shape, slots: int, device: str, seed: int) -> Iterator[StageError]:
    """Every stage of ``shape`` with ``slots`` slots a model, about a quarter of them not active."""
    random = torch.Generator().manual_seed(seed)
    decoder = Decoder(random_weights(shape, device, random), slots)
    for launch in decoder.launches:
        _fill(decoder, random)
        active = decoder.streams.active.cpu() != 0
        expected = _expected(decoder, launch)
        for name, buffer in _outputs(decoder, launch).items():
            if name not in _IN_PLACE[launch.stage]:
                buffer.fill_(torch.nan)
        before = {name: x.cpu().clone() for name, x in _outputs(decoder, launch).items()}
        launch()
        found = {name: x.cpu() for name, x in _outputs(decoder, launch).items()}
        yield StageError(
            launch.stage,
            launch.layer,
            error=max(_error(found[name][active], x.cpu()[active]) for name, x in expected.items()),
            kept=all(
                torch.equal(_bits(found[name][~active]), _bits(before[name][~active]))
                for name in found
            ),
        )


_IN_PLACE = {
    "mix_down": (),
    "branches": (),
    "wkv_step": ("wkv",),
    "output": ("x",),
    "ffn_in": (),
    "ffn_out": ("x",),
    "head": (),
}
"""What a stage reads before it writes it."""


def _outputs(decoder: Decoder, launch: Launch) -> dict[str, Tensor]:
    """The buffers [M, B, ...] that a stage writes."""
    s, t, i = decoder.streams, decoder.scratch, launch.layer
    if launch.stage == "mix_down":
        return {"normed": t.normed, "low": t.low} | ({} if i else {"x": t.x})
    if launch.stage == "branches":
        return {"projected": t.projected}
    if launch.stage == "wkv_step":
        return {"y": t.y, "wkv": s.wkv[i], "att_shift": s.att_shift[i]}
    if launch.stage == "output":
        return {"x": t.x}
    if launch.stage == "ffn_in":
        return {"normed": t.normed, "inner": t.inner}
    if launch.stage == "ffn_out":
        return {"x": t.x, "ffn_shift": s.ffn_shift[i]}
    return {"logits": s.logits}


def _expected(decoder: Decoder, launch: Launch) -> dict[str, Tensor]:
    """What the buffers of ``_outputs`` should hold where a slot is active, in float64."""
    w, i = decoder.weights, launch.layer
    width, kind = w.shape.width, torch.float64
    vectors = w.vectors[i].double()
    normed, x = decoder.scratch.normed.double(), decoder.scratch.x.double()
    att_shift, ffn_shift, wkv = (
        part[i].double()
        for part in (decoder.streams.att_shift, decoder.streams.ffn_shift, decoder.streams.wkv)
    )
    inner, y = decoder.scratch.inner.double(), decoder.scratch.y.double()
    if launch.stage == "mix_down":
        models = torch.arange(w.shape.models, device=x.device)[:, None]
        if i == 0:
            x = w.embedding[models, decoder.streams.tokens].double()
        normed, low = decode.reference_mix_down(x, att_shift, vectors, w.mix_down[i].dense(kind))
        return {"normed": normed, "low": low} | ({} if i else {"x": x})
    if launch.stage == "branches":
        low, up, down = decoder.scratch.low.double(), w.mix_up[i], w.branches[i]
        return {
            "projected": decode.reference_branches(
                normed, att_shift, low, vectors, up.dense(kind), down.dense(kind)
            )
        }
    if launch.stage == "wkv_step":
        projected = decoder.scratch.projected.double()
        y, wkv = decode.reference_wkv_step(projected, wkv, vectors, w.decay_up[i].dense(kind))
        return {"y": y, "wkv": wkv, "att_shift": normed}
    if launch.stage == "output":
        return {"x": decode.reference_output(x, y, w.output[i].dense(kind))}
    if launch.stage == "ffn_in":
        dense = w.ffn_in[i].dense(kind)
        normed, inner = decode.reference_ffn_in(x, ffn_shift, vectors, dense)
        return {"normed": normed, "inner": inner}
    if launch.stage == "ffn_out":
        gate, key = inner[..., :width], inner[..., width:]
        x = decode.reference_output(x, key, w.ffn_out[i].dense(kind), gate)
        return {"x": x, "ffn_shift": normed}
    return {"logits": decode.reference_head(x, w.final.double(), w.head.dense(kind))}


def random_weights(shape: Shape, device: str, random: torch.Generator) -> Weights:
    """Matrices that keep the size of what they multiply; everything else around 0 or 1."""
    weights = Weights.empty(shape, device)
    for part in fields(Weights):
        tensor = getattr(weights, part.name)
        if isinstance(tensor, Matrix):
            steps = torch.randint(-127, 128, tensor.steps.shape, generator=random)
            scale = 1 / (73 * tensor.steps.shape[-1] ** 0.5)
            scales = scale * (0.5 + torch.rand(tensor.scales.shape, generator=random))
            tensor.steps.copy_(steps)
            tensor.scales.copy_(scales)
        elif isinstance(tensor, Tensor):
            tensor.copy_(torch.randn(tensor.shape, generator=random))
    return weights


def _fill(decoder: Decoder, random: torch.Generator) -> None:
    """Random numbers for all that a stage may read."""
    for buffers in (decoder.streams, decoder.scratch):
        for part in fields(buffers):
            buffer: Tensor = getattr(buffers, part.name)
            if buffer.dtype == torch.float32:
                buffer.copy_(torch.randn(buffer.shape, generator=random))
    streams, vocabulary = decoder.streams, decoder.weights.shape.vocabulary
    streams.tokens.copy_(torch.randint(vocabulary, streams.tokens.shape, generator=random))
    active = torch.rand(streams.active.shape, generator=random) < 0.75
    active[:, 0] = True
    streams.active.copy_(active)


def _error(found: Tensor, expected: Tensor) -> float:
    return float((found.double() - expected).abs().max() / expected.abs().max())


def _bits(x: Tensor) -> Tensor:
    """NaN equals no NaN, but its bits do."""
    return x.contiguous().view(torch.int32)
