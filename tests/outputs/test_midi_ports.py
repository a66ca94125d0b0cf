"""Live MIDI ports on a real JACK server: through rtmidi, and through JACK itself."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from lofid.errors import LofidError
from lofid.music.notes import Part
from lofid.music.parameters import Settings
from lofid.outputs import Block, MidiEvent, Output, Received, parse
from lofid.outputs.messages import MidiStatus
from lofid.playback.sync import ClockFollower

PORTS = {
    "midi": ("lofid-out:lofid-out", "lofid-in:lofid-in"),
    "jack": ("lofid:out", "lofid:in"),
}
LEAD = 0.05  # seconds between a block's being written and its being heard

FEED = """
import sys, time
import numpy as np
from lofid.music.notes import Part
from lofid.outputs import Block, MidiEvent, open_output
output = open_output(sys.argv[1])
print("open", flush=True)
input()
events = [MidiEvent(0, 0xB0, (64, 127), Part.KEYS)]
events += [MidiEvent(0, 0x90, (pitch, 80), Part.KEYS) for pitch in (60, 64, 67)]
events += [MidiEvent(0, 0x90, (36, 80), Part.DRUMS)]
output.write(Block(0, np.zeros((512, 2), "float32"), tuple(events), (), time.monotonic() + 0.05))
time.sleep(60)
"""


def notes(count: int, gap: int, length: int) -> list[MidiEvent]:
    """``count`` notes of the keys, one begun every ``gap`` frames."""
    return [
        event
        for n in range(count)
        for event in (
            MidiEvent(n * gap, MidiStatus.NOTE_ON, (30 + n % 60, 1 + n % 127), Part.KEYS),
            MidiEvent(n * gap + length, MidiStatus.NOTE_OFF, (30 + n % 60, 0), Part.KEYS),
        )
    ]


def play(output: Output, events: Sequence[MidiEvent], start: int = 0, lead: float = LEAD) -> int:
    """Write the events in real time; returns the frame behind the last block."""
    began, frames = time.monotonic() + lead - start / 48_000, 512
    audio = np.zeros((frames, 2), np.float32)
    waiting, frame = list(events), start
    while waiting:
        moment = began + frame / 48_000
        time.sleep(max(0.0, moment - lead - time.monotonic()))
        inside = [event for event in waiting if event.frame < frame + frames]
        waiting = waiting[len(inside) :]
        output.write(Block(frame, audio, tuple(inside), (), moment))
        frame += frames
    return frame


def play_on(output: Output) -> None:
    """Ten seconds of nothing."""
    for _ in range(1000):
        output.write(Block(0, np.zeros((480, 2), np.float32), (), (), time.monotonic()))
        time.sleep(0.01)


def heard_by(
    output: Output, ear: Any, port: str, said: Sequence[tuple[int, bytes]]
) -> list[Received]:
    """Say messages to the output's port; what has come in when the last one has, or never will."""
    ear.say(port, said)
    messages: list[Received] = []
    latest = time.monotonic() + said[-1][0] / 48_000 + 5
    while len(messages) < len(said) and time.monotonic() < latest:
        messages.extend(output.received())
        time.sleep(0.02)
    return messages


@contextmanager
def opened(kind: str, settings: Settings | None = None) -> Iterator[Output]:
    output = parse(kind)
    output.adopt(settings or Settings())
    output.open()
    try:
        yield output
    finally:
        output.abort()


def host_of(output: Any) -> int:
    pid: int = output._host._process.pid
    return pid


def heard_whole(kind: str, ear: Any, events: Sequence[MidiEvent]) -> list[int]:
    """Play the events; the frames at which the ear heard them, every one and in order.

    Where the whole machine is held up, JACK skips periods and says so: then try again.
    """
    for _ in range(3):
        before = len(ear.notes)
        with opened(kind) as output:
            ear.connect(PORTS[kind][0])
            xruns = ear.xruns
            play(output, events, lead=0.3)
            time.sleep(0.5)
            xruns -= ear.xruns
            output.close()
        if xruns == 0:
            break
    heard = ear.notes[before:]
    assert [message for _, message in heard] == [bytes((e.status, *e.data)) for e in events]
    return [frame for frame, _ in heard]


