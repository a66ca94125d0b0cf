import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import mido
import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

from lofid.cli import app
from lofid.files import alone_in, temporary_name
from lofid.learn import own
from lofid.rwkv import shipped
from lofid.rwkv.styles import load_style, style_names


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four songs such as the models have never heard, and a file that is none."""
    found = tmp_path / "mine"
    found.mkdir()
    for number in range(4):
        rng = np.random.default_rng(number)
        midi = mido.MidiFile(ticks_per_beat=480)
        for channel, pitches in ((0, (86, 87, 92)), (9, (49, 43))):
            track = mido.MidiTrack()
            for _ in range(4 * 8):  # beats
                pitch = int(rng.choice(pitches))
                on = {"channel": channel, "note": pitch, "velocity": 20}
                for wait, length in ((40, 20), (100, 320)):
                    track.append(mido.Message("note_on", **on, time=wait))
                    track.append(mido.Message("note_off", channel=channel, note=pitch, time=length))
            midi.tracks.append(track)
        midi.save(found / f"song {number}.mid")
    (found / "broken.mid").write_bytes(b"no music")
    return found


def lofid(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(one) for one in arguments])


def test_a_folder_becomes_a_style_that_plays(folder: Path, tmp_path: Path) -> None:
    done = lofid("tune", folder, "--as", "mine", "--minutes", "0.01", "--json")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["method"] == "state" and "1 damaged" in done.stderr
    for player in report["models"]:
        metrics = report["metrics"]
        assert metrics[f"{player}_after"] < metrics[f"{player}_before"]
    assert style_names() == ["mine"]
    assert Path(report["style"]).stat().st_size < 2e6
    Path(report["style"]).with_name("broken.safetensors").write_bytes(b"no style")
    listed = lofid("styles")
    assert "mine" in listed.stdout and "broken.safetensors" in listed.stderr
    for style in ([], ["--style", "mine"]):
        out = tmp_path / f"{len(style)}.mid"
        played = lofid("render", out, "--seed", "5", "--bars", "2", *style)
        assert played.exit_code == 0, played.output
    assert (tmp_path / "0.mid").read_bytes() != (tmp_path / "2.mid").read_bytes()


def test_a_style_tuned_to_its_end_is_not_written_over(folder: Path, tmp_path: Path) -> None:
    finished = tmp_path / "home" / "lofid" / "styles" / "mine.safetensors"
    finished.parent.mkdir(parents=True)
    finished.write_bytes(b"a style")
    done = lofid("tune", folder, "--as", "mine", "--minutes", "0.01")
    assert "its tuning has ended" in str(done.exception)
    assert finished.read_bytes() == b"a style"


def test_a_style_that_another_process_ended_meanwhile_is_not_written_over(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished = tmp_path / "home" / "lofid" / "styles" / "mine.safetensors"
    read = own.own_pieces

    def ended_meanwhile(place: Path) -> object:
        finished.parent.mkdir(parents=True)
        finished.write_bytes(b"a style")
        return read(place)

    monkeypatch.setattr(own, "own_pieces", ended_meanwhile)
    done = lofid("tune", folder, "--as", "mine", "--minutes", "0.01")
    assert "its tuning has ended" in str(done.exception)
    assert [path.name for path in finished.parent.iterdir()] == [finished.name]
    assert finished.read_bytes() == b"a style"


def test_what_a_killed_tuning_left_is_no_style_half_tuned(folder: Path, tmp_path: Path) -> None:
    finished = tmp_path / "home" / "lofid" / "styles" / "mine.safetensors"
    finished.with_name(".mine.tuning").mkdir(parents=True)  # killed before its first round ended
    finished.write_bytes(b"a style from elsewhere")
    done = lofid("tune", folder, "--as", "mine", "--minutes", "0.01")
    assert "its tuning has ended" in str(done.exception)
    assert finished.read_bytes() == b"a style from elsewhere"


def test_a_tuning_is_one_process(folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "home" / "lofid" / "styles" / ".mine.tuning"
    with alone_in(place, "The style 'mine' is being tuned"):
        done = lofid("tune", folder, "--as", "mine", "--minutes", "0.01")
        assert "is being tuned by another lofid" in str(done.exception)
    assert not place.exists()
    assert not style_names()
    half = temporary_name(place.with_name("mine.safetensors"))
    half.write_bytes(b"of a process that was killed")
    done = lofid("tune", folder, "--as", "mine", "--minutes", "0.01")
    assert style_names() == ["mine"], done.output
    assert not half.exists()


def test_ctrl_c_keeps_what_is_there(folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lofid", "tune", str(folder), "--as", "mine"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ) as process:
        path = tmp_path / "home" / "lofid" / "styles" / "mine.safetensors"
        while not path.exists() and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, remarks = process.communicate()
    assert process.returncode == 0
    assert "Stopped; what was learned so far is kept" in remarks
    assert load_style("mine").card.models
    assert [left.name for left in (path.parent / ".mine.tuning").iterdir()] == ["keys.pt"]


def test_each_fault_has_its_sentence(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    drums = Path(shipped.__file__).parents[1] / "models" / "pocket-drums.safetensors"
    for arguments, sentence in (
        (["tune", tmp_path / "empty", "--as", "x"], "MIDI"),
        (["tune", tmp_path / "none", "--as", "x"], "none"),
        (["tune", folder, "--as", "../x"], "cannot be a style's"),
        (["tune", folder, "--as", "x", "--model", "none"], "not installed"),
        (["render", tmp_path / "x.mid", "--style", "none"], "no style 'none'"),
        (["models", "get", "studio"], "name a folder with --from"),
        (["models", "get", "studio", "--from", tmp_path / "none"], "no folder"),
        (["models", "pack", tmp_path / "x"], "nothing to pack"),
        (["models", "pack", tmp_path / "x", "--keys", drums], "name them with --drums"),
        (["tune", folder, "--as", "x", "--data", tmp_path], "is not in"),
        (["tune", folder / "broken.mid", "--as", "x"], "is a file"),
        (["models", "push", tmp_path, "me/x"], "holds no models"),
        (["models", "import", tmp_path / "x.pth", "--player", "bass", "--as", "x"], "no player"),
        (["models", "export", tmp_path / "none", tmp_path / "x.pth"], "cannot be read"),
    ):
        done = lofid(*arguments)
        assert done.exit_code != 0
        assert sentence in str(done.exception), arguments


def test_models_go_out_and_come_back(tmp_path: Path) -> None:
    weights = Path(shipped.__file__).parents[1] / "models" / "pocket-drums.safetensors"
    packed = tmp_path / "packed"
    assert lofid("models", "pack", packed, "--drums", weights).exit_code == 0
    assert lofid("models", "get", "mine", "--from", packed).exit_code == 0
    exported = tmp_path / "drums.pth"
    installed = tmp_path / "home" / "lofid" / "models" / "mine" / "drums"
    assert lofid("models", "export", installed, exported).exit_code == 0
    again = lofid(
        "models", "import", exported, "--player", "drums", "--as", "again", "--vocabulary", "drums"
    )
    assert again.exit_code == 0, again.output
    broken = tmp_path / "home" / "lofid" / "models" / "broken" / "keys" / "model.safetensors"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"no model")
    answer = lofid("models", "list", "--json")
    assert str(broken) in answer.stderr
    listed = json.loads(answer.stdout)
    assert [(one["name"], one["player"]) for one in listed] == [
        ("pocket", "keys"),
        ("pocket", "drums"),
        ("again", "drums"),
        ("mine", "drums"),
    ]
    assert listed[1]["config"] == listed[2]["config"] == listed[3]["config"]
    assert listed[2]["seed"] is None
    played = lofid("render", tmp_path / "x.mid", "--bars", "1", "--model", "again")
    assert played.exit_code == 0, played.output
