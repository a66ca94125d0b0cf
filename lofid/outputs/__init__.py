"""Where audio goes: ``KIND[:ARGUMENT]``, one file per kind.

An output takes blocks of float32 frames [frames, 2] in -1 to 1 at :data:`SAMPLE_RATE`. Only a
device makes its writer wait; the pace of a session without one is the player's matter. To add a
kind, write a module with a class that has the :class:`Output` interface and name it in
:data:`KINDS`. Knows no models.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lofid.errors import LofidError

SAMPLE_RATE = 48_000
"""Frames a second, everywhere in lofid."""

Audio = NDArray[np.float32]


class Output(Protocol):
    """An open output. One thread at a time."""

    keeps_time: bool
    """Whether :meth:`write` waits until the sound is due, as a sound card does."""

    def write(self, audio: Audio) -> None:
        """Take frames [frames, 2]; raises :class:`LofidError` if that fails for good."""
        ...

    def close(self) -> None:
        """End well: what was written is heard to its end, a file gets its final name."""
        ...

    def abort(self) -> None:
        """End at once: nothing half-written is left under a final name."""
        ...


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of output: how it is written on the command line, what it does, who opens it.

    ``opener`` is ``module:class``, imported when the first such output is opened, so that nobody
    needs the libraries of outputs that are not used.
    """

    syntax: str
    description: str
    opener: str


KINDS: dict[str, Kind] = {
    "device": Kind(
        "device[:NAME]",
        "a sound device, by any part of its name; the default device without one",
        "lofid.outputs.device:DeviceOutput",
    ),
    "file": Kind(
        "file:PATH",
        "a file; its ending says which: .wav .flac .mp3 .ogg",
        "lofid.outputs.file:FileOutput",
    ),
    "null": Kind(
        "null", "nothing: the music is made and thrown away", "lofid.outputs.null:NullOutput"
    ),
}


def open_output(spec: str) -> Output:
    """Open the output that ``KIND[:ARGUMENT]`` names.

    Raises :class:`LofidError` for an unknown kind, a missing or needless argument, and whatever
    keeps the output from opening.
    """
    name, colon, argument = spec.partition(":")
    kind = KINDS.get(name)
    if kind is None:
        known = ", ".join(item.syntax for item in KINDS.values())
        raise LofidError(f"The output '{spec}' is of no known kind; choose one of {known}.")
    needed = ":" in kind.syntax and "[" not in kind.syntax
    if (needed and not argument) or (colon and ":" not in kind.syntax):
        raise LofidError(f"The output '{spec}' is not understood; write {kind.syntax}.")
    module, _, attribute = kind.opener.partition(":")
    opener: Callable[[str], Output] = getattr(import_module(module), attribute)
    return opener(argument)
