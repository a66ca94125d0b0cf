import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lofid.compose.player import drums_player, keys_player
from lofid.compose.preset import save_preset
from lofid.compose.session import Moment, save_moment
from lofid.compose.station import Station
from lofid.music.parameters import Settings
from lofid.rwkv.cpu import CpuEngine
from lofid.rwkv.shipped import shipped_model
from lofid.tokens import drums, keys


def lofid(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a person does, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "lofid", *map(str, arguments)],
        env={**os.environ, "COLUMNS": "120", **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def moment() -> Moment:
    vocabularies = {"keys": keys.VOCABULARY.hash, "drums": drums.VOCABULARY.hash}
    models = {one: shipped_model(f"pocket-{one}", vocabularies[one]) for one in vocabularies}
    engines = {one: CpuEngine(each.card.config, each.tensors) for one, each in models.items()}
    with Station(keys_player(engines["keys"]), drums_player(engines["drums"])) as station:
        state = station.opening(Settings(), 7)
    hashes = {one: model.hash for one, model in models.items()}
    return Moment(state, Settings(), hashes, vocabularies, datetime.now(UTC))


def test_good_files_are_fine(tmp_path: Path, moment: Moment) -> None:
    preset = save_preset(tmp_path, "mine", "Mine.", Settings())
    session = tmp_path / "blue.lofistate"
    save_moment(session, moment)
    result = lofid("check", preset, session)
    assert result.stdout.splitlines() == [f"{preset}: fine", f"{session}: fine"]
    assert result.returncode == 0


def test_every_mistake_is_told_with_file_line_and_key(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("[music]\ntempo = 300\n[sound]\nwinyl = 1\n")
    other = tmp_path / "mine.txt"
    result = lofid("check", path, other)
    assert result.returncode == 1
    first, second, third = result.stdout.splitlines()
    assert "mine.toml, line 2" in first and "music.tempo" in first
    assert "mine.toml, line 4" in second and "sound.vinyl" in second
    assert "neither" in third
    result = lofid("check", path, "--json")
    assert result.returncode == 1
    (report,) = json.loads(result.stdout)
    assert (report["file"], report["ok"]) == (str(path), False)
    assert [(one["line"], one["key"]) for one in report["findings"]] == [
        (2, "music.tempo"),
        (4, "sound.winyl"),
    ]


def test_sessions_of_others_are_told(tmp_path: Path, moment: Moment) -> None:
    foreign = tmp_path / "foreign.lofistate"
    save_moment(
        foreign,
        Moment(moment.state, Settings(), {"keys": "0"}, moment.vocabularies, moment.created),
    )
    broken = tmp_path / "broken.lofistate"
    broken.write_bytes(foreign.read_bytes()[:-1])
    result = lofid("check", foreign, broken, tmp_path / "none.toml")
    assert result.returncode == 1
    first, second, third = result.stdout.splitlines()
    assert "foreign.lofistate" in first and "other weights of the keys" in first
    assert "broken.lofistate" in second
    assert "none.toml" in third


def test_own_presets_are_listed_and_a_broken_one_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "lofid" / "presets"
    save_preset(folder, "mine", "Mine.", Settings())
    (folder / "broken.toml").write_text("[music")
    result = lofid("presets", XDG_CONFIG_HOME=str(tmp_path))
    assert result.returncode == 0
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("mine")]
    assert "Mine. (your own)" in line
    assert "broken.toml" in result.stderr
    assert lofid("presets", "mine", XDG_CONFIG_HOME=str(tmp_path)).returncode == 0


def test_a_preset_whose_style_is_missing_is_told(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('style = "gone"\n')
    result = lofid("check", path, "--json", XDG_DATA_HOME=str(tmp_path))
    assert result.returncode == 1
    ((finding,),) = [entry["findings"] for entry in json.loads(result.stdout)]
    assert "no style 'gone'" in finding["message"]
    assert (finding["key"], finding["line"]) == ("style", 1)
