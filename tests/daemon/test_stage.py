"""The stage as its own process, on real outputs; the test is its desk."""

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
import soundfile as sf
import zmq

from bench.capture import jack_server, longest_silence, recording
from lofid.daemon import links
from lofid.daemon.stage import FAST_BLOCK
from lofid.music.chords import Chord, Key
from lofid.music.notes import Note, Part
from lofid.music.parameters import Settings
from lofid.music.plan import Bar, BarPlan, Section
from lofid.outputs.output import SAMPLE_RATE, Audio
from lofid.playback.cue import Cue
from lofid.playback.transport import Transport
from lofid.sound.studio import Studio

PATIENCE = 30
SECONDS = 1.0  # of a bar at this tempo
TEMPO = 240.0

_Message = TypeVar("_Message")


class Desk:
    """The other end of a stage's line: sends, and keeps what is told."""

    def __init__(self, folder: Path, *options: str, **environment: str) -> None:
        path = folder / f"stage-{len(list(folder.iterdir()))}"
        self.link = links.Link.listening(zmq.Context.instance(), path)
        self.told: list[object] = []
        self._read: dict[object, int] = {}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "lofid.daemon.stage", str(path), *options],
            stdin=subprocess.PIPE,
            env={**os.environ, **environment, "PYTHONPATH": os.pathsep.join(sys.path)},
        )

    def send(self, *messages: object) -> None:
        for message in messages:
            assert self.link.send(message)

    def until(
        self,
        kind: type[_Message],
        meant: Callable[[_Message], bool] = lambda _: True,
        about: str = "",
    ) -> _Message:
        """The next message of a kind (and ``about`` the same thing) that is meant."""
        until = time.monotonic() + PATIENCE
        place = kind, about
        while time.monotonic() < until:
            for message in self.told[self._read.get(place, 0) :]:
                self._read[place] = self._read.get(place, 0) + 1
                if isinstance(message, kind) and meant(message):
                    return message
            self.next()
        raise AssertionError(f"no {kind.__name__}; told: {self.told[-20:]}")

    def next(self) -> None:
        if self.link.socket.poll(100):
            self.told.append(self.link.receive())

    def bar(self, take: int) -> links.BarStarted:
        return self.until(links.BarStarted, lambda started: started.take == take)

    def output(self, name: str, state: str) -> links.OutputState:
        return self.until(
            links.OutputState, lambda output: (output.name, output.state) == (name, state), name
        )

    def end(self) -> int:
        """What the stage exits with once its line is cut; what it still said is in ``told``."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.wait()

    def leave(self) -> int:
        self.send(links.Leave())
        return self.wait()

    def wait(self) -> int:
        while self.process.poll() is None or self.link.socket.poll(200):
            self.next()
        return self.process.returncode

    def heard(self) -> list[int]:
        return [told.take for told in self.told if isinstance(told, links.BarStarted)]

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
        self.link.close()


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("s")  # a short name: sockets lie in it


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def staged(stack: ExitStack, folder: Path, *options: str, **environment: str) -> Desk:
    desk = Desk(folder, *options, **environment)
    stack.callback(desk.close)
    return desk


def bar(index: int) -> Bar:
    """A second of music that never rests, and differs from its neighbours."""
    plan = BarPlan(
        index, TEMPO, Key.parse("C"), (Chord.parse("C"),), Section.A, index,
        0.5, 0.5, 60.0, 0.5, 50.0, frozenset(Part),
    )  # fmt: skip
    starts = enumerate(range(0, 1920, 240))
    keys = tuple(Note(start, 48 + (index + n) % 24, 400, 90) for n, start in starts)
    drums = tuple(Note(start, pitch, 100, 90) for start, pitch in ((0, 36), (480, 38), (960, 36)))
    return Bar(plan, {Part.KEYS: keys, Part.DRUMS: drums})


def cues(first: int, count: int) -> links.Cues:
    return links.Cues(tuple(Cue(n, n - 1, bar(n)) for n in range(first, first + count)))


def expected(bars: int) -> tuple[Audio, int]:
    """The stream of that many bars as a transport gives it, from its first sound on; its line."""
    studio = Studio(Settings(), 1)
    transport = Transport(studio, 1)
    transport.cue(cues(1, bars).cues)
    count = int(bars * SECONDS * SAMPLE_RATE / FAST_BLOCK)
    passages = [transport.block(FAST_BLOCK) for _ in range(count)]
    whole = np.concatenate([passage.block.audio for passage in passages])
    audio = sounding(whole)
    return audio, passages[0].lines[0].frame - (len(whole) - len(audio))


def sounding(audio: Audio) -> Audio:
    """Audio from where it begins to sound: before the first cue, the stream is silent."""
    return audio[int(np.flatnonzero(audio.any(axis=1))[0]) :]


def read(path: Path) -> Audio:
    audio: Audio = sf.read(path, dtype="float32")[0]
    return sounding(audio)


def same(recorded: Audio, rendered: Audio) -> bool:
    """Whether one is the beginning of the other; a single frame's shift would be 100 times more.

    They are not equal to the bit: which libsndfile decodes the SoundFont depends on what else a
    process has loaded.
    """
    frames = min(len(recorded), len(rendered))
    return float(np.abs(recorded[:frames] - rendered[:frames]).max()) < 1e-3


def test_virtual_clock_waits_for_cues_and_loses_nothing(stack: ExitStack, folder: Path) -> None:
    desk = staged(stack, folder, "--virtual")
    path = folder / "out.flac"
    desk.send(links.AddOutput("record", f"file:{path}"), cues(1, 5))
    desk.bar(5)
    for first in (6, 11, 16):
        desk.send(cues(first, 5))
        desk.bar(first + 4)
    assert desk.leave() == 0
    assert desk.heard() == list(range(1, 21))
    locked = [told.take for told in desk.told if isinstance(told, links.Locked)]
    assert locked == desk.heard()
    lines = [told.frame for told in desk.told if isinstance(told, links.BarStarted)]
    assert {b - a for a, b in itertools.pairwise(lines)} == {round(SECONDS * SAMPLE_RATE)}
    sounded = [told for told in desk.told if isinstance(told, links.BarSounded)]
    assert [one.take for one in sounded] == desk.heard()[:-1]
    assert all(-30 < one.loudness < -5 for one in sounded[1:])
    recorded = read(path)
    assert len(recorded) > 18 * SAMPLE_RATE
    assert same(recorded[: 17 * SAMPLE_RATE], expected(20)[0])


def test_live_the_last_loop_stands_in_while_the_desk_is_silent(
    stack: ExitStack, folder: Path
) -> None:
    desk = staged(stack, folder)
    path = folder / "out.flac"
    ready = desk.until(links.StageReady)
    assert bool(ready.remarks) == (not ready.memory_locked or "FIFO" not in ready.scheduling)
    desk.send(links.AddOutput("record", f"file:{path}"), cues(1, 2))
    stood_in = desk.bar(0)
    assert stood_in.reason and stood_in.bar.plan.index in (1, 2)
    assert stood_in.seconds == pytest.approx(SECONDS)
    desk.send(cues(3, 2))
    desk.bar(4)
    status = desk.until(links.StageStatus, lambda status: status.stand_ins > 0)
    assert status.clock == "system" and status.tempo == TEMPO
    levels = desk.until(links.Levels)
    assert set(levels.peaks) == {"keys", "bass", "drums", "texture", "mix"}
    assert desk.leave() == 0
    takes = [take for take in desk.heard() if take]
    assert takes == [1, 2, 3, 4]
    assert longest_silence(path) < 0.3
    assert desk.output("record", "closed").reason == ""


def test_pause_play_stop_and_panic(stack: ExitStack, folder: Path) -> None:
    desk = staged(stack, folder)
    desk.send(links.AddOutput("out", "null"), cues(1, 30))
    desk.bar(1)
    desk.send(links.StagePause())
    desk.until(links.StageStatus, lambda status: status.paused)
    desk.until(links.Levels, lambda levels: levels.peaks["mix"] < -100)
    desk.send(links.StagePlay())
    desk.bar(2)
    desk.send(links.StageStop())
    desk.until(links.StageStatus, lambda status: status.paused)
    desk.send(links.StagePanic(), links.StagePlay())
    desk.bar(3)
    assert desk.heard() == [1, 2, 3]


def test_what_is_long_overdue_is_dropped(stack: ExitStack, folder: Path) -> None:
    desk = staged(stack, folder)
    desk.send(cues(1, 30))
    desk.bar(2)
    desk.process.send_signal(signal.SIGSTOP)
    time.sleep(4.5)
    desk.process.send_signal(signal.SIGCONT)
    woken = time.monotonic()
    third = desk.bar(3)
    assert third.moment > woken - 0.1  # neither hurried through, nor in the past
    assert desk.bar(4).moment - third.moment == pytest.approx(SECONDS, abs=0.2)


def test_notes_go_out_through_jack_beside_a_null_output(stack: ExitStack, folder: Path) -> None:
    name = f"lofid-midi-{os.getpid()}"
    environment = stack.enter_context(jack_server(name))
    desk = staged(stack, folder, **environment)
    desk.send(links.AddOutput("notes", "jack:keys"), links.AddOutput("out", "null"), cues(1, 30))
    desk.output("notes", "playing")
    desk.bar(3)
    # With no device, the server that the port stands on keeps the time.
    assert desk.until(links.StageStatus, lambda status: status.clock != "system").clock == "notes"
    starts = [told for told in desk.told if isinstance(told, links.BarStarted)]
    for before, after in itertools.pairwise(starts):
        assert after.moment - before.moment == pytest.approx(SECONDS, abs=0.05)


def test_a_file_that_cannot_be_made_says_why_and_stays_closed(
    stack: ExitStack, folder: Path
) -> None:
    desk = staged(stack, folder)
    desk.send(links.AddOutput("one", "file:/nowhere/out.flac"), links.AddOutput("two", "cassette"))
    assert "/nowhere/out.flac" in desk.output("one", "closed").reason
    assert "no output 'cassette'" in desk.output("two", "closed").reason


def test_it_ends_when_its_line_is_cut_and_finishes_its_files(
    stack: ExitStack, folder: Path
) -> None:
    desk = staged(stack, folder)
    path = folder / "out.flac"
    desk.send(links.AddOutput("record", f"file:{path}"), cues(1, 10))
    desk.bar(2)
    assert desk.end() == 0
    recorded = read(path)
    assert len(recorded) > SAMPLE_RATE
    assert not recorded[-1].any()  # faded, not cut


def test_what_a_killed_stage_had_recorded_is_told_by_the_next(
    stack: ExitStack, folder: Path
) -> None:
    add = links.AddOutput("record", f"file:{folder / 'out.flac'}")
    desk = staged(stack, folder)
    desk.send(add, cues(1, 10))
    desk.bar(2)
    desk.process.kill()
    desk.process.wait()
    (left,) = folder.glob(".out.*.part.flac")
    again = staged(stack, folder)
    again.send(add)
    assert str(left) in again.output("record", "opening").reason
    assert again.output("record", "playing").reason == ""
    assert again.leave() == 0
    assert left.exists() and (folder / "out.flac").exists()


PARENT = """
import subprocess, sys, time
command = [sys.executable, "-m", "lofid.daemon.stage", sys.argv[1]]
stage = subprocess.Popen(command, stdin=subprocess.PIPE)
print(stage.pid, flush=True)
time.sleep(600)
"""


def test_it_ends_when_the_desk_is_killed(folder: Path) -> None:
    link = links.Link.listening(zmq.Context.instance(), folder / "line")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(folder / "line")],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as parent:
        assert parent.stdout is not None
        stage = int(parent.stdout.readline())
        assert link.socket.poll(PATIENCE * 1000)
        parent.send_signal(signal.SIGKILL)
    until = time.monotonic() + PATIENCE
    while running(stage):
        assert time.monotonic() < until
        time.sleep(0.05)
    link.close()


def running(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_a_device_is_lost_and_found_while_the_recording_goes_on(
    stack: ExitStack, folder: Path
) -> None:
    name = f"lofid-stage-{os.getpid()}"
    server = ExitStack()
    stack.callback(server.close)
    environment = server.enter_context(jack_server(name))
    desk = staged(stack, folder, **environment)
    path = folder / "out.wav"
    desk.send(links.AddOutput("card", "device"), links.AddOutput("record", f"file:{path}"))
    desk.output("card", "playing")
    desk.output("record", "playing")
    desk.send(cues(1, 30))
    desk.bar(2)
    desk.until(links.StageStatus, lambda status: status.clock == "card")

    server.close()  # the server dies
    desk.output("card", "waiting")
    desk.until(links.StageStatus, lambda status: status.clock == "system")
    server.enter_context(jack_server(name))
    desk.output("card", "playing")
    desk.until(links.StageStatus, lambda status: status.clock == "card")
    last = desk.until(links.BarStarted).take
    assert desk.leave() == 0

    starts = [told for told in desk.told if isinstance(told, links.BarStarted)]
    assert [one.take for one in starts][:last] == list(range(1, last + 1))
    # The moments at which the others play go on evenly, whoever keeps the time.
    for before, after in itertools.pairwise(starts):
        assert after.frame - before.frame == round(SECONDS * SAMPLE_RATE)
        assert after.moment - before.moment == pytest.approx(SECONDS, abs=0.1)
    recorded = read(path)
    frames = (last - 1) * SAMPLE_RATE
    assert len(recorded) > frames
    assert same(recorded[:frames], expected(last)[0])


def test_what_the_device_plays_is_the_stream(stack: ExitStack, folder: Path) -> None:
    name = f"lofid-stream-{os.getpid()}"
    environment = stack.enter_context(jack_server(name))
    for attempt in range(3):
        own = folder / str(attempt)
        own.mkdir()
        desk = staged(stack, own, **environment)
        desk.send(links.AddOutput("card", "device"))
        desk.output("card", "playing")
        with recording(name, own / "captured.wav") as recorder:
            time.sleep(1)  # until the recorder is connected
            desk.send(cues(1, 6))
            started = desk.bar(1)
            desk.bar(4)
            captured = recorder.stop()
        status = desk.until(links.StageStatus)
        assert desk.leave() == 0
        if not captured.missed and not status.xruns:  # else the machine is too busy for this
            break
    played = read(captured.path)
    stream, line = expected(6)
    assert len(played) > 3 * SAMPLE_RATE
    assert same(played, stream)
    # When a bar line is said to be heard is when the device plays it.
    place = sf.info(captured.path).frames - len(played) + line
    assert captured.moments([place])[0] == pytest.approx(started.moment, abs=0.02)
