"""The sound card: a ring of audio, and a process that plays it.

The writer fills a ring up to a target; a process of its own (:mod:`lofid.outputs.device_host`)
empties it into PortAudio. The target begins low, so that what is turned is soon heard; each time
that the ring runs dry it grows, so that a machine under load becomes quiet by itself.
"""

import json
import os
import select
import subprocess
import threading
import time
from collections.abc import Mapping
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from lofid.compiled import compiled
from lofid.errors import LofidError
from lofid.outputs import _ring
from lofid.outputs.output import SAMPLE_RATE, Audio, Block, Output
from lofid.processes import python_module

LIVE = 1024
"""Frames in the ring where somebody steers: 21 ms."""

STEADY = SAMPLE_RATE // 2
"""Frames in the ring where nobody does."""

_STEP = 512  # frames by which the target grows, or the device's period where that is longer
_MOST = SAMPLE_RATE // 5  # the target that it grows to
_GONE = 0.5  # seconds without a callback after which the device counts as gone
_STARTING = 15.0  # seconds for the process to start and open its device
_ENDING = 1.0  # seconds for the process to end by itself
_SMOOTHING = 0.05  # share of a callback's own time stamp in when a frame is heard
_JUMP = 0.02  # seconds; a stamp that is further off is a new beginning


