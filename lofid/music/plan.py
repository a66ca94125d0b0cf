"""The bar plan: what the conductor asks of the players and the arranger for one bar."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from lofid.music.chords import Chord, Key
from lofid.music.notes import Note, Part


class Section(StrEnum):
    """The sections of a song."""

    INTRO = "intro"
    A = "A"
    B = "B"
    BREAK = "break"
    OUTRO = "outro"


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
    ``following`` is the chord that the next bar begins with, where that is known.
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


@dataclass(frozen=True, slots=True)
class Bar:
    """One written bar: its plan and, for each part that plays, its notes in order of time."""

    plan: BarPlan
    notes: Mapping[Part, tuple[Note, ...]] = field(default_factory=lambda: MappingProxyType({}))
