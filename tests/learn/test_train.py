"""Streams and the training loop: determinism, learning, resuming to the exact step."""

from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from lofid.errors import LofidError
from lofid.learn.sequences import Corpus, drums_corpus, keys_corpus
from lofid.learn.train import CHECKPOINT, Trainer, TrainSettings
from lofid.rwkv.config import RwkvConfig
from lofid.tokens import drums, keys

SETTINGS = TrainSettings(tokens=2048, batch=4, context=32, dropout=0.1)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def corpus(data: Path) -> Corpus:
    return drums_corpus(data, seed=1)


def trainer(corpus: Corpus, out: Path) -> Trainer:
    config = RwkvConfig(layers=1, width=64, vocabulary=len(corpus.vocabulary))
    return Trainer(config, corpus, SETTINGS, out, CPU)


@pytest.mark.parametrize("make", [keys_corpus, drums_corpus])
def test_streams_are_drawn_from_the_seed(data: Path, make: Callable[..., Corpus]) -> None:
    corpus, again = make(data, seed=3), make(data, seed=3)
    assert np.array_equal(corpus.stream(0).tokens, again.stream(0).tokens)
    assert not np.array_equal(corpus.stream(0).tokens[:500], corpus.stream(1).tokens[:500])
    assert np.array_equal(corpus.held_out.tokens, again.held_out.tokens)


def test_streams_are_whole_bars(data: Path, corpus: Corpus) -> None:
    for codec, stream in (
        (keys, keys_corpus(data, seed=1).stream(0)),
        (drums, corpus.stream(0)),
    ):
        ends = np.flatnonzero(stream.tokens == codec.GRAMMAR.end)
        assert stream.is_event[ends].all()
        for first, last in zip([-1, *ends], ends, strict=False):
            bar = slice(first + 1, last + 1)
            events = stream.tokens[bar][stream.is_event[bar]]
            codec.decode_notes([int(token) for token in events])


def test_the_loss_falls(corpus: Corpus, tmp_path: Path) -> None:
    losses = list(trainer(corpus, tmp_path).steps())
    assert len(losses) == SETTINGS.steps
    assert losses[-1] < losses[0] - 0.5


def test_a_killed_run_resumes_to_the_same_weights(corpus: Corpus, tmp_path: Path) -> None:
    whole = trainer(corpus, tmp_path / "whole")
    uninterrupted = list(whole.steps())

    first = trainer(corpus, tmp_path / "killed")
    before = list(islice(first.steps(), 7))
    first.save()
    list(islice(first.steps(), 2))  # work that the kill loses
    second = trainer(corpus, tmp_path / "killed")
    assert second.step == 7
    assert before + list(second.steps()) == uninterrupted
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, second.model.state_dict()[name]), name


def test_other_settings_are_refused(corpus: Corpus, tmp_path: Path) -> None:
    trainer(corpus, tmp_path).save()
    config = RwkvConfig(layers=1, width=64, vocabulary=len(corpus.vocabulary))
    other = TrainSettings(tokens=2048, batch=2, context=32)
    with pytest.raises(LofidError, match="other settings"):
        Trainer(config, corpus, other, tmp_path, CPU)


def test_a_damaged_checkpoint_is_one_sentence(corpus: Corpus, tmp_path: Path) -> None:
    (tmp_path / CHECKPOINT).write_bytes(b"rubbish")
    with pytest.raises(LofidError, match="cannot be read"):
        trainer(corpus, tmp_path)


def test_the_held_out_loss_is_that_of_the_events(corpus: Corpus, tmp_path: Path) -> None:
    per_token, per_note = trainer(corpus, tmp_path).held_out()
    # An untrained model is close to uniform.
    assert per_token == pytest.approx(np.log(len(corpus.vocabulary)), rel=0.1)
    stream = corpus.held_out
    assert per_note == pytest.approx(per_token * stream.is_event.sum() / stream.notes)


def test_the_rate_warms_up_stays_and_falls() -> None:
    settings = TrainSettings(tokens=1000 * 2048)
    assert settings.rate_at(0) < settings.rate
    assert settings.rate_at(500) == settings.rate
    assert settings.rate_at(999) == pytest.approx(settings.final_rate, rel=0.2)
