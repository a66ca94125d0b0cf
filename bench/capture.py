"""What JACK plays, captured frame by frame: the server, the recorder, and what it found.

The recorder is a process of its own, ``python -m bench.capture``, so that nothing keeps it
from being in time. Must not know what is played. Needs jackd, and libjack at run time.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from bench import environment
from lofid.outputs.output import SAMPLE_RATE, Audio
from lofid.processes import python_module
from lofid.realtime import schedule
from lofid.system import JACK, missing_error

PERIOD = 512
"""Frames in a cycle of the server, and how long after its cycle a frame is heard."""

_PATIENCE = 30.0
_TURN = 0.05
_PRIORITY = 3  # below JACK's clients, which run at 5
_HALF = 2**31  # JACK counts frames in 32 bits; after an xrun its count may step back


@contextmanager
def jack_server(name: str, period: int = PERIOD) -> Iterator[dict[str, str]]:
    """A JACK server without a sound card, in real time where that is allowed.

    Gives the environment in which programs find it.
    """
    if not JACK.present:
        raise missing_error(JACK)
    environment = {
        "JACK_DEFAULT_SERVER": name,
        "JACK_NO_START_SERVER": "1",
        "JACK_NO_AUDIO_RESERVATION": "1",
    }
    server = [shutil.which(JACK.name) or JACK.name, "--realtime", "-P", "70", "--name", name]
    dummy = ["-d", "dummy", "--rate", str(SAMPLE_RATE), "--period", str(period)]
    process = subprocess.Popen(
        [*server, *dummy],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait = ["jack_wait", "-s", name, "-w", "-t", str(round(_PATIENCE))]
        subprocess.run(wait, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        yield environment
    finally:
        process.terminate()
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@dataclass(frozen=True, slots=True)
class Captured:
    """A recording of what was played, and how the recorder itself fared."""

    path: Path
    """Floating-point WAV, from the first cycle on; frames that were missed are zero."""
    cycles: NDArray[np.float64]
    """[cycles, 2]: the frame in the file that a cycle began with, and the monotonic time then."""
    missed: int
    """Frames that the recorder did not see, or that the server counted twice."""
    xruns: int
    """Times that the server says a client or itself was late."""

    def moments(self, frames: Sequence[int]) -> NDArray[np.float64]:
        """When these frames were heard, in seconds of the monotonic clock."""
        times = np.interp(frames, self.cycles[:, 0], self.cycles[:, 1])
        return np.asarray(times + PERIOD / SAMPLE_RATE)

    def frame(self, moment: float) -> int:
        """The frame that was heard at a moment of the monotonic clock."""
        at = np.interp(moment - PERIOD / SAMPLE_RATE, self.cycles[:, 1], self.cycles[:, 0])
        return int(at)


class JackRecording:
    """A recorder that follows what is connected to the server's outputs, until :meth:`stop`."""

    def __init__(self, server: str, path: Path) -> None:
        self._path = path
        self._process = subprocess.Popen(
            [*python_module(__name__), server, str(path)],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def stop(self) -> Captured:
        """End the recording and give what was captured."""
        told, _ = self._process.communicate()
        report = json.loads(told)
        cycles = np.load(_cycles_of(self._path))
        return Captured(self._path, cycles, report["missed"], report["xruns"])

    def abort(self) -> None:
        """End the recorder; what it captured is not wanted."""
        self._process.kill()
        self._process.communicate()


@contextmanager
def recording(server: str, path: Path) -> Iterator[JackRecording]:
    """A recorder that is ended, whatever happens."""
    recorder = JackRecording(server, path)
    try:
        yield recorder
    finally:
        recorder.abort()


def longest_silence(path: Path, below: float = 1e-3, window: int = SAMPLE_RATE // 100) -> float:
    """Longest time in seconds, between the first and the last sound, with no peak over ``below``.

    Measured in windows of ``window`` frames; infinite where nothing sounds at all.
    """
    loud: list[NDArray[np.bool_]] = []
    for block in blocks(path, 1000 * window):
        whole = np.abs(block[: len(block) // window * window]).reshape(-1, window * 2)
        loud.append(whole.max(axis=1) > below)
    sounding = np.flatnonzero(np.concatenate(loud))
    if not len(sounding):
        return float("inf")
    return float(np.max(np.diff(sounding), initial=1) - 1) * window / SAMPLE_RATE


def blocks(path: Path, frames: int) -> Iterator[Audio]:
    """The audio of a file in pieces."""
    yield from soundfile.blocks(path, frames, dtype="float32", always_2d=True)


def _cycles_of(path: Path) -> Path:
    return path.with_suffix(".npy")


def _record(server: str, path: Path) -> None:
    """Record until the standard input ends; print what happened as JSON."""
    import jack  # noqa: PLC0415  # it looks for libjack when it is imported

    # JACK's thread waits for this one's turns with the interpreter: no busy program may stop it.
    schedule(_PRIORITY)
    client = jack.Client("recorder", servername=server, no_start_server=True)
    ours = [client.inports.register(f"in_{channel}") for channel in (1, 2)]
    theirs = [client.get_port_by_name(f"system:playback_{channel}") for channel in (1, 2)]
    ready: deque[tuple[int, float, Audio]] = deque()
    xruns = 0

    @client.set_process_callback  # type: ignore[untyped-decorator]
    def process(_frames: int) -> None:
        heard = np.stack([port.get_array() for port in ours], axis=1)
        ready.append((client.last_frame_time, time.monotonic(), heard))

    @client.set_xrun_callback  # type: ignore[untyped-decorator]
    def late(_microseconds: float) -> None:
        nonlocal xruns
        xruns += 1

    ended = threading.Event()

    def wait() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=wait, daemon=True).start()
    cycles: list[tuple[int, float]] = []
    missed = 0
    expected: int | None = None
    with (
        soundfile.SoundFile(path, "w", SAMPLE_RATE, 2, "FLOAT", format="RF64") as file,
        client,
    ):
        while not ended.wait(_TURN) or ready:
            for own, sink in zip(ours, theirs, strict=True):
                known = {port.name for port in client.get_all_connections(own)}
                wanted = {port.name for port in client.get_all_connections(sink)}
                for source in wanted - known:
                    with suppress(jack.JackError):  # it was gone by then
                        client.connect(source, own)
            while ready:
                count, moment, heard = ready.popleft()
                gap = 0 if expected is None else (count - expected + _HALF) % (2 * _HALF) - _HALF
                missed += abs(gap)
                file.write(np.zeros((max(0, gap), 2), np.float32))
                cycles.append((file.frames, moment))
                file.write(heard)
                expected = count + len(heard)
    np.save(_cycles_of(path), np.array(cycles, dtype=np.float64))
    print(json.dumps({"missed": missed, "xruns": xruns}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("server")
    parser.add_argument("path", type=Path)
    given = parser.parse_args()
    _record(given.server, given.path)
