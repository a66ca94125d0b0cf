import os
import resource
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from lofid import __version__
from lofid.errors import LofidError
from lofid.outputs import SAMPLE_RATE, Audio, Block, FileLabel, Output, open_output, parse


def tone(seconds: float) -> Audio:
    turns = 440 * np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return np.repeat(0.3 * np.sin(2 * np.pi * turns)[:, None], 2, axis=1).astype(np.float32)


def write(output: Output, audio: Audio, frame: int = 0) -> None:
    output.write(Block(frame, audio))


@pytest.mark.parametrize(
    ("suffix", "kind"), [(".wav", "WAVEX"), (".flac", "FLAC"), (".mp3", "MP3"), (".ogg", "OGG")]
)
def test_what_was_written_is_read_back(tmp_path: Path, suffix: str, kind: str) -> None:
    path, audio = tmp_path / f"out{suffix}", tone(2.5)
    output = open_output(f"file:{path}")
    for start in range(0, len(audio), 31_000):
        write(output, audio[start : start + 31_000], start)
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
    write(output, tone(0.1))
    output.close()
    header = path.read_bytes()[:48]
    # EBU Tech 3306: a JUNK chunk holds the place in which RF64 keeps its sizes.
    assert (header[:4], header[8:16], header[16]) == (b"RIFF", b"WAVEJUNK", 24)


def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.flac")
    output = open_output(f"file:{tmp_path}/{name}")
    write(output, tone(0.1))
    output.close()
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_an_aborted_file_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "out.flac"
    path.write_text("before")
    output = open_output(f"file:{path}")
    write(output, tone(0.1))
    output.abort()
    output.abort()
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


KILLED = """
import os, signal, sys, numpy as np
from lofid.outputs import Block, open_output
output = open_output("file:" + sys.argv[1])
noise = np.random.default_rng(1).uniform(-1, 1, (480000, 2)).astype("float32")
output.write(Block(0, noise))
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".mp3", ".ogg"])
def test_what_was_cut_off_is_told_and_left_alone(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a [take]{suffix}"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", KILLED, str(path)], env=environment, check=False)
    (left,) = tmp_path.iterdir()
    content = left.read_bytes()
    assert f"lies in '{left}': give it another name" in parse(f"file:{path}").notice()
    assert parse(f"file:{tmp_path / f'a{suffix}'}").notice() == ""
    output = open_output(f"file:{path}")
    write(output, tone(0.1))
    assert f"lies in '{left}': give" in parse(f"file:{path}").notice(), "and not what is written"
    output.close()
    assert left.read_bytes() == content
    kept = left.rename(tmp_path / f"kept{suffix}")
    assert parse(f"file:{path}").notice() == ""
    with sf.SoundFile(kept) as file, suppress(sf.LibsndfileError):
        assert len(file.read(9 * SAMPLE_RATE)) == 9 * SAMPLE_RATE


def test_no_notice_where_nothing_was_cut_off(tmp_path: Path) -> None:
    assert parse(f"file:{tmp_path}/none/out.wav").notice() == ""
    assert parse("null").notice() == ""


FILL = """
import sys, signal, numpy as np
from lofid.errors import LofidError
from lofid.outputs import Block, open_output
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
output = open_output("file:" + sys.argv[1])
noise = np.random.default_rng(1).uniform(-1, 1, (48000, 2)).astype("float32")
try:
    for second in range(60):
        output.write(Block(second * 48000, noise))
except LofidError as error:
    print(error)
try:
    getattr(output, sys.argv[2])()
except LofidError as error:
    print(error)
