"""The conductor: songs, their form, and the plan of every bar.

A song has a key, a tempo and two chord loops, A and B. Its stretches (intro, A, B, break, outro)
are made of whole passes of a loop; layers are taken away and brought back between passes. Songs
follow each other without end. Everything here is a pure function of settings, seed and place.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

import numpy as np

from lofid.compose.chance import Stream, generator
from lofid.music.chords import Chord, Key
from lofid.music.notes import Part
from lofid.music.parameters import DrumStyle, Settings
from lofid.music.plan import BarPlan, Section
from lofid.music.progressions import Progression, progressions

PHRASE = 8
"""Bars after which a fill may come."""

_PRACTICE_WEIGHT = 4.0
"""How much likelier a loop of lo-fi practice is chosen than one derived from data."""

_MOST_MELODY = 0.65
"""Largest share of passes with melody: at least three bars in ten stay without."""

_Item = TypeVar("_Item")


class LoopName(StrEnum):
    """The two loops of a song."""

    A = "A"
    B = "B"


@dataclass(frozen=True, slots=True)
class Stretch:
    """A section of a song: so many passes of one of its loops."""

    section: Section
    loop: LoopName
    passes: int


@dataclass(frozen=True, slots=True)
class Song:
    """What a song decides once.

    ``tempo_place`` is -1 to 1 within the preset's tempo range; with ``breaks`` layers are taken
    away for a while.
    """

    number: int
    key: Key
    tempo_place: float
    a: Progression
    b: Progression
    stretches: tuple[Stretch, ...]
    breaks: bool

    def loop(self, name: LoopName) -> Progression:
        """The progression of a loop."""
        return self.a if name is LoopName.A else self.b

    @property
    def bars(self) -> int:
        """Length of the song in bars."""
        return sum(stretch.passes * len(self.loop(stretch.loop).bars) for stretch in self.stretches)


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a song a bar is: its stretch, the pass of the loop, the bar within the loop."""

    stretch_number: int
    stretch: Stretch
    turn: int
    slot: int
    loop_bars: int

    @property
    def bar_in_section(self) -> int:
        """Bars since the stretch began."""
        return self.turn * self.loop_bars + self.slot

    @property
    def opens_stretch(self) -> bool:
        """Whether this is a stretch's first bar."""
        return self.bar_in_section == 0

    @property
    def closes_phrase(self) -> bool:
        """Whether this is the eighth of eight bars."""
        return self.bar_in_section % PHRASE == PHRASE - 1

    @property
    def closes_loop(self) -> bool:
        """Whether this is the last bar of a pass."""
        return self.slot == self.loop_bars - 1

    @property
    def closes_stretch(self) -> bool:
        """Whether this is a stretch's last bar."""
        return self.closes_loop and self.turn == self.stretch.passes - 1


def compose_song(settings: Settings, seed: int, number: int, previous: Key | None) -> Song:
    """Choose a song; its key differs from the previous one where the settings leave a choice."""
    rng = generator(seed, Stream.SONG, number)
    keys = [key for key in settings.music.keys if key != previous] or list(settings.music.keys)
    key = _pick(rng, keys)
    tempo_place = float(rng.uniform(-1, 1))
    a = _choose_loop(settings, key, rng, None)
    b = _choose_loop(settings, key, rng, a)
    stretches = _stretches(settings, a, b)
    return Song(number, key, tempo_place, a, b, stretches, settings.form.breaks)


def locate(song: Song, bar: int) -> Place:
    """The place of a bar (0 to ``song.bars`` - 1) in the song."""
    for number, stretch in enumerate(song.stretches):
        loop_bars = len(song.loop(stretch.loop).bars)
        length = stretch.passes * loop_bars
        if bar < length:
            turn, slot = divmod(bar, loop_bars)
            return Place(number, stretch, turn, slot, loop_bars)
        bar -= length
    raise IndexError(f"the song has {song.bars} bars")


