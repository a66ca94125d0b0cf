import csv
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import mido
import numpy as np
import pytest

from bench.daemon import Daemon
from lofid.music.notes import Part
from lofid.outputs import Block, MidiEvent, open_output

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(example: str, *arguments: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / example), *arguments],
        env=environment or None,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    folder = tmp_path_factory.mktemp("e")  # a short name: sockets lie in it
    with Daemon(folder, ["--output", "null", "--virtual-clock", "--seed", "3"]) as made:
        made.start()
        with made.listening("bar") as listener:
            listener.bar()
        yield made


def test_now_playing_keeps_a_line_about_the_bar(daemon: Daemon, tmp_path: Path) -> None:
    line = tmp_path / "now.txt"
    run("now_playing.py", str(line), "--bars", "2", **daemon.environment)
    assert re.fullmatch(r"[A-G]b?m? · \d+ BPM · \w+ · \S+( \S+)?\n", line.read_text("utf-8"))
    assert list(tmp_path.iterdir()) == [line]


def test_chord_follower_tells_chords_with_their_notes(daemon: Daemon) -> None:
    lines = run("chord_follower.py", "--chords", "3", **daemon.environment).splitlines()
    assert len(lines) == 3
    for said in lines:
        symbol, *notes = said.split()
        assert len(notes) >= 3
        assert notes[0] == symbol[: len(notes[0])]  # its root
        assert len({*notes}) == len(notes)


def test_batch_render_writes_the_same_file_for_the_same_seed(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        run("batch_render.py", str(tmp_path / folder), "--bars", "6", "--seeds", "1", "2")
    files = sorted((tmp_path / "one").iterdir())
    assert [file.name for file in files] == ["study-1.mid", "study-2.mid"]
    first, second = (file.read_bytes() for file in files)
    assert first == (tmp_path / "two" / "study-1.mid").read_bytes()
    assert first != second
    assert sum(message.type == "note_on" for message in mido.MidiFile(files[0])) > 10


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The example package, installed outside the tree."""
    place = tmp_path_factory.mktemp("packages")
    source = tmp_path_factory.mktemp("source")
    for path in (EXAMPLES / "lofid-csv").iterdir():
        if path.is_file():
            (source / path.name).write_bytes(path.read_bytes())
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--target", str(place), str(source)], check=True, capture_output=True)
    return str(place)


def test_an_output_of_another_package_takes_the_stream(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(package)
    out = tmp_path / "notes.csv"
    output = open_output(f"csv:{out}")
    events = (
        MidiEvent(24_000, 0x90, (60, 80), Part.KEYS),
        MidiEvent(36_000, 0x80, (60, 0), Part.KEYS),
        MidiEvent(48_000, 0x90, (36, 100), Part.DRUMS),
    )
    output.write(Block(0, np.zeros((96_000, 2), np.float32), events))
    output.close()
    with out.open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["seconds", "part", "pitch", "velocity"],
            ["0.5000", "keys", "60", "80"],
            ["1.0000", "drums", "36", "100"],
        ]


def test_the_command_line_plays_into_it_and_names_it(package: str, tmp_path: Path) -> None:
    def lofid(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "lofid", *arguments],
            env={**os.environ, "PYTHONPATH": package},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    refused = lofid("play", "--output", "csv")
    assert refused.returncode == 1
    assert "write csv:PATH" in refused.stderr
    unknown = lofid("play", "--output", "cvs:x")
    assert "did you mean csv?" in unknown.stderr
