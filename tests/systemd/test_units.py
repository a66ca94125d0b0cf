"""The units: what systemd says of them, and what they do in a real one."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lofid.daemon.units import Service, options_file

PATIENCE = 60.0
UNIT = "lofid@room.service"


@pytest.fixture(params=["user", "system"])
def service(request: pytest.FixtureRequest) -> Service:
    return Service.of_user() if request.param == "user" else Service.of_system("room")


def analyze(*arguments: str) -> "subprocess.CompletedProcess[str]":
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze")
    command = ["systemd-analyze", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_systemd_has_nothing_to_say_against_the_units(service: Service, tmp_path: Path) -> None:
    path = tmp_path / service.path.name.replace("@", "@room")
    path.write_text(service.text())
    told = analyze("verify", str(path))
    assert (told.returncode, told.stdout, told.stderr) == (0, "", "")


def test_little_is_open_to_a_service_of_the_system(tmp_path: Path) -> None:
    path = tmp_path / UNIT
    path.write_text(Service.of_system("room").text())
    told = analyze("security", "--offline=true", "--threshold=20", "--no-pager", str(path))
    assert told.returncode == 0, told.stdout


def test_the_unit_starts_the_lofid_of_this_environment(service: Service) -> None:
    starts = [line for line in service.text().splitlines() if line.startswith("ExecStart=")]
    assert len(starts) == 1
    assert starts[0].startswith(f'ExecStart="{sys.executable}" -P -m lofid serve ')


class Room:
    """The session ``room`` as a service of the machine's system."""

    def __init__(self, machine: Any) -> None:
        self.machine = machine

    def status(self) -> dict[str, Any]:
        told = self.machine.lofid("service", "status", "--system", "room", "--json", check=False)
        status: dict[str, Any] = json.loads(told.stdout)
        return status

    def bar(self) -> int:
        """Index of the bar that sounds, as ``lofid ctl`` tells it to root."""
        runtime = ("XDG_RUNTIME_DIR=/run/lofid-room",)
        asked = ("ctl", "--session", "room", "status", "--json")
        told = self.machine.lofid(*asked, variables=runtime)
        return int(json.loads(told.stdout)["bar"]["index"])

    def until(self, what: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first status of which ``what`` is true."""
        deadline = time.monotonic() + PATIENCE
        while not what(status := self.status()):
            assert time.monotonic() < deadline, f"{status}\n{self.journal()}"
            time.sleep(0.2)
        return status

    def journal(self) -> str:
        shown = self.machine.run("journalctl", "--no-pager", "-o", "cat", "-u", UNIT)
        return str(shown.stdout[-4000:])


@pytest.fixture(scope="module")
def room(machine: Any) -> Iterator[Room]:
    """Installed and started as a person would, but for a watchdog that bites sooner."""
    machine.write(f"/etc/systemd/system/{UNIT}.d/soon.conf", "[Service]\nWatchdogSec=12s\n")
    asked = ("--system", "room", "--output", "null", "--preset", "sunny-morning")
    room = Room(machine)
    done = machine.lofid("service", "install", *asked, "--now", check=False)
    assert done.returncode == 0, done.stderr + room.journal()
    yield room
    machine.lofid("service", "uninstall", "--system", "room")


def test_it_starts_as_a_user_of_its_own(room: Room) -> None:
    status = room.status()
    assert status["active"] == "active" and status["enabled"] == "enabled"
    assert status["restarts"] == 0
    owner = room.machine.run("stat", "-c", "%u", f"/proc/{status['pid']}").stdout
    assert 61184 <= int(owner) <= 65519  # the range of DynamicUser=


def test_a_daemon_that_hangs_is_started_anew(room: Room) -> None:
    before = room.status()
    room.machine.run("kill", "-STOP", str(before["pid"]))
    after = room.until(lambda status: status["restarts"] == before["restarts"] + 1)
    after = room.until(lambda status: status["active"] == "active")
    assert after["pid"] != before["pid"]
    assert "Watchdog timeout" in room.journal()


def test_after_sigkill_the_music_goes_on_where_it_was(room: Room) -> None:
    before = room.status()
    while (bar := room.bar()) < 1:
        time.sleep(0.5)
    room.machine.run("kill", "-KILL", str(before["pid"]))
    room.until(lambda status: status["restarts"] == before["restarts"] + 1)
    room.until(lambda status: status["active"] == "active")
    assert room.bar() >= bar


def test_it_stops_when_asked(room: Room) -> None:
    room.machine.run("systemctl", "stop", UNIT)  # waits until it has
    status = room.status()
    assert (status["active"], status["result"]) == ("inactive", "success")
    assert (
        room.machine.run("pgrep", "-c", "-f", "--", "-m lofid", check=False).stdout.strip() == "0"
    )
    room.machine.run("systemctl", "start", UNIT)
    assert room.status()["active"] == "active"


def test_a_user_installs_steers_and_removes_a_service(machine: Any) -> None:
    machine.run("mkdir", "-p", "/home/listener")
    machine.run("chown", "listener", "/home/listener")
    machine.run("loginctl", "enable-linger", "listener")
    machine.run("systemctl", "start", "user@1000.service")

    def listener(*arguments: str) -> "subprocess.CompletedProcess[str]":
        variables = ("HOME=/home/listener", "XDG_RUNTIME_DIR=/run/user/1000")
        done: subprocess.CompletedProcess[str] = machine.lofid(
            "service", *arguments, variables=variables, user="listener", check=False
        )
        return done

    done = listener("install", "--output", "null", "--now")
    assert done.returncode == 0, done.stderr
    assert json.loads(listener("status", "--json").stdout)["active"] == "active"
    assert listener("uninstall").returncode == 0
    gone = listener("status")
    assert (gone.returncode, gone.stdout) == (3, "lofid.service is not installed.\n")


NASTY = ["plain", "with space", 'it\'s "so"', "back\\slash", "$HOME ${HOME} `x` %h %%", "tab\tø"]


def test_options_reach_the_program_exactly(machine: Any) -> None:
    machine.write("/etc/lofid/nasty.conf", options_file(NASTY))
    unit = "\n".join(
        ["[Service]", "Type=oneshot", "EnvironmentFile=/etc/lofid/nasty.conf",
         "ExecStart=/usr/bin/printf '%%s\\n' $LOFID_OPTIONS", "StandardOutput=file:/run/nasty"]
    )  # fmt: skip
    machine.write("/run/systemd/system/nasty.service", unit)
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "start", "nasty.service")
    assert machine.run("cat", "/run/nasty").stdout.splitlines() == NASTY
