"""The conductor: songs, their form, and the plan of every bar.

A song has a key, a tempo, a face and two chord loops, A and B. Its stretches (intro, A, B, break,
outro) are made of whole passes of a loop, in one of several layouts; it ends on its tonic. Songs
follow each other without end, each related to the one before. Everything here is a pure function of
settings, seed and place, and of the number that each song draws for itself.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeVar

import numpy as np

from lofid.compose.chance import RandomStream, generator
from lofid.compose.faces import drawn_face
from lofid.music.chords import Chord, Key, Mode, Quality
from lofid.music.harmony_model import draw_progression
from lofid.music.notes import PPQ, Part
from lofid.music.parameters import DrumStyle, Kit, Mood, Settings
from lofid.music.plan import (
    LEVEL,
    Automation,
    BarPlan,
    Beat,
    CompingFigure,
    Face,
    Ride,
    Section,
    Timekeeper,
)
from lofid.music.progressions import Progression, progressions

PHRASE = 8
"""Bars after which a fill may come."""

_HALF = PHRASE // 2
"""Bars after which something happens."""

ENDING = 2
"""Bars of a song's last chord."""

_PRACTICE_WEIGHT = 4.0
"""How much likelier a loop of lo-fi practice is chosen than one derived from data."""

_FROM_SONGS = 0.4
"""Share of loops that are drawn as songs have them, not taken from the table."""

_DRAWN_BARS = 4
"""Bars of such a loop, as of nearly all in the table."""

_MOST_MELODY = 0.65
"""Largest share of passes with melody: at least three bars in ten stay without."""

_NEAR_TEMPO = 8.0
"""BPM by which a song's tempo may differ from that of the one before."""

_NEAR_KEY = 2
"""Steps on the circle of fifths by which its key may."""

_RITARD = (0.975, 0.94, 0.9)
"""Factors on the tempo: of the bar before a song's last chord, and of the two of that chord."""

_LIFT = {
    Section.INTRO: 0.88,
    Section.A: 0.95,
    Section.B: 1.08,
    Section.BREAK: 0.88,
    Section.OUTRO: 0.88,
}
"""Velocities of the sections: what makes the form heard, where levellers let it."""

_ARC = {Section.B: 0.08, Section.INTRO: -0.1, Section.BREAK: -0.12, Section.OUTRO: -0.12}
"""What a section adds to the dials of density and energy."""

_Item = TypeVar("_Item")


class LoopName(StrEnum):
    """The two loops of a song."""

    A = "A"
    B = "B"


class Layout(StrEnum):
    """How a song is laid out.

    ``arch`` is A B A B, ``verses`` A A' B A; ``vamp`` stays on one loop, of two chords if it can;
    ``slow-opening`` brings in the layers one by one, ``false-ending`` stops before its last
    section, ``half-time`` has a B in half time.
    """

    ARCH = "arch"
    VERSES = "verses"
    VAMP = "vamp"
    SLOW_OPENING = "slow-opening"
    FALSE_ENDING = "false-ending"
    HALF_TIME = "half-time"


class Join(StrEnum):
    """How one song gives way to the next: what is done at the end of the one that draws it."""

    CADENCE = "cadence"
    TAPE_STOP = "tape-stop"
    FADE = "fade"


@dataclass(frozen=True, slots=True)
class Stretch:
    """A section of a song: so many passes of one of its loops.

    ``variant`` counts the times that its loop has been played before it.
    """

    section: Section
    loop: LoopName
    passes: int
    variant: int = 0


