"""The output that goes nowhere: for measuring, and for trying out."""

from lofid.errors import LofidError
from lofid.outputs.output import Block, Output


class NullOutput(Output):
    """Counts frames and forgets them."""

    def __init__(self) -> None:
        self.frames = 0

    def open(self) -> None:
        """Nothing to get ready."""

    def write(self, block: Block) -> None:
        """Count the block's frames."""
        self.frames += len(block.audio)

    def close(self) -> None:
        """Nothing to let go of."""

    def abort(self) -> None:
        """Nothing to let go of."""


def make(argument: str | None) -> NullOutput:
    """The null output; it takes no argument."""
    if argument is not None:
        raise LofidError(f"The output 'null' takes no argument; leave ':{argument}' out.")
    return NullOutput()
