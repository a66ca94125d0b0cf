"""What is heard in a file: parts by channel and name, bars where the metre changes, its tempo."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import mido
import numpy as np
import pytest

from lofid.learn.beats import aligned
from lofid.learn.hearing import HeardSong, Reason, Unusable, hear
from lofid.music.midi import MidiSong, Tempo, TimeSignature, Track, without_overlaps
from lofid.music.notes import Note


def _parts(bars: int, first: int = 0) -> dict[int, list[tuple[int, int, int]]]:
    """Chords, a line, a bass and drums by channel, as (tick, pitch, length)."""
    found: dict[int, list[tuple[int, int, int]]] = {0: [], 1: [], 2: [], 9: []}
    for bar in range(bars):
        line = first + 1920 * bar
        root = (0, 9, 5, 7)[bar % 4]
        for half in (0, 960):
            found[0] += [(line + half, 60 + root + step, 900) for step in (0, 4, 7)]
            found[2].append((line + half, 36 + root, 700))
        found[1] += [(line + beat * 480, 79 + (beat * 2 + root) % 5, 400) for beat in range(4)]
        found[9] += [(line + eighth * 240, 42, 60) for eighth in range(8)]
        found[9] += [(line + at, 36, 60) for at in (0, 1200)]
        found[9] += [(line + at, 38, 60) for at in (480, 1440)]
    return found


def _file(
    path: Path,
    parts: dict[int, list[tuple[int, int, int]]],
    metas: list[tuple[int, Any]] | None = None,
    names: dict[int, str] | None = None,
    kind: int = 1,
) -> Path:
    """A file of the parts, each on its channel: a track each, or (type 0) all in one."""
    events: dict[int, list[tuple[int, Any]]] = {-1: [(tick, one) for tick, one in metas or ()]}
    for channel, notes in parts.items():
        track = events.setdefault(channel if kind else -1, [])
        program = {1: 11, 2: 33}.get(channel, 0)
        track.append((0, mido.Message("program_change", channel=channel, program=program)))
        if channel in (names or {}):
            track.append((0, mido.MetaMessage("track_name", name=(names or {})[channel])))
        for start, pitch, length in notes:
            strike = {"channel": channel, "note": pitch}
            track.append((start, mido.Message("note_on", velocity=80, **strike)))
            track.append((start + length, mido.Message("note_off", **strike)))
    file = mido.MidiFile(type=kind, ticks_per_beat=480)
    for track in events.values():
        now, written = 0, mido.MidiTrack()
        for tick, message in sorted(track, key=lambda one: one[0]):
            written.append(message.copy(time=tick - now))
            now = tick
        file.tracks.append(written)
    file.save(path)
    return path


def _metre(tick: int, numerator: int, denominator: int = 4) -> tuple[int, Any]:
    return tick, mido.MetaMessage("time_signature", numerator=numerator, denominator=denominator)


def _counts(song: HeardSong) -> tuple[int, int, int]:
    """Notes of comping, melody and drums."""
    assert song.keys is not None
    comping = sum(len(bar.comping) for bar in song.keys.bars)
    melody = sum(len(bar.melody) for bar in song.keys.bars)
    return comping, melody, 0 if song.drums is None else sum(map(len, song.drums.bars))


class TestNames:
    @pytest.mark.parametrize(
        "title", ["Little Drummer Boy", "Beat It", "Percussion", "Kit", "Lead Me", "Bass", "Solo"]
    )
    def test_a_songs_title_says_nothing_about_its_channels(
        self, title: str, tmp_path: Path
    ) -> None:
        named = (0, mido.MetaMessage("track_name", name=title))
        song = hear(_file(tmp_path / "a.mid", _parts(4), [named], kind=0), "")
        plain = hear(_file(tmp_path / "b.mid", _parts(4), kind=0), "")
        assert _counts(song) == _counts(plain) == (24, 16, 48)
        piano = {0: _parts(4)[0]}
        alone = hear(_file(tmp_path / "c.mid", piano, [named], kind=0), "")
        assert alone.drums is None

    def test_a_tracks_own_name_does(self, tmp_path: Path) -> None:
        parts = _parts(4)
        parts[10] = parts.pop(9)
        song = hear(_file(tmp_path / "a.mid", parts, names={10: "Drums"}), "")
        assert _counts(song) == (24, 16, 48)

    @pytest.mark.parametrize("name", ["Drumkit 1", "Schlagzeug", "Batería", "Perc", "Percussão"])
    def test_in_other_languages_too(self, name: str, tmp_path: Path) -> None:
        parts = _parts(4)
        parts[10] = parts.pop(9)
        song = hear(_file(tmp_path / "a.mid", parts, names={10: name}), "")
        assert _counts(song) == (24, 16, 48)

    @pytest.mark.parametrize("name", ["Bass1", "Synthbass", "Contrabass", "Baixo"])
    def test_a_bass_by_its_name(self, name: str, tmp_path: Path) -> None:
        parts = _parts(4)
        parts[3] = parts.pop(2)
        song = hear(_file(tmp_path / "a.mid", parts, names={3: name}), "")
        assert _counts(song) == (24, 16, 48)

    @pytest.mark.parametrize("title", ["Drum Song", "The Beat Goes On", "Bass", "Solo"])
    def test_a_name_that_all_tracks_have_is_the_songs_title(
        self, title: str, tmp_path: Path
    ) -> None:
        names = dict.fromkeys(_parts(4), title)
        assert _counts(hear(_file(tmp_path / "a.mid", _parts(4), names=names), "")) == (24, 16, 48)

    @pytest.mark.parametrize(("channel", "name"), [(1, "Beat Bells"), (0, "Little Drummer Boy")])
    def test_a_name_makes_no_drums_of_a_tune(self, channel: int, name: str, tmp_path: Path) -> None:
        song = hear(_file(tmp_path / "a.mid", _parts(4), names={channel: name}), "")
        assert _counts(song) == (24, 16, 48)


class TestMetre:
    @pytest.mark.parametrize(
        ("numerator", "denominator", "length"),
        [(2, 4, 960), (3, 4, 1440), (1, 4, 480), (6, 8, 1440), (7, 8, 1680), (5, 4, 2400)],
    )
    @pytest.mark.parametrize("bar", [3, 8])
    def test_a_bar_of_another_metre_is_left_out(
        self, numerator: int, denominator: int, length: int, bar: int, tmp_path: Path
    ) -> None:
        before, after = _parts(bar), _parts(12 - bar, bar * 1920 + length)
        parts = {channel: [*before[channel], *after[channel]] for channel in before}
        parts[0].append((bar * 1920, 61, 400))  # of the odd bar
        metas = [_metre(0, 4), _metre(bar * 1920, numerator, denominator)]
        metas.append(_metre(bar * 1920 + length, 4))
        song = hear(_file(tmp_path / "a.mid", parts, metas), "")
        assert _counts(song) == (6 * 12, 4 * 12, 12 * 12)
        assert song.drums is not None
        for drums in song.drums.bars:
            assert [note.start for note in drums if note.pitch == 38] == [480, 1440]

    def test_the_tempo_map_moves_with_the_music(self, tmp_path: Path) -> None:
        before, after = _parts(16), _parts(16, 16 * 1920 + 960)
        parts = {channel: [*before[channel], *after[channel]] for channel in before}
        half = 16 * 1920 + 960
        metas = [_metre(0, 4), _metre(16 * 1920, 2), _metre(half, 4)]
        tempi = [(0, 80), (16 * 1920, 20), (half, 90)]  # a ritardando in the odd bar
        metas += [
            (tick, mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(bpm))) for tick, bpm in tempi
        ]
        song = hear(_file(tmp_path / "a.mid", parts, metas), "")
        assert song.keys is not None
        assert song.keys.tempo == pytest.approx(2 / (1 / 80 + 1 / 90), rel=0.005)

    @pytest.mark.parametrize("metre", [(2, 2), (8, 8), (4, 4)])
    def test_four_quarters_under_another_name(self, metre: tuple[int, int], tmp_path: Path) -> None:
        song = hear(_file(tmp_path / "a.mid", _parts(4), [_metre(0, *metre)]), "")
        assert _counts(song) == (24, 16, 48)

    def test_too_much_of_another_metre_is_refused(self, tmp_path: Path) -> None:
        metas = [_metre(0, 4), _metre(8 * 1920, 3)]
        with pytest.raises(Unusable) as refused:
            hear(_file(tmp_path / "a.mid", _parts(10), metas), "")
        assert (refused.value.reason, refused.value.detail) == (Reason.NOT_FOUR_FOUR, "3/4")

    def test_countless_metres_take_no_time(self, tmp_path: Path) -> None:
        metas = [_metre(tick, 4 - tick % 2) for tick in range(5_000)]
        with pytest.raises(Unusable, match="not in 4/4"):
            hear(_file(tmp_path / "a.mid", _parts(40), metas), "")


def _played(bpm: float, mapped: float, seconds: float, drums: bool = True) -> MidiSong:
    """24 bars played at ``bpm``, each onset off by about ``seconds``, in a file that says another.

    So a program writes down what it heard: all notes at their times under a tempo that it made up.
    """
    rng = np.random.default_rng(round(bpm))
    tracks = []
    for channel, notes in _parts(24).items():
        if channel == 9 and not drums:
            continue
        off = rng.normal(0, seconds * mapped * 8, len(notes))
        played = (
            Note(
                max(0, round(start * mapped / bpm + late)), pitch, round(length * mapped / bpm), 80
            )
            for (start, pitch, length), late in zip(notes, off, strict=True)
        )
        tracks.append(Track("", channel, 0, without_overlaps(played), channel == 9))
    return MidiSong((Tempo(0, mapped),), (TimeSignature(0, 4, 4),), (), tuple(tracks))


class TestTempo:
    @pytest.mark.parametrize("mapped", [120.0, 100.0])
    @pytest.mark.parametrize("bpm", [55, 60, 66, 72, 80, 84, 88, 90, 96, 105, 125, 140, 160])
    def test_a_map_that_nobody_played_to_is_seen(self, bpm: float, mapped: float) -> None:
        found = aligned(_played(bpm, mapped, 0.01), metre_known=True)
        assert found is not None
        tracks, tempo = found
        assert tempo == pytest.approx(bpm, rel=0.01)
        assert 1 + max(note.start for track in tracks for note in track.notes) // 1920 == 24
        snares = [note for track in tracks if track.is_drums for note in track.notes]
        places = {round(note.start / 120) % 16 for note in snares if note.pitch == 38}
        assert places == {4, 12}

    @pytest.mark.parametrize("drums", [True, False])
    @pytest.mark.parametrize("seconds", [0, 0.004, 0.012])
    @pytest.mark.parametrize("bpm", [60, 80, 100, 120, 132])
    def test_a_map_that_somebody_played_to_is_kept(
        self, bpm: float, seconds: float, drums: bool
    ) -> None:
        song = _played(bpm, bpm, seconds, drums)
        found = aligned(song, metre_known=True)
        assert found is not None
        assert found[1] == pytest.approx(bpm, rel=0.01)
        places = [note.start for track in found[0] for note in track.notes]
        given = [note.start for track in song.tracks for note in track.notes]
        assert np.abs(np.array(places) - given).max() < 24

    def test_a_tempo_that_is_said_twice_is_no_change(self) -> None:
        song = _played(80, 120, 0.01)
        song = replace(song, tempi=(*song.tempi, Tempo(1920, 120.0)))
        found = aligned(song, metre_known=True)
        assert found is not None
        assert found[1] == pytest.approx(80, rel=0.01)

    def test_drums_by_their_name_tell_the_beat(self, tmp_path: Path) -> None:
        parts = {
            10 if one.channel == 9 else one.channel: [
                (note.start, note.pitch, note.duration) for note in one.notes
            ]
            for one in _played(60, 120, 0.01).tracks
        }
        song = hear(_file(tmp_path / "a.mid", parts, names={10: "Drums"}), "")
        assert song.drums is not None
        assert song.drums.tempo == pytest.approx(60, rel=0.01)

    def test_a_map_with_changes_is_somebodys(self) -> None:
        song = _played(80, 120, 0.01)
        song = replace(song, tempi=(*song.tempi, Tempo(1920, 118.0)))
        found = aligned(song, metre_known=True)
        assert found is not None
        assert found[1] == pytest.approx(118, rel=0.01)
