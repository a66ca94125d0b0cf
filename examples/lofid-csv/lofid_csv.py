"""The output ``csv:PATH``: every note that begins, as a line of a CSV file."""

import csv
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from lofid.errors import LofidError
from lofid.outputs import SAMPLE_RATE, Block, Output

SYNTAX = "csv:PATH"
DESCRIPTION = "every note as a line of a .csv file"

NOTE_ON = 0x90


class CsvOutput(Output):
    """Writes notes as they come; the file is whole at any moment."""

    comes_back = False  # to open it anew would begin the file anew

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: TextIO | None = None

    def open(self) -> None:
        """Begin the file with its head; raises LofidError where it cannot be written."""
        try:
            self._file = self._path.open("x", encoding="utf-8", newline="")
        except OSError as error:
            raise LofidError(
                f"'{self._path}' cannot be written ({error.strerror}); choose another file."
            ) from None
        csv.writer(self._file).writerow(("seconds", "part", "pitch", "velocity"))

    def write(self, block: Block) -> None:
        """Write the notes that begin within the block."""
        assert self._file is not None
        lines = csv.writer(self._file)
        for event in block.events:
            if event.status == NOTE_ON and event.part is not None and event.data[1] > 0:
                lines.writerow((f"{event.frame / SAMPLE_RATE:.4f}", event.part, *event.data))

    def close(self) -> None:
        """End the file."""
        if self._file is not None:
            self._file.close()

    def abort(self) -> None:
        """End the file, whatever the disk says."""
        with suppress(OSError):
            self.close()


def make(argument: str | None) -> CsvOutput:
    """The output that writes to the file ``argument``."""
    if not argument:
        raise LofidError("The output 'csv' needs a file; write csv:PATH.")
    return CsvOutput(Path(argument).expanduser())