@dataclass(frozen=True, slots=True)
class Song:
    """What a song decides once.

    ``tempo_place`` is -1 to 1 within the preset's tempo range; with ``breaks`` layers are taken
    away for a while. ``dice`` is the seed of what the song draws for itself later on, 0 where it
    draws nothing; ``ending`` the number of bars of its last chord.
    """

    number: int
    key: Key
    tempo_place: float
    a: Progression
    b: Progression
    stretches: tuple[Stretch, ...]
    breaks: bool
    layout: Layout = Layout.ARCH
    face: Face | None = None
    dice: int = 0
    ending: int = 0

    def loop(self, name: LoopName) -> Progression:
        """The progression of a loop."""
        return self.a if name is LoopName.A else self.b

    @property
    def bars(self) -> int:
        """Length of the song in bars."""
        loops = (stretch.passes * len(self.loop(stretch.loop).bars) for stretch in self.stretches)
        return sum(loops) + self.ending

    def chance(self, place: int, attempt: int = 0) -> np.random.Generator:
        """The song's own numbers for one of its choices."""
        return generator(self.dice, RandomStream.FORM, place, attempt)


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a song a bar is: its stretch, the pass of the loop, the bar within the loop.

    With ``final`` it is one of the bars of the last chord, which belong to no loop.
    """

    stretch_number: int
    stretch: Stretch
    turn: int
    slot: int
    loop_bars: int
    final: bool = False

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

    @property
    def closes_half(self) -> bool:
        """Whether this is the fourth of four bars."""
        return self.bar_in_section % _HALF == _HALF - 1


def compose_song(settings: Settings, seed: int, number: int, previous: Song | None) -> Song:
    """Choose a song, related to the one before and different from it where there is a choice."""
    rng = generator(seed, RandomStream.SONG, number)
    key = _choose_key(settings, rng, previous)
    tempo_place = _choose_tempo(settings, rng, previous)
    dice = int(rng.integers(2**63))
    layout = _choose_layout(settings, rng, previous)
    a = _choose_loop(settings, key, rng, None, short=layout is Layout.VAMP)
    b = _choose_loop(settings, key, rng, a)
    return Song(
        number,
        key,
        tempo_place,
        a,
        b,
        _stretches(settings, layout, a, b),
        settings.form.breaks,
        layout,
        drawn_face(settings, seed, number, None if previous is None else previous.face),
        dice,
        ENDING,
    )


def locate(song: Song, bar: int) -> Place:
    """The place of a bar (0 to ``song.bars`` - 1) in the song."""
    for number, stretch in enumerate(song.stretches):
        loop_bars = len(song.loop(stretch.loop).bars)
        length = stretch.passes * loop_bars
        if bar < length:
            turn, slot = divmod(bar, loop_bars)
            return Place(number, stretch, turn, slot, loop_bars)
        bar -= length
    if bar < song.ending:
        end = Stretch(Section.OUTRO, LoopName.A, 1)
        return Place(len(song.stretches), end, 0, bar, song.ending, final=True)
    raise IndexError(f"the song has {song.bars} bars")


def plan_bar(settings: Settings, seed: int, song: Song, place: Place, index: int) -> BarPlan:
    """The plan of one bar; ``index`` counts the station's bars from 0."""
    music = settings.music
    section = place.stretch.section
    event = _event(settings, song, place)
    parts = _layers(settings, song, place) - _resting(event, place)
    parts = parts or frozenset(settings.music.parts)
    lift, shift = _ARC.get(section, 0.0), song.key.transposition
    fill = Part.DRUMS in parts and _asks_fill(settings, seed, place, index)
    if fill and event is _Event.STOP:
        event = _Event.NONE
    following = _following(settings, song, place)
    return BarPlan(
        index=index,
        tempo=_tempo(settings, song, place),
        key=song.key,
        chords=tuple(chord.transposed(shift) for chord in chords_of(settings, song, place)),
        section=section,
        bar_in_section=place.bar_in_section,
        density=float(np.clip(music.density + lift, 0, 1)),
        energy=float(np.clip(music.energy + lift, 0, 1)),
        register=_register(settings, song, place),
        melody=music.melody if Part.MELODY in parts else 0.0,
        swing=_swing(settings, song),
        parts=parts,
        fill=fill,
        drum_density=float(np.clip(settings.groove.drum_density + lift, 0, 1)),
        broken=music.broken,
        following=None if following is None else following.transposed(shift),
        drum_style=None if settings.groove.style is DrumStyle.ANY else settings.groove.style.value,
        face=song.face,
        automation=_automation(song, place, event),
        figure=_figure(settings, song, place),
        pedal=music.pedal,
        rootless=Part.BASS in music.parts,
        beat=_beat(settings, song, place, event),
        lift=_LIFT[section],
        final=place.final,
    )


def own_chords(song: Song, place: Place) -> tuple[Chord, ...]:
    """The chords that a bar's loop has there, in the home key."""
    return song.loop(place.stretch.loop).bars[place.slot]


