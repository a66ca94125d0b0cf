"""The device output on real sound servers: JACK with its dummy driver, PulseAudio's null sink."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lofid.outputs.device import DeviceOutput, _Stretch
from lofid.outputs.device_host import Converter, RateWatch

JACKD = shutil.which("jackd")
PULSE = shutil.which("pulseaudio")

PLAY = """
import sys, time, numpy as np
from lofid.errors import LofidError
from lofid.outputs import Block, open_output
try:
    output = open_output(sys.argv[1])
    # Every frame tells its own place, exactly, and none is silent.
    place = np.arange(3 * 48000)
    audio = np.stack((place % 4096 / 4096 - 1, 1 - place // 4096 / 64), axis=1).astype("float32")
    began = time.monotonic()
    for start in range(0, len(audio), 512):
        output.write(Block(start, audio[start:start + 512]))
    frame, moment = output.heard()
    ahead = start + 512 - frame - 48000 * (time.monotonic() - moment)
    output.close()
    print("played", round(time.monotonic() - began, 2), round(ahead), output.details())
except LofidError as error:
    print("error:", error)
"""

OUTLIVE = """
import time, numpy as np
from lofid.errors import LofidError
from lofid.outputs import Block, open_output
tone = np.full((512, 2), 0.1, dtype="float32")
for word in ("playing", "back"):
    while True:
        try:
            output = open_output("device")
            break
        except LofidError:
            time.sleep(0.2)
    try:
        block = 0
        while word == "playing" or block < 200:
            output.write(Block(512 * block, tone))
            block += 1
            if block == 50:
                print(word, flush=True)
        output.close()
        print("closed", flush=True)
    except LofidError as error:
        output.abort()
        print("error:", error, flush=True)
"""

FOLLOW = """
import numpy as np
from lofid.outputs import Block, parse
clock, other = parse("device:system"), parse("device:default")
other.keeps_time = False
for output in (clock, other):
    output.open()
place = np.arange(8 * 48000)
tone = np.repeat(0.1 * np.sin(2 * np.pi * 440 / 48000 * place)[:, None], 2, 1).astype("float32")
for start in range(0, len(tone), 512):
    block = Block(start, tone[start:start + 512])
    for output in (clock, other):
        output.write(block)
xruns = [output.details()["xruns"] for output in (clock, other)]
for output in (clock, other):
    output.close()
print(*xruns)
"""


STALL = """
import time, numpy as np
from lofid.outputs import Block, open_output
output = open_output("device")
tone = np.full((512, 2), 0.1, dtype="float32")
before = output.details()
for block in range(200):
    output.write(Block(512 * block, tone))
    if block in (50, 100, 150):
        time.sleep(0.2)
after = output.details()
output.close()
print(*(details[name] for details in (before, after) for name in ("xruns", "buffer_ms")))
"""


def script(text: str, environment: dict[str, str], *arguments: str) -> "subprocess.Popen[str]":
    # A process of its own: PortAudio and JACK look at the environment when they are loaded.
    return subprocess.Popen(
        [sys.executable, "-c", text, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def last_line(process: "subprocess.Popen[str]") -> str:
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    return out.strip().splitlines()[-1]


def play(spec: str, environment: dict[str, str]) -> str:
    return last_line(script(PLAY, environment, spec))


def ended(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


Server = tuple["subprocess.Popen[bytes]", dict[str, str]]


@contextmanager
def jack_server(name: str, *options: str, rate: int = 48_000) -> Iterator[Server]:
    if JACKD is None:
        pytest.skip("needs jackd (Debian: jackd2)")
    environment = {"JACK_NO_AUDIO_RESERVATION": "1", "JACK_DEFAULT_SERVER": name}
    process = subprocess.Popen(
        [JACKD, "--no-realtime", *options, "-n", name, "-d", "dummy", "-r", str(rate), "-p", "512"],
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        subprocess.run(
            ["jack_wait", "-s", name, "-w", "-t", "20"], check=True, stdout=subprocess.DEVNULL
        )
        yield process, environment | {"JACK_NO_START_SERVER": "1"}
    finally:
        ended(process)


@contextmanager
def pulse_server(folder: Path) -> Iterator[Server]:
    if PULSE is None:
        pytest.skip("needs pulseaudio")
    socket = folder / "native"
    socket.unlink(missing_ok=True)
    environment = {"HOME": str(folder), "XDG_RUNTIME_DIR": str(folder)}
    # With rewinds the null sink wants two seconds at once, and then nothing for as long.
    module = f"module-native-protocol-unix socket={socket} auth-anonymous=1"
    process = subprocess.Popen(
        [PULSE, "-n", "--exit-idle-time=-1", "--use-pid-file=no", "--disallow-exit",
         "-L", "module-null-sink norewinds=1", "-L", module],
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        while not socket.exists():
            assert process.poll() is None
            time.sleep(0.05)
        config = folder / "asound.conf"
        config.write_text("pcm.!default { type pulse }\nctl.!default { type pulse }\n")
        yield (
            process,
            environment
            | {
                "PULSE_SERVER": f"unix:{socket}",
                "ALSA_CONFIG_PATH": f"/usr/share/alsa/alsa.conf:{config}",
            },
        )
    finally:
        ended(process)


@pytest.fixture
def jack_name() -> str:
    return f"lofid-test-{os.getpid()}"


@pytest.fixture
def jack(jack_name: str) -> Iterator[dict[str, str]]:
    with jack_server(jack_name) as (_, environment):
        yield environment


@pytest.fixture
def pulse(tmp_path: Path) -> Iterator[dict[str, str]]:
    with pulse_server(tmp_path) as (_, environment):
        yield environment


def test_plays_on_pulseaudio(pulse: dict[str, str]) -> None:
    words = play("device", pulse).split()
    assert words[0] == "played"
    # Three seconds of music cannot be over sooner; the last block may still be on its way.
    assert float(words[1]) > 2.8


@contextmanager
def recorder(server: str) -> Iterator[list[NDArray[np.float32]]]:
    """A JACK client, connected to the first program that plays; its blocks, each [frames, 2]."""
    jack = pytest.importorskip("jack")
    client = jack.Client("recorder", servername=server, no_start_server=True)
    inputs = [client.inports.register(f"in_{side}") for side in (1, 2)]
    blocks: list[NDArray[np.float32]] = []
    client.set_process_callback(
        lambda _: blocks.append(np.stack([port.get_array() for port in inputs], axis=1))
    )
    with client:
        playing: list[object] = []
        while len(playing) < 2:
            time.sleep(0.02)
            ports = client.get_ports(is_audio=True, is_output=True)
            playing = [port for port in ports if not port.name.startswith("system:")]
        for source, sink in zip(playing, inputs, strict=True):
            client.connect(source, sink)
        yield blocks


def test_every_frame_reaches_jack_in_its_place(jack_name: str) -> None:
    # Synchronous: a recorder that is late is waited for.
    with jack_server(jack_name, "-S") as (_, environment):
        process = script(PLAY, environment, "device")
        with recorder(jack_name) as blocks:
            words = last_line(process).split()
    heard = np.concatenate(blocks)
    assert words[0] == "played"
    assert float(words[1]) > 2.8
    # What is written is heard within 60 ms: two periods in the ring, JACK's own buffer.
    assert 0 < int(words[2]) < 0.06 * 48_000
    sounding = heard[np.any(heard != 0, axis=1)].astype(float)
    places = (1 - sounding[:, 1]) * 64 * 4096 + (sounding[:, 0] + 1) * 4096
    assert len(places) > 48_000
    np.testing.assert_array_equal(np.diff(places), 1)
    assert places[-1] == 3 * 48_000 - 1


def test_the_ring_grows_with_every_xrun(jack: dict[str, str]) -> None:
    xruns, at_first, more, at_last = map(float, last_line(script(STALL, jack)).split())
    assert xruns == 0
    assert more >= 3
    # Two periods of JACK, and one for every xrun.
    assert at_first == pytest.approx(2000 * 512 / 48_000, abs=0.1)
    assert at_last >= at_first + 3 * 10


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


@pytest.mark.parametrize("kind", ["jack", "pulse"])
def test_a_killed_server_is_told_and_used_again(kind: str, jack_name: str, tmp_path: Path) -> None:
    def server() -> AbstractContextManager[Server]:
        return jack_server(jack_name) if kind == "jack" else pulse_server(tmp_path)

    with server() as (process, environment):
        player = script(OUTLIVE, environment)
        assert player.stdout is not None
        assert player.stdout.readline() == "playing\n"
        process.send_signal(signal.SIGKILL)
        assert player.stdout.readline().startswith("error: The sound card has stopped")
    with server():
        assert player.stdout.readline() == "back\n"
        assert last_line(player) == "closed"


def test_a_second_device_follows_the_first(jack: dict[str, str], pulse: dict[str, str]) -> None:
    xruns = map(int, last_line(script(FOLLOW, jack | pulse)).split())
    # A busy machine may make the rings grow; a ring that drifts would run dry again and again.
    assert max(xruns) <= 5


@settings(deadline=None, max_examples=20)
@given(st.floats(-0.003, 0.003), st.sampled_from([128, 512, 1024]))
def test_stretching_keeps_the_ring_at_its_target(drift: float, period: int) -> None:
    """A device whose clock is wrong by ``drift``, taking ``period`` frames at a time."""
    stretch, block = _Stretch(), np.zeros((512, 2), np.float32)
    fill, due, levels = 2_000, 0.0, []
    for _ in range(60 * 48_000 // 512):
        fill += len(stretch.process(block, fill - 2_000))
        due += 512 * (1 + drift)
        while due >= period:
            fill, due = fill - period, due - period
        levels.append(fill)
    late = np.array(levels[len(levels) // 2 :])
    assert abs(late.mean() - 2_000) < 512 + period
    assert late.min() > 0


@pytest.mark.parametrize("rate", [44_100, 48_000, 96_000])
@pytest.mark.parametrize("channels", [1, 2, 4])
def test_the_stream_at_a_devices_rate_and_channels(rate: int, channels: int) -> None:
    place = np.arange(2 * 48_000) / 48_000
    sides = (0.4 * np.sin(2 * np.pi * 440 * place), 0.2 * np.sin(2 * np.pi * 880 * place))
    stream = np.stack(sides, axis=1).astype(np.float32)
    converter, fed = Converter(rate, channels), 0
    given: list[NDArray[np.float32]] = []
    late = converter.late
    while fed < len(stream) - 8192:
        asked = (512, 64, 1000)[len(given) % 3]
        while lacking := converter.lacking(asked):
            converter.feed(stream[fed : fed + lacking])
            fed += lacking
        given.append(converter.give(asked))
    heard = np.concatenate(given)
    assert heard.shape[1] == channels
    assert len(heard) / rate == pytest.approx(fed / 48_000 + late - converter.late, abs=1e-4)
    # In the middle, whole periods of both tones: nothing else is there.
    second = heard[rate // 2 : rate // 2 + rate]
    levels = 2 * np.abs(np.fft.rfft(second, axis=0)) / rate
    expected = np.zeros_like(levels)
    expected[440, 0], expected[880, min(1, channels - 1)] = 0.4, 0.2
    if channels == 1:
        expected /= 2
    assert np.abs(levels - expected).max() < 1e-3


def test_a_rate_that_changes_is_seen_and_a_machine_under_load_is_not_one() -> None:
    def seen(*rates: float) -> list[int | None]:
        watch, moment, asked, told = RateWatch(48_000), 0.0, 0.0, []
        for rate in (48_000, *rates):
            told.append(watch.look(moment, round(asked)))
            moment += 3.0
            asked += 3.0 * rate
        return [*told, watch.look(moment, round(asked))]

    assert seen(48_010, 47_900, 48_000) == [None] * 5
    assert seen(46_000, 40_000, 30_000, 44_000, 48_000) == [None] * 7
    assert seen(48_000, 44_090, 44_110) == [None, None, None, None, 44_100]
    assert seen(96_000, 96_010)[-1] == 96_000


def test_what_is_written_and_taken_back_is_never_there() -> None:
    output = DeviceOutput(None)
    output._counters[:] = 0
    output._ring = np.zeros((65_536, 2), dtype=np.float32)
    place = np.repeat(np.arange(9216, dtype=np.float32)[:, None], 2, axis=1)
    output._put(place)
    assert output.take_back(100_000) == 9216 - 1024
    assert output.take_back(100_000) == 0
    assert output._fill == 1024
    output._put(-place[:512])
    np.testing.assert_array_equal(output._ring[:1024], place[:1024])
    np.testing.assert_array_equal(output._ring[1024:1536], -place[:512])
    assert output.take_back(511) == 0 and output.take_back(512) == 512


@pytest.mark.parametrize("rate", [44_100, 96_000])
def test_a_jack_server_at_another_rate(jack_name: str, rate: int) -> None:
    with jack_server(jack_name, rate=rate) as (_, environment):
        said = play("device", environment)
        word, took, _, details = said.split(maxsplit=3)
        assert word == "played" and float(took) == pytest.approx(3, abs=0.8)
        assert f"'resampled': 'from 48000 to {rate} Hz'" in details
