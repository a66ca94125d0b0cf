"""The desk, asked and listened to without its processes."""

import heapq
import time
from typing import Any

import pytest

from lofid.client import TIMEOUT
from lofid.compose.session import same_session
from lofid.compose.station import SessionState, Station
from lofid.music.parameters import HIGHEST_SEED, Settings
from lofid.service import links, protocol
from lofid.service.protocol import Refused


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


def test_a_seed_given_while_it_plays_is_the_seed_that_a_session_began_with(
    rehearsal: Any, station: Station
) -> None:
    settings = rehearsal.desk.ledger.settings
    rehearsal.play(6)
    assert rehearsal.ask(protocol.Seed(11)).bar == 0
    bars = station.bars(settings, 11)
    assert rehearsal.play(12) == [next(bars) for _ in range(12)]
    first = rehearsal.desk.ledger.history[-12]
    assert same_session(first.before, station.opening(settings, 11)), "in the style, too"


def test_a_channel_mode_message_is_not_learned_and_told_once(rehearsal: Any) -> None:
    rehearsal.ask(protocol.MidiLearn("sound.low_pass"))
    rehearsal.told()
    for channel in range(1, 17):
        for control in (120, 123, 127):
            rehearsal.hear_stage(links.Controller(channel, control, 0))
    (warning,) = rehearsal.warned()
    assert "Controller 120 is no knob's" in warning
    assert rehearsal.desk.status().learning == "sound.low_pass"
    rehearsal.hear_stage(links.Controller(3, 119, 0))
    assert rehearsal.ask(protocol.Get("midi.controls")).value == ["3:119 sound.low_pass"]
    assert rehearsal.desk.status().learning is None


class Fault(Exception):
    """What a test has go wrong."""


def test_a_fault_of_every_turn_is_told_once_and_ends_nothing(
    rehearsal: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    desk, turns = rehearsal.desk, []

    def turn(_: object) -> None:
        turns.append(1)
        if len(turns) == 5:
            desk.leave()
        raise Fault("of the test")

    with monkeypatch.context() as patched:
        patched.setattr(desk, "_turn", turn)
        patched.setattr(desk, "close", lambda: None)  # the fixture does
        desk.run(lambda _: protocol.Done())
    assert len(turns) == 5
    assert caplog.text.count("Traceback") == 1
    (warning,) = rehearsal.warned()
    assert "a fault of its own (Fault)" in warning


def test_a_change_of_course_that_cannot_be_made_is_forgotten(rehearsal: Any) -> None:
    rehearsal.play(2)
    desk = rehearsal.desk

    def impossible(state: SessionState, settings: Settings) -> SessionState:
        raise Fault

    desk.ledger.steer(impossible)
    desk.writer.ready = True
    with pytest.raises(Fault):
        desk._give_work(0.0)
    assert rehearsal.play(1)[0].plan.index == 2


@pytest.mark.parametrize("seed", [0, 2**53, 2**63, HIGHEST_SEED])
def test_every_seed_that_a_session_may_begin_with_may_be_given(rehearsal: Any, seed: int) -> None:
    rehearsal.play(1)
    message = protocol.encode_request(protocol.Seed(seed), "1")
    request = protocol.decode_request(protocol.decode_envelope(message), message)
    rehearsal.ask(request)
    assert rehearsal.desk.status().seed == seed
    rehearsal.play(1)
    assert rehearsal.desk.ledger.history[-1].before.seed == seed


@pytest.mark.parametrize("seed", [2**64, 10**300])
def test_a_seed_out_of_range_is_refused_with_the_range(rehearsal: Any, seed: int) -> None:
    with pytest.raises(Refused) as told:
        rehearsal.ask(protocol.Seed(seed))
    assert told.value.problem.field == "value"
    assert told.value.problem.allowed == "a whole number from 0 to 18446744073709551615"
    assert len(str(told.value)) < 200


@pytest.mark.parametrize("request_", [
    protocol.OutputRemove("null"), protocol.OutputAdd("device:hangs"),
])  # fmt: skip
def test_an_output_that_hangs_is_answered_without_it(rehearsal: Any, request_: Any) -> None:
    answer = rehearsal._answers.answer(request_)
    given: list[Any] = []
    answer._connect(given.append)
    assert not given
    moment, _, act = heapq.heappop(rehearsal.desk._timers)
    assert moment < time.monotonic() + TIMEOUT / 2
    act()
    (said,) = given
    assert said == protocol.Done() or said.state == "opening"
    # What comes of it later is told to everybody, once.
    name = "null" if isinstance(request_, protocol.OutputRemove) else "device"
    rehearsal.told()
    rehearsal.hear_stage(links.OutputState(name, "x", "closed", "It was no good."))
    warned = [
        told.warning.text for told in rehearsal.told() if isinstance(told, protocol.WarningEvent)
    ]
    assert warned == (["It was no good."] if name == "device" else [])
    assert len(given) == 1
