"""The daemon as a systemd service: its units, where they go, and what systemd says of them.

A unit is the file that comes with lofid, with the program of this environment put in; what a
person chose (preset, outputs) lies beside it in a file of options, so that either can be changed
without the other. Knows no command line.
"""

import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Self

from lofid.errors import LofidError
from lofid.files import replacing
from lofid.protocol.paths import checked_name

_HIDDEN = (Path("/home"), Path("/root"), Path("/run/user"), Path("/tmp"), Path("/var/tmp"))
"""What ProtectHome= and PrivateTmp= take out of a system service's sight."""

_PROPERTIES = {
    "LoadState": "loaded",
    "UnitFileState": "enabled",
    "ActiveState": "active",
    "SubState": "phase",
    "StatusText": "status",
    "Result": "result",
    "MainPID": "pid",
    "NRestarts": "restarts",
    "ActiveEnterTimestamp": "since",
    "MemoryCurrent": "memory_bytes",
}


@dataclass(frozen=True, slots=True)
class Service:
    """A service of the user, or one session as a service of the system."""

    unit: str
    """What systemctl calls it."""
    path: Path
    """The unit's file; all sessions of a system share one."""
    options: Path
    """The file of options for ``lofid serve``."""
    system: bool

    @classmethod
    def of_user(cls) -> Self:
        """The one of whoever runs this; plays the default session."""
        config = Path(os.environ.get("XDG_CONFIG_HOME", ""))
        if not config.is_absolute():
            config = Path.home() / ".config"
        path = config / "systemd" / "user" / "lofid.service"
        return cls(path.name, path, config / "lofid" / "service.conf", False)

    @classmethod
    def of_system(cls, session: str) -> Self:
        """The one that plays ``session``; raises LofidError for a name that is none."""
        checked_name(session)
        path = Path("/etc/systemd/system/lofid@.service")
        return cls(f"lofid@{session}.service", path, Path(f"/etc/lofid/{session}.conf"), True)

    def text(self) -> str:
        """The unit, starting the lofid of this environment."""
        packaged = resources.files("lofid.systemd").joinpath(self.path.name).read_text("utf-8")
        program = f"{_quoted(sys.executable)} -P -m lofid"
        return re.sub(r"(?m)^ExecStart=lofid\b", lambda _: f"ExecStart={program}", packaged)

    def install(self, options: Sequence[str]) -> None:
        """Write the unit and the options, and tell systemd.

        Raises :class:`LofidError` where there is no systemd, where it cannot be reached or we may
        not write, and where a service of the system could not run this environment.
        """
        self._check_rights()
        if self.system:
            _check_reach()
        self.control("show", "--property=Version")  # before anything is written
        _write(self.path, self.text())
        _write(self.options, options_file(options))
        self.control("daemon-reload")

    def start(self) -> None:
        """Start it now and with every start of the session or the machine."""
        self.control("enable", self.unit)
        self.control("restart", self.unit)

    def uninstall(self) -> None:
        """Stop it and take away what was written; the music's state stays.

        Raises :class:`LofidError` where nothing is installed, and as :meth:`install` does.
        """
        self._check_rights()
        if not self.options.exists() or not self.path.exists():
            raise LofidError(f"{self.unit} is not installed; there is nothing to take away.")
        self.control("disable", "--now", self.unit)
        self.options.unlink()
        if not self.system or not any(self.options.parent.glob("*.conf")):
            self.path.unlink()
        self.control("daemon-reload")

    def status(self) -> dict[str, str | int | bool | None]:
        """What systemd says of it, under plain names; None for what does not apply now."""
        shown = self.control("show", f"--property={','.join(_PROPERTIES)}", self.unit)
        return _described(dict(line.partition("=")[::2] for line in shown.splitlines()))

    def control(self, *arguments: str) -> str:
        """Run systemctl; raises :class:`LofidError` with what it says where it fails."""
        program = shutil.which("systemctl")
        if program is None:
            raise LofidError(
                "There is no systemd on this machine; let 'lofid serve' be started by what it has."
            )
        command = [program, *([] if self.system else ["--user"]), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            reason = " ".join(done.stderr.split()).rstrip(".") or f"exit {done.returncode}"
            raise LofidError(
                f"'systemctl {'' if self.system else '--user '}{arguments[0]}' failed ({reason}); "
                f"{'look there first' if self.system else 'log in as this user, or use --system'}."
            )
        return done.stdout

    def _check_rights(self) -> None:
        if self.system and os.geteuid() != 0:
            raise LofidError(
                "Only root changes services of the system; put sudo before the command, "
                "or leave --system out for a service of your own."
            )


def options_file(options: Sequence[str]) -> str:
    """What EnvironmentFile= reads so that ``$LOFID_OPTIONS`` becomes exactly ``options``.

    Two layers, systemd.exec(5) and systemd.service(5): words are split at white space where no
    backslash is before it, and the value is in double quotes, where a backslash keeps itself,
    quotes, ``$`` and backquotes as they are.
    """
    words = " ".join(re.sub(r"([\s\\'\"])", r"\\\1", option) for option in options)
    value = re.sub(r'(["\\$`])', r"\\\1", words)
    return (
        f'# Options of lofid serve; restart the service after a change.\nLOFID_OPTIONS="{value}"\n'
    )


def _quoted(word: str) -> str:
    """One word of a command line in a unit: systemd.syntax(7), specifiers doubled."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LofidError(
            f"The folder '{path.parent}' could not be made ({error.strerror}); mend that first."
        ) from error
    with replacing(path) as temporary:
        temporary.write_text(text, "utf-8")


def _check_reach() -> None:
    """Raise where this environment lies in a place that a user made up by systemd may not see."""
    for folder in map(Path, (sys.prefix, sys.base_prefix, str(resources.files("lofid")))):
        hidden = any(folder.resolve().is_relative_to(place) for place in _HIDDEN)
        steps = [folder, *folder.parents]
        closed = any(not step.stat().st_mode & stat.S_IXOTH for step in steps)
        if hidden or closed:
            raise LofidError(
                f"A service of the system cannot reach '{folder}'; install lofid where everybody "
                "may read, for example: python3 -m venv /opt/lofid && /opt/lofid/bin/pip install "
                "lofid."
            )


def _described(properties: Mapping[str, str]) -> dict[str, str | int | bool | None]:
    numbers = ("MainPID", "NRestarts", "MemoryCurrent")
    described: dict[str, str | int | bool | None] = {}
    for name, plain in _PROPERTIES.items():
        value = properties.get(name, "")
        if name in numbers:
            described[plain] = int(value) if value.isdecimal() and value != "0" else None
        else:
            described[plain] = value or None
    described["loaded"] = properties.get("LoadState") == "loaded"
    described["restarts"] = described["restarts"] or 0
    return described
