"""Everything that may be said to the daemon and by it, as typed messages.

This is the one source: the server checks requests against it, the client and the command line are
built on it, and ``docs/protocol.md`` is written from it. To add a request, add a class that names
its result; to add an event, add a class. What a field means and which values it takes stands at
the field.

A request travels as one JSON object: ``{"v": 1, "id": "7", "do": "preset_load", "name": "rain"}``.
Fields that are not known are ignored, so that a newer client may speak to an older daemon. This
module knows messages only: no socket, no session.
"""

import re
from collections.abc import Mapping
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path as FilePath
from typing import Annotated, Any, ClassVar, Generic, TypeVar, get_args, get_origin

import msgspec
from msgspec import Meta, Struct

from lofid.errors import LofidError
from lofid.music.notes import BEATS_PER_BAR, Note, Part
from lofid.music.parameters import (
    HIGHEST_SEED,
    PARAMETERS,
    Effect,
    Parameter,
    Settings,
    find_parameter,
)
from lofid.music.plan import Bar, BarPlan, Section
from lofid.protocol.paths import SessionPaths
from lofid.protocol.roles import Role

VERSION = 1
"""The version spoken here, in every message as ``v``. It changes when old clients would break."""

MOST_BYTES = 16_384
"""Longest request. Answers may be longer."""

LONGEST_ID = 64
"""Characters that a request's id may have."""

MOST_REWIND = 256
"""Bars that can be taken back."""

MOST_BRANCHES = 8
BRANCH_BARS = 4
"""How many continuations can be prepared at once, and their length in bars."""

ResultT_co = TypeVar("ResultT_co", bound="Result", covariant=True)


# -- words ------------------------------------------------------------------------------------


class PlayState(StrEnum):
    """Whether music sounds."""

    PLAYING = "playing"
    PAUSED = "paused"
    STOPPED = "stopped"


class Health(StrEnum):
    """How one of the daemon's processes is."""

    STARTING = "starting"
    WELL = "well"
    LATE = "late"
    DOWN = "down"


class NextTarget(StrEnum):
    """Where ``next`` goes."""

    SECTION = "section"
    SONG = "song"


class Format(StrEnum):
    """Audio formats of a recording."""

    WAV = "wav"
    FLAC = "flac"
    MP3 = "mp3"
    OGG = "ogg"


class ErrorKind(StrEnum):
    """What was wrong, for programs; ``text`` says it for people."""

    meaning: str

    MESSAGE = "message", "No message: not JSON, no object, too long, nested too deeply, a bad `id`."
    VERSION = "version", "A version that is not spoken here."
    REQUEST = "request", "A `do` that does not exist."
    FIELD = "field", "A field, or a parameter's value, is missing or not allowed."
    UNKNOWN = "unknown", "There is no parameter, preset, output, snapshot or branch of that name."
    REFUSED = "refused", "Understood, but it cannot be done, or not now."
    FORBIDDEN = "forbidden", "The client's key has a role that may not do this."
    BUSY = "busy", "Too many requests are waiting; ask again."
    INTERNAL = "internal", "A fault of the daemon's own; its log tells more."

    def __new__(cls, word: str, meaning: str) -> "ErrorKind":
        """A kind with what it means, for the reference."""
        kind = str.__new__(cls, word)
        kind._value_ = word
        kind.meaning = meaning
        return kind


Value = (
    bool
    | Annotated[int, Meta(ge=-(2**53), le=2**53)]
    | float
    | Annotated[str, Meta(max_length=200)]
    | Annotated[list[Annotated[str, Meta(max_length=200)]], Meta(max_length=64)]
)
"""A parameter's value as JSON holds it."""

Name = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$",
        description="1 to 32 letters, digits, - and _",
    ),
]
Path = Annotated[str, Meta(min_length=1, max_length=100)]
NameOrPath = Annotated[str, Meta(min_length=1, max_length=1000, pattern=r"^[^\0]*$")]


# -- errors -----------------------------------------------------------------------------------


class Problem(Struct, frozen=True, omit_defaults=True):
    """Why a request was not met."""

    kind: Annotated[ErrorKind, Meta(description="What was wrong, in one word.")]
    text: Annotated[str, Meta(description="One sentence: what, where, what to do.")]
    field: Annotated[
        str | None, Meta(description="The field of the message, or the parameter, it is about.")
    ] = None
    allowed: Annotated[str | None, Meta(description="What would be allowed there, in words.")] = (
        None
    )
    hint: Annotated[str | None, Meta(description="What to try.")] = None


