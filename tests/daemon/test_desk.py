"""The desk, asked and listened to without its processes."""

import heapq
import os
import time
from pathlib import Path
from typing import Any

import pytest

from lofid.client import TIMEOUT
from lofid.compose.session import same_session
from lofid.compose.station import SessionState, Station
from lofid.daemon import links
from lofid.music.notes import Part
from lofid.music.parameters import HIGHEST_SEED, PARAMETERS, Settings
from lofid.protocol import messages
from lofid.protocol.messages import Refused
from lofid.protocol.paths import SessionPaths


@pytest.mark.parametrize("tempo", [71, 72.5])
def test_a_tempo_set_by_hand_is_every_songs(rehearsal: Any, tempo: float) -> None:
    rehearsal.play(2)
    rehearsal.told()
    answer = rehearsal.ask(messages.Set({"music.tempo": tempo}))
    exactly = {"music.tempo": tempo, "music.tempo_spread": 0.0}
    assert answer.values == exactly
    assert rehearsal.changed() == {**exactly, "changed": list(exactly)}
    for _ in range(4):
        (bar,) = rehearsal.play(1)
        assert bar.plan.tempo == tempo
        rehearsal.ask(messages.Next(messages.NextTarget.SONG))


def test_a_spread_that_is_named_is_kept_and_a_presets_too(rehearsal: Any) -> None:
    answer = rehearsal.ask(messages.Set({"music.tempo": 80, "music.tempo_spread": 6}))
    assert answer.values == {"music.tempo": 80.0, "music.tempo_spread": 6.0}
    tempos = set()
    for _ in range(6):
        tempos.add(rehearsal.play(1)[0].plan.tempo)
        rehearsal.ask(messages.Next(messages.NextTarget.SONG))
    assert len(tempos) > 1
    rehearsal.ask(messages.Set({"music.tempo": 70}))
    rehearsal.ask(messages.PresetLoad("study"))
    assert (
        rehearsal.ask(messages.Get("music.tempo_spread")).value
        == PARAMETERS["music.tempo_spread"].default
    )


def test_a_seed_given_while_it_plays_is_the_seed_that_a_session_began_with(
    rehearsal: Any, station: Station
) -> None:
    settings = rehearsal.desk.ledger.settings
    rehearsal.play(6)
    assert rehearsal.ask(messages.Seed(11)).bar == 0
    bars = station.bars(settings, 11)
    assert rehearsal.play(12) == [next(bars) for _ in range(12)]
    first = rehearsal.desk.ledger.history[-12]
    assert same_session(first.before, station.opening(settings, 11)), "in the style, too"


def test_a_channel_mode_message_is_not_learned_and_told_once(rehearsal: Any) -> None:
    rehearsal.ask(messages.MidiLearn("sound.low_pass"))
    rehearsal.told()
    for channel in range(1, 17):
        for control in (120, 123, 127):
            rehearsal.hear_stage(links.Controller(channel, control, 0))
    (warning,) = rehearsal.warned()
    assert "Controller 120 is no knob's" in warning
    assert rehearsal.desk.status().learning == "sound.low_pass"
    rehearsal.hear_stage(links.Controller(3, 119, 0))
    assert rehearsal.ask(messages.Get("midi.controls")).value == ["3:119 sound.low_pass"]
    assert rehearsal.desk.status().learning is None


def test_a_knob_with_a_parameter_number_is_learned_by_its_place(rehearsal: Any) -> None:
    rehearsal.ask(messages.MidiLearn("sound.low_pass"))
    for control, value in ((0, 1), (32, 2), (99, 5), (98, 6), (6, 64), (38, 0)):
        rehearsal.hear_stage(links.Controller(1, control, value))
    assert rehearsal.ask(messages.Get("midi.controls")).value == ["1:6 sound.low_pass"]


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
        desk.run(lambda _: messages.Done())
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
    desk.writer.ready = desk.stage.ready = True
    with pytest.raises(Fault):
        desk._give_work(0.0)
    assert rehearsal.play(1)[0].plan.index == 2


@pytest.mark.parametrize("seed", [0, 2**53, 2**63, HIGHEST_SEED])
def test_every_seed_that_a_session_may_begin_with_may_be_given(rehearsal: Any, seed: int) -> None:
    rehearsal.play(1)
    message = messages.encode_request(messages.Seed(seed), "1")
    request = messages.decode_request(messages.decode_envelope(message), message)
    rehearsal.ask(request)
    assert rehearsal.desk.status().seed == seed
    rehearsal.play(1)
    assert rehearsal.desk.ledger.history[-1].before.seed == seed


