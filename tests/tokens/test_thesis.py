"""The thesis' token format."""

import mido
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lofid.errors import LofidError
from lofid.music.midi import MidiSong, Tempo, TimeSignature, Track, without_overlaps
from lofid.music.notes import Note
from lofid.tokens.thesis import (
    END,
    PAD,
    START,
    STEP,
    VOCABULARY,
    TimedNote,
    bin_velocity,
    decode,
    encode,
    from_song,
    from_text,
    on_grid,
    to_text,
    velocity_bin,
)

# Notes on the 8 ms grid that do not overlap: what the format can hold exactly.
GRID_NOTES = st.lists(
    st.builds(
        Note, st.integers(0, 3000), st.integers(0, 127), st.integers(1, 900), st.integers(1, 127)
    ),
    max_size=20,
).map(without_overlaps)


def timed(notes: tuple[Note, ...]) -> list[TimedNote]:
    return [TimedNote(n.start * STEP, n.pitch, n.duration * STEP, n.velocity) for n in notes]


class TestVocabulary:
    def test_ids(self) -> None:
        assert len(VOCABULARY) == 2176
        assert from_text("<pad> <start> <end> t1 t125 p:0:0 p:0:f p:3c:a p:7f:f") == [
            *(0, 1, 2, 3, 127, 128, 143),
            128 + 60 * 16 + 10,
            2175,
        ]
        assert to_text(range(2176)).split() == [*to_text(range(2176)).split(" ")]
        assert from_text(to_text(range(2176))) == list(range(2176))

    @pytest.mark.parametrize("name", ["t0", "t126", "t", "p:80:1", "p:3c:10", "p:3c", "x", "<unk>"])
    def test_unknown_names(self, name: str) -> None:
        with pytest.raises(LofidError, match="no token of the thesis format"):
            from_text(f"<start> {name} <end>")

    @pytest.mark.parametrize("token", [-1, 2176])
    def test_unknown_ids(self, token: int) -> None:
        with pytest.raises(LofidError, match=str(token)):
            decode([START, token])


class TestVelocity:
    def test_bins(self) -> None:
        bins = [velocity_bin(velocity) for velocity in range(128)]
        assert bins[0] == 0
        assert bins == sorted(bins)
        assert set(bins) == set(range(16))
        widths = [bins.count(b) for b in range(1, 16)]
        assert max(widths) == widths[-1]
        # The published formula's answers, worked out by hand at a few points.
        assert [bins[v] for v in (1, 5, 6, 64, 127)] == [1, 1, 2, 10, 15]

    @given(st.integers(0, 15))
    def test_a_bin_stands_for_itself(self, velocity: int) -> None:
        assert velocity_bin(bin_velocity(velocity)) == velocity
        assert (bin_velocity(0), bin_velocity(15)) == (0, 127)


class TestRoundTrip:
    @given(GRID_NOTES)
    def test_nothing_but_velocity_is_binned(self, notes: tuple[Note, ...]) -> None:
        tokens = encode(timed(notes))
        assert (tokens[0], tokens[-1]) == (START, END)
        first = min((n.start for n in notes), default=0)
        back = [(round(n.start / STEP), n.pitch, round(n.duration / STEP)) for n in decode(tokens)]
        assert back == [(n.start - first, n.pitch, n.duration) for n in notes]
        velocities = [bin_velocity(velocity_bin(n.velocity)) for n in notes]
        assert [n.velocity for n in decode(tokens)] == velocities
        assert encode(decode(tokens)) == tokens

    @given(st.lists(st.floats(0.001, 3.0), min_size=1, max_size=40))
    def test_moments_do_not_drift(self, waits: list[float]) -> None:
        start, notes = 0.0, []
        for wait in waits:
            notes.append(TimedNote(start, 60, 0.0005, 80))
            start += wait + STEP
        for heard, played in zip(decode(encode(notes)), notes, strict=True):
            assert abs(heard.start - played.start) <= STEP / 2 + 1e-9

    @given(st.lists(st.integers(0, 2175), max_size=60))
    def test_any_sequence_plays(self, tokens: list[int]) -> None:
        notes = decode(tokens)
        assert all(n.duration >= STEP - 1e-9 and 1 <= n.velocity <= 127 for n in notes)
        assert decode(encode(notes)) is not None

    def test_known_piece(self) -> None:
        notes = [TimedNote(5.0, 60, 0.5, 127), TimedNote(5.0, 48, 1.2, 127)]
        assert to_text(encode(notes)) == (
            "<start> p:30:f p:3c:f t63 p:3c:0 t87 p:30:0 <end>"  # 62.5 rounds to even within 5.5 s
        )

    def test_struck_again_and_held(self) -> None:
        tokens = from_text("<start> p:3c:f t10 p:3c:f p:40:0 t5 <end> t99 p:10:f")
        assert [(round(n.start / STEP), round(n.duration / STEP)) for n in decode(tokens)] == [
            (0, 10),
            (10, 5),
        ]
        assert decode([PAD, START, END]) == ()


def test_from_a_midi_file() -> None:
    song = MidiSong(
        (Tempo(0, 60.0), Tempo(960, 120.0)),
        (TimeSignature(0, 4, 4),),
        (),
        (
            Track("", 0, 0, (Note(480, 60, 960, 100),)),
            Track("", 9, 0, (Note(0, 36, 9, 9),), is_drums=True),
        ),
    )
    assert from_song(song) == (TimedNote(1.0, 60, 1.5, 100),)
    assert on_grid(from_song(song), 60.0) == (Note(480, 60, 720, 100),)
    assert mido.second2tick(1.5, 480, mido.bpm2tempo(60)) == 720
