"""How punctual live MIDI is: thousands of notes through a port on a real JACK server, and back.

Heard by ``jack_midi_dump``, which belongs to JACK and is written in C, so that what is measured is
the port. Needs jackd with its example programs.
"""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from bench.capture import jack_server
from lofid.errors import LofidError
from lofid.judge.figures import Figure, Target
from lofid.music.notes import Part
from lofid.music.parameters import Settings
from lofid.outputs.messages import MidiStatus
from lofid.outputs.output import SAMPLE_RATE, Block, MidiEvent, parse
from lofid.outputs.ports import MidiPort

_DUMP = "jack_midi_dump"
_EVERY = 241  # frames between two messages: 200 a second, on all places of a period
_LEAD = 0.1  # seconds between a block's being written and its being heard
_BLOCK = 512
_PATIENCE = 20.0
_REPEATED = 20  # messages at most that are heard twice
_NEIGHBOURS = 201  # messages around one, whose median lateness is that of the clocks


@dataclass(frozen=True, slots=True)
class HeardNote:
    """What came of ``count`` messages: when each that was heard came after it was due."""

    count: int
    lateness: NDArray[np.int64]
    """[heard] frames, on top of some constant."""

    @property
    def lost(self) -> int:
        """Messages that were not heard."""
        return self.count - len(self.lateness)

    @property
    def jitter(self) -> NDArray[np.float64]:
        """[heard] ms by which a message was off those around it; clocks drift, slowly."""
        off = self.lateness - median_filter(self.lateness, _NEIGHBOURS, mode="nearest")
        milliseconds: NDArray[np.float64] = np.abs(off) * (1000 / SAMPLE_RATE)
        return milliseconds


def measured(folder: Path, kind: str, source: str, period: int, count: int) -> HeardNote:
    """Play ``count`` messages through an output of ``kind``, whose JACK port is ``source``."""
    if shutil.which(_DUMP) is None:
        raise LofidError(f"{_DUMP} is not installed; it comes with jackd2 or jack-example-tools.")
    with jack_server(f"lofid-midi-{os.getpid()}", period) as environment:
        os.environ.update(environment)  # hosts and listener find the server by it
        path = folder / f"{kind}.txt"
        with path.open("wb") as file:
            listener = subprocess.Popen(
                ["stdbuf", "-oL", _DUMP, "-a", "ear"], stdout=file, stderr=subprocess.DEVNULL
            )
        try:
            output = parse(kind)
            assert isinstance(output, MidiPort)
            output.adopt(Settings())
            output.open()
            try:
                connect = ["jack_connect", source, "ear:input"]
                _wait(
                    lambda: not subprocess.run(connect, check=False, capture_output=True).returncode
                )
                _wait(lambda: output.received() == [] and "sent" in output.details())
                _play(output, count)
            finally:
                output.close()
        finally:
            listener.terminate()
            listener.wait()
        return _matched(path.read_text(), count)


def _wait(true: Callable[[], bool]) -> None:
    latest = time.monotonic() + _PATIENCE
    while not true():
        if time.monotonic() > latest:
            raise LofidError("JACK or the port did not answer in time; is the machine overloaded?")
        time.sleep(0.05)


def _message(n: int) -> tuple[MidiStatus, tuple[int, int]]:
    """The ``n``-th message: notes that go up, each ended before the next."""
    note = n // 2
    pitch = 30 + note % 60
    return (
        (MidiStatus.NOTE_OFF, (pitch, 0))
        if n % 2
        else (MidiStatus.NOTE_ON, (pitch, 1 + note % 127))
    )


def _play(output: MidiPort, count: int) -> None:
    """Write the messages in real time, by the port's own clock where it has one."""
    audio = np.zeros((_BLOCK, 2), np.float32)
    began, first = time.monotonic() + _LEAD, output.clock()
    sent = frame = 0
    while sent < count:
        moment = began + frame / SAMPLE_RATE
        if first is not None and (clock := output.clock()) is not None:
            # By the reading now, what lies as far behind the first reading as the frame.
            moment += (clock[1] - first[1]) - (clock[0] - first[0]) / SAMPLE_RATE
        time.sleep(max(0.0, moment - _LEAD - time.monotonic()))
        events = []
        while sent < count and sent * _EVERY < frame + _BLOCK:
            status, data = _message(sent)
            events.append(MidiEvent(sent * _EVERY, status, data, Part.KEYS))
            sent += 1
        output.write(Block(frame, audio, tuple(events), (), moment))
        frame += _BLOCK
    time.sleep(1.0)


def _matched(text: str, count: int) -> HeardNote:
    """Find every message in what the listener wrote, in order."""
    lines = (re.match(r" *(\d+):((?: [0-9a-f]{2})+)\b", line) for line in text.splitlines())
    heard = [(int(line[1]), bytes.fromhex(line[2])) for line in lines if line is not None]
    notes = [row for row in heard if row[1][0] in (MidiStatus.NOTE_ON, MidiStatus.NOTE_OFF)]
    lateness, place = [], 0
    for n in range(count):
        status, data = _message(n)
        message = bytes((status, *data))
        # In an xrun JACK may also repeat a period.
        near = range(place, min(place + _REPEATED, len(notes)))
        found = next((at for at in near if notes[at][1] == message), None)
        if found is not None:
            lateness.append(notes[found][0] - n * _EVERY)
            place = found + 1
    return HeardNote(count, np.array(lateness, np.int64))


def figures(folder: Path, count: int) -> list[Figure]:
    """The figures of both kinds of port; ``count`` messages each, 200 a second."""
    group, note = "MIDI on jackd --realtime", f"{count:,} messages, 200 a second"
    soft = measured(folder, "midi", "lofid-out:lofid-out", 64, count)
    hard = measured(folder, "jack", "lofid:out", 1024, count)
    return [
        Figure(group, "rtmidi, lost", soft.lost, "messages", Target(high=0), note=note),
        Figure(
            group,
            "rtmidi, jitter, p99",
            float(np.percentile(soft.jitter, 99)),
            "ms",
            Target(high=2),
            note="periods of 64 frames (1.3 ms) are part of it",
        ),
        Figure(group, "rtmidi, jitter, most", float(soft.jitter.max()), "ms"),
        Figure(group, "JACK, lost", hard.lost, "messages", Target(high=0), note=note),
        Figure(
            group,
            "JACK, gaps not exact to the frame",
            int(np.count_nonzero(np.diff(hard.lateness))),
            "gaps",
            Target(high=0),
            note="periods of 1,024 frames",
        ),
    ]
