"""A run from archives to a model file that the engine can play."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import mido
import pytest
import soundfile
import torch
from lightning_fabric import Fabric
from typer.testing import CliRunner

from lofid.cli import app
from lofid.errors import LofidError
from lofid.learn import run
from lofid.learn.configs import CONFIGS, PlayerName, TokenForm, TrainConfig, TrainSettings, named
from lofid.learn.journal import LOSS_LOG, TENSORBOARD
from lofid.learn.sequences import Corpus
from lofid.learn.train import Trainer
from lofid.rwkv.cpu import CpuEngine
from lofid.rwkv.state import ModelState
from lofid.rwkv.weights import load_model
from lofid.tokens import drums

SETTINGS = TrainSettings(tokens=1024, batch=4, context=32, check_steps=4)
TINY: TrainConfig = replace(CONFIGS["pocket"], layers=1, width=64)
CPU = torch.device("cpu")


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def corpus(data: Path) -> Corpus:
    return run.open_corpus(PlayerName.DRUMS, data, SETTINGS)


def opened(corpus: Corpus, out: Path, settings: TrainSettings = SETTINGS) -> Trainer:
    fabric = run.open_fabric(settings, CPU)
    return run.open_trainer(TINY, corpus, settings, out, fabric)


def test_a_run_ends_in_a_model_that_plays(corpus: Corpus, tmp_path: Path) -> None:
    trainer = opened(corpus, tmp_path)
    *_, last = run.run(trainer, None)
    assert last.step == SETTINGS.steps
    logged = [json.loads(line) for line in (tmp_path / LOSS_LOG).read_text().splitlines()]
    assert [line["step"] for line in logged] == list(range(1, SETTINGS.steps + 1))
    assert logged[-1]["held_out"] == last.held_out
    assert any((tmp_path / TENSORBOARD).iterdir())
    choosing = [line["held_out"] for line in logged if "held_out" in line]
    assert logged[-1]["styles"].keys() == {"hiphop", "on the grid"}
    result = run.report(trainer, run.baselines(corpus))
    assert result.choosing == min(choosing)
    assert result.interval[0] <= result.headline <= result.interval[1]
    assert result.headline == result.styles["hiphop"] != result.model
    assert result.baselines.four_gram < result.baselines.unigram
    path = tmp_path / "tiny-drums.safetensors"
    run.export(trainer, result, path)
    model = load_model(path, drums.VOCABULARY.hash)
    assert model.card.metrics["held_out_loss_per_note"] == pytest.approx(result.model)
    assert {source.name for source in model.card.data} == {"drums_gmd", "drums_stickflow"}
    engine = CpuEngine(model.card.config, model.tensors, "fp32")
    tokens = [1, 20, 30]
    logits = engine.forward(tokens, ModelState.zero(model.card.config))
    trainer.model.load_state_dict(trainer.best_weights())
    with torch.no_grad():
        expected = trainer.model.eval()(torch.tensor([tokens]))[0][0, -1]
    assert torch.allclose(torch.from_numpy(logits.copy()), expected, atol=5e-3)  # stored as fp16


def test_a_run_begins_with_the_weights_of_a_model(corpus: Corpus, tmp_path: Path) -> None:
    trainer = opened(corpus, tmp_path / "first")
    list(run.run(trainer, None))
    path = tmp_path / "first.safetensors"
    run.export(trainer, run.report(trainer, run.baselines(corpus)), path)
    model = load_model(path)
    fabric = run.open_fabric(SETTINGS, CPU)
    arguments = (TINY, corpus, SETTINGS, tmp_path / "second", fabric)
    longer = run.open_trainer(*arguments, begins=model)
    assert longer.step == 0
    begun = longer.measure(corpus.choosing).headline
    assert begun == pytest.approx(trainer.best[1], rel=1e-3)  # stored as fp16
    list(run.run(longer, None))
    assert longer.best[1] < begun
    run.export(longer, run.report(longer, run.baselines(corpus)), path)
    card = load_model(path).card
    assert card.metrics["training_tokens"] == 2 * SETTINGS.tokens
    assert card.data == model.card.data
    told = rf"other settings \(--from weights with the hash {model.hash}\); repeat those"
    with pytest.raises(LofidError, match=told):
        run.open_trainer(*arguments)
    told = r"other settings \(no --from\); to begin with these weights, name another --out\."
    with pytest.raises(LofidError, match=told):
        run.open_trainer(TINY, corpus, SETTINGS, tmp_path / "first", fabric, begins=model)
    other = replace(TINY, width=128)
    with pytest.raises(LofidError, match="another size or vocabulary"):
        run.open_trainer(other, corpus, SETTINGS, tmp_path / "third", fabric, begins=model)


def test_samples_are_played_on_the_way(corpus: Corpus, tmp_path: Path) -> None:
    settings = replace(SETTINGS, tokens=2 * SETTINGS.tokens_per_step)
    list(run.run(opened(corpus, tmp_path, settings), None, sample_steps=2))
    folder = tmp_path / run.SAMPLES
    assert mido.MidiFile(folder / "step-00000002.mid").length > 5
    assert soundfile.info(folder / "step-00000002.ogg").duration > 5


def test_a_sample_that_cannot_be_made_ends_no_run(corpus: Corpus, tmp_path: Path) -> None:
    (tmp_path / run.SAMPLES).write_text("in the way")
    settings = replace(SETTINGS, tokens=2 * SETTINGS.tokens_per_step)
    assert len(list(run.run(opened(corpus, tmp_path, settings), None, sample_steps=1))) == 2


def test_minutes_and_wishes_cut_a_run_that_goes_on_later(corpus: Corpus, tmp_path: Path) -> None:
    assert len(list(run.run(opened(corpus, tmp_path), 0.0))) == 1
    second = opened(corpus, tmp_path)
    assert second.step == 1
    assert len(list(run.run(second, None, lambda: second.step == 3))) == 2
    third = opened(corpus, tmp_path, replace(SETTINGS, tokens=2 * SETTINGS.tokens))
    assert (third.step, third.last_step) == (3, 2 * SETTINGS.steps)
    closed = run.run(third, None)
    next(closed)
    closed.close()
    assert opened(corpus, tmp_path).step == 4


def test_two_do_not_train_in_one_folder(corpus: Corpus, tmp_path: Path) -> None:
    first, second = (run.run(opened(corpus, tmp_path), None) for _ in range(2))
    next(first)
    with pytest.raises(LofidError, match="is being trained by another lofid"):
        next(second)
    first.close()
    assert opened(corpus, tmp_path).step == 1


def test_a_step_that_is_interrupted_leaves_no_checkpoint(corpus: Corpus, tmp_path: Path) -> None:
    list(run.run(opened(corpus, tmp_path / "whole"), None))
    trainer = opened(corpus, tmp_path / "cut")

    def interrupt(gradient: torch.Tensor) -> None:
        if trainer.step == 5:
            raise KeyboardInterrupt

    embedding = trainer.model.get_parameter("emb.weight")
    embedding.register_hook(interrupt)  # type: ignore[no-untyped-call]
    with pytest.raises(KeyboardInterrupt):
        list(run.run(trainer, None))
    again = opened(corpus, tmp_path / "cut")
    assert again.step == 4
    list(run.run(again, None))
    whole, cut = (tmp_path / name / LOSS_LOG for name in ("whole", "cut"))
    assert cut.read_text() == whole.read_text()


def test_a_budget_cut_short_is_measured(corpus: Corpus, tmp_path: Path) -> None:
    settings = replace(SETTINGS, check_steps=100)
    trainer = opened(corpus, tmp_path, settings)
    list(run.run(trainer, None, lambda: trainer.step == 3))
    cut = opened(corpus, tmp_path, replace(settings, tokens=2 * SETTINGS.tokens_per_step))
    assert list(run.run(cut, None)) == []
    assert cut.best[0] == 3
    again = opened(corpus, tmp_path, settings)
    assert again.best == cut.best
    assert again.best_weights().keys() == cut.model.state_dict().keys()


def test_data_are_kept_for_each_way_of_drawing_them(data: Path, corpus: Corpus) -> None:
    ways = [
        run.recipe(PlayerName.DRUMS, data, SETTINGS),
        run.recipe(PlayerName.DRUMS, data, replace(SETTINGS, seed=2)),
        run.recipe(PlayerName.DRUMS, data, replace(SETTINGS, balance=0.5)),
        run.recipe(PlayerName.DRUMS, data, SETTINGS, TokenForm.THESIS),
    ]
    assert len({way.name for way in ways}) == len(ways)
    again = run.open_corpus(PlayerName.DRUMS, data, SETTINGS)
    assert again.stream(0).tokens.tobytes() == corpus.stream(0).tokens.tobytes()


def test_what_is_wrong_is_said(corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(LofidError, match="'huge' is not known; choose one of pocket, studio"):
        named("huge")
    (tmp_path / "file").touch()
    with pytest.raises(LofidError, match="cannot be written"):
        opened(corpus, tmp_path / "file/x")
    with pytest.raises(LofidError, match="device 'tpu' is not known"):
        run.choose_device("tpu")
    with pytest.raises(LofidError, match="'zip' is not known; choose ddp, fsdp or"):
        run.open_fabric(SETTINGS, CPU, devices=2, strategy="zip")
    with pytest.raises(LofidError, match="'fsdp' needs GPUs"):
        run.open_fabric(SETTINGS, CPU, devices=2, strategy="fsdp")
    for sharded in ("fsdp", "deepspeed_stage_2"):
        with pytest.raises(LofidError, match=f"'{sharded}' keeps no mean of the weights"):
            run.open_fabric(replace(SETTINGS, average=3), CPU, devices=2, strategy=sharded)
    with pytest.raises(LofidError, match="balance 2 is not between 0 and 1"):
        replace(SETTINGS, balance=2)
    with pytest.raises(LofidError, match="at least 1"):
        replace(SETTINGS, context=0)
    assert isinstance(run.open_fabric(SETTINGS, CPU), Fabric)


def test_the_command_trains_stops_and_goes_on(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    size = ["--batch", "2", "--context", "32", "--tokens", "192", "--balance", "0.5"]
    command = ["train", "drums", "--data", str(data), "--out", str(out), "--json", *size]
    stopped = CliRunner().invoke(app, [*command, "--minutes", "0"])
    assert stopped.exit_code == 0
    assert "Stopped at step 1 of 3; the same command goes on." in stopped.stderr
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0
    assert "Going on at step 1 of 3." in result.stderr
    report = json.loads(result.stdout)
    assert report["step"] == 3
    assert (
        load_model(Path(report["file"])).card.metrics["held_out_loss_per_note"] == report["model"]
    )
    with pytest.raises(LofidError, match=r"balance 0\.5"):
        CliRunner().invoke(app, command[:-2], catch_exceptions=False)
