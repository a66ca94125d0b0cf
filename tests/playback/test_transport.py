from collections.abc import Iterator, Mapping
from dataclasses import replace
from fractions import Fraction
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lofid.music.chords import Chord, Key
from lofid.music.notes import TICKS_PER_BAR, Note, Part
from lofid.music.parameters import Settings
from lofid.music.plan import Bar, BarPlan, Section
from lofid.outputs.messages import MidiStatus
from lofid.outputs.output import SAMPLE_RATE, MidiEvent
from lofid.playback.cue import Cue
from lofid.playback.transport import FADE, Passage, Transport
from lofid.sound.studio import BLOCK, LEAD, Studio

FAST = 480.0  # BPM: half a second a bar


@pytest.fixture(scope="module")
def studio() -> Iterator[Studio]:
    studio = Studio(Settings(), 1)
    yield studio
    studio.close()


@pytest.fixture
def transport(studio: Studio) -> Transport:
    return fresh(studio)


def fresh(studio: Studio) -> Transport:
    """A transport on a studio that has been used: loading its instruments is most of the work."""
    studio.silence()
    studio.muted = frozenset()
    studio.settings = Settings()
    studio.render(4 * BLOCK - studio.position % BLOCK)
    return Transport(studio, 1)


def bar(index: int, notes: Mapping[Part, tuple[Note, ...]], tempo: float = FAST) -> Bar:
    plan = BarPlan(
        index, tempo, Key.parse("C"), (Chord.parse("C"),), Section.A, index,
        0.5, 0.5, 60.0, 0.5, 50.0, frozenset(Part),
    )  # fmt: skip
    return Bar(plan, notes)


def plain(index: int, start: int = 0, tempo: float = FAST) -> Bar:
    """A bar of one note, whose pitch says which bar it is."""
    return bar(index, {Part.KEYS: (Note(start, 40 + index % 40, 400, 80),)}, tempo)


def chain(first: int, count: int, follows: int | None = None) -> list[Cue]:
    takes = range(first, first + count)
    return [
        Cue(take, (take - 1 if take > first or follows is None else follows), plain(take))
        for take in takes
    ]


def run(transport: Transport, seconds: float, frames: int = BLOCK) -> list[Passage]:
    return [transport.block(frames) for _ in range(round(seconds * SAMPLE_RATE / frames))]


def heard(passages: list[Passage]) -> list[int]:
    return [line.take for passage in passages for line in passage.lines]


def events(passages: list[Passage]) -> list[MidiEvent]:
    return [event for passage in passages for event in passage.block.events]


def strikes(passages: list[Passage]) -> list[MidiEvent]:
    return [event for event in events(passages) if event.status == MidiStatus.NOTE_ON]


def check_stream(passages: list[Passage]) -> None:
    """What holds of every stream: no gap, no event out of place, no note twice or left over."""
    frame = passages[0].block.frame
    sounding: set[tuple[Part | None, int]] = set()
    for passage in passages:
        block = passage.block
        assert block.frame == frame
        frame += len(block.audio)
        assert np.isfinite(block.audio).all()
        places = [event.frame for event in block.events]
        assert places == sorted(places)
        assert all(block.frame <= place < frame for place in places)
        assert all(block.frame <= line.frame < frame for line in block.lines)
        for event in block.events:
            place = event.part, event.data[0] if event.data else -1
            if event.status == MidiStatus.NOTE_ON:
                assert place not in sounding
                sounding.add(place)
            elif event.status == MidiStatus.NOTE_OFF:
                sounding.remove(place)
            elif event.status == MidiStatus.STOP:
                assert not sounding


def test_silence_before_the_first_cue(transport: Transport) -> None:
    passages = run(transport, 0.3)
    assert not any(passage.block.audio.any() for passage in passages)
    assert not events(passages) and not heard(passages)


def test_the_first_bar_sounds_at_once(transport: Transport) -> None:
    run(transport, 0.3)
    transport.cue([Cue(1, 0, plain(1, start=-30))])
    passages = run(transport, 0.1)
    assert passages[0].locked == (1,)
    assert len(strikes(passages)) == 1  # 21 ms of latency in tape and limiter, and the grid


def test_takes_sound_in_their_order_however_they_are_cued(transport: Transport) -> None:
    transport.cue(chain(1, 4)[::-1])
    passages = run(transport, 1.9)
    assert heard(passages) == [1, 2, 3, 4]
    assert [event.data[0] for event in strikes(passages)] == [41, 42, 43, 44]
    check_stream(passages)


