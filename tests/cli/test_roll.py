from hypothesis import given
from hypothesis import strategies as st

from lofid.cli._roll import LANES, piano_roll
from lofid.music.notes import EARLIEST_START, TICKS_PER_BAR, Part
from lofid.protocol.messages import NoteInfo

notes = st.builds(
    NoteInfo,
    st.integers(EARLIEST_START, TICKS_PER_BAR - 1),
    st.integers(1, 2 * TICKS_PER_BAR),
    st.integers(0, 127),
    st.integers(1, 127),
)


@given(
    st.dictionaries(st.sampled_from(Part), st.lists(notes, max_size=20)),
    st.floats(-0.5, 1.5),
    st.integers(24, 200),
    st.integers(11, 60),
)
def test_the_roll_has_the_size_that_was_asked_for(
    bar: dict[Part, list[NoteInfo]], position: float, width: int, height: int
) -> None:
    lines = piano_roll(bar, TICKS_PER_BAR, position, (width, height)).plain.split("\n")
    assert len(lines) == height
    assert all(len(line) <= width for line in lines)
    assert [line.split()[0] for line in lines[-len(LANES) :]] == list(LANES)


def test_notes_lie_where_they_sound() -> None:
    bar = {
        Part.BASS: [NoteInfo(0, TICKS_PER_BAR // 2, 36, 90)],
        Part.DRUMS: [NoteInfo(TICKS_PER_BAR // 2, 10, 38, 90)],
    }
    roll = piano_roll(bar, TICKS_PER_BAR, 0.0, (24, 20), ascii_only=True)
    lines = roll.plain.split("\n")
    assert [line.rstrip() for line in lines if "=" in line] == ["        #=======:   :"]
    assert (
        next(line for line in lines if line.startswith("snare")).rstrip() == "snare   :   :   #   :"
    )
