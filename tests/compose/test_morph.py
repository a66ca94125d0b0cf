from hypothesis import given
from hypothesis import strategies as st

from lofid.compose.morph import morphed
from lofid.compose.preset import load_preset
from lofid.music.parameters import PARAMETERS, ParameterKind, Settings


def test_numbers_go_evenly_and_choices_change_at_half() -> None:
    start, end = load_preset("sleepy").settings, load_preset("boom-bap").settings
    quarter, half = morphed(start, end, 0.25), morphed(start, end, 0.5)
    slow, fast = start.music.tempo, end.music.tempo
    assert quarter.music.tempo == slow + (fast - slow) / 4
    assert half.music.tempo == slow + (fast - slow) / 2
    assert (quarter.sound.kit, half.sound.kit) == (start.sound.kit, end.sound.kit)
    assert (quarter.music.keys, half.music.keys) == (start.music.keys, end.music.keys)
    assert quarter.form.section_bars == round(
        start.form.section_bars + (end.form.section_bars - start.form.section_bars) / 4
    )


def test_what_midi_channels_are_called_is_no_number() -> None:
    other = Settings().with_value("midi.keys_channel", 16)
    assert {morphed(Settings(), other, share / 10).midi.keys_channel for share in range(11)} == {
        1,
        16,
    }


@given(data=st.data(), share=st.floats(0, 1))
def test_between_two_settings_lie_settings(
    data: st.DataObject, share: float, any_settings: st.SearchStrategy[Settings]
) -> None:
    start, end = data.draw(any_settings), data.draw(any_settings)
    assert (morphed(start, end, 0), morphed(start, end, 1)) == (start, end)
    between = morphed(start, end, share)
    for path, parameter in PARAMETERS.items():
        a, b, value = start.value(path), end.value(path), between.value(path)
        assert parameter.checked(parameter.plain(value)) == value
        if parameter.kind in (ParameterKind.NUMBER, ParameterKind.INTEGER):
            assert isinstance(a, int | float)
            assert isinstance(b, int | float)
            assert isinstance(value, int | float)
            assert min(a, b) - 1e-9 <= value <= max(a, b) + 1e-9
        else:
            assert value in (a, b)
