"""What ``lofid doctor`` finds, beyond what :mod:`test_commands` asks of it."""

from pathlib import Path

import numpy as np
import pytest

from lofid.cli.doctor import _files, _models, _styles
from lofid.rwkv.styles import WKV, Method, Style, StyleCard, save_style, style_path


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "the cache"))


def test_it_names_styles_and_installed_models(tmp_path: Path) -> None:
    (nothing,) = _styles()
    assert "lofid tune" in nothing.detail
    card = StyleCard(Method.STATE, {"keys": "feed" * 4}, "my tapes", {"keys": 4}, seed=1)
    tensors = {f"keys.{WKV}": np.ones((1, 1, 64, 64), np.float32)}
    save_style(style_path("mine"), Style("mine", card, tensors))
    style_path("spoilt").write_bytes(b"not a style")
    (tmp_path / "data" / "lofid" / "models" / "studio").mkdir(parents=True)
    mine, spoilt = _styles()
    assert mine.ok and "--style mine" in mine.detail and "my tapes" in mine.detail
    assert not spoilt.ok and "damaged" in spoilt.detail
    assert "--model studio" in list(_models())[-1].detail


def test_it_tells_what_the_cache_takes_and_how_to_clear_it(tmp_path: Path) -> None:
    (empty,) = _files()
    assert "0 MB" in empty.detail and not empty.advice
    folder = tmp_path / "the cache" / "lofid"
    (folder / "shards").mkdir(parents=True)
    for path in (folder / "a.packed", folder / "shards" / "b.npy"):
        path.write_bytes(bytes(1_000_000))
    (full,) = _files()
    assert "2 MB" in full.detail and f"rm -r '{folder}'" in full.advice
