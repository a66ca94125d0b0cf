"""A recording: audio and notes, in two files of one name."""

import itertools
import os
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from lofid.outputs import free_spec
from lofid.protocol.messages import Recording


@dataclass(frozen=True, slots=True)
class Tape:
    """The two files of a recording; ``path``, as it was asked for, and ``name`` lack the ending."""

    path: Path
    name: str
    ending: str
    since: float = field(default_factory=time.monotonic)

    @classmethod
    def free(cls, path: Path, ending: str, taken: Collection[str]) -> Self:
        """Two files beside each other of which none is there, nor among the specs ``taken``."""
        numbered = (f"{path.name}-{number}" for number in itertools.count(2))
        for name in itertools.chain([path.name], numbered):
            tape = cls(path, name, ending)
            if all(_is_free(spec, taken) for spec in (tape.audio, tape.midi)):
                return tape
        raise AssertionError("numbers do not end")

    @property
    def audio(self) -> str:
        """The output that is the audio."""
        return f"file:{self.path.with_name(self.name)}.{self.ending}"

    @property
    def midi(self) -> str:
        """The output that is the notes."""
        return f"file:{self.path.with_name(self.name)}.mid"

    def info(self, seconds: float | None = None) -> Recording:
        """What there is to tell; how long it is by now, unless that is given."""
        length = time.monotonic() - self.since if seconds is None else seconds
        audio, midi = (spec.partition(":")[2] for spec in (self.audio, self.midi))
        return Recording(self.name, audio, midi, length)


def _is_free(spec: str, taken: Collection[str]) -> bool:
    """Whether nothing is there, nor will be; a folder of that name would keep one of both files."""
    return free_spec(spec, taken) == spec and not os.path.lexists(spec.partition(":")[2])
