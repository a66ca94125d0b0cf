"""What a port sends: channels, programs, ports, clock, and no note that hangs."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lofid.music.chords import Key
from lofid.music.notes import Part
from lofid.music.parameters import BassInstrument, Instrument, Kit, Settings
from lofid.music.plan import BarPlan, Face, Section
from lofid.outputs import BarLine, Block, MidiEvent
from lofid.outputs.messages import MidiStatus, Sounding
from lofid.outputs.routing import Router

AUDIO = np.zeros((512, 2), np.float32)
ON, OFF = MidiStatus.NOTE_ON, MidiStatus.NOTE_OFF


def line(frame: int, index: int) -> BarLine:
    plan = BarPlan(
        index, 80, Key.parse("C"), (), Section.A, 0, 0.5, 0.5, 60, 0.5, 58, frozenset(Part)
    )
    return BarLine(frame, plan)


def block(*events: MidiEvent, lines: Iterable[BarLine] = (), frame: int = 0) -> Block:
    return Block(frame, AUDIO, events, tuple(lines))


def router(**values: object) -> Router:
    settings = Settings()
    for name, value in values.items():
        settings = settings.with_value(f"midi.{name}", value)
    return Router("lofid", settings)


def test_channels_and_programs() -> None:
    made = router(keys_channel=16, keys_program=127)
    programs = [bytes((0xCF, 127)), bytes((0xC1, 11)), bytes((0xC2, 32)), bytes((0xC9, 32))]
    assert made.opening() == programs
    sent = made.route(
        block(MidiEvent(3, ON, (60, 9), Part.KEYS), MidiEvent(4, ON, (36, 9), Part.DRUMS))
    )
    assert sent == [(3, bytes((0x9F, 60, 9))), (4, bytes((0x99, 36, 9)))]


def test_a_part_with_a_port_goes_there_alone() -> None:
    made = router(keys_port="other", bass_port="lofid")
    assert [message[0] for message in made.opening()] == [0xC1, 0xC2, 0xC9]
    parts = (Part.KEYS, Part.BASS)
    sent = made.route(block(*(MidiEvent(0, ON, (60, 9), part) for part in parts)))
    assert sent == [(0, bytes((0x92, 60, 9)))]


def test_notes_end_before_others_begin() -> None:
    made = router()
    made.route(block(MidiEvent(0, ON, (60, 9), Part.KEYS)))
    sent = made.route(
        block(MidiEvent(5, ON, (60, 8), Part.KEYS), MidiEvent(5, OFF, (60, 0), Part.KEYS))
    )
    assert sent == [(5, bytes((0x80, 60, 0))), (5, bytes((0x90, 60, 8)))]


def test_a_note_ends_where_it_began() -> None:
    made = router()
    made.route(block(MidiEvent(0, ON, (60, 9), Part.KEYS)))
    settings = Settings().with_value("midi.keys_channel", 8).with_value("midi.keys_port", "other")
    assert made.adopt(settings) == []
    assert made.route(block(MidiEvent(5, OFF, (60, 0), Part.KEYS))) == [(5, bytes((0x80, 60, 0)))]


def test_only_what_changed_is_sent() -> None:
    made = router()
    assert made.adopt(Settings().with_value("mix.keys", -3)) == []
    assert made.adopt(Settings().with_value("sound.keys", "piano")) == [bytes((0xC0, 0))]


def test_a_song_of_another_face_brings_its_programs() -> None:
    made = Router("lofid", Settings().with_value("sound.keys", ["rhodes", "piano"]))
    face = Face(Instrument.PIANO, Instrument.FLUTE, BassInstrument.UPRIGHT, Kit.JAZZ)
    opening = line(7, 0)
    faced = replace(opening, plan=replace(opening.plan, face=face))
    assert made.route(block(lines=[faced])) == [(7, bytes((0xC0, 0)))]
    assert made.route(block(lines=[faced])) == []
    assert made.route(block(lines=[opening])) == [(7, bytes((0xC0, 4)))]


def test_who_follows_the_clock_joins_at_a_bar_line() -> None:
    made = router(clock=True)
    tick = MidiEvent(100, MidiStatus.CLOCK)
    assert made.route(block(tick)) == [(100, b"\xf8")]
    joined = [(100, bytes((0xF2, 16 * 700 % 128, 16 * 700 // 128))), (100, b"\xfb")]
    assert made.route(block(tick, lines=[line(100, 700)])) == [*joined, (100, b"\xf8")]
    assert made.route(block(lines=[line(200, 701)])) == []
    assert made.route(block(MidiEvent(300, MidiStatus.STOP))) == [(300, b"\xfc")]
    assert made.route(block(lines=[line(400, 1024)])) == [(400, b"\xfa")]
    assert made.adopt(Settings()) == [b"\xfc"]
    assert made.route(block(tick, lines=[line(100, 3)])) == []


steps = st.one_of(
    st.tuples(
        st.sampled_from((ON, OFF)), st.sampled_from(Part), st.integers(60, 62), st.integers(0, 2)
    ),
    st.tuples(
        st.just("adopt"),
        st.sampled_from(("keys_channel", "melody_channel")),
        st.integers(1, 2),
        st.just(0),
    ),
    st.tuples(
        st.just("adopt"), st.just("bass_port"), st.sampled_from(("", "lofid", "x")), st.just(0)
    ),
    st.tuples(st.just("silence"), st.none(), st.none(), st.just(0)),
)


@given(st.lists(steps, max_size=80))
def test_no_note_hangs(taken: list[tuple[object, object, object, int]]) -> None:
    """Whatever is struck, changed and ended: once every note is released, nothing sounds."""
    settings = Settings()
    made, heard, frame = Router("lofid", settings), Sounding(), 0
    struck: list[MidiEvent] = []

    def play(event: MidiEvent) -> None:
        for _, message in made.route(block(event, frame=event.frame)):
            heard.take(message)

    for what, first, second, gap in taken:
        frame += gap
        if what == "adopt":
            settings = settings.with_value(f"midi.{first}", second)
            for message in made.adopt(settings):
                heard.take(message)
        elif what == "silence":
            for message in made.ends():
                heard.take(message)
            assert not any(message[0] & 0xF0 == OFF for message in heard.ends())
        else:
            assert (
                isinstance(what, MidiStatus) and isinstance(first, Part) and isinstance(second, int)
            )
            event = MidiEvent(frame, what, (second, 80), first)
            if what is ON:
                struck.append(event)
            play(event)
    for event in struck:
        play(MidiEvent(frame, OFF, event.data, event.part))
    assert not any(message[0] & 0xF0 == OFF for message in heard.ends())
