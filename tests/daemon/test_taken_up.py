"""What a daemon keeps, and what its requests must never do to it: found by reading, one by one."""

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from bench.daemon import Daemon
from lofid.errors import LofidError
from lofid.protocol.messages import ErrorKind, PlayState, Refused, StateEvent, StatusEvent


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("t")  # a short name: sockets lie in it


@pytest.fixture
def daemon(folder: Path) -> Iterator[Daemon]:
    """On the virtual clock: bars come as fast as they are written."""
    with Daemon(folder, ["--output", "null", "--virtual-clock", "--seed", "7"]) as made:
        yield made


def test_a_morph_is_told_and_kept(daemon: Daemon) -> None:
    daemon.start()
    with daemon.listening("bar", "state") as listener:
        listener.bar()
        listener.client.preset_morph("rain", 3)
        told: dict[str, object] = {}
        while told.get("preset") != "rain" or told.get("morph", "") is not None:
            event = listener.next()
            if isinstance(event, StateEvent):
                told |= event.changed
        assert told["sound.rain"] == listener.client.get("sound.rain").value
        rain = told["sound.rain"]
        listener.bar()
    daemon.kill()
    daemon.start()
    with daemon.listening("bar") as listener:
        listener.bar()
        assert listener.client.get("sound.rain").value == rain != 0
        status = listener.client.status()
        assert (status.preset, status.changed, status.seed) == ("rain", [], 7)


def test_a_paused_session_is_ready_and_welcomes(daemon: Daemon, folder: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(folder / "notify"))
        manager.settimeout(60)
        daemon.start()
        with daemon.listening("bar") as listener:
            while listener.bar().bar.index < 2:  # before, there is no session yet
                pass
            listener.client.pause()
            listener.client.output_add("null", "another")
            listener.client.output_remove("null")
        daemon.stop()
        daemon.environment["NOTIFY_SOCKET"] = str(folder / "notify")
        daemon.start()
        assert manager.recv(100) == b"READY=1"
        assert manager.recv(100) == b"WATCHDOG=1"
    with daemon.listening("bar") as listener:
        client = listener.client
        assert [output.name for output in client.outputs().outputs] == ["another"], "what it had"
        with client.events("status") as events:
            greeting = events.wait(10)
        assert isinstance(greeting, StatusEvent)
        assert greeting.status.state is PlayState.PAUSED
        client.play()
        listener.bar()


def test_names_that_no_file_can_have(daemon: Daemon, folder: Path) -> None:
    daemon.start()
    with daemon.listening("bar") as listener:
        listener.bar()
        client = listener.client
        for ask in (client.snapshot_load, client.preset_load, client.output_add):
            with pytest.raises(Refused) as error:
                ask("file:/a\0b.lofistate")
            assert error.value.problem.kind is ErrorKind.FIELD
        long = f"{folder}/{'a' * 300}"
        for ask in (client.snapshot_load, client.preset_load, client.output_add):
            with pytest.raises(Refused) as error:
                ask(f"file:{long}.flac")
            problem = error.value.problem
            assert problem.kind in (ErrorKind.FIELD, ErrorKind.REFUSED)
        os.mkfifo(folder / "pipe.toml")
        os.mkfifo(folder / "pipe.lofistate")
        with pytest.raises(Refused, match="is a pipe"):
            client.preset_load(f"{folder}/pipe.toml")
        with pytest.raises(Refused, match="is a pipe"):
            client.snapshot_load(f"{folder}/pipe.lofistate")
        assert client.presets().presets
        wrong: list[tuple[Callable[[str], object], str]] = [
            (client.preset_load, "name"), (client.snapshot_load, "name"),
            (client.snapshot_remove, "name"), (client.output_add, "spec"),
            (client.get, "path"), (client.midi_learn, "path"),
        ]  # fmt: skip
        for asked, field in wrong:
            with pytest.raises(Refused) as error:
                asked("flute")
            problem = error.value.problem
            assert problem.field == field
            assert problem.allowed
            assert problem.hint
        with pytest.raises(Refused, match="too long"):
            client.record_start(long)
        listener.bar()


def test_of_two_recordings_asked_for_at_once_one_is_made(daemon: Daemon, folder: Path) -> None:
    daemon.start()
    with daemon.listening("bar") as listener:
        listener.bar()
        requests: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.DEALER)
        requests.connect(f"ipc://{folder}/run/lofid/main/requests")
        for request in ("record_start", "record_stop"):
            for number in range(2):
                requests.send_json({"v": 1, "id": f"{number}", "do": request})
            answers: list[Any] = []
            for _ in range(2):
                assert requests.poll(30_000)
                answers.append(requests.recv_json())
            assert sorted(answer["ok"] for answer in answers) == [False, True]
        requests.close(linger=0)
        assert listener.client.status().recording is None


def test_what_is_liked_is_what_led_to_it(folder: Path) -> None:
    with Daemon(folder, ["--output", "null", "--seed", "7"]) as daemon:
        daemon.start()
        with daemon.listening("bar") as listener:
            listener.bar()
            listener.bar()
            again = listener.client.rewind(1)
            assert listener.bar().bar.index == again.bar == 1
            # The first bar led to the one that was taken back, not to this one.
            assert listener.client.like().bar == 1


def test_a_name_is_free_once_its_output_has_closed(daemon: Daemon, folder: Path) -> None:
    daemon.start()
    with daemon.listening("bar") as listener:
        listener.bar()
        client = listener.client
        for number in range(1, 4):
            added = client.output_add(f"file:{folder / 'x.wav'}", "x")
            suffix = f"-{number}" if number > 1 else ""
            assert added.spec == f"file:{folder / f'x{suffix}.wav'}"
            listener.bar()
            client.output_remove("x")
        with pytest.raises(LofidError, match="There is an output 'recording' already"):
            client.output_add("null", "recording")
