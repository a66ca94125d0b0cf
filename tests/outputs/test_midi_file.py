"""MIDI files that are written while the music plays."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

import mido
import numpy as np
import pytest

from lofid.errors import LofidError
from lofid.music.chords import Chord, Key
from lofid.music.midi import read_midi
from lofid.music.notes import Note, Part
from lofid.music.parameters import Settings
from lofid.music.plan import BarPlan, Section
from lofid.outputs import BarLine, Block, MidiEvent, open_output
from lofid.outputs.messages import MidiStatus
from lofid.outputs.midi_file import MidiFileOutput

FRAMES = 512


def plan(index: int, tempo: float) -> BarPlan:
    section = Section.A if index < 2 else Section.B
    return BarPlan(
        index, tempo, Key.parse("Eb"), (Chord.parse("Ebmaj7"),), section, index % 2,
        0.5, 0.5, 60, 0.5, 58, frozenset(Part),
    )  # fmt: skip


def stream(tempi: list[float], begin: int = 2000) -> Iterator[Block]:
    """Bars with a keys note on every quarter, a bass note on the line and a kick ahead of it."""
    lengths = [60 * 4 * 48_000 / tempo for tempo in tempi]
    starts = [begin, *(begin + n for n in accumulate(lengths))]
    lines = [BarLine(round(starts[n]), plan(n, tempo)) for n, tempo in enumerate(tempi)]
    events = []
    for start, length in zip(starts, lengths, strict=False):
        beats = [round(start + beat * length / 4) for beat in range(4)]
        for beat, at in enumerate(beats):
            pitch = (60 + beat,)
            events.append(MidiEvent(at, MidiStatus.NOTE_ON, (*pitch, 80), Part.KEYS))
            events.append(
                MidiEvent(round(at + length / 8), MidiStatus.NOTE_OFF, (*pitch, 0), Part.KEYS)
            )
        events.append(MidiEvent(beats[0], MidiStatus.NOTE_ON, (40, 90), Part.BASS))
        events.append(MidiEvent(round(start + length), MidiStatus.NOTE_OFF, (40, 0), Part.BASS))
        early = round(start - length / 96)
        events.append(MidiEvent(early, MidiStatus.NOTE_ON, (36, 100), Part.DRUMS))
        events.append(MidiEvent(early + 900, MidiStatus.NOTE_OFF, (36, 0), Part.DRUMS))
        events.append(MidiEvent(round(start), MidiStatus.CLOCK))
    events.sort(key=lambda event: event.frame)
    audio = np.zeros((FRAMES, 2), np.float32)
    for frame in range(0, round(starts[-1]) + FRAMES, FRAMES):
        end = frame + FRAMES
        yield Block(
            frame,
            audio,
            tuple(event for event in events if frame <= event.frame < end),
            tuple(line for line in lines if frame <= line.frame < end),
        )


def written(path: Path, tempi: list[float], settings: Settings | None = None) -> MidiFileOutput:
    output = MidiFileOutput(path)
    output.adopt(settings or Settings())
    output.open()
    for block in stream(tempi):
        output.write(block)
    output.close()
    return output


def test_bars_lie_on_the_grid_at_their_tempi(tmp_path: Path) -> None:
    tempi = [80.0, 80.0, 77.3, 91.0]
    written(tmp_path / "take.mid", tempi)
    song = read_midi(tmp_path / "take.mid")
    assert [tempo.tick for tempo in song.tempi] == [0, 3840, 5760]
    assert [tempo.bpm for tempo in song.tempi] == pytest.approx([80, 77.3, 91], rel=1e-5)
    assert [key.key.symbol for key in song.keys] == ["Eb"]
    tracks = {track.channel: track for track in song.tracks}
    assert {channel: track.program for channel, track in tracks.items()} == {0: 4, 2: 32, 9: 32}
    keys = [Note(480 * beat, 60 + beat % 4, 240, 80) for beat in range(16)]
    assert list(tracks[0].notes) == keys
    assert [note.start for note in tracks[2].notes] == [0, 1920, 3840, 5760]
    # What lies ahead of the first bar line begins on it.
    assert [note.start for note in tracks[9].notes] == [0, 1900, 3819, 5743]


def test_mido_finds_names_markers_and_one_end(tmp_path: Path) -> None:
    written(tmp_path / "take.mid", [80.0] * 4)
    file = mido.MidiFile(tmp_path / "take.mid")
    assert (file.type, len(file.tracks), file.ticks_per_beat) == (0, 1, 480)
    messages = list(file.tracks[0])
    named = [message.name for message in messages if message.type == "instrument_name"]
    assert named == ["keys", "melody", "bass", "drums"]
    assert [message.text for message in messages if message.type == "marker"] == ["A", "B"]
    assert [message.type for message in messages].count("end_of_track") == 1
    assert messages[-1].type == "end_of_track"
    assert "clock" not in {message.type for message in messages}


def test_every_part_is_there_whatever_its_port(tmp_path: Path) -> None:
    settings = Settings().with_value("midi.keys_port", "synth").with_value("midi.clock", True)
    written(tmp_path / "take.mid", [80.0], settings.with_value("midi.keys_channel", 5))
    assert {track.channel for track in read_midi(tmp_path / "take.mid").tracks} == {4, 2, 9}


def test_at_every_write_the_file_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lengths: list[int] = []
    write = os.pwrite

    def watched(file: int, content: bytes, at: int) -> int:
        done = write(file, content, at)
        if path.exists():
            shutil.copy(path, tmp_path / "now.mid")
            song = read_midi(tmp_path / "now.mid")
            lengths.append(len(song.tracks[0].notes))
        return done

    path = tmp_path / "take.mid"
    monkeypatch.setattr(os, "pwrite", watched)
    written(path, [80.0] * 6)
    assert lengths == sorted(lengths)
    assert set(range(4, 28, 4)) >= set(lengths) >= {8, 24}


WRITE = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_midi_file import MidiFileOutput, stream
output = MidiFileOutput(Path(sys.argv[1]))
output.open()
for block in stream([80.0] * 200):
    if block.lines:
        print(block.lines[0].plan.index, flush=True)
    output.write(block)
"""


