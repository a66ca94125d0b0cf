import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save

from lofid.errors import LofidError
from lofid.rwkv.config import RwkvConfig, sized
from lofid.rwkv.reference import Rwkv6
from lofid.rwkv.weights import (
    DataSource,
    Model,
    ModelCard,
    load_model,
    save_folder,
    save_model,
    tensor_shapes,
)

CONFIG = RwkvConfig(layers=1, width=64, vocabulary=9, mix_rank=4, decay_rank=6)
CARD = ModelCard(
    CONFIG,
    "keys",
    "0123456789abcdef",
    step=12,
    seed=3,
    data=(DataSource("POP909", "MIT", "Wang et al., 2020"),),
    metrics={"loss_per_note": 4.25},
)


def random_model(seed: int = 0) -> Model:
    rng = np.random.default_rng(seed)
    shapes = tensor_shapes(CONFIG)
    return Model(CARD, {n: rng.standard_normal(s, dtype=np.float32) for n, s in shapes.items()})


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save_model(path, random_model())
    return path.read_bytes()


@given(seed=st.integers(0, 2**32 - 1), scale=st.floats(1e-6, 1e4))
def test_a_model_comes_back_as_it_was_saved(
    seed: int, scale: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    model = random_model(seed)
    for tensor in model.tensors.values():
        np.multiply(tensor, np.float32(scale), out=tensor)
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save_model(path, model)
    loaded = load_model(path, CARD.vocabulary_hash)
    assert loaded.card == CARD
    assert loaded.tensors.keys() == model.tensors.keys()
    for name, tensor in loaded.tensors.items():
        assert tensor.dtype == np.float32
        if sum(size > 1 for size in tensor.shape) < 2:
            np.testing.assert_array_equal(tensor, model.tensors[name])
        else:  # float16: 11 bits, and steps of 6e-8 near zero
            np.testing.assert_allclose(tensor, model.tensors[name], rtol=2**-11, atol=2**-25)


def test_values_beyond_float16_are_kept(tmp_path: Path) -> None:
    model = random_model()
    model.tensors["head.weight"][3, 5] = 1e5
    save_model(tmp_path / "m.safetensors", model)
    loaded = load_model(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(loaded.tensors["head.weight"], model.tensors["head.weight"])


def test_saving_a_loaded_model_changes_no_byte(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    save_model(tmp_path / "b", load_model(tmp_path / "a"))
    assert (tmp_path / "b").read_bytes() == content


def test_a_hash_tells_one_file_from_another(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    save_model(tmp_path / "b", random_model(seed=5))
    first, other = load_model(tmp_path / "a"), load_model(tmp_path / "b")
    assert first.hash == hashlib.sha256(content).hexdigest()[:16]
    assert first.hash != other.hash


def test_shapes_are_those_of_the_reference() -> None:
    model = Rwkv6(CONFIG)
    assert {n: tuple(t.shape) for n, t in model.state_dict().items()} == tensor_shapes(CONFIG)


def test_a_pocket_model_takes_at_most_16_mb(tmp_path: Path) -> None:
    config = sized("pocket", 1024)
    zeros = {name: np.zeros(shape, np.float32) for name, shape in tensor_shapes(config).items()}
    save_model(tmp_path / "m.safetensors", Model(replace(CARD, config=config), zeros))
    assert (tmp_path / "m.safetensors").stat().st_size <= 16e6


@given(data=st.data())
def test_truncated_anywhere_is_one_clear_sentence(
    data: st.DataObject, content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("cut") / "model.safetensors"
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(LofidError, match="damaged") as caught:
        load_model(path)
    assert str(path) in str(caught.value)


@given(garbage=st.binary(max_size=300), place=st.integers(0, 2000))
def test_garbage_is_refused_or_read_but_never_crashes(
    garbage: bytes, place: int, content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("garbage") / "model.safetensors"
    damaged = content[:place] + garbage + content[place + len(garbage) :]
    path.write_bytes(damaged)
    try:
        load_model(path)
    except LofidError as error:
        assert str(path) in str(error)


def test_each_fault_has_its_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.safetensors"
    with pytest.raises(LofidError, match="cannot be read"):
        load_model(path)
    with pytest.raises(LofidError, match="cannot be read"):
        load_model(tmp_path)
    path.write_bytes(b"not a model at all")
    with pytest.raises(LofidError, match="no safetensors"):
        load_model(path)
    path.write_bytes(content)
    with pytest.raises(LofidError, match="another vocabulary"):
        load_model(path, "fedcba9876543210")
    path.write_bytes(save({"x": np.zeros(3, np.float32)}))
    with pytest.raises(LofidError, match="no card"):
        load_model(path)
    card = json.loads(CARD.to_metadata()["lofid"])
    for broken in (
        {**card, "config": card["config"] | {"width": 65}},
        {**card, "config": card["config"] | {"layers": "many"}},
        {**card, "config": card["config"] | {"layers": 1.5}},
        {**card, "metrics": 3},
        {name: card[name] for name in card if name != "seed"},
        [card],
        "endless",
    ):
        metadata = {"lofid": "[" * 100_000 if broken == "endless" else json.dumps(broken)}
        path.write_bytes(save({"x": np.zeros(3, np.float32)}, metadata=metadata))
        with pytest.raises(LofidError, match="no card"):
            load_model(path)
    endless = {"lofid": json.dumps({**card, "config": card["config"] | {"layers": 10**12}})}
    path.write_bytes(save({"x": np.zeros(3, np.float32)}, metadata=endless))
    with pytest.raises(LofidError, match="too few for 1000000000000 layers"):
        load_model(path)


def test_tensors_that_do_not_fit_are_named(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    tensors = random_model().tensors

    def write(changed: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]]) -> None:
        path.write_bytes(save(changed, metadata=CARD.to_metadata()))

    write({**tensors, "head.weight": np.zeros((9, 65), np.float32)})
    with pytest.raises(LofidError, match=r"'head\.weight' of .* 9 x 65 instead of 9 x 64"):
        load_model(path)
    write({**tensors, "blocks.7.odd": np.zeros(3, np.float32)})
    with pytest.raises(LofidError, match=r"unknown tensor 'blocks\.7\.odd'"):
        load_model(path)
    write({**tensors, "ln_out.bias": np.zeros(64, np.float64)})
    with pytest.raises(LofidError, match=r"'ln_out\.bias' .* F64"):
        load_model(path)
    write({**tensors, "ln_out.bias": np.full(64, np.nan, np.float32)})
    with pytest.raises(LofidError, match=r"'ln_out\.bias' of .* infinite or none"):
        load_model(path)
    del tensors["ln_out.bias"]
    write(dict(tensors))
    with pytest.raises(LofidError, match=r"lack the tensor 'ln_out\.bias'"):
        load_model(path)
    with pytest.raises(LofidError, match=r"lack the tensor 'ln_out\.bias'"):
        save_model(tmp_path / "new", Model(CARD, tensors))
    assert not (tmp_path / "new").exists()


def test_an_unwritable_place_is_named_and_left_clean(tmp_path: Path) -> None:
    with pytest.raises(LofidError, match="could not be written"):
        save_model(tmp_path / "missing" / "model.safetensors", random_model())
    assert list(tmp_path.iterdir()) == []


def test_a_large_model_lies_in_shards_and_comes_back_the_same(tmp_path: Path) -> None:
    model = random_model()
    save_folder(tmp_path / "one", model)
    save_folder(tmp_path / "many", model, most=260_000)
    shards = sorted((tmp_path / "many").glob("*.safetensors"))
    assert len(shards) > 2
    assert max(shard.stat().st_size for shard in shards) <= 260_000
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["model.safetensors"]
    one, many = load_model(tmp_path / "one"), load_model(tmp_path / "many", CARD.vocabulary_hash)
    assert one.card == many.card == CARD
    for name, tensor in one.tensors.items():
        np.testing.assert_array_equal(many.tensors[name], tensor)
    index = json.loads((tmp_path / "many" / "model.safetensors.index.json").read_text())
    assert index["weight_map"].keys() == one.tensors.keys()
    assert index["metadata"]["total_size"] == sum(
        array.nbytes for shard in shards for array in load_file(shard).values()
    )


def test_a_folder_written_over_holds_the_new_model_alone(tmp_path: Path) -> None:
    save_folder(tmp_path, random_model(), most=260_000)
    save_folder(tmp_path, random_model(seed=1))
    np.testing.assert_array_equal(
        load_model(tmp_path).tensors["ln_out.bias"], random_model(seed=1).tensors["ln_out.bias"]
    )


def test_shards_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 1)):
        save_folder(tmp_path / name, random_model(seed), most=260_000)
    shard = next((tmp_path / "a").glob("model-00002*"))
    theirs = (tmp_path / "b" / shard.name).read_bytes()
    shard.write_bytes(theirs)
    with pytest.raises(LofidError, match="not the one that its index names"):
        load_model(tmp_path / "a")
    shard.unlink()
    with pytest.raises(LofidError, match="cannot be read"):
        load_model(tmp_path / "a")


@pytest.mark.parametrize(
    "index",
    [
        "",
        "[]",
        "{}",
        '{"metadata": {"sha256": {}}, "weight_map": {"x": "y"}}',
        '{"metadata": {"sha256": {"../x": "0"}}, "weight_map": {"x": "../x"}}',
        "[" * 100_000,
    ],
)
def test_a_bad_index_is_one_clear_sentence(tmp_path: Path, index: str) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(index)
    with pytest.raises(LofidError, match="damaged or none of a lofid model"):
        load_model(tmp_path)
