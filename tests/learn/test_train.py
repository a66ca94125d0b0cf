"""The training loop: learning, resuming to the bit, several processes, what may go wrong."""

import json
import multiprocessing
import random
import resource
import runpy
import shutil
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import islice
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from lofid.errors import LofidError
from lofid.learn import run
from lofid.learn.configs import CONFIGS, Network, PlayerName, Schedule, TrainSettings
from lofid.learn.forerunners import ForerunnerConfig, build
from lofid.learn.journal import LOSS_LOG
from lofid.learn.train import BEST, Trainer, multiplies_bfloat16
from lofid.rwkv.config import RwkvConfig
from lofid.rwkv.reference import Rwkv6

SCRIPT = Path(__file__).with_name("one_run.py")
_script = runpy.run_path(str(SCRIPT))
SETTINGS: TrainSettings = _script["SETTINGS"]
small_corpus: Callable[[], Any] = _script["small_corpus"]
small_trainer: Callable[..., Trainer] = _script["small_trainer"]


@pytest.fixture(scope="module")
def processes() -> multiprocessing.context.ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["lofid.learn.run"])
    return context


def started(context: multiprocessing.context.ForkServerContext, **arguments: Any) -> BaseProcess:
    script: Any = runpy.run_path
    process = context.Process(target=script, args=(str(SCRIPT), {"ARGUMENTS": arguments}))
    process.start()
    return process


def losses(out: Path) -> list[float]:
    return [json.loads(line)["train"] for line in (out / LOSS_LOG).read_text().splitlines()]


