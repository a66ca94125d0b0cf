import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import soundfile

from lofid.music.midi import read_midi

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of what git tracks here or would, built in a copy so that nothing old gets in."""
    copy = tmp_path_factory.mktemp("source")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.rstrip("\0").split("\0"):
        if (ROOT / name).exists():  # else it is removed, and that not yet committed
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name, follow_symlinks=False)
    out = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out)]
    subprocess.run(build, cwd=copy, check=True, capture_output=True)
    return next(out.glob("lofid-*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an empty environment with nothing but the wheel and what it asks for."""
    home = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
    install = ["-I", "-m", "pip", "install", "-q", "-c", str(ROOT / "constraints.txt"), str(wheel)]
    subprocess.run([str(home / "bin/python"), *install], check=True, capture_output=True)
    return home / "bin"


def test_wheel_holds_all_that_playing_needs(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"lofid/kernels/{path.name}" for path in (ROOT / "kernels").glob("*.py")} <= names
    assert {
        "lofid/presets/study.toml",
        "lofid/music/progressions.json",
        "lofid/models/pocket-keys.safetensors",
        "lofid/models/pocket-drums.safetensors",
        "lofid/sound/data/lofid.sf3",
        "lofid/systemd/lofid.service",
        "lofid/systemd/lofid@.service",
        "lofid/sound/data/lofid.sf3.LICENSE.txt",
    } <= names
    top = {name.partition("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == {"lofid"}
    licences = {name.rpartition("/")[2] for name in names if ".dist-info/licenses/" in name}
    assert licences == {"LICENSE", "NOTICE"}


def test_wheel_renders_alone(installed: Path, tmp_path: Path) -> None:
    def run(*arguments: str) -> str:
        command = [str(installed / arguments[0]), *arguments[1:]]
        # Without the tree in reach: neither as the working directory nor in the environment.
        result = subprocess.run(
            command,
            cwd=tmp_path,
            env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    asked = ("--bars", "8", "--seed", "1", "--json")
    report = json.loads(run("lofid", "render", "music.wav", *asked))
    audio, rate = soundfile.read(tmp_path / "music.wav", dtype="float32")
    assert (rate, audio.shape[1]) == (48_000, 2)
    assert len(audio) / rate >= report["seconds"] > 8 * 4 * 60 / 100  # 8 bars at most at 100 BPM
    eighths = audio[: len(audio) // 8 * 8].reshape(8, -1)
    assert (abs(eighths).max(axis=1) > 0.01).all()
    assert abs(audio).max() <= 1

    assert json.loads(run("lofid", "render", "music.mid", *asked))["bars"] == 8
    assert any(track.notes for track in read_midi(tmp_path / "music.mid").tracks)

    packages = {package["name"] for package in json.loads(run("pip", "list", "--format", "json"))}
    assert not packages & {"torch", "scipy", "matplotlib"}  # a listener needs none of them
