from pathlib import Path

import numpy as np
import pytest

from lofid.compose.voices import load_model_of, load_voices
from lofid.errors import LofidError
from lofid.rwkv.styles import WKV, Method, Style, StyleCard, model_path, save_style, style_path
from lofid.rwkv.weights import Model, save_folder


@pytest.fixture(autouse=True)
def own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))


def test_without_wishes_they_are_lofids_own() -> None:
    voices = load_voices()
    assert voices.keys.beginning is None and voices.drums.beginning is None
    assert voices.hashes == {one: load_model_of(one).hash for one in ("keys", "drums")}


def test_a_style_tunes_the_player_that_it_knows() -> None:
    plain = load_voices()
    config = plain.keys.model.card.config
    wkv = np.ones((config.layers, config.heads, 64, 64), np.float32)
    card = StyleCard(Method.STATE, {"keys": plain.keys.model.hash}, "mine", {"keys": 2}, seed=1)
    save_style(style_path("mine"), Style("mine", card, {f"keys.{WKV}": wkv}))
    voices = load_voices(style="mine")
    assert voices.keys.beginning is not None
    np.testing.assert_array_equal(voices.keys.beginning.wkv, wkv)
    assert voices.drums.beginning is None
    assert voices.hashes["drums"] == plain.hashes["drums"]
    assert voices.hashes["keys"] != plain.hashes["keys"], "a session must tell them apart"
    assert voices.keys.model.hash == plain.keys.model.hash, "what is packed serves both"


def test_an_installed_model_plays_what_it_has_and_a_path_comes_first() -> None:
    lofids = load_model_of("drums")
    tensors = {**lofids.tensors, "ln_out.bias": lofids.tensors["ln_out.bias"] + 1}
    save_folder(model_path("other") / "drums", Model(lofids.card, tensors))
    voices = load_voices(model="other")
    assert voices.hashes["keys"] == load_voices().hashes["keys"]
    assert voices.hashes["drums"] != load_voices().hashes["drums"]
    path = {"drums": model_path("other") / "drums"}
    assert load_voices(path).hashes == voices.hashes
    with pytest.raises(LofidError, match="vocabulary"):
        load_voices({"keys": path["drums"]})
