"""Priming with many tokens at once against decoding them one at a time, in float64."""

from dataclasses import replace

import pytest
import torch

pytest.importorskip("triton")

from bench.decode_check import random_weights
from lofid.kernels.decode import Streams, reference_decode
from lofid.kernels.prefill import prefill
from lofid.kernels.weights import Shape

SHAPE = Shape(models=2, layers=2, width=128, hidden=448, mix=16, decay=64, vocabulary=192)
SLOTS = 2


@pytest.mark.parametrize("length", [1, 19])
def test_is_decoding_token_by_token(length: int) -> None:
    random = torch.Generator().manual_seed(length)
    weights = random_weights(SHAPE, "cpu", random)
    streams = Streams.allocate(SHAPE, SLOTS, "cpu")
    for part in (streams.att_shift, streams.ffn_shift, streams.wkv):
        part.normal_(generator=random)
    tokens = torch.randint(SHAPE.vocabulary, (length,), generator=random)
    model, slot = 1, 0

    streams.active[model, slot] = 1
    expected = streams
    for token in tokens:
        expected = replace(expected, tokens=torch.full_like(streams.tokens, int(token)))
        expected = reference_decode(weights, expected, torch.float64)

    logits = prefill(
        weights,
        model,
        tokens,
        *(x[:, model, slot] for x in (streams.att_shift, streams.ffn_shift, streams.wkv)),
    )
    found = replace(streams, logits=torch.zeros_like(streams.logits))
    found.logits[model, slot] = logits
    for name in ("logits", "att_shift", "ffn_shift", "wkv"):
        x, y = getattr(found, name).double(), getattr(expected, name).double()
        assert float((x - y).norm() / y.norm()) < 1e-5, name
