"""The device output on real sound servers: JACK with its dummy driver, PulseAudio's null sink."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

JACKD = shutil.which("jackd")
PULSE = shutil.which("pulseaudio")

PLAY = """
import sys, time, numpy as np
from lofid.errors import LofidError
from lofid.outputs import open_output
try:
    output = open_output(sys.argv[1])
    turns = np.arange(3 * 48000) * 440 / 48000
    audio = np.repeat(0.2 * np.sin(2 * np.pi * turns)[:, None], 2, 1).astype("float32")
    began = time.monotonic()
    for start in range(0, len(audio), 4800):
        output.write(audio[start:start + 4800])
    output.close()
    print("played", round(time.monotonic() - began, 2), "xruns", output.xruns)
except LofidError as error:
    print("error:", error)
"""


def play(spec: str, environment: dict[str, str]) -> str:
    # A process of its own: PortAudio looks for servers once, when it is loaded.
    done = subprocess.run(
        [sys.executable, "-c", PLAY, spec],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={**os.environ, **environment, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    return done.stdout.strip().splitlines()[-1]


def ended(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@pytest.fixture
def jack() -> Iterator[dict[str, str]]:
    if JACKD is None:
        pytest.skip("needs jackd (Debian: jackd2)")
    name = f"lofid-test-{os.getpid()}"
    environment = {"JACK_NO_AUDIO_RESERVATION": "1", "JACK_DEFAULT_SERVER": name}
    process = subprocess.Popen(
        [JACKD, "--no-realtime", "-n", name, "-d", "dummy", "-r", "48000", "-p", "512"],
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        subprocess.run(
            ["jack_wait", "-s", name, "-w", "-t", "20"], check=True, stdout=subprocess.DEVNULL
        )
        yield environment | {"JACK_NO_START_SERVER": "1"}
    finally:
        ended(process)


@pytest.fixture
def pulse(tmp_path: Path) -> Iterator[dict[str, str]]:
    if PULSE is None:
        pytest.skip("needs pulseaudio")
    socket = tmp_path / "native"
    environment = {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
    module = f"module-native-protocol-unix socket={socket} auth-anonymous=1"
    process = subprocess.Popen(
        [PULSE, "-n", "--exit-idle-time=-1", "--use-pid-file=no", "--disallow-exit",
         "-L", "module-null-sink", "-L", module],
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        while not socket.exists():
            assert process.poll() is None
            time.sleep(0.05)
        config = tmp_path / "asound.conf"
        config.write_text("pcm.!default { type pulse }\nctl.!default { type pulse }\n")
        yield environment | {
            "PULSE_SERVER": f"unix:{socket}",
            "ALSA_CONFIG_PATH": f"/usr/share/alsa/alsa.conf:{config}",
        }
    finally:
        ended(process)


def test_plays_on_jack(jack: dict[str, str]) -> None:
    words = play("device", jack).split()
    assert words[0] == "played"
    # Three seconds of music cannot be over sooner; the last block may still be on its way.
    assert float(words[1]) > 2.8


def test_plays_on_pulseaudio(pulse: dict[str, str]) -> None:
    words = play("device", pulse).split()
    assert words[0] == "played"
    assert float(words[1]) > 2.8


def test_an_unknown_device_names_the_known_ones(jack: dict[str, str]) -> None:
    answer = play("device:theremin", jack)
    assert answer.startswith("error: There is no audio device 'theremin'; this machine has '")
    assert "'system'" in answer


def test_no_device_at_all() -> None:
    nowhere = {"JACK_DEFAULT_SERVER": "lofid-none", "PULSE_SERVER": "unix:/nonexistent"}
    answer = play("device", nowhere | {"JACK_NO_START_SERVER": "1"})
    if answer.startswith("played"):
        pytest.skip("this machine has a sound card of its own")
    assert "no audio device" in answer
    assert "--output file:" in answer
