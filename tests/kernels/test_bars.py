"""Kernels may not import the grammar whose phases they know by number."""

from lofid.kernels import bars
from lofid.tokens import grammar


def test_phases_are_the_grammars() -> None:
    def numbered(phases: type[bars.TablePhase] | type[grammar.Phase]) -> dict[str, int]:
        return {phase.name: phase.value for phase in phases}

    assert numbered(bars.TablePhase) == numbered(grammar.Phase)
