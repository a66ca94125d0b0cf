"""Small data sets in the layout of the real ones, written by the tests themselves."""

import csv
import json
from collections.abc import Callable, Iterable
from pathlib import Path

import mido
import numpy as np
import pytest


def write_midi(
    path: Path,
    tracks: dict[str, list[tuple[int, int, int, int]]],
    key: str = "",
    channels: dict[str, int] | None = None,
    metas: Iterable[mido.MetaMessage] = (),
) -> None:
    """Tracks of (start, pitch, duration, velocity) at 480 ticks a quarter.

    ``channels`` (0-15) of tracks that are not on the first, ``metas`` of the head.
    """
    midi = mido.MidiFile(ticks_per_beat=480)
    head = mido.MidiTrack(metas)
    if key:
        head.append(mido.MetaMessage("key_signature", key=key))
    midi.tracks.append(head)
    for name, notes in tracks.items():
        events = sorted(
            [(start + duration, 0, pitch, 0) for start, pitch, duration, _ in notes]
            + [(start, 1, pitch, velocity) for start, pitch, _, velocity in notes]
        )
        track = mido.MidiTrack([mido.MetaMessage("track_name", name=name)])
        now, channel = 0, (channels or {}).get(name, 0)
        for tick, _, pitch, velocity in events:
            track.append(
                mido.Message(
                    "note_on", channel=channel, note=pitch, velocity=velocity, time=tick - now
                )
            )
            now = tick
        midi.tracks.append(track)
    path.parent.mkdir(parents=True, exist_ok=True)
    midi.save(path)


def write_index(folder: Path, rows: list[dict[str, object]]) -> None:
    with (folder / "index.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _song(rng: np.random.Generator, bars: int) -> dict[str, list[tuple[int, int, int, int]]]:
    """Triads in G major, broken in eighths, under a melody."""
    piano, melody, chords = [], [], []
    for bar in range(bars):
        root = int(rng.choice([43, 48, 52, 50]))
        third = 3 if root == 52 else 4
        chords += [(bar * 1920, root + step, 1920, 90) for step in (0, third, 7)]
        for eighth in range(8):
            pitch = root + (0, 7, 12, 12 + third)[eighth % 4]
            piano.append((bar * 1920 + eighth * 240, pitch, 240, int(rng.integers(50, 90))))
        melody.append((bar * 1920 + 480, root + 24 + 7, 480, int(rng.integers(80, 110))))
    return {"PIANO": piano, "MELODY": melody, "chords": chords}


@pytest.fixture(scope="session")
def midi_writer() -> Callable[..., None]:
    return write_midi


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all six archives, a few pieces each."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(1)
    rows: list[dict[str, object]] = []
    pop = folder / "keys_pop909"
    for number in range(40):
        song = _song(rng, 8)
        name = f"{number:03d}"
        chords = song.pop("chords")
        shifted: dict[str, list[tuple[int, int, int, int]]] = {
            part: [(start + 40, pitch, length, loud) for start, pitch, length, loud in notes]
            for part, notes in song.items()
        }
        write_midi(pop / f"POP909/{name}/{name}.mid", shifted)
        merged = sorted(song["PIANO"] + song["MELODY"])
        write_midi(pop / f"POP909_CL/{name}.mid", {"piano": merged, "MIDI 01": chords}, "G")
        rows.append(
            {
                "id": name,
                "group": f"song:{66 if number == 39 else number}",  # one in the choosing half
                "file": f"POP909/{name}/{name}.mid",
                "bpm": 80,
                "cl_time_signature": "4/4",
            }
        )
    write_index(pop, rows)

    ewld, rows = folder / "leadsheets_openewld", []
    for number in range(20):
        name = f"ewld{number}"
        write_midi(ewld / f"midi/{name}.mid", {"MELODY": [(0, 65, 480, 80), (1920, 67, 960, 80)]})
        (ewld / "chords").mkdir(exist_ok=True)
        symbols = [[0.0, "F", "major-seventh", None, []], [4.0, "G", "minor-seventh", None, []]]
        (ewld / f"chords/{name}.json").write_text(json.dumps(symbols))
        rows.append(
            {
                "id": name,
                "group": name,
                "file": f"midi/{name}.mid",
                "time_signature": "4/4",
                "tonality": "F major",
            }
        )
    write_index(ewld, rows)

    free, rows = folder / "chords_free_midi", []
    for number in range(20):
        name = f"fmc{number}"
        notes = [
            (bar * 1920, root + step, 1900, 100)
            for bar, root in enumerate((45, 53))
            for step in (0, 3 if bar == 0 else 4, 7)
        ]
        write_midi(free / f"{name}.mid", {"chords": notes})
        rows.append(
            {
                "id": name,
                "group": f"prog:{number}",
                "file": f"{name}.mid",
                "kind": "progression",
                "style": "long",
            }
        )
    write_index(free, rows)

    loops = folder / "lofi_magenta_player"
    write_midi(loops / "loop.mid", {"": [(bar * 1920, 60, 960, 70) for bar in range(8)]})
    write_index(loops, [{"group": "loop", "file": "loop.mid", "role": "chords"}])

    gmd, rows = folder / "drums_gmd", []
    for number in range(40):
        hits = [
            (max(0, step * 240 + int(rng.integers(-20, 21))), pitch, 60, int(rng.integers(20, 128)))
            for step in range(32)
            for pitch in ((42,), (36, 42), (42,), (38, 42))[step % 4]
        ]
        write_midi(gmd / f"midi/{number}.mid", {"drums": hits})
        rows.append(
            {
                "group": f"take:{number}",
                "file": f"midi/{number}.mid",
                "style": "hiphop/x",
                "bpm": 90,
                "beat_type": "beat",
                "time_signature": "4-4",
            }
        )
    write_index(gmd, rows)

    stick = folder / "drums_stickflow"
    write_midi(stick / "groove.mid", {"": [(0, 36, 60, 80), (480, 38, 60, 110)]})
    write_index(
        stick,
        [
            {
                "group": group,
                "file": "groove.mid",
                "category": "groove",
                "bpm": 90,
                "time_signature": "4/4",
                "bars": 1,
            }
            for group in ("g", "g3", "g5")  # one in each part
        ],
    )
    return folder
