import json
from pathlib import Path

import numpy as np
import pytest

from lofid.errors import LofidError
from lofid.rwkv.config import RwkvConfig
from lofid.rwkv.styles import (
    METADATA,
    WKV,
    Method,
    Style,
    StyleCard,
    installed_model,
    installed_names,
    load_style,
    lora,
    save_style,
    style_names,
    style_path,
)
from lofid.rwkv.weights import (
    Model,
    ModelCard,
    Tensors,
    load_model,
    save_folder,
    save_model,
    tensor_shapes,
    write_tensors,
)

CONFIG = RwkvConfig(layers=2, width=128, vocabulary=9, mix_rank=4, decay_rank=6)
MATRIX = "blocks.1.att.key.weight"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))


def random(*shape: int, seed: int = 0) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


MODEL = Model(
    ModelCard(CONFIG, "keys", "0123456789abcdef", step=1, seed=2),
    {name: random(*shape) for name, shape in tensor_shapes(CONFIG).items()},
    "feedfeedfeedfeed",
)


def style(tensors: Tensors, method: Method = Method.STATE) -> Style:
    card = StyleCard(method, {"keys": MODEL.hash}, "mine", {"keys": 4}, 1, {"keys_before": 2.5})
    named = {f"keys.{name}": tensor for name, tensor in tensors.items()}
    path = style_path("mine")
    save_style(path, Style("mine", card, named))
    return load_style("mine")


def test_a_state_comes_back_bit_for_bit_and_leaves_the_weights_alone() -> None:
    wkv = 1e5 * random(2, 2, 64, 64)
    found = style({WKV: wkv})
    assert style_names() == ["mine"]
    assert found.card.metrics == {"keys_before": 2.5}
    beginning = found.beginning("keys", CONFIG)
    assert beginning is not None
    np.testing.assert_array_equal(beginning.wkv, wkv)
    assert not beginning.att_shift.any() and not beginning.ffn_shift.any()
    assert found.applied("keys", MODEL) is MODEL, "what is kept of it serves the style too"


def test_a_session_tells_styles_apart() -> None:
    first = style({WKV: random(2, 2, 64, 64, seed=1)}).identity("keys", MODEL)
    again = style({WKV: random(2, 2, 64, 64, seed=1)}).identity("keys", MODEL)
    other = style({WKV: random(2, 2, 64, 64, seed=2)}).identity("keys", MODEL)
    assert first == again
    assert len({first, other, MODEL.hash}) == 3


def test_a_player_that_the_style_does_not_know_stays_as_it_is() -> None:
    found = style({WKV: random(2, 2, 64, 64)})
    assert found.applied("drums", MODEL) is MODEL
    assert found.identity("drums", MODEL) == MODEL.hash
    assert found.beginning("drums", CONFIG) is None


def test_low_rank_additions_are_merged_into_their_matrices() -> None:
    down, up = random(3, 128), random(128, 3, seed=1)
    applied = style(lora(MATRIX, down, up), Method.LORA).applied("keys", MODEL)
    np.testing.assert_allclose(
        applied.tensors[MATRIX], MODEL.tensors[MATRIX] + up @ down, atol=0.02
    )
    assert applied.tensors["head.weight"] is MODEL.tensors["head.weight"]
    assert applied.hash != MODEL.hash, "other weights are packed and kept for themselves"


def test_whole_tensors_replace_the_models() -> None:
    new = random(128, seed=5)
    applied = style({"blocks.0.ln1.bias": new}, Method.FULL).applied("keys", MODEL)
    np.testing.assert_array_equal(applied.tensors["blocks.0.ln1.bias"], new)


def test_other_weights_are_refused() -> None:
    found = style({WKV: random(2, 2, 64, 64)})
    with pytest.raises(LofidError, match=r"other weights of the keys .* without a --model"):
        found.applied("keys", Model(MODEL.card, MODEL.tensors, "0000000000000000"))


