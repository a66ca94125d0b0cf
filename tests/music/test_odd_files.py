"""MIDI files as they are found: what is odd beside the notes costs nothing of them."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from lofid.errors import LofidError
from lofid.music.chords import Key
from lofid.music.midi import MidiSong, Track, parse_midi
from lofid.music.notes import Note

HERE = Path("odd.mid")
END = b"\x00\xff\x2f\x00"


def chunk(name: bytes, content: bytes, off: int = 0) -> bytes:
    """A chunk whose length is said to be ``off`` bytes more than it is."""
    return name + (len(content) + off).to_bytes(4, "big") + content


def head(count: int, kind: int = 1, division: int = 480, more: bytes = b"") -> bytes:
    values = (kind, count, division)
    return chunk(b"MThd", b"".join(value.to_bytes(2, "big") for value in values) + more)


def track(*events: bytes, off: int = 0, end: bytes = END) -> bytes:
    return chunk(b"MTrk", b"".join(events) + end, off)


def at(delta: int, *data: int) -> bytes:
    """An event after at most 16,383 ticks."""
    return bytes([*([0x80 | delta >> 7] if delta > 127 else []), delta & 0x7F, *data])


def meta(kind: int, content: bytes) -> bytes:
    return at(0, 0xFF, kind, len(content)) + content


def sysex(*data: int) -> bytes:
    return at(0, 0xF0, len(data) + 1, *data, 0xF7)


def name(text: str) -> bytes:
    return meta(0x03, text.encode())


TEMPO = meta(0x51, (666_667).to_bytes(3, "big"))
CHORD = at(0, 0x90, 60, 70) + at(0, 64, 70) + at(480, 60, 0) + at(0, 64, 0)
HIT = at(0, 0x99, 36, 90) + at(60, 36, 0)
CONDUCTOR, KEYS, DRUMS = track(TEMPO), track(at(0, 0xC0, 4), CHORD), track(HIT)


def song(*parts: bytes) -> MidiSong:
    return parse_midi(b"".join(parts), HERE)


CLEAN = song(head(3), CONDUCTOR, KEYS, DRUMS)


def test_the_clean_file() -> None:
    keys, drums = CLEAN.tracks
    chord = (Note(0, 60, 480, 70), Note(0, 64, 480, 70))
    assert keys == Track("", 0, 4, chord)
    assert drums == Track("", 9, 0, (Note(0, 36, 60, 90),), is_drums=True)
    assert [round(tempo.bpm, 3) for tempo in CLEAN.tempi] == [90.0]


@pytest.mark.parametrize(
    "odd",
    [
        meta(0x59, b"\xee\x00"),  # 18 flats
        meta(0x59, b"\x08\x00"),
        meta(0x59, b"\x00\xff"),  # neither major nor minor
        *(meta(0x59, b"\0"[:length]) for length in (0, 1)),
        *(meta(0x58, b"\4\2"[:length]) for length in (0, 1)),
        meta(0x58, b"\x00\x02\x18\x08"),  # bars of no length
        meta(0x58, b"\x04\xff\x18\x08"),  # of unspeakable notes
        *(meta(0x51, b"\7" * length) for length in (0, 1, 2, 4)),
        meta(0x51, b"\0\0\0"),
        meta(0x51, b"\0\0\1"),  # 60 million BPM
        meta(0x51, b"\xff\xff\xff"),  # not four
        meta(0x54, b"\xff"),  # an SMPTE offset of one byte
        meta(0x00, b"\1"),
        meta(0x20, b""),
        meta(0x7F, b""),
        meta(0x01, b"\xff\xfe\x80"),
        meta(0x4B, b"?"),  # a kind that nobody knows
        sysex(),
        at(0, 0xF0, 0),
        at(0, 0xF7, 2, 0x41, 0xF7),
        at(0, 0xF1, 3),
        at(0, 0xF2, 3, 3),
        at(0, 0xF3, 3),
        at(0, 0xF6),
        at(0, 0xFE),
    ],
)
def test_an_event_that_makes_no_sense_is_left_out(odd: bytes) -> None:
    assert song(head(3), track(TEMPO, odd), KEYS, DRUMS) == CLEAN
    assert song(head(3), CONDUCTOR, track(odd, at(0, 0xC0, 4), CHORD), DRUMS) == CLEAN


@pytest.mark.parametrize("odd", [meta(0x01, b"words"), sysex(0x41), at(0, 0xF8)])
def test_running_status_goes_on_behind_other_events(odd: bytes) -> None:
    first, rest = CHORD[:4], CHORD[4:]
    assert song(head(3), CONDUCTOR, track(at(0, 0xC0, 4), first, odd, rest), DRUMS) == CLEAN


def test_a_data_byte_that_is_none_is_clipped() -> None:
    (found,) = song(head(1), track(at(0, 0x90, 60, 200), at(480, 0x80, 60, 0))).tracks
    assert found.notes == (Note(0, 60, 480, 127),)


KEY_TABLE = [(sharps, minor) for sharps in range(-7, 8) for minor in (0, 1)]


@pytest.mark.parametrize(("sharps", "minor"), KEY_TABLE)
def test_every_key_signature(sharps: int, minor: int) -> None:
    tonics = "Cb Gb Db Ab Eb Bb F C G D A E B F# C#".split()
    minors = "Abm Ebm Bbm Fm Cm Gm Dm Am Em Bm F#m C#m G#m D#m A#m".split()
    written = meta(0x59, bytes([sharps & 0xFF, minor]))
    (key,) = song(head(1), track(written, CHORD)).keys
    assert key.key == Key.parse((minors if minor else tonics)[sharps + 7])


ALIEN = chunk(b"XFIH", b"\0words of another program")
CHUNKS: dict[str, Sequence[bytes]] = {
    "all lengths too great": (
        head(3),
        track(TEMPO, off=4),
        track(at(0, 0xC0, 4), CHORD, off=4),
        track(HIT, off=4),
    ),
    "all lengths too small": (
        head(3),
        track(TEMPO, off=-4),
        track(at(0, 0xC0, 4), CHORD, off=-4),
        track(HIT, off=-4),
    ),
    "the last length too great": (head(3), CONDUCTOR, KEYS, track(HIT, off=4)),
    "lengths never filled in": (head(3), b"MTrk\0\0\0\0" + CONDUCTOR[8:], KEYS, DRUMS),
    "endless lengths": (head(3), CONDUCTOR, b"MTrk\xff\xff\xff\xff" + KEYS[8:], DRUMS),
    "a track more than said": (head(2), CONDUCTOR, KEYS, DRUMS),
    "a track fewer than said": (head(4), CONDUCTOR, KEYS, DRUMS),
    "none said": (head(0), CONDUCTOR, KEYS, DRUMS),
    "an empty track": (head(4), CONDUCTOR, track(), KEYS, DRUMS),
    "a track of no bytes": (head(4), CONDUCTOR, chunk(b"MTrk", b""), KEYS, DRUMS),
    "another's chunk between": (head(3), CONDUCTOR, KEYS, ALIEN, DRUMS),
    "another's chunk first": (head(3), ALIEN, CONDUCTOR, KEYS, DRUMS),
    "another's chunk last": (head(3), CONDUCTOR, KEYS, DRUMS, ALIEN),
    "another's chunk with a wrong length": (
        head(3),
        CONDUCTOR,
        KEYS,
        chunk(b"XFKM", b"words", off=3),
        DRUMS,
    ),
    "a long head": (head(3, more=b"\1\2\3\4"), CONDUCTOR, KEYS, DRUMS),
    "a head that says too much": (b"MThd\0\0\0\x0a" + head(3)[8:], CONDUCTOR, KEYS, DRUMS),
    "bytes between the chunks": (head(3), CONDUCTOR, b"\0", KEYS, b"\0\0\0", DRUMS),
    "bytes at the end": (head(3), CONDUCTOR, KEYS, DRUMS, b"\0" * 300),
    "no end of track": (head(3), track(TEMPO, end=b""), KEYS, track(HIT, end=b"")),
    "RIFF": (b"RIFF\0\0\1\0RMIDdata\0\0\1\0", head(3), CONDUCTOR, KEYS, DRUMS),
    "RIFF with other chunks": (
        b"RIFF\0\0\1\0RMIDLIST\6\0\0\0INFO\0\0DISP\0\x10\0\0",
        b"\0" * 4096,
        b"data\0\0\1\0",
        head(3),
        CONDUCTOR,
        KEYS,
        DRUMS,
        b"LIST\4\0\0\0INFO",
    ),
    "MacBinary": (b"\0\4song".ljust(128, b"\0"), head(3), CONDUCTOR, KEYS, DRUMS),
}


@pytest.mark.parametrize("parts", CHUNKS.values(), ids=CHUNKS)
def test_all_that_is_there_is_read(parts: Sequence[bytes]) -> None:
    assert song(*parts) == CLEAN


@pytest.mark.parametrize(
    "parts",
    [
        (head(3), CONDUCTOR, KEYS[:-6]),  # cut off in a track
        (head(3), CONDUCTOR, KEYS[:-4]),  # between two events of it
        (head(3), CONDUCTOR[:6]),
        (head(1),),
        (head(1), track(at(0, 60, 70))),  # a data byte whose status nobody knows
        (head(1), track(b"\x80\x80\x80\x80\x80\x00\x90\x3c\x40")),  # a delta time without end
        (head(1, division=0), KEYS),
        (head(1, kind=3), KEYS),
    ],
)
def test_what_is_cut_off_is_damaged(parts: Sequence[bytes]) -> None:
    with pytest.raises(LofidError, match=r"odd\.mid.*damaged"):
        song(*parts)


@pytest.mark.parametrize("frames", [24, 25, 29, 30])
def test_smpte_is_said(frames: int) -> None:
    with pytest.raises(LofidError, match="SMPTE"):
        song(head(1, division=(256 - frames) << 8 | 40), KEYS)


class TestChannels:
    def test_a_program_belongs_to_the_channel_of_the_file(self) -> None:
        setup = track(at(0, 0xC0, 4), at(0, 0xC3, 119))
        effect = track(at(0, 0x93, 60, 70), at(9, 60, 0))
        found = song(head(4), setup, track(CHORD), effect).tracks
        assert [(one.channel, one.program) for one in found] == [(0, 4), (3, 119)]
        # Wherever the track stands that says so.
        found = song(head(4), track(CHORD), effect, setup).tracks
        assert [(one.channel, one.program) for one in found] == [(0, 4), (3, 119)]

    def test_the_program_at_the_first_note_counts(self) -> None:
        before, later = track(at(0, 0xC0, 4), at(100, 0xC0, 24)), track(at(0, 0xC0, 5), CHORD)
        (found,) = song(head(2), before, later).tracks
        assert found.program == 5
        (found,) = song(head(2), before, track(at(100, 0x90, 60, 70), at(9, 60, 0))).tracks
        assert found.program == 24
        (found,) = song(head(1), track(CHORD, at(0, 0xC0, 5))).tracks
        assert found.program == 0

    @pytest.mark.parametrize("kind", [0, 1])
    def test_a_name_counts_where_the_track_has_one_channel(self, kind: int) -> None:
        both = song(head(1, kind), track(name("Drum Song"), CHORD, HIT)).tracks
        assert [(one.name, one.is_drums) for one in both] == [("", False), ("", True)]
        alone = song(head(1, kind), track(name("Drums "), CHORD)).tracks
        assert [one.name for one in alone] == ["Drums" if kind else ""]

    def test_a_first_track_with_the_tempo_has_the_songs_title(self) -> None:
        first = track(name("Drummer Boy"), TEMPO, CHORD)
        assert [one.name for one in song(head(2), first, track(name("Kit"), HIT)).tracks] == [
            "",
            "Kit",
        ]


GM, GM2 = (sysex(0x7E, 0x7F, 0x09, kind) for kind in (1, 3))
GS = sysex(0x41, 0x10, 0x42, 0x12, 0x40, 0x00, 0x7F, 0x00, 0x41)
XG = sysex(0x43, 0x10, 0x4C, 0x00, 0x00, 0x7E, 0x00)


def gs_part(part: int, value: int) -> bytes:
    return sysex(0x41, 0x10, 0x42, 0x12, 0x40, 0x10 | part, 0x15, value, 0)


def xg_part(part: int, value: int) -> bytes:
    return sysex(0x43, 0x10, 0x4C, 0x08, part, 0x07, value)


def bank(channel: int, msb: int) -> bytes:
    return at(0, 0xB0 | channel, 0, msb) + at(0, 0xC0 | channel, 0)


@pytest.mark.parametrize(
    ("says", "channel", "is_drums"),
    [
        (b"", 9, True),
        (b"", 10, False),
        (bank(10, 120), 10, True),  # General MIDI 2
        (GM2 + bank(10, 120), 10, True),
        (GM2 + bank(9, 121), 9, False),
        (bank(9, 121), 9, True),  # said by careless programs, too
        (bank(10, 120) + bank(10, 121), 10, False),
        (bank(10, 120) + GM, 10, False),
        (bank(10, 127), 10, True),  # XG
        (XG + bank(0, 127), 0, True),
        (GS + bank(10, 127), 10, False),  # the sounds of an MT-32
        (bank(10, 8), 10, False),
        (gs_part(0xA, 1), 10, True),
        (gs_part(0xF, 2), 15, True),
        (gs_part(1, 1), 0, True),
        (gs_part(9, 1), 8, True),
        (gs_part(0, 0), 9, False),
        (gs_part(0xA, 1), 9, True),
        (gs_part(0xA, 1) + gs_part(0xA, 0), 10, False),
        (gs_part(0xA, 1) + GS, 10, False),
        (gs_part(0xA, 1) + XG, 10, False),
        (XG + xg_part(10, 2), 10, True),
        (XG + xg_part(9, 0), 9, False),
        (xg_part(10, 1) + xg_part(10, 0), 10, False),
    ],
)
def test_which_channels_are_drums(says: bytes, channel: int, is_drums: bool) -> None:
    hit = at(0, 0x90 | channel, 36, 90) + at(60, 36, 0)
    for parts in ((track(says, hit),), (track(says), track(hit)), (track(hit), track(says))):
        (found,) = song(head(2), *parts).tracks
        assert found.is_drums is is_drums


def on(pitch: int, delta: int = 0, channel: int = 0) -> bytes:
    return at(delta, 0x90 | channel, pitch, 70)


def off(pitch: int, delta: int = 0, channel: int = 0) -> bytes:
    return at(delta, 0x80 | channel, pitch, 0)


def pedal(value: int, delta: int = 0, channel: int = 0) -> bytes:
    return at(delta, 0xB0 | channel, 64, value)


def control(number: int, delta: int = 0) -> bytes:
    return at(delta, 0xB0, number, 0)


class TestPedal:
    def durations(self, *parts: bytes) -> list[int]:
        return [
            note.duration for one in song(head(len(parts)), *parts).tracks for note in one.notes
        ]

    @pytest.mark.parametrize(
        ("events", "durations"),
        [
            # Released under the pedal, it rings until the pedal goes up.
            ((on(60), pedal(127, 5), off(60, 115), pedal(0, 840)), [960]),
            # Down before the strike as well.
            ((pedal(127), on(60), off(60, 120), pedal(0, 840)), [960]),
            # Half a pedal is down from 64 on.
            ((on(60), pedal(64), off(60, 120), pedal(63, 840)), [960]),
            ((on(60), pedal(63), off(60, 120), pedal(0, 840)), [120]),
            # A key that is still held sounds on when the pedal goes up.
            ((on(60), pedal(127), pedal(0, 100), off(60, 400)), [500]),
            # Up before the release: no more than the key.
            ((pedal(127), on(60), pedal(0, 60), off(60, 60)), [120]),
            # Struck again under the pedal: cut there.
            ((pedal(127), on(60), off(60, 120), on(60, 360), off(60, 10),
              pedal(0, 470)), [480, 480]),
            # A change of pedal with the next chord.
            ((pedal(127), on(60), off(60, 120), pedal(0, 360), pedal(127), on(62), off(62, 9),
              pedal(0, 100)), [480, 109]),
            # Never lifted: to the end of the track.
            ((pedal(127), on(60), off(60, 120), at(880, 0xB0, 7, 100)), [1000]),
            # What sets the controllers back lifts it; what silences a channel ends all.
            ((pedal(127), on(60), off(60, 120), control(121, 100), at(880, 0xB0, 7, 9)), [220]),
            ((pedal(127), on(60), control(120, 100), off(60, 900)), [100]),
            ((on(60), on(64), control(123, 100), off(60, 900), off(64)), [100, 100]),
            ((pedal(127), on(60), control(123, 100), pedal(0, 200)), [300]),
        ],
    )  # fmt: skip
    def test_a_note_lasts_as_long_as_it_sounds(
        self, events: Sequence[bytes], durations: list[int]
    ) -> None:
        assert self.durations(track(*events)) == durations

    @pytest.mark.parametrize("channel", range(16))
    def test_it_belongs_to_its_channel(self, channel: int) -> None:
        other = (channel + 1) % 16
        notes = [on(60, 0, channel), on(60, 0, other), off(60, 120, channel), off(60, 0, other)]
        events = (pedal(127, 0, channel), *notes, pedal(0, 840, channel))
        found = song(head(1), track(*events)).tracks
        assert {one.channel: one.notes[0].duration for one in found} == {channel: 960, other: 120}

    def test_it_holds_what_other_tracks_play_on_its_channel(self) -> None:
        left = track(pedal(127), on(48), off(48, 120), pedal(0, 840))
        right = track(on(72), off(72, 240))
        assert self.durations(left, right) == [960, 960]
