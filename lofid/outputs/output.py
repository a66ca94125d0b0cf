"""The interface of all outputs, and the table of their kinds.

A new kind is one new module and one row of :data:`KINDS`; or a package of somebody's own that names
such a module in an entry point of the group :data:`GROUP`.
"""

import itertools
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lofid.errors import LofidError
from lofid.files import user_path
from lofid.music.notes import Part
from lofid.music.parameters import Settings
from lofid.music.plan import BarPlan

SAMPLE_RATE = 48_000
"""Frames a second that every output is fed with."""

Audio = NDArray[np.float32]
"""[frames, 2], -1 to 1."""


@dataclass(frozen=True, slots=True)
class MidiEvent:
    """A MIDI message at a frame of the stream.

    ``frame`` counts from the start of the stream, at the moment when it is heard. ``status`` is the
    MIDI status byte; that of a channel message carries channel 0, and ``part`` says whose it is:
    the output knows the channel. The messages without a part are clock (24 to the quarter while
    the music runs) and stop (where it halts); start, continue and song position are the outputs'
    own business, for each may join at any bar line.
    """

    frame: int
    status: int
    data: tuple[int, ...] = ()
    part: Part | None = None


@dataclass(frozen=True, slots=True)
class Received:
    """A MIDI message that came in at an output's port.

    ``moment`` is when it came, in seconds of the monotonic clock; ``status`` is as it was sent,
    channel included.
    """

    moment: float
    status: int
    data: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class BarLine:
    """A bar begins at a frame of the stream."""

    frame: int
    plan: BarPlan


@dataclass(frozen=True, slots=True)
class Block:
    """The next piece of the stream: its audio, and what begins within it.

    ``frame`` is that of the first sample; frames go up without a gap. ``moment`` is the time of the
    monotonic clock, in seconds, at which the first frame is heard, some milliseconds from now;
    None where nobody listens live (rendering, the virtual clock). Events and lines are in order of
    time and lie inside the block.
    """

    frame: int
    audio: Audio
    events: tuple[MidiEvent, ...] = ()
    lines: tuple[BarLine, ...] = ()
    moment: float | None = None

    def cut(self, frames: int) -> "tuple[Block, Block]":
        """The block's first frames, and the rest."""
        at = self.frame + frames
        moment = None if self.moment is None else self.moment + frames / SAMPLE_RATE
        return (
            Block(
                self.frame,
                self.audio[:frames],
                tuple(event for event in self.events if event.frame < at),
                tuple(line for line in self.lines if line.frame < at),
                self.moment,
            ),
            Block(
                at,
                self.audio[frames:],
                tuple(event for event in self.events if event.frame >= at),
                tuple(line for line in self.lines if line.frame >= at),
                moment,
            ),
        )


@dataclass(frozen=True, slots=True)
class FileLabel:
    """What is played, for whoever finds it later."""

    preset: str
    seed: int
    stem: str = ""
    """Which stem it is; empty for the whole."""


class Output:
    """Takes the stream block by block, from one thread.

    Only outputs that keep time may block :meth:`write` until there is room for more; the others
    are done as soon as the machine can. Every method raises :class:`LofidError` for what a user
    can mend. After :meth:`close`, or an error in it, nothing unfinished is left behind.
    """

    keeps_time = False
    """Whether writing takes as long as the music does."""

    comes_back = True
    """Whether to open it anew after it failed; not where that would undo what it has made."""

    label: FileLabel | None = None
    """What is played, where somebody says so before it is opened."""

    def open(self) -> None:
        """Get ready; called once, before the first write."""
        raise NotImplementedError

    def notice(self) -> str:
        """What to tell whoever is about to open it, a sentence; empty where there is nothing."""
        return ""

    def adopt(self, settings: Settings) -> None:
        """Take up settings that concern the output itself; called before open and when changed."""

    def write(self, block: Block) -> None:
        """Take the next block."""
        raise NotImplementedError

    def take_back(self, most: int) -> int:
        """Forget the frames written last, ``most`` at most, as far as they are not on their way.

        Returns how many: of them, others will be written. Whoever keeps time may be asked from
        another thread than that of :meth:`write`, also in the middle of it.
        """
        return 0

    def silence(self) -> None:
        """End every note that sounds, now; the stream goes on."""

    def received(self) -> Sequence[Received]:
        """What has come in since the last call, in order of time; never waits."""
        return ()

    def heard(self) -> tuple[int, float] | None:
        """A frame, counted from the first one written, and the moment when it is heard.

        The moment is on the monotonic clock, in seconds. Only for outputs that keep time.
        """
        return None

    def clock(self) -> tuple[int, float] | None:
        """A device's own clock, where it has one: a count of frames and the moment it was read.

        The count runs at the device's rate, the moment is on the monotonic clock in seconds.
        """
        return None

    def details(self) -> Mapping[str, float | int | str]:
        """Counters and facts for whoever asks how the output fares."""
        return {}

    def close(self) -> None:
        """Play or write out what is left, and let go of everything."""
        raise NotImplementedError

    def abort(self) -> None:
        """Let go of everything at once; safe at any moment, more than once too."""
        raise NotImplementedError


