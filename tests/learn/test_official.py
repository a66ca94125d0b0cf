import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from lofid.errors import LofidError
from lofid.learn.official import UNKNOWN, export_official, import_official
from lofid.rwkv.config import RwkvConfig
from lofid.rwkv.reference import Rwkv6
from lofid.rwkv.weights import Model, ModelCard, load_model, save_folder
from lofid.tokens import drums, thesis


def a_model(config: RwkvConfig) -> Model:
    """A model whose every parameter matters."""
    torch.manual_seed(5)
    network = Rwkv6(config)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape))
        network.emb.weight.normal_()
    card = ModelCard(config, "drums", drums.VOCABULARY.hash, step=9, seed=5)
    return Model(card, {name: one.numpy() for name, one in network.state_dict().items()})


CONFIG = RwkvConfig(layers=3, width=128, vocabulary=len(drums.VOCABULARY))
MODEL = a_model(CONFIG)


def network(model: Model) -> Rwkv6:
    loaded = Rwkv6(model.card.config).eval()
    loaded.load_state_dict({name: torch.from_numpy(one) for name, one in model.tensors.items()})
    return loaded


def test_the_rwkv_package_runs_what_is_exported(tmp_path: Path) -> None:
    os.environ["RWKV_V7_ON"] = "0"
    os.environ["RWKV_JIT_ON"] = "0"
    package = pytest.importorskip("rwkv.model")
    export_official(MODEL, tmp_path / "model.pth")
    other = package.RWKV(model=str(tmp_path / "model"), strategy="cpu fp32", verbose=False)
    tokens = torch.randint(CONFIG.vocabulary, (1, 40), generator=torch.Generator().manual_seed(7))
    with torch.no_grad():
        logits, _ = network(MODEL)(tokens)
    theirs, _ = other.forward(tokens[0].tolist(), None, full_output=True)
    torch.testing.assert_close(theirs, logits[0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "config",
    [
        CONFIG,
        RwkvConfig(layers=1, width=64, vocabulary=len(thesis.VOCABULARY)),
        RwkvConfig(layers=2, width=64, vocabulary=77, mix_rank=64, decay_rank=128),
    ],
)
@pytest.mark.parametrize(
    "prefix", ["", "_forward_module.", "module.", "_orig_mod.", "model.", "module._orig_mod.model."]
)
def test_a_checkpoint_of_any_size_comes_in(tmp_path: Path, config: RwkvConfig, prefix: str) -> None:
    model = a_model(config)
    # As the official trainer saves: bfloat16, perhaps with DeepSpeed's prefix.
    weights = {prefix + n: torch.from_numpy(t).bfloat16() for n, t in model.tensors.items()}
    learned = {n: torch.nn.Parameter(t) if prefix else t for n, t in weights.items()}
    saved = {"state_dict": learned, "epoch": 3} if prefix == "model." else learned
    torch.save(saved, tmp_path / "rwkv-final.pth")
    found = import_official(tmp_path / "rwkv-final.pth")
    assert found.card.config == config
    assert (found.card.vocabulary, found.card.step, found.card.seed) == (UNKNOWN, None, None)
    for name, tensor in found.tensors.items():
        np.testing.assert_array_equal(tensor, weights[prefix + name].float().numpy())
    save_folder(tmp_path / "kept", found)
    assert load_model(tmp_path / "kept").card == found.card
    with pytest.raises(LofidError, match="another vocabulary"):
        load_model(tmp_path / "kept", drums.VOCABULARY.hash)


def test_somebody_may_say_what_the_ids_mean(tmp_path: Path) -> None:
    export_official(MODEL, tmp_path / "m.pth")
    found = import_official(tmp_path / "m.pth", "drums")
    assert found.card.vocabulary_hash == drums.VOCABULARY.hash
    for name, tensor in found.tensors.items():
        np.testing.assert_array_equal(tensor, MODEL.tensors[name])
    with pytest.raises(LofidError, match="703 token ids, but the vocabulary 'thesis' has 2176"):
        import_official(tmp_path / "m.pth", "thesis")
    with pytest.raises(LofidError, match="'bagpipes' is not known"):
        import_official(tmp_path / "m.pth", "bagpipes")


class _Trap:
    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path("sprung"),)


def test_each_fault_has_its_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "m.pth"
    with pytest.raises(LofidError, match="cannot be read"):
        import_official(path)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(LofidError, match="damaged or no plain checkpoint"):
        import_official(path)
    for write in (
        lambda trap: path.write_bytes(pickle.dumps(trap)),
        lambda trap: torch.save(trap, path),
    ):
        write({"emb.weight": _Trap()})
        with pytest.raises(LofidError, match="damaged or no plain checkpoint") as refused:
            import_official(path)
        assert "weights_only" not in str(refused.value)
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n")
    with pytest.raises(LofidError, match="git lfs pull"):
        import_official(path)
    assert not (tmp_path / "sprung").exists()
    for odd in ([torch.zeros(3)], {"x": torch.zeros(3).to_sparse()}, {"x": torch.zeros(3).long()}):
        torch.save(odd, path)
        with pytest.raises(LofidError, match="no plain tensors"):
            import_official(path)
    seventh = {"emb.weight": torch.zeros(9, 64), "blocks.0.att.x_r": torch.zeros(1, 1, 64)}
    torch.save(seventh, path)
    with pytest.raises(LofidError, match=r"not of RWKV-6 .*lacks blocks\.0\.att\.time_maa_w1"):
        import_official(path)
    weights = {name: torch.from_numpy(tensor) for name, tensor in MODEL.tensors.items()}
    torch.save(weights | {"emb.weight": torch.zeros(9, 100)}, path)
    with pytest.raises(LofidError, match="width of 100"):
        import_official(path)
    torch.save(weights | {"blocks.99999999999.odd": torch.zeros(3)}, path)
    with pytest.raises(LofidError, match="too few for 100000000000 layers"):
        import_official(path)
    torch.save({n: t for n, t in weights.items() if n != "ln_out.bias"}, path)
    with pytest.raises(LofidError, match="lack the tensor"):
        import_official(path)
    with pytest.raises(LofidError, match="could not be written"):
        export_official(MODEL, tmp_path / "missing" / "m.pth")
    with pytest.raises(LofidError, match="could not be written"):
        export_official(MODEL, Path("/dev/full/m.pth"))
