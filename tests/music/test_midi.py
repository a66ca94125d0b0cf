"""MIDI files: what we write is read by mido, what we read was written by mido."""

import itertools
import os
from collections import defaultdict
from pathlib import Path
from typing import Any

import mido
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lofid.errors import LofidError
from lofid.music.chords import Chord, Key, Mode
from lofid.music.midi import (
    CHANNEL,
    MidiSong,
    read_midi,
    split_bars,
    without_overlaps,
    write_midi,
)
from lofid.music.notes import EARLIEST_START, TICKS_PER_BAR, Note, Part
from lofid.music.parameters import BassInstrument, Instrument, Kit
from lofid.music.plan import Bar, BarPlan, Face, Section


def plan(index: int = 0, **changes: Any) -> BarPlan:
    values: dict[str, Any] = {
        "index": index,
        "tempo": 80.0,
        "key": Key.parse("Eb"),
        "chords": (Chord.parse("Ebmaj7"),),
        "section": Section.A,
        "bar_in_section": index,
        "density": 0.5,
        "energy": 0.5,
        "register": 60.0,
        "melody": 0.5,
        "swing": 58.0,
        "parts": frozenset(Part),
    }
    return BarPlan(**{**values, **changes})


def file_of(*messages: Any, division: int = 480, kind: int = 1) -> mido.MidiFile:
    file = mido.MidiFile(type=kind, ticks_per_beat=division)
    file.tracks.append(mido.MidiTrack(messages))
    return file


def read(file: mido.MidiFile, folder: Path) -> MidiSong:
    path = folder / "song.mid"
    file.save(path)
    return read_midi(path)


def on(pitch: int, velocity: int, time: int = 0, channel: int = 0) -> Any:
    return mido.Message("note_on", note=pitch, velocity=velocity, time=time, channel=channel)


def off(pitch: int, time: int = 0, channel: int = 0) -> Any:
    return mido.Message("note_off", note=pitch, time=time, channel=channel)


NOTES = st.lists(
    st.builds(
        Note,
        st.integers(EARLIEST_START, TICKS_PER_BAR - 1),
        st.integers(0, 127),
        st.integers(1, 3 * TICKS_PER_BAR),
        st.integers(1, 127),
    ),
    max_size=12,
).map(lambda notes: tuple(sorted(notes)))
BARS = st.lists(st.dictionaries(st.sampled_from(Part), NOTES), min_size=1, max_size=5)


def sounding_in(path: Path) -> dict[tuple[str, int], list[Note]]:
    """An independent reading through mido: (track, channel) to absolute notes.

    Fails on a note that is struck while it sounds, on a stray release and on one that hangs.
    """
    found: dict[tuple[str, int], list[Note]] = defaultdict(list)
    for track in mido.MidiFile(path).tracks:
        tick = 0
        open_notes: dict[tuple[int, int], tuple[int, int]] = {}
        for message in track:
            tick += message.time
            if message.type == "note_on" and message.velocity:
                assert (message.channel, message.note) not in open_notes
                open_notes[message.channel, message.note] = (tick, message.velocity)
            elif message.type in ("note_on", "note_off"):
                start, velocity = open_notes.pop((message.channel, message.note))
                note = Note(start, message.note, tick - start, velocity)
                found[track.name, message.channel].append(note)
        assert not open_notes
    return found