class DeviceOutput(Output):
    """Plays on a sound card.

    ``target`` is how many frames wait in the ring, at least two of the device's periods. Where
    ``keeps_time`` is set to False, another output keeps the time: then :meth:`write` never waits,
    and the music is stretched by up to 0.5 % to this device's own clock. Both are set before
    :meth:`open`.
    """

    def __init__(self, name: str | None) -> None:
        self.keeps_time = True
        self.target = LIVE
        self._name = name
        self._counters = np.zeros(_ring.HEADER, dtype=np.int64)
        self._ring: Audio = np.zeros((0, 2), dtype=np.float32)
        self._host: subprocess.Popen[bytes] | None = None
        self._wake: int | None = None
        self._device = ""
        self._rate = SAMPLE_RATE
        self._latency = 0.0  # seconds behind the ring
        self._asked = 0
        self._alive = 0.0  # when the device was last seen to want frames
        self._xruns = 0  # that the target has grown for
        self._grown = 0
        self._stretch = _Stretch()
        self._writing = threading.Lock()
        self._heard: tuple[int, float] | None = None
        self._turn = 0

    def open(self) -> None:
        """Open the device and play silence until the first block comes.

        Returns once the device plays: a sound server may take seconds to wake up.
        """
        descriptor = _ring.memory()
        self._wake, theirs = os.pipe()
        os.set_blocking(self._wake, False)
        try:
            memory = np.frombuffer(_ring.mapped(descriptor), dtype=np.int64)
            self._counters = memory[: _ring.HEADER]
            self._ring = memory[_ring.HEADER :].view(np.float32).reshape(_ring.SIZE, 2)
            self._counters[_ring.TARGET] = self.target
            command = python_module("lofid.outputs.device_host")
            command += [str(descriptor), str(theirs)]
            self._host = subprocess.Popen(
                command if self._name is None else [*command, self._name],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                pass_fds=(descriptor, theirs),
            )
        finally:
            os.close(descriptor)
            os.close(theirs)
        facts = self._answer()
        if "error" in facts:
            raise LofidError(str(facts["error"]))
        if not self.keeps_time:
            _Stretch().process(np.zeros((_STEP, 2), dtype=np.float32), 0)  # compiled by now
        self._device, self._latency = str(facts["device"]), float(facts["latency"])
        self._rate = round(float(facts["rate"]))
        self._alive = time.monotonic()

    def write(self, block: Block) -> None:
        """Take the block, and return when the next one is wanted: the ring has sunk to its target.

        Whoever renders then, renders as late as can be. LofidError if the ring does not sink.
        """
        self._grow()
        audio = block.audio
        if not self.keeps_time:
            self._look()
            if self._fill < _ring.SIZE // 2:
                self._put(self._stretch.process(audio, self._fill - self._wanted))
            return
        for start in range(0, len(audio), _MOST):
            self._put(audio[start : start + _MOST])
            self._wait(self._wanted)

    def take_back(self, most: int) -> int:
        """Take out of the ring what lies above its target, in steps of 512 frames."""
        with self._writing:
            taken = max(0, min(most, self._fill - self._wanted)) // _STEP * _STEP
            self._counters[_ring.WRITTEN] -= taken
        return taken

    def heard(self) -> tuple[int, float]:
        """A frame of the stream, and the moment of the monotonic clock when it is heard.

        Counted from the first frame written; smoothed over some seconds, so that moments of later
        frames may be told from it. Only for an output that keeps time.
        """
        counters = self._counters
        while True:
            turn = int(counters[_ring.TURN])
            stamp = _ring.STAMPS + 2 * (turn & 1)
            frame, moment = int(counters[stamp]), int(counters[stamp + 1]) / 1e9
            # Two calls further on, the stamp is written again.
            if counters[_ring.TURN] - turn < 2:
                break
        if self._heard is not None and turn == self._turn:
            return self._heard
        self._turn = turn
        if self._heard is not None and frame != self._heard[0]:  # else nothing played: silence
            expected = self._heard[1] + (frame - self._heard[0]) / SAMPLE_RATE
            if abs(moment - expected) < _JUMP:
                moment = expected + _SMOOTHING * (moment - expected)
        self._heard = frame, moment
        return self._heard

    def details(self) -> Mapping[str, float | int | str]:
        """Xruns of the ring and of the device, the ring's target and the whole latency in ms.

        And both rates, where the device's is another than the stream's.
        """
        buffered = self._wanted / SAMPLE_RATE
        resampled = f"from {SAMPLE_RATE} to {self._rate} Hz"
        return {
            "device": self._device,
            **({"resampled": resampled} if self._rate != SAMPLE_RATE else {}),
            "xruns": int(self._counters[_ring.XRUNS]),
            "device_xruns": int(self._counters[_ring.UNDERFLOWS]),
            "buffer_ms": round(1000 * buffered, 1),
            "latency_ms": round(1000 * (buffered + self._latency), 1),
        }

    def close(self) -> None:
        """Play what is in the ring, then let the device go."""
        if self._host is None:
            return
        counters = self._counters
        counters[_ring.ENDING] = 1
        try:
            self._wait(1)
            # What the ring has given is still on its way through the device's own buffers.
            way = round(self._latency * SAMPLE_RATE) + 2 * int(counters[_ring.PERIOD])
            arrived = int(counters[_ring.ASKED]) + way
            while counters[_ring.ASKED] < arrived:
                self._look()
                time.sleep(0.005)
        finally:
            self.abort()

    def abort(self) -> None:
        """Fall silent and let the device go, within a second even where PortAudio hangs."""
        host, self._host = self._host, None
        if host is not None:
            assert host.stdin is not None and host.stdout is not None
            host.stdin.close()
            try:
                host.wait(_ENDING)
            except subprocess.TimeoutExpired:
                host.kill()
                host.wait()
            host.stdout.close()
        if self._wake is not None:
            os.close(self._wake)
            self._wake = None

    def _answer(self) -> dict[str, str | float]:
        """What the process says once it plays, or cannot."""
        return self._said(_STARTING) or {
            "error": "The sound card could not be opened: PortAudio hangs or fails; start its sound"
            " server again, or choose another one of those that `lofid doctor` lists."
        }

    def _said(self, patience: float) -> dict[str, str | float]:
        """The next that the process says; nothing where it has ended without a word."""
        assert self._host is not None and self._host.stdout is not None
        said: dict[str, str | float] = {}
        if select.select([self._host.stdout], [], [], patience)[0]:
            with suppress(ValueError):
                said = json.loads(self._host.stdout.readline())
        return said

    @property
    def _fill(self) -> int:
        return int(self._counters[_ring.WRITTEN] - self._counters[_ring.READ])

    @property
    def _wanted(self) -> int:
        """The target: the given one or two periods, and what xruns have added."""
        usual = max(self.target, 2 * int(self._counters[_ring.PERIOD])) + self._grown
        # Blocks come when another device wants them, so one more waits.
        return usual if self.keeps_time else usual + _STEP

    def _grow(self) -> None:
        """Add a step to the target for every new xrun."""
        counters = self._counters
        if (xruns := int(counters[_ring.XRUNS])) > self._xruns:
            self._xruns = xruns
            step = max(_STEP, int(counters[_ring.PERIOD]))
            self._grown = max(0, min(self._grown + step, _MOST - self._wanted + self._grown))
        counters[_ring.TARGET] = self._wanted

    def _wait(self, level: int) -> None:
        """Return once fewer than ``level`` frames are left."""
        assert self._wake is not None
        counters = self._counters
        while True:
            counters[_ring.WAITING] = 1
            if self._fill < level:
                counters[_ring.WAITING] = 0
                return
            self._look()
            # The pipe ends with the process that plays.
            if select.select([self._wake], [], [], _GONE / 5)[0] and not os.read(self._wake, 64):
                raise self._why_gone()

    def _why_gone(self) -> LofidError:
        """Why the process that plays has ended, as far as it has said so."""
        said = self._said(0)
        return LofidError(str(said["error"])) if "error" in said else _gone()

    def _look(self) -> None:
        """Raise LofidError if the device has wanted nothing for too long."""
        now = time.monotonic()
        if (asked := int(self._counters[_ring.ASKED])) != self._asked:
            self._asked, self._alive = asked, now
        elif now - self._alive > _GONE:
            raise _gone()

    def _put(self, audio: Audio) -> None:
        with self._writing:
            written = int(self._counters[_ring.WRITTEN])
            place = written & (_ring.SIZE - 1)
            first = min(len(audio), _ring.SIZE - place)
            self._ring[place : place + first] = audio[:first]
            self._ring[: len(audio) - first] = audio[first:]
            # Only now may the callback see it.
            self._counters[_ring.WRITTEN] = written + len(audio)