def chords_of(settings: Settings, song: Song, place: Place) -> tuple[Chord, ...]:
    """The chords of a bar, in the home key: its loop's own, or what a variation makes of them."""
    if place.final:
        minor = song.key.mode is Mode.MINOR
        return (Chord(9, Quality.MINOR_9) if minor else Chord(0, Quality.MAJOR_9),)
    own = own_chords(song, place)
    returns = place.stretch.variant and place.stretch.section not in _QUIET
    if not (returns and place.closes_loop and settings.form.variation and song.dice):
        return own
    rng = song.chance(100 + place.stretch_number)
    if rng.random() >= _REHARMONISED or len(song.loop(place.stretch.loop).bars) < 4:
        return own
    goal = song.loop(place.stretch.loop).bars[0][0]
    ways = _turnarounds(goal, jazz=Mood.JAZZ in settings.music.moods)
    return _pick(rng, [way for way in ways if way != own])


_QUIET = (Section.INTRO, Section.BREAK, Section.OUTRO)
_REHARMONISED = 0.65
"""How often a loop that comes back turns round by other chords."""


def _turnarounds(goal: Chord, *, jazz: bool) -> list[tuple[Chord, ...]]:
    """Ways to a chord within a bar: by its second and fifth, by the back door, by a substitute."""

    def on(step: int, quality: Quality) -> Chord:
        return Chord((goal.root + step) % 12, quality)

    minor = goal.quality in (Quality.MINOR_7, Quality.MINOR_9, Quality.MINOR, Quality.MINOR_SIXTH)
    if minor:
        second, fifth = on(2, Quality.HALF_DIMINISHED), on(7, Quality.DOMINANT_7_FLAT_9)
    else:
        second, fifth = on(2, Quality.MINOR_9), on(7, Quality.DOMINANT_13)
    ways: list[tuple[Chord, ...]] = [(second, fifth)]
    if not minor:
        ways.append((on(5, Quality.MINOR_7), on(10, Quality.DOMINANT_9)))
    if jazz:
        ways += [(second, on(1, Quality.DOMINANT_9)), (on(1, Quality.DOMINANT_13),)]
    return ways


def _following(settings: Settings, song: Song, place: Place) -> Chord | None:
    """The chord after a bar, in the home key; None after a song's last."""
    if place.final:
        return None
    if not place.closes_stretch:
        turn, slot = divmod(place.bar_in_section + 1, place.loop_bars)
        return chords_of(settings, song, replace(place, turn=turn, slot=slot))[0]
    number = place.stretch_number + 1
    if number < len(song.stretches):
        return song.loop(song.stretches[number].loop).bars[0][0]
    if song.ending:
        return chords_of(settings, song, replace(place, final=True))[0]
    return song.loop(place.stretch.loop).bars[0][0]


def _pick(rng: np.random.Generator, items: list[_Item]) -> _Item:
    return items[int(rng.integers(len(items)))]


# -- what a song decides once -------------------------------------------------------------------


def _choose_key(settings: Settings, rng: np.random.Generator, previous: Song | None) -> Key:
    """A key other than the one before, near to it where the settings have such."""
    keys = list(settings.music.keys)
    if previous is None:
        return _pick(rng, keys)
    others = [key for key in keys if key != previous.key] or keys
    near = [key for key in others if _fifths(key, previous.key) <= _NEAR_KEY]
    return _pick(rng, near or others)


def _fifths(one: Key, other: Key) -> int:
    """Steps on the circle of fifths between two keys' signatures."""
    steps = 7 * (one.transposition - other.transposition) % 12
    return min(steps, 12 - steps)


def _choose_tempo(settings: Settings, rng: np.random.Generator, previous: Song | None) -> float:
    """A place within the tempo range, as far from the one before as neighbours may be."""
    place = float(rng.uniform(-1, 1))
    spread = settings.music.tempo_spread
    if previous is None or not spread:
        return place
    reach, before = _NEAR_TEMPO / spread, previous.tempo_place
    # Of two places the farther one: an hour shall not stay at one speed.
    places = rng.uniform(max(-1, before - reach), min(1, before + reach), 2)
    return float(max(places, key=lambda one: abs(one - before)))


