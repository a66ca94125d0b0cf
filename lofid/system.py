"""The libraries that come from the operating system, not from PyPI: which are here, which are not.

One table names them for every distribution; ``make``, ``lofid doctor`` and the error messages of
the rooms read it. ``python3 -m lofid.system play`` (or ``test``, ``gpu``) installs the missing ones
where apt may be used, and says what to install where it may not; nothing is ever removed for them.
It runs before there is a virtual environment, so it must import nothing but the standard library.
"""

import ctypes.util
import importlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from lofid.errors import LofidError


class PartKind(StrEnum):
    """How we see whether a part is here."""

    LIBRARY = "library"
    PROGRAM = "program"
    MODULE = "module"
    FILE = "file"


@dataclass(frozen=True, slots=True)
class SystemPart:
    """A part of the operating system that lofid uses.

    ``name`` is what is looked for (a library without ``lib``, a program, a module of the system's
    Python, or a file); a package name is empty where that system always or never has the part.
    Where one of the programs ``instead`` is here, the part is not asked for: it would push that
    one out.
    """

    kind: PartKind
    name: str
    purpose: str
    debian: str
    fedora: str
    arch: str
    macos: str
    instead: tuple[str, ...] = ()

    @property
    def lacking(self) -> bool:
        """Whether it should be installed: neither it nor anything instead of it is here."""
        return not self.present and not any(shutil.which(name) for name in self.instead)

    @property
    def present(self) -> bool:
        """Whether this machine has it."""
        if self.kind is PartKind.LIBRARY:
            return _has_library(self.name)
        if self.kind is PartKind.PROGRAM:
            return shutil.which(self.name) is not None
        if self.kind is PartKind.MODULE:
            importlib.invalidate_caches()  # it may have been installed a moment ago
            return importlib.util.find_spec(self.name) is not None
        return Path(self.name).is_file()


FLUIDSYNTH = SystemPart(
    PartKind.LIBRARY,
    "fluidsynth",
    "plays the instruments",
    debian="libfluidsynth3",
    fedora="fluidsynth-libs",
    arch="fluidsynth",
    macos="fluid-synth",
)
PORTAUDIO = SystemPart(
    PartKind.LIBRARY,
    "portaudio",
    "reaches the sound card",  # and brings libasound and libjack, which the MIDI ports use
    debian="libportaudio2",
    fedora="portaudio",
    arch="portaudio",
    macos="portaudio",
)
VENV = SystemPart(
    PartKind.MODULE,
    "ensurepip",
    "makes the virtual environment",
    debian="python3-venv",
    fedora="python3-pip",
    arch="python",
    macos="python",
)
JACK = SystemPart(
    PartKind.PROGRAM,
    "jackd",
    "stands in for a sound card in the tests",
    debian="jackd2",
    fedora="jack-audio-connection-kit",
    arch="jack2",
    macos="jack",
)
PULSEAUDIO = SystemPart(
    PartKind.PROGRAM,
    "pulseaudio",
    "stands in for a desktop's sound server in the tests",
    debian="pulseaudio",
    fedora="pulseaudio",
    arch="pulseaudio",
    macos="pulseaudio",
    instead=("pipewire-pulse",),
)
NSPAWN = SystemPart(
    PartKind.PROGRAM,
    "systemd-nspawn",
    "boots a systemd in a container for the tests of the units",
    debian="systemd-container",
    fedora="systemd-container",
    arch="systemd",
    macos="",
)
FLUIDR3 = SystemPart(
    PartKind.FILE,
    "/usr/share/sounds/sf2/FluidR3_GM.sf2",
    "is what the embedded SoundFont is cut out of",
    debian="fluid-soundfont-gm",
    fedora="fluid-soundfont-gm",
    arch="soundfont-fluid",
    macos="",
)

LIBRARIES = (FLUIDSYNTH, PORTAUDIO)
"""What a lofid that is installed needs to play."""

PARTS: dict[str, tuple[SystemPart, ...]] = {
    "play": (VENV, *LIBRARIES),
    "test": (VENV, *LIBRARIES, JACK, PULSEAUDIO, NSPAWN, FLUIDR3),
    "gpu": (VENV, *LIBRARIES),
}
"""What each target of the Makefile needs."""


@dataclass(frozen=True, slots=True)
class Manager:
    """A package manager: the ``program`` that shows it is here, and how it installs packages.

    ``systems`` are those that have it; ``package`` gives a part's package, empty where none is
    needed; ``command`` is what a person types before the packages, without ``sudo``.
    """

    program: str
    systems: str
    package: Callable[[SystemPart], str]
    command: tuple[str, ...]
    as_root: bool = True

    def packages(self, parts: Iterable[SystemPart]) -> list[str]:
        """The packages of ``parts``, each once."""
        return [name for name in dict.fromkeys(map(self.package, parts)) if name]

    def typed(self, parts: Iterable[SystemPart]) -> str:
        """The command that installs ``parts``, as one types it."""
        sudo = ("sudo",) if self.as_root else ()
        return " ".join((*sudo, *self.command, *self.packages(parts)))


# --no-install-recommends: jackd2 would bring a desktop's worth of programs.
_APT_INSTALL = ("apt-get", "install", "--no-install-recommends", "--no-remove")

