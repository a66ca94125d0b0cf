from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lofid.compose.preset import (
    DEFAULT,
    Preset,
    all_presets,
    checked_preset,
    load_preset,
    own_presets,
    parse_preset,
    preset_names,
    preset_text,
    remove_preset,
    save_preset,
)
from lofid.errors import LofidError
from lofid.music.notes import Part
from lofid.music.parameters import Settings

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


def test_all_mistakes_are_told() -> None:
    text = "[music]\ntempo = 300\nmoods = []\n[sound]\nvinyl = 0.1\nwinyl = 1\n"
    preset, mistakes = checked_preset(text, "mine", "mine.toml")
    assert [(mistake.line, mistake.key) for mistake in mistakes] == [
        (2, "music.tempo"),
        (3, "music.moods"),
        (6, "sound.winyl"),
    ]
    assert preset.settings == Settings().with_value("sound.vinyl", 0.1)


def test_a_preset_may_name_a_style() -> None:
    assert parse_preset('style = "mine"', "x", "x").style == "mine"
    assert parse_preset("", "x", "x").style is None
    for text in ("style = 3", 'style = ""'):
        _, (mistake,) = checked_preset(text, "x", "x.toml")
        assert (mistake.line, mistake.key) == (1, "style")


@pytest.mark.parametrize("text", ["a = " + "9" * 5000, "a = " + "[" * 5000, "a = " + "{b=" * 5000])
def test_a_hostile_file_is_a_mistake_like_any_other(text: str) -> None:
    _, (mistake,) = checked_preset(text, "mine", "mine.toml")
    assert "not valid TOML" in str(mistake)


@given(data=st.data(), description=st.text(), style=st.none() | st.text(min_size=1))
def test_what_is_saved_is_read_back_the_same(
    data: st.DataObject,
    description: str,
    style: str | None,
    any_settings: st.SearchStrategy[Settings],
) -> None:
    settings = data.draw(any_settings)
    assert parse_preset(preset_text(description, settings, style), "x", "x") == Preset(
        "x", description, settings, style=style
    )


def test_a_saved_preset_holds_what_differs() -> None:
    settings = Settings().with_value("music.tempo", 71).with_value("sound.kit", "808")
    assert preset_text("Mine.", settings) == (
        'description = "Mine."\n\n[music]\ntempo = 71\n\n[sound]\nkit = "808"\n'
    )


@pytest.mark.parametrize("name", preset_names())
def test_the_shipped_presets_survive_saving(name: str) -> None:
    preset = load_preset(name)
    assert parse_preset(preset_text(preset.description, preset.settings), name, name) == preset


def test_own_presets_are_found_by_name_and_go_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    folder = own_presets()
    assert folder == tmp_path / "lofid" / "presets"
    assert set(preset_names()) == SHIPPED
    save_preset(folder, "mine", "Mine.", Settings().with_value("music.tempo", 71))
    save_preset(folder, "rain", "My rain.", Settings())
    (folder / "broken.toml").write_text("[music")
    assert preset_names()[0] == DEFAULT
    assert set(preset_names()) == {*SHIPPED, "mine", "broken"}
    presets = {preset.name: preset for preset in all_presets()}
    assert set(presets) == {*SHIPPED, "mine"}
    assert {name for name, preset in presets.items() if preset.own} == {"mine", "rain"}
    assert presets["mine"].settings.music.tempo == 71
    assert load_preset("rain").description == "My rain."
    with pytest.raises(LofidError, match=r"broken\.toml"):
        load_preset("broken")


@pytest.mark.parametrize("name", ["", "../mine", "a b", ".x", "x" * 33, "ü"])
def test_a_name_of_a_preset_is_no_path(name: str, tmp_path: Path) -> None:
    with pytest.raises(LofidError, match="preset cannot be called"):
        save_preset(tmp_path, name, "", Settings())
    assert list(tmp_path.iterdir()) == []


def test_own_presets_are_removed_and_lofids_stay(tmp_path: Path) -> None:
    for name in ("mine", "rain"):
        save_preset(tmp_path, name, "My own.", Settings())
    with pytest.raises(LofidError, match="did you mean mine"):
        remove_preset(tmp_path, "mime")
    for name in ("mine", "rain"):
        remove_preset(tmp_path, name)
    assert list(tmp_path.iterdir()) == []
    assert load_preset("rain", tmp_path).description != "My own."
    with pytest.raises(LofidError, match="comes with lofid"):
        remove_preset(tmp_path, "rain")
    with pytest.raises(LofidError, match="of your own"):
        remove_preset(tmp_path, "../mine")


def test_a_folder_in_the_way_is_told(tmp_path: Path) -> None:
    (tmp_path / "presets").write_text("")
    with pytest.raises(LofidError, match="cannot be made"):
        save_preset(tmp_path / "presets", "mine", "", Settings())
    with pytest.raises(LofidError, match="half a character"):
        save_preset(tmp_path, "mine", "\ud83d", Settings())


@pytest.mark.parametrize(
    "text",
    [
        "[music]\n" + "".join(f"k{number} = 1\n" for number in range(5_000)),
        "".join(f"[t{number}]\n" for number in range(5_000)),
    ],
    ids=["keys", "tables"],
)
def test_of_countless_mistakes_the_first_are_told(text: str) -> None:
    _, mistakes = checked_preset(text, "x", "x.toml")
    assert len(mistakes) == 20
    assert [mistake.line for mistake in mistakes[:2]] in ([1, 2], [2, 3])


def test_what_could_not_be_read_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(LofidError, match="describe it in less"):
        save_preset(tmp_path, "long", "x" * 2**16, Settings())
    assert not list(tmp_path.iterdir())
    path = tmp_path / "long.toml"
    path.write_text("#" * (2**16 + 1))
    with pytest.raises(LofidError, match="too large for a preset"):
        load_preset(str(path))
