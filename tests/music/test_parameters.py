from dataclasses import fields

import pytest

from lofid.errors import LofidError
from lofid.music.chords import Key
from lofid.music.parameters import GROUPS, PARAMETERS, Settings


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
