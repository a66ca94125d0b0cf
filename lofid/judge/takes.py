"""Takes: what a station writes under a preset and a seed, for the report to measure."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from lofid.compose.player import Played, Player, Task, Write, drums_player, keys_player
from lofid.compose.preset import Preset
from lofid.compose.station import Station
from lofid.judge.figures import Share
from lofid.judge.report import MeasuredTake
from lofid.rwkv.engine import Engine
from lofid.tokens import drums, keys
from lofid.tokens.grammar import TokenError


@dataclass(frozen=True, slots=True)
class _Witness(Player):
    """A player that keeps what it writes."""

    written: list[tuple[int, ...]] = field(default_factory=list)

    @classmethod
    def of(cls, player: Player) -> "_Witness":
        return cls(player.engine, player.grammar, player.sampling)

    def play(self, task: Task) -> tuple[Played, ...]:
        played = Player.play(self, task)
        if isinstance(task, Write):
            self.written.extend(one.tokens for one in played)
        return played

    def legal(self, decode: Callable[[Sequence[int]], object]) -> Share:
        """How many of the bars written decode."""
        hits = 0
        for tokens in self.written:
            try:
                decode(tokens)
                hits += 1
            except TokenError:
                pass
        return Share(hits, len(self.written))


def write_take(
    preset: Preset, seed: int, bars: int, keys_engine: Engine, drums_engine: Engine
) -> MeasuredTake:
    """The first ``bars`` bars of a station; every attempt of a player counts for legality."""
    players = (
        _Witness.of(keys_player(keys_engine)),
        _Witness.of(drums_player(drums_engine)),
    )
    with Station(*players) as station:
        written = list(itertools.islice(station.bars(preset.settings, seed), bars))
    legal = players[0].legal(keys.decode_notes) + players[1].legal(drums.decode_notes)
    return MeasuredTake(preset.name, seed, written, legal)