class TestWriting:
    @settings(max_examples=60, deadline=None)
    @given(bars=BARS)
    def test_mido_reads_the_same_notes(
        self, bars: list[dict[Part, tuple[Note, ...]]], tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        path = tmp_path_factory.mktemp("midi") / "out.mid"
        write_midi(path, (Bar(plan(i), notes) for i, notes in enumerate(bars)))
        found = sounding_in(path)
        for part in Part:
            absolute = without_overlaps(
                Note(max(0, i * TICKS_PER_BAR + n.start), n.pitch, n.duration, n.velocity)
                for i, notes in enumerate(bars)
                for n in notes.get(part, ())
            )
            assert sorted(found[part, CHANNEL[part]]) == list(absolute)

    def test_our_reader_gives_back_the_bars(self, tmp_path: Path) -> None:
        bars = [
            Bar(
                plan(i),
                {
                    Part.KEYS: (Note(0, 60, 2000, 70), Note(7, 64, 480, 65)),
                    Part.DRUMS: (Note(-13 if i else 0, 36, 60, 101), Note(491, 38, 60, 99)),
                },
            )
            for i in range(4)
        ]
        path = tmp_path / "out.mid"
        write_midi(path, bars, lambda _: {Part.KEYS: 5, Part.DRUMS: 25})
        song = read_midi(path)
        keys, drums = song.tracks
        assert (keys.name, keys.channel, keys.program) == ("keys", 0, 5)
        assert (keys.is_drums, drums.is_drums) == (False, True)
        assert (drums.name, drums.channel, drums.program) == ("drums", 9, 25)
        assert split_bars(drums.notes) == [bar.notes[Part.DRUMS] for bar in bars]
        # The C of one bar rings into the next, where it is struck again.
        rings = [bar[0].duration for bar in split_bars(keys.notes)]
        assert rings == [TICKS_PER_BAR, TICKS_PER_BAR, TICKS_PER_BAR, 2000]

    def test_a_program_changes_with_the_face(self, tmp_path: Path) -> None:
        face = Face(Instrument.PIANO, Instrument.FLUTE, BassInstrument.UPRIGHT, Kit.JAZZ)
        bars = [
            Bar(plan(i, face=one), {Part.KEYS: (Note(0, 60, 480, 70),)})
            for i, one in enumerate((None, None, face))
        ]
        path = tmp_path / "out.mid"
        write_midi(path, bars, lambda one: {Part.KEYS: 0 if one else 5})
        track = mido.MidiFile(path).tracks[1]
        ticks = itertools.accumulate(message.time for message in track)
        programs = [
            (tick, message.program)
            for tick, message in zip(ticks, track, strict=True)
            if message.type == "program_change"
        ]
        assert programs == [(0, 5), (2 * TICKS_PER_BAR, 0)]

    def test_tempo_keys_and_sections(self, tmp_path: Path) -> None:
        path = tmp_path / "out.mid"
        minor = Key.parse("Dbm")
        write_midi(
            path,
            [
                Bar(plan(0, section=Section.INTRO, bar_in_section=0)),
                Bar(plan(1, section=Section.A, bar_in_section=0)),
                Bar(plan(2, section=Section.A, bar_in_section=1, tempo=72.5, key=minor)),
            ],
        )
        file = mido.MidiFile(path)
        assert (file.type, file.ticks_per_beat) == (1, 480)
        tick, events = 0, []
        for message in file.tracks[0]:
            tick += message.time
            if message.type == "set_tempo":
                events.append((tick, f"{mido.tempo2bpm(message.tempo):.1f}"))
            elif message.type == "key_signature":
                events.append((tick, message.key))
            elif message.type == "marker":
                events.append((tick, message.text))
            elif message.type == "time_signature":
                events.append((tick, f"{message.numerator}/{message.denominator}"))
        assert events == [
            (0, "4/4"),
            (0, "80.0"),
            (0, "Eb"),
            (0, "intro"),
            (1920, "A"),
            (3840, "72.5"),
            (3840, "C#m"),
        ]
        assert file.length == pytest.approx(2 * 240 / 80 + 240 / 72.5)

    @pytest.mark.parametrize("mode", Mode)
    @pytest.mark.parametrize("tonic", range(12))
    def test_every_key_can_be_written(self, tonic: int, mode: Mode, tmp_path: Path) -> None:
        write_midi(tmp_path / "out.mid", [Bar(plan(key=Key(tonic, mode)))])
        names = [m.key for m in mido.MidiFile(tmp_path / "out.mid") if m.type == "key_signature"]
        assert Key.parse(names[0]) == Key(tonic, mode)

    def test_failure_leaves_nothing_behind(self, tmp_path: Path) -> None:
        with pytest.raises(LofidError, match="could not be written"):
            write_midi(tmp_path / "none" / "out.mid", [Bar(plan())])
        (tmp_path / "old.mid").write_bytes(b"kept")
        with pytest.raises(ValueError, match="data byte"):
            write_midi(tmp_path / "old.mid", [Bar(plan(), {Part.KEYS: (Note(0, 200, 9, 9),)})])
        assert (tmp_path / "old.mid").read_bytes() == b"kept"
        assert os.listdir(tmp_path) == ["old.mid"]  # noqa: PTH208 - names only


class TestReading:
    @pytest.mark.parametrize("kind", [0, 1])
    @pytest.mark.parametrize("division", [96, 220, 480, 960])
    def test_ticks_are_rescaled(self, kind: int, division: int, tmp_path: Path) -> None:
        file = file_of(
            mido.MetaMessage("track_name", name="piano"),
            mido.Message("program_change", program=4),
            on(60, 80, time=division),
            on(60, 0, time=division // 2),
            division=division,
            kind=kind,
        )
        (track,) = read(file, tmp_path).tracks
        assert (track.name, track.channel, track.program) == ("piano" if kind else "", 0, 4)
        assert track.notes == (Note(480, 60, 240, 80),)

    def test_channels_of_one_track_are_told_apart(self, tmp_path: Path) -> None:
        file = file_of(on(60, 80), on(36, 90, channel=9), off(60, 480), off(36, 0, 9), kind=0)
        assert [t.channel for t in read(file, tmp_path).tracks] == [0, 9]

    def test_tempo_map(self, tmp_path: Path) -> None:
        file = file_of(
            mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(60)),
            mido.MetaMessage("time_signature", numerator=3, denominator=4, time=480),
            mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(120), time=480),
            on(60, 64),
            off(60, 960),
        )
        song = read(file, tmp_path)
        assert [(t.tick, round(t.bpm)) for t in song.tempi] == [(0, 60), (960, 120)]
        assert not song.is_four_four
        assert [song.seconds(t) for t in (0, 480, 960, 1920)] == pytest.approx([0, 1, 2, 3])
        assert song.seconds(1920) == pytest.approx(file.length)

    def test_a_bare_file_is_at_120_in_four(self, tmp_path: Path) -> None:
        song = read(file_of(on(60, 64), off(60, 480)), tmp_path)
        assert song.is_four_four
        assert song.seconds(480) == pytest.approx(0.5)

    @pytest.mark.parametrize(
        ("messages", "notes"),
        [
            # Struck again while it sounds: cut there, the second rings to its own release.
            (
                [on(60, 80), on(60, 70, 100), off(60, 50), off(60, 50)],
                [Note(0, 60, 100, 80), Note(100, 60, 100, 70)],
            ),
            # The first release is missing.
            (
                [on(60, 80), on(60, 70, 100), off(60, 50)],
                [Note(0, 60, 100, 80), Note(100, 60, 50, 70)],
            ),
            # Never released: to the end of the track.
            (
                [on(60, 80), on(62, 80, 100), off(62, 50)],
                [Note(0, 60, 150, 80), Note(100, 62, 50, 80)],
            ),
            # A release of nothing, and a note without length.
            ([off(60), on(60, 80, 10), off(60, 0)], [Note(10, 60, 1, 80)]),
            # Two strikes at one moment are one.
            ([on(60, 80), on(60, 90), off(60, 5), off(60, 5)], [Note(0, 60, 10, 90)]),
        ],
    )
    def test_odd_releases(self, messages: list[Any], notes: list[Note], tmp_path: Path) -> None:
        (track,) = read(file_of(*messages), tmp_path).tracks
        assert list(track.notes) == notes

    @given(NOTES)
    def test_without_overlaps(self, notes: tuple[Note, ...]) -> None:
        kept = without_overlaps(notes)
        assert {(n.start, n.pitch) for n in kept} == {(n.start, n.pitch) for n in notes}
        for pitch in {n.pitch for n in kept}:
            line = [n for n in kept if n.pitch == pitch]
            assert all(n.duration > 0 for n in line)
            assert all(a.start + a.duration <= b.start for a, b in itertools.pairwise(line))
        assert without_overlaps(kept) == kept


