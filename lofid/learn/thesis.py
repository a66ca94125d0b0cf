"""The thesis' way with data: whole pieces as notes and waits, a tenth of the pieces held out.

Keys are the piano files of POP909 and the folk tunes of Ceol Rince, drums those of the Groove MIDI
Dataset and StickFlow, each as it was played: no transposition, no bars, no headers. A pass holds
every piece once, in an order drawn from the seed. The thesis gives its share of held-out pieces no
rule that we know of; ours goes by the hash of a piece's group, so that versions of one song stay on
the same side.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.random import Generator, Philox

from lofid.learn.archives import open_archive
from lofid.learn.configs import PlayerName
from lofid.learn.sequences import DRUMS_SOURCES, Corpus, SplitPart, TokenStream
from lofid.music.midi import MidiSong
from lofid.tokens import thesis
from lofid.tokens.thesis import TimedNote

HELD_OUT_PERCENT = 10
SOURCES: dict[PlayerName, tuple[str, ...]] = {
    PlayerName.KEYS: ("keys_pop909", "folk_ceol_rince"),
    PlayerName.DRUMS: DRUMS_SOURCES,
}


def held_out(group: str) -> bool:
    """Whether a group of pieces belongs to the held-out tenth."""
    digest = hashlib.sha256(f"lofid-thesis-split-1:{group}".encode()).hexdigest()
    return int(digest[:8], 16) % 100 < HELD_OUT_PERCENT


def _hits(song: MidiSong) -> tuple[TimedNote, ...]:
    """All notes of a drums' file in seconds, by their pitch in the General MIDI kit."""
    return tuple(
        sorted(
            TimedNote(
                song.seconds(note.start),
                note.pitch,
                song.seconds(note.start + note.duration) - song.seconds(note.start),
                note.velocity,
            )
            for track in song.tracks
            for note in track.notes
        )
    )


def _pieces(player: PlayerName, data: Path) -> Iterator[tuple[str, list[int], int]]:
    """Group, tokens and number of notes of every piece."""
    for name in SOURCES[player]:
        archive = open_archive(data, name)
        for row in archive.rows:
            song = archive.song(row["file"])
            notes = _hits(song) if player is PlayerName.DRUMS else thesis.from_song(song)
            if notes:
                yield f"{name}:{row['group']}", thesis.encode(notes), len(notes)


def thesis_corpus(player: PlayerName, data: Path, seed: int) -> Corpus:
    """A player's data in the thesis' tokens; every token but the start counts in the loss.

    Raises :class:`LofidError` for a missing or damaged archive.
    """
    pieces = list(_pieces(player, data))

    def draw(part: SplitPart, number: int) -> TokenStream:
        chosen = [piece for piece in pieces if SplitPart.of(piece[0], held_out) is part]
        order = Generator(Philox(key=[seed, number])).permutation(len(chosen))
        tokens = np.concatenate([np.array(chosen[index][1], np.int16) for index in order])
        return TokenStream(tokens, tokens != thesis.START, sum(piece[2] for piece in chosen))

    return Corpus(
        thesis.VOCABULARY,
        lambda number: draw(SplitPart.TRAINING, 1 + number),
        draw(SplitPart.CHOOSING, 0),
        draw(SplitPart.REPORTED, 0),
        SOURCES[player],
    )
