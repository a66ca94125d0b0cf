"""What the bar vocabularies keep of human playing: every usable 4/4 bar of POP909 and GMD.

Encodes and decodes each bar, checks that nothing beyond the grid is lost, and prints tokens a note
and how far the grid moves notes: python -m bench.run.vocabulary_report --data archives/
"""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from bench.script import run_script
from lofid.learn.archives import open_archive
from lofid.learn.pieces import read_gmd, read_pop909
from lofid.music.notes import DRUM_CLASS, DRUM_PITCH, SIXTEENTH, Note
from lofid.tokens import drums, keys
from lofid.tokens.keys import KeysNotes

Row = dict[str, float]


def _report(
    bars: Iterable[tuple[Sequence[Note], Sequence[Note], int]], fold: Callable[[int], int]
) -> Row:
    """Figures over bars of (notes as played, notes on the grid, event tokens)."""
    count = played_notes = kept_notes = tokens = 0
    moves: list[int] = []
    velocity_moves: list[int] = []
    for played, kept, written in bars:
        count += 1
        played_notes += len(played)
        kept_notes += len(kept)
        tokens += written
        for note in kept:
            near = [other for other in played if fold(other.pitch) == note.pitch]
            if near:
                best = min(near, key=lambda other: abs(other.start - note.start))
                if abs(best.start - note.start) > SIXTEENTH:
                    continue  # its own origin was moved by octaves
                moves.append(abs(best.start - note.start))
                velocity_moves.append(abs(best.velocity - note.velocity))
    return {
        "bars": count,
        "notes": played_notes,
        "tokens_a_note": tokens / kept_notes,
        "notes_merged_percent": 100 * (1 - kept_notes / played_notes),
        "onset_rms_ticks": float(np.sqrt(np.mean(np.square(moves)))),
        "onset_99_percentile_ticks": float(np.percentile(moves, 99)),
        "velocity_rms": float(np.sqrt(np.mean(np.square(velocity_moves)))),
    }


def _keys_bars(data: Path) -> Iterable[tuple[Sequence[Note], Sequence[Note], int]]:
    for song in read_pop909(open_archive(data, "keys_pop909")):
        for bar in song.bars:
            comping = keys.quantised(bar.comping, keys.COMPING)
            melody = keys.quantised(bar.melody, keys.MELODY)
            tokens = keys.encode_notes(KeysNotes(bar.comping, bar.melody))
            if keys.decode_notes(tokens) != KeysNotes(comping, melody):
                raise SystemExit(f"a bar of {song.group} does not come back from its tokens")
            yield [*bar.comping, *bar.melody], [*comping, *melody], len(tokens)


def _drums_bars(data: Path) -> Iterable[tuple[Sequence[Note], Sequence[Note], int]]:
    for take in read_gmd(open_archive(data, "drums_gmd")):
        for bar in take.bars:
            kept = drums.quantised(bar)
            tokens = drums.encode_notes(bar)
            if drums.decode_notes(tokens) != kept:
                raise SystemExit(f"a bar of {take.group} does not come back from its tokens")
            yield bar, kept, len(tokens)


def main(data: Annotated[Path, typer.Option(help="Folder with the archives.")]) -> None:
    """Print the report as JSON."""
    report = {
        "keys": _report(_keys_bars(data), lambda pitch: pitch),
        "drums": _report(_drums_bars(data), lambda pitch: DRUM_PITCH[DRUM_CLASS[pitch]]),
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    run_script("vocabulary_report", main)