class _Module(Protocol):
    """What a kind's module offers: the output for an argument."""

    make: Callable[[str | None], Output]


@dataclass(frozen=True, slots=True)
class OutputKind:
    """A row of the table: how the kind is written, what it is, and the module that holds it."""

    syntax: str
    description: str
    module: str


KINDS: Mapping[str, OutputKind] = MappingProxyType(
    {
        "device": OutputKind(
            "device[:NAME]",
            "the sound card, or the one whose name holds NAME",
            "lofid.outputs.device",
        ),
        "file": OutputKind(
            "file:PATH", "a .wav, .flac, .mp3, .ogg or .mid file", "lofid.outputs.file"
        ),
        "jack": OutputKind(
            "jack[:NAME]", "a MIDI port of JACK, exact to the frame", "lofid.outputs.jack"
        ),
        "midi": OutputKind(
            "midi[:NAME]", "a MIDI port that other programs can use", "lofid.outputs.midi"
        ),
        "null": OutputKind("null", "nowhere, to try out", "lofid.outputs.null"),
    }
)
"""lofid's own kinds by name. Modules are imported when they are used: each may need a library."""

GROUP = "lofid.outputs"
"""The group of entry points in which other packages name modules of kinds of their own.

The entry point's name is the kind's; its module has ``make`` as ours do, and the texts ``SYNTAX``
and ``DESCRIPTION``.
"""


def split_spec(text: str) -> tuple[OutputKind, str | None]:
    """Kind and argument of ``KIND[:ARGUMENT]``; raises :class:`LofidError` for an unknown kind."""
    name, colon, argument = text.partition(":")
    if name in KINDS:
        return KINDS[name], argument if colon else None
    others = {point.name: point for point in entry_points(group=GROUP)}
    if name in others:
        return _of_another_package(others[name]), argument if colon else None
    near = get_close_matches(name, (*KINDS, *others), n=1)
    guess = f"did you mean {near[0]}? Outputs" if near else "outputs"
    syntaxes = ", ".join([*(kind.syntax for kind in KINDS.values()), *others])
    raise LofidError(f"There is no output '{text}'; {guess} are {syntaxes}.")


def _of_another_package(point: EntryPoint) -> OutputKind:
    """The kind that an entry point names; raises :class:`LofidError` where it is none."""
    package = point.dist.name if point.dist else point.value
    try:
        module = import_module(point.module)
        return OutputKind(module.SYNTAX, module.DESCRIPTION, _with_make(module).__name__)
    except Exception as error:  # whatever somebody else's module raises
        raise LofidError(
            f"The output '{point.name}' of the package '{package}' cannot be used "
            f"({type(error).__name__}: {error}); mend or remove that package."
        ) from error


def _with_make(module: ModuleType) -> ModuleType:
    """The module, which must have the function that every kind's has."""
    if not callable(getattr(module, "make", None)):
        raise AttributeError("it has no function 'make'")
    return module


def free_spec(text: str, taken: Collection[str] = ()) -> str:
    """The spec, its file numbered where there is one of that name: nothing is written over.

    ``taken`` are the specs of outputs whose files get their names when they are complete. Raises
    :class:`LofidError` for an unknown kind.
    """
    kind, argument = split_spec(text)
    if kind is not KINDS["file"] or not argument:
        return text
    wanted = user_path(argument)
    # Beside take and take-2 comes take-3, not take-2-2.
    numbered = re.fullmatch(r"(.+)-[1-9]\d*", wanted.stem)
    ours = numbered is not None and _exists(wanted.with_stem(numbered[1]))
    stem = numbered[1] if numbered and ours else wanted.stem
    paths = (wanted.with_stem(f"{stem}-{number}") for number in itertools.count(2))
    specs = itertools.chain([(wanted, text)], ((path, f"file:{path}") for path in paths))
    return next(spec for path, spec in specs if spec not in taken and not _exists(path))


def _exists(path: Path) -> bool:
    """Whether there is such a file; what cannot be looked at is refused where it is opened."""
    try:
        return path.is_file()
    except OSError:
        return False


def parse(text: str) -> Output:
    """The output that ``KIND[:ARGUMENT]`` names, not yet open.

    Raises :class:`LofidError` for an unknown kind, or an argument that the kind does not take.
    """
    kind, argument = split_spec(text)
    module: _Module = import_module(kind.module)
    return module.make(argument)


def open_output(text: str) -> Output:
    """The output that ``KIND[:ARGUMENT]`` names, open; raises as :func:`parse` and ``open`` do."""
    output = parse(text)
    try:
        output.open()
    except BaseException:
        output.abort()
        raise
    return output
