"""``lofid doctor``: what this machine has, and what to install for the rest."""

import importlib.metadata
import os
import platform
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.markup import escape
from rich.table import Table

from lofid import __version__
from lofid.cli._terminal import ERR, OUT, JsonOption, print_json
from lofid.errors import LofidError
from lofid.system import LIBRARIES, advice, install, missing, own_manager

_SOUNDFONT_FOLDERS = (
    Path("/usr/share/sounds/sf2"),
    Path("/usr/share/sounds/sf3"),
    Path("/usr/share/soundfonts"),
    Path("/opt/homebrew/share/soundfonts"),
    Path("~/.local/share/soundfonts"),
)

_Found = TypeVar("_Found")


@dataclass(frozen=True, slots=True)
class MachineFinding:
    """One thing looked at: whether it works, what it is, and what to do where it does not."""

    topic: str
    name: str
    ok: bool
    detail: str
    advice: str = ""


def doctor(
    json: JsonOption = False,
    fix: Annotated[
        bool, typer.Option("--fix", help="Install the system libraries that lack, after asking.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="With --fix: do not ask.")] = False,
) -> None:
    """Look at this machine: libraries, engines, models, styles, audio, MIDI, real time, files.

    [dim]Examples:[/dim]

    lofid doctor

    lofid doctor --json

    lofid doctor --fix
    """
    if yes and not fix:
        raise typer.BadParameter("it belongs to --fix", param_hint="--yes")
    if fix and json:
        raise typer.BadParameter("it cannot be had with --fix, which asks", param_hint="--json")
    if fix:
        _fix(asking=not yes)
        return
    if json:
        print_json([asdict(finding) for finding in _findings()])
        return
    table = Table("", "", "", "", box=None, show_header=False, pad_edge=False)
    with ERR.status("Looking at this machine"):
        topic = ""
        for finding in _findings():
            mark = "[green]✓[/green]" if finding.ok else "[yellow]✗[/yellow]"
            shown = "" if finding.topic == topic else f"[bold]{finding.topic}[/bold]"
            topic = finding.topic
            detail = escape(finding.detail)
            if finding.advice:
                detail += f"\n[dim]{escape(finding.advice)}[/dim]"
            table.add_row(shown, mark, escape(finding.name), detail)
    OUT.print(table)


def _fix(asking: bool) -> None:
    """Install what playing lacks, with this machine's package manager."""
    lacking = missing(LIBRARIES)
    if not lacking:
        OUT.print("Nothing lacks: every system library is here.")
        return
    manager = own_manager()
    if manager is None:
        names = ", ".join(part.name for part in lacking)
        raise LofidError(
            f"This machine lacks {names}, and its package manager is none that lofid knows; "
            f"elsewhere it is: {advice(lacking)}"
        )
    if asking:
        if not sys.stdin.isatty():
            raise LofidError("There is nobody to ask; say 'lofid doctor --fix --yes'.")
        typer.confirm(f"Run '{manager.typed(lacking)}'?", default=True, abort=True)
    install(lacking, manager)


def _findings() -> Iterator[MachineFinding]:
    for look in (
        _machine, _libraries, _engines, _models, _styles, _devices, _midi, _soundfonts, _real_time,
        _files,
    ):  # fmt: skip
        yield from look()


def _machine() -> Iterator[MachineFinding]:
    detail = f"{__version__}, Python {platform.python_version()}, {platform.platform(terse=True)}"
    yield MachineFinding("machine", "lofid", True, detail)
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    yield MachineFinding(
        "machine", "processor", True, f"{_processor()}, {cores} cores, {memory:.0f} GiB"
    )


def _processor() -> str:
    """The processor's own name where the system tells it (Linux), else its architecture."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _libraries() -> Iterator[MachineFinding]:
    lacking = missing(LIBRARIES)
    together = f"{advice(lacking)} (or: lofid doctor --fix)" if lacking else ""
    for part in LIBRARIES:
        gone = part in lacking
        detail = f"missing; it {part.purpose}" if gone else part.purpose
        yield MachineFinding("libraries", part.name, not gone, detail, together if gone else "")


def _engines() -> Iterator[MachineFinding]:
    from lofid.rwkv.choice import EngineName, choose
    from lofid.rwkv.config import sized

    version = importlib.metadata.version
    pair = (sized("pocket", 1024), sized("pocket", 1024))
    yield MachineFinding("engines", "cpu", True, f"numba {version('numba')}")
    triton, torch = (choose(name, pair) for name in (EngineName.TRITON, EngineName.TORCH))
    yield MachineFinding("engines", "triton", triton.refused is None, triton.reason)
    works = torch.refused is None
    yield MachineFinding("engines", "torch", works, version("torch") if works else torch.reason)
    auto = choose(EngineName.AUTO, pair)
    yield MachineFinding("engines", "auto", True, f"{auto.engine}: {auto.reason}")


def _models() -> Iterator[MachineFinding]:
    from lofid.rwkv.styles import installed_names
    from lofid.rwkv.weights import load_model

    for name in ("pocket-keys", "pocket-drums"):
        packaged = resources.files("lofid").joinpath("models", f"{name}.safetensors")
        try:
            with resources.as_file(packaged) as path:
                card = load_model(path).card
        except LofidError as error:
            yield MachineFinding("models", name, False, str(error))
            continue
        shape = f"{card.config.layers} layers of {card.config.width}"
        learnt = ", ".join(source.name for source in card.data)
        losses = "; ".join(
            f"{metric.replace('_', ' ')} {value:.3f}"
            for metric, value in card.metrics.items()
            if "loss" in metric
        )
        yield MachineFinding("models", name, True, f"{shape}; learnt from {learnt}; nats: {losses}")
    for name in installed_names():
        yield MachineFinding(
            "models", name, True, f"installed: --model {name}; see lofid models list"
        )


def _styles() -> Iterator[MachineFinding]:
    from lofid.rwkv.styles import load_style, style_names

    names = style_names()
    if not names:
        yield MachineFinding(
            "styles", "tuned", True, "none yet: lofid tune FOLDER --as NAME makes one"
        )
    for name in names:
        try:
            card = load_style(name).card
        except LofidError as error:
            yield MachineFinding("styles", name, False, str(error))
            continue
        players = " and ".join(card.models)
        yield MachineFinding(
            "styles", name, True, f"{players}, from '{card.source}': --style {name}"
        )


def _devices() -> Iterator[MachineFinding]:
    from lofid.outputs.device_host import devices

    try:
        found = _quietly(devices)
    except LofidError as error:
        yield MachineFinding("audio", "devices", False, str(error))
        return
    if not found:
        instead = "Music goes to a file: lofid play --output file:music.wav"
        yield MachineFinding("audio", "devices", False, "none found", instead)
    for device in found:
        yield MachineFinding(
            "audio", device.name, True, f"{device.host}: --output 'device:{device.name}'"
        )


def _quietly(call: Callable[[], _Found]) -> _Found:
    """Run ``call`` while what C libraries write to stderr goes nowhere (ALSA complains a lot)."""
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        return call()
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _midi() -> Iterator[MachineFinding]:
    version = importlib.metadata.version("mido")
    yield MachineFinding("MIDI", "files", True, f"mido {version}: lofid render music.mid")
    if sys.platform == "linux":
        there = Path("/dev/snd/seq").exists()
        detail = "--output midi" if there else "no ALSA sequencer; --output midi needs JACK then"
        yield MachineFinding(
            "MIDI", "ALSA", there, detail, "" if there else "sudo modprobe snd-seq"
        )
    from lofid.outputs.patchbay import open_client

    try:
        _quietly(lambda: open_client("lofid-doctor")).close()
    except LofidError as error:
        yield MachineFinding("MIDI", "JACK", False, str(error))
    else:
        yield MachineFinding("MIDI", "JACK", True, "--output jack, exact to the frame")


def _real_time() -> Iterator[MachineFinding]:
    from lofid.daemon.priority import ask

    granted = ask()  # for what is left of this command, too
    detail = f"{granted.scheduling}, memory {'' if granted.memory_locked else 'not '}locked"
    yield MachineFinding(
        "real time", "sound", not granted.remarks, detail, " ".join(granted.remarks)
    )


def _soundfonts() -> Iterator[MachineFinding]:
    own = resources.files("lofid.sound").joinpath("data", "lofid.sf3")
    yield MachineFinding(
        "SoundFonts", own.name, own.is_file(), "lofid's own, cut out of Fluid R3 GM"
    )
    folders = []
    for folder in _SOUNDFONT_FOLDERS:
        with suppress(RuntimeError):  # nobody's home: a service's user may have none
            folders.append(folder.expanduser())
    found = sorted(
        path
        for folder in folders
        if folder.is_dir()
        for path in folder.iterdir()
        if path.suffix.lower() in (".sf2", ".sf3") and not path.is_symlink()
    )
    for path in found:
        yield MachineFinding(
            "SoundFonts", path.name, True, f"{path.stat().st_size / 1e6:.0f} MB, {path}"
        )


def _files() -> Iterator[MachineFinding]:
    from lofid.rwkv.packed import cache_folder

    folder, size = cache_folder(), 0
    for path in folder.rglob("*"):
        with suppress(OSError):  # it may go while we look
            size += path.lstat().st_size if path.is_file() else 0
    detail = f"{size / 1e6:.0f} MB in {folder}; what is deleted is made anew"
    clear = f"To clear it: rm -r {shlex.quote(str(folder))}" if size else ""
    yield MachineFinding("files", "cache", True, detail, clear)