def test_jack_hears_every_event_on_its_frame(ear: Any) -> None:
    events = notes(330, 499, 201)
    heard = heard_whole("jack", ear, events)
    gaps = [b.frame - a.frame for a, b in pairwise(events)]
    assert [b - a for a, b in pairwise(heard)] == gaps


def test_rtmidi_loses_nothing(ear: Any) -> None:
    heard_whole("midi", ear, notes(330, 499, 201))


@pytest.mark.parametrize("kind", PORTS)
class TestEveryPort:
    def test_the_guardian_ends_what_a_killed_stage_left(self, kind: str, ear: Any) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        feeder = subprocess.Popen(
            [sys.executable, "-c", FEED, kind],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        )
        assert feeder.stdin is not None and feeder.stdout is not None
        try:
            assert feeder.stdout.readline() == b"open\n"
            ear.connect(PORTS[kind][0])
            feeder.stdin.write(b"\n")
            feeder.stdin.flush()
            ear.until(lambda: len(ear.sounding()) == 4)
        finally:
            feeder.send_signal(signal.SIGKILL)
            feeder.communicate()
        ear.until(lambda: (0x8 << 4) + 9 in {m[0] for _, m in ear.heard})
        ear.until(lambda: not ear.client.get_ports(f"^{PORTS[kind][0]}$"))
        assert ear.sounding() == set()
        said = [message for _, message in ear.heard]
        for channel in (0, 9):
            for control in (64, 120, 123):
                assert bytes((0xB0 + channel, control, 0)) in said

    def test_a_killed_host_is_replaced_on_the_same_wires(self, kind: str, ear: Any) -> None:
        with opened(kind) as output:
            ear.connect(PORTS[kind][0])
            ear.say(PORTS[kind][1], [])
            frame = play(output, [MidiEvent(0, MidiStatus.NOTE_ON, (60, 80), Part.KEYS)])
            ear.until(lambda: len(ear.sounding()) == 1)
            time.sleep(1.1)  # the host tells about its wires once a second
            frame = play(
                output, [MidiEvent(frame, MidiStatus.NOTE_ON, (64, 80), Part.KEYS)], start=frame
            )
            ear.until(lambda: len(ear.sounding()) == 2)
            os.kill(host_of(output), signal.SIGKILL)
            with pytest.raises(LofidError, match="has ended"):
                play_on(output)
            output.abort()
            assert len(ear.sounding()) == 2
            output.open()
            ear.until(lambda: not ear.sounding())
            play(output, [MidiEvent(0, MidiStatus.NOTE_ON, (72, 80), Part.KEYS)])
            ear.until(lambda: ear.sounding() == {(0, 72)})
            (message,) = heard_by(output, ear, PORTS[kind][1], [(0, bytes((0xB0, 74, 9)))])
            assert message.data == (74, 9)

    def test_controllers_and_clock_come_in(self, kind: str, ear: Any) -> None:
        tick = 60 * 48_000 / (90 * 24)
        said = [
            (0, bytes((MidiStatus.START,))),
            *((round(n * tick), bytes((MidiStatus.CLOCK,))) for n in range(1, 97)),
            (round(97 * tick), bytes((0xB2, 74, 100))),
        ]
        for _ in range(3):
            with opened(kind) as output:
                xruns = ear.xruns
                messages = heard_by(output, ear, PORTS[kind][1], said)
            if ear.xruns == xruns:  # else JACK has skipped periods, and what was said in them
                break
        assert [(message.status, *message.data) for message in messages] == [
            tuple(message) for _, message in said
        ]
        follower = ClockFollower()
        for message in messages:
            follower.hear(message)
        now = messages[-1].moment
        assert follower.running
        # JACK's own clock is compared with the system's, whose readings jitter on a busy machine.
        assert follower.tempo(now) == pytest.approx(90, rel=0.02)
        line = follower.bar_line(now - 0.2)
        assert line is not None and line[0] == 1

    def test_panic_programs_and_channels(self, kind: str, ear: Any) -> None:
        with opened(kind) as output:
            time.sleep(0.2)
            ear.connect(PORTS[kind][0])
            # Who comes later hears which programs play.
            programs = [bytes((0xC0, 4)), bytes((0xC1, 11)), bytes((0xC2, 32)), bytes((0xC9, 32))]
            while len(ear.heard) < 4:
                output.write(Block(0, np.zeros((512, 2), np.float32), moment=time.monotonic()))
                time.sleep(0.02)
            settings = Settings().with_value("midi.bass_channel", 7)
            output.adopt(settings)
            output.adopt(settings.with_value("sound.keys", "piano"))
            ear.until(lambda: len(ear.heard) >= 6)
            changes = [bytes((0xC6, 32)), bytes((0xC0, 0))]
            assert [message for _, message in ear.heard] == programs + changes
            play(output, [MidiEvent(0, MidiStatus.NOTE_ON, (40, 80), Part.BASS)])
            ear.until(lambda: ear.sounding() == {(6, 40)})
            output.silence()
            ear.until(lambda: not ear.sounding())
            play(output, [MidiEvent(0, MidiStatus.NOTE_ON, (41, 80), Part.BASS)])
            ear.until(lambda: ear.sounding() == {(6, 41)})

    def test_closing_plays_what_was_written(self, kind: str, ear: Any) -> None:
        with opened(kind) as output:
            ear.connect(PORTS[kind][0])
            play(output, notes(5, 512, 500))
            output.close()
            ear.until(lambda: len(ear.notes) >= 10)
            assert ear.sounding() == set()

    def test_no_real_time_is_refused(self, kind: str, server: Any) -> None:
        with opened(kind) as output, pytest.raises(LofidError, match="real time only"):
            output.write(Block(0, np.zeros((512, 2), np.float32)))

    def test_a_server_that_goes_and_comes(self, kind: str, server: Any) -> None:
        with opened(kind) as output:
            server.end()
            with pytest.raises(LofidError, match=r"has gone|has ended"):
                play_on(output)
            output.abort()
            with pytest.raises(LofidError, match="JACK server"):
                output.open()
            server.start()
            output.open()
            play(output, [MidiEvent(0, MidiStatus.PROGRAM, (1,), Part.KEYS)])


