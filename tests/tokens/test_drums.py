"""The drums' vocabulary: hits with micro-timing, flams included."""

from hypothesis import given
from hypothesis import strategies as st

from lofid.music.notes import DRUM_CLASS, DRUM_PITCH, EARLIEST_START, TICKS_PER_BAR, DrumClass, Note
from lofid.tokens import drums
from lofid.tokens.drums import DrumsHeader
from lofid.tokens.grammar import Phase, TokenError

hits = st.lists(
    st.builds(
        Note,
        start=st.integers(EARLIEST_START, TICKS_PER_BAR + EARLIEST_START - 1),
        pitch=st.sampled_from(sorted(DRUM_CLASS)),
        duration=st.integers(1, 480),
        velocity=st.integers(1, 127),
    ),
    max_size=40,
)
headers = st.builds(
    DrumsHeader,
    tempo=st.none() | st.floats(30, 240),
    style=st.none() | st.sampled_from(drums.STYLE.choices),
    density=st.none() | st.integers(0, 60),
    energy=st.none() | st.floats(1, 127),
    fill=st.none() | st.booleans(),
)


@given(hits)
def test_decoding_gives_back_the_bar_on_the_grid(bar: list[Note]) -> None:
    assert drums.decode_notes(drums.encode_notes(bar)) == drums.quantised(bar)


@given(hits)
def test_a_hit_moves_by_at_most_eight_ticks_and_nine_velocities(bar: list[Note]) -> None:
    kept = drums.quantised(bar)
    for hit in bar:
        pitch = DRUM_PITCH[DRUM_CLASS[hit.pitch]]
        near = [
            other for other in kept if other.pitch == pitch and abs(other.start - hit.start) < 9
        ]
        assert near
        assert max(other.velocity for other in near) >= hit.velocity - 9


@given(hits)
def test_what_is_on_the_grid_stays(bar: list[Note]) -> None:
    once = drums.quantised(bar)
    assert drums.quantised(once) == once


@given(headers)
def test_headers_hold_five_tokens(header: DrumsHeader) -> None:
    tokens = drums.encode_header(header)
    assert len(tokens) == 5
    assert all(0 <= token < drums.VOCABULARY.block("position").start for token in tokens)


def test_a_flam_stays_two_hits() -> None:
    snare = DRUM_PITCH[DrumClass.SNARE]
    flam = [Note(480 - 26, snare, 120, 45), Note(480, snare, 120, 117)]
    assert drums.quantised(flam) == tuple(flam)


def test_a_hit_ahead_of_the_bar_line_keeps_its_lead() -> None:
    kick = Note(-13, DRUM_PITCH[DrumClass.KICK], 120, 99)
    assert drums.quantised([kick]) == (kick,)


@given(st.data())
def test_any_walk_under_the_mask_is_a_bar(data: st.DataObject) -> None:
    state = drums.GRAMMAR.start
    tokens: list[int] = []
    while state.phase is not Phase.CLOSED:
        allowed = drums.GRAMMAR.mask(state).nonzero()[0].tolist()
        if len(tokens) > 40 and drums.GRAMMAR.end in allowed:
            token = drums.GRAMMAR.end
        else:
            token = data.draw(st.sampled_from(allowed))
        tokens.append(token)
        state = drums.GRAMMAR.advance(state, token)
    assert drums.encode_notes(drums.decode_notes(tokens)) == tokens


@given(st.lists(st.integers(0, len(drums.VOCABULARY) - 1), max_size=8))
def test_rubbish_is_refused_or_a_bar(tokens: list[int]) -> None:
    try:
        bar = drums.decode_notes(tokens)
    except TokenError:
        return
    assert drums.encode_notes(bar) == tokens


def test_hit_class_reads_every_hit_token() -> None:
    members = [drums.VOCABULARY.tokens[token].split(":")[1] for token in drums.HIT_TOKENS]
    for member, token in zip(members, drums.HIT_TOKENS, strict=True):
        assert drums.hit_class(token).name.lower() == member.split("/")[0]
