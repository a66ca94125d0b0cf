"""A run from archives to a model file that the engine can play."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lofid.errors import LofidError
from lofid.learn import run
from lofid.learn.run import PlayerName
from lofid.learn.train import LOSS_LOG, TrainSettings
from lofid.rwkv import config as shapes
from lofid.rwkv.cpu import CpuEngine
from lofid.rwkv.state import State
from lofid.rwkv.weights import load_model
from lofid.tokens import drums

SETTINGS = TrainSettings(tokens=1024, batch=4, context=32)
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(shapes.SIZES, "tiny", (1, 64))


def test_a_run_ends_in_a_model_that_plays(data: Path, tmp_path: Path) -> None:
    corpus = run.open_corpus(PlayerName.DRUMS, data, 1)
    trainer = run.open_trainer(PlayerName.DRUMS, "tiny", corpus, SETTINGS, tmp_path, CPU)
    *_, last = run.run(trainer, None)
    assert last.step == SETTINGS.steps
    assert last.held_out is not None
    logged = [json.loads(line) for line in (tmp_path / LOSS_LOG).read_text().splitlines()]
    assert logged[-1]["held_out"] == last.held_out
    path = tmp_path / "tiny-drums.safetensors"
    report = run.export(trainer, last, run.baselines(corpus), path)
    assert report.baselines.four_gram < report.baselines.unigram
    model = load_model(path, drums.VOCABULARY.hash)
    assert model.card.metrics["held_out_loss_per_note"] == pytest.approx(report.model)
    assert {source.name for source in model.card.data} == {"drums_gmd", "drums_stickflow"}
    engine = CpuEngine(model.card.config, model.tensors, "fp32")
    tokens = [1, 20, 30]
    logits = engine.forward(tokens, State.zero(model.card.config))
    with torch.no_grad():
        expected = trainer.model.eval()(torch.tensor([tokens]))[0][0, -1]
    assert torch.allclose(torch.from_numpy(logits.copy()), expected, atol=5e-3)  # stored as fp16


def test_minutes_cut_a_run_that_goes_on_later(data: Path, tmp_path: Path) -> None:
    corpus = run.open_corpus(PlayerName.DRUMS, data, 1)
    first = run.open_trainer(PlayerName.DRUMS, "tiny", corpus, SETTINGS, tmp_path, CPU)
    assert len(list(run.run(first, 0.0))) == 1
    second = run.open_trainer(PlayerName.DRUMS, "tiny", corpus, SETTINGS, tmp_path, CPU)
    assert second.step == 1
    longer = replace(SETTINGS, tokens=2 * SETTINGS.tokens)
    third = run.open_trainer(PlayerName.DRUMS, "tiny", corpus, longer, tmp_path, CPU)
    assert third.settings.steps == 2 * SETTINGS.steps


def test_what_is_wrong_is_said(data: Path, tmp_path: Path) -> None:
    corpus = run.open_corpus(PlayerName.DRUMS, data, 1)
    with pytest.raises(LofidError, match="size 'huge' is not known; choose one of pocket"):
        run.open_trainer(PlayerName.DRUMS, "huge", corpus, SETTINGS, tmp_path, CPU)
    (tmp_path / "file").touch()
    with pytest.raises(LofidError, match="cannot be written"):
        run.open_trainer(PlayerName.DRUMS, "tiny", corpus, SETTINGS, tmp_path / "file/x", CPU)
    with pytest.raises(LofidError, match="device 'tpu' is not known"):
        run.choose_device("tpu")
