"""The keys' vocabulary: what the grid keeps, and what it refuses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lofid.music.chords import Chord, Quality
from lofid.music.notes import TICKS_PER_BAR, Note
from lofid.tokens import keys
from lofid.tokens.grammar import Phase, TokenError
from lofid.tokens.keys import KeysHeader, KeysNotes

chords = st.builds(Chord, st.integers(0, 11), st.sampled_from(list(Quality)))
headers = st.builds(
    KeysHeader,
    tempo=st.none() | st.floats(30, 240),
    style=st.none() | st.sampled_from(keys.STYLE.choices),
    chords=st.lists(chords, max_size=2).map(tuple),
    density=st.none() | st.integers(0, 60),
    energy=st.none() | st.floats(1, 127),
    register=st.none() | st.floats(20, 100),
    melody=st.none() | st.integers(0, 40),
)


def notes(low: int, high: int) -> st.SearchStrategy[tuple[Note, ...]]:
    note = st.builds(
        Note,
        start=st.integers(0, TICKS_PER_BAR - 1),
        pitch=st.integers(low, high),
        duration=st.integers(1, 4 * TICKS_PER_BAR),
        velocity=st.integers(1, 127),
    )
    return st.lists(note, max_size=30).map(tuple)


bars = st.builds(
    KeysNotes,
    comping=notes(keys.COMPING.start, keys.COMPING.stop - 1),
    melody=notes(keys.MELODY.start, keys.MELODY.stop - 1),
)


@given(bars)
def test_decoding_gives_back_the_bar_on_the_grid(bar: KeysNotes) -> None:
    decoded = keys.decode_notes(keys.encode_notes(bar))
    assert decoded.comping == keys.quantised(bar.comping, keys.COMPING)
    assert decoded.melody == keys.quantised(bar.melody, keys.MELODY)


@given(bars)
def test_the_grid_moves_nothing_further_than_stated(bar: KeysNotes) -> None:
    kept = {(note.start, note.pitch): note for note in keys.quantised(bar.comping, keys.COMPING)}
    last = (keys.POSITIONS - 1) * keys.POSITION_TICKS
    for note in bar.comping:
        nearest = min(kept, key=lambda place: (place[1] != note.pitch, abs(place[0] - note.start)))
        assert nearest[1] == note.pitch
        assert abs(nearest[0] - min(note.start, last)) <= keys.POSITION_TICKS // 2
        assert kept[nearest].velocity >= note.velocity - keys.VELOCITY_STEP // 2


@given(bars)
def test_what_is_on_the_grid_stays(bar: KeysNotes) -> None:
    once = keys.quantised(bar.comping, keys.COMPING)
    assert keys.quantised(once, keys.COMPING) == once


@given(headers)
def test_headers_hold_one_token_a_field_and_two_a_chord(header: KeysHeader) -> None:
    tokens = keys.encode_header(header)
    assert len(tokens) == 6 + 2 * max(1, len(header.chords))
    assert all(0 <= token < len(keys.VOCABULARY) for token in tokens)


def test_header_fields_left_out_are_unspecified() -> None:
    names = [keys.VOCABULARY.tokens[token] for token in keys.encode_header(KeysHeader())]
    assert [name.split(":")[1] for name in names] == ["any"] * 8


def test_three_chords_are_refused() -> None:
    chord = Chord(0, Quality.MAJOR_7)
    with pytest.raises(TokenError):
        keys.encode_header(KeysHeader(chords=(chord, chord, chord)))


@given(st.data())
def test_any_walk_under_the_mask_is_a_bar(data: st.DataObject) -> None:
    state = keys.GRAMMAR.start
    tokens: list[int] = []
    while state.phase is not Phase.CLOSED:
        allowed = keys.GRAMMAR.mask(state).nonzero()[0].tolist()
        assert allowed
        if len(tokens) > 60 and keys.GRAMMAR.end in allowed:
            token = keys.GRAMMAR.end
        else:
            token = data.draw(st.sampled_from(allowed))
        tokens.append(token)
        state = keys.GRAMMAR.advance(state, token)
    assert keys.encode_notes(keys.decode_notes(tokens)) == tokens


@given(st.lists(st.integers(0, len(keys.VOCABULARY) - 1), max_size=12))
def test_rubbish_is_refused_or_a_bar(tokens: list[int]) -> None:
    try:
        bar = keys.decode_notes(tokens)
    except TokenError:
        return
    assert keys.encode_notes(bar) == tokens


def test_notes_out_of_compass_move_by_octaves() -> None:
    kept = keys.quantised([Note(0, 10, 100, 64), Note(0, 120, 100, 64)], keys.COMPING)
    assert [note.pitch % 12 for note in kept] == [10, 0]
    assert all(note.pitch in keys.COMPING for note in kept)
