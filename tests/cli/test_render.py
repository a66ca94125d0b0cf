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
import soundfile
from typer.testing import CliRunner

from lofid.cli import app
from lofid.errors import LofidError
from lofid.rwkv.choice import device_files
from lofid.sound.studio import STEMS


def render(out: Path, *options: str) -> dict[str, object]:
    result = CliRunner().invoke(
        app, ["render", str(out), "--seed", "5", "--json", *options], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    report: dict[str, object] = json.loads(result.stdout)
    return report


@pytest.mark.parametrize("ending", [".wav", ".flac", ".mp3", ".ogg"])
def test_every_format_lasts_as_long_as_reported_and_sounds(ending: str, tmp_path: Path) -> None:
    out = tmp_path / f"music{ending}"
    report = render(out, "--bars", "2")
    audio, rate = soundfile.read(out, always_2d=True)
    assert report["bars"] == 2
    assert len(audio) / rate == pytest.approx(report["seconds"], abs=0.1)  # MP3 pads its frames
    assert np.sqrt(np.mean(audio**2)) > 0.005
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


def test_json_stands_alone_even_where_libraries_talk(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lofid", "render", "x.wav", "--bars", "1", "--json"]
    result = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "CI": "true"}, stdout=subprocess.PIPE, check=True
    )
    assert json.loads(result.stdout)["bars"] == 1


def test_the_same_seed_gives_the_same_notes_and_sound(tmp_path: Path) -> None:
    for name in ("one", "two"):
        render(tmp_path / f"{name}.mid", "--bars", "4")
        render(tmp_path / f"{name}.wav", "--bars", "2")
    assert (tmp_path / "one.mid").read_bytes() == (tmp_path / "two.mid").read_bytes()
    assert (tmp_path / "one.wav").read_bytes() == (tmp_path / "two.wav").read_bytes()


def test_an_engine_that_cannot_be_had_is_one_sentence_and_the_cpu_engine(tmp_path: Path) -> None:
    def rendered(engine: str) -> tuple[bytes, object, str]:
        out = tmp_path / f"{engine}.mid"
        asked = ["--bars", "2", "--seed", "5", "--engine", engine, "--json"]
        result = CliRunner().invoke(app, ["render", str(out), *asked], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return out.read_bytes(), json.loads(result.stdout)["engine"], result.stderr

    music, engine, said = rendered("cpu")
    assert (engine, said) == ("cpu-int8", "")
    if not any(device_files()):
        instead = rendered("triton")
        assert instead[:2] == (music, engine)
        assert instead[2].split(".")[0].startswith("The engine 'triton' cannot be used: no GPU")
        assert rendered("auto") == (music, engine, "")


def test_minutes_are_at_least_met(tmp_path: Path) -> None:
    report = render(tmp_path / "music.mid", "--minutes", "0.5", "--tempo", "80")
    assert (report["bars"], report["seconds"]) == (10, 30.0)  # bars of exactly 3 s


def test_key_and_tempo_are_as_asked(tmp_path: Path) -> None:
    render(tmp_path / "music.mid", "--bars", "2", "--tempo", "71", "--key", "F#m")
    conductor = mido.MidiFile(tmp_path / "music.mid").tracks[0]
    said = {message.type: message for message in conductor}
    assert round(mido.tempo2bpm(said["set_tempo"].tempo)) == 71
    assert said["key_signature"].key == "F#m"


def test_stems_lie_beside_the_mix(tmp_path: Path) -> None:
    render(tmp_path / "music.flac", "--bars", "2", "--stems")
    names = {f"music-{stem}.flac" for stem in STEMS} | {"music.flac"}
    assert {path.name for path in tmp_path.iterdir()} == names
    assert len({soundfile.info(path).frames for path in tmp_path.iterdir()}) == 1


def test_stems_of_notes_are_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["render", str(tmp_path / "x.mid"), "--stems"])
    assert result.exception is not None and "--stems" in str(result.exception)
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_leaves_nothing_behind(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lofid", "render", "music.flac", "--minutes", "600"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        while not list(tmp_path.iterdir()):  # it has begun once the temporary file is there
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, "Stopped; nothing was written.\n")
    assert list(tmp_path.iterdir()) == []


def test_notes_come_with_the_presets_instruments(tmp_path: Path) -> None:
    render(tmp_path / "music.mid", "--bars", "8", "--preset", "rain")
    programs = {
        track.name: next(message.program for message in track if message.type == "program_change")
        for track in mido.MidiFile(tmp_path / "music.mid").tracks[1:]
    }
    # General MIDI: acoustic grand, electric piano or nylon guitar, and the brush or the jazz kit;
    # of those that the preset names, the song draws.
    assert programs["keys"] in (0, 4, 24)
    assert programs["drums"] in (40, 32)


@pytest.mark.parametrize("ending", [".mid", ".wav"])
def test_a_place_that_is_not_there_is_told_before_the_music(ending: str, tmp_path: Path) -> None:
    out = tmp_path / "none" / f"x{ending}"
    # Forty million bars would take days.
    result = CliRunner().invoke(app, ["render", str(out), "--bars", "40000000"])
    assert isinstance(result.exception, LofidError)
    assert "could not be written" in str(result.exception)
