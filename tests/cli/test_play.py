import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import sounddevice
import soundfile

from lofid.cli import _sound
from lofid.music.parameters import Settings
from lofid.outputs import Block, parse
from lofid.outputs.null import NullOutput


@contextmanager
def playing(folder: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """``lofid play`` in ``folder``, once its first bar plays."""
    command = [sys.executable, "-m", "lofid", "play", "--seed", "5", *options]
    with subprocess.Popen(
        command, cwd=folder, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            if line.startswith("bar 1:"):
                break
        else:
            pytest.fail("".join(said))
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_music_and_completes_the_recording(
    number: signal.Signals, tmp_path: Path
) -> None:
    with playing(tmp_path, "--output", "file:tonight.flac", "--output", "null") as process:
        assert not (tmp_path / "tonight.flac").exists()  # not before it is complete
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert [path.name for path in tmp_path.iterdir()] == ["tonight.flac"]
    audio, rate = soundfile.read(tmp_path / "tonight.flac")
    assert rate == 48_000 and len(audio) > 0
    assert abs(audio[-1]).max() < 1e-3  # faded, not cut


class Slow(NullOutput):
    """A port that takes its time to close, until somebody loses patience."""

    def close(self) -> None:
        signal.raise_signal(signal.SIGINT)


def test_a_second_ctrl_c_while_a_port_closes_costs_no_recording(
    tmp_path: Path,
) -> None:
    unopened = [Slow(), parse(f"file:{tmp_path / 'x.wav'}"), Slow()]
    with (
        pytest.raises(KeyboardInterrupt),
        _sound.opened_outputs(unopened, Settings(), keep=True) as outputs,
    ):
        outputs[1].write(Block(0, np.zeros((480, 2), np.float32)))
    assert soundfile.info(tmp_path / "x.wav").frames == 480


def test_a_recording_that_ctrl_c_could_not_complete_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = parse(f"file:{tmp_path / 'x.wav'}")
    with (
        pytest.raises(KeyboardInterrupt),
        _sound.opened_outputs([file], Settings(), keep=True) as outputs,
    ):
        outputs[0].write(Block(0, np.zeros((480, 2), np.float32)))
        (tmp_path / "x.wav").mkdir()  # in the way
        raise KeyboardInterrupt
    assert "x.wav' could not be written" in capsys.readouterr().err


def test_two_ctrl_c_are_no_traceback(tmp_path: Path) -> None:
    with playing(tmp_path, "--output", "file:tonight.flac", "--output", "null") as process:
        for _ in range(2):
            process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert "Traceback" not in said
    assert soundfile.info(tmp_path / "tonight.flac").frames > 0


def test_a_kill_leaves_nothing_under_the_final_name_and_the_next_start_tells_what_there_is(
    tmp_path: Path,
) -> None:
    with playing(tmp_path, "--output", "file:tonight.flac") as process:
        process.kill()
        process.communicate(timeout=60)
    assert not (tmp_path / "tonight.flac").exists()
    (left,) = tmp_path.iterdir()
    command = [sys.executable, "-m", "lofid", "play", "--output", "file:tonight.flac"]
    # The second output is refused: it is told all the same, and not a bar is waited for.
    result = subprocess.run(
        [*command, "--output", "file:nowhere/x.flac"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"lies in '{left.name}': give it another name to keep it" in result.stderr
    assert list(tmp_path.iterdir()) == [left]


def test_without_its_device_it_says_what_works() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "lofid", "play", "--output", "device:no such device"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    devices = [item["name"] for item in sounddevice.query_devices() if item["max_output_channels"]]
    for word in devices or ["--output file:"]:
        assert word in result.stderr


def test_an_output_that_fails_to_open_takes_no_empty_recording_with_it(tmp_path: Path) -> None:
    specs = ("--output", "file:tonight.flac", "--output", "file:nowhere/tonight.flac")
    command = [sys.executable, "-m", "lofid", "play", *specs]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 1 and "nowhere" in result.stderr
    assert list(tmp_path.iterdir()) == []
