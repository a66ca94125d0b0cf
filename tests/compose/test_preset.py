from pathlib import Path

import pytest

from lofid.compose.preset import DEFAULT, load_preset, parse_preset, preset_names
from lofid.errors import LofidError
from lofid.music.notes import Part

SHIPPED = {
    "study",
    "rain",
    "late-night-jazz",
    "boom-bap",
    "sleepy",
    "sunny-morning",
    "drums-only",
    "keys-only",
}


def test_the_shipped_presets_all_load_and_differ() -> None:
    assert set(preset_names()) >= SHIPPED
    assert preset_names()[0] == DEFAULT
    presets = [load_preset(name) for name in preset_names()]
    assert all(preset.description for preset in presets)
    assert len({(p.settings.music, p.settings.groove) for p in presets}) == len(presets)


def test_presets_keep_to_who_plays() -> None:
    assert load_preset("drums-only").settings.music.parts == (Part.DRUMS,)
    assert Part.DRUMS not in load_preset("keys-only").settings.music.parts


def test_a_file_is_read_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('description = "Mine."\n[music]\ntempo = 71\n')
    preset = load_preset(str(path))
    assert (preset.name, preset.description) == ("mine", "Mine.")
    assert preset.settings.music.tempo == 71


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(LofidError, match="did you mean study"):
        load_preset("studdy")


def test_a_missing_or_binary_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(LofidError, match="no such user"):
        load_preset("~nobody-of-that-name/mine.toml")
    with pytest.raises(LofidError, match=r"nowhere\.toml"):
        load_preset(str(tmp_path / "nowhere.toml"))
    path = tmp_path / "noise.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(LofidError, match="UTF-8"):
        load_preset(str(path))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[music]\n\ntempo = 300\n", ["mine.toml, line 3", "music.tempo", "60 to 100"]),
        ("[form]\ntempo = 1\n[music]\ntempo = 2\n", ["line 2", "music.tempo"]),
        ("[music]\ntempi = 3\n", ["line 2", "music.tempo"]),
        ("[musik]\ntempo = 3\n", ["line 1", "[music]"]),
        ("tempo = 3\n", ["line 1", "[music]"]),
        ("[music\n", ["TOML", "line 1"]),
        ("description = 3\n", ["description"]),
    ],
)
def test_a_mistake_is_told_with_file_line_and_key(text: str, words: list[str]) -> None:
    with pytest.raises(LofidError) as raised:
        parse_preset(text, "mine", "mine.toml")
    for word in words:
        assert word in str(raised.value)


def test_a_file_that_begins_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("[music]\ntempo = 81\n", "utf-8-sig")
    assert load_preset(str(path)).settings.music.tempo == 81
