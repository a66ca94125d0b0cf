import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from lofid.errors import LofidError
from lofid.outputs import SAMPLE_RATE, open_output, parse


def tone(seconds: float) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    turns = 440 * np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return np.repeat(0.3 * np.sin(2 * np.pi * turns)[:, None], 2, axis=1).astype(np.float32)


@pytest.mark.parametrize(
    ("suffix", "kind"), [(".wav", "WAVEX"), (".flac", "FLAC"), (".mp3", "MP3"), (".ogg", "OGG")]
)
def test_what_was_written_is_read_back(tmp_path: Path, suffix: str, kind: str) -> None:
    path, audio = tmp_path / f"out{suffix}", tone(2.5)
    output = open_output(f"file:{path}")
    for start in range(0, len(audio), 31_000):
        output.write(audio[start : start + 31_000])
        assert not path.exists()
    output.close()
    back, rate = sf.read(path)
    assert (sf.info(path).format, rate) == (kind, SAMPLE_RATE)
    assert abs(len(back) - len(audio)) <= (2400 if kind == "MP3" else 0)
    spectrum = np.abs(np.fft.rfft(back[:SAMPLE_RATE, 0]))
    assert spectrum.argmax() == 440
    if kind in ("WAVEX", "FLAC"):
        assert np.abs(back - audio).max() < 2**-22
    assert list(tmp_path.iterdir()) == [path]


def test_a_wav_is_plain_and_has_room_to_outgrow_4_gib(tmp_path: Path) -> None:
    path = tmp_path / "out.wav"
    output = open_output(f"file:{path}")
    output.write(tone(0.1))
    output.close()
    header = path.read_bytes()[:48]
    # EBU Tech 3306: a JUNK chunk holds the place in which RF64 keeps its sizes.
    assert (header[:4], header[8:16], header[16]) == (b"RIFF", b"WAVEJUNK", 24)


def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.flac")
    output = open_output(f"file:{tmp_path}/{name}")
    output.write(tone(0.1))
    output.close()
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_an_aborted_file_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "out.flac"
    path.write_text("before")
    output = open_output(f"file:{path}")
    output.write(tone(0.1))
    output.abort()
    output.abort()
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".mp3", ".ogg"])
def test_no_space_left(tmp_path: Path, suffix: str) -> None:
    # A limit on the file size fails writes as a full disk does; it needs a process of its own.
    code = (
        "import sys, signal, numpy as np; from lofid.outputs import open_output\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "from lofid.errors import LofidError\n"
        "output = open_output('file:' + sys.argv[1])\n"
        "noise = np.random.default_rng(1).uniform(-1, 1, (48000, 2)).astype('float32')\n"
        "try:\n"
        "    for _ in range(60): output.write(noise)\n"
        "    output.close()\n"
        "except LofidError as error:\n"
        "    print(error); output.abort(); sys.exit(1)\n"
    )
    path = tmp_path / f"out{suffix}"

    def small() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))

    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        preexec_fn=small,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.returncode == 1, done.stderr
    assert "could not be written" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("file", "needs a path"),
        ("file:", "needs a path"),
        ("file:song.aiff", ".wav, .flac, .mp3, .ogg"),
        ("null:x", "takes no argument"),
        ("file:~nobody-of-that-name/x.wav", "no such user"),
        ("device:", "lacks a name"),
        ("devise", "did you mean device"),
        ("cassette", "device[:NAME], file:PATH, null"),
    ],
)
def test_what_cannot_be_an_output(text: str, words: str) -> None:
    with pytest.raises(LofidError) as error:
        parse(text)
    assert words in str(error.value)


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(LofidError, match="could not be written"):
        open_output(f"file:{tmp_path}/none/out.wav")
    (tmp_path / "folder.wav").mkdir()
    with pytest.raises(LofidError, match="is a folder"):
        open_output(f"file:{tmp_path}/folder.wav")


def test_null_takes_everything() -> None:
    output = open_output("null")
    output.write(tone(1.0))
    output.close()
    assert not output.keeps_time
