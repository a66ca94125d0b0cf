from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from lofid.compose.player import Player, drums_player, keys_player
from lofid.compose.station import Station
from lofid.rwkv.config import RwkvConfig
from lofid.rwkv.state import State
from lofid.tokens import drums, keys


class FadingEngine:
    """A whole language model in two matrices: its state is the fading sum of what it heard."""

    name = "fading"

    def __init__(self, vocabulary: int, seed: int) -> None:
        self._config = RwkvConfig(layers=1, width=64, vocabulary=vocabulary)
        rng = np.random.Generator(np.random.Philox(seed))
        self._embedding = rng.normal(0, 1, (vocabulary, 64)).astype(np.float32)
        self._head = rng.normal(0, 0.25, (64, vocabulary)).astype(np.float32)

    @property
    def config(self) -> RwkvConfig:
        return self._config

    def forward(self, tokens: Sequence[int], state: State) -> NDArray[np.float32]:
        for token in tokens:
            state.att_shift[0] *= 0.9
            state.att_shift[0] += self._embedding[token]
        logits: NDArray[np.float32] = state.att_shift[0] @ self._head
        return logits


@pytest.fixture(scope="session")
def untrained_keys() -> Player:
    return keys_player(FadingEngine(len(keys.VOCABULARY), 1))


@pytest.fixture(scope="session")
def untrained_drums() -> Player:
    return drums_player(FadingEngine(len(drums.VOCABULARY), 2))


@pytest.fixture
def station(untrained_keys: Player, untrained_drums: Player) -> Iterator[Station]:
    with Station(untrained_keys, untrained_drums) as opened:
        yield opened
