import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from bench.daemon import Daemon
from lofid.cli._from_here import named_from_here, output_from_here
from lofid.cli.ctl import app
from lofid.protocol.messages import REQUESTS

COMMAND_OF = {"branch": "branch prepare", "presets": "preset list", "outputs": "output list"}
"""The commands that are not called as their request is, underscores apart."""

PROGRAM = "import sys; sys.argv[0] = 'lofid'; from lofid.cli import main; main()"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    folder = tmp_path_factory.mktemp("c")  # a short name: sockets lie in it
    with Daemon(folder, ["--output", "null", "--seed", "3"]) as made:
        made.start()
        with made.listening("bar") as listener:
            listener.bar()
        yield made


def ctl(daemon: Daemon, *arguments: str) -> Result:
    """The command in this process, against the daemon in its own."""
    environment = {"COLUMNS": "120", "XDG_RUNTIME_DIR": daemon.environment["XDG_RUNTIME_DIR"]}
    return CliRunner().invoke(app, arguments, env=environment)


def lofid(daemon: Daemon, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        env={**daemon.environment, "COLUMNS": "120", **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize(
    "words", ["--session nope status", "status --session nope", "volume bass -6 --session=nope"]
)
def test_which_daemon_is_meant_may_be_said_anywhere(words: str) -> None:
    answer = CliRunner().invoke(app, words.split())
    assert "No daemon plays session 'nope'" in str(answer.exception)


def test_there_is_a_command_for_every_request() -> None:
    commands = {str(command.name or "") for command in app.registered_commands} | {
        command.callback.__name__ for command in app.registered_commands if command.callback
    }
    for group in app.registered_groups:
        assert group.typer_instance is not None
        for command in group.typer_instance.registered_commands:
            commands.add(f"{group.name} {command.name}")
    for request in REQUESTS:
        assert COMMAND_OF.get(request, request) in commands or request.replace("_", " ") in commands


def test_what_plays_is_shown_to_people_and_scripts(daemon: Daemon) -> None:
    shown = lofid(daemon, "ctl", "status")
    assert shown.returncode == 0, shown.stderr
    assert "main: playing" in shown.stdout
    assert "\x1b" not in shown.stdout
    status = json.loads(lofid(daemon, "ctl", "status", "--json").stdout)
    assert (status["state"], status["seed"]) == ("playing", 3)


def test_parameters_are_set_from_words(daemon: Daemon) -> None:
    result = lofid(daemon, "ctl", "set", "mix.bass", "-3.5", "form.intro", "off",
                   "music.keys", "Eb, F#m", "groove.style", "jazz")  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("Heard ")
    for path, value in {
        "mix.bass": -3.5,
        "form.intro": False,
        "music.keys": ["Eb", "F#m"],
        "groove.style": "jazz",
    }.items():
        told = json.loads(ctl(daemon, "get", path, "--json").stdout)
        assert told["value"] == value
    assert ctl(daemon, "volume", "drums", "-6").stdout == "Heard at once.\n"


def test_what_the_daemon_refuses_is_one_sentence_or_json(daemon: Daemon) -> None:
    result = lofid(daemon, "ctl", "set", "music.tempo", "300")
    assert (result.returncode, result.stdout) == (1, "")
    assert (
        result.stderr == "lofid: music.tempo cannot be 300; it takes a number from 60 to 100 BPM.\n"
    )
    result = lofid(daemon, "ctl", "set", "music.tempo", "300", "--json")
    assert result.returncode == 1
    assert json.loads(result.stdout)["field"] == "music.tempo"
    result = lofid(daemon, "ctl", "--session", "other", "status")
    assert (result.returncode, result.stderr) == (
        1,
        "lofid: No daemon plays session 'other'; start it with 'lofid serve --session other'.\n",
    )
    assert lofid(daemon, "ctl", "set", "music.tempo").returncode == 2


@pytest.mark.parametrize(
    "command",
    [
        "parameters", "preset list", "preset save mine -d Mine", "preset load rain",
        "preset morph sleepy --bars 8", "preset rm mine",
        "pause", "play", "mute keys", "mute keys --off",
        "solo drums", "solo drums --off", "next", "next song", "rewind 1", "output list",
        "output add null --name more", "output remove more", "record start take",
        "record stop", "snapshot save a", "snapshot list", "snapshot load a", "snapshot rm a",
        "output add null --name less", "output rm less",
        "like", "branch prepare 2", "branch 3", "branch drop", "midi learn sound.low_pass",
        "midi forget sound.low_pass", "panic", "seed 5",
    ],
)  # fmt: skip
def test_every_command_speaks_to_a_real_daemon(daemon: Daemon, command: str) -> None:
    result = ctl(daemon, *command.split())
    assert result.exit_code == 0, result.exception
    assert result.stdout


def test_prepared_branches_and_missing_outputs_are_shown(daemon: Daemon) -> None:
    assert "lofid ctl branch listen" in ctl(daemon, "branch", "3").stdout
    shown = ctl(daemon, "status").stdout
    assert "branch 3" in shown
    assert "branch 4" not in shown
    assert "nobody hears it" not in shown
    assert ctl(daemon, "branch", "drop").exit_code == 0
    assert ctl(daemon, "branch", "9").exit_code == 1
    assert ctl(daemon, "output", "remove", "null").exit_code == 0
    assert "nobody hears it" in ctl(daemon, "status").stdout
    assert ctl(daemon, "output", "add", "null").exit_code == 0


def test_a_kept_session_is_found_from_where_one_is(
    daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = json.loads(ctl(daemon, "snapshot", "save", "here", "--json").stdout)
    (tmp_path / "mine.lofistate").write_bytes(Path(saved["path"]).read_bytes())
    monkeypatch.chdir(tmp_path)
    assert ctl(daemon, "snapshot", "load", "mine.lofistate").exit_code == 0


def test_files_are_named_from_the_folder_one_is_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/one")
    assert output_from_here("file:night.wav") == f"file:{tmp_path}/night.wav"
    assert output_from_here("file:~/night.wav") == "file:/home/one/night.wav"
    assert output_from_here("midi:song") == "midi:song"
    assert named_from_here("rain") == "rain"
    assert named_from_here("mine.toml") == f"{tmp_path}/mine.toml"


def test_paths_and_presets_are_completed(daemon: Daemon) -> None:
    def completed(words: str) -> str:
        typed = {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split())), "COMP_POINT": "0"}
        return lofid(daemon, **typed, _LOFID_COMPLETE="complete_bash").stdout

    assert "sound.rain" in completed("lofid ctl get ")
    assert "rain" in completed("lofid ctl preset load ").split()
    assert ctl(daemon, "preset", "save", "evening").exit_code == 0
    assert completed("lofid ctl preset remove ").split() == ["evening"]
    refused = lofid(daemon, "ctl", "preset", "remove", "rain", "--json")
    assert refused.returncode == 1
    problem = json.loads(refused.stdout)
    assert (problem["kind"], problem["field"]) == ("refused", "name")
    assert "comes with lofid" in problem["text"]
    assert lofid(daemon, "ctl", "preset", "remove", "evening", "--json").stdout == "{}\n"
    assert completed("lofid ctl preset remove ").split() == []


def test_keys_are_made_and_given_out(daemon: Daemon, tmp_path: Path) -> None:
    made = lofid(daemon, "keys", "make")
    assert made.returncode == 0, made.stderr
    file = tmp_path / "phone.lofidkey"
    assert lofid(daemon, "keys", "add", "phone", "--file", str(file)).returncode == 0
    assert file.stat().st_mode & 0o777 == 0o600
    assert 'secret = "' in lofid(daemon, "keys", "add", "desk", "--file", "-").stdout
    added = lofid(daemon, "keys", "add", "lamp", "--file", str(tmp_path / "lamp"), "--json")
    told = json.loads(added.stdout)
    assert (told["name"], told["file"]) == ("lamp", str(tmp_path / "lamp"))
    assert "secret" not in told
    assert lofid(daemon, "keys", "remove", "lamp").returncode == 0
    told = json.loads(lofid(daemon, "keys", "add", "lamp", "--file", "-", "--json").stdout)
    assert set(told) == {"name", "role", "server", "public", "secret"}
    assert lofid(daemon, "keys", "remove", "lamp").returncode == 0
    assert sorted(json.loads(lofid(daemon, "keys", "list", "--json").stdout)) == ["desk", "phone"]
    assert lofid(daemon, "keys", "remove", "desk").returncode == 0
    failed = lofid(daemon, "keys", "add", "tv", "--file", str(tmp_path / "none" / "x"))
    assert failed.returncode == 1
    assert list(json.loads(lofid(daemon, "keys", "list", "--json").stdout)) == ["phone"]


def test_watch_prints_a_line_for_each_bar_where_there_is_no_terminal(daemon: Daemon) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "lofid", "watch"],
        env=daemon.environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as watching:
        assert watching.stdout is not None
        numbers = [int(watching.stdout.readline().split()[1]) for _ in range(2)]
        watching.send_signal(signal.SIGINT)
        assert watching.wait(30) == 0
    assert numbers[1] == numbers[0] + 1


