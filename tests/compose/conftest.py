from collections.abc import Callable, Iterator

import pytest
from hypothesis import strategies as st

from lofid.compose.player import Player, drums_player, keys_player
from lofid.compose.station import Station
from lofid.music.chords import Key, Mode
from lofid.music.parameters import PARAMETERS, Parameter, ParameterKind, Settings
from lofid.rwkv.engine import Engine
from lofid.tokens import drums, keys


@pytest.fixture(scope="session")
def untrained_keys(fading_engine: Callable[[int, int, float], Engine]) -> Player:
    return keys_player(fading_engine(len(keys.VOCABULARY), 1, 1.0))


@pytest.fixture(scope="session")
def untrained_drums(fading_engine: Callable[[int, int, float], Engine]) -> Player:
    return drums_player(fading_engine(len(drums.VOCABULARY), 2, 1.0))


@pytest.fixture(scope="session")
def station(untrained_keys: Player, untrained_drums: Player) -> Iterator[Station]:
    with Station(untrained_keys, untrained_drums) as opened:
        yield opened


def values(parameter: Parameter) -> st.SearchStrategy[object]:
    """Plain values that a parameter takes."""
    low, high = parameter.minimum or 0.0, parameter.maximum or 0.0
    options: list[str] = list(parameter.options or [""])
    controls = [f"{n} {path}" for n, path in enumerate(("sound.rain", "mix.bass", "music.energy"))]
    keys = [Key(tonic, mode).symbol for tonic in range(12) for mode in Mode]
    printable = st.characters(blacklist_categories=("C", "Z"))
    strategies: dict[ParameterKind, st.SearchStrategy[object]] = {
        ParameterKind.NUMBER: st.floats(low, high),
        ParameterKind.INTEGER: st.integers(int(low), int(high)),
        ParameterKind.FLAG: st.booleans(),
        ParameterKind.CHOICE: st.sampled_from(options),
        ParameterKind.CHOICES: st.lists(st.sampled_from(options), min_size=1, unique=True),
        ParameterKind.PALETTE: st.lists(st.sampled_from(options), min_size=1, unique=True),
        ParameterKind.KEYS: st.lists(st.sampled_from(keys), min_size=1, max_size=4),
        ParameterKind.TEXT: st.text(printable, max_size=int(high)),
        ParameterKind.CONTROLS: st.lists(st.sampled_from(controls), unique=True),
    }
    return strategies[parameter.kind]


Change = tuple[str, object]


@pytest.fixture(scope="session")
def any_change() -> st.SearchStrategy[Change]:
    """A parameter's path and a plain value for it."""
    paths = st.sampled_from(sorted(PARAMETERS))
    return paths.flatmap(lambda path: st.tuples(st.just(path), values(PARAMETERS[path])))


@pytest.fixture(scope="session")
def any_settings(any_change: st.SearchStrategy[Change]) -> st.SearchStrategy[Settings]:
    """Settings with a few values that are not the defaults."""

    def changed(changes: list[Change]) -> Settings:
        settings = Settings()
        for path, value in changes:
            settings = settings.with_value(path, value)
        return settings

    return st.lists(any_change, max_size=12).map(changed)