def test_a_cue_that_does_not_follow_what_was_locked_is_passed_over(transport: Transport) -> None:
    transport.cue([*chain(1, 1), *chain(7, 2, follows=6)])
    passages = run(transport, 1.4)
    assert heard(passages) == [1, 0, 0]


def test_a_bar_can_be_replaced_until_just_before_its_first_note(studio: Studio) -> None:
    transport = fresh(studio)
    transport.cue(chain(1, 2))
    opening = transport.block(BLOCK)
    assert opening.locked == (1,)
    # The second line lies half a second behind the first; the last block before it is rendered:
    blocks = (SAMPLE_RATE // 2) // BLOCK - 1
    passages = [transport.block(BLOCK) for _ in range(blocks)]
    assert not any(passage.locked for passage in passages)
    transport.cue([Cue(9, 1, plain(9))])
    passages += run(transport, 0.6)
    assert next(take for passage in passages for take in passage.locked) == 9
    assert heard(passages)[:2] == [1, 9]


def test_lines_and_clocks_lie_on_exact_frames(studio: Studio) -> None:
    transport = fresh(studio)
    tempi = [81.37, 80.0, 97.003, 60.5]
    cues = [
        Cue(n, n - 1, plain(n, tempo=tempi[n % len(tempi)])) for n in range(1, len(tempi) * 2 + 1)
    ]
    transport.cue(cues)
    passages = run(transport, 20, frames=4096)
    lines = [line for passage in passages for line in passage.lines]
    clocks = [event.frame for event in events(passages) if event.status == MidiStatus.CLOCK]
    exact = Fraction(lines[0].frame)
    for line in lines:
        tempo = Fraction(line.bar.plan.tempo)
        assert abs(line.frame - exact) <= 1
        ours = clocks[:96]
        clocks = clocks[96:]
        length = 240 * SAMPLE_RATE / tempo
        assert all(abs(at - exact - n * length / 96) <= 1 for n, at in enumerate(ours))
        assert line.seconds == pytest.approx(float(length / SAMPLE_RATE))
        exact += length
    assert len(lines) >= 6


def test_blocks_of_any_size_give_the_same_stream(studio: Studio) -> None:
    streams = []
    for frames in (BLOCK, 700, 4096):
        transport = fresh(studio)
        transport.cue(chain(1, 4))
        streams.append([(e.frame, e.status, e.data) for e in events(run(transport, 1.7, frames))])
    shortest = min(map(len, streams))
    assert streams[0][:shortest] == streams[1][:shortest] == streams[2][:shortest]


def test_the_audio_begins_where_the_event_says(studio: Studio) -> None:
    transport = Transport(Studio(Settings().with_value("sound.vinyl", 0), 1), 1)
    transport.cue([Cue(1, 0, plain(1))])
    passages = run(transport, 0.3)
    keys = np.concatenate([passage.stems["keys"] for passage in passages])
    onset = int(np.flatnonzero(np.abs(keys).max(axis=1) > 1e-4)[0])
    assert abs(onset - strikes(passages)[0].frame) < 300  # an instrument's attack


def test_a_note_rings_over_the_bar_line_and_ends(transport: Transport) -> None:
    long = bar(1, {Part.KEYS: (Note(1900, 60, 500, 80),)})
    again = bar(2, {Part.KEYS: (Note(200, 60, 100, 80),)})
    transport.cue([Cue(1, 0, long), Cue(2, 1, again)])
    passages = run(transport, 1.0)
    check_stream(passages)
    notes = [(e.status, e.frame) for e in events(passages) if e.part is Part.KEYS]
    assert [status for status, _ in notes] == [
        MidiStatus.NOTE_ON,
        MidiStatus.NOTE_OFF,
        MidiStatus.NOTE_ON,
        MidiStatus.NOTE_OFF,
    ]
    assert notes[1][1] == notes[2][1]  # struck again: let go on the same frame, before


def test_where_nothing_follows_the_last_loop_stands_in(transport: Transport) -> None:
    transport.cue(chain(1, 5))
    passages = run(transport, 5.0)
    takes = heard(passages)
    assert takes[:5] == [1, 2, 3, 4, 5] and set(takes[5:]) == {0}
    lines = [line for passage in passages for line in passage.lines]
    # Four bars go round, from where they were left.
    assert [line.bar.plan.index for line in lines[5:9]] == [2, 3, 4, 5]
    assert all(line.reason for line in lines[5:])
    transport.cue([Cue(6, 5, plain(6))])
    assert 6 in heard(run(transport, 1.0))
    check_stream(passages)


def test_pause_holds_in_the_middle_of_a_bar(transport: Transport) -> None:
    transport.cue(chain(1, 8))
    passages = run(transport, 0.75)
    transport.pause()
    quiet = run(transport, 1.0)
    audio = np.concatenate([passage.block.audio for passage in quiet])
    assert audio[:FADE].any() and not audio[FADE:].any()
    assert [event.status for event in events(quiet)].count(MidiStatus.STOP) == 1
    assert not any(event.frame > quiet[0].block.frame + FADE for event in events(quiet))
    transport.play()
    rest = run(transport, 1.0)
    check_stream(passages + quiet + rest)
    assert heard(passages + quiet + rest) == [1, 2, 3, 4]
    pause = sum(len(passage.block.audio) for passage in quiet) - FADE
    lines = [line.frame for passage in passages + rest for line in passage.lines]
    assert lines[2] - lines[1] == pytest.approx(SAMPLE_RATE / 2 + pause, abs=1)
    clocks = [e for e in events(passages + quiet + rest) if e.status == MidiStatus.CLOCK]
    inside = [e for e in clocks if lines[1] <= e.frame < lines[2]]
    assert len(inside) == 96  # none lost, none twice


def test_stop_drops_the_rest_of_the_bar(transport: Transport) -> None:
    transport.cue(chain(1, 8))
    passages = run(transport, 0.75)
    transport.stop()
    quiet = run(transport, 0.5)
    transport.play()
    rest = run(transport, 0.2)
    assert heard(passages + quiet + rest) == [1, 2, 3]
    check_stream(passages + quiet + rest)


def test_a_bar_locked_before_a_stop_is_heard_after_it(studio: Studio) -> None:
    transport = fresh(studio)
    transport.cue([Cue(n, n - 1, plain(n, start=-60, tempo=120)) for n in (1, 2, 3)])
    passages = run(transport, 1.5)
    while not passages[-1].locked:
        passages.append(transport.block(BLOCK))
    assert passages[-1].locked == (2,) and heard(passages) == [1]
    transport.stop()
    transport.play()  # at once: the stop is completed first
    passages += run(transport, 1.9)
    assert heard(passages) == [1, 2]
    passages += run(transport, 0.5)
    assert heard(passages) == [1, 2, 3]
    assert [take for passage in passages for take in passage.locked] == [1, 2, 3]
    check_stream(passages)


def test_panic_ends_what_sounds_and_nothing_else(transport: Transport) -> None:
    chord = tuple(Note(0, pitch, 1900, 80) for pitch in (50, 57, 60))
    later = Note(960, 72, 200, 80)
    transport.cue([Cue(1, 0, bar(1, {Part.KEYS: (*chord, later)}))])
    passages = run(transport, 0.1)
    transport.panic()
    ended = transport.block(BLOCK)
    offs = [event for event in ended.block.events if event.status == MidiStatus.NOTE_OFF]
    assert len(offs) == 3 and {event.frame for event in offs} == {ended.block.frame}
    rest = run(transport, 0.35)
    assert [event.data[0] for event in strikes(rest)][:1] == [72]
    assert np.abs(np.concatenate([p.block.audio for p in rest])).max() > 1e-3
    check_stream([*passages, ended, *rest])


def test_muted_parts_are_not_struck(transport: Transport) -> None:
    notes = tuple(Note(start, 60, 200, 80) for start in range(0, TICKS_PER_BAR, 240))
    transport.cue([Cue(1, 0, bar(1, {Part.KEYS: notes, Part.BASS: notes}))])
    passages = run(transport, 0.2)
    transport.mix(Settings(), frozenset({Part.BASS}))
    muted = run(transport, 0.2)
    assert Part.BASS in {event.part for event in strikes(passages)}
    assert {event.part for event in strikes(muted)} == {Part.KEYS}
    check_stream(passages + muted)


def test_settings_come_with_their_bar_line(studio: Studio) -> None:
    transport = fresh(studio)
    softer = Settings().with_value("mix.keys", -12)
    cues = chain(1, 3)
    transport.cue([cues[0], replace(cues[1], settings=softer), cues[2]])
    passages = run(transport, 0.9)
    frames = [passage.block.frame for passage in passages if passage.settings is not None]
    (line,) = [line.frame for passage in passages for line in passage.lines if line.take == 2]
    assert len(frames) == 1 and 0 <= line - (studio.LATENCY - LEAD) - frames[0] <= 2 * BLOCK
    assert studio.settings == softer


def test_the_latest_mixing_counts_more_than_an_earlier_cue(studio: Studio) -> None:
    transport = fresh(studio)
    cues = chain(1, 3)
    transport.cue([cues[0], replace(cues[1], settings=Settings().with_value("mix.keys", -12))])
    wanted = Settings().with_value("mix.keys", -3)
    transport.mix(wanted, frozenset())
    run(transport, 0.9)
    assert studio.settings == wanted


def test_it_says_when_it_lacks_a_cue(transport: Transport) -> None:
    assert transport.lacks_cue(BLOCK)
    transport.cue(chain(1, 1))
    assert not transport.lacks_cue(BLOCK)
    transport.block(BLOCK)
    while not transport.lacks_cue(BLOCK):
        assert 0 not in heard([transport.block(BLOCK)])
    transport.cue(chain(2, 1))
    assert heard(run(transport, 0.5)) == [2]


def test_skipping_goes_on_with_the_next_bar_at_once(transport: Transport) -> None:
    transport.cue(chain(1, 8))
    passages = run(transport, 0.75)
    transport.skip()
    passages += run(transport, 0.1)
    assert heard(passages) == [1, 2, 3]
    check_stream(passages)


NOTES = st.builds(
    Note,
    st.integers(-60, TICKS_PER_BAR - 1),
    st.integers(40, 44),
    st.integers(1, 3000),
    st.integers(1, 127),
)
BARS = st.dictionaries(
    st.sampled_from(Part), st.lists(NOTES, max_size=6).map(lambda notes: tuple(sorted(notes)))
)
Written = list[tuple[dict[Part, tuple[Note, ...]], float]]
Turn = tuple[str, Written, Random, int]
TURNS: st.SearchStrategy[Turn] = st.tuples(
    st.sampled_from(
        ["cue", "cue", "cue", "late", "stale", "pause", "stop", "play", "panic", "mute"]
    ),
    st.lists(st.tuples(BARS, st.sampled_from([300.0, 480.0, 600.0])), min_size=1, max_size=3),
    st.randoms(use_true_random=False),
    st.integers(1, 9_000),
)


@settings(max_examples=60, deadline=None)
@given(turns=st.lists(TURNS, min_size=4, max_size=14))
def test_whatever_is_cued_and_when_the_takes_form_one_chain(
    studio: Studio, turns: list[Turn]
) -> None:
    transport = fresh(studio)
    follows: dict[int, int] = {}
    bars: dict[int, Bar] = {}
    last, take = 0, 0
    passages: list[Passage] = []
    for action, written, random, frames in turns:
        if action in ("cue", "late", "stale"):
            before = last if action != "stale" else last - 1
            cues = []
            for notes, tempo in written:
                take += 1
                bars[take], follows[take] = bar(take, notes, tempo), before
                cues.append(Cue(take, before, bars[take]))
                before = take
            random.shuffle(cues)
            transport.cue(cues)
        elif action == "mute":
            transport.mix(Settings(), frozenset({Part.KEYS, Part.DRUMS}))
        else:
            getattr(transport, action)()
        for _ in range(12):
            passage = transport.block(frames)
            passages.append(passage)
            for one in passage.locked:
                assert follows[one] == last
                last = one
    transport.stop()
    passages += run(transport, 0.1)
    check_stream(passages)
    ons = [event for event in events(passages) if event.status == MidiStatus.NOTE_ON]
    offs = [event for event in events(passages) if event.status == MidiStatus.NOTE_OFF]
    assert len(ons) == len(offs)
    locked = [take for passage in passages for take in passage.locked]
    sounded = [take for take in heard(passages) if take]
    assert sounded == locked[: len(sounded)] and len(locked) - len(sounded) <= 1
    for passage in passages:
        for line in passage.lines:
            if line.take:
                assert line.bar is bars[line.take]
