import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from lofid import __version__, cli
from lofid.cli import main
from lofid.compose.preset import load_preset, preset_names
from lofid.processes import python_module


def lofid(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a person does, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "lofid", *arguments],
        env={**os.environ, "COLUMNS": "120", **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A folder with modules that are called as some that lofid imports, and tell of it."""
    for name in ("numpy", "msgspec", "zmq", "typer", "multiprocessing", "pickle"):
        (tmp_path / f"{name}.py").write_text("print('taken from the working folder')\n")
    (tmp_path / "lofid").mkdir()
    (tmp_path / "lofid" / "__init__.py").write_text("print('taken from the working folder')\n")
    return tmp_path


POOL = """
import multiprocessing, sys
from lofid.processes import keep_working_folder_out
keep_working_folder_out()
pool = multiprocessing.get_context("spawn").Pool(1)
print(pool.apply(max, (1, 2)))
"""


@pytest.mark.parametrize(
    "command",
    [
        [*python_module("lofid"), "--version"],
        [*python_module("lofid.daemon.writer"), "--help"],
        [*python_module("lofid.daemon.stage"), "--help"],
        [sys.executable, "-P", "-c", "from lofid.cli import main; main()", "--version"],
        [sys.executable, "-P", "-c", POOL],
    ],
)
def test_nothing_is_imported_from_the_working_folder(command: list[str], hostile: Path) -> None:
    done = subprocess.run(command, cwd=hostile, capture_output=True, text=True, check=True)
    assert "taken from" not in done.stdout
    assert "lofid" in done.stdout or done.stdout == "2\n"


def test_python_m_lofid_imports_nothing_else_from_there(hostile: Path) -> None:
    shutil.rmtree(hostile / "lofid")
    command = [sys.executable, "-m", "lofid", "presets", "--json"]
    done = subprocess.run(command, cwd=hostile, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)


def test_every_process_of_lofid_is_started_safely() -> None:
    package = Path(cli.__file__).parent.parent
    for path in package.rglob("*.py"):
        for call in re.findall(
            r"\[[^\[\]]*(?:sys\.executable|python)[^\[\]]*\"-[mc]\"", path.read_text()
        ):
            assert '"-P"' in call, path


def test_version() -> None:
    result = lofid("--version")
    assert (result.returncode, result.stdout) == (0, f"lofid {__version__}\n")


def test_every_command_explains_itself_with_examples() -> None:
    app = get_command(cli.app)
    assert isinstance(app, TyperGroup)
    found = dict(app.commands)
    for name in ("data", "models"):
        group = found[name]
        assert isinstance(group, TyperGroup)
        found |= {f"{name} {below}": command for below, command in group.commands.items()}
    for name, command in found.items():
        if not isinstance(command, TyperGroup):
            examples = (command.help or "").partition("[dim]Example")[2]
            assert f"lofid {name}" in examples, name
    assert len(found) > 20
    shown = lofid("models", "get", "--help").stdout
    assert "Examples:" in shown and "lofid models get" in shown


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("lofid play --preset ra", "rain"),
        ("lofid render --engine tri", "triton"),
        ("lofid train --config gp", "gpt"),
        ("lofid data get pop909", "pop909"),
        ("lofid models import --player ke", "keys"),
    ],
)
def test_the_shell_completes_what_is_typed(typed: str, offered: str) -> None:
    result = subprocess.run(
        [sys.executable, "-c", "from lofid.cli import app; app(prog_name='lofid')"],
        env={
            **os.environ,
            "_LOFID_COMPLETE": "complete_bash",
            "COMP_WORDS": typed,
            "COMP_CWORD": str(typed.count(" ")),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stdout.split() == [offered]


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys, lofid.cli; "
        "heavy = {'numba', 'fluidsynth', 'sounddevice', 'torch', 'scipy'}; "
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (result.returncode, result.stderr) == (0, b"")


def test_presets_are_listed_in_both_forms() -> None:
    listed = lofid("presets")
    assert listed.returncode == 0
    plain = json.loads(lofid("presets", "--json").stdout)
    assert [preset["name"] for preset in plain] == preset_names()
    for name in preset_names():
        assert name in listed.stdout
        assert load_preset(name).description


def test_one_preset_shows_every_value() -> None:
    shown = json.loads(lofid("presets", "rain", "--json").stdout)
    assert shown["parameters"]["music.tempo"] == load_preset("rain").settings.music.tempo
    text = lofid("presets", "rain").stdout
    assert "music.tempo" in text
    assert "[sound]" in text, "square brackets are no markup"
    assert "True" not in text, "values are shown as one types them"


def test_what_a_service_would_be_is_told_in_both_forms() -> None:
    asked = ("service", "install", "--output", "null", "--print")
    assert "ExecStart=" in lofid(*asked).stdout
    told = json.loads(lofid(*asked, "--json").stdout)
    assert (told["unit"], told["written"]) == ("lofid.service", False)
    assert told["options"] == ["--output", "null"]


def test_doctor_reports_in_both_forms() -> None:
    findings = json.loads(lofid("doctor", "--json").stdout)
    topics = {finding["topic"] for finding in findings}
    assert {
        "machine",
        "libraries",
        "engines",
        "models",
        "audio",
        "MIDI",
        "SoundFonts",
        "real time",
    } <= topics
    libraries = [finding for finding in findings if finding["topic"] == "libraries"]
    assert all(finding["ok"] for finding in libraries)
    assert "fluidsynth" in lofid("doctor").stdout


@pytest.mark.parametrize("arguments", [("presets",), ("doctor",), ("--help",)])
def test_no_colour_where_none_is_wanted(arguments: tuple[str, ...]) -> None:
    result = lofid(*arguments, NO_COLOR="1", FORCE_COLOR="")
    assert "\x1b[3" not in result.stdout


@pytest.mark.parametrize("arguments", [("doctor",), ("--help",), ("presets", "rain")])
def test_a_terminal_that_knows_only_ascii(arguments: tuple[str, ...]) -> None:
    result = lofid(*arguments, PYTHONIOENCODING="ascii")
    assert (result.returncode, result.stderr) == (0, "")


def test_what_looks_like_markup_is_shown_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "my[red].toml"
    path.write_text('description = "loud [/b] and clear"\n')
    shown = lofid("presets", str(path)).stdout
    assert "my[red]: loud [/b] and clear" in shown


@pytest.mark.parametrize(
    ("typed", "word", "shown"),
    [
        ("play --sped 3", "--seed", "lofid play --help"),
        ("plya", "'play'", "lofid --help"),
        ("render x.wav --bars 0", "--bars", "lofid render --help"),
        ("render", "out", "lofid render --help"),
        ("train", "keys, drums", "lofid train --help"),
        ("ctl mute flute", "flute", "lofid ctl mute --help"),
        ("ctl set music.tempo", "music.tempo", "lofid ctl set --help"),
    ],
)
def test_a_wrong_command_line_is_one_line(typed: str, word: str, shown: str) -> None:
    program = "import sys; sys.argv[0] = 'lofid'; from lofid.cli import main; main()"
    result = subprocess.run(
        [sys.executable, "-c", program, *typed.split()],
        env={**os.environ, "FORCE_COLOR": "1", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stdout) == (2, "")
    lines = result.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("lofid: "), result.stderr
    assert word in lines[0] and lines[0].endswith(f" See '{shown}'.")
    assert "\x1b" not in result.stderr


def test_without_a_command_there_is_help() -> None:
    for arguments in ((), ("ctl",)):
        result = lofid(*arguments)
        assert (result.returncode, result.stderr) == (2, "")
        assert "Usage:" in result.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/full")
def test_an_answer_that_finds_no_space() -> None:
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(
            [sys.executable, "-m", "lofid", "presets"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert result.returncode != 0
    assert result.stderr.startswith("lofid: There is no space left")
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("presets", "rian"), "rain"),
        (("presets", "./nowhere.toml"), "nowhere.toml"),
        (("render", "x.wav", "--preset", "rian"), "rain"),
        (("render", "x.wav", "--key", "H"), "H"),
        (("render", "x.wav", "--tempo", "400"), "100"),
        (("render", "x.xyz"), ".mid"),
        (("presets", "polka"), "late-night-jazz"),
        (("render", "x.wav", "--bars", "4", "--minutes", "1"), "--minutes"),
        (("render", "nowhere/x.wav", "--bars", "1"), "nowhere"),
        (("render", "nowhere/x.mid", "--bars", "1"), "nowhere"),
        (("render", "x.wav", "--keys-model", "nowhere.safetensors"), "nowhere.safetensors"),
        (("render", "x.mid", "--model", "nobody"), "lofid models get nobody"),
        (("render", "x.mid", "--style", "nobodys"), "lofid tune"),
        (("serve", "--style", "nobodys"), "lofid tune"),
        (("serve", "--keys-model", "nowhere.safetensors"), "nowhere.safetensors"),
        (("play", "--output", "smoke:signals"), "smoke"),
        (("play", "--output", "file:nowhere/x.wav"), "nowhere"),
    ],
)
def test_a_mistake_is_one_sentence(
    arguments: tuple[str, ...],
    word: str,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path_factory.mktemp("m")  # a short name: sockets lie in it
    for variable in ("XDG_RUNTIME_DIR", "XDG_STATE_HOME"):
        monkeypatch.setenv(variable, str(folder))
    result = lofid(*arguments)
    assert result.returncode == 1
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("lofid: "), result.stderr
    assert word in lines[0]
    assert list(tmp_path.iterdir()) == []


LONG = 300 * "x"


@pytest.mark.parametrize(
    "arguments",
    [
        ("presets", f"{LONG}.toml"),
        ("check", f"{LONG}.lofistate"),
        ("data", "add", LONG),
        ("data", "list", "--data", LONG),
        ("models", "get", "q", "--from", LONG),
        ("models", "pack", LONG, "--keys", LONG),
        ("render", "o.mid", "--bars", "1", "--style", f"{LONG}/x"),
        ("render", "o.mid", "--bars", "1", "--keys-model", LONG),
    ],
)
def test_a_name_that_no_system_takes_is_one_sentence(
    arguments: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["lofid", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    shown = capsys.readouterr()
    assert ended.value.code == 1
    assert "xxx" in shown.out + shown.err
    assert "Traceback" not in shown.err
    assert list(tmp_path.iterdir()) == []