def test_jack_tells_its_clock(server: Any) -> None:
    with opened("jack") as output:
        output.write(Block(0, np.zeros((512, 2), np.float32), moment=time.monotonic()))
        readings = []
        for _ in range(50):
            time.sleep(0.02)
            output.received()
            readings.append(output.clock())
        first, last = readings[10], readings[-1]
        assert first is not None and last is not None
        assert (last[0] - first[0]) / (last[1] - first[1]) == pytest.approx(48_000, rel=0.05)


def test_late_messages_are_counted_and_sent(ear: Any) -> None:
    with opened("jack") as output:
        ear.connect("lofid:out")
        play(output, notes(1, 0, 100))
        late = MidiEvent(0, MidiStatus.NOTE_ON, (60, 80), Part.KEYS)
        output.write(Block(0, np.zeros((512, 2), np.float32), (late,), (), time.monotonic() - 0.5))
        ear.until(lambda: ear.sounding() == {(0, 60)})
        ear.until(lambda: output.received() == [] and output.details().get("late", 0) == 1)


@pytest.mark.parametrize("kinds", [("jack", "midi"), ("midi", "jack")])
def test_both_kinds_play_side_by_side_under_their_own_names(
    kinds: tuple[str, str], ear: Any
) -> None:
    with opened(kinds[0]) as first, opened(kinds[1]) as second:
        for output, kind, pitch in ((first, kinds[0], 60), (second, kinds[1], 64)):
            ear.connect(PORTS[kind][0])
            play(output, [MidiEvent(0, MidiStatus.NOTE_ON, (pitch, 80), Part.KEYS)])
        ear.until(lambda: ear.sounding() == {(0, 60), (0, 64)})


def test_names_that_cannot_be(server: Any) -> None:
    with opened("jack:one"), pytest.raises(LofidError, match="JACK has a client 'one' already"):
        parse("jack:one").open()
    for name in ("", "x" * 33, "a:b"):
        with pytest.raises(LofidError, match="needs a name"):
            parse(f"midi:{name}")
