"""Pieces become the token stream that a model trains on.

A pass over the data is one long stream of whole bars, header included; which variant of a piece
it holds (extended harmony, another lead sheet's chords, octave, tempo, loudness, what the header
tells) is drawn anew each pass from the seed. The two held-out streams are drawn once and tell every
header field.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.random import Generator, Philox
from numpy.typing import NDArray

from lofid.learn import pieces
from lofid.learn.archives import open_archive
from lofid.learn.harmony import extended, reharmonised
from lofid.learn.pieces import DrumsPiece, KeysBar, KeysPiece, LeadSheet, held_out, is_reported
from lofid.music.chords import Chord
from lofid.music.notes import (
    DRUM_CLASS,
    DRUM_PITCH,
    SIXTEENTH,
    TICKS_PER_BAR,
    DrumClass,
    Note,
)
from lofid.tokens import drums, keys
from lofid.tokens.drums import DrumsHeader
from lofid.tokens.keys import KeysHeader, KeysNotes
from lofid.tokens.vocabulary import Vocabulary

DROP_FIELD, DROP_ALL = 0.15, 0.07
"""How often a header leaves out one field, or all of them."""
TOUCH = 4
"""How far a key's velocity is moved in training, each note by itself."""
WANTED = 2.0
"""How much more often than others pieces are drawn that are rare and lofid's own kind."""
LOOP_BARS = 16
"""Chord loops are repeated to this length."""

KEYS_SOURCES: tuple[str, ...] = (
    "keys_pop909",
    "leadsheets_openewld",
    "chords_free_midi",
    "lofi_magenta_player",
)
DRUMS_SOURCES: tuple[str, ...] = ("drums_gmd", "drums_stickflow")
"""The data sets of each player's corpus, as :mod:`lofid.learn.sources` names them."""

ON_GRID = "on the grid"
"""The style that spans of unplayed patterns have: they say nothing of how well drums are played."""

Header = TypeVar("Header", KeysHeader, DrumsHeader)


@dataclass(frozen=True, slots=True)
class Span:
    """A piece within a stream: what it is, and how many tokens and notes it has there."""

    group: str
    style: str
    tokens: int
    notes: int


@dataclass(frozen=True, slots=True)
class TokenStream:
    """Token ids, which of them are events (the loss counts these, not the header), and its pieces.

    ``spans`` follow each other from the first token on; a stream may come without them.
    """

    tokens: NDArray[np.int16]
    is_event: NDArray[np.bool_]
    notes: int
    spans: tuple[Span, ...] = ()


@dataclass(frozen=True, slots=True)
class Corpus:
    """A player's data: ``stream(pass_number)`` draws one pass of training, the rest is held out.

    ``choosing`` may choose steps and settings; ``reported`` has no say in anything.
    """

    vocabulary: Vocabulary
    stream: Callable[[int], TokenStream]
    choosing: TokenStream
    reported: TokenStream
    sources: tuple[str, ...]


class SplitPart(StrEnum):
    """Of a data set: what is learned from, and the two halves of what is held out."""

    TRAINING = "training"
    CHOOSING = "choosing"
    REPORTED = "reported"

    @classmethod
    def of(cls, group: str, is_held_out: Callable[[str], bool] = held_out) -> "SplitPart":
        """That of a group of pieces, by its name alone."""
        if not is_held_out(group):
            return cls.TRAINING
        return cls.REPORTED if is_reported(group) else cls.CHOOSING


def _order(
    styles: Sequence[str],
    sizes: Sequence[int],
    balance: float,
    rng: Generator,
    wanted: Sequence[bool] = (),
) -> list[int]:
    """The pieces of one pass, in a random order.

    With ``balance`` 0 each piece comes once. Otherwise as many are drawn with replacement, a piece
    with a chance proportional to (1 / share of its style) ** ``balance``, where a style's share is
    that of all bars (``sizes``); at 1 every style gives as many bars as any other. Pieces that are
    ``wanted`` come twice as often.
    """
    if balance == 0:
        return [int(index) for index in rng.permutation(len(styles))]
    bars: dict[str, int] = {}
    for style, size in zip(styles, sizes, strict=True):
        bars[style] = bars.get(style, 0) + size
    chances = np.array([bars[style] ** -balance for style in styles])
    if wanted:
        chances *= np.where(wanted, WANTED, 1.0)
    drawn = rng.choice(len(styles), size=len(styles), p=chances / chances.sum())
    return [int(index) for index in drawn]


