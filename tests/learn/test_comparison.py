"""The comparison with forerunners: readers say what networks say, figures are what they claim."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lofid.learn import comparison
from lofid.learn.configs import Network
from lofid.learn.forerunners import ForerunnerConfig, Gpt, Recurrent, build
from lofid.learn.sequences import Corpus, TokenStream, drums_corpus
from lofid.rwkv.config import RwkvConfig
from lofid.rwkv.cpu import CpuEngine
from lofid.rwkv.reference import Rwkv6

CONTEXT = 16


@pytest.fixture(scope="module")
def corpus(data: Path) -> Corpus:
    return drums_corpus(data, seed=1)


def network(kind: Network, vocabulary: int) -> nn.Module:
    torch.manual_seed(1)
    if kind is Network.RWKV:
        return Rwkv6(RwkvConfig(1, 64, vocabulary))
    return build(ForerunnerConfig(kind, 2, 64, vocabulary, CONTEXT))


@torch.no_grad()
@pytest.mark.parametrize("kind", list(Network))
def test_token_by_token_is_as_all_at_once(kind: Network) -> None:
    model = network(kind, 30).eval()
    tokens = [int(token) for token in np.random.default_rng(1).integers(0, 30, 40)]
    music = comparison.reader(model)
    read = [music.read(token).copy() for token in tokens]
    if isinstance(model, Gpt):
        # Full after 16; from then on, it reads the last eight again and goes on from there.
        assert np.allclose(read[15], model(torch.tensor([tokens[:16]]))[0][0, -1], atol=1e-5)
        assert np.allclose(read[20], model(torch.tensor([tokens[9:21]]))[0][0, -1], atol=1e-5)
        assert music.bytes <= 2 * 2 * CONTEXT * 64 * 4
        return
    state = model.empty_state(1, torch.device("cpu")) if isinstance(model, Recurrent) else None
    logits, after = model(torch.tensor([tokens]), state)
    assert np.allclose(np.stack(read), logits[0], atol=1e-4)
    assert music.bytes == sum(part.nbytes for part in after)


def test_every_network_writes_bars(corpus: Corpus) -> None:
    for kind in Network:
        model = network(kind, len(corpus.vocabulary))
        made = comparison.generate(comparison.reader(model), corpus, seed=1, long=1200)
        assert made.long_bytes >= made.short_bytes > 0
        assert min(made.short_speed, made.long_speed) > 0
        assert 0 <= made.repetition < 0.2  # untrained: almost nothing twice


def test_an_engine_reads_what_the_network_reads() -> None:
    model = network(Network.RWKV, 30)
    assert isinstance(model, Rwkv6)
    tensors = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    engine = comparison.EngineReader(CpuEngine(model.config, tensors, "fp32"))
    music = comparison.reader(model)
    with torch.no_grad():
        for token in (3, 1, 4):
            assert np.allclose(engine.read(token), music.read(token), atol=1e-4)
    assert engine.bytes == music.bytes


def test_repetition_looks_back_eight_bars() -> None:
    assert comparison.repetition([(1,), (2,), (1,), (1,)]) == 0.5
    assert comparison.repetition([(n % 9,) for n in range(18)]) == 0
    assert comparison.repetition([(n % 8,) for n in range(16)]) == 0.5


def test_bars_of_a_stream() -> None:
    stream = TokenStream(
        np.array([1, 2, 7, 8, 1, 9], np.int16),
        np.array([False, False, True, True, False, True]),
        3,
    )
    assert list(comparison.bars(stream)) == [((1, 2), (7, 8)), ((1,), (9,))]


def test_a_gpt_is_judged_behind_half_a_context(corpus: Corpus) -> None:
    stream = TokenStream(corpus.reported.tokens[:200], corpus.reported.is_event[:200], 50)
    model = network(Network.GPT, len(corpus.vocabulary))
    assert isinstance(model, Gpt)
    losses = []
    for place in np.flatnonzero(stream.is_event):
        first = max(0, (place - 1) // 8 * 8 - 8)  # windows begin at every eighth token
        tokens = torch.from_numpy(stream.tokens[first:place].astype(np.int64))
        with torch.no_grad():
            logits = model.eval()(tokens[None])[0][0, -1]
        losses.append(-torch.log_softmax(logits, -1)[int(stream.tokens[place])].item())
    assert comparison.windowed_loss(model, stream) == pytest.approx(sum(losses) / 50, rel=1e-4)
