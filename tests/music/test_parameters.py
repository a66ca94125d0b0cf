from dataclasses import fields

import pytest

from lofid.errors import LofidError
from lofid.music.chords import Key
from lofid.music.notes import Part
from lofid.music.parameters import GROUPS, PARAMETERS, Control, Instrument, Settings


def test_every_field_of_every_group_is_a_parameter_and_its_default_is_allowed() -> None:
    expected = {f"{group}.{row.name}" for group, rows in GROUPS.items() for row in fields(rows)}
    assert set(PARAMETERS) == expected
    for parameter in PARAMETERS.values():
        assert parameter.description.endswith(".")
        assert parameter.checked(parameter.default) == parameter.default
        assert parameter.checked(parameter.plain(parameter.default)) == parameter.default


def test_a_value_is_set_by_path_and_converted() -> None:
    settings = Settings().with_value("music.tempo", 72).with_value("music.keys", ["Eb", "F#m"])
    assert settings.music.tempo == 72.0
    assert settings.music.keys == (Key.parse("Eb"), Key.parse("F#m"))
    assert settings.value("music.tempo") == 72.0
    assert Settings().music.tempo == 80.0


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("music.tempo", 300, ["music.tempo", "300", "60 to 100 BPM"]),
        ("music.tempo", "fast", ["a number from 60"]),
        ("music.tempo", True, ["a number from 60"]),
        ("music.tempo", float("nan"), ["a number from 60"]),
        ("form.sections", 2.5, ["a whole number from 1 to 8"]),
        ("form.sections", float("inf"), ["a whole number from 1 to 8"]),
        ("form.intro", 1, ["true or false"]),
        ("music.moods", ["angry"], ["mellow, bright"]),
        ("music.moods", [], ["mellow, bright"]),
        ("music.keys", ["H"], ["The key 'H'"]),
        ("sound.keys", "organ", ["one or several of piano, rhodes"]),
        ("sound.keys", ["rhodes", "organ"], ["one or several of piano, rhodes"]),
        ("sound.kit", [], ["one or several of acoustic"]),
        ("midi.drums_channel", 17, ["a whole number from 1 to 16"]),
        ("midi.keys_port", 3, ["text of at most 64 characters"]),
        ("midi.keys_port", "x" * 65, ["text of at most 64 characters"]),
        ("midi.keys_port", "a\nb", ["text of at most 64 characters"]),
        ("midi.controls", "74 sound.low_pass", ["a list of MIDI controls"]),
        ("midi.controls", ["cutoff"], ["'cutoff' is no control"]),
        ("midi.controls", ["17:1 mix.keys"], ["channel must be 1 to 16"]),
        ("midi.controls", ["120 mix.keys"], ["control must be 0 to 119"]),
        ("midi.controls", ["1 mix.key"], ["There is no parameter 'mix.key'", "mix.keys"]),
        ("midi.controls", ["1 music.keys"], ["No controller can set music.keys"]),
        ("music.tempi", 80, ["music.tempo"]),
        ("tempo", 80, ["music.tempo"]),
    ],
)
def test_what_is_not_allowed_is_said_in_one_sentence(
    path: str, value: object, words: list[str]
) -> None:
    with pytest.raises(LofidError) as raised:
        Settings().with_value(path, value, "mine.toml, line 3")
    text = str(raised.value)
    assert "mine.toml, line 3" in text
    assert "\n" not in text
    for word in words:
        assert word in text


def test_a_palette_is_one_or_several() -> None:
    one = Settings().with_value("sound.keys", "piano")
    assert one.sound.keys == (Instrument.PIANO,)
    assert PARAMETERS["sound.keys"].plain(one.sound.keys) == "piano"
    assert one == Settings().with_value("sound.keys", ["piano"])
    several = Settings().with_value("sound.keys", ["piano", "harp", "piano"])
    assert several.sound.keys == (Instrument.PIANO, Instrument.HARP)
    assert PARAMETERS["sound.keys"].plain(several.sound.keys) == ["piano", "harp"]


def test_a_controller_sets_the_whole_range_of_its_parameters() -> None:
    symbols = ["74 sound.low_pass", "2:74 form.sections", "1:7 sound.kit", "1:7 form.intro"]
    midi = Settings().with_value("midi.controls", symbols).midi
    assert [control.symbol for control in midi.controls] == symbols
    assert dict(midi.turned(1, 74, 0)) == {"sound.low_pass": 1000}
    assert dict(midi.turned(2, 74, 127)) == {"sound.low_pass": 20000, "form.sections": 8}
    assert dict(midi.turned(1, 7, 63)) == {"sound.kit": "808", "form.intro": False}
    assert dict(midi.turned(1, 7, 64)) == {"sound.kit": "jazz", "form.intro": True}
    assert dict(midi.turned(2, 7, 64)) == {}


def test_every_position_of_a_controller_is_an_allowed_value() -> None:
    for path in PARAMETERS:
        try:
            control = Control.parse(f"1 {path}")
        except LofidError:
            continue
        values = [control.value(position) for position in range(128)]
        settings = [Settings().with_value(path, value) for value in values]
        assert settings[0] != settings[127]


def test_parts_have_channels_programs_and_ports_of_their_own() -> None:
    settings = Settings().with_value("midi.bass_channel", 5).with_value("midi.bass_port", "synth")
    assert [settings.midi.channel(part) for part in Part] == [1, 2, 5, 10]
    assert [settings.midi.port(part) for part in Part] == ["", "", "synth", ""]
    assert {settings.midi.program(part) for part in Part} == {-1}
