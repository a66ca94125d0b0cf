import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lofid.errors import LofidError
from lofid.learn.publish import from_pretrained, install, present, save_pretrained
from lofid.rwkv.config import RwkvConfig
from lofid.rwkv.weights import DataSource, Model, ModelCard, load_model, tensor_shapes

CONFIG = RwkvConfig(layers=1, width=64, vocabulary=9, mix_rank=4, decay_rank=6)
CARD = ModelCard(
    CONFIG,
    "lofid-keys-1",
    "0123456789abcdef",
    step=1200,
    seed=3,
    data=(DataSource("POP909", "MIT", "Wang et al., 2020"),),
    metrics={"held_out_loss_per_note": 3.936},
    commit="b4fb51c",
)


def a_model(seed: int = 0, card: ModelCard = CARD) -> Model:
    rng = np.random.default_rng(seed)
    shapes = tensor_shapes(CONFIG)
    return Model(card, {n: rng.standard_normal(s, dtype=np.float32) for n, s in shapes.items()})


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    save_pretrained(tmp_path / "mine", "mine", {"keys": a_model(), "drums": a_model(1)})
    return tmp_path / "mine"


def test_a_published_folder_is_laid_out_as_the_hub_does(packed: Path) -> None:
    assert present(packed) == ["keys", "drums"]
    found = sorted(str(path.relative_to(packed)) for path in packed.rglob("*") if path.is_file())
    assert found == [
        "README.md",
        *(
            f"{player}/{name}"
            for player in ("drums", "keys")
            for name in ("config.json", "model.safetensors")
        ),
    ]
    config = json.loads((packed / "keys" / "config.json").read_text())
    assert (config["model_type"], config["layers"], config["width"]) == ("rwkv6", 1, 64)
    model = from_pretrained(packed, "drums", CARD.vocabulary_hash)
    np.testing.assert_array_equal(model.tensors["ln_out.bias"], a_model(1).tensors["ln_out.bias"])


def test_the_card_tells_data_licences_metrics_seed_and_commit(packed: Path) -> None:
    text = (packed / "README.md").read_text()
    assert text.startswith("---\nlibrary_name: lofid\n")
    for part in (
        "# mine",
        "- POP909: MIT. Wang et al., 2020",
        "| held_out_loss_per_note | 3.936 |",
        "- seed: 3",
        "- commit: b4fb51c",
        "- optimiser steps: 1200",
        f"- hash: {load_model(packed / 'keys').hash}",
        "lofid play --model mine",
    ):
        assert part in text


def test_the_card_says_what_is_unknown(tmp_path: Path) -> None:
    imported = replace(
        CARD, vocabulary="unknown", vocabulary_hash="", step=None, seed=None, data=(), commit=""
    )
    save_pretrained(tmp_path / "x", "x", {"keys": a_model(0, replace(imported, metrics={}))})
    text = (tmp_path / "x" / "README.md").read_text()
    for part in ("- seed: unknown", "- optimiser steps: unknown", "- commit: unknown"):
        assert part in text
    assert "Unknown: the weights do not say what they were trained on" in text


def test_models_are_installed_whole_or_not_at_all(packed: Path, tmp_path: Path) -> None:
    target = tmp_path / "data" / "models" / "mine"
    assert install("mine", packed, target).keys() == {"keys", "drums"}
    first = load_model(target / "keys").hash
    weights = packed / "keys" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-7])
    with pytest.raises(LofidError, match="damaged"):
        install("mine", packed, target)
    assert load_model(target / "keys").hash == first
    assert [path.name for path in target.parent.iterdir()] == ["mine"]
    save_pretrained(packed, "mine", {"keys": a_model(7)})
    install("mine", packed, target)
    assert load_model(target / "keys").hash != first


def test_a_folder_without_models_has_its_sentence(tmp_path: Path) -> None:
    with pytest.raises(LofidError, match="holds no models"):
        install("x", tmp_path, tmp_path / "models" / "x")


def test_a_hub_out_of_reach_has_its_sentence(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lofid", "models", "get", "nobody/none"]
    away = {
        "HF_ENDPOINT": "http://127.0.0.1:9",
        "HF_HOME": str(tmp_path),
        "XDG_DATA_HOME": str(tmp_path),
    }
    done = subprocess.run(
        command, env=os.environ | away, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "hub" in done.stderr and "Traceback" not in done.stderr
