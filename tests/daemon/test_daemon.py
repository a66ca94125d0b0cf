"""The whole daemon: real processes, real sockets, steered and hurt from outside."""

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile as sf

from bench.daemon import PATIENCE, Daemon, Listener
from lofid.client import Client
from lofid.daemon.handlers import RequestHandlers
from lofid.errors import LofidError
from lofid.music.notes import Part
from lofid.protocol import messages
from lofid.protocol.messages import (
    BarEvent,
    ErrorKind,
    Health,
    NotesEvent,
    PlayState,
    Refused,
)

# Fast songs without a breath: bars of 2.4 s, and every one of them is heard soon.
FAST = """
[music]
tempo = 100
tempo_spread = 0
[form]
intro = false
"""


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("d")  # a short name: sockets lie in it


@pytest.fixture
def daemon(folder: Path) -> Iterator[Daemon]:
    preset = folder / "fast.toml"
    preset.write_text(FAST)
    options = ["--output", "null", "--preset", str(preset), "--seed", "7"]
    with Daemon(folder, options) as made:
        made.start()
        yield made


def virtual(folder: Path, seed: int = 7) -> Daemon:
    return Daemon(folder, ["--output", "null", "--virtual-clock", "--seed", str(seed)])


def notes_of(listener: Listener, bars: int) -> list[NotesEvent]:
    """The notes of the next bars, those of the bar that plays now left out."""
    heard: list[NotesEvent] = []
    while len(heard) < bars:
        event = listener.next()
        if isinstance(event, NotesEvent):
            heard.append(event)
    return heard


def test_every_request_is_answered_by_a_method() -> None:
    methods = vars(RequestHandlers)["answer"].dispatcher.registry
    assert set(messages.REQUESTS.values()) <= set(methods)


def test_steered_while_it_plays(daemon: Daemon) -> None:
    with daemon.listening("bar") as listener:
        first = listener.bar()
        client = listener.client
        assert first.bar.tempo == 100
        status = client.status()
        assert status.state is PlayState.PLAYING
        assert status.writer.state is Health.WELL
        assert status.stage.state is Health.WELL
        assert status.song is not None

        # A musical control lands on the next bar line.
        changed = client.set({"music.tempo": 90})
        following = listener.bar()
        assert following.bar.index == changed.bar == first.bar.index + 1
        assert following.bar.tempo == 90

        # Rewind: the same place once more, another turn.
        heard = client.rewind(bars=1)
        assert listener.bar().bar.index == heard.bar == following.bar.index

        # A kept moment is gone back to.
        kept = client.snapshot_save("here")
        listener.bar()
        listener.bar()
        assert [one.name for one in client.snapshot_list().snapshots] == ["here"]
        assert client.snapshot_load("here").bar == kept.bar
        assert listener.bar().bar.index == kept.bar
        client.snapshot_remove("here")
        with pytest.raises(Refused, match="There is no snapshot 'here'"):
            client.snapshot_load("here")

        # Next song: another number, its first bar.
        client.next(messages.NextTarget.SONG)
        listener.bar()
        song = client.status().song
        assert song is not None
        assert (song.number, song.bar) == (1, 0)

        # Held and taken up again.
        assert client.pause().state is PlayState.PAUSED
        assert client.status().state is PlayState.PAUSED
        client.play()
        listener.bar()

        # Mix controls, presets, morphs.
        client.mute(Part.DRUMS)
        client.solo(Part.KEYS)
        assert client.volume(Part.BASS, -6).values == {"mix.bass": -6}
        status = client.status()
        assert (status.muted, status.solo) == ([Part.DRUMS], [Part.KEYS])
        assert "mix.bass" in status.changed
        client.preset_save("mine", "Of a test.")
        assert "mine" in [preset.name for preset in client.presets().presets]
        client.preset_morph("rain", 2)
        listener.bar()
        listener.bar()
        listener.bar()
        assert client.get("sound.rain").value > 0
        assert client.status().morph is None
        client.preset_load("mine")
        assert client.get("sound.rain").value == 0

        # A moment liked, and what may come next.
        assert client.like().bar >= 0
        assert len(client.branch(2).branches) == 2
        client.branch_listen(2)
        listener.bar()
        branches = client.status().branches
        assert branches is not None
        assert branches.listening == 2
        client.branch_adopt()
        assert client.status().branches is None
        client.seed(99)
        assert listener.bar().bar.index == 0


