import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from lofid.cli import doctor
from lofid.errors import LofidError
from lofid.system import (
    APT,
    FLUIDSYNTH,
    LIBRARIES,
    PARTS,
    PORTAUDIO,
    PULSEAUDIO,
    PartKind,
    SystemPart,
    advice,
    install,
    missing,
    missing_error,
    own_manager,
)

ROOT = Path(__file__).parents[2]
GONE = SystemPart(
    PartKind.PROGRAM,
    "gone",
    "is needed by this test",
    debian="libgone1",
    fedora="gone",
    arch="gone-arch",
    macos="",
)

# A package manager that writes down what it is told, and brings what it is asked to install.
MANAGER = """#!/bin/sh
echo "${{0##*/}} $*" >>{folder}/told
case "$*" in
  *" -s "*) echo "{plan}" ;;
  *install*|*-S*) {does} ;;
esac
"""

Stand = Callable[..., Path]


@pytest.fixture
def stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stand:
    """Makes a folder with a package manager the only place where programs are found."""

    def made(manager: str, plan: str = "Inst libgone1", does: str = "") -> Path:
        for name, text in (
            (manager, MANAGER.format(folder=tmp_path, plan=plan, does=does or _brings(tmp_path))),
            ("sudo", '#!/bin/sh\n[ "$1" = -n ] && shift\nexec "$@"\n'),
        ):
            (tmp_path / name).write_text(text)
            (tmp_path / name).chmod(0o755)
        for name in ("env", "true"):
            (tmp_path / name).symlink_to(shutil.which(name) or name)
        monkeypatch.setenv("PATH", str(tmp_path))
        return tmp_path / "told"

    return made


def _brings(folder: Path) -> str:
    return f": >{folder}/gone; /bin/chmod +x {folder}/gone"


def test_everything_the_tests_need_is_here() -> None:
    assert missing(PARTS["test"]) == []


def test_without_a_package_manager_every_system_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert own_manager() is None
    assert missing([GONE]) == [GONE]
    sentence = advice([GONE])
    for command in ("--no-remove libgone1", "dnf install gone", "pacman -S --needed gone-arch"):
        assert command in sentence
    assert "brew" not in sentence  # nothing to install there


@pytest.mark.parametrize(
    ("manager", "command"),
    [
        ("apt-get", "sudo apt-get install --no-install-recommends --no-remove libgone1"),
        ("dnf", "sudo dnf install gone"),
        ("pacman", "sudo pacman -S --needed gone-arch"),
    ],
)
def test_one_command_for_this_machine(stand: Stand, manager: str, command: str) -> None:
    stand(manager)
    assert advice([GONE]) == command


def test_what_a_system_never_has_is_not_asked_for(stand: Stand) -> None:
    stand("brew")
    assert missing([GONE]) == []


def test_one_error_names_all_that_playing_lacks(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand("apt-get")
    monkeypatch.setattr("lofid.system._has_library", lambda _name: False)
    assert missing(LIBRARIES) == [FLUIDSYNTH, PORTAUDIO]
    assert str(missing_error(PORTAUDIO)) == (
        "This machine lacks portaudio (reaches the sound card), fluidsynth (plays the "
        "instruments); install with: sudo apt-get install --no-install-recommends --no-remove "
        "libportaudio2 libfluidsynth3, or let lofid do it: lofid doctor --fix"
    )


def test_pipewire_is_not_pushed_out_by_pulseaudio(stand: Stand) -> None:
    folder = stand("apt-get").parent
    assert missing([PULSEAUDIO]) == [PULSEAUDIO]
    (folder / "pipewire-pulse").touch(mode=0o755)
    assert missing([PULSEAUDIO]) == []
    assert not PULSEAUDIO.present


@pytest.mark.parametrize(
    ("manager", "commands"),
    [
        (
            "apt-get",
            [
                "apt-get update -q",
                "apt-get install -s --no-install-recommends libgone1",
                "apt-get install --no-install-recommends --no-remove -q -y libgone1",
            ],
        ),
        ("dnf", ["dnf install -y gone"]),
        ("pacman", ["pacman -S --needed --noconfirm gone-arch"]),
    ],
)
def test_fixing_runs_the_command_of_this_machine(
    stand: Stand, manager: str, commands: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = stand(manager)
    monkeypatch.setattr(doctor, "LIBRARIES", (GONE,))
    doctor.doctor(fix=True, yes=True)
    assert told.read_text().splitlines() == commands
    assert missing([GONE]) == []
    doctor.doctor(fix=True, yes=True)  # nothing lacks any more
    assert told.read_text().splitlines() == commands


def test_fixing_asks_first(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    told = stand("apt-get")
    monkeypatch.setattr(doctor, "LIBRARIES", (GONE,))
    with pytest.raises(LofidError, match="--fix --yes"):
        doctor.doctor(fix=True)
    asked = []

    def refuse(question: str, **_: object) -> None:
        asked.append(question)
        raise typer.Abort

    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr(typer, "confirm", refuse)
    with pytest.raises(typer.Abort):
        doctor.doctor(fix=True)
    assert asked == [f"Run '{APT.typed([GONE])}'?"]
    assert not told.exists()


def test_nothing_is_installed_that_removes_something(stand: Stand) -> None:
    told = stand("apt-get", plan="Remv pipewire-alsa [0.3.65-3]\nInst libgone1 (1.0)")
    with pytest.raises(LofidError, match="push pipewire-alsa out of this machine"):
        install([GONE], APT)
    assert [line.split()[1:3] for line in told.read_text().splitlines()] == [
        ["update", "-q"],
        ["install", "-s"],
    ]


@pytest.mark.parametrize(
    ("does", "reason"), [("exit 100", "apt-get install .* failed"), ("true", "gone is still not")]
)
def test_what_did_not_come_is_told(stand: Stand, does: str, reason: str) -> None:
    stand("apt-get", does=does)
    with pytest.raises(LofidError, match=reason):
        install([GONE], APT)


@pytest.mark.parametrize("purpose", PARTS)
def test_the_table_runs_before_anything_is_installed(purpose: str, tmp_path: Path) -> None:
    """With nothing but the standard library, and quietly where all is there."""
    for part in PARTS[purpose]:
        for name in (part.name, *part.instead):
            if part.kind is PartKind.PROGRAM and (path := shutil.which(name)):
                (tmp_path / name).symlink_to(path)
    result = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _RUN.format(root=str(ROOT), purpose=purpose)],
        env={"PATH": str(tmp_path)},  # where no package manager is
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


_RUN = """
import sys
sys.path.insert(0, {root!r})
from lofid.system import main
sys.exit(main([{purpose!r}]))
"""


def test_where_apt_is_not_to_be_had_the_packages_are_named(tmp_path: Path) -> None:
    """A machine whose PATH holds neither a package manager nor jackd."""
    result = subprocess.run(
        [sys.executable, "-m", "lofid.system", "test"],
        cwd=ROOT,
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert "jackd" in result.stderr and "--no-remove jackd2" in result.stderr
