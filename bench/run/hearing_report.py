"""How well keys, chords, beats and melodies are heard: against POP909, which says what they are.

    python -m bench.run.hearing_report --data DIR     # a minute

POP909-CL's chords and keys are people's corrections. For the beats its songs are played anew
without a click: the tempo drifts by up to 8 %, every onset is off by 12 ms (standard deviation).
"""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from bench.script import run_script
from lofid.learn.archives import Archive, open_archive
from lofid.learn.beats import aligned
from lofid.learn.estimate import estimate_chords, estimate_keys, profiles
from lofid.learn.hearing import top_line
from lofid.learn.pieces import half_bar_chords
from lofid.music.chords import Chord, Key
from lofid.music.midi import MidiSong, Tempo, TimeSignature, Track
from lofid.music.notes import TICKS_PER_BAR, Note

JITTER, DRIFT, MOST_DRIFT = 0.012, 0.004, 0.08
CLOSE = 60  # ticks


@dataclass(frozen=True, slots=True)
class Labelled:
    """A song as POP909-CL has it, and the original's parts."""

    notes: tuple[Note, ...]
    chords: list[Chord | None]
    keys: list[Key]
    parts: dict[str, tuple[Note, ...]]


def songs(archive: Archive, every: int) -> Iterator[Labelled]:
    """The 4/4 songs whose labels lofid learns from."""
    rows = [row for row in archive.rows if row["cl_time_signature"] == "4/4"]
    for row in rows[::every]:
        labelled = archive.song(f"POP909_CL/{row['id']}.mid")
        if len(labelled.tracks) != 2 or not labelled.keys:
            continue
        notes, chord_notes = (track.notes for track in labelled.tracks)
        bars = 1 + max(note.start for note in notes) // TICKS_PER_BAR
        ticks = [signature.tick for signature in labelled.keys]
        keys = [
            labelled.keys[max(bisect_right(ticks, bar * TICKS_PER_BAR) - 1, 0)].key
            for bar in range(bars)
        ]
        original = archive.song(row["file"])
        parts = {track.name: track.notes for track in original.tracks}
        yield Labelled(notes, half_bar_chords(chord_notes, 2 * bars), keys, parts)


def played_freely(notes: tuple[Note, ...], rng: np.random.Generator) -> tuple[MidiSong, float]:
    """The song without a click at 960 ticks a second, and the tempo of its median beat."""
    beats = max(note.start + note.duration for note in notes) // 480 + 2
    drift = np.clip(np.cumsum(rng.normal(0, DRIFT, beats)), -MOST_DRIFT, MOST_DRIFT)
    lengths = 60 / rng.uniform(62, 112) * np.exp(drift)
    times = 1.3 + np.concatenate([[0.0], np.cumsum(lengths)])
    played = []
    for note in notes:
        places = np.array([note.start, note.start + note.duration]) / 480
        begin, end = np.interp(places, np.arange(len(times)), times)
        begin = max(0.0, begin + rng.normal(0, JITTER))
        length = max(1, round((end - begin) * 960))
        played.append(Note(round(begin * 960), note.pitch, length, note.velocity))
    # The order of the original, so that each note can be found again.
    track = Track("", 0, 0, tuple(played))
    tempo = float(60 / np.median(lengths[:-2]))
    return MidiSong((Tempo(0, 120.0),), (TimeSignature(0, 4, 4),), (), (track,)), tempo


def main(
    data: Annotated[Path, typer.Option(help="Folder with the archives.")],
    every: Annotated[int, typer.Option(min=1, help="Take every n-th song.")] = 6,
) -> None:
    """Print the figures."""
    rng = np.random.default_rng(0)
    root: list[bool] = []
    exact: list[bool] = []
    key: list[bool] = []
    home: list[bool] = []
    refused: list[bool] = []
    tempo_right: list[bool] = []
    beats: list[bool] = []
    bars: list[bool] = []
    found, called, there = 0, 0, 0
    for song in songs(open_archive(data, "keys_pop909"), every):
        sounding, bass = profiles(song.notes, len(song.chords))
        keys = estimate_keys(sounding)
        chords = estimate_chords(sounding, bass, keys)
        pairs = [(a, b) for a, b in zip(song.chords, chords, strict=True) if a and b]
        root += [a.root == b.root for a, b in pairs]
        exact += [a == b for a, b in pairs]
        key += [a == b for a, b in zip(song.keys, keys, strict=True)]
        home += [a.transposition == b.transposition for a, b in zip(song.keys, keys, strict=True)]

        free, tempo = played_freely(song.notes, rng)
        heard = aligned(free, metre_known=False)
        refused.append(heard is None)
        if heard is not None:
            right = abs(heard[1] / tempo - 1) < 0.06
            tempo_right.append(right)
            if right:
                # Nothing begins before the first bar line, so every note is still there, in order.
                moved = [note.start for track in heard[0] for note in track.notes]
                off = np.array(moved) - [note.start for note in song.notes]
                for line, hits in ((480, beats), (TICKS_PER_BAR, bars)):
                    near = np.abs((off + line / 2) % line - line / 2) < CLOSE
                    hits.append(bool(near.mean() > 0.9))

        melody = set(song.parts.get("MELODY", ()))
        _, line_on_top = top_line(sorted(melody | set(song.parts.get("PIANO", ()))))
        found += len(melody & set(line_on_top))
        called, there = called + len(line_on_top), there + len(melody)

    def share(hits: list[bool]) -> str:
        return f"{np.mean(hits):6.1%} of {len(hits)}"

    print(f"chord's root               {share(root)} half bars")
    print(f"chord as labelled          {share(exact)} half bars")
    print(f"key                        {share(key)} bars")
    print(f"key but for its relative   {share(home)} bars (the home key is the same)")
    print(f"played freely: refused     {share(refused)} songs")
    print(f"  tempo within 6 %         {share(tempo_right)} songs")
    print(f"  of these, beats          {share(beats)} songs")
    print(f"  of these, bar lines      {share(bars)} songs")
    print(f"melody on top: precision   {found / called:6.1%}, recall {found / there:.1%} of notes")


if __name__ == "__main__":
    run_script("hearing_report", main)