@pytest.mark.parametrize("seed", [2**64, 10**300])
def test_a_seed_out_of_range_is_refused_with_the_range(rehearsal: Any, seed: int) -> None:
    with pytest.raises(Refused) as told:
        rehearsal.ask(messages.Seed(seed))
    assert told.value.problem.field == "value"
    assert told.value.problem.allowed == "a whole number from 0 to 18446744073709551615"
    assert len(str(told.value)) < 200


@pytest.mark.parametrize("request_", [
    messages.OutputRemove("null"), messages.OutputAdd("device:hangs"),
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
    assert said == messages.Done() or said.state == "opening"
    # What comes of it later is told to everybody, once.
    name = "null" if isinstance(request_, messages.OutputRemove) else "device"
    rehearsal.told()
    rehearsal.hear_stage(links.OutputState(name, "x", "closed", "It was no good."))
    warned = [
        told.warning.text for told in rehearsal.told() if isinstance(told, messages.WarningEvent)
    ]
    assert warned == (["It was no good."] if name == "device" else [])
    assert len(given) == 1


RIG: dict[str, Any] = {
    "midi.controls": ["3:21 sound.rain"],
    "midi.follow": True,
    "midi.keys_channel": 5,
}


@pytest.mark.parametrize("way", ["load", "morph", "snapshot"])
def test_a_mood_does_not_touch_the_rig(rehearsal: Any, tmp_path: Path, way: str) -> None:
    rehearsal.play(1)
    rehearsal.ask(messages.SnapshotSave("before"))
    rehearsal.ask(messages.Set(RIG))
    rehearsal.told()
    mood = tmp_path / "mood.toml"
    mood.write_text("[sound]\nrain = 0.7\n[midi]\nclock = true\ncontrols = ['9 mix.bass']\n")
    match way:
        case "load":
            rehearsal.ask(messages.PresetLoad(str(mood)))
        case "morph":
            rehearsal.ask(messages.PresetMorph(str(mood), 2))
            rehearsal.play(3)
        case _:
            rehearsal.ask(messages.SnapshotLoad("before"))
    for path, value in {**RIG, "midi.clock": False}.items():
        assert rehearsal.ask(messages.Get(path)).value == value
    assert not [path for path in rehearsal.changed() if path.startswith("midi.")]
    assert not [one for one in rehearsal.desk.status().changed if one.startswith("midi.")]
    if way != "snapshot":
        assert rehearsal.ask(messages.Get("sound.rain")).value == 0.7


def test_what_a_snapshot_changes_is_told_as_of_a_preset(rehearsal: Any) -> None:
    rehearsal.play(1)
    rehearsal.ask(messages.Set({"sound.rain": 0.9}))
    rehearsal.ask(messages.SnapshotSave("wet"))
    rehearsal.ask(messages.PresetLoad("rain"))
    before = rehearsal.desk.ledger.settings
    rehearsal.told()
    rehearsal.ask(messages.SnapshotLoad("wet"))
    told = rehearsal.changed()
    assert {path for path in told if "." in path} == {
        path
        for path in PARAMETERS
        if before.value(path) != rehearsal.desk.ledger.settings.value(path)
    }
    assert (told["preset"], told["sound.rain"]) == ("study", 0.9)
    assert rehearsal.desk.status().changed == ["sound.rain"], "since the preset of that name"


def test_whatever_is_done_is_told(rehearsal: Any) -> None:
    rehearsal.play(5)
    rehearsal.told()
    for request, name, value in (
        (messages.Volume(Part.BASS, -3.0), "changed", ["mix.bass"]),
        (messages.PresetSave("study"), "changed", []),
        (messages.Mute(Part.BASS), "muted", ["bass"]),
        (messages.Solo(Part.KEYS), "solo", ["keys"]),
        (messages.Pause(), "state", "paused"),
        (messages.Seed(5), "seed", 5),
        (messages.MidiLearn("mix.bass"), "learning", "mix.bass"),
        (messages.PresetMorph("rain", 3), "morph", {"preset": "rain", "bar": 0, "bars": 3}),
        (messages.PresetLoad("sleepy"), "preset", "sleepy"),
        (messages.PresetSave("own"), "preset", "own"),
    ):
        rehearsal.ask(request)
        assert rehearsal.changed()[name] == value
    rehearsal.ask(messages.BranchPrepare(2))
    assert len(rehearsal.changed()["branches"]["branches"]) == 2
    rehearsal.ask(messages.BranchListen(2))
    assert rehearsal.changed()["branches"]["listening"] == 2
    rehearsal.ask(messages.Rewind(1))
    assert rehearsal.changed()["branches"]["listening"] is None
    rehearsal.ask(messages.BranchDrop())
    assert rehearsal.changed()["branches"] is None
    rehearsal.ask(messages.GetStatus())
    assert rehearsal.told() == [], "nothing has changed"


def test_a_restart_finds_names_and_solo_again(rehearsal: Any, places: SessionPaths) -> None:
    rehearsal.play(1)
    take = rehearsal.desk.ledger.history[-1]
    rehearsal.desk.add_output("my-null", "null")
    rehearsal.desk.add_output("other", "null")
    rehearsal.ask(messages.Solo(Part.BASS))
    rehearsal.ask(messages.Mute(Part.DRUMS))
    rehearsal.desk.store.sounded(take.before, take.bar, take.after, take.settings, 0.01)
    rehearsal.ask(messages.Rewind(1))
    rehearsal.play(1)
    take = rehearsal.desk.ledger.history[-1]
    assert take.before.seed != 7, "another turn has a seed of its own"
    rehearsal.desk.store.sounded(take.before, take.bar, take.after, take.settings, 0.01)
    before = rehearsal.desk.status()
    after = rehearsal.again().status()
    assert [one.name for one in after.outputs] == ["null", "my-null", "other"]
    assert after.seed == before.seed == 7
    assert (after.solo, after.muted) == (before.solo, before.muted) == ([Part.BASS], [Part.DRUMS])


def test_a_morph_goes_on_after_a_restart(rehearsal: Any) -> None:
    rehearsal.play(2)
    rehearsal.ask(messages.Set({"music.tempo": 60}))
    rehearsal.ask(messages.PresetSave("slow"))
    rehearsal.ask(messages.Set({"music.tempo": 80}))
    rehearsal.ask(messages.PresetMorph("slow", 4))
    rehearsal.play(1)
    take = rehearsal.desk.ledger.history[-1]
    rehearsal.desk.store.sounded(take.before, take.bar, take.after, take.settings, 0.01)
    assert rehearsal.ask(messages.Get("music.tempo")).value == 75
    desk = rehearsal.again()
    assert desk.status().morph == messages.MorphInfo("slow", 0, 3)
    desk.ledger.begin(take.after)
    rehearsal.play(1)
    assert desk.ledger.settings.music.tempo == 70
    rehearsal.play(2)
    assert desk.ledger.settings.music.tempo == 60
    assert (desk.status().preset, desk.status().morph) == ("slow", None)


def recording(rehearsal: Any, path: Path) -> messages.Recording:
    """Begin a recording whose files open at once."""
    heard: list[Any] = []
    rehearsal.desk.answered(rehearsal._answers.answer, messages.RecordStart(str(path)))._connect(
        heard.append
    )
    for name in ("recording", "recording-midi"):
        rehearsal.hear_stage(links.OutputState(name, rehearsal.desk.outputs[name], "playing"))
    (begun,) = heard
    assert isinstance(begun, messages.Recording)
    return begun


def test_both_files_of_a_recording_have_one_free_name(rehearsal: Any, tmp_path: Path) -> None:
    (tmp_path / "x.mid").touch()
    (tmp_path / "x-2.flac").touch()
    begun = recording(rehearsal, tmp_path / "x")
    assert (begun.audio, begun.midi) == (f"{tmp_path}/x-3.flac", f"{tmp_path}/x-3.mid")
    assert begun.name == "x-3"
    (tmp_path / "x-3.flac").touch()  # what the stage has left as it died
    rehearsal.told()
    rehearsal.restart_stage()
    now = rehearsal.desk.status().recording
    assert (now.audio, now.midi) == (f"{tmp_path}/x-4.flac", f"{tmp_path}/x-4.mid")
    assert rehearsal.desk.outputs["recording"] == f"file:{now.audio}"
    assert rehearsal.desk.outputs["recording-midi"] == f"file:{now.midi}"
    events = rehearsal.told()
    assert any("goes on in 'x-4'" in str(event) for event in events)


@pytest.mark.parametrize("ending", ["flac", "mid"])
def test_a_recording_keeps_clear_of_what_is_no_file(
    rehearsal: Any, tmp_path: Path, ending: str
) -> None:
    (tmp_path / f"x.{ending}").mkdir()
    begun = recording(rehearsal, tmp_path / "x")
    assert (begun.audio, begun.midi) == (f"{tmp_path}/x-2.flac", f"{tmp_path}/x-2.mid")


@pytest.mark.parametrize("name", ["/", "./", "/tmp/", "..", "/tmp/.", "~/"])
def test_a_recording_is_named_not_only_its_folder(rehearsal: Any, name: str) -> None:
    with pytest.raises(Refused, match="is a folder; name the recording in it") as refused:
        rehearsal.ask(messages.RecordStart(name))
    assert refused.value.problem.field == "name"


def test_a_preset_whose_name_is_no_text_is_passed_over(
    rehearsal: Any, places: SessionPaths
) -> None:
    places.presets.mkdir(parents=True)
    for name in (b"\xff.toml", b"mine.toml"):
        Path(os.fsdecode(os.fsencode(places.presets) + b"/" + name)).touch()
    names = [one.name for one in rehearsal.ask(messages.ListPresets()).presets]
    assert "mine" in names
    assert "\udcff" not in names
    with pytest.raises(Refused) as refused:
        rehearsal.ask(messages.PresetLoad("nope"))
    assert b"mine" in messages.encode_answer("1", refused.value), "can be told"


def test_a_recording_that_ends_by_itself_is_told_then_and_when_it_is_stopped(
    rehearsal: Any, tmp_path: Path
) -> None:
    begun = recording(rehearsal, tmp_path / "x")
    rehearsal.told()
    reason = "The recording ends after 3 seconds (no space left)."
    rehearsal.hear_stage(links.OutputState("recording", f"file:{begun.audio}", "closed", reason))
    assert rehearsal.warned() == [reason]
    assert rehearsal.desk.status().recording is None
    with pytest.raises(Refused, match=r"ended by itself: .*no space left"):
        rehearsal.ask(messages.RecordStop())
    with pytest.raises(Refused, match="Nothing is being recorded"):
        rehearsal.ask(messages.RecordStop())


@pytest.mark.parametrize("failing", ["recording", "recording-midi"])
def test_a_file_that_cannot_be_finished_is_the_answer(
    rehearsal: Any, tmp_path: Path, failing: str
) -> None:
    recording(rehearsal, tmp_path / "x")
    heard: list[Any] = []
    stop = messages.RecordStop()
    rehearsal.desk.answered(rehearsal._answers.answer, stop)._connect(heard.append)
    for name in ("recording", "recording-midi"):
        reason = "It is not whole." if name == failing else ""
        rehearsal.hear_stage(links.OutputState(name, "file:x", "closed", reason))
    assert str(heard[0]) == "It is not whole."


def test_a_clock_that_is_lost_is_warned_of_once_and_stands_in_the_status(rehearsal: Any) -> None:
    for trouble in ("", "It is lost.", "It is lost.", "", "It is lost."):
        rehearsal.hear_stage(links.StageStatus("midi", False, 0.0, 0, 0, 80.0, 0, trouble))
        assert rehearsal.desk.status().stage.trouble == trouble
    assert rehearsal.warned() == ["It is lost.", "It is lost."]


@pytest.mark.parametrize("stood_still", [True, False])
def test_what_stood_still_with_the_desk_does_not_hang(rehearsal: Any, stood_still: bool) -> None:
    desk = rehearsal.desk
    ends: list[float] = []
    desk.writer.ready = desk.stage.ready = True
    desk.writer._process = desk.stage._process = Alive()
    desk.stage.end = lambda grace=0.0: ends.append(grace)
    long_ago = time.monotonic() - 15
    desk._stage_told = long_ago
    desk._turned = long_ago if stood_still else time.monotonic()
    desk._turn(lambda _: messages.Done())
    desk.writer._process = desk.stage._process = None
    assert bool(ends) is not stood_still


class Alive:
    """A process that has not ended."""

    pid = 1

    def poll(self) -> None:
        return None


def test_a_bar_line_brings_no_timer_but_the_chords_of_its_bar(rehearsal: Any) -> None:
    early: list[int] = []
    rehearsal.desk.at(time.monotonic() + 100, lambda: early.append(1))
    bar = rehearsal.play(1)[0]
    take = rehearsal.desk.ledger.history[-1].number
    rehearsal.hear_stage(links.BarStarted(take, bar, 0, time.monotonic() + 50, 3.0))
    rehearsal.hear_stage(links.BarStarted(take, bar, 0, time.monotonic() + 50, 3.0))
    chords = [event for event in rehearsal.told() if isinstance(event, messages.ChordEvent)]
    assert len(chords) == len(bar.plan.chords), "those of the bar that was cut short"
    assert early == []