APT = Manager("apt-get", "Debian, Ubuntu", lambda part: part.debian, _APT_INSTALL)
MANAGERS = (
    APT,
    Manager("dnf", "Fedora", lambda part: part.fedora, ("dnf", "install")),
    Manager("pacman", "Arch", lambda part: part.arch, ("pacman", "-S", "--needed")),
    Manager("brew", "macOS", lambda part: part.macos, ("brew", "install"), as_root=False),
)


def own_manager() -> Manager | None:
    """The package manager of this machine, where it is one that we know."""
    return next((one for one in MANAGERS if shutil.which(one.program)), None)


def _has_library(name: str) -> bool:
    """Whether the dynamic linker, or Homebrew on macOS, knows a library called ``name``."""
    if name == "atomic" and sys.platform == "darwin":
        return True  # part of the compiler's runtime there
    if ctypes.util.find_library(name) is not None:
        return True
    brew = (Path("/opt/homebrew/lib"), Path("/usr/local/lib"))
    return sys.platform == "darwin" and any((p / f"lib{name}.dylib").exists() for p in brew)


def missing(parts: Iterable[SystemPart]) -> list[SystemPart]:
    """Those of ``parts`` that this machine lacks and may have."""
    own = own_manager()
    return [part for part in parts if part.lacking and (own is None or own.package(part))]


def advice(parts: Sequence[SystemPart]) -> str:
    """How to install ``parts``: this machine's command, or one for every system that we know."""
    own = own_manager()
    if own is not None:
        return own.typed(parts)
    ways = [f"{one.systems}: {one.typed(parts)}" for one in MANAGERS if one.packages(parts)]
    return "; ".join(ways)


def missing_error(part: SystemPart) -> LofidError:
    """The error to raise where ``part`` turns out to be missing in use.

    Where it is one of those that playing needs, it names the others that lack, too.
    """
    lacking, fix = [part], ""
    if part in LIBRARIES:
        lacking += [other for other in missing(LIBRARIES) if other is not part]
        fix = ", or let lofid do it: lofid doctor --fix"
    what = ", ".join(f"{one.name} ({one.purpose})" for one in lacking)
    return LofidError(f"This machine lacks {what}; install with: {advice(lacking)}{fix}")


def privilege() -> list[str] | None:
    """What to put before a command that needs root, or None where we may not become root."""
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo") is not None:
        allowed = subprocess.run(["sudo", "-n", "true"], capture_output=True, check=False)
        if allowed.returncode == 0:
            return ["sudo", "-n"]
        if sys.stdin.isatty():
            return ["sudo"]  # asks for the password
    return None


def install(parts: Sequence[SystemPart], manager: Manager) -> None:
    """Install ``parts`` without any further question; nothing is removed for them.

    Raises :class:`LofidError`, naming the command, where that needs root which we cannot become,
    where a package would have to be removed, or where the manager fails.
    """
    root = privilege() if manager.as_root else []
    typed = manager.typed(parts)
    if root is None:
        raise LofidError(f"Installing needs the rights of root; run: {typed}")
    packages = manager.packages(parts)
    print(f"Installing {' '.join(packages)}: {typed}", flush=True)
    if manager is APT:
        root = [*root, "env", "DEBIAN_FRONTEND=noninteractive"]
        # Where one of several sources cannot be had, the others may have what we want.
        _run([*root, "apt-get", "update", "-q"])
        _refuse_removals(packages)
    command = [*root, *manager.command, *_YES.get(manager.program, ()), *packages]
    if not _run(command):
        raise LofidError(f"'{' '.join(command)}' failed; mend that, or install by hand: {typed}")
    still = missing(parts)
    if still:
        names = ", ".join(part.name for part in still)
        raise LofidError(f"{' '.join(packages)} was installed, but {names} is still not found.")


_YES = {"apt-get": ("-q", "-y"), "dnf": ("-y",), "pacman": ("--noconfirm",)}
"""What keeps a manager from asking: who calls :func:`install` has."""


def _refuse_removals(packages: Sequence[str]) -> None:
    """Raise :class:`LofidError` where apt would remove anything to install ``packages``."""
    simulate = ["apt-get", "install", "-s", "--no-install-recommends", *packages]
    plan = subprocess.run(
        simulate, env={**os.environ, "LC_ALL": "C"}, capture_output=True, text=True, check=False
    ).stdout
    removed = [line.split()[1] for line in plan.splitlines() if line.startswith("Remv ")]
    if removed:
        raise LofidError(
            f"Nothing was installed: {' '.join(packages)} would push {', '.join(removed)} out of "
            "this machine; install what is missing in your own way, or try it in a container."
        )


def _run(command: Sequence[str]) -> bool:
    return subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode == 0


def main(arguments: Sequence[str]) -> int:
    """``python3 -m lofid.system play|test|gpu``: install what is missing; returns the exit code."""
    if len(arguments) != 1 or arguments[0] not in PARTS:
        print(f"usage: python3 -m lofid.system {'|'.join(PARTS)}", file=sys.stderr)
        return 2
    lacking = missing(PARTS[arguments[0]])
    try:
        if lacking:
            # Only apt is known to take nothing away; the others are left to their owners.
            if own_manager() is not APT:
                names = ", ".join(part.name for part in lacking)
                raise LofidError(f"This machine lacks {names}; install them: {advice(lacking)}")
            install(lacking, APT)
    except LofidError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
