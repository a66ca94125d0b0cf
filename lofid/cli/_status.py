"""The status of a playing station: one live line on a terminal, a line per section elsewhere."""

from typing import TYPE_CHECKING

from rich.live import Live
from rich.text import Text

from lofid.cli._terminal import ERR
from lofid.music.plan import Bar

if TYPE_CHECKING:
    from lofid.compose.relay import Relay


class StatusLine:
    """Shows the bar that is playing; use it as a context manager."""

    def __init__(self, preset: str, station: "Relay") -> None:
        self._preset = preset
        self._station = station
        self._live = Live(console=ERR, auto_refresh=False) if ERR.is_terminal else None
        self._section: tuple[str, str, float, str] | None = None

    def __enter__(self) -> "StatusLine":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, bar: Bar) -> None:
        """Tell that ``bar`` is being played."""
        plan = bar.plan
        chords = " ".join(chord.symbol for chord in plan.chords)
        key = plan.key.symbol
        engine = self._station.running.engine
        if self._live is not None:
            line = Text.assemble(
                (f"bar {plan.index + 1:<5}", "bold"),
                f" {plan.section:<6} ",
                (f"{chords:<14}", "cyan"),
                (f" {key} · {plan.tempo:.0f} BPM · {self._preset} · {engine}", "dim"),
            )
            self._live.update(line, refresh=True)
            return
        section = (str(plan.section), key, plan.tempo, engine)
        if section != self._section:
            self._section = section
            ERR.print(
                f"bar {plan.index + 1}: {plan.section}, {key}, {plan.tempo:.0f} BPM, {chords}, "
                f"{engine}",
                highlight=False,
            )
