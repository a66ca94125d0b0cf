"""The process that owns a sound card: PortAudio lives here, and nowhere else.

PortAudio looks for devices once, may hang where a sound server has died, and ends its process with
an assertion where JACK has. So each open device has a process of its own, which may be killed. Its
only work is to copy from the ring (:mod:`lofid.outputs._ring`): nothing here makes the card wait.

It is started by :class:`lofid.outputs.device.DeviceOutput`, prints one line of JSON once the device
plays, or says why it cannot, and ends when its standard input does.
"""

import gc
import json
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass
from typing import Any

from lofid.errors import LofidError
from lofid.outputs import _ring
from lofid.outputs.output import SAMPLE_RATE
from lofid.realtime import schedule
from lofid.system import PORTAUDIO, missing_error

_JACK = "JACK Audio Connection Kit"
_PRIORITY = 60  # of 99; above all that makes the audio
_LATENCY = 0.02  # seconds of the device's own buffer, where it has a choice; JACK has none
_TENTH = 0.1  # seconds in which a device that plays wants frames
_PATIENCE = 0.5  # seconds for the device to be let go of
_SLOW_START = 5.0  # seconds that a sound server may take to wake up


@dataclass(frozen=True, slots=True)
class Device:
    """A device that can play: PortAudio's index, its name, its host API, its channels."""

    index: int
    name: str
    host: str
    channels: int


def devices() -> list[Device]:
    """Every device that can play stereo; raises LofidError if PortAudio is missing."""
    sounddevice = _sounddevice()
    hosts = [host["name"] for host in sounddevice.query_hostapis()]
    return [
        Device(index, str(row["name"]), hosts[row["hostapi"]], int(row["max_output_channels"]))
        for index, row in enumerate(sounddevice.query_devices())
        if row["max_output_channels"] >= 2
    ]


class _Player:
    """Plays the ring of some shared memory."""

    def __init__(self, memory: int, wake: int) -> None:
        whole = memoryview(_ring.mapped(memory))
        self.counters = whole[: _ring.HEADER * _ring.FRAME].cast("q")
        self._frames = whole[_ring.HEADER * _ring.FRAME :]
        self._wake = wake

    def callback(self, out: Any, wanted: int, times: Any, status: Any) -> None:
        """Fill ``out`` (bytes of ``wanted`` frames); called in PortAudio's thread."""
        now = time.monotonic_ns()
        counters = self.counters
        read = counters[_ring.READ]
        ready = max(0, counters[_ring.WRITTEN] - read)  # less where too much was taken back
        if not counters[_ring.PLAYING] and (
            ready >= counters[_ring.TARGET] or counters[_ring.ENDING]
        ):
            counters[_ring.PLAYING] = 1
        count = min(wanted, ready) if counters[_ring.PLAYING] else 0
        place = read % _ring.SIZE
        first = min(count, _ring.SIZE - place) * _ring.FRAME
        last, end = count * _ring.FRAME, wanted * _ring.FRAME
        begin = place * _ring.FRAME
        out[:first] = self._frames[begin : begin + first]
        out[first:last] = self._frames[: last - first]
        if count < wanted:
            out[last:end] = bytes(end - last)
            if counters[_ring.PLAYING] and not counters[_ring.ENDING]:
                counters[_ring.XRUNS] += 1
                counters[_ring.PLAYING] = 0
        if status.output_underflow:
            counters[_ring.UNDERFLOWS] += 1
        turn = counters[_ring.TURN] + 1
        stamp = _ring.STAMPS + 2 * (turn & 1)
        counters[stamp] = read
        ahead = times.outputBufferDacTime - times.currentTime
        counters[stamp + 1] = now + round(ahead * 1e9)
        counters[_ring.TURN] = turn
        counters[_ring.PERIOD] = max(counters[_ring.PERIOD], wanted)
        counters[_ring.READ] = read + count
        counters[_ring.ASKED] += wanted
        if counters[_ring.WAITING]:
            counters[_ring.WAITING] = 0
            os.write(self._wake, b"\0")


def _opened(name: str | None, player: _Player) -> tuple[Any, str]:
    """A stream that plays, and what the device is called."""
    sounddevice = _sounddevice()
    device = _chosen(name)
    try:
        stream = sounddevice.RawOutputStream(
            device=device.index,
            samplerate=SAMPLE_RATE,
            channels=2,
            dtype="float32",
            # JACK's buffers are not ours to choose; PortAudio would add its own to them.
            latency="low" if device.host == _JACK else _LATENCY,
            callback=player.callback,
        )
        stream.start()
    except sounddevice.PortAudioError as error:
        raise LofidError(
            f"The device '{device.name}' cannot be opened at {SAMPLE_RATE} Hz ({error.args[0]}); "
            "close what else uses it, or choose another one of those that `lofid doctor` lists."
        ) from None
    # A server that wakes up takes what fills its buffers, and then nothing for up to two seconds.
    began, flowing = time.monotonic(), 0
    while flowing < 2:
        asked = player.counters[_ring.ASKED]
        time.sleep(_TENTH)
        taken = player.counters[_ring.ASKED] - asked
        flowing = flowing + 1 if taken > _TENTH * SAMPLE_RATE / 2 else 0
        if time.monotonic() - began > _SLOW_START:
            raise LofidError(
                f"The device '{device.name}' was opened and does not play; see that its server "
                "still runs, or choose another one of those that `lofid doctor` lists."
            )
    return stream, device.name


def _chosen(name: str | None) -> Device:
    """The device whose name holds ``name``; without one, the system's own choice."""
    found = devices()
    if not found:
        raise LofidError(
            "This machine has no audio device; write to a file with --output file:music.flac, or "
            "start a sound server (PipeWire, PulseAudio, JACK)."
        )
    if name is None:
        # Where JACK runs it has the card, and ALSA's way to JACK is longer.
        usual = int(_sounddevice().default.device[1])
        return max(found, key=lambda device: (device.host == _JACK, device.index == usual))
    fitting = [device for device in found if name.lower() in device.name.lower()]
    if not fitting:
        names = ", ".join(f"'{device.name}'" for device in found)
        raise LofidError(f"There is no audio device '{name}'; this machine has {names}.")
    return fitting[0]


def _sounddevice() -> Any:
    try:
        import sounddevice  # noqa: PLC0415 - it looks for the C library as soon as it is imported
    except OSError:
        raise missing_error(PORTAUDIO) from None
    return sounddevice


def main(memory: str, wake: str, name: str | None = None) -> None:
    """Play the ring behind the descriptor ``memory`` until standard input ends."""
    for number in (signal.SIGINT, signal.SIGTERM):  # for whoever started us, and ends us in turn
        signal.signal(number, signal.SIG_IGN)
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    sys.stderr = os.fdopen(os.dup(2), "w", encoding="utf-8")
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (1, 2):
        os.dup2(null, descriptor)  # the sound libraries print much that is no error
    schedule(_PRIORITY)
    os.set_blocking(int(wake), False)
    player = _Player(int(memory), int(wake))
    gc.disable()
    try:
        stream, device = _opened(name, player)
    except LofidError as error:
        print(json.dumps({"error": str(error)}), file=answer, flush=True)
        os._exit(1)
    facts = {"device": device, "latency": float(stream.latency)}
    print(json.dumps(facts), file=answer, flush=True)
    sys.stdin.buffer.read()
    # Other programs at the same server like a good-bye, but PortAudio may hang in it.
    closing = threading.Thread(target=stream.close, daemon=True)
    closing.start()
    closing.join(_PATIENCE)
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