def plan_bar(settings: Settings, seed: int, song: Song, place: Place, index: int) -> BarPlan:
    """The plan of one bar; ``index`` counts the station's bars from 0."""
    music, groove = settings.music, settings.groove
    section = place.stretch.section
    chords = song.loop(place.stretch.loop).bars[place.slot]
    parts = _layers(settings, seed, song, place)
    tempo = music.tempo + round(song.tempo_place * music.tempo_spread)
    arc = {Section.B: 0.08, Section.INTRO: -0.1, Section.BREAK: -0.12, Section.OUTRO: -0.12}
    lift = arc.get(section, 0.0)
    return BarPlan(
        index=index,
        tempo=float(np.clip(tempo, 60, 100)),
        key=song.key,
        chords=tuple(chord.transposed(song.key.transposition) for chord in chords),
        section=section,
        bar_in_section=place.bar_in_section,
        density=float(np.clip(music.density + lift, 0, 1)),
        energy=float(np.clip(music.energy + lift, 0, 1)),
        register=music.register,
        melody=music.melody if Part.MELODY in parts else 0.0,
        swing=groove.swing,
        parts=parts,
        fill=Part.DRUMS in parts and _asks_fill(settings, seed, place, index),
        drum_density=float(np.clip(groove.drum_density + lift, 0, 1)),
        broken=music.broken,
        following=_following(song, place).transposed(song.key.transposition),
        drum_style=None if groove.style is DrumStyle.ANY else groove.style.value,
    )


def _following(song: Song, place: Place) -> Chord:
    """The chord after a bar, in the home key; a song's last bar looks back to its loop's first."""
    name, slot = place.stretch.loop, (place.slot + 1) % place.loop_bars
    if place.closes_stretch and place.stretch_number + 1 < len(song.stretches):
        name = song.stretches[place.stretch_number + 1].loop
    return song.loop(name).bars[slot][0]


def _pick(rng: np.random.Generator, items: list[_Item]) -> _Item:
    return items[int(rng.integers(len(items)))]


def _choose_loop(
    settings: Settings, key: Key, rng: np.random.Generator, other: Progression | None
) -> Progression:
    """A progression of the key's mode and the settings' moods, other than ``other``."""
    borrowing = bool(rng.random() < settings.music.borrowed)
    of_mode = [loop for loop in progressions() if loop.mode is key.mode and loop != other]
    of_mood = [loop for loop in of_mode if loop.moods & set(settings.music.moods)] or of_mode
    fitting = [loop for loop in of_mood if loop.is_borrowing == borrowing] or of_mood
    weights = np.array([_PRACTICE_WEIGHT if x.source == "practice" else 1.0 for x in fitting])
    return fitting[int(rng.choice(len(fitting), p=weights / weights.sum()))]


def _stretches(settings: Settings, a: Progression, b: Progression) -> tuple[Stretch, ...]:
    form = settings.form

    def stretch(section: Section, loop: LoopName, bars: int) -> Stretch:
        length = len((a if loop is LoopName.A else b).bars)
        return Stretch(section, loop, max(1, round(bars / length)))

    stretches = [stretch(Section.INTRO, LoopName.A, PHRASE // 2)] if form.intro else []
    for number in range(form.sections):
        if form.breaks and number >= 2 and number % 2 == 0:
            stretches.append(stretch(Section.BREAK, LoopName.A, PHRASE // 2))
        section, loop = ((Section.A, LoopName.A), (Section.B, LoopName.B))[number % 2]
        stretches.append(stretch(section, loop, form.section_bars))
    return (*stretches, stretch(Section.OUTRO, LoopName.A, PHRASE // 2))


def _layers(settings: Settings, seed: int, song: Song, place: Place) -> frozenset[Part]:
    """Who plays in this pass: layers come and go, but somebody always plays."""
    section = place.stretch.section
    wanted = {Part.KEYS}
    if section in (Section.A, Section.B):
        wanted |= {Part.DRUMS, Part.BASS}
        first = place.stretch_number <= 1 and section is Section.A and place.turn == 0
        has_intro = song.stretches[0].section is Section.INTRO
        if first and has_intro and place.stretch.passes > 2:
            wanted -= {Part.BASS}
        # One pass in the middle of a section thins out.
        if song.breaks and place.stretch.passes >= 4:
            middle = place.stretch.passes // 2
            rng = generator(seed, Stream.SONG, song.number, attempt=1 + place.stretch_number)
            gone = _pick(rng, [Part.DRUMS, Part.BASS, Part.BASS])
            if place.turn == middle:
                wanted -= {gone}
        share = settings.music.melody and 0.25 + (_MOST_MELODY - 0.25) * settings.music.melody
        if int((place.turn + 1) * share + 0.5) > int(place.turn * share + 0.5):
            wanted |= {Part.MELODY}
    present = wanted & set(settings.music.parts)
    return frozenset(present or settings.music.parts)


def _asks_fill(settings: Settings, seed: int, place: Place, index: int) -> bool:
    """Fills come at the end of eight bars, and more surely at the end of a section."""
    if not (place.closes_stretch or place.closes_phrase):
        return False
    chance = settings.groove.fills * (2.0 if place.closes_stretch else 1.0)
    return bool(generator(seed, Stream.VARIATION, index, attempt=1).random() < chance)