class _Writer:
    """Collects bars into a stream."""

    def __init__(self) -> None:
        self._tokens: list[int] = []
        self._is_event: list[bool] = []
        self._notes = 0
        self._spans: list[Span] = []

    def begin(self, group: str, style: str) -> None:
        """What is added from here on is another piece."""
        self._spans.append(Span(group, style, 0, 0))

    def add(self, header: list[int], events: list[int], notes: int) -> None:
        self._tokens += header + events
        self._is_event += [False] * len(header) + [True] * len(events)
        self._notes += notes
        if self._spans:
            span = self._spans[-1]
            self._spans[-1] = replace(
                span,
                tokens=span.tokens + len(header) + len(events),
                notes=span.notes + notes,
            )

    def stream(self) -> TokenStream:
        return TokenStream(
            np.array(self._tokens, np.int16),
            np.array(self._is_event, np.bool_),
            self._notes,
            tuple(self._spans),
        )


def _dropped(header: Header, rng: Generator) -> Header:
    """The header with some fields left out, for a model that can be asked for any subset."""
    names = [item.name for item in fields(header)]
    drop_all = rng.random() < DROP_ALL
    gone = [name for name in names if drop_all or rng.random() < DROP_FIELD]
    left_out: dict[str, Any] = {name: () if name == "chords" else None for name in gone}
    return replace(header, **left_out)


def _mean(values: Iterable[int]) -> float | None:
    found = list(values)
    return sum(found) / len(found) if found else None


# --- keys ---------------------------------------------------------------------------------------


def _set_to(
    notes: Sequence[Note],
    source: tuple[Chord | None, Chord | None],
    target: tuple[Chord, Chord],
) -> tuple[Note, ...]:
    """A bar's comping over other chords; where the source is unlabelled the notes stay."""
    half = TICKS_PER_BAR // 2
    if source[0] == source[1] and target[0] == target[1]:
        segments = [(list(notes), source[0], target[0])]
    else:
        segments = [
            ([note for note in notes if (note.start >= half) == bool(index)], old, new)
            for index, (old, new) in enumerate(zip(source, target, strict=True))
        ]
    return tuple(
        sorted(
            moved
            for part, old, new in segments
            for moved in (reharmonised(part, old, new) if old is not None else part)
        )
    )


def _extended_bar(bar: KeysBar, seventh: float, ninth: float, rng: Generator) -> KeysBar:
    """The bar with its triads extended, each with the given chances."""
    choices: dict[Chord, Chord] = {}
    for chord in bar.chords:
        if chord is not None and chord not in choices:
            grown = extended(chord, rng.random() < ninth)
            choices[chord] = grown if rng.random() < seventh else chord
    first, second = (chord and choices[chord] for chord in bar.chords)
    goal = (first or second, second or first)
    if goal[0] is None or goal[1] is None:
        return bar
    comping = _set_to(bar.comping, bar.chords, (goal[0], goal[1]))
    return replace(bar, chords=(first, second), comping=comping)


def _melody_choice(bar: KeysBar, choice: float) -> tuple[Note, ...]:
    """Which line sounds above the comping: none, the voice, the fills, or both in turn."""
    match choice:
        case _ if choice < 0.35:
            return ()
        case _ if choice < 0.65:
            return bar.melody
        case _ if choice < 0.85:
            return bar.bridge
        case _:
            return bar.melody or bar.bridge


