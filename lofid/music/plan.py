"""The bar plan: what the conductor asks of the players and the arranger for one bar."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from lofid.music.chords import Chord, Key
from lofid.music.notes import Note, Part
from lofid.music.parameters import BassInstrument, Instrument, Kit


class Section(StrEnum):
    """The sections of a song."""

    INTRO = "intro"
    A = "A"
    B = "B"
    BREAK = "break"
    OUTRO = "outro"


@dataclass(frozen=True, slots=True)
class Face:
    """What a song drew for itself of how it sounds.

    One instrument for each part, and how worn its tape is and how loud its texture: factors on the
    settings of ``[sound]`` with these names, within 0.25 and 4.
    """

    keys: Instrument
    melody: Instrument
    bass: BassInstrument
    kit: Kit
    low_pass: float = 1.0
    wow: float = 1.0
    vinyl: float = 1.0
    reverb: float = 1.0


@dataclass(frozen=True, slots=True)
class Ride:
    """Where something stands at a bar's line and at its end; it moves evenly in between."""

    begin: float
    end: float


LEVEL = Ride(0.0, 0.0)
"""A fader that is left alone, in dB."""


@dataclass(frozen=True, slots=True)
class Automation:
    """What is done to the sound over a bar, as by the hands at a mixing desk.

    ``low_pass`` is a low-pass over all parts in Hz (it moves by equal intervals), None for none;
    ``level`` is that of all parts, ``texture`` that of vinyl and rain, in dB. ``tape_stop``: the
    tape slows to a halt over the bar. ``needle``: it is set down on the record at the bar's line.
    """

    low_pass: Ride | None = None
    level: Ride = LEVEL
    texture: Ride = LEVEL
    tape_stop: bool = False
    needle: bool = False


class CompingFigure(StrEnum):
    """What the hands make of the rhythm that was written for the chords of a bar.

    ``push`` strikes the next bar's chord on the "and" of four, ``answer`` strikes the upper voices
    once more in the longest gap, ``split`` lets the lowest voice go ahead of the others, ``thin``
    leaves the last chord out, ``turn`` leads to the next chord by a step of the top voice.
    """

    WRITTEN = "written"
    PUSH = "push"
    ANSWER = "answer"
    SPLIT = "split"
    THIN = "thin"
    TURN = "turn"


class Timekeeper(StrEnum):
    """What plays the hits that were written for the closed hat."""

    HAT = "hat"
    RIDE = "ride"


@dataclass(frozen=True, slots=True)
class Beat:
    """How the kit plays what was written for a bar.

    ``rim``: the backbeat is struck on the rim; ``clap``: hands clap with it; ``half_time``: it lies
    on three alone. ``open_hat`` is the sixteenth on which a hat stands open, None for none;
    ``pedal``: the foot closes the hat on two and four. ``kicks`` are the sixteenths of the song's
    own kicks, None for those that were written; ``kick`` is False where it rests. ``ghosts``: how
    many ghost notes the snare has, 0 to 1. ``stop`` is the tick from which the kit rests, None for
    none; ``crash``: one on the first beat.
    """

    timekeeper: Timekeeper = Timekeeper.HAT
    rim: bool = False
    clap: bool = False
    half_time: bool = False
    open_hat: int | None = None
    pedal: bool = False
    kicks: tuple[int, ...] | None = None
    kick: bool = True
    ghosts: float = 0.0
    stop: int | None = None
    crash: bool = False


@dataclass(frozen=True, slots=True)
class BarPlan:
    """What is asked for one bar.

    ``tempo`` in BPM; ``chords`` one or two, in the sounding key, each taking an equal share of
    the bar; ``density`` and ``energy`` are dials from 0 (the sparsest, softest bins of
    the vocabularies' headers) to 1 (the densest, hardest); ``melody`` likewise, where 0 means none;
    ``register`` is the wanted mean pitch of the keys (MIDI number); ``swing`` the share of an
    eighth note, in percent, that the first of its two sixteenths takes (50 is straight, 66.7 a
    triplet); ``parts`` who plays at all; ``fill`` asks the drums for a fill; ``drum_density`` is
    the drums' own dial of density, ``drum_style`` a style of their vocabulary or None for any;
    ``broken`` says how much the chords may be broken: 0 struck together, 1 as the models like;
    ``following`` is the chord that the next bar begins with, where that is known; ``face`` says
    what plays, where the settings leave a choice; ``automation`` what is done to the sound.
    ``figure``, ``pedal`` (0 as long as written, 1 until the next chord) and ``beat`` are for the
    arranger, so is ``lift``, a factor on all velocities; ``rootless``: the chords leave the root to
    a bass, which plays or will; ``final`` marks the bars of a song's last chord, which no model
    writes.
    """

    index: int
    tempo: float
    key: Key
    chords: tuple[Chord, ...]
    section: Section
    bar_in_section: int
    density: float
    energy: float
    register: float
    melody: float
    swing: float
    parts: frozenset[Part]
    fill: bool = False
    drum_density: float = 0.5
    drum_style: str | None = None
    broken: float = 1.0
    following: Chord | None = None
    face: Face | None = None
    automation: Automation = Automation()
    figure: CompingFigure = CompingFigure.WRITTEN
    pedal: float = 0.0
    rootless: bool = False
    beat: Beat = Beat()
    lift: float = 1.0
    final: bool = False


@dataclass(frozen=True, slots=True)
class Bar:
    """One written bar: its plan and, for each part that plays, its notes in order of time."""

    plan: BarPlan
    notes: Mapping[Part, tuple[Note, ...]] = field(default_factory=lambda: MappingProxyType({}))