class TestBars:
    def test_a_note_just_ahead_opens_the_bar(self) -> None:
        early, late = EARLIEST_START, EARLIEST_START - 1
        notes = [Note(1920 + early, 60, 99, 1), Note(1920 + late, 61, 99, 1), Note(3840, 62, 99, 1)]
        assert split_bars(notes) == [
            (Note(1920 + late, 61, 99, 1),),
            (Note(early, 60, 99, 1),),
            (Note(0, 62, 99, 1),),
        ]

    def test_upbeat_is_left_out_and_empty_bars_stay(self) -> None:
        notes = [Note(0, 60, 9, 1), Note(480, 61, 9, 1), Note(480 + 3840, 62, 9, 1)]
        bars = split_bars(notes, first_bar=480)
        assert bars == [(Note(0, 61, 9, 1),), (), (Note(0, 62, 9, 1),)]

    @given(NOTES, st.integers(0, 5000))
    def test_nothing_else_is_lost(self, notes: tuple[Note, ...], shift: int) -> None:
        moved = [Note(n.start + shift, n.pitch, n.duration, n.velocity) for n in notes]
        bars = split_bars(moved)
        back = [
            Note(i * TICKS_PER_BAR + n.start, n.pitch, n.duration, n.velocity)
            for i, bar in enumerate(bars)
            for n in bar
        ]
        assert sorted(back) == sorted(moved)
        assert all(EARLIEST_START <= n.start < TICKS_PER_BAR for bar in bars for n in bar)


