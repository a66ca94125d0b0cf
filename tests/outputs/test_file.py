"""Recordings: what is written can be read by others, and nothing half-done is left."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from lofid.errors import LofidError
from lofid.outputs import KINDS, SAMPLE_RATE, open_output
from lofid.outputs.file import FORMATS


def tone(seconds: float) -> np.ndarray:
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    wave = 0.5 * np.sin(2 * np.pi * 440 * time)
    return np.stack([wave, wave], 1).astype(np.float32)


@pytest.mark.parametrize("ending", FORMATS)
def test_a_recording_reads_back(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"music{ending}"
    output = open_output(f"file:{path}")
    audio = tone(1.5)
    for block in np.array_split(audio, 7):
        output.write(block)
    assert not path.exists()
    output.close()
    read, rate = soundfile.read(path)
    assert rate == SAMPLE_RATE
    assert abs(len(read) - len(audio)) <= (2304 if ending == ".mp3" else 0)
    middle = slice(SAMPLE_RATE // 4, SAMPLE_RATE)
    power = np.sqrt((read[middle] ** 2).mean())
    assert power == pytest.approx(0.5 / np.sqrt(2), rel=0.02)
    peak = (
        np.abs(np.fft.rfft(read[middle, 0])).argmax() * SAMPLE_RATE / (middle.stop - middle.start)
    )
    assert peak == pytest.approx(440, abs=2)
    assert list(tmp_path.iterdir()) == [path]


def test_an_aborted_recording_leaves_nothing_and_keeps_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "music.wav"
    path.write_bytes(b"older")
    output = open_output(f"file:{path}")
    output.write(tone(0.1))
    output.abort()
    assert path.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    # A limit on the size of files fails writes as a full disk does.
    script = """
import resource, signal, sys
import numpy as np
from lofid.errors import LofidError
from lofid.outputs import open_output
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
output = open_output(f"file:{sys.argv[1]}")
try:
    for _ in range(20):
        output.write(np.random.default_rng(1).uniform(-1, 1, (9600, 2)).astype(np.float32))
    output.close()
except LofidError as error:
    print(error)
"""
    for ending in FORMATS:
        path = tmp_path / f"music{ending}"
        done = subprocess.run(
            [sys.executable, "-c", script, path], capture_output=True, text=True, check=False
        )
        assert "could not be written" in done.stdout, (ending, done.stdout, done.stderr)
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ("file:music.xyz", "no ending of a known format; use .wav"),
        ("file:music", "no ending of a known format"),
        ("file", "write file:PATH"),
        ("file:", "write file:PATH"),
        ("null:x", "write null"),
        ("radio", "no known kind; choose one of device"),
        ("file:/nowhere/at/all/music.wav", "could not be written .*choose another place"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(spec: str, text: str) -> None:
    with pytest.raises(LofidError, match=text):
        open_output(spec)


def test_null_counts_frames() -> None:
    output = open_output("null")
    output.write(tone(0.5))
    output.close()
    assert output.frames == SAMPLE_RATE // 2  # type: ignore[attr-defined]
    assert not output.keeps_time


def test_every_kind_says_what_it_is() -> None:
    assert all(kind.syntax.startswith(name) and kind.description for name, kind in KINDS.items())