def test_what_sounded_survives_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "take.mid"
    process = subprocess.Popen(
        [sys.executable, "-c", WRITE, str(path), str(Path(__file__).parent)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line == b"9\n":
            process.send_signal(signal.SIGKILL)
    process.communicate()
    (track,) = (track for track in read_midi(path).tracks if track.channel == 0)
    assert len(track.notes) % 4 == 0
    assert len(track.notes) >= 8 * 4


def test_a_halt_keeps_the_tempo(tmp_path: Path) -> None:
    output = MidiFileOutput(tmp_path / "take.mid")
    output.open()
    audio = np.zeros((FRAMES, 2), np.float32)
    lines = {0: plan(0, 80.0), 281 * FRAMES: plan(1, 80.0), 1124 * FRAMES: plan(2, 80.0)}
    for frame in range(0, 1500 * FRAMES, FRAMES):
        here = (BarLine(frame, lines[frame]),) if frame in lines else ()
        strike = MidiEvent(frame, MidiStatus.NOTE_ON, (60, 80), Part.KEYS)
        output.write(Block(frame, audio, (strike,) if here else (), here))
    output.close()
    song = read_midi(tmp_path / "take.mid")
    # The first bar was 281 blocks, 0.1 % short; the second was held for two bars.
    assert [round(tempo.bpm, 2) for tempo in song.tempi] == [80.07, 80.0]
    assert [round(note.start / 1920, 2) for note in song.tracks[0].notes] == [0, 1, 4.0]


def test_silence_ends_notes(tmp_path: Path) -> None:
    output = MidiFileOutput(tmp_path / "take.mid")
    output.open()
    audio = np.zeros((9000, 2), np.float32)
    strike = MidiEvent(0, MidiStatus.NOTE_ON, (60, 80), Part.KEYS)
    output.write(Block(0, audio, (strike,), (BarLine(0, plan(0, 80.0)),)))
    output.silence()
    output.write(Block(9000, audio))
    output.close()
    (track,) = read_midi(tmp_path / "take.mid").tracks
    assert track.notes == (Note(0, 60, 120, 80),)


def test_before_its_first_bar_there_is_no_file(tmp_path: Path) -> None:
    output = MidiFileOutput(tmp_path / "take.mid")
    output.open()
    output.write(Block(0, np.zeros((FRAMES, 2), np.float32)))
    output.abort()
    output.abort()
    assert list(tmp_path.iterdir()) == []


def test_a_recording_without_a_bar_is_an_empty_file(tmp_path: Path) -> None:
    output = MidiFileOutput(tmp_path / "take.mid")
    output.open()
    output.close()
    assert read_midi(tmp_path / "take.mid").tracks == ()


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(LofidError, match="is a folder"):
        MidiFileOutput(tmp_path).open()
    with pytest.raises(LofidError, match="could not be written"):
        MidiFileOutput(tmp_path / "nowhere" / "take.mid").open()


def test_the_ending_chooses(tmp_path: Path) -> None:
    output = open_output(f"file:{tmp_path / 'take.MID'}")
    output.close()
    assert read_midi(tmp_path / "take.MID").tracks == ()
