"""A JACK server of the tests' own, and a listener on it."""

import os
import re
import shutil
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import jack
import pytest

PERIOD = 1024
RATE = 48_000


class Server:
    """A jackd with the dummy driver."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.start()

    def start(self) -> None:
        scheduling = "--realtime" if os.geteuid() == 0 else "--no-realtime"
        driver = ["-d", "dummy", "-r", str(RATE), "-p", str(PERIOD)]
        self._process = subprocess.Popen(
            ["jackd", scheduling, "-n", self.name, *driver],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait = ["jack_wait", "-s", self.name, "-w", "-t", "20"]
        subprocess.run(wait, check=True, stdout=subprocess.DEVNULL)

    def end(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Ear:
    """Hears all that comes to its port, in a process that is written in C and is on time."""

    def __init__(self, server: str, folder: Path) -> None:
        self._path = folder / "heard"
        with self._path.open("wb") as file:
            self._dump = subprocess.Popen(
                ["stdbuf", "-oL", "jack_midi_dump", "-a", "ear"],
                stdout=file,
                stderr=subprocess.DEVNULL,
            )
        self.client = jack.Client("tester", servername=server, no_start_server=True)
        self.xruns = 0
        self.client.set_xrun_callback(self._xrun)
        self.client.activate()
        self._mouth: Mouth | None = None
        self.until(lambda: bool(self.client.get_ports("^ear:input$")))

    @property
    def heard(self) -> list[tuple[int, bytes]]:
        """Frames, counted from some beginning, and messages."""
        lines = (re.match(r" *(\d+):((?: [0-9a-f]{2})+)\b", line) for line in self._lines())
        return [(int(line[1]), bytes.fromhex(line[2])) for line in lines if line is not None]

    @property
    def notes(self) -> list[tuple[int, bytes]]:
        return [(frame, m) for frame, m in self.heard if m[0] & 0xF0 in (0x80, 0x90)]

    def sounding(self) -> set[tuple[int, int]]:
        """Channel and pitch of every note that was begun and not ended."""
        sounding: set[tuple[int, int]] = set()
        for _, (status, pitch, velocity) in self.notes:
            note = status & 0x0F, pitch
            if status & 0xF0 == 0x90 and velocity > 0:
                sounding.add(note)
            else:
                sounding.discard(note)
        return sounding

    def connect(self, source: str) -> None:
        self.client.connect(source, "ear:input")

    def say(self, sink: str, messages: Sequence[tuple[int, bytes]]) -> None:
        """Send messages to a port, at frames from now on, in order."""
        if self._mouth is None:
            self._mouth = Mouth()
        self._mouth.say(sink, messages)

    def until(self, true: Callable[[], bool], seconds: float = 20.0) -> None:
        latest = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < latest, self._lines()[-10:]
            time.sleep(0.02)

    def close(self) -> None:
        self._dump.terminate()
        self._dump.wait()
        if self._mouth is not None:
            self._mouth.client.close()
        self.client.close()

    def _lines(self) -> list[str]:
        return self._path.read_text().splitlines() if self._path.exists() else []

    def _xrun(self, _delay: float) -> None:
        self.xruns += 1


class Mouth:
    """Says messages at their frames."""

    def __init__(self) -> None:
        self.client = jack.Client("mouth", no_start_server=True)
        self._output = self.client.midi_outports.register("out")
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._origin = 0
        self.client.set_process_callback(self._process)
        self.client.activate()

    def say(self, sink: str, messages: Sequence[tuple[int, bytes]]) -> None:
        if not self._output.is_connected_to(sink):
            self.client.connect(self._output.name, sink)
        self._origin = self.client.frame_time + 2 * PERIOD
        self._waiting.extend(messages)

    def _process(self, frames: int) -> None:
        begins = self.client.last_frame_time - self._origin
        self._output.clear_buffer()
        while self._waiting and self._waiting[0][0] < begins + frames:
            frame, message = self._waiting.popleft()
            self._output.write_midi_event(max(0, frame - begins), message)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    if shutil.which("jackd") is None:
        pytest.skip("needs jackd (Debian: jackd2)")
    name = f"lofid-test-{os.getpid()}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JACK_NO_AUDIO_RESERVATION", "1")
        patch.setenv("JACK_NO_START_SERVER", "1")
        patch.setenv("JACK_DEFAULT_SERVER", name)
        server = Server(name)
        try:
            yield server
        finally:
            server.end()


@pytest.fixture
def ear(server: Server, tmp_path: Path) -> Iterator[Ear]:
    listening = Ear(server.name, tmp_path)
    try:
        yield listening
    finally:
        listening.close()
