"""Packed weights on disk: the same engine, whatever happens to the file."""

import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lofid.errors import LofidError
from lofid.rwkv import packed
from lofid.rwkv.config import RwkvConfig
from lofid.rwkv.cpu import STORAGES, CpuEngine, Storage
from lofid.rwkv.packed import is_known, packed_path, read_packed
from lofid.rwkv.state import ModelState
from lofid.rwkv.weights import Model, ModelCard, load_model, save_model, tensor_shapes

CONFIG = RwkvConfig(layers=1, width=64, vocabulary=65)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "lofid"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    tensors = {
        name: rng.standard_normal(shape, dtype=np.float32)
        for name, shape in tensor_shapes(CONFIG).items()
    }
    save_model(
        tmp_path / "m.safetensors", Model(ModelCard(CONFIG, "test", "0" * 16, 1, 1), tensors)
    )
    return tmp_path / "m.safetensors"


def logits(engine: CpuEngine) -> list[float]:
    found: list[float] = engine.forward([3, 1, 4], ModelState.zero(CONFIG)).tolist()
    return found


@pytest.mark.parametrize("storage", STORAGES)
def test_what_was_kept_is_what_was_packed(path: Path, cache: Path, storage: Storage) -> None:
    model = load_model(path)
    expected = logits(CpuEngine(CONFIG, model.tensors, storage))
    assert logits(CpuEngine.of(model, storage)) == expected
    (kept,) = cache.iterdir()
    arrays = read_packed(kept)
    assert arrays is not None
    assert all(array.ctypes.data % 64 == 0 for array in arrays.values())
    assert not any(array.flags.writeable for array in arrays.values())
    assert logits(CpuEngine.of(model, storage)) == expected


def test_tensors_of_a_known_model_are_read_when_asked_for(path: Path) -> None:
    model = load_model(path, known=is_known)
    assert not is_known(model.hash)
    expected = logits(CpuEngine.of(model))
    unread = load_model(path, "0" * 16, known=is_known)
    assert (unread.card, unread.hash) == (model.card, model.hash)
    tensors = {name: -tensor for name, tensor in model.tensors.items()}
    save_model(path, Model(model.card, tensors))
    with pytest.raises(LofidError, match="were replaced by others"):
        _ = unread.tensors
    path.write_bytes(b"nobody reads it")
    assert logits(CpuEngine.of(unread)) == expected
    with pytest.raises(Exception, match="damaged"):
        _ = unread.tensors


@pytest.mark.parametrize("harm", ["cut", "flipped", "header", "empty", "folder", "other"])
def test_a_damaged_file_is_made_anew(path: Path, cache: Path, harm: str) -> None:
    model = load_model(path)
    expected = logits(CpuEngine.of(model))
    (kept,) = cache.iterdir()
    whole = kept.read_bytes()
    match harm:
        case "cut":
            kept.write_bytes(whole[:-64])
        case "flipped":
            kept.write_bytes(whole[:-100] + bytes([whole[-100] ^ 1]) + whole[-99:])
        case "header":
            kept.write_bytes(whole[:30] + b"\xff" * 30 + whole[60:])
        case "empty":
            kept.write_bytes(b"")
        case "folder":
            kept.unlink()
            kept.mkdir()
        case _:
            packed.write_packed(kept, {"embedding": np.zeros((2, 2), np.float32)})
    assert logits(CpuEngine.of(model)) == expected
    if harm != "folder":
        assert kept.read_bytes() == whole


@pytest.mark.parametrize("storage", STORAGES)
def test_what_was_kept_of_another_shape_is_not_used(path: Path, storage: Storage) -> None:
    """The hash of shards says nothing of the card in their index, and kernels trust the shape."""
    model = load_model(path)
    CpuEngine.of(model, storage)
    other = replace(CONFIG, mix_rank=CONFIG.mix_rank // 2, decay_rank=2 * CONFIG.decay_rank)
    rng = np.random.default_rng(1)
    tensors = {
        name: rng.standard_normal(shape, dtype=np.float32)
        for name, shape in tensor_shapes(other).items()
    }
    engine = CpuEngine.of(Model(replace(model.card, config=other), tensors, model.hash), storage)
    expected = CpuEngine(other, tensors, storage).forward([3, 1, 4], ModelState.zero(other))
    assert np.array_equal(engine.forward([3, 1, 4], ModelState.zero(other)), expected)


def test_where_nothing_can_be_written_all_works(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "a file"))
    model = load_model(path, known=is_known)
    assert logits(CpuEngine.of(model)) == logits(CpuEngine(CONFIG, model.tensors))


def used(path: Path, days: float) -> None:
    """Let a file have been used last so many days ago."""
    moment = time.time() - days * 86_400
    os.utime(path, (moment, moment))


def test_what_has_not_been_used_for_longest_makes_room(
    path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.mkdir(parents=True)
    files = [cache / f"{age}-int8-1.packed" for age in range(5)]
    for age, file in enumerate(files):
        file.write_bytes(bytes(100))
        used(file, age)
    left = cache / ".0-int8-1.00aa.part.packed"
    left.touch()
    used(left, 1.5)
    (cache / "shards").mkdir()
    model = load_model(path)
    mine = packed_path(model.hash, "int8-1")
    CpuEngine.of(model)
    assert all(file.exists() for file in files) and not left.exists()
    monkeypatch.setattr(packed, "MOST_BYTES", mine.stat().st_size + 300)
    mine.unlink()
    CpuEngine.of(model)
    assert [file.exists() for file in files] == [True, True, True, False, False]
    monkeypatch.setattr(packed, "MOST_BYTES", 0)
    mine.unlink()
    CpuEngine.of(model)
    assert mine.exists() and files[0].exists(), "what plays today is not packed again and again"
    assert not files[1].exists() and (cache / "shards").exists()


def test_what_was_read_has_been_used(path: Path, cache: Path) -> None:
    model = load_model(path)
    CpuEngine.of(model)
    (kept,) = cache.iterdir()
    used(kept, 100)
    CpuEngine.of(model)
    assert time.time() - kept.stat().st_mtime < 86_400


def test_an_engine_goes_on_when_its_file_is_removed(path: Path, cache: Path) -> None:
    model = load_model(path)
    CpuEngine.of(model)
    engine = CpuEngine.of(model)
    (kept,) = cache.iterdir()
    kept.unlink()
    assert logits(engine) == logits(CpuEngine(CONFIG, model.tensors))


def test_weights_without_a_hash_are_not_kept(path: Path, cache: Path) -> None:
    model = load_model(path)
    CpuEngine.of(Model(model.card, model.tensors))
    assert not cache.exists()
    assert packed_path(model.hash, "int8-1").parent == cache