def _choose_layout(settings: Settings, rng: np.random.Generator, previous: Song | None) -> Layout:
    """A layout other than the one before; always the first where songs do not differ."""
    layouts = [
        layout
        for layout in Layout
        if (previous is None or layout is not previous.layout)
        and (settings.form.intro or layout is not Layout.SLOW_OPENING)
        and (Part.DRUMS in settings.music.parts or layout is not Layout.HALF_TIME)
        and (set(settings.music.parts) - {Part.DRUMS} or layout is not Layout.VAMP)
    ]
    drawn = _pick(rng, layouts)
    return drawn if rng.random() < 2 * settings.form.spread else Layout.ARCH


def _choose_loop(
    settings: Settings,
    key: Key,
    rng: np.random.Generator,
    other: Progression | None,
    *,
    short: bool = False,
) -> Progression:
    """A progression of the key's mode and the settings' moods, other than ``other``.

    Some are drawn as songs have them in such a section, the rest are loops of the table. ``short``
    asks for one of two chords, where there is any.
    """
    borrowing = bool(rng.random() < settings.music.borrowed)
    if not short and rng.random() < _FROM_SONGS:
        section = Section.A if other is None else Section.B
        moods = settings.music.moods
        drawn = draw_progression(key.mode, section, _DRAWN_BARS, rng, moods, borrowing)
        if other is None or drawn.bars != other.bars:
            return drawn
    of_mode = [loop for loop in progressions() if loop.mode is key.mode and loop != other]
    of_mood = [loop for loop in of_mode if loop.moods & set(settings.music.moods)] or of_mode
    fitting = [loop for loop in of_mood if loop.is_borrowing == borrowing] or of_mood
    if short:
        fitting = [loop for loop in fitting if len(set(loop.bars)) == 2] or fitting
    weights = np.array([_PRACTICE_WEIGHT if x.source == "practice" else 1.0 for x in fitting])
    return fitting[int(rng.choice(len(fitting), p=weights / weights.sum()))]


def _stretches(
    settings: Settings, layout: Layout, a: Progression, b: Progression
) -> tuple[Stretch, ...]:
    """The sections of a layout, each of whole passes of its loop."""
    form = settings.form
    stretches: list[Stretch] = []

    def add(section: Section, loop: LoopName, bars: int) -> None:
        length = len((a if loop is LoopName.A else b).bars)
        variant = sum(
            one.loop is loop and one.section in (Section.A, Section.B) for one in stretches
        )
        passes = max(1, int(bars / length + 0.49))  # half a pass is none
        stretches.append(Stretch(section, loop, passes, variant))

    if form.intro:
        add(Section.INTRO, LoopName.A, PHRASE if layout is Layout.SLOW_OPENING else _HALF)
    for number in range(form.sections):
        last = number == form.sections - 1 and number > 0
        is_b = number % 4 == 2 if layout is Layout.VERSES else number % 2 == 1
        is_b = is_b and layout is not Layout.VAMP
        usual = (Section.B, LoopName.B) if is_b else (Section.A, LoopName.A)
        pauses = number >= 2 and number % 2 == (1 if layout is Layout.VERSES else 0)
        pauses = pauses or (last and layout is Layout.FALSE_ENDING)
        short = len(a.bars) <= _HALF and layout is not Layout.SLOW_OPENING
        if form.breaks and pauses and short:
            add(Section.BREAK, LoopName.A, _HALF)
        add(*usual, form.section_bars)
    add(Section.OUTRO, LoopName.A, _HALF)
    return tuple(stretches)


# -- what each bar gets -------------------------------------------------------------------------


def _tempo(settings: Settings, song: Song, place: Place) -> float:
    """The song's tempo; it slows toward the last chord."""
    spread = settings.music.tempo_spread
    tempo = float(np.clip(settings.music.tempo + round(song.tempo_place * spread), 60, 100))
    if place.final:
        return tempo * _RITARD[min(1 + place.slot, 2)]
    last = song.ending and place.closes_stretch and place.stretch.section is Section.OUTRO
    return tempo * _RITARD[0] if last else tempo


def _swing(settings: Settings, song: Song) -> float:
    """The song's swing: a little off what is asked for, straight where that is straight."""
    swing, spread = settings.groove.swing, settings.form.spread
    lean = min(3.0 * spread, swing - 50)
    return float(np.clip(swing + lean * song.chance(1).uniform(-1, 1), 50, 66.7))


def _register(settings: Settings, song: Song, place: Place) -> float:
    """The middle of the chords; B lies elsewhere than A."""
    shift = float(song.chance(2).choice((-4, 3, 4, 5))) if place.stretch.loop is LoopName.B else 0.0
    return float(np.clip(settings.music.register + shift, 52, 68))