def test_outputs_come_and_go(daemon: Daemon, folder: Path) -> None:
    with daemon.listening("bar") as listener:
        listener.bar()
        client = listener.client
        path = folder / "out.wav"
        assert client.output_add(f"file:{path}").state == "playing"
        again = client.output_add(f"file:{path}", "second")
        assert again.spec == f"file:{folder / 'out-2.wav'}", "nothing is written over"
        recording = client.record_start("take")
        listener.bar()
        listener.bar()
        stopped = client.record_stop()
        assert stopped.audio == recording.audio
        client.output_remove("second")
        client.output_remove("file")
        names = {output.name for output in client.outputs().outputs}
        assert names == {"null"}
        with pytest.raises(Refused, match="There is no output 'flute:x'") as error:
            client.output_add("flute:x")
        with pytest.raises(Refused) as error:
            client.output_add("file:/nonexistent/x.wav")
        assert "/nonexistent/x.wav" in str(error.value)
        with pytest.raises(Refused) as error:
            client.output_remove("second")
        assert error.value.problem.kind is ErrorKind.UNKNOWN
        listener.bar()
    assert Path(recording.midi).stat().st_size > 100
    recorded = sf.info(recording.audio)
    assert recorded.duration > 2.4
    assert sf.info(str(path)).duration > recorded.duration


def test_bad_values_are_refused_with_their_range(daemon: Daemon) -> None:
    with daemon.listening("bar") as listener:
        listener.bar()
        with pytest.raises(Refused) as error:
            listener.client.set({"music.density": 0.5, "music.tempo": 900})
        problem = error.value.problem
        assert (problem.field, problem.kind) == ("music.tempo", ErrorKind.FIELD)
        assert problem.allowed == "a number from 60 to 100 BPM"
        assert listener.client.get("music.density").value == 0.4, "all or none"
        with pytest.raises(Refused, match="Only the last"):
            listener.client.rewind(bars=200)


def test_a_writer_that_is_killed_is_not_heard(daemon: Daemon) -> None:
    with daemon.listening("bar", "warning") as listener:
        listener.bar()
        for _ in range(2):
            daemon.process("writer").kill()
            before = listener.bar()
            after = listener.bar()
            assert (before.bar.stand_in, after.bar.stand_in) == ("", "")
            assert after.bar.index == before.bar.index + 1
        status = listener.client.status()
        assert status.writer.restarts == 2
        assert status.stage.stand_ins == 0
        assert any("writes the music has ended" in warning.text for warning in status.warnings)


def test_a_writer_that_hangs_is_found_out(daemon: Daemon) -> None:
    with daemon.listening("bar", "warning") as listener:
        listener.bar()
        daemon.process("writer").suspend()
        bars = [listener.bar().bar for _ in range(7)]
        indices = [bar.index for bar in bars if not bar.stand_in]
        assert indices == list(range(indices[0], indices[0] + len(indices))), "nothing is left out"
        assert len(indices) > 4
        assert listener.client.status().writer.restarts == 1


def test_a_writer_that_stays_away_is_stood_in_for(daemon: Daemon) -> None:
    with daemon.listening("bar") as listener:
        played = [listener.bar().bar.index]
        bars: list[BarEvent] = []
        while not any(event.bar.stand_in for event in bars):
            # As soon as there is a writer, there is none.
            for process in (daemon.processes().get("writer"),):
                if process is not None:
                    process.kill()
            bars += [event for event in listener.waiting(0.05) if isinstance(event, BarEvent)]
            assert len(bars) < 20
        while bars[-1].bar.stand_in:
            bars.append(listener.bar())
        played += [event.bar.index for event in bars if not event.bar.stand_in]
        assert played == list(range(played[0], played[0] + len(played))), "nothing is left out"
        assert listener.client.status().stage.stand_ins > 0


def test_a_stage_that_hangs_is_found_out(daemon: Daemon) -> None:
    with daemon.listening("bar") as listener:
        listener.bar()
        listener.bar()
        stage = daemon.process("stage")
        stage.suspend()
        stage.wait(PATIENCE)
        listener.bar()
        assert listener.client.status().stage.restarts == 1


def test_after_sigkill_the_same_bars_go_on(folder: Path) -> None:
    plain, hurt = folder / "p", folder / "h"
    plain.mkdir()
    hurt.mkdir()
    with virtual(plain) as daemon:
        daemon.start()
        with daemon.listening("notes") as listener:
            expected = {event.index: event.notes for event in notes_of(listener, 60)}
    with virtual(hurt) as daemon:
        seen: dict[int, object] = {}
        for bars in (3, 9, 17):
            daemon.start()
            with daemon.listening("notes") as listener:
                heard = notes_of(listener, bars)
            # What had sounded before it was killed is not played again, and nothing is left out.
            assert min(event.index for event in heard) <= max(seen, default=-1) + 2
            for event in heard:
                seen[event.index] = event.notes
            assert daemon.kill() == [], "no process survives the desk"
    same = expected.keys() & seen.keys()
    assert len(same) > 20
    assert all(seen[index] == expected[index] for index in same)


