"""What measures lofid from outside: benches, long runs, attacks, the check of the GPU kernels.

For whoever works on lofid; no part of what is installed, and nothing of lofid may import it. What
can be run is in :mod:`bench.run`; ``make`` lists the usual ones::

    python -m bench.run.soak --hours 2
"""

import os
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
"""The root of the repository."""


def environment() -> Mapping[str, str]:
    """Ours, for a child that runs a module of this package."""
    return {**os.environ, "PYTHONPATH": str(ROOT)}