def _pop_variant(piece: KeysPiece, rng: Generator) -> Iterator[KeysBar]:
    """A song as it is or with extended chords, with one of its lines as melody."""
    seventh = 0.9 if rng.random() < 0.65 else 0.0
    choice = rng.random()
    centre = _mean(note.pitch for bar in piece.bars for note in bar.comping) or 60
    octave = 0
    if rng.random() < 0.2 and not 55 <= centre <= 62:
        octave = 12 if centre < 55 else -12
    for bar in piece.bars:
        grown = _extended_bar(bar, seventh, 0.4, rng) if seventh else bar
        comping = tuple(replace(note, pitch=note.pitch + octave) for note in grown.comping)
        yield replace(grown, comping=comping, melody=_melody_choice(grown, choice))


def _sheet_variant(
    sheet: LeadSheet, donors: Sequence[KeysPiece], rng: Generator
) -> tuple[float | None, Iterator[KeysBar]]:
    """A lead sheet or chord loop, comped with the hands of a song from POP909."""
    donor = donors[int(rng.integers(len(donors)))]
    first = int(rng.integers(len(donor.bars)))
    with_melody = rng.random() < 0.7
    loudness = [note.velocity for bar in donor.bars for note in bar.melody] or [80]
    count = len(sheet.chords)
    repeats = 1 if any(sheet.melody) else -(-LOOP_BARS // count)
    grown = {
        chord: extended(chord, rng.random() < 0.4) if rng.random() < 0.8 else chord
        for chord in dict.fromkeys(chord for bar in sheet.chords for chord in bar)
    }

    def bars() -> Iterator[KeysBar]:
        sung = 0
        for index in range(count * repeats):
            source = donor.bars[(first + index) % len(donor.bars)]
            if None in source.chords:
                continue
            a, b = (grown[chord] for chord in sheet.chords[index % count])
            melody = []
            for note in sheet.melody[index % count] if with_melody else ():
                melody.append(replace(note, velocity=loudness[sung % len(loudness)]))
                sung += 1
            yield KeysBar((a, b), _set_to(source.comping, source.chords, (a, b)), tuple(melody))

    return donor.tempo, bars()


def _write_keys(
    writer: _Writer,
    style: str | None,
    tempo: float | None,
    bars: Iterable[KeysBar],
    rng: Generator,
    tell_all: bool,
) -> None:
    stretched = tempo and tempo * rng.uniform(0.94, 1.06)
    louder = int(rng.integers(-8, 9))

    def struck(note: Note) -> Note:
        touch = 0 if tell_all else int(rng.integers(-TOUCH, TOUCH + 1))
        return replace(note, velocity=min(max(note.velocity + louder + touch, 1), 127))

    for bar in bars:
        comping, melody = (
            keys.quantised(map(struck, part), compass)
            for part, compass in ((bar.comping, keys.COMPING), (bar.melody, keys.MELODY))
        )
        chords = tuple(dict.fromkeys(chord for chord in bar.chords if chord is not None))
        header = KeysHeader(
            tempo=stretched,
            style=style,
            chords=chords,
            density=len(comping),
            energy=_mean(note.velocity for note in comping),
            register=_mean(note.pitch for note in comping),
            melody=len(melody),
        )
        told = header if tell_all else _dropped(header, rng)
        events = keys.encode_notes(KeysNotes(comping, melody))
        writer.add(keys.encode_header(told), events, len(comping) + len(melody))


def keys_stream(piece: KeysPiece, rng: Generator, tell_all: bool) -> TokenStream:
    """One piece alone, as it is but for tempo and loudness.

    Its style is left open, as the station leaves it; its other fields too, now and then, unless
    ``tell_all``.
    """
    writer = _Writer()
    _write_keys(writer, None, piece.tempo, piece.bars, rng, tell_all)
    return writer.stream()


def keys_corpus(data: Path, seed: int, balance: float = 0.0) -> Corpus:
    """POP909 plain and with extended chords, OpenEWLD and free-midi chords, Magenta's loops.

    ``balance`` (0 to 1) is how far rare styles are oversampled in training.

    Raises :class:`LofidError` for a missing or damaged archive.
    """
    songs = list(pieces.read_pop909(open_archive(data, "keys_pop909")))
    sheets = [
        *(("jazz", sheet) for sheet in _sheets(data, "leadsheets_openewld")),
        *(("loop", sheet) for sheet in _sheets(data, "chords_free_midi")),
    ]
    loops = list(pieces.read_loops(open_archive(data, "lofi_magenta_player")))

    def draw(part: SplitPart, number: int) -> TokenStream:
        writer, held = _Writer(), part is not SplitPart.TRAINING
        donors = [song for song in songs if SplitPart.of(song.group) is part]
        jobs: list[tuple[str, KeysPiece | LeadSheet]] = [
            *(("pop", song) for song in donors),
            *((style, sheet) for style, sheet in sheets if SplitPart.of(sheet.group) is part),
            *(("loop", loop) for loop in loops if SplitPart.of(loop.group) is part),
        ]
        rng = Generator(Philox(key=[seed, number]))
        styles, sizes = [style for style, _ in jobs], [_bar_count(piece) for _, piece in jobs]
        for index in _order(styles, sizes, 0.0 if held else balance, rng):
            style, piece = jobs[index]
            if held:
                writer.begin(piece.group, style)
            if isinstance(piece, LeadSheet):
                tempo, bars = _sheet_variant(piece, donors, rng)
            else:
                tempo, bars = piece.tempo, _pop_variant(piece, rng)
            _write_keys(writer, style, tempo, bars, rng, held)
        return writer.stream()

    return Corpus(
        keys.VOCABULARY,
        lambda number: draw(SplitPart.TRAINING, 1 + number),
        draw(SplitPart.CHOOSING, 0),
        draw(SplitPart.REPORTED, 0),
        KEYS_SOURCES,
    )


def _bar_count(piece: KeysPiece | LeadSheet) -> int:
    if isinstance(piece, KeysPiece):
        return len(piece.bars)
    return len(piece.chords) if any(piece.melody) else max(LOOP_BARS, len(piece.chords))


def _sheets(data: Path, name: str) -> list[LeadSheet]:
    read = pieces.read_openewld if name == "leadsheets_openewld" else pieces.read_progressions
    return list(read(open_archive(data, name)))


# --- drums --------------------------------------------------------------------------------------


class _Feel:
    """How a drummer's take leaves the grid: late or early, and louder or softer than its mean."""

    def __init__(self, take: DrumsPiece) -> None:
        self._found: dict[tuple[int, DrumClass], list[tuple[int, int]]] = {}
        loud = _mean(note.velocity for bar in take.bars for note in bar) or 0
        for note in (note for bar in take.bars for note in bar):
            place = round(note.start / SIXTEENTH)
            lean = note.start - place * SIXTEENTH, round(note.velocity - loud)
            self._found.setdefault((place % 4, DRUM_CLASS[note.pitch]), []).append(lean)

    def played(self, note: Note, rng: Generator) -> Note:
        """A hit on the grid as that drummer plays one of its drum on such a sixteenth."""
        kin = self._found.get((round(note.start / SIXTEENTH) % 4, DRUM_CLASS[note.pitch]))
        if not kin:
            return note
        later, louder = kin[int(rng.integers(len(kin)))]
        return replace(
            note, start=note.start + later, velocity=min(max(note.velocity + louder // 2, 1), 127)
        )


def _drums_variant(
    piece: DrumsPiece, rng: Generator, drummers: Sequence[DrumsPiece] = ()
) -> Iterator[tuple[Note, ...]]:
    """A take as another drummer might play it on another kit.

    Perhaps with hat and ride or the toms exchanged, without one of the hats, toms or cymbals,
    softer or leaning on the beat, as a whole and each drum by itself; and every hit a little
    otherwise. A full accent stays one. What is on the grid mostly takes the feel of one of the
    ``drummers``.
    """
    played = {drum: drum for drum in DrumClass}
    if rng.random() < 0.15:
        played |= {DrumClass.CLOSED_HAT: DrumClass.RIDE, DrumClass.RIDE: DrumClass.CLOSED_HAT}
    if rng.random() < 0.3:
        toms = (DrumClass.LOW_TOM, DrumClass.MID_TOM, DrumClass.HIGH_TOM)
        played |= {tom: toms[place] for tom, place in zip(toms, rng.permutation(3), strict=True)}
    if rng.random() < 0.3:
        del played[DrumClass(int(rng.integers(DrumClass.OPEN_HAT, len(DrumClass))))]
    loudness, leans = np.ones(len(DrumClass)), np.zeros(len(DrumClass), int)
    if rng.random() < 0.5:
        loudness *= rng.uniform(0.8, 1.15)
    if rng.random() < 0.5:
        leans += rng.integers(-8, 9)
    if rng.random() < 0.5:
        loudness *= rng.uniform(0.8, 1.2, len(DrumClass))
        leans += rng.integers(-6, 7, len(DrumClass))
    feel = None
    if piece.on_grid and drummers and rng.random() < 0.75:
        feel = _Feel(drummers[int(rng.integers(len(drummers)))])
    for bar in piece.bars:
        hits = []
        jitter = rng.integers((-3, -5), (4, 6), (len(bar), 2)).tolist()
        for note, (later, louder) in zip(bar, jitter, strict=True):
            drum = DRUM_CLASS[note.pitch]
            if drum not in played:
                continue
            hit = note if feel is None else feel.played(note, rng)
            velocity = hit.velocity
            if velocity < drums.ACCENT:
                velocity = round(velocity * loudness[drum]) + louder
                velocity = min(max(velocity, 1), drums.ACCENT - 1)
            start = hit.start + int(leans[drum]) + later
            hits.append(Note(start, DRUM_PITCH[played[drum]], note.duration, velocity))
        yield tuple(hits)


def _write_drums(
    writer: _Writer,
    piece: DrumsPiece,
    bars: Iterable[tuple[Note, ...]],
    rng: Generator,
    tell_all: bool,
) -> None:
    tempo = piece.tempo * (rng.uniform(0.94, 1.06) if tell_all else rng.uniform(0.9, 1.11))
    for bar in bars:
        hits = drums.quantised(bar)
        header = DrumsHeader(
            tempo=tempo,
            style=piece.style,
            density=len(hits),
            energy=_mean(note.velocity for note in hits),
            fill=piece.fill,
        )
        told = header if tell_all else _dropped(header, rng)
        writer.add(drums.encode_header(told), drums.encode_notes(hits), len(hits))


def drums_stream(piece: DrumsPiece, rng: Generator, tell_all: bool) -> TokenStream:
    """One take alone, varied as in training unless ``tell_all``, its fields told as there."""
    writer = _Writer()
    bars = piece.bars if tell_all else _drums_variant(piece, rng)
    _write_drums(writer, piece, bars, rng, tell_all)
    return writer.stream()


def drums_corpus(data: Path, seed: int, balance: float = 0.0) -> Corpus:
    """The Groove MIDI Dataset and StickFlow's patterns; ``balance`` as of the keys.

    Raises :class:`LofidError` for a missing or damaged archive.
    """
    takes = [
        *pieces.read_gmd(open_archive(data, "drums_gmd")),
        *pieces.read_stickflow(open_archive(data, "drums_stickflow")),
    ]

    def draw(part: SplitPart, number: int) -> TokenStream:
        writer, held = _Writer(), part is not SplitPart.TRAINING
        chosen = [take for take in takes if SplitPart.of(take.group) is part]
        drummers = [take for take in chosen if not take.on_grid and not take.fill]
        rng = Generator(Philox(key=[seed, number]))
        styles, sizes = [take.style for take in chosen], [len(take.bars) for take in chosen]
        wanted = [take.is_wanted for take in chosen]
        for index in _order(styles, sizes, 0.0 if held else balance, rng, wanted):
            take = chosen[index]
            if held:
                writer.begin(take.group, ON_GRID if take.on_grid else take.style)
            bars = take.bars if held else _drums_variant(take, rng, drummers)
            _write_drums(writer, take, bars, rng, held)
        return writer.stream()

    return Corpus(
        drums.VOCABULARY,
        lambda number: draw(SplitPart.TRAINING, 1 + number),
        draw(SplitPart.CHOOSING, 0),
        draw(SplitPart.REPORTED, 0),
        DRUMS_SOURCES,
    )
