"""A station that outlives its GPU: where the GPU fails, the CPU engine writes that very bar.

A step is a pure function, so a bar that failed half-way is simply written again from the state
before it. The CPU's station is always open, for a failure leaves no time to load anything.
"""

import logging
import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from lofid.compose.player import Player, drums_player, keys_player
from lofid.compose.station import SessionState, Station, Step
from lofid.compose.voices import Voices
from lofid.music.parameters import Settings
from lofid.rwkv.choice import (
    REST,
    EngineName,
    EngineRole,
    RunningEngine,
    choose,
    open_engine,
    rest_after,
)

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Faster:
    """How to open the station that is to write while it works: its engine's name, why, and how."""

    engine: str
    reason: str
    open: Callable[[], Station]


class Relay(Station):
    """A station on the CPU engine, with a faster one before it that may fail at any time.

    ``told`` is called with one sentence when the engine changes, in the thread that steps; it may
    be replaced. ``rest`` is how many seconds an engine that failed is left alone the first time,
    None for ever: some faults of a GPU end only with the process, and whoever can begin a fresh one
    need not wait for it here.
    """

    def __init__(
        self,
        keys: Player,
        drums: Player,
        reason: str,
        faster: Faster | None = None,
        told: Callable[[str], None] = _LOG.warning,
        rest: float | None = REST,
    ) -> None:
        super().__init__(keys, drums)
        self.running = (
            RunningEngine(faster.engine, faster.reason, EngineRole.FASTER)
            if faster
            else RunningEngine(keys.engine.name, reason, EngineRole.ONLY)
        )
        self._own_engine = keys.engine.name
        self._faster = faster
        self.told = told
        self._rest = rest
        self._failures = 0  # in a row
        self._again_at = 0.0
        self._open: Station | None = None

    def close(self) -> None:
        """End both."""
        self._drop()
        super().close()

    def warm_up(self) -> None:
        """Write a bar with each engine, for nobody: compiles what has not been compiled yet."""
        state = self.opening(Settings(), 0)
        super().step(state, Settings())
        self.step(state, Settings())

    def step(self, state: SessionState, settings: Settings) -> Step:
        """As :meth:`Station.step`, on the engine that works."""
        if self._open is None and not self._try():
            return super().step(state, settings)
        assert self._open is not None and self._faster is not None
        try:
            step = self._open.step(state, settings)
        except Exception as error:  # drivers raise whatever they like
            step = super().step(state, settings)  # raises too where the engine is not to blame
            self._gave_way(error)
            return step
        if self._failures:
            self._failures = 0
            self.running = RunningEngine(
                self._faster.engine, self._faster.reason, EngineRole.FASTER
            )
            self.told(f"The engine '{self._faster.engine}' works again, and writes.")
        return step

    def _try(self) -> bool:
        """Open the faster station if it is time to; whether it is open."""
        if self._faster is None or time.monotonic() < self._again_at:
            return False
        try:
            self._open = self._faster.open()
        except Exception as error:
            self._gave_way(error)
        return self._open is not None

    def _gave_way(self, error: Exception) -> None:
        """Leave the faster engine alone for a while, and say so the first two times."""
        assert self._faster is not None
        self._drop()
        why = (
            str(error.__cause__ or error).strip().partition("\n")[0].rstrip(".")
            or type(error).__name__
        )
        name = self._faster.engine
        reason = f"the engine '{name}' failed ({why})"
        self.running = RunningEngine(self._own_engine, reason, EngineRole.STAND_IN)
        self._failures += 1
        if self._rest is None:
            self._again_at = math.inf
            self.told(f"The engine '{name}' failed ({why}); the CPU engine goes on.")
            return
        self._again_at = time.monotonic() + rest_after(self._failures, self._rest)
        if self._failures == 1:
            self.told(
                f"The engine '{name}' failed ({why}); the CPU engine goes on, and it is tried "
                f"again in {self._rest:.0f} s."
            )
        elif self._failures == 2:
            self.told(
                f"The engine '{name}' still fails ({why}); the CPU engine goes on. Where the GPU "
                "works for other programs, start lofid again."
            )

    def _drop(self) -> None:
        dropped, self._open = self._open, None
        if dropped is not None:
            with suppress(Exception):  # a GPU that has failed may fail at this as well
                dropped.close()


def opened_relay(
    voices: Voices,
    asked: EngineName,
    told: Callable[[str], None] = _LOG.warning,
    rest: float | None = REST,
) -> Relay:
    """The station of these models on the engine asked for, or on the best that there is.

    ``told`` hears it where an engine that was asked for cannot be had.
    """
    choice = choose(asked, [voice.model.card.config for voice in (voices.keys, voices.drums)])
    if choice.notice is not None:
        told(choice.notice)
    players = _players(EngineName.CPU, voices)
    if choice.engine is EngineName.CPU:
        return Relay(*players, choice.reason)
    faster = Faster(choice.engine, choice.reason, lambda: Station(*_players(choice.engine, voices)))
    return Relay(*players, choice.reason, faster, told, rest)


def _players(engine: EngineName, voices: Voices) -> tuple[Player, Player]:
    keys, drums = voices.keys, voices.drums
    return (
        keys_player(open_engine(engine, keys.model), keys.beginning),
        drums_player(open_engine(engine, drums.model), drums.beginning),
    )
