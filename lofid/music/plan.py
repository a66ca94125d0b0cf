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


@dataclass(frozen=True, slots=True)
class Bar:
    """One written bar: its plan and, for each part that plays, its notes in order of time."""

    plan: BarPlan
    notes: Mapping[Part, tuple[Note, ...]] = field(default_factory=lambda: MappingProxyType({}))
