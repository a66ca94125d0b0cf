"""Human playing as bars, so that it is measured by the same functions as ours.

Keys and melody from POP909 (in the home key, under their labelled chords), drums from the Groove
MIDI Dataset (GMD).
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from lofid.learn.archives import Archive, open_archive
from lofid.learn.pieces import KeysPiece, held_out, read_gmd, read_pop909
from lofid.music.chords import Chord, Key, Mode, Quality
from lofid.music.notes import Part
from lofid.music.plan import Bar, BarPlan, Section

GROOVE_STYLES = ("hiphop", "funk", "soul")
GROOVE_TEMPI = (60.0, 110.0)
"""The takes that lo-fi is compared with: groove styles, at most a little faster than lo-fi."""

GROOVE_VELOCITY_DEVIATION = 37.6
"""Standard deviation of the velocities of :func:`groove_bars` (100 takes, 3,489 bars)."""

_HOME = Key(0, Mode.MAJOR)


def _plan(index: int, tempo: float, chords: tuple[Chord, ...], parts: frozenset[Part]) -> BarPlan:
    """What is known of a human bar; nobody planned its dials, which stay in the middle."""
    return BarPlan(
        index=index,
        tempo=tempo,
        key=_HOME,
        chords=chords,
        section=Section.A,
        bar_in_section=index,
        density=0.5,
        energy=0.5,
        register=60.0,
        melody=0.5,
        swing=50.0,
        parts=parts,
    )


def _split(archive: Archive, name: str, *, held: bool) -> Archive:
    """The archive with only its held-out, or only its training pieces."""
    rows = [row for row in archive.rows if held_out(f"{name}:{row['group']}") is held]
    return replace(archive, rows=rows)


def keys_pieces(data: Path, *, held: bool, every: int = 1) -> Iterator[KeysPiece]:
    """POP909's 4/4 songs of the held-out or the training part, every n-th of them.

    Raises :class:`LofidError` where the archive is missing or damaged.
    """
    archive = _split(open_archive(data, "keys_pop909"), "pop909", held=held)
    yield from read_pop909(replace(archive, rows=archive.rows[::every]))


def keys_bars(piece: KeysPiece) -> list[Bar]:
    """A song's bars with keys and melody; bars without a chord label are left out."""
    bars: list[Bar] = []
    for index, bar in enumerate(piece.bars):
        first, second = bar.chords
        if first is None or second is None:
            continue
        chords = (first,) if first == second else (first, second)
        parts = frozenset({Part.KEYS, Part.MELODY})
        plan = _plan(index, piece.tempo or 80.0, chords, parts)
        bars.append(Bar(plan, {Part.KEYS: bar.comping, Part.MELODY: bar.melody}))
    return bars


def groove_bars(data: Path) -> list[list[Bar]]:
    """GMD's takes in groove styles at slow tempi, fills left out, each a list of bars.

    A take's first and last bar are often incomplete and are left out too.
    """
    chords = (Chord(0, Quality.MAJOR),)
    takes: list[list[Bar]] = []
    for piece in read_gmd(open_archive(data, "drums_gmd")):
        slow = GROOVE_TEMPI[0] <= piece.tempo <= GROOVE_TEMPI[1]
        if piece.fill or not slow or piece.style not in GROOVE_STYLES:
            continue
        takes.append(
            [
                Bar(_plan(index, piece.tempo, chords, frozenset({Part.DRUMS})), {Part.DRUMS: hits})
                for index, hits in enumerate(piece.bars[1:-1])
            ]
        )
    return takes
