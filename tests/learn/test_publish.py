import base64
import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import ClassVar

import numpy as np
import pytest

from lofid.errors import LofidError
from lofid.files import alone_in
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
    (packed / "keys" / "notes.txt").write_text("not a model's")
    assert install("mine", packed, target).keys() == {"keys", "drums"}
    assert not (target / "keys" / "notes.txt").exists()
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


def test_an_installation_that_was_killed_is_cleared_away(packed: Path, tmp_path: Path) -> None:
    target = tmp_path / "models" / "mine"
    install("mine", packed, target)
    first = load_model(target / "keys").hash
    scratch = target.with_name(".mine.installing")
    (scratch / "new" / "keys").mkdir(parents=True)
    target.rename(scratch / "old")  # amid the last two steps
    (packed / "keys" / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(LofidError, match="damaged"):
        install("mine", packed, target)
    assert load_model(target / "keys").hash == first
    assert [path.name for path in target.parent.iterdir()] == ["mine"]


def test_two_do_not_install_one_model_at_once(packed: Path, tmp_path: Path) -> None:
    target = tmp_path / "models" / "mine"
    with (
        alone_in(target.with_name(".mine.installing"), "The model 'mine' is being installed"),
        pytest.raises(LofidError, match="by another lofid"),
    ):
        install("mine", packed, target)
    assert not list(target.parent.iterdir())


def test_a_folder_without_models_has_its_sentence(tmp_path: Path) -> None:
    with pytest.raises(LofidError, match="holds no models"):
        install("x", tmp_path, tmp_path / "models" / "x")


class _Hub(BaseHTTPRequestHandler):
    """As much of the hub's protocol as it takes to make a repository, fill it and get it."""

    files: ClassVar[dict[str, bytes]] = {}

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/api/repos/create":
            self._json({"url": f"{os.environ['HF_ENDPOINT']}/me/mine"})
        elif "/preupload/" in self.path:
            asked = [one["path"] for one in json.loads(body)["files"]]
            self._json(
                {
                    "files": [
                        {"path": p, "uploadMode": "regular", "shouldIgnore": False} for p in asked
                    ]
                }
            )
        elif self.path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        else:
            assert "/commit/" in self.path, self.path
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    value = line["value"]
                    self.files[value["path"]] = base64.b64decode(value["content"])
            url = f"{os.environ['HF_ENDPOINT']}/me/mine/commit/{'a' * 40}"
            self._json({"commitOid": "a" * 40, "commitUrl": url, "hookOutput": ""})

    def do_GET(self) -> None:
        if "/resolve/" in self.path:
            content = self.files[self.path.partition("/resolve/")[2].partition("/")[2]]
            tag = hashlib.sha256(content).hexdigest()[:40]
            self._answer(content, {"ETag": f'"{tag}"', "X-Repo-Commit": "a" * 40})
        elif "/tree/" in self.path:
            self._json(
                [
                    {"type": "file", "path": name, "size": len(content), "oid": "b" * 40}
                    for name, content in self.files.items()
                ]
            )
        elif "/revision/" in self.path:
            siblings = [{"rfilename": name} for name in self.files]
            self._json({"id": "me/mine", "sha": "a" * 40, "siblings": siblings})
        else:
            self.send_error(404)

    do_HEAD = do_GET

    def _json(self, answer: object) -> None:
        self._answer(json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def _answer(self, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(200)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


def lofid(*arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own: the hub's library reads its address when imported."""
    own = {"HF_HOME": str(home / "hub"), "HF_TOKEN": "hf_none", "XDG_DATA_HOME": str(home)}
    return subprocess.run(
        [sys.executable, "-m", "lofid", *arguments],
        env=os.environ | own,
        capture_output=True,
        text=True,
        check=False,
    )


def test_models_go_to_a_hub_and_come_back(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (packed / "notes.txt").write_text("for nobody else")
    with ThreadingHTTPServer(("127.0.0.1", 0), _Hub) as server:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            pushed = lofid("models", "push", str(packed), "me/mine", home=tmp_path)
            assert pushed.returncode == 0, pushed.stderr
            assert "/me/mine/commit/" in pushed.stdout
            got = lofid("models", "get", "me/mine", home=tmp_path)
            assert got.returncode == 0, got.stderr
        finally:
            server.shutdown()
            thread.join()
    assert "notes.txt" not in _Hub.files and "README.md" in _Hub.files
    installed = tmp_path / "lofid" / "models" / "mine"
    for player in ("keys", "drums"):
        assert load_model(installed / player).hash == load_model(packed / player).hash


def test_a_hub_out_of_reach_has_its_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    done = lofid("models", "get", "nobody/none", home=tmp_path)
    assert done.returncode == 1
    assert "hub did not serve it" in done.stderr and "Traceback" not in done.stderr


def test_errors_name_the_folder_that_was_given(packed: Path, tmp_path: Path) -> None:
    for file in (packed / "keys").glob("*.safetensors"):
        file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(LofidError) as refused:
        install("mine", packed, tmp_path / "models" / "mine")
    assert f"{packed}/keys" in str(refused.value)
    assert "installing" not in str(refused.value)