@pytest.mark.parametrize(
    "tensors",
    [
        {"no.such.tensor": random(3)},
        {"blocks.0.ln1.bias": random(64)},
        {f"{MATRIX}.lora_down": random(3, 128)},
        lora(MATRIX, random(3, 64), random(128, 3)),
        lora(MATRIX, random(3, 128), random(128, 4)),
    ],
)
def test_what_does_not_fit_is_named(tensors: Tensors) -> None:
    with pytest.raises(LofidError, match="does not fit"):
        style(tensors).applied("keys", MODEL)


def test_a_state_of_another_shape_is_refused() -> None:
    with pytest.raises(LofidError, match="does not fit"):
        style({WKV: random(1, 2, 64, 64)}).beginning("keys", CONFIG)


def test_each_fault_has_its_sentence(tmp_path: Path) -> None:
    with pytest.raises(LofidError, match=r"no style .none. here .*lofid tune"):
        load_style("none")
    with pytest.raises(LofidError, match="cannot be a style's"):
        load_style(".none")
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"not a style at all")
    with pytest.raises(LofidError, match="damaged"):
        load_style(str(path))
    save_model(path, Model(MODEL.card, MODEL.tensors))
    with pytest.raises(LofidError, match="is no style"):
        load_style(str(path))
    with pytest.raises(LofidError, match="infinite or none"):
        style({WKV: np.full((2, 2, 64, 64), np.nan, np.float32)})


def test_installed_models_are_found_by_name(tmp_path: Path) -> None:
    assert installed_names() == []
    with pytest.raises(LofidError, match="not installed"):
        installed_model("studio", "keys")
    save_folder(tmp_path / "lofid" / "models" / "studio" / "keys", MODEL)
    assert installed_names() == ["studio"]
    found = installed_model("studio", "keys")
    assert found is not None and found.name == "keys"
    assert installed_model("studio", "drums") is None


DEEP = 200_000 * "["
CARDS = {
    "deep": DEEP,
    "endless seed": "1e400",
    "deep seed": DEEP,
    "seed of digits": 5000 * "9",
    "no number": "NaN",
    "list": "[]",
}


@pytest.mark.parametrize("seed", CARDS.values(), ids=CARDS)
def test_a_card_that_cannot_be_read_is_refused_by_name(seed: str, tmp_path: Path) -> None:
    kept = style({WKV: random(2, 2, 64, 64)})
    card = kept.card.to_metadata()[METADATA].replace('"seed": 1', f'"seed": {seed}')
    path = style_path("odd")
    write_tensors(path, dict(kept.tensors), {METADATA: DEEP if seed == DEEP else card})
    with pytest.raises(LofidError, match=r"odd\.safetensors' is no style of lofid"):
        load_style("odd")
    # So a model's card.
    model = MODEL.card.to_metadata()["lofid"].replace('"step": 1', f'"step": {seed}')
    write_tensors(path, dict(MODEL.tensors), {"lofid": DEEP if seed == DEEP else model})
    with pytest.raises(LofidError, match=r"odd\.safetensors' carries no card"):
        load_model(path)


def test_a_metric_that_is_no_number_says_nothing() -> None:
    kept = style({WKV: random(2, 2, 64, 64)})
    entries = json.loads(kept.card.to_metadata()[METADATA])
    entries["metrics"] = {"before": 2.5, "after": float("inf"), "best": float("nan")}
    write_tensors(style_path("odd"), dict(kept.tensors), {METADATA: json.dumps(entries)})
    assert load_style("odd").card.metrics == {"before": 2.5}


def test_a_style_that_is_made_can_be_played_by_its_name_or_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    kept = style({WKV: random(2, 2, 64, 64)})
    style_path("mine").rename(tmp_path / "x.safetensors")
    for name in ("~/x", "~/x.safetensors", str(tmp_path / "x")):
        assert load_style(name).hash == kept.hash
    with pytest.raises(LofidError, match=r"cannot be a style's.*leave out"):
        style_path("x.safetensors")
