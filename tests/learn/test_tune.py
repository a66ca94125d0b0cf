from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lofid.errors import LofidError
from lofid.learn.pieces import DrumsPiece
from lofid.learn.tune import (
    WINDOW,
    Split,
    Tuner,
    Tuning,
    bar_lines,
    drums_pieces,
    enough_memory,
    split,
    stream_loss,
)
from lofid.music.notes import DRUM_PITCH, DrumClass, Note
from lofid.rwkv.config import RwkvConfig
from lofid.rwkv.cpu import CpuEngine
from lofid.rwkv.reference import Rwkv6
from lofid.rwkv.state import ModelState
from lofid.rwkv.styles import WKV, Method, load_style, save_style
from lofid.rwkv.weights import Model, ModelCard
from lofid.tokens import drums

CONFIG = RwkvConfig(layers=2, width=128, vocabulary=len(drums.VOCABULARY))
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model() -> Model:
    """A model that knows nothing, but whose every parameter matters."""
    torch.manual_seed(3)
    network = Rwkv6(CONFIG)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.03 * torch.randn(parameter.shape))
        network.emb.weight.normal_()
    card = ModelCard(CONFIG, drums.VOCABULARY.name, drums.VOCABULARY.hash, step=0, seed=3)
    return Model(
        card, {name: one.numpy() for name, one in network.state_dict().items()}, "0123456789abcdef"
    )


def take(number: int, bars: int = 10) -> DrumsPiece:
    """A plain rock beat, with a hat or two left out."""
    rng = np.random.default_rng(number)
    kick, snare, hat = (
        DRUM_PITCH[drum] for drum in (DrumClass.KICK, DrumClass.SNARE, DrumClass.CLOSED_HAT)
    )
    bar = [Note(960 * half, kick, 120, 100) for half in (0, 1)]
    bar += [Note(480 + 960 * half, snare, 120, 110) for half in (0, 1)]
    hats = [Note(240 * eighth, hat, 120, 70) for eighth in range(8)]
    return DrumsPiece(
        f"take {number}",
        90.0,
        "rock",
        False,
        tuple(
            tuple(sorted([*bar, *(note for note in hats if rng.random() < 0.9)]))
            for _ in range(bars)
        ),
    )


@pytest.fixture(scope="module")
def pieces() -> Split:
    return split(drums_pieces([take(number) for number in range(6)]))


def tuner(model: Model, pieces: Split, place: Path, method: Method = Method.STATE) -> Tuner:
    return Tuner(model, pieces, method, 1, place / f"{method}.pt", CPU)


def after(run: Tuner, rounds: int) -> Tuner:
    """The tuner after so many rounds."""
    for progress in run.steps():
        rounds -= progress.checked
        if not rounds:
            break
    return run


def test_a_fifth_is_held_out_by_name_alone() -> None:
    some = drums_pieces([take(number) for number in range(10)])
    parts = split(some)
    assert len(parts.held_out) == 2
    assert {p.name for p in parts.held_out + parts.training} == {p.name for p in some}
    again = split(some[::-1])
    assert [p.name for p in again.held_out] == [p.name for p in parts.held_out]
    assert len(split(some[:2]).held_out) == 1
    with pytest.raises(LofidError, match="at least two pieces"):
        split(some[:1])


def test_a_loop_that_files_share_counts_once() -> None:
    some = [take(number) for number in range(4)]
    again = [replace(one, group=f"other {one.group}", tempo=one.tempo + 9) for one in some]
    first, second = (drums_pieces(takes) for takes in (some + again, again[::-1] + some))
    assert len(first) == 4
    assert [piece.name for piece in first] == [piece.name for piece in second]


def test_a_state_learns_the_folder_and_leaves_the_weights_alone(
    model: Model, pieces: Split, tmp_path: Path
) -> None:
    run = after(tuner(model, pieces, tmp_path), 3)
    assert run.best < run.before - 0.1
    assert run.tensors.keys() == {WKV}
    for name, tensor in run.model.state_dict().items():
        np.testing.assert_array_equal(tensor.numpy(), model.tensors[name])


