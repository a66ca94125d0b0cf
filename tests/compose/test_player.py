import numpy as np
import pytest

from lofid.compose.chance import RandomStream, generator
from lofid.compose.form import compose_song, locate, plan_bar
from lofid.compose.headers import drums_header
from lofid.compose.player import Attempt, Hear, Player, Write, drums_player
from lofid.compose.rules import DrumsRules
from lofid.music.parameters import Settings
from lofid.rwkv.config import RwkvConfig
from lofid.rwkv.cpu import CpuEngine
from lofid.rwkv.weights import tensor_shapes
from lofid.tokens import drums


@pytest.fixture(scope="module")
def player() -> Player:
    config = RwkvConfig(layers=1, width=64, vocabulary=len(drums.VOCABULARY), mix_rank=16)
    rng = np.random.Generator(np.random.Philox(1))
    tensors = {
        name: (0.3 * rng.standard_normal(shape)).astype(np.float32)
        for name, shape in tensor_shapes(config).items()
    }
    return drums_player(CpuEngine(config, tensors))


def test_attempts_written_together_are_those_written_alone(player: Player) -> None:
    song = compose_song(Settings(), 7, 0, None)
    plan = plan_bar(Settings(), 7, song, locate(song, 5), 5)
    header = drums_header(plan)

    def attempts(which: range) -> list[Attempt]:
        return [
            Attempt(DrumsRules(plan, backbeat=n == 2), generator(7, RandomStream.DRUMS, 5, n))
            for n in which
        ]

    before = player.initial_state()
    player.engine.forward((3, 60, 200), before)
    kept = before.copy()
    together = player.play(Write(header, before, attempts(range(4))))
    assert len({played.tokens for played in together}) == 4
    for n, played in enumerate(together):
        (alone,) = player.play(Write(header, before, attempts(range(n, n + 1))))
        assert alone.tokens == played.tokens
        (heard,) = player.play(Hear((*header, *played.tokens), before))
        assert heard.tokens == ()
        for state in (alone.state, heard.state):
            assert np.array_equal(state.wkv, played.state.wkv)
            assert np.array_equal(state.att_shift, played.state.att_shift)
            assert np.array_equal(state.ffn_shift, played.state.ffn_shift)
    assert np.array_equal(before.wkv, kept.wkv)
    assert np.array_equal(before.att_shift, kept.att_shift)
