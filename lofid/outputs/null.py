"""The output that throws the music away: for measuring, and for trying a preset's plan."""

from lofid.outputs import Audio


class NullOutput:
    """Takes everything and keeps nothing."""

    keeps_time = False

    def __init__(self, _argument: str = "") -> None:
        self.frames = 0

    def write(self, audio: Audio) -> None:
        """Count the frames."""
        self.frames += len(audio)

    def close(self) -> None:
        """Nothing to end."""

    def abort(self) -> None:
        """Nothing to end."""
