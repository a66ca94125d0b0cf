"""A machine with a systemd of its own: a container whose /usr is this machine's."""

import os
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from lofid.system import NSPAWN, privilege

SOURCE = Path(__file__).resolve().parents[2]
HOME = Path("/opt/lofid")
"""Where lofid lies in the machine: a service of the system may not look into /home or /tmp."""
ENVIRONMENT = HOME / "environment"
# The manager gives these to every service: where lofid and the interpreter's own library lie.
VARIABLES = (f"PYTHONPATH={HOME / 'source'}", f"LD_LIBRARY_PATH={HOME / 'python' / 'lib'}")
PATIENCE = 120.0


class Machine:
    """A booted container; commands run in it as root."""

    def __init__(self, nsenter: list[str]) -> None:
        self._nsenter = nsenter

    def run(self, *command: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run(
            [*self._nsenter, *command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        assert done.returncode == 0 or not check, f"{command}: {done.stdout}{done.stderr}"
        return done

    def lofid(
        self,
        *arguments: str,
        variables: tuple[str, ...] = (),
        user: str = "root",
        check: bool = True,
    ) -> "subprocess.CompletedProcess[str]":
        """Run ``lofid`` with the interpreter of these tests."""
        python = str(ENVIRONMENT / "bin" / "python")
        command = ["env", *VARIABLES, *variables, python, "-m", "lofid", *arguments]
        as_user = ("setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups")
        return self.run(*as_user, *command, check=check)

    def write(self, path: str, text: str) -> None:
        self.run("sh", "-c", 'mkdir -p "${1%/*}" && printf %s "$2" >"$1"', "sh", path, text)


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """Boot one for the whole run of the tests."""
    if not NSPAWN.present:
        pytest.skip("needs systemd-nspawn (Debian: systemd-container)")
    as_root = privilege()
    if as_root is None:
        pytest.skip("needs root, or sudo without a password")
    folder = tmp_path_factory.mktemp("machine")
    root = folder / "root"
    _furnish(root)
    packages = Path(sysconfig.get_path("purelib"))
    shown = {
        Path("/usr"): Path("/usr"),
        Path(sys.base_prefix): HOME / "python",
        packages: ENVIRONMENT / "lib" / packages.parent.name / packages.name,
        SOURCE: HOME / "source",
    }
    command = [
        *as_root, "systemd-nspawn", "--quiet", "--directory", str(root),
        *(f"--bind-ro={here}:{there}" for here, there in shown.items()),
        "--register=no", "--keep-unit", f"--machine=lofid-test-{os.getpid()}",
        "--console=pipe", "--boot", "systemd.unit=multi-user.target",
        *(f"systemd.setenv={variable}" for variable in VARIABLES),
    ]  # fmt: skip
    log = folder / "console.log"
    with log.open("wb") as console:
        process = subprocess.Popen(
            command,
            # The second hierarchy of control groups: in the first, a systemd in a container does
            # not notice that a killed service is empty.
            env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
        )
    try:
        yield _booted(process, as_root, log)
    finally:
        process.terminate()  # nspawn tells its systemd to power off
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _furnish(root: Path) -> None:
    """All that a systemd needs beside /usr: links into it, a few users, the interpreter's links."""
    for name in ("bin", "sbin", "lib", "lib64"):
        if Path("/", name).is_symlink():
            root.mkdir(exist_ok=True)
            (root / name).symlink_to(Path("/", name).readlink())
    files = {
        "etc/os-release": Path("/etc/os-release").read_text(),
        "etc/machine-id": "",
        "etc/nsswitch.conf": "passwd: files systemd\ngroup: files systemd\n",
        # Users log in nowhere here; what PAM would do for their managers is this.
        "etc/systemd/system/user@.service.d/plain.conf": (
            "[Service]\nPAMName=\nEnvironment=XDG_RUNTIME_DIR=/run/user/%i\n"
        ),
        "etc/passwd": "root:x:0:0::/root:/bin/sh\nlistener:x:1000:1000::/home/listener:/bin/sh\n",
        "etc/group": "root:x:0:\naudio:x:29:\nlistener:x:1000:\n",
        str(ENVIRONMENT / "pyvenv.cfg")[1:]: f"home = {HOME / 'python' / 'bin'}\n",
    }
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    shutil.copy("/etc/ld.so.cache", root / "etc")  # else no library in /usr is found
    programs = root / str(ENVIRONMENT / "bin")[1:]
    programs.mkdir()
    version = f"python3.{sys.version_info.minor}"
    (programs / "python").symlink_to(HOME / "python" / "bin" / version)


def _booted(process: "subprocess.Popen[bytes]", as_root: list[str], log: Path) -> Machine:
    """The machine, once its systemd says that it runs."""
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
        leader = _leader(process.pid)
        if leader is not None:
            machine = Machine([*as_root, "nsenter", "-t", str(leader), "-a"])
            state = machine.run("systemctl", "is-system-running", check=False)
            if state.stdout.strip() in ("running", "degraded"):
                return machine
    pytest.fail(f"the machine did not boot: {log.read_text('utf-8', 'replace')}")


def _leader(nspawn: int) -> int | None:
    """The container's first process; None until it is a systemd."""
    for child in psutil.Process(nspawn).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if child.name() == "systemd":
                return int(child.pid)
    return None
