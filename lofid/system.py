"""The libraries that come from the operating system, not from PyPI: which are here, which are not.

One table names them for every distribution; ``make``, ``lofid doctor`` and the error messages of
the rooms read it. ``python3 -m lofid.system play`` (or ``test``) installs the missing ones where
apt may be used, and says what to install where it may not. It runs before there is a virtual
environment, so it must import nothing but the standard library.
"""

import ctypes.util
import importlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from lofid.errors import LofidError


class Kind(StrEnum):
    """How we see whether a part is here."""

    LIBRARY = "library"
    PROGRAM = "program"
    MODULE = "module"
    FILE = "file"


@dataclass(frozen=True, slots=True)
class SystemPart:
    """A part of the operating system that lofid uses.

    ``name`` is what is looked for (a library without ``lib``, a program, a module of the system's
    Python, or a file); the package names are empty where the system always has the part.
    """

    kind: Kind
    name: str
    purpose: str
    debian: str
    fedora: str
    arch: str
    macos: str

    @property
    def present(self) -> bool:
        """Whether this machine has it."""
        if self.kind is Kind.LIBRARY:
            return _has_library(self.name)
        if self.kind is Kind.PROGRAM:
            return shutil.which(self.name) is not None
        if self.kind is Kind.MODULE:
            importlib.invalidate_caches()  # it may have been installed a moment ago
            return importlib.util.find_spec(self.name) is not None
        return Path(self.name).is_file()


FLUIDSYNTH = SystemPart(
    Kind.LIBRARY,
    "fluidsynth",
    "plays the instruments",
    debian="libfluidsynth3",
    fedora="fluidsynth-libs",
    arch="fluidsynth",
    macos="fluid-synth",
)
PORTAUDIO = SystemPart(
    Kind.LIBRARY,
    "portaudio",
    "reaches the sound card",  # and brings libasound and libjack, which the MIDI ports use
    debian="libportaudio2",
    fedora="portaudio",
    arch="portaudio",
    macos="portaudio",
)
VENV = SystemPart(
    Kind.MODULE,
    "ensurepip",
    "makes the virtual environment",
    debian="python3-venv",
    fedora="python3-pip",
    arch="python",
    macos="python",
)
JACK = SystemPart(
    Kind.PROGRAM,
    "jackd",
    "stands in for a sound card in the tests",
    debian="jackd2",
    fedora="jack-audio-connection-kit",
    arch="jack2",
    macos="jack",
)
PULSEAUDIO = SystemPart(
    Kind.PROGRAM,
    "pulseaudio",
    "stands in for a desktop's sound server in the tests",
    debian="pulseaudio",
    fedora="pulseaudio",
    arch="pulseaudio",
    macos="pulseaudio",
)
NSPAWN = SystemPart(
    Kind.PROGRAM,
    "systemd-nspawn",
    "boots a systemd in a container for the tests of the units",
    debian="systemd-container",
    fedora="systemd-container",
    arch="systemd",
    macos="",
)
FLUIDR3 = SystemPart(
    Kind.FILE,
    "/usr/share/sounds/sf2/FluidR3_GM.sf2",
    "is what the embedded SoundFont is cut out of",
    debian="fluid-soundfont-gm",
    fedora="fluid-soundfont-gm",
    arch="soundfont-fluid",
    macos="",
)

PARTS: dict[str, tuple[SystemPart, ...]] = {
    "play": (VENV, FLUIDSYNTH, PORTAUDIO),
    "test": (VENV, FLUIDSYNTH, PORTAUDIO, JACK, PULSEAUDIO, NSPAWN, FLUIDR3),
}
"""What each purpose needs."""


def _has_library(name: str) -> bool:
    """Whether the dynamic linker, or Homebrew on macOS, knows a library called ``name``."""
    if name == "atomic" and sys.platform == "darwin":
        return True  # part of the compiler's runtime there
    if ctypes.util.find_library(name) is not None:
        return True
    brew = (Path("/opt/homebrew/lib"), Path("/usr/local/lib"))
    return sys.platform == "darwin" and any((p / f"lib{name}.dylib").exists() for p in brew)


def missing(parts: Iterable[SystemPart]) -> list[SystemPart]:
    """Those of ``parts`` that this machine does not have."""
    return [part for part in parts if not part.present]


def advice(parts: Sequence[SystemPart]) -> str:
    """One sentence that says how to install ``parts``, for every system that we know."""

    def names(packages: Iterable[str]) -> str:
        return " ".join(dict.fromkeys(package for package in packages if package))

    ways = [
        ("Debian, Ubuntu: sudo apt install", names(part.debian for part in parts)),
        ("Fedora: sudo dnf install", names(part.fedora for part in parts)),
        ("Arch: sudo pacman -S", names(part.arch for part in parts)),
        ("macOS: brew install", names(part.macos for part in parts)),
    ]
    return "; ".join(f"{command} {packages}" for command, packages in ways if packages)


def missing_error(part: SystemPart) -> LofidError:
    """The error to raise where ``part`` turns out to be missing in use."""
    return LofidError(
        f"{part.name} is not installed; it {part.purpose}. Install it ({advice([part])})."
    )


def privilege() -> list[str] | None:
    """What to put before a command that needs root, or None where we may not become root."""
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo") is not None:
        allowed = subprocess.run(["sudo", "-n", "true"], capture_output=True, check=False)
        if allowed.returncode == 0:
            return ["sudo", "-n"]
    return None


def install(parts: Iterable[SystemPart]) -> None:
    """Install those of ``parts`` that are missing, through apt.

    Does nothing where nothing is missing. Raises :class:`LofidError`, naming the packages, where
    apt is not there, not allowed, or fails.
    """
    lacking = missing(parts)
    if not lacking:
        return
    what = ", ".join(part.name for part in lacking)
    root = privilege() if shutil.which("apt-get") is not None else None
    if root is None:
        raise LofidError(f"This machine lacks {what}; install them ({advice(lacking)}).")
    packages = list(dict.fromkeys(part.debian for part in lacking))
    print(f"Installing {' '.join(packages)} with apt", flush=True)
    environment = [*root, "env", "DEBIAN_FRONTEND=noninteractive"]
    update = [*environment, "apt-get", "update", "-q"]
    # --no-install-recommends: jackd2 would bring a desktop's worth of programs.
    add = [*environment, "apt-get", "install", "-q", "-y", "--no-install-recommends", *packages]
    for command in (update, add):
        if subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode != 0:
            raise LofidError(f"'{' '.join(command)}' failed; mend that or install {what} by hand.")
    still = missing(lacking)
    if still:
        names = ", ".join(part.name for part in still)
        raise LofidError(f"apt installed {' '.join(packages)}, but {names} is still not found.")


def main(arguments: Sequence[str]) -> int:
    """``python3 -m lofid.system play|test``: install what is missing; returns the exit code."""
    if len(arguments) != 1 or arguments[0] not in PARTS:
        print(f"usage: python3 -m lofid.system {'|'.join(PARTS)}", file=sys.stderr)
        return 2
    try:
        install(PARTS[arguments[0]])
    except LofidError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
