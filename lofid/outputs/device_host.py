"""The process that owns a sound card: PortAudio lives here, and nowhere else.

PortAudio looks for devices once, may hang where a sound server has died, and ends its process with
an assertion where JACK has. So each open device has a process of its own, which may be killed. Its
only work is to copy from the ring (:mod:`lofid.outputs._ring`): nothing here makes the card wait.

It is started by :class:`lofid.outputs.device.DeviceOutput`, prints one line of JSON once the device
plays, or says why it cannot, and ends when its standard input does.
"""

import gc
import json
import math
import os
import select
import sys
import threading
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import soxr

from lofid.errors import LofidError
from lofid.outputs import _ring
from lofid.outputs.output import SAMPLE_RATE, Audio
from lofid.processes import leave_signals_to_parent
from lofid.realtime import schedule
from lofid.system import PORTAUDIO, missing_error

_JACK = "JACK Audio Connection Kit"
_PRIORITY = 60  # of 99; above all that makes the audio
_LATENCY = 0.02  # seconds of the device's own buffer, where it has a choice; JACK has none
_TENTH = 0.1  # seconds in which a device that plays wants frames
_PATIENCE = 0.5  # seconds for the device to be let go of
_LOOK = 3.0  # seconds between two looks at the rate
_SLOW_START = 5.0  # seconds that a sound server may take to wake up


@dataclass(frozen=True, slots=True)
class Device:
    """A device that can play: PortAudio's index, its name, its host API, its channels."""

    index: int
    name: str
    host: str
    channels: int


def devices() -> list[Device]:
    """Every device that can play; raises LofidError if PortAudio is missing."""
    sounddevice = _sounddevice()
    hosts = [host["name"] for host in sounddevice.query_hostapis()]
    return [
        Device(index, str(row["name"]), hosts[row["hostapi"]], int(row["max_output_channels"]))
        for index, row in enumerate(sounddevice.query_devices())
        if row["max_output_channels"] >= 1
    ]


