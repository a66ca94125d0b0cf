"""Control tokens: the header fields that open a bar and say what is asked of it.

A field quantises a physical value (BPM, notes a bar, mean velocity) into bins, or names one of a
few choices. Each field also has an *unspecified* token: training puts it in at random, so that a
model can be asked for any subset of the fields.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

UNSPECIFIED = "any"


@dataclass(frozen=True, slots=True)
class BinnedField:
    """A number in bins: value ``v`` falls into bin ``i`` when ``edges[i-1] <= v < edges[i]``."""

    name: str
    unit: str
    edges: tuple[float, ...]

    @property
    def members(self) -> Sequence[str]:
        """Token names: unspecified, then one a bin, named after its lower edge."""
        return (UNSPECIFIED, "low", *(f"from {edge:g}" for edge in self.edges))

    def member(self, value: float | None) -> int:
        """Index of the token for a value, 0 for unspecified."""
        return 0 if value is None else 1 + bisect_right(self.edges, value)


@dataclass(frozen=True, slots=True)
class ChoiceField:
    """One of a few names."""

    name: str
    choices: tuple[str, ...]

    @property
    def members(self) -> Sequence[str]:
        """Token names: unspecified, then the choices."""
        return (UNSPECIFIED, *self.choices)

    def member(self, value: str | None) -> int:
        """Index of the token for a choice, 0 for unspecified; ValueError for an unknown one."""
        return 0 if value is None else 1 + self.choices.index(value)
