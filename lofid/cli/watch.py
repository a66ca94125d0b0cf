"""``lofid watch``: what the daemon plays, as it plays."""

import os
import select
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec
import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from lofid.cli._daemon import SESSION, ConnectOption, KeysOption, SessionOption, connector
from lofid.cli._roll import COLOURS, LANES, piano_roll
from lofid.cli._terminal import OUT, JsonOption, StopRequest
from lofid.errors import LofidError
from lofid.music.notes import TICKS_PER_BAR, Part
from lofid.protocol import messages
from lofid.protocol.messages import BarInfo, Event, NoteInfo, Status

if TYPE_CHECKING:
    from lofid.client import Client

FRAMES_A_SECOND = 15
STATUS_EVERY = 2.0
"""Seconds between two looks at what no event tells: the engine's load, the outputs."""

_SMALLEST_ROLL = len(LANES) + 6
"""Rows without which no roll is drawn."""

QUIETEST = -60.0
"""dBFS at the left end of a meter."""


def watch(
    session: SessionOption = SESSION,
    connect: ConnectOption = None,
    keys: KeysOption = None,
    json: JsonOption = False,
) -> None:
    """Watch the music: bar, chord, piano roll, levels, outputs, load. q or Ctrl-C ends.

    Where the output is no terminal, one line is printed for each bar; with --json, each event.

    [dim]Examples:[/dim]

    lofid watch

    lofid watch --json | jq -r 'select(.event == "chord").symbol'
    """
    with connector(session, connect, keys)() as client, StopRequest() as stop:
        client.status()  # a daemon that is not there is told at once
        if json:
            for event in _events(client, stop):
                typer.echo(msgspec.json.encode(event).decode("utf-8"))
        elif OUT.is_terminal:
            _draw(client, stop)
        else:
            for event in _events(client, stop):
                if isinstance(event, messages.BarEvent):
                    typer.echo(_line(event.bar))
                elif isinstance(event, messages.WarningEvent):
                    typer.echo(f"warning: {event.warning.text}", err=True)


@dataclass
class _Scene:
    """What is known of the music."""

    status: Status
    bar: BarInfo | None = None
    began: float = 0.0
    """When the bar began, by the monotonic clock."""
    chord: str = ""
    notes: dict[Part, list[NoteInfo]] = field(default_factory=dict)
    peaks: dict[str, float] = field(default_factory=dict)
    loudness: float | None = None
    warning: str = ""
    trouble: str = ""

    def take(self, event: Event) -> None:
        """Learn from an event."""
        match event:
            case messages.StatusEvent():
                self.renew(event.status)
            case messages.BarEvent():
                self.bar, self.began = event.bar, time.monotonic()
                self.chord = event.bar.chords[0] if event.bar.chords else ""
            case messages.ChordEvent():
                self.chord = event.symbol
            case messages.NotesEvent():
                self.notes = event.notes
            case messages.LevelsEvent():
                self.peaks, self.loudness = event.peaks, event.loudness
            case messages.WarningEvent():
                self.warning = event.warning.text

    def renew(self, status: Status) -> None:
        """Take up a whole status."""
        self.status = status
        self.trouble = ""
        if self.bar is None and status.bar is not None:
            self.bar = status.bar
            left = status.next_line or 0.0
            self.began = time.monotonic() - max(0.0, status.bar.seconds - left)
        if status.warnings:
            self.warning = status.warnings[-1].text

    def position(self) -> float:
        """The place in the bar, 0 to 1."""
        if self.bar is None or self.status.state is not messages.PlayState.PLAYING:
            return 0.0
        return min(1.0, (time.monotonic() - self.began) / self.bar.seconds)


def _events(client: "Client", stop: StopRequest) -> Iterator[Event]:
    """What the daemon tells, until a stop is wanted."""
    with client.events() as events:
        while not stop.wanted:
            event = events.wait(0.2)
            if event is not None:
                yield event


def _draw(client: "Client", stop: StopRequest) -> None:
    """Draw the scene until a key or signal ends it."""
    scene = _Scene(client.status())
    looked = time.monotonic()
    with (
        client.events() as events,
        _single_keys() as key,
        Live(console=OUT, auto_refresh=False, screen=True) as live,
    ):
        while not stop.wanted and key() not in ("q", "Q"):
            frame_ends = time.monotonic() + 1 / FRAMES_A_SECOND
            while (left := frame_ends - time.monotonic()) > 0:
                event = events.wait(left)
                if event is not None:
                    scene.take(event)
            if time.monotonic() - looked > STATUS_EVERY:
                looked = time.monotonic()
                try:
                    scene.renew(client.status())
                except LofidError as error:
                    scene.trouble = str(error)
            live.update(_picture(scene, OUT.size), refresh=True)


def _line(bar: BarInfo) -> str:
    """A bar in one line."""
    stand_in = f"  (the last good loop again: {bar.stand_in})" if bar.stand_in else ""
    chords = " ".join(bar.chords)
    return f"bar {bar.index + 1}  {bar.section}  {chords}  {bar.key}  {bar.tempo:.0f} BPM{stand_in}"