class Converter:
    """Brings the stream to a device's rate and channels: fed as much as it wants, it gives."""

    def __init__(self, rate: float, channels: int) -> None:
        self.rate = rate
        self._channels = channels
        self._ready: Audio = np.zeros((0, 2), dtype=np.float32)
        self._soxr: Any = None
        if rate != SAMPLE_RATE:
            self._soxr = soxr.ResampleStream(SAMPLE_RATE, rate, 2, dtype="float32", quality="HQ")
            # So that what is fed from now on comes out as it goes in.
            self._soxr.resample_chunk(np.zeros((SAMPLE_RATE // 10, 2), dtype=np.float32))

    def lacking(self, frames: int) -> int:
        """Frames of the stream that it wants, to give so many of the device's."""
        return max(0, math.ceil((frames - len(self._ready)) * SAMPLE_RATE / self.rate))

    def feed(self, audio: Audio) -> None:
        """Take the next frames of the stream, [frames, 2]."""
        if self._soxr is not None:
            audio = self._soxr.resample_chunk(audio)
        self._ready = np.concatenate((self._ready, audio)) if len(self._ready) else audio

    def give(self, frames: int) -> Audio:
        """The next frames of the device, [frames, channels]; silence where it was not fed."""
        audio, self._ready = self._ready[:frames], self._ready[frames:]
        if self._channels == 2 and len(audio) == frames:
            return audio
        out: Audio = np.zeros((frames, self._channels), dtype=np.float32)
        # One channel is the sides' mean; of more than two, the first two play.
        out[: len(audio), :2] = audio.mean(axis=1)[:, None] if self._channels == 1 else audio
        return out

    @property
    def late(self) -> float:
        """Seconds by which what is fed now comes out later."""
        waiting = len(self._ready) + (self._soxr.delay() if self._soxr is not None else 0.0)
        return float(waiting) / self.rate


class _Player:
    """Plays the ring of some shared memory."""

    def __init__(self, memory: int, wake: int) -> None:
        self.converter = Converter(SAMPLE_RATE, 2)
        whole = memoryview(_ring.mapped(memory))
        self.counters = whole[: _ring.HEADER * _ring.FRAME].cast("q")
        ring = np.frombuffer(whole[_ring.HEADER * _ring.FRAME :], dtype=np.float32)
        self._frames = ring.reshape(_ring.SIZE, 2)
        self._wake = wake
        self.asked = 0  # frames of the device's own rate

    def callback(self, out: Any, asked: int, times: Any, status: Any) -> None:
        """Fill ``out`` (bytes of ``asked`` frames); called in PortAudio's thread."""
        now = time.monotonic_ns()
        counters, converter = self.counters, self.converter
        read = counters[_ring.READ]
        ready = max(0, counters[_ring.WRITTEN] - read)  # less where too much was taken back
        if not counters[_ring.PLAYING] and (
            ready >= counters[_ring.TARGET] or counters[_ring.ENDING]
        ):
            counters[_ring.PLAYING] = 1
        late = converter.late
        taken = 0
        if counters[_ring.PLAYING]:
            while taken < ready and (lacking := converter.lacking(asked)):
                place = (read + taken) % _ring.SIZE
                count = min(lacking, ready - taken, _ring.SIZE - place)
                converter.feed(self._frames[place : place + count])
                taken += count
            if converter.lacking(asked) and not counters[_ring.ENDING]:
                counters[_ring.XRUNS] += 1
                counters[_ring.PLAYING] = 0
        out[:] = converter.give(asked).tobytes()
        if status.output_underflow:
            counters[_ring.UNDERFLOWS] += 1
        turn = counters[_ring.TURN] + 1
        stamp = _ring.STAMPS + 2 * (turn & 1)
        counters[stamp] = read
        ahead = times.outputBufferDacTime - times.currentTime + late
        counters[stamp + 1] = now + round(ahead * 1e9)
        counters[_ring.TURN] = turn
        usual = math.ceil(asked * SAMPLE_RATE / converter.rate)
        counters[_ring.PERIOD] = max(counters[_ring.PERIOD], usual)
        counters[_ring.READ] = read + taken
        counters[_ring.ASKED] += usual
        self.asked += asked
        if counters[_ring.WAITING]:
            counters[_ring.WAITING] = 0
            os.write(self._wake, b"\0")


class RateWatch:
    """Sees whether a device plays at another rate than that at which it was opened.

    A sound server may change its rate under its clients, who are told nothing. Two looks that agree
    on one of the usual rates are needed: a machine under load asks for too little, too.
    """

    _USUAL = (22_050, 32_000, 44_100, 48_000, 88_200, 96_000, 176_400, 192_000)
    _NEAR = 0.015

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._before: tuple[float, int] | None = None
        self._suspected = 0

    def look(self, moment: float, asked: int) -> int | None:
        """The rate that the device has changed to, from the frames it has asked for by a moment."""
        before, self._before = self._before, (moment, asked)
        if before is None or moment <= before[0]:
            return None
        measured = (asked - before[1]) / (moment - before[0])
        near = [rate for rate in self._USUAL if abs(measured / rate - 1) < self._NEAR]
        changed = near[0] if near and abs(near[0] / self._rate - 1) > self._NEAR else 0
        sure = changed and changed == self._suspected
        self._suspected = changed
        return changed if sure else None


def _opened(name: str | None, player: _Player) -> tuple[Any, str]:
    """A stream that plays, and what the device is called."""
    sounddevice = _sounddevice()
    device = _chosen(name)
    try:
        stream = _stream(device, player)
        stream.start()
    except sounddevice.PortAudioError as error:
        raise LofidError(
            f"The device '{device.name}' cannot be opened ({error.args[0]}); "
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


def _stream(device: Device, player: _Player) -> Any:
    """The device's stream: at our rate, or at its own where it takes no other."""
    sounddevice = _sounddevice()
    own = float(sounddevice.query_devices(device.index)["default_samplerate"])
    # A JACK server has one rate, and PortAudio asks no other of it.
    rates = [own] if device.host == _JACK else [float(SAMPLE_RATE), own]
    channels = min(2, device.channels)
    for rate in rates:
        player.converter = Converter(rate, channels)
        try:
            return sounddevice.RawOutputStream(
                device=device.index,
                samplerate=rate,
                channels=channels,
                dtype="float32",
                # JACK's buffers are not ours to choose; PortAudio would add its own to them.
                latency="low" if device.host == _JACK else _LATENCY,
                callback=player.callback,
            )
        except sounddevice.PortAudioError:
            if rate == rates[-1]:
                raise
    raise AssertionError("a rate")


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


def _watch(player: _Player, device: str) -> str:
    """Wait until standard input ends; or the device changes its rate: then why, a sentence."""
    watch = RateWatch(player.converter.rate)
    while not select.select([sys.stdin], [], [], _LOOK)[0]:
        if (rate := watch.look(time.monotonic(), player.asked)) is not None:
            return (
                f"The device '{device}' has changed its rate from {player.converter.rate:.0f} to "
                f"{rate} Hz; it is opened anew."
            )
    return ""


def _sounddevice() -> Any:
    try:
        import sounddevice  # noqa: PLC0415 - it looks for the C library as soon as it is imported
    except OSError:
        raise missing_error(PORTAUDIO) from None
    return sounddevice


def main(memory: str, wake: str, name: str | None = None) -> None:
    """Play the ring behind the descriptor ``memory`` until standard input ends."""
    leave_signals_to_parent()
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
    facts = {
        "device": device,
        "latency": float(stream.latency) + player.converter.late,
        "rate": float(stream.samplerate),
    }
    print(json.dumps(facts), file=answer, flush=True)
    if reason := _watch(player, device):
        print(json.dumps({"error": reason}), file=answer, flush=True)
    # Other programs at the same server like a good-bye, but PortAudio may hang in it.
    closing = threading.Thread(target=stream.close, daemon=True)
    closing.start()
    closing.join(_PATIENCE)
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
