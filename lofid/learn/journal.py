"""What a run leaves to look at: its loss log and its scalars for TensorBoard.

The log is one JSON object a line, one line a step. A run that goes on from a checkpoint takes back
what was logged after it, so the log is always that of one uninterrupted run.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from torch.utils.tensorboard import SummaryWriter

from lofid.errors import LofidError
from lofid.files import replacing

LOSS_LOG = "loss.jsonl"
TENSORBOARD = "tensorboard"
_SCALARS_EVERY = 10  # steps


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """One step: its loss in nats an event token, the rate, and tokens seen so far.

    Where it was measured also the loss on the choosing half: the mean over styles in nats a note,
    all of it in nats an event token, and each style's in nats a note.
    """

    step: int
    tokens: int
    train: float
    rate: float
    held_out: float | None = None
    held_out_per_token: float | None = None
    styles: dict[str, float] | None = None


class Journal:
    """The log of the run in ``out``, of which ``step`` steps are done. Use it as a context."""

    def __init__(self, out: Path, step: int) -> None:
        path = out / LOSS_LOG
        lines = path.read_text().splitlines() if path.exists() else []
        with replacing(path) as temporary:
            temporary.write_text("".join(f"{line}\n" for line in _until(lines, step)))
        self._log = path.open("a", buffering=1)
        self._board = SummaryWriter(str(out / TENSORBOARD), purge_step=step + 1)
        self._since = (time.monotonic(), step)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._log.close()
            self._board.close()
        except OSError as failed:
            if error is None:
                raise self._unwritable(failed) from failed

    def add(self, progress: TrainingProgress, tokens_per_step: int) -> None:
        """Append a step; raises :class:`LofidError` where it cannot be written."""
        try:
            self._add(progress, tokens_per_step)
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> LofidError:
        return LofidError(
            f"The loss log {self._log.name} could not be written ({error.strerror}); make room "
            "there, and the same command goes on from the last checkpoint."
        )

    def _add(self, progress: TrainingProgress, tokens_per_step: int) -> None:
        line = {name: value for name, value in asdict(progress).items() if value is not None}
        self._log.write(json.dumps(line) + "\n")
        if progress.step % _SCALARS_EVERY == 0 or progress.held_out is not None:
            moment, before = self._since
            self._since = (time.monotonic(), progress.step)
            speed = (progress.step - before) * tokens_per_step / (self._since[0] - moment)
            scalars = {
                "loss/train": progress.train,
                "loss/held_out": progress.held_out,
                "loss/held_out_per_token": progress.held_out_per_token,
                **{f"styles/{name}": loss for name, loss in (progress.styles or {}).items()},
                "rate": progress.rate,
                "tokens_per_second": speed,
            }
            for name, value in scalars.items():
                if value is not None:
                    self._board.add_scalar(name, value, progress.step)


def _until(lines: list[str], step: int) -> Iterator[str]:
    """The lines of the first ``step`` steps; the last one may have been cut off."""
    for line in lines:
        try:
            if int(json.loads(line)["step"]) > step:
                return
        except (ValueError, KeyError, TypeError):
            return
        yield line