def trained(trainer: Trainer) -> list[float]:
    return [progress.train for progress in run.run(trainer, None)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run, each step in two parts."""
    out = tmp_path_factory.mktemp("whole")
    trained(small_trainer(out, accumulate=2))
    return out


def test_the_loss_falls(whole: Path) -> None:
    curve = losses(whole)
    assert len(curve) == SETTINGS.steps
    assert curve[-1] < curve[0] - 1


def test_a_run_killed_at_any_moment_ends_as_the_uninterrupted_one(
    whole: Path, tmp_path: Path, processes: multiprocessing.context.ForkServerContext
) -> None:
    draw = random.Random(5)
    saving = tmp_path / ".checkpoint.part"
    log = tmp_path / LOSS_LOG

    def wait(process: BaseProcess, until: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while process.is_alive() and not until() and time.monotonic() < deadline:
            time.sleep(0.0005)

    def logged(steps: int) -> bool:
        return log.exists() and len(log.read_bytes().splitlines()) >= steps

    for kill in range(4):
        process = started(processes, out=tmp_path, accumulate=2)
        steps = draw.randint(1, SETTINGS.steps - 2)
        wait(process, saving.exists if kill % 2 else partial(logged, steps))
        process.kill()
        process.join()
    process = started(processes, out=tmp_path, accumulate=2)
    process.join()
    assert process.exitcode == 0
    assert log.read_bytes() == (whole / LOSS_LOG).read_bytes()
    assert (tmp_path / BEST).read_bytes() == (whole / BEST).read_bytes()
    final = f"checkpoint-{SETTINGS.steps:08d}"
    assert (tmp_path / final / "meta.json").read_bytes() == (
        whole / final / "meta.json"
    ).read_bytes()


def test_the_mean_of_the_weights_is_measured_and_kept(tmp_path: Path) -> None:
    trainer = small_trainer(tmp_path / "mean", replace(SETTINGS, average=4))
    mean = {name: torch.zeros(()).double() for name, _ in trainer.model.named_parameters()}
    for number, _ in enumerate(islice(trainer.steps(), 10)):
        for name, parameter in trainer.model.named_parameters():
            mean[name] = mean[name] + (parameter.detach().double() - mean[name]) / min(
                4, number + 1
            )
    kept, now = trainer.present_weights(), dict(trainer.model.named_parameters())
    for name, tensor in kept.items():
        assert torch.allclose(tensor.double(), mean[name], atol=1e-6)
    assert not torch.allclose(kept["head.weight"], now["head.weight"], atol=1e-4)
    plain = small_trainer(tmp_path / "plain", replace(SETTINGS, average=0))
    plain.model.load_state_dict(kept)
    stream = trainer.corpus.choosing
    assert plain.measure(stream) == trainer.measure(stream)


def test_bfloat16_is_taken_where_the_processor_multiplies_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = {"avx2": True, "avx512_bf16": False, "amx_bf16": False}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: known)
    assert multiplies_bfloat16("cuda")
    assert not multiplies_bfloat16("cpu")
    known["avx512_bf16"] = True
    assert multiplies_bfloat16("cpu")


def test_parts_of_a_step_add_up(tmp_path: Path) -> None:
    settings = replace(SETTINGS, dropout=0.0, tokens=10 * SETTINGS.tokens_per_step)
    one = trained(small_trainer(tmp_path / "1", settings))
    four = trained(small_trainer(tmp_path / "4", settings, accumulate=4))
    assert one == pytest.approx(four, rel=2e-3)  # sums in another order, through bfloat16


def test_two_processes_learn_what_one_does(
    tmp_path: Path, processes: multiprocessing.context.ForkServerContext
) -> None:
    settings = replace(SETTINGS, dropout=0.0, tokens=16 * SETTINGS.tokens_per_step)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # As torchrun sets it.
    common = {
        "TORCHELASTIC_RUN_ID": "test",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "GROUP_RANK": "0",
    }
    pair = [
        started(
            processes,
            out=tmp_path / "two",
            settings=settings,
            steps=10,
            environment={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(2)
    ]
    one = trained(small_trainer(tmp_path / "one", settings))
    for process in pair:
        process.join()
        assert process.exitcode == 0
    # One process goes on with what two began.
    goes_on = small_trainer(tmp_path / "two", settings)
    assert goes_on.step == 10
    trained(goes_on)
    assert losses(tmp_path / "two") == pytest.approx(one, rel=2e-3)


def test_a_full_disk_loses_no_checkpoint(
    tmp_path: Path, processes: multiprocessing.context.ForkServerContext
) -> None:
    trainer = small_trainer(tmp_path)
    list(islice(run.run(trainer, None), 5))
    assert trainer.step == 5
    weights = (tmp_path / BEST).stat().st_size
    for limit, what in (
        (weights * 3 // 2, "The checkpoint of step 8"),
        (weights // 2, BEST),
        ((tmp_path / LOSS_LOG).stat().st_size + 100, "The loss log"),
    ):
        process = started(processes, out=tmp_path, limits={resource.RLIMIT_FSIZE: limit})
        process.join()
        said = (tmp_path / "error.txt").read_text()
        assert what in said and "make room there" in said
        assert small_trainer(tmp_path).step == 5


def test_out_of_memory_names_the_setting(
    tmp_path: Path, processes: multiprocessing.context.ForkServerContext
) -> None:
    large = replace(SETTINGS, batch=1, context=1300)
    process = started(
        processes,
        out=tmp_path,
        settings=large,
        width=512,
        limits={resource.RLIMIT_AS: 0},
    )
    process.join()
    said = (tmp_path / "error.txt").read_text()
    assert "Memory ran out at step 2, with 1 lanes of 1300 tokens; --accumulate 2" in said


def test_other_settings_are_refused_by_name(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    with pytest.raises(LofidError, match=r"other settings \(batch 4, dropout 0.1\)"):
        small_trainer(tmp_path, replace(SETTINGS, batch=2, dropout=0.0))
    # The budget, how memory is used and how often is checked are free.
    longer = replace(SETTINGS, tokens=2 * SETTINGS.tokens, check_steps=7, patience=3)
    assert small_trainer(tmp_path, longer).step == SETTINGS.steps


def test_what_is_wrong_with_a_checkpoint_is_said(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"

    def spoilt(spoil: Callable[[Path, Path], object], newest: bool = True) -> str:
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(whole, out)
        first, last = sorted(out.glob("checkpoint-*"))
        if not newest:
            shutil.rmtree(first)
        spoil(last / "state.ckpt", last / "meta.json")
        with pytest.raises(LofidError) as error:
            small_trainer(out)
        return str(error.value)

    def flip(state: Path, meta: Path) -> None:
        content = bytearray(state.read_bytes())
        content[len(content) // 2] ^= 1
        state.write_bytes(content)

    def changed(name: str, value: object) -> Callable[[Path, Path], object]:
        def change(state: Path, meta: Path) -> None:
            meta.write_text(json.dumps({**json.loads(meta.read_text()), name: value}))

        return change

    assert "go on from the one before" in spoilt(flip)
    assert "is damaged" in spoilt(lambda state, meta: state.unlink())
    assert "start anew" in spoilt(lambda state, meta: meta.write_text("{"), newest=False)
    assert "is damaged" in spoilt(changed("place", {"unknown": 1}))
    assert "checkpoints have format 99" in spoilt(changed("format", 99))
    assert "other settings (vocabulary" in spoilt(changed("vocabulary", "other"))
    assert "The data are not those" in spoilt(changed("data", "other"))
    old = tmp_path / "old"
    old.mkdir()
    (old / "checkpoint.pt").touch()
    with pytest.raises(LofidError, match="an earlier lofid"):
        small_trainer(old)


def test_lanes_must_share_out_and_data_suffice(tmp_path: Path) -> None:
    with pytest.raises(LofidError, match="multiple of 3"):
        small_trainer(tmp_path, accumulate=3)
    long = small_trainer(tmp_path, replace(SETTINGS, context=2000))
    with pytest.raises(LofidError, match="too few for 4 lanes of 2000"):
        next(long.steps())


def test_a_stream_is_measured_piece_by_piece(tmp_path: Path) -> None:
    trainer = small_trainer(tmp_path, replace(SETTINGS, average=0))
    stream = trainer.corpus.choosing
    found = trainer.measure(stream)
    assert found.per_token == pytest.approx(np.log(24), rel=0.1)  # untrained: almost uniform
    assert [piece.style for piece in found.pieces] == ["even", "odd", "even"]
    begin = 0
    for piece, span in zip(found.pieces, stream.spans, strict=True):
        tokens = stream.tokens[begin : begin + span.tokens].astype(np.int64)
        counts = stream.is_event[begin + 1 : begin + span.tokens]
        begin += span.tokens
        with torch.no_grad():
            logits, _ = trainer.model.eval()(torch.from_numpy(tokens[None, :-1]))
        chances = torch.log_softmax(logits[0].double(), 1)
        lost = -chances[np.arange(len(counts)), tokens[1:]].numpy()
        assert piece.events == counts.sum()
        assert piece.nats == pytest.approx(lost[counts].sum(), rel=2e-3)  # bfloat16 there


def test_patience_ends_a_run_and_keeps_the_best(tmp_path: Path) -> None:
    trainer = small_trainer(tmp_path, replace(SETTINGS, tokens=10**6, patience=2))
    list(islice(trainer.steps(), 4))
    trainer.judge(2.0)
    best = trainer.present_weights()
    list(islice(trainer.steps(), 4))
    trainer.judge(3.0)
    assert trainer.last_step == trainer.settings.steps
    list(islice(trainer.steps(), 4))
    trainer.judge(2.5)
    assert trainer.last_step == 16  # a quarter of it with a falling rate
    assert trainer.settings.rate_at(15, 16) < trainer.settings.rate / 3
    assert trainer.best == (4, 2.0)
    kept = trainer.best_weights()
    assert all(torch.equal(kept[name], tensor) for name, tensor in best.items())
    trainer.save()
    assert small_trainer(tmp_path, trainer.settings).last_step == 16


def test_the_courses_of_the_rate() -> None:
    plateau = TrainSettings(tokens=1000 * 2048)
    assert plateau.rate_at(0, 1000) < plateau.rate
    assert plateau.rate_at(500, 1000) == plateau.rate
    assert plateau.rate_at(999, 1000) == pytest.approx(plateau.final_rate, rel=0.2)
    cosine = replace(plateau, schedule=Schedule.COSINE)
    assert cosine.rate_at(20, 1000) == cosine.rate
    middle = (cosine.rate + cosine.final_rate) / 2
    assert cosine.rate_at(510, 1000) == pytest.approx(middle)
    assert cosine.rate_at(1000, 1000) == pytest.approx(cosine.final_rate)


def parameters(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_the_thesis_is_as_it_was() -> None:
    thesis = CONFIGS["thesis"]
    assert (thesis.layers, thesis.width) == (20, 512)
    for player in PlayerName:
        settings = thesis.settings(player)
        assert (settings.context, settings.rate, settings.final_rate) == (512, 6e-4, 6e-5)
        assert settings.schedule is Schedule.COSINE


@pytest.mark.parametrize("name", ["rnn", "lstm", "gpt"])
def test_forerunners_have_the_size_of_pocket(name: str) -> None:
    config, pocket = CONFIGS[name], CONFIGS["pocket"]
    shape = run.shape_of(config, config.keys, 374)
    assert isinstance(shape, ForerunnerConfig)
    assert config.keys == pocket.keys
    ours = parameters(Rwkv6(RwkvConfig(pocket.layers, pocket.width, 374)))
    assert parameters(build(shape)) == pytest.approx(ours, rel=0.06)


@pytest.mark.parametrize("network", [Network.RNN, Network.LSTM, Network.GPT])
def test_forerunners_learn_and_resume_in_the_same_loop(network: Network, tmp_path: Path) -> None:
    shape = ForerunnerConfig(network, 2, 64, 24, SETTINGS.context)

    def trainer(out: Path) -> Trainer:
        fabric = Fabric(accelerator="cpu", devices=1)
        return Trainer(shape, small_corpus(), SETTINGS, out, fabric, accumulate=2)

    curve = list(trainer(tmp_path / "whole").steps())
    assert curve[-1] < curve[0] - 0.3
    first = trainer(tmp_path / "cut")
    begun = list(islice(first.steps(), 7))
    first.save()
    assert begun + list(trainer(tmp_path / "cut").steps()) == curve