def _picture(scene: _Scene, size: tuple[int, int]) -> RenderableType:
    """The whole scene, for a terminal of so many columns and rows."""
    width, height = size
    status = scene.status
    lines: list[RenderableType] = [_heading(status)]
    if scene.bar is not None:
        lines.append(_bar_line(scene.bar, scene.chord))
        if scene.bar.stand_in:
            lines.append(Text(f"the last good loop again: {scene.bar.stand_in}", "yellow"))
    below = _processes(status)
    remarks = _remarks(scene)
    room = height - len(lines) - len(below) - len(remarks) - 3  # two empty lines, one left free
    meters: RenderableType = _meters(scene, width)
    if room - len(scene.peaks) - 1 > _SMALLEST_ROLL:
        room -= len(scene.peaks) + 1
    else:
        meters = _levels(scene)
        room -= 1
    if room >= _SMALLEST_ROLL:
        ascii_only = OUT.options.ascii_only
        roll = piano_roll(scene.notes, TICKS_PER_BAR, scene.position(), (width, room), ascii_only)
        lines += [Text(), roll, Text()]
    return Group(*lines, meters, *below, *remarks)


def _heading(status: Status) -> Text:
    colour = "green" if status.state is messages.PlayState.PLAYING else "yellow"
    parts: list[str | tuple[str, str]] = [
        ("lofid ", "bold"),
        f"{status.session} · ",
        (str(status.state), colour),
        f" · {status.preset} · seed {status.seed} · {status.bars_played} bars heard",
    ]
    if status.morph is not None:
        parts.append(f" · to {status.morph.preset} {status.morph.bar}/{status.morph.bars}")
    if status.recording is not None:
        parts.append((" · recording", "red"))
    return _one_line(Text.assemble(*parts))


def _bar_line(bar: BarInfo, chord: str) -> Text:
    chords = [(f"{symbol} ", "bold cyan" if symbol == chord else "cyan") for symbol in bar.chords]
    text = Text.assemble(
        (f"bar {bar.index + 1} ", "bold"),
        f"· {bar.section} {bar.bar_in_section + 1} · ",
        *chords,
        f"· {bar.key} · {bar.tempo:.0f} BPM",
    )
    return _one_line(text)


def _meters(scene: _Scene, width: int) -> Table:
    """A level for each stem; peaks in dBFS."""
    table = Table.grid(padding=(0, 1))
    full = max(10, min(50, width - 22))
    sign = "#" if OUT.options.ascii_only else "█"
    colours = {str(part): colour for part, colour in COLOURS.items()}
    for stem, peak in scene.peaks.items():
        share = min(1.0, max(0.0, (peak - QUIETEST) / -QUIETEST))
        table.add_row(
            escape(stem),
            Text(sign * round(share * full), colours.get(stem, "green")),
            f"{max(peak, -99.0):.0f} dB",
        )
    if scene.loudness is not None:
        table.add_row("loudness", "", f"{scene.loudness:.1f} LUFS")
    return table


def _levels(scene: _Scene) -> Text:
    """The levels in one line, where there is no room for meters."""
    peaks = [f"{stem} {max(peak, -99.0):.0f}" for stem, peak in scene.peaks.items()]
    return _one_line(Text("levels  " + " · ".join(peaks) + " dB"))


def _processes(status: Status) -> list[Text]:
    outputs = [
        f"{one.name} {one.state}" + (f" ({one.reason})" if one.reason else "")
        for one in status.outputs
    ]
    writer, stage = status.writer, status.stage
    return [
        _one_line(Text("outputs " + " · ".join(outputs))),
        _one_line(
            Text(
                f"writer  {writer.state} · {status.engine.name} · load {writer.load:.1%} · "
                f"{writer.last_write_ms:.0f} ms a bar · {writer.ahead} ahead · "
                f"restarted {writer.restarts} times"
            )
        ),
        _one_line(
            Text(
                f"stage   {stage.state} · load {stage.load:.1%} · {stage.xruns} xruns · "
                f"{stage.stand_ins} stand-ins · clock {stage.clock} · {stage.scheduling}"
            )
        ),
    ]


def _remarks(scene: _Scene) -> list[Text]:
    remarks = ((scene.warning, "yellow"), (scene.trouble, "red"))
    return [_one_line(Text(text, style)) for text, style in remarks if text]


def _one_line(text: Text) -> Text:
    """A text that is cut off where the terminal ends."""
    text.no_wrap, text.overflow = True, "ellipsis"
    return text


@contextmanager
def _single_keys() -> Iterator[Callable[[], str]]:
    """Keys as they are pressed, without Enter; none where the input is no terminal."""
    if not sys.stdin.isatty():
        yield lambda: ""
        return
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)

    def key() -> str:
        ready = select.select([terminal], [], [], 0)[0]
        return os.read(terminal, 1).decode("ascii", "replace") if ready else ""

    tty.setcbreak(terminal)
    try:
        yield key
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