class _Stretch:
    """Resamples by as much as keeps the ring at its target: a PI controller on the fill."""

    _MOST = 0.005
    _SOON = 0.3  # of the error, a second: gone after some three seconds
    _LONG = 0.0225  # of its sum: critically damped
    _CALM = 0.5  # seconds over which the fill is averaged: it jumps by a period at a time

    def __init__(self) -> None:
        self._state = np.zeros(7)
        self._error = 0.0  # seconds too many in the ring, averaged
        self._sum = 0.0
        self._out: Audio = np.zeros((0, 2), dtype=np.float32)

    def process(self, audio: Audio, too_many: int) -> Audio:
        """The block, stretched for a ring that holds so many frames too many."""
        seconds = len(audio) / SAMPLE_RATE
        self._error += min(1.0, seconds / self._CALM) * (too_many / SAMPLE_RATE - self._error)
        limit = self._MOST / self._LONG
        self._sum = min(limit, max(-limit, self._sum + self._error * seconds))
        change = self._SOON * self._error + self._LONG * self._sum
        change = min(self._MOST, max(-self._MOST, change))
        if len(self._out) < 2 * len(audio):
            self._out = np.zeros((2 * len(audio), 2), dtype=np.float32)
        made = _stretched(audio, 1.0 + change, self._state, self._out)
        return self._out[:made]


@compiled()
def _stretched(audio: Audio, step: float, state: NDArray[np.float64], out: Audio) -> int:
    """Resample by a factor near 1 (cubic, after Catmull and Rom); returns the frames made.

    One frame is made every ``step`` frames of ``audio`` [frames, 2]; ``out`` has room for them.
    ``state`` [7] keeps the place of the next frame and the last three frames between calls.
    """
    place, made = state[0], 0
    frames = audio.shape[0]
    # Frame i of the line is one of the three kept, then of the block.
    while place < frames:
        base = int(place)
        t = place - base
        for channel in range(2):
            a = state[1 + 2 * base + channel] if base < 3 else audio[base - 3, channel]
            b = state[3 + 2 * base + channel] if base < 2 else audio[base - 2, channel]
            c = state[5 + channel] if base < 1 else audio[base - 1, channel]
            d = audio[base, channel]
            out[made, channel] = b + 0.5 * t * (
                c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a))
            )
        made += 1
        place += step
    state[0] = place - frames
    for i in range(3):
        for channel in range(2):
            state[1 + 2 * i + channel] = audio[frames - 3 + i, channel]
    return made


def _gone() -> LofidError:
    return LofidError(
        "The sound card has stopped taking audio; see that it is still connected and its server "
        "still runs, then start again."
    )


def make(argument: str | None) -> DeviceOutput:
    """The device output; without an argument, the system's own choice."""
    if argument == "":
        raise LofidError("The output 'device:' lacks a name; write device, or device:NAME.")
    return DeviceOutput(argument)
