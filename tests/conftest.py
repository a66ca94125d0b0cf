"""Rules for the whole suite."""

import hashlib
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import HealthCheck, settings
from numpy.typing import NDArray

from lofid.protocol.paths import SessionPaths
from lofid.rwkv.config import RwkvConfig
from lofid.rwkv.engine import Engine
from lofid.rwkv.state import ModelState
from lofid.rwkv.weights import Tensors, tensor_shapes

# Kernels run in Triton's interpreter: no test needs a GPU. Must be set before one is imported.
os.environ.setdefault("TRITON_INTERPRET", "1")
# As many threads as there are cores, in each of as many processes, would only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# What a busy machine makes slow is no fault.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")

_LIVE = (
    "cli/test_ctl.py",
    "cli/test_play.py",
    "bench/test_chaos.py",
    "bench/test_soak.py",
    "outputs/test_device.py",
    "outputs/test_midi_ports.py",
    "daemon/test_daemon.py",
    "playback/test_pace.py",
    "daemon/test_stage.py",
    "daemon/test_taken_up.py",
    "daemon/test_gpu_trial.py",
    "systemd/",
)
"""Tests that play in real time, which leaves no room for others beside them."""

_STRICT = os.environ.get("CI", "").lower() in ("1", "true", "yes")


def _fail_if_skipped(report: pytest.CollectReport | pytest.TestReport) -> None:
    """Turn a skip into a failure: where everything is installed, a missing part is a fault."""
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"skipped, and with CI set nothing may be missing: {reason}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.relative_to(Path(__file__).parent).as_posix().startswith(_LIVE):
            item.add_marker("live")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if _STRICT:
        _fail_if_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if _STRICT:
        _fail_if_skipped(report)
    return report


_FOLDERS = {
    "XDG_CACHE_HOME": ".cache",
    "XDG_CONFIG_HOME": ".config",
    "XDG_DATA_HOME": ".local/share",
    "XDG_STATE_HOME": ".local/state",
}
_SERVERS = {"pulseaudio", "pipewire", "pipewire-pulse", "wireplumber", "jackd", "jackdbus"}


@pytest.fixture(scope="session", autouse=True)
def _machine_as_it_was(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Folders of the tests' own; and an error where the machine is another one afterwards."""
    home = _folders()
    before = _machine(home)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIP_CACHE_DIR", os.environ.get("PIP_CACHE_DIR", f"{home[1]}/pip"))
        for variable in ("XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"):
            patch.setenv(variable, str(tmp_path_factory.mktemp(variable.lower())))
        patch.setenv("TRITON_HOME", str(tmp_path_factory.mktemp("triton")))
        yield
    after = _machine(home)
    begun = {one for one in after if one.startswith("server ")}  # whoever else begins one may
    changes = (before ^ after) - (begun - before)
    assert not changes, f"the tests have changed this machine: {', '.join(sorted(changes))}"


def _folders() -> list[Path]:
    """The home folder and, in the order of ``_FOLDERS``, those that programs keep things in."""
    home = Path.home()
    return [home, *(Path(os.environ.get(name) or home / own) for name, own in _FOLDERS.items())]


def _machine(folders: Sequence[Path]) -> set[str]:
    """What tests must leave alone: packages, units, what lies in ``folders``, servers that run."""
    found = set()
    packages = Path("/var/lib/dpkg/status")
    if packages.exists():
        found.add(f"{packages} ({hashlib.sha256(packages.read_bytes()).hexdigest()[:8]})")
    for folder in folders:
        found |= {str(path) for path in folder.glob("*")}
        found |= {str(path) for path in folder.glob("lofid/**/*")}
    for folder in (Path("/etc/systemd/system"), folders[2] / "systemd" / "user"):
        found |= {f"{path} ({path.lstat().st_mtime_ns})" for path in folder.rglob("*")}
    for process in psutil.process_iter(["name"]):
        if process.info["name"] in _SERVERS:
            with suppress(psutil.Error):  # it may end while we look
                parent = process.parent()
                words = " ".join(process.cmdline() + (parent.cmdline() if parent else []))
                # Those of other tests that run beside these go as they please.
                if not any(word in words for word in ("lofid", "pytest", "python")):
                    found.add(f"server {process.info['name']} ({process.pid})")
    return found


@pytest.fixture(scope="session")
def random_tensors() -> Callable[[RwkvConfig, int], Tensors]:
    """Makes a model's tensors from its shape and a seed.

    Spread as the official recipe and training leave them; no tensor without effect.
    """

    def made(config: RwkvConfig, seed: int) -> Tensors:
        rng = np.random.default_rng(seed)
        tensors = {}
        for name, shape in tensor_shapes(config).items():
            tensor = rng.standard_normal(shape)
            if name.endswith("time_decay"):
                tensor = np.linspace(-6, -1, config.width).reshape(shape) + 0.2 * tensor
            elif ".time_maa_" in name and shape[:2] == (1, 1):
                tensor = rng.uniform(0, 1, shape)
            elif name.endswith("time_faaaa"):
                tensor = 0.5 * tensor
            elif len(shape) == 1:
                tensor = 0.1 * tensor + name.endswith("weight")
            elif name != "emb.weight":
                tensor = tensor / np.sqrt(config.width)
            tensors[name] = tensor.astype(np.float32)
        return tensors

    return made


class FadingEngine:
    """A whole language model in two matrices: its state is the fading sum of what it heard.

    ``contrast``: how much its logits peak; at 0 all are the same.
    """

    name = "fading"

    def __init__(self, vocabulary: int, seed: int, contrast: float) -> None:
        self._config = RwkvConfig(layers=1, width=64, vocabulary=vocabulary)
        rng = np.random.Generator(np.random.Philox(seed))
        self._embedding = rng.normal(0, 1, (vocabulary, 64)).astype(np.float32)
        self._head = (contrast * rng.normal(0, 0.25, (64, vocabulary))).astype(np.float32)

    @property
    def config(self) -> RwkvConfig:
        return self._config

    def forward(self, tokens: Sequence[int], state: ModelState) -> NDArray[np.float32]:
        for token in tokens:
            state.att_shift[0] *= 0.9
            state.att_shift[0] += self._embedding[token]
        logits: NDArray[np.float32] = state.att_shift[0] @ self._head
        return logits

    def forward_batch(
        self, tokens: Sequence[int], states: Sequence[ModelState]
    ) -> NDArray[np.float32]:
        pairs = zip(tokens, states, strict=True)
        return np.stack([self.forward((token,), state) for token, state in pairs])


@pytest.fixture(scope="session")
def fading_engine() -> Callable[[int, int, float], Engine]:
    """Makes such a model from the size of its vocabulary, a seed and a contrast."""
    return FadingEngine


@pytest.fixture
def places(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> SessionPaths:
    """The folders of a session in a place of its own."""
    folder = tmp_path_factory.mktemp("p")  # a short name: sockets lie in it
    for variable in ("XDG_RUNTIME_DIR", "XDG_STATE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(variable, str(folder / variable[4:7].lower()))
    return SessionPaths.of()