"""


def filled(path: Path, ending: str, space: int) -> str:
    """What is said where noise fills ``space`` bytes, and the output then is closed or aborted."""

    # A limit on the file size fails writes as a full disk does; it needs a process of its own.
    def small() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (space, space))

    done = subprocess.run(
        [sys.executable, "-c", FILL, str(path), ending],
        preexec_fn=small,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    return done.stdout


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".mp3", ".ogg"])
def test_no_space_left_and_nothing_to_be_kept(tmp_path: Path, suffix: str) -> None:
    said = filled(tmp_path / f"out{suffix}", "abort", 300_000)
    assert "could not be written" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("suffix", "seconds"), [(".wav", 1.0), (".flac", 0.9), (".mp3", 8.0), (".ogg", 5.5)]
)
def test_what_was_recorded_before_the_disk_was_full_is_kept(
    tmp_path: Path, suffix: str, seconds: float
) -> None:
    path = tmp_path / f"out{suffix}"
    assert "ends after about" in filled(path, "close", 300_000)
    assert list(tmp_path.iterdir()) == [path]
    read = 0
    with sf.SoundFile(path) as file, suppress(sf.LibsndfileError):  # the last frame is cut
        while len(audio := file.read(480)):
            read += len(audio)
    assert read >= seconds * SAMPLE_RATE


def test_what_no_player_can_read_is_kept_under_another_name(tmp_path: Path) -> None:
    said = filled(tmp_path / "out.ogg", "close", 100)
    assert "out.part.ogg" in said
    assert [path.name for path in tmp_path.iterdir()] == ["out.part.ogg"]


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
        ("cassette", "device[:NAME], file:PATH"),
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


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".mp3", ".ogg"])
def test_a_file_says_what_is_played(tmp_path: Path, suffix: str) -> None:
    output = parse(f"file:{tmp_path}/out{suffix}")
    output.label = FileLabel("rain", 77)
    output.open()
    write(output, tone(0.5))
    output.close()
    with sf.SoundFile(tmp_path / f"out{suffix}") as file:
        tags = file.copy_metadata()
        assert file.frames >= SAMPLE_RATE // 2
    assert tags["title"] == "rain, seed 77"
    assert tags["comment"] == f"preset=rain seed=77 lofid={__version__}"


@pytest.mark.parametrize(("suffix", "gain"), [(".wav", 1.0), (".flac", 10 ** (-12 / 20))])
def test_a_stem_may_rise_above_full_scale(tmp_path: Path, suffix: str, gain: float) -> None:
    output = parse(f"file:{tmp_path}/out{suffix}")
    output.label = FileLabel("rain", 77, "drums")
    loud = 5 * tone(0.5)
    output.open()
    write(output, loud)
    output.close()
    back, _ = sf.read(tmp_path / f"out{suffix}")
    assert np.abs(back - gain * loud).max() < 2**-21


@pytest.mark.parametrize("suffix", [".wav", ".mid"])
def test_a_link_is_followed_and_a_pipe_refused(tmp_path: Path, suffix: str) -> None:
    target, link, pipe = (tmp_path / f"{name}{suffix}" for name in ("target", "link", "pipe"))
    (tmp_path / "there").mkdir()
    target = tmp_path / "there" / target.name
    link.symlink_to(target)
    os.mkfifo(pipe)
    for _ in range(2):  # dangling, then not
        output = open_output(f"file:{link}")
        write(output, tone(0.1))
        output.close()
        assert link.is_symlink() and target.is_file()
    with pytest.raises(LofidError, match="no file but a pipe"):
        open_output(f"file:{pipe}")
    assert pipe.is_fifo()


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".mp3", ".ogg"])
def test_a_folder_that_was_removed_meanwhile(tmp_path: Path, suffix: str) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    output = open_output(f"file:{folder}/out{suffix}")
    write(output, tone(0.1))
    shutil.rmtree(folder)
    with pytest.raises(LofidError, match="was removed"):
        output.close()
    output.abort()


def test_what_could_not_be_finished_is_kept_beside_what_was_left_before(tmp_path: Path) -> None:
    (tmp_path / "out.part.ogg").write_text("before")
    for number in (2, 3):
        assert f"out.part-{number}.ogg" in filled(tmp_path / "out.ogg", "close", 100)
    assert (tmp_path / "out.part.ogg").read_text() == "before"
    assert len(list(tmp_path.iterdir())) == 3


def test_null_takes_everything() -> None:
    output = open_output("null")
    write(output, tone(1.0))
    output.close()
    assert not output.keeps_time