class Refused(LofidError):
    """A request that was not met: a :class:`Problem` on its way to whoever asked."""

    def __init__(
        self,
        text: str,
        kind: ErrorKind = ErrorKind.REFUSED,
        *,
        field: str | None = None,
        allowed: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(text)
        self.problem = Problem(kind, text, field, allowed, hint)

    @classmethod
    def of(cls, error: LofidError) -> "Refused":
        """Any error that the user can mend, as one that can be sent."""
        if isinstance(error, Refused):
            return error
        _, _, advice = str(error).partition("; ")  # our sentences end with what to do
        return cls(str(error), hint=advice or None)

    @classmethod
    def unknown(cls, what: str, name: str, known: list[str]) -> "Refused":
        """Nothing of that name; ``known`` are the names there are, of which the nearest is told.

        ``what`` is the field, which is also the thing's own word, such as ``preset``.
        """
        near = get_close_matches(name, known, n=3, cutoff=0.5)
        there = ", ".join(known) if known else "none yet"
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are: {there}."
        return cls(
            f"There is no {what} '{name[:60]}'; {hint}",
            ErrorKind.UNKNOWN,
            field=what,
            allowed=there,
            hint=hint,
        )


# -- results ----------------------------------------------------------------------------------


class Result(Struct, frozen=True):
    """What a request is answered with."""


class Done(Result, frozen=True):
    """It was done; there is nothing more to say."""


class Heard(Result, frozen=True):
    """It was done; this says when it is heard."""

    effect: Annotated[Effect, Meta(description="When it is heard.")]
    bar: Annotated[
        int | None,
        Meta(
            description="Index of the first bar that will have it, as far as can be told now; null "
            "where it is heard at once, or when music is played again."
        ),
    ] = None


class ParameterInfo(Result, frozen=True):
    """A parameter, described."""

    path: Annotated[str, Meta(description="Its name, such as `music.tempo`.")]
    kind: Annotated[
        str,
        Meta(
            description="`number`, `integer`, `flag`, `choice`, `choices`, `palette` (one or "
            "several), `keys`, `text` or `controls`."
        ),
    ]
    unit: Annotated[str, Meta(description="Such as `BPM`; empty for pure numbers.")]
    minimum: Annotated[float | None, Meta(description="Lowest value of numbers.")]
    maximum: Annotated[float | None, Meta(description="Highest value of numbers.")]
    options: Annotated[list[str], Meta(description="The values of choices.")]
    default: Annotated[Any, Meta(description="Its value where a preset says nothing.")]
    value: Annotated[Any, Meta(description="Its value now.")]
    effect: Annotated[Effect, Meta(description="When a changed value is heard.")]
    allowed: Annotated[str, Meta(description="What it takes, in words.")]
    description: Annotated[str, Meta(description="What it does.")]

    @classmethod
    def of(cls, parameter: Parameter, settings: Settings) -> "ParameterInfo":
        """A row of the table, with its value in these settings."""
        return cls(
            parameter.path,
            parameter.kind.name.lower(),
            parameter.unit,
            parameter.minimum,
            parameter.maximum,
            list(parameter.options or ()),
            parameter.plain(parameter.default),
            parameter.plain(settings.value(parameter.path)),
            parameter.effect,
            parameter.allowed,
            parameter.description,
        )


class Parameters(Result, frozen=True):
    """All parameters."""

    parameters: Annotated[list[ParameterInfo], Meta(description="In the order of the reference.")]

    @classmethod
    def of(cls, settings: Settings) -> "Parameters":
        """The whole table, with the values in these settings."""
        return cls([ParameterInfo.of(parameter, settings) for parameter in PARAMETERS.values()])


class Changed(Heard, frozen=True):
    """Parameters were set; if only one waits for a bar line, `effect` says so."""

    values: Annotated[
        dict[str, Any], Meta(description="The parameters that were set, as they are now.")
    ] = {}


class PresetInfo(Struct, frozen=True):
    """A preset, described."""

    name: Annotated[str, Meta(description="Its name.")]
    description: Annotated[str, Meta(description="One sentence about it.")]
    own: Annotated[
        bool,
        Meta(description="Whether the user made it; it hides one of lofid's with the same name."),
    ]


class Presets(Result, frozen=True):
    """The presets there are."""

    presets: Annotated[list[PresetInfo], Meta(description="lofid's own first.")]


class Saved(Result, frozen=True):
    """Something was written to a file."""

    name: Annotated[str, Meta(description="Its name.")]
    path: Annotated[str, Meta(description="The file, on the daemon's machine.")]


class Playing(Result, frozen=True):
    """Whether music sounds."""

    state: Annotated[PlayState, Meta(description="Whether music sounds.")]


class OutputInfo(Result, frozen=True):
    """An output and what has become of it."""

    name: Annotated[str, Meta(description="Its name.")]
    spec: Annotated[str, Meta(description="What it was made of, `KIND[:ARGUMENT]`.")]
    state: Annotated[
        str,
        Meta(description="`opening`, `playing`, `waiting` (to be tried again) or `closed`."),
    ]
    reason: Annotated[str, Meta(description="Why it does not play; empty if it does.")] = ""
    details: Annotated[
        dict[str, int | float | str], Meta(description="What there is to tell of it.")
    ] = {}


class Outputs(Result, frozen=True):
    """The outputs there are."""

    outputs: Annotated[list[OutputInfo], Meta(description="In the order they were added.")]


class Recording(Result, frozen=True):
    """A recording: audio and notes, in two files."""

    name: Annotated[str, Meta(description="Its name.")]
    audio: Annotated[str, Meta(description="The audio file, on the daemon's machine.")]
    midi: Annotated[str, Meta(description="The MIDI file beside it.")]
    seconds: Annotated[float, Meta(description="How long it is by now, in seconds.")] = 0.0


class Snapshot(Result, frozen=True):
    """A kept moment that the music can go back to."""

    name: Annotated[str, Meta(description="Its name.")]
    path: Annotated[str, Meta(description="The `.lofistate` file, on the daemon's machine.")]
    bar: Annotated[int, Meta(description="Index of the bar that comes next from here.")]
    saved: Annotated[float, Meta(description="When it was kept, in seconds since 1970 (UTC).")]
    preset: Annotated[str, Meta(description="The preset that was playing.")] = ""
    reason: Annotated[
        str, Meta(description="Why it cannot be loaded here (other models); else empty.")
    ] = ""


class Snapshots(Result, frozen=True):
    """The kept moments of this session."""

    snapshots: Annotated[list[Snapshot], Meta(description="The newest first.")]


class Branch(Struct, frozen=True):
    """One prepared continuation."""

    number: Annotated[int, Meta(description="From 1.")]
    ready: Annotated[int, Meta(description=f"How many of its {BRANCH_BARS} bars are written.")]
    chords: Annotated[list[str], Meta(description="The chords of the bars that are written.")]
    notes: Annotated[int, Meta(description="How many notes these have.")]


class Branches(Result, frozen=True):
    """The prepared continuations."""

    branches: Annotated[list[Branch], Meta(description="In the order of their numbers.")]
    bar: Annotated[int | None, Meta(description="Index of the bar that they begin with.")] = None
    listening: Annotated[int | None, Meta(description="The one being auditioned.")] = None


# -- status -----------------------------------------------------------------------------------


class BarInfo(Struct, frozen=True):
    """A bar, described."""

    index: Annotated[int, Meta(description="Its number in the session, from 0.")]
    section: Annotated[Section, Meta(description="The section of the song.")]
    bar_in_section: Annotated[int, Meta(description="Its place there, from 0.")]
    key: Annotated[str, Meta(description="Such as `Eb` or `Cm`.")]
    chords: Annotated[list[str], Meta(description="One or two, sharing the bar equally.")]
    tempo: Annotated[float, Meta(description="In BPM.")]
    seconds: Annotated[float, Meta(description="How long the bar is.")]
    beats: Annotated[int, Meta(description="Quarter notes in it.")] = 4
    stand_in: Annotated[
        str,
        Meta(description="Why the last good loop is repeated instead of a new bar; else empty."),
    ] = ""

    @classmethod
    def of(cls, plan: BarPlan, seconds: float, stand_in: str = "") -> "BarInfo":
        """The description of a bar with that plan that takes ``seconds``."""
        return cls(
            plan.index,
            plan.section,
            plan.bar_in_section,
            plan.key.symbol,
            [chord.symbol for chord in plan.chords],
            round(60 * BEATS_PER_BAR / seconds, 3),  # another clock may be followed
            seconds,
            stand_in=stand_in,
        )


class SongInfo(Struct, frozen=True):
    """The song that plays."""

    number: Annotated[int, Meta(description="Its number in the session, from 0.")]
    bar: Annotated[int, Meta(description="The place in it, in bars from 0.")]
    bars: Annotated[int, Meta(description="How long it is.")]
    key: Annotated[str, Meta(description="Its key.")]
    tempo: Annotated[float, Meta(description="Its tempo in BPM.")]


class EngineInfo(Struct, frozen=True):
    """What writes the music."""

    name: Annotated[str, Meta(description="What computes the models.")] = ""
    reason: Annotated[str, Meta(description="Why it is that one.")] = ""
    models: Annotated[dict[str, str], Meta(description="Hash of each model.")] = {}
    vocabularies: Annotated[dict[str, str], Meta(description="Their vocabularies' hashes.")] = {}


class WriterInfo(Struct, frozen=True):
    """The process that holds the models."""

    state: Annotated[Health, Meta(description="How it is.")] = Health.STARTING
    last_write_ms: Annotated[float, Meta(description="Time the last bar took to write.")] = 0.0
    load: Annotated[float, Meta(description="Share of real time that writing takes.")] = 0.0
    ahead: Annotated[int, Meta(description="Bars that are written and not yet heard.")] = 0
    restarts: Annotated[int, Meta(description="How often it had to be started anew.")] = 0
    process: Annotated[int | None, Meta(description="Its process id.")] = None


class StageInfo(Struct, frozen=True):
    """The process that keeps time."""

    state: Annotated[Health, Meta(description="How it is.")] = Health.STARTING
    clock: Annotated[
        str, Meta(description="What keeps time: an output, `system`, `midi` or `virtual`.")
    ] = "system"
    trouble: Annotated[
        str,
        Meta(description="Why the MIDI clock that should be followed is not; else empty."),
    ] = ""
    scheduling: Annotated[str, Meta(description="How the system schedules it.")] = ""
    memory_locked: Annotated[bool, Meta(description="Whether it can never be swapped out.")] = False
    load: Annotated[float, Meta(description="Share of real time that rendering takes.")] = 0.0
    xruns: Annotated[int, Meta(description="Times that an audio device ran empty.")] = 0
    stand_ins: Annotated[int, Meta(description="Bars for which the last good loop stood in.")] = 0
    restarts: Annotated[int, Meta(description="How often it had to be started anew.")] = 0
    process: Annotated[int | None, Meta(description="Its process id.")] = None
    remarks: Annotated[list[str], Meta(description="What could be better on this machine.")] = []


class LevelInfo(Struct, frozen=True):
    """How loud it is."""

    peaks: Annotated[
        dict[str, float], Meta(description="Peak of each stem and of `mix`, in dBFS.")
    ] = {}
    loudness: Annotated[float | None, Meta(description="Short-term loudness in LUFS.")] = None


class MorphInfo(Struct, frozen=True):
    """A morph under way."""

    preset: Annotated[str, Meta(description="The preset it leads to.")]
    bar: Annotated[int, Meta(description="Bars done.")]
    bars: Annotated[int, Meta(description="Bars in all.")]


class Remark(Struct, frozen=True):
    """Something the user should know."""

    time: Annotated[float, Meta(description="When, in seconds since 1970 (UTC).")]
    text: Annotated[str, Meta(description="One sentence.")]


class Limits(Struct, frozen=True):
    """What the daemon takes."""

    versions: Annotated[tuple[int, ...], Meta(description="Versions spoken.")] = (VERSION,)
    request_bytes: Annotated[int, Meta(description="Longest request.")] = MOST_BYTES
    rewind_bars: Annotated[int, Meta(description="Bars that can be taken back now.")] = MOST_REWIND
    branches: Annotated[int, Meta(description="Continuations at once.")] = MOST_BRANCHES


class Status(Result, frozen=True, kw_only=True):
    """Everything there is to know about the session."""

    version: Annotated[str, Meta(description="Of lofid.")]
    session: Annotated[str, Meta(description="Its name.")]
    process: Annotated[int, Meta(description="The daemon's process id.")]
    uptime: Annotated[float, Meta(description="Seconds since the daemon was started.")]
    state: Annotated[PlayState, Meta(description="Whether music sounds.")]
    bar: Annotated[BarInfo | None, Meta(description="The bar that sounds.")] = None
    bars_played: Annotated[int, Meta(description="Bars heard since the daemon was started.")] = 0
    next_line: Annotated[
        float | None, Meta(description="Seconds until the next bar line is heard.")
    ] = None
    song: Annotated[SongInfo | None, Meta(description="The song that plays.")] = None
    preset: Annotated[str, Meta(description="The preset that was loaded last.")]
    changed: Annotated[
        list[str],
        Meta(description="Parameters that were set since, by path; of `[midi]`, none."),
    ] = []
    morph: Annotated[MorphInfo | None, Meta(description="A morph under way.")] = None
    seed: Annotated[int, Meta(description="Where the session's chance comes from.")]
    style: Annotated[
        str | None,
        Meta(description="The tuned style of the models; null where they play as they are."),
    ] = None
    model: Annotated[
        str | None, Meta(description="The installed model that plays; null for lofid's own.")
    ] = None
    muted: Annotated[list[Part], Meta(description="The parts that are muted.")] = []
    solo: Annotated[list[Part], Meta(description="The parts that play alone.")] = []
    outputs: Annotated[list[OutputInfo], Meta(description="Where the music goes.")] = []
    levels: Annotated[LevelInfo, Meta(description="How loud it is.")] = LevelInfo()
    recording: Annotated[Recording | None, Meta(description="A recording under way.")] = None
    branches: Annotated[Branches | None, Meta(description="Prepared continuations.")] = None
    learning: Annotated[
        str | None, Meta(description="The parameter that waits for a MIDI controller.")
    ] = None
    engine: Annotated[EngineInfo, Meta(description="What writes the music.")] = EngineInfo()
    writer: Annotated[WriterInfo, Meta(description="The process that holds the models.")] = (
        WriterInfo()
    )
    stage: Annotated[StageInfo, Meta(description="The process that keeps time.")] = StageInfo()
    warnings: Annotated[list[Remark], Meta(description="The last ones, the newest last.")] = []
    limits: Annotated[Limits, Meta(description="What the daemon takes.")] = Limits()


# -- requests ---------------------------------------------------------------------------------


def _tag(class_name: str) -> str:
    """``preset_load`` of ``PresetLoad``, ``bar`` of ``BarEvent``."""
    words = re.findall("[A-Z][a-z]+", class_name.removesuffix("Event"))
    return "_".join(words).lower()


class Request(Struct, Generic[ResultT_co], frozen=True, tag_field="do", tag=_tag):
    """Something the daemon is asked for; the type parameter is what it answers with."""

    role: ClassVar[Role] = Role.STEER
    """That a key needs for it."""
    own_paths: ClassVar[bool] = False
    """Whether a ``name`` that is a path on the daemon's machine needs the role ``own``."""

    @property
    def needs(self) -> Role:
        """The role that this very request needs."""
        name = getattr(self, "name", None)
        return Role.OWN if self.own_paths and name and _is_path(name) else self.role

    def written(self, places: SessionPaths) -> FilePath | None:
        """The user's file that this request writes; where there is one, it needs the role `own`."""
        return None


def _is_path(name: str) -> bool:
    """Whether a name leaves the folder that it would lie in."""
    return "/" in name or name in (".", "..") or name.endswith((".toml", ".lofistate"))


class GetStatus(Request[Status], frozen=True, tag="status"):
    """Tell everything about the session."""

    role = Role.LISTEN


class GetParameters(Request[Parameters], frozen=True, tag="parameters"):
    """Describe every parameter, with its value."""

    role = Role.LISTEN


class Get(Request[ParameterInfo], frozen=True):
    """Describe one parameter, with its value."""

    role = Role.LISTEN

    path: Annotated[Path, Meta(description="Such as `music.tempo`.")]


class Set(Request[Changed], frozen=True):
    """Set parameters: all of them, or none if one value is not allowed."""

    values: Annotated[
        Annotated[dict[Path, Value], Meta(min_length=1, max_length=200)],
        Meta(description='New values by path, such as `{"music.tempo": 72}`.'),
    ]


class ListPresets(Request[Presets], frozen=True, tag="presets"):
    """List the presets."""

    role = Role.LISTEN


class PresetLoad(Request[Changed], frozen=True):
    """Take up a preset at the next bar line: all of its settings but `[midi]`, the user's rig."""

    own_paths = True

    name: Annotated[
        NameOrPath,
        Meta(description="Its name, or the path of a `.toml` file on the daemon's machine."),
    ]


class PresetSave(Request[Saved], frozen=True):
    """Keep the settings as they are now as a preset of the user's own."""

    name: Annotated[
        Name, Meta(description="Replaces an own preset of that name, which needs the role `own`.")
    ]
    description: Annotated[str, Meta(max_length=200, description="One sentence about it.")] = ""

    def written(self, places: SessionPaths) -> FilePath | None:
        """The preset's file."""
        return places.presets / f"{self.name}.toml"


class PresetRemove(Request[Done], frozen=True):
    """Remove a preset of the user's own; the settings that play stay as they are."""

    role = Role.OWN

    name: Annotated[Name, Meta(description="Its name; lofid's own presets stay.")]


class PresetMorph(Request[Heard], frozen=True):
    """Go over to a preset bar by bar, as `preset_load` takes one up at once."""

    own_paths = True

    name: Annotated[NameOrPath, Meta(description="As in `preset_load`.")]
    bars: Annotated[int, Meta(ge=1, le=256, description="How many bars it takes.")] = 16


class Play(Request[Playing], frozen=True):
    """Play, or go on after a pause or stop."""


class Pause(Request[Playing], frozen=True):
    """Fall silent and hold the music where it is."""


class Stop(Request[Playing], frozen=True):
    """Fall silent; the rest of the bar is dropped, and `play` begins with the next bar."""


class Next(Request[Heard], frozen=True):
    """Leave this section or song at the next bar line."""

    target: Annotated[NextTarget, Meta(description="What comes next.")] = NextTarget.SECTION


class Mute(Request[Heard], frozen=True):
    """Silence a part, or let it be heard again."""

    part: Annotated[Part, Meta(description="Whom.")]
    on: Annotated[bool, Meta(description="Whether it is silent.")] = True


class Solo(Request[Heard], frozen=True):
    """Let a part be heard alone, together with others that are solo; or no longer."""

    part: Annotated[Part, Meta(description="Whom.")]
    on: Annotated[bool, Meta(description="Whether it plays alone.")] = True


class Volume(Request[Changed], frozen=True):
    """Set the level of a part: short for setting `mix.PART`."""

    part: Annotated[Part, Meta(description="Whose.")]
    level: Annotated[
        float,
        Meta(
            ge=PARAMETERS["mix.keys"].minimum,
            le=PARAMETERS["mix.keys"].maximum,
            description="In dB against a balanced mix.",
        ),
    ]


class Seed(Request[Heard], frozen=True):
    """Begin a new session of music from a seed: the same seed gives the same music."""

    # Meta takes no limit beyond 2**63 - 1; this one is held where the session is opened.
    value: Annotated[
        int,
        Meta(
            ge=0,
            description="Where chance comes from.",
            extra_json_schema={"maximum": HIGHEST_SEED},
        ),
    ]


class ListOutputs(Request[Outputs], frozen=True, tag="outputs"):
    """List the outputs and what has become of them."""

    role = Role.LISTEN


class OutputAdd(Request[OutputInfo], frozen=True):
    """Send the music to one more place."""

    role = Role.OWN

    spec: Annotated[
        NameOrPath, Meta(description="`KIND[:ARGUMENT]`, such as `device` or `file:night.flac`.")
    ]
    name: Annotated[Name | None, Meta(description="What to call it; by default its kind.")] = None


class OutputRemove(Request[Done], frozen=True):
    """Close an output; files are finished."""

    role = Role.OWN

    name: Annotated[Path, Meta(description="Its name.")]


class RecordStart(Request[Recording], frozen=True):
    """Record audio and notes from now on, into two files side by side."""

    own_paths = True

    name: Annotated[
        NameOrPath | None,
        Meta(
            description="A name, or a path on the daemon's machine, without the ending; by default "
            "the date and time."
        ),
    ] = None
    format: Annotated[Format, Meta(description="Of the audio.")] = Format.FLAC


class RecordStop(Request[Recording], frozen=True):
    """Finish the recording; refused with the reason where a file is not whole."""


class Panic(Request[Done], frozen=True):
    """End every note on every output, now; the music goes on with its next notes."""


class Shutdown(Request[Done], frozen=True):
    """End the daemon; the session is kept and goes on when it is started again."""

    role = Role.OWN


class SnapshotSave(Request[Snapshot], frozen=True):
    """Keep this moment: models' memory, song, settings."""

    name: Annotated[
        Name, Meta(description="Replaces a snapshot of that name, which needs the role `own`.")
    ]

    def written(self, places: SessionPaths) -> FilePath | None:
        """The snapshot's file."""
        return places.snapshots / f"{self.name}.lofistate"


class SnapshotLoad(Request[Heard], frozen=True):
    """Go on from a kept moment, at the next bar line, with its settings but for `[midi]`."""

    own_paths = True

    name: Annotated[
        NameOrPath,
        Meta(description="Its name, or the path of a `.lofistate` file on the daemon's machine."),
    ]


class SnapshotList(Request[Snapshots], frozen=True):
    """List the kept moments."""

    role = Role.LISTEN


class SnapshotRemove(Request[Done], frozen=True):
    """Remove a kept moment."""

    role = Role.OWN

    name: Annotated[Name, Meta(description="Its name.")]


class Rewind(Request[Heard], frozen=True):
    """Go back some bars and take another turn from there."""

    bars: Annotated[
        int, Meta(ge=1, le=MOST_REWIND, description="How many, counted from the next bar line.")
    ] = 4


class BranchPrepare(Request[Branches], frozen=True, tag="branch"):
    """Write several continuations of the next bars; `branch_listen` plays one."""

    count: Annotated[int, Meta(ge=2, le=MOST_BRANCHES, description="How many.")] = 3


class BranchListen(Request[Heard], frozen=True):
    """Play a prepared continuation, again and again until one is adopted or all are dropped."""

    number: Annotated[int, Meta(ge=1, le=MOST_BRANCHES, description="Which one, from 1.")]


class BranchAdopt(Request[Heard], frozen=True):
    """Go on from a prepared continuation and forget the others."""

    number: Annotated[
        Annotated[int, Meta(ge=1, le=MOST_BRANCHES)] | None,
        Meta(description="Which one; by default the one being auditioned."),
    ] = None


class BranchDrop(Request[Heard], frozen=True):
    """Forget the prepared continuations; the music goes on as it would have."""


class Like(Request[Snapshot], frozen=True):
    """Keep the beginning of the loop that sounds, so that it can be played again."""

    name: Annotated[
        Name | None, Meta(description="By default the date and time; as in `snapshot_save`.")
    ] = None

    def written(self, places: SessionPaths) -> FilePath | None:
        """The snapshot's file, where its name is given."""
        return places.snapshots / f"{self.name}.lofistate" if self.name else None


class MidiLearn(Request[Done], frozen=True):
    """Bind a parameter to the next MIDI controller that is moved."""

    path: Annotated[Path, Meta(description="The parameter.")]


class MidiForget(Request[Done], frozen=True):
    """Take the MIDI controller off a parameter."""

    path: Annotated[Path, Meta(description="The parameter.")]


REQUESTS: Mapping[str, type[Request[Any]]] = {
    str(request.__struct_config__.tag): request for request in Request.__subclasses__()
}
"""Every request by its ``do``."""


def result_of(request: type[Request[ResultT_co]]) -> type[ResultT_co]:
    """What a kind of request is answered with."""
    for base in request.__orig_bases__:  # type: ignore[attr-defined]  # typing sets it
        if get_origin(base) is Request:
            result: type[ResultT_co] = get_args(base)[0]
            return result
    raise TypeError(f"{request.__name__} names no result")


# -- events -----------------------------------------------------------------------------------


class Event(Struct, frozen=True, tag_field="event", tag=_tag):
    """Something that happened; its topic is the word in ``event``."""


class StatusEvent(Event, frozen=True):
    """What a new listener gets first, before any other event."""

    status: Annotated[Status, Meta(description="As the request `status` answers.")]


class BarEvent(Event, frozen=True):
    """A bar line is heard."""

    bar: Annotated[BarInfo, Meta(description="The bar that begins.")]


class NoteInfo(Struct, frozen=True):
    """One note of a bar."""

    start: Annotated[int, Meta(description="In ticks from the bar line; may lie just before it.")]
    duration: Annotated[int, Meta(description="In ticks.")]
    pitch: Annotated[int, Meta(description="MIDI number, 0 to 127.")]
    velocity: Annotated[int, Meta(description="1 to 127.")]

    @classmethod
    def of(cls, note: Note) -> "NoteInfo":
        """The description of a note."""
        return cls(note.start, note.duration, note.pitch, note.velocity)


class NotesEvent(Event, frozen=True):
    """The notes of the bar that begins."""

    index: Annotated[int, Meta(description="The bar's index.")]
    ticks: Annotated[int, Meta(description="Ticks in the bar; 480 to a quarter note.")]
    notes: Annotated[dict[Part, list[NoteInfo]], Meta(description="In order of time.")]

    @classmethod
    def of(cls, bar: Bar, ticks: int) -> "NotesEvent":
        """The notes of a bar of so many ticks."""
        notes = {part: [NoteInfo.of(note) for note in line] for part, line in bar.notes.items()}
        return cls(bar.plan.index, ticks, notes)


class ChordEvent(Event, frozen=True):
    """A chord begins."""

    index: Annotated[int, Meta(description="The bar's index.")]
    beat: Annotated[float, Meta(description="Where in the bar, in quarter notes from 0.")]
    symbol: Annotated[str, Meta(description="Such as `Am7`.")]
    pitch_classes: Annotated[list[int], Meta(description="0 is C, 11 is B.")]


class LevelsEvent(Event, frozen=True):
    """How loud the last tenth of a second was."""

    peaks: Annotated[dict[str, float], Meta(description="Peak of each stem and of `mix`, in dBFS.")]
    loudness: Annotated[float | None, Meta(description="Short-term loudness in LUFS.")]


class StateEvent(Event, frozen=True):
    """Something in the status or a parameter's value has changed."""

    changed: Annotated[
        dict[str, Any],
        Meta(
            description="New values by name: fields of the status (`state`, `outputs`, `preset` "
            "…) and parameters by path (`music.tempo` …)."
        ),
    ]


class WarningEvent(Event, frozen=True):
    """Something the user should know."""

    warning: Annotated[Remark, Meta(description="What.")]


EVENTS: Mapping[str, type[Event]] = {
    str(event.__struct_config__.tag): event for event in Event.__subclasses__()
}
"""Every event by its topic."""


# -- envelopes --------------------------------------------------------------------------------


class Envelope(Struct, frozen=True):
    """What every request carries beside its own fields; read first, to know whom to answer."""

    id: Annotated[str, Meta(max_length=LONGEST_ID)] | None = None
    v: Any = None
    do: Any = None


class Answer(Struct, frozen=True, omit_defaults=True):
    """What comes back for a request, with its id."""

    v: int
    id: str | None
    ok: bool
    result: msgspec.Raw = msgspec.Raw()
    error: Problem | None = None


_ENCODER = msgspec.json.Encoder()
_ENVELOPE = msgspec.json.Decoder(Envelope)
_RAW = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ANSWER = msgspec.json.Decoder(Answer)
_DECODERS = {name: msgspec.json.Decoder(request) for name, request in REQUESTS.items()}
_RESULTS = {name: msgspec.json.Decoder(result_of(request)) for name, request in REQUESTS.items()}
_EVENTS = {name: msgspec.json.Decoder(event) for name, event in EVENTS.items()}


def encode_request(request: Request[Any], identity: str) -> bytes:
    """A request with its id, ready to be sent; :class:`Refused` for what is no text."""
    try:
        return b'{"v":%d,"id":%b,%b' % (
            VERSION,
            _ENCODER.encode(identity),
            _ENCODER.encode(request)[1:],  # never empty: it begins with its "do"
        )
    except UnicodeEncodeError as error:
        raise Refused(
            "The message holds half a character, as names that are no UTF-8 do; name it otherwise.",
            ErrorKind.MESSAGE,
        ) from error


def decode_envelope(message: bytes) -> Envelope:
    """Id, version and wish of a message; raises :class:`Refused` for what is no message."""
    if len(message) > MOST_BYTES:
        raise Refused(
            f"The message has {len(message):,} bytes; send at most {MOST_BYTES:,}.",
            ErrorKind.MESSAGE,
            allowed=f"at most {MOST_BYTES:,} bytes",
        )
    try:
        message.decode("utf-8")  # msgspec does not look into the texts that it skips
        return _ENVELOPE.decode(message)
    except msgspec.ValidationError as error:
        if "$.id" in str(error):
            raise Refused(
                f"The id of a message must be a text of at most {LONGEST_ID} characters.",
                ErrorKind.MESSAGE,
                field="id",
                allowed=f"a text of at most {LONGEST_ID} characters",
            ) from None
        reason = "it is no object"
    except UnicodeDecodeError:
        reason = "it is not UTF-8"
    except msgspec.DecodeError as error:
        reason = str(error)
    except RecursionError:
        reason = "it is nested too deeply"
    raise _no_object(reason)


def _no_object(reason: str) -> Refused:
    return Refused(
        f"The message is not a JSON object ({reason}); send one such as "
        '{"v": 1, "id": "1", "do": "status"}.',
        ErrorKind.MESSAGE,
        allowed="one JSON object in UTF-8",
    )


def decode_request(envelope: Envelope, message: bytes) -> Request[Any]:
    """The request in a message; raises :class:`Refused` that names what is wrong with it."""
    if envelope.v != VERSION or isinstance(envelope.v, bool):
        told = "without its version" if envelope.v is None else f"in version {_shown(envelope.v)}"
        raise Refused(
            f"The message came {told}, and this daemon speaks {VERSION}; send it with "
            f'"v": {VERSION}.',
            ErrorKind.VERSION,
            field="v",
            allowed=str(VERSION),
        )
    if not isinstance(envelope.do, str) or envelope.do not in REQUESTS:
        told = "" if envelope.do is None else str(envelope.do)[:60]
        near = get_close_matches(told, REQUESTS, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(REQUESTS)}."
        raise Refused(
            f"There is no request '{told}'; {hint}",
            ErrorKind.REQUEST,
            field="do",
            allowed=", ".join(REQUESTS),
            hint=hint,
        )
    try:
        request: Request[Any] = _DECODERS[envelope.do].decode(message)
    except msgspec.ValidationError as error:
        raise _wrong_field(REQUESTS[envelope.do], message, str(error)) from None
    except msgspec.DecodeError as error:  # in a text, which is looked into only now
        raise _no_object(str(error)) from None
    return request


def encode_answer(identity: str | None, answer: Result | Refused) -> bytes:
    """The answer to the request with that id."""
    if isinstance(answer, Refused):
        said = Answer(VERSION, identity, False, error=answer.problem)
    else:
        said = Answer(VERSION, identity, True, msgspec.Raw(_ENCODER.encode(answer)))
    return _ENCODER.encode(said)


def decode_answer(message: bytes, request: type[Request[ResultT_co]]) -> ResultT_co:
    """The result in an answer to that kind of request; raises the :class:`Refused` in it."""
    answer = _ANSWER.decode(message)
    if answer.error is not None:
        problem = answer.error
        raise Refused(
            problem.text,
            problem.kind,
            field=problem.field,
            allowed=problem.allowed,
            hint=problem.hint,
        )
    result: ResultT_co = _RESULTS[str(request.__struct_config__.tag)].decode(answer.result)
    return result


def answer_id(message: bytes) -> str | None:
    """The id of an answer."""
    return _ANSWER.decode(message).id


def encode_event(event: Event) -> bytes:
    """An event: its topic, a space, and one JSON object."""
    topic = str(event.__struct_config__.tag)
    return b'%b {"v":%d,%b' % (topic.encode("ascii"), VERSION, _ENCODER.encode(event)[1:])


def decode_event(message: bytes) -> Event | None:
    """The event in a message; None for one that a newer daemon knows and we do not."""
    topic, _, body = message.partition(b" ")
    decoder = _EVENTS.get(topic.decode("ascii", "replace"))
    return None if decoder is None else decoder.decode(body)


# -- values -----------------------------------------------------------------------------------


def with_values(settings: Settings, values: Mapping[str, object]) -> Settings:
    """These settings with other values; raises :class:`Refused` with the parameter's range."""
    for path, value in values.items():
        try:
            parameter = find_parameter(path)
        except LofidError as error:
            raise Refused(
                str(error),
                ErrorKind.UNKNOWN,
                field=path,
                allowed="a path from 'parameters'",
                hint=str(error).partition("; ")[2],
            ) from None
        try:
            settings = settings.with_value(path, value)
        except LofidError as error:
            raise Refused(
                str(error),
                ErrorKind.FIELD,
                field=path,
                allowed=parameter.allowed,
                hint=f"the default is {parameter.plain(parameter.default)}",
            ) from None
    return settings


def in_words(kind: msgspec.inspect.Type) -> str:
    """What a field takes, such as ``a whole number from 1 to 256``."""
    match kind:
        case msgspec.inspect.Metadata():
            most = (kind.extra_json_schema or {}).get("maximum")
            if isinstance(kind.type, msgspec.inspect.IntType) and most is not None:
                return in_words(msgspec.structs.replace(kind.type, le=most))
            return in_words(kind.type)
        case msgspec.inspect.BoolType():
            return "true or false"
        case msgspec.inspect.IntType() | msgspec.inspect.FloatType():
            word = "a whole number" if isinstance(kind, msgspec.inspect.IntType) else "a number"
            limited = kind.ge is not None and kind.le is not None
            return f"{word} from {kind.ge} to {kind.le}" if limited else word
        case msgspec.inspect.StrType():
            if kind.pattern is not None and kind.max_length is None:
                return "1 to 32 letters, digits, - and _, beginning with a letter or digit"
            limit = f" of at most {kind.max_length} characters" if kind.max_length else ""
            return f"a text{limit}"
        case msgspec.inspect.EnumType():
            return f"one of {', '.join(str(member) for member in kind.cls)}"
        case msgspec.inspect.DictType():
            return f"an object, each value {in_words(kind.value_type)}"
        case msgspec.inspect.ListType():
            return f"a list, each item {in_words(kind.item_type)}"
        case msgspec.inspect.StructType():
            return f"a {kind.cls.__name__}"
        case msgspec.inspect.UnionType():
            members = [member for member in kind.types if not _goes_without_saying(kind, member)]
            return ", or ".join(in_words(member) for member in members)
        case msgspec.inspect.NoneType():
            return "null"
        case _:
            return "anything"


def _goes_without_saying(union: msgspec.inspect.UnionType, member: msgspec.inspect.Type) -> bool:
    """Whether these are whole numbers beside numbers of all kinds."""
    return isinstance(member, msgspec.inspect.IntType) and any(
        isinstance(other, msgspec.inspect.FloatType) for other in union.types
    )


def field_words(message: type[Struct], name: str) -> str:
    """What a field of a message takes, in words."""
    info = msgspec.inspect.type_info(message)
    assert isinstance(info, msgspec.inspect.StructType)
    return next(in_words(field.type) for field in info.fields if field.encode_name == name)


def _wrong_field(request: type[Request[Any]], message: bytes, complaint: str) -> Refused:
    """Msgspec's complaint, as one of ours: with the field, what it got, and what it takes."""
    do = request.__struct_config__.tag
    place = re.search(r"missing required field `(\w+)`|\$\.(\w+)", complaint)
    name = (place[1] or place[2]) if place else ""
    if place is None or name not in request.__struct_fields__:
        # Of a field that comes twice, the envelope has read the last, and the request the first.
        return Refused(
            f"The message has the field '{name or 'do'}' more than once; send each field once.",
            ErrorKind.MESSAGE,
            field=name or None,
            allowed="each field once",
        )
    allowed = field_words(request, name)
    if place[1]:
        text = f"'{do}' needs the field '{name}': {allowed}."
    else:
        got = _RAW.decode(message)[name]
        text = f"'{name}' of '{do}' cannot be {_shown(got)}; it takes {allowed}."
    return Refused(text, ErrorKind.FIELD, field=name, allowed=allowed)


def _shown(value: object) -> str:
    """A value as JSON, cut to a length that one can read."""
    shown = _ENCODER.encode(value).decode("utf-8", "replace")
    return shown if len(shown) <= 60 else shown[:57] + "…"
