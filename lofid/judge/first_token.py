"""A process that loads one model and takes one step. ``python -m lofid.judge.first_token``.

Prints, as JSON, the monotonic time after that step and the bytes of memory that it holds.
"""

import json
import sys
import time
from pathlib import Path

from lofid.rwkv.cpu import CpuEngine, Storage
from lofid.rwkv.packed import is_known
from lofid.rwkv.state import ModelState
from lofid.rwkv.weights import load_model


def main(path: Path, storage: Storage) -> None:
    """Take one step of the model with the CPU engine."""
    engine = CpuEngine.of(load_model(path, known=is_known), storage)
    engine.forward((0,), ModelState.zero(engine.config))
    at = time.monotonic()
    print(json.dumps({"monotonic": at, "memory": _memory()}))


def _memory() -> int | None:
    """Bytes of this process, shared pages divided among those who share them; Linux only."""
    if sys.platform != "linux":
        return None
    rollup = Path("/proc/self/smaps_rollup").read_text("ascii")
    return next(1024 * int(line.split()[1]) for line in rollup.splitlines() if "Pss:" in line)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])  # type: ignore[arg-type]