def test_what_was_measured_is_what_the_engine_plays(
    model: Model, pieces: Split, tmp_path: Path
) -> None:
    """The style, read from its file, played by the CPU engine, and reminded at each long pass."""
    tuning = Tuning("x", {"drums": model}, {"drums": pieces}, Method.STATE, 1, tmp_path, "y", CPU)
    for _, progress in tuning.steps(60):
        if progress.is_better:
            break
    save_style(tmp_path / "x.safetensors", tuning.style({}))
    style = load_style(str(tmp_path / "x.safetensors"))
    beginning = style.beginning("drums", CONFIG)
    assert beginning is not None
    engine = CpuEngine(CONFIG, style.applied("drums", model).tensors, "fp32")
    total, count = 0.0, 0
    for piece in pieces.held_out:
        lines = bar_lines(piece.whole)
        state = beginning.copy()
        scores = np.zeros(CONFIG.vocabulary)
        for place, token in enumerate(piece.whole.tokens.tolist()):
            if place in lines[WINDOW::WINDOW]:
                state = ModelState(state.att_shift, state.ffn_shift, state.wkv + beginning.wkv)
            if piece.whole.is_event[place]:
                total += float(np.log(np.exp(scores - scores.max()).sum()) + scores.max())
                total -= float(scores[token])
                count += 1
            scores = engine.forward([token], state).astype(np.float64)
    assert total / count == pytest.approx(tuning.tuners["drums"].best, abs=1e-4)


@pytest.mark.parametrize("method", list(Method))
def test_a_run_that_goes_on_is_the_uninterrupted_one(
    model: Model, pieces: Split, tmp_path: Path, method: Method
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole = after(tuner(model, pieces, tmp_path / "a", method), 2)
    begun = after(tuner(model, pieces, tmp_path / "b", method), 1)
    next(begun.steps())  # killed amid the next round
    begun.take_back()
    assert begun.held_out() == begun.best
    resumed = after(tuner(model, pieces, tmp_path / "b", method), 1)
    assert (resumed.best, resumed.before) == (whole.best, whole.before)
    assert resumed.tensors.keys() == whole.tensors.keys()
    for name, tensor in whole.tensors.items():
        np.testing.assert_array_equal(resumed.tensors[name], tensor)


@pytest.mark.parametrize("method", [Method.LORA, Method.FULL])
def test_changed_weights_are_merged_to_what_was_learned(
    model: Model, pieces: Split, tmp_path: Path, method: Method
) -> None:
    place = tmp_path / "run"
    tuning = Tuning("x", {"drums": model}, {"drums": pieces}, method, 1, place, "y", CPU)
    for _, progress in tuning.steps(60):
        if progress.is_better:
            break
    merged = Rwkv6(CONFIG)
    applied = tuning.style({}).applied("drums", model)
    merged.load_state_dict({n: torch.from_numpy(t) for n, t in applied.tensors.items()})
    tokens = torch.from_numpy(pieces.held_out[0].whole.tokens.astype(np.int64))[None]
    with torch.no_grad():
        logits = tuning.tuners["drums"].model(tokens)[0]
        torch.testing.assert_close(merged(tokens)[0], logits, atol=1e-4, rtol=1e-4)
    assert tuning.tuners["drums"].best < tuning.tuners["drums"].before
    assert stream_loss(applied, pieces.held_out[0].whole) < stream_loss(
        model, pieces.held_out[0].whole
    )
    tuning.forget()
    assert not place.exists()


def test_a_strange_checkpoint_has_its_sentence(model: Model, pieces: Split, tmp_path: Path) -> None:
    run = tuner(model, pieces, tmp_path)
    checkpoint = tmp_path / "state.pt"
    after(run, 1)
    with pytest.raises(LofidError, match="begun with other pieces, settings"):
        tuner(replace(model, hash="ffffffffffffffff"), pieces, tmp_path)
    others = replace(pieces, held_out=pieces.held_out[:1] + pieces.training[:1])
    with pytest.raises(LofidError, match="begun with other pieces"):
        tuner(model, others, tmp_path)
    torch.save({"model": {}}, checkpoint)
    with pytest.raises(LofidError, match="cannot be read"):
        tuner(model, pieces, tmp_path)
    checkpoint.write_bytes(checkpoint.read_bytes()[:100])
    with pytest.raises(LofidError, match="cannot be read"):
        tuner(model, pieces, tmp_path)


def test_nothing_learned_makes_no_style(model: Model, pieces: Split, tmp_path: Path) -> None:
    tuning = Tuning("x", {"drums": model}, {"drums": pieces}, Method.STATE, 1, tmp_path, "y", CPU)
    with pytest.raises(LofidError, match="Nothing was learned"):
        tuning.style({})


def test_an_exhausted_memory_has_its_sentence() -> None:
    with pytest.raises(LofidError, match="not enough memory"), enough_memory():
        torch.empty(2**60)
    with pytest.raises(LofidError, match=r"to tune \(.*1152921504606846976"), enough_memory():
        torch.empty(2**58)
    for other in ("something else", "a shape was allocated to the wrong device"):
        with pytest.raises(RuntimeError, match=other), enough_memory():
            raise RuntimeError(other)