def _layers(settings: Settings, song: Song, place: Place) -> frozenset[Part]:
    """Who plays in this pass: layers come and go, but somebody always plays."""
    section, has = place.stretch.section, set(settings.music.parts)
    wanted = {Part.KEYS}
    if place.final:
        wanted = {Part.KEYS, Part.BASS}
    elif section is Section.INTRO and song.layout is Layout.SLOW_OPENING:
        wanted |= (
            {Part.BASS}
            if 2 * place.bar_in_section >= place.stretch.passes * place.loop_bars
            else set()
        )
    elif section in (Section.A, Section.B):
        wanted |= {Part.DRUMS, Part.BASS}
        first = place.stretch_number <= 1 and place.stretch.variant == 0 and section is Section.A
        opened = song.stretches[0].section is Section.INTRO
        if first and opened and place.turn == 0 and place.stretch.passes > 1:
            wanted -= {Part.BASS}
        if place.stretch.section is Section.B or place.stretch.variant or place.turn:
            share = settings.music.melody and 0.25 + (_MOST_MELODY - 0.25) * settings.music.melody
            turn = place.turn + place.stretch.variant
            if int((turn + 1) * share + 0.5) > int(turn * share + 0.5):
                wanted |= {Part.MELODY}
    return frozenset(wanted & has or has)


class _Event(StrEnum):
    """What happens in four bars of a section, so that no eight of them are alike."""

    NONE = "none"
    STOP = "stop"
    NO_KICK = "no kick"
    NO_BASS = "no bass"
    DRUMS_OUT = "drums out"
    FILTER = "filter"


def _event(settings: Settings, song: Song, place: Place) -> _Event:
    """Of every other four bars; none where the layers of the section do not come and go."""
    half = place.bar_in_section // _HALF
    if not song.breaks or place.stretch.section in _QUIET or not half or not song.dice:
        return _Event.NONE
    rng = song.chance(200 + place.stretch_number, half)
    events = [_Event.NONE, _Event.FILTER]
    if Part.DRUMS in settings.music.parts:
        events += [_Event.STOP, _Event.NO_KICK]
        if len(settings.music.parts) > 1:
            events += [_Event.DRUMS_OUT]
    if Part.BASS in settings.music.parts:
        events += [_Event.NO_BASS]
    return _pick(rng, events)


def _resting(event: _Event, place: Place) -> frozenset[Part]:
    """Who rests in a bar for an event of its four."""
    opening = place.bar_in_section % _HALF < _HALF // 2
    if event is _Event.NO_BASS and opening:
        return frozenset({Part.BASS})
    if event is _Event.DRUMS_OUT and place.closes_half:
        return frozenset({Part.DRUMS})
    return frozenset()


_SPARSE = (CompingFigure.WRITTEN, CompingFigure.SPLIT, CompingFigure.THIN, CompingFigure.TURN)
_BUSY = (CompingFigure.WRITTEN, CompingFigure.ANSWER, CompingFigure.SPLIT, CompingFigure.THIN)


