"""The plan of a bar in the players' own terms: what the headers of their bars ask for."""

import numpy as np

from lofid.music.plan import BarPlan
from lofid.tokens import drums, keys
from lofid.tokens.controls import BinnedField

_MELODY_NOTES = (1.0, 3.0)
"""Melody notes a bar at the dial's two ends: lo-fi's are sparse."""

_FEWEST_HITS = 6.0
"""Kick, backbeat and a few hats; asked for fewer, a bar that must have them runs over."""


def dialled(dial: float, field: BinnedField) -> float:
    """The physical value of a dial (0 to 1) on a field: its edges, evenly spaced on the dial."""
    return float(np.interp(dial, np.linspace(0, 1, len(field.edges)), field.edges))


def drum_hits(dial: float) -> float:
    """Hits a bar for a dial of drum density, from the few that a groove can be made of."""
    return max(dialled(dial, drums.DENSITY), _FEWEST_HITS)


def melody_notes(dial: float) -> float:
    """Melody notes a bar for a dial of melody: none at 0."""
    return float(np.interp(dial, (0, 1), _MELODY_NOTES)) if dial else 0.0


def keys_header(plan: BarPlan) -> list[int]:
    """The header tokens of a bar of keys, in the home key."""
    shift = plan.key.transposition
    return keys.encode_header(
        keys.KeysHeader(
            tempo=plan.tempo,
            style=None,
            chords=tuple(chord.transposed(-shift) for chord in plan.chords),
            density=dialled(plan.density, keys.DENSITY),
            energy=dialled(plan.energy, keys.ENERGY),
            register=plan.register - shift,
            melody=melody_notes(plan.melody),
        )
    )


def drums_header(plan: BarPlan) -> list[int]:
    """The header tokens of a bar of drums."""
    return drums.encode_header(
        drums.DrumsHeader(
            tempo=plan.tempo,
            style=plan.drum_style,
            density=drum_hits(plan.drum_density),
            energy=dialled(plan.energy, drums.ENERGY),
            fill=plan.fill,
        )
    )
