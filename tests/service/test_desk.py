"""The desk, asked and listened to without its processes."""

from typing import Any

import pytest

from lofid.service import protocol


@pytest.mark.parametrize("tempo", [71, 72.5])
def test_a_tempo_set_by_hand_is_every_songs(rehearsal: Any, tempo: float) -> None:
    rehearsal.play(2)
    rehearsal.told()
    answer = rehearsal.ask(protocol.Set({"music.tempo": tempo}))
    exactly = {"music.tempo": tempo, "music.tempo_spread": 0.0}
    assert answer.values == exactly
    assert rehearsal.changed() == exactly
    for _ in range(4):
        (bar,) = rehearsal.play(1)
        assert bar.plan.tempo == tempo
        rehearsal.ask(protocol.Next(protocol.Target.SONG))


def test_a_spread_that_is_named_is_kept_and_a_presets_too(rehearsal: Any) -> None:
    answer = rehearsal.ask(protocol.Set({"music.tempo": 80, "music.tempo_spread": 6}))
    assert answer.values == {"music.tempo": 80.0, "music.tempo_spread": 6.0}
    tempos = set()
    for _ in range(6):
        tempos.add(rehearsal.play(1)[0].plan.tempo)
        rehearsal.ask(protocol.Next(protocol.Target.SONG))
    assert len(tempos) > 1
    rehearsal.ask(protocol.Set({"music.tempo": 70}))
    rehearsal.ask(protocol.PresetLoad("study"))
    assert rehearsal.ask(protocol.Get("music.tempo_spread")).value == 4.0