class TestDamage:
    def test_smpte_division(self, tmp_path: Path) -> None:
        header = b"MThd" + (6).to_bytes(4, "big") + bytes([0, 1, 0, 1, 0xE7, 40])
        (tmp_path / "film.mid").write_bytes(header + b"MTrk\0\0\0\4\0\xff\x2f\0")
        with pytest.raises(LofidError, match=r"film\.mid.*SMPTE.*ticks per quarter"):
            read_midi(tmp_path / "film.mid")

    def test_independent_sequences(self, tmp_path: Path) -> None:
        with pytest.raises(LofidError, match="type 2"):
            read(file_of(on(60, 1), off(60, 1), kind=2), tmp_path)

    def test_missing_file_and_folder(self, tmp_path: Path) -> None:
        with pytest.raises(LofidError, match=r"none\.mid.*cannot be read"):
            read_midi(tmp_path / "none.mid")
        with pytest.raises(LofidError, match="cannot be read"):
            read_midi(tmp_path)

    @settings(max_examples=150, deadline=None)
    @given(data=st.data())
    def test_truncated_and_garbled(
        self, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        folder = tmp_path_factory.mktemp("damage")
        path = folder / "broken.mid"
        write_midi(path, [Bar(plan(), {Part.KEYS: (Note(0, 60, 480, 80), Note(9, 64, 99, 80))})])
        whole = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(0, 4))):
            whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
        try:
            song = read_midi(path)
        except LofidError as error:
            assert "broken.mid" in str(error)
        else:
            assert all(note.duration > 0 for track in song.tracks for note in track.notes)

    @settings(deadline=None)
    @given(garbage=st.binary(max_size=200))
    def test_any_bytes(self, garbage: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
        path = tmp_path_factory.mktemp("bytes") / "noise.mid"
        path.write_bytes(garbage)
        with pytest.raises(LofidError, match=r"noise\.mid.*damaged"):
            read_midi(path)
