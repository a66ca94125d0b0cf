"""The sound card, through PortAudio.

The writer fills a ring of three quarters of a second; PortAudio's callback thread empties it. The
callback copies and counts, nothing else: it must never wait for Python code that works.
"""

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np

from lofid.errors import LofidError
from lofid.outputs.output import SAMPLE_RATE, Audio, Block, Output
from lofid.system import PORTAUDIO, missing_error

_RING = SAMPLE_RATE * 3 // 4
_LONGEST_WAIT = 5.0  # seconds without a callback after which the device counts as gone


@dataclass(frozen=True, slots=True)
class Device:
    """A device that can play: PortAudio's index, its name, its host API, its channels."""

    index: int
    name: str
    host: str
    channels: int


class DeviceOutput(Output):
    """Plays on a sound card. ``xruns`` counts the callbacks that found too little audio."""

    keeps_time = True

    def __init__(self, name: str | None) -> None:
        self._name = name
        self._ring: Audio = np.zeros((_RING, 2), dtype=np.float32)
        self._read = 0  # frames ever played, moved by the callback
        self._written = 0  # frames ever written, moved by the writer
        self._room = threading.Condition()
        self._ending = False
        self._stream: Any = None
        self.xruns = 0

    def open(self) -> None:
        """Open the device and begin to play silence until the first block comes."""
        sounddevice = _sounddevice()
        device = _chosen(self._name)
        try:
            self._stream = sounddevice.OutputStream(
                device=None if device is None else device.index,
                samplerate=SAMPLE_RATE,
                channels=2,
                dtype="float32",
                latency="high",
                callback=self._callback,
            )
            self._stream.start()
        except sounddevice.PortAudioError as error:
            name = "The sound card" if device is None else f"The device '{device.name}'"
            raise LofidError(
                f"{name} cannot be opened at {SAMPLE_RATE} Hz ({error.args[0]}); close what else "
                "uses it, or choose another one of those that `lofid doctor` lists."
            ) from None

    def write(self, block: Block) -> None:
        """Wait until there is room, then take the block."""
        audio, done = block.audio, 0
        while done < len(audio):
            with self._room:
                free = self._free(at_least=1)
            place = self._written % _RING
            count = min(free, len(audio) - done, _RING - place)
            self._ring[place : place + count] = audio[done : done + count]
            self._written += count
            done += count

    def close(self) -> None:
        """Play what is in the ring, then let the device go."""
        if self._stream is None:
            return
        self._ending = True
        try:
            with self._room:
                self._free(at_least=_RING)
            self._stream.stop()  # waits for the device's own buffer
        finally:
            self.abort()

    def abort(self) -> None:
        """Fall silent and let the device go."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _free(self, at_least: int) -> int:
        """Frames of room in the ring, once there are ``at_least`` so many; holds the condition."""
        while (free := _RING - (self._written - self._read)) < at_least:
            before = self._read
            if not self._room.wait(_LONGEST_WAIT) and self._read == before:
                raise LofidError(
                    "The sound card has stopped taking audio; see that it is still connected and"
                    " its server still runs, then start again."
                )
        return free

    def _callback(self, out: Audio, frames: int, _time: Any, _status: Any) -> None:
        ready = min(frames, self._written - self._read)
        place = self._read % _RING
        first = min(ready, _RING - place)
        out[:first] = self._ring[place : place + first]
        out[first:ready] = self._ring[: ready - first]
        out[ready:] = 0
        if ready < frames and self._written > 0 and not self._ending:
            self.xruns += 1
        self._read += ready
        with self._room:
            self._room.notify_all()


def devices() -> list[Device]:
    """Every device that can play stereo; raises LofidError if PortAudio is missing."""
    sounddevice = _sounddevice()
    hosts = [host["name"] for host in sounddevice.query_hostapis()]
    return [
        Device(index, str(row["name"]), hosts[row["hostapi"]], int(row["max_output_channels"]))
        for index, row in enumerate(sounddevice.query_devices())
        if row["max_output_channels"] >= 2
    ]


def _chosen(name: str | None) -> Device | None:
    """The device whose name holds ``name``; None for the system's own choice."""
    found = devices()
    if not found:
        raise LofidError(
            "This machine has no audio device; write to a file with --output file:music.flac, or "
            "start a sound server (PipeWire, PulseAudio, JACK)."
        )
    if name is None:
        return None if _has_default() else found[0]
    fitting = [device for device in found if name.lower() in device.name.lower()]
    if not fitting:
        names = ", ".join(f"'{device.name}'" for device in found)
        raise LofidError(f"There is no audio device '{name}'; this machine has {names}.")
    return fitting[0]


def _has_default() -> bool:
    return int(_sounddevice().default.device[1]) >= 0


def _sounddevice() -> Any:
    try:
        import sounddevice  # noqa: PLC0415 - it looks for the C library as soon as it is imported
    except OSError:
        raise missing_error(PORTAUDIO) from None
    return sounddevice


def make(argument: str | None) -> DeviceOutput:
    """The device output; without an argument, the system's own choice."""
    if argument == "":
        raise LofidError("The output 'device:' lacks a name; write device, or device:NAME.")
    return DeviceOutput(argument)