def _figure(settings: Settings, song: Song, place: Place) -> CompingFigure:
    """The hands' figure: bars of a loop answer each other, its last one differs in each pass."""
    if not song.dice or place.final:
        return CompingFigure.WRITTEN
    words = _SPARSE if settings.music.density < 0.3 else _BUSY
    order = song.chance(300 + (place.stretch.loop is LoopName.B))
    own = [words[int(number)] for number in order.permutation(len(words))]
    varies = settings.form.variation > 0
    if place.closes_loop and varies:
        turns = [
            CompingFigure.PUSH,
            CompingFigure.ANSWER,
            CompingFigure.TURN,
            CompingFigure.WRITTEN,
        ]
        figure = turns[place.turn % len(turns)]
    else:
        figure = own[
            (place.slot + (place.turn // 2 if place.slot == 2 and varies else 0)) % len(own)
        ]
    if place.closes_stretch and figure is CompingFigure.PUSH:
        return CompingFigure.TURN
    return figure


_KICKS = (3, 6, 7, 8, 10, 11, 14, 15)


def _beat(settings: Settings, song: Song, place: Place, event: _Event) -> Beat:
    """How the kit plays a bar: the song's own voices and kicks, and what happens just now."""
    if not song.dice:
        return Beat(ghosts=settings.groove.ghosts)
    groove, section = settings.groove, place.stretch.section
    is_b = section is Section.B
    rng = song.chance(400)
    kicks = [tuple(sorted(rng.choice(_KICKS, size, replace=False).tolist())) for size in (1, 2, 2)]
    soft = settings.music.energy < 0.35
    jazz = groove.style is DrumStyle.JAZZ
    rims, rides, opens = rng.random(3)
    ride = jazz != (is_b and rides < 0.5)
    closing = place.bar_in_section % 2 == 1
    open_hat = int(rng.choice((6, 10, 14)))
    return Beat(
        timekeeper=Timekeeper.RIDE if ride else Timekeeper.HAT,
        rim=(not is_b and rims < (0.8 if soft else 0.35)) or (soft and rims < 0.3),
        clap=song.face is not None and song.face.kit is Kit.MACHINE and is_b,
        half_time=is_b and song.layout is Layout.HALF_TIME,
        open_hat=open_hat if (closing or opens < 0.3) and settings.music.energy > 0.15 else None,
        pedal=jazz or ride,
        kicks=(kicks[1 + is_b] if closing else kicks[0] if not is_b else kicks[1]),
        kick=not (event is _Event.NO_KICK and place.bar_in_section % _HALF < _HALF // 2),
        ghosts=groove.ghosts,
        stop=2 * PPQ if event is _Event.STOP and place.closes_half else None,
        crash=place.opens_stretch
        and section in (Section.A, Section.B)
        and place.stretch_number > 1
        and settings.music.energy > 0.3,
    )


_FILTERED = 700.0
_OPEN = 12_000.0


def _automation(song: Song, place: Place, event: _Event) -> Automation:
    """What is done to the sound: at the joins of songs as a DJ would, within them now and then."""
    if not song.dice:
        return Automation()
    rng = song.chance(500)
    opening = str(rng.choice(("filter", "filter", "needle", "plain", "swell")))
    join = Join(str(rng.choice([str(one) for one in Join], p=(0.6, 0.2, 0.2))))
    bar = (
        sum(
            stretch.passes * len(song.loop(stretch.loop).bars)
            for stretch in song.stretches[: place.stretch_number]
        )
        + place.bar_in_section
    )
    if place.final:
        return _closing(join, place)
    if bar < _HALF and song.number > 0:
        return _opening(opening, bar)
    if bar == 0:
        return Automation(needle=True, texture=Ride(3.0, 0.0))
    if event is _Event.FILTER and place.closes_half:
        return Automation(low_pass=Ride(_OPEN, 900.0))
    in_break = place.stretch.section is Section.BREAK
    if in_break and song.layout is Layout.FALSE_ENDING and place.closes_stretch:
        return Automation(level=Ride(-3.0, -14.0), texture=Ride(0.0, 3.0))
    return Automation()


def _opening(kind: str, bar: int) -> Automation:
    """The first four bars of a song."""
    if kind == "filter":
        steps = np.geomspace(_FILTERED, _OPEN, _HALF + 1)
        return Automation(low_pass=Ride(float(steps[bar]), float(steps[bar + 1])))
    if kind == "needle" and bar == 0:
        return Automation(needle=True, texture=Ride(4.0, 0.0))
    if kind == "swell" and bar < 2:
        return Automation(level=Ride(-14.0 + 7 * bar, -7.0 + 7 * bar))
    return Automation()


def _closing(join: Join, place: Place) -> Automation:
    """The bars of a song's last chord."""
    if place.slot == 0:
        return Automation(level=Ride(0.0, -8.0)) if join is Join.FADE else Automation()
    if join is Join.TAPE_STOP:
        return Automation(tape_stop=True, texture=Ride(0.0, 3.0))
    start = -8.0 if join is Join.FADE else LEVEL.end
    return Automation(level=Ride(start, start - 14.0), texture=Ride(0.0, 3.0))


def _asks_fill(settings: Settings, seed: int, place: Place, index: int) -> bool:
    """Fills come at the end of eight bars, and more surely at the end of a section."""
    if not (place.closes_stretch or place.closes_phrase):
        return False
    chance = settings.groove.fills * (2.0 if place.closes_stretch else 1.0)
    return bool(generator(seed, RandomStream.VARIATION, index, attempt=1).random() < chance)