def test_watch_prints_events_for_scripts(daemon: Daemon) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "lofid", "watch", "--json"],
        env=daemon.environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as watching:
        assert watching.stdout is not None
        first = json.loads(watching.stdout.readline())
        assert first["event"] == "status"
        seen = {json.loads(watching.stdout.readline())["event"] for _ in range(60)}
        watching.send_signal(signal.SIGINT)
        assert watching.wait(30) == 0
    assert {"levels", "bar", "notes", "chord"} <= seen


@pytest.mark.parametrize("colour", [True, False])
def test_watch_draws_on_a_terminal_until_q(daemon: Daemon, colour: bool) -> None:
    ours, theirs = pty.openpty()
    environment = {**daemon.environment, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "40"}
    environment |= {} if colour else {"NO_COLOR": "1"}
    with subprocess.Popen(
        [sys.executable, "-m", "lofid", "watch"],
        env=environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    ) as watching:
        os.close(theirs)
        drawn = b""
        while drawn.count(b"snare") < 5:
            drawn += os.read(ours, 65_536)
        os.write(ours, b"q")
        while True:
            try:
                os.read(ours, 65_536)
            except OSError:  # EIO: the other end is closed
                break
        assert watching.wait(30) == 0
    os.close(ours)
    assert b"seed" in drawn
    assert (b"\x1b[36m" in drawn) == colour