def test_a_damaged_state_is_set_aside(folder: Path) -> None:
    with virtual(folder) as daemon:
        daemon.start()
        with daemon.listening("bar") as listener:
            for _ in range(8):
                listener.bar()
        daemon.kill()
        state = folder / "state" / "lofid" / "main"
        checkpoint = state / "checkpoint.lofistate"
        content = checkpoint.read_bytes()
        checkpoint.write_bytes(content[:1000] + b"damaged" + content[1007:])
        daemon.start()
        with daemon.listening("bar") as listener:
            listener.bar()
            warnings = " ".join(one.text for one in listener.client.status().warnings)
        assert "set aside" in warnings
        assert list(state.glob("checkpoint*.bad-*"))


def test_the_second_daemon_says_who_was_first(daemon: Daemon, folder: Path) -> None:
    with daemon.listening("bar") as listener:
        listener.bar()
        second = Daemon(folder, ["--output", "null"])
        second.log = folder / "second.log"
        second.start()
        deadline = time.monotonic() + 30
        with pytest.raises(LofidError, match="is played by process"):
            while time.monotonic() < deadline:
                second.check()
                time.sleep(0.1)


def test_an_output_that_stays_away_is_told_once_and_removed(folder: Path) -> None:
    options = ["--output", "null", "--output", "jack"]
    with Daemon(folder, options, {"JACK_DEFAULT_SERVER": "nobody-runs-this"}) as daemon:
        daemon.start()
        with daemon.listening("state") as listener:
            states: list[str] = []
            while states.count("waiting") < 3:
                changed = getattr(listener.next(), "changed", {})
                for one in changed.get("outputs", ()):
                    if one["name"] == "jack" and states[-1:] != [one["state"]]:
                        states.append(one["state"])
                        assert one["reason"] or "waiting" not in states, "told while tried again"
            warnings = [one.text for one in listener.client.status().warnings]
            assert len([text for text in warnings if "JACK" in text]) == 1
            listener.client.output_remove("jack")
            assert [one.name for one in listener.client.outputs().outputs] == ["null"]


def test_ends_by_request_and_goes_on(folder: Path) -> None:
    with virtual(folder) as daemon:
        daemon.start()
        with daemon.listening("bar") as listener:
            listener.bar()
            listener.client.set({"music.tempo": 66, "mix.drums": -9})
            for _ in range(6):
                listener.bar()
            listener.client.shutdown()
        assert daemon.stop() == 0
        assert "goes on as it was" not in daemon.log.read_text("utf-8")
        daemon.start()
        with daemon.listening("bar") as listener:
            assert listener.bar().bar.index > 3
            assert "goes on as it was" in daemon.log.read_text("utf-8"), "--seed counts no more"
            assert listener.client.get("mix.drums").value == -9
            assert listener.client.get("music.tempo").value == 66


def test_a_second_ctrl_c_does_not_wait_for_outputs_and_finishes_files(folder: Path) -> None:
    file, steady = folder / "x.wav", ["--output", "null", "--seed", "7"]
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager,
        Daemon(folder, [*steady, "--output", f"file:{file}"]) as daemon,
    ):
        manager.bind(str(folder / "notify"))
        manager.settimeout(PATIENCE)
        daemon.environment["NOTIFY_SOCKET"] = str(folder / "notify")
        for hangs in (False, True):
            daemon.start()
            with daemon.listening("bar") as listener:
                listener.bar()
            if hangs:
                daemon.process("stage").suspend()
            desk = daemon.process("desk")
            desk.send_signal(signal.SIGINT)
            while manager.recv(100) != b"STOPPING=1":
                pass
            desk.send_signal(signal.SIGINT)
            assert daemon.stop() == 0
            log = daemon.log.read_text("utf-8")
            assert "Traceback" not in log
        assert "The outputs get 1 s more to end." in log
        assert sf.info(str(file)).duration > 0


def test_ctrl_c_before_it_has_begun_is_no_traceback(folder: Path) -> None:
    with Daemon(folder, ["--output", "null"]) as daemon:
        daemon.start()
        daemon.process("writer")
        daemon.process("stage")
        desk, *children = daemon.family()
        assert {os.getpgid(child.pid) for child in children}.isdisjoint({os.getpgid(desk.pid)})
        desk.send_signal(signal.SIGINT)
        assert daemon.stop() == 0
        assert "Traceback" not in daemon.log.read_text("utf-8")


def test_nobody_home_is_one_sentence(folder: Path) -> None:
    daemon = Daemon(folder, [])
    with Client(daemon.address, timeout=1.0) as client:  # noqa: SIM117 - making it is no error
        with pytest.raises(LofidError, match="No daemon answers at"):
            client.status()
