"""The one table of parameters: everything a preset, an option or a knob may set.

Each group is a frozen dataclass whose fields carry their description, unit and range, so that
``settings.music.tempo`` is typed for its user while the table of all parameters
(:data:`PARAMETERS`) is read off the very same classes. Preset files, their validation, the help
texts and the reference documentation all derive from it: to add a parameter, add a field.

This module knows no files: whoever reads a preset passes the place along for error messages.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from enum import Enum, StrEnum
from reprlib import Repr
from typing import Any, TypeVar

from lofid.errors import LofidError
from lofid.music.chords import Key
from lofid.music.notes import Part

# What somebody sent may be of any length; a sentence is not.
_brief = Repr()
_brief.maxstring = 80
_brief.maxlist = 12

HIGHEST_SEED = 2**64 - 1
"""Seeds, which are given beside parameters, are whole numbers from 0 to this."""

_Choice = TypeVar("_Choice", bound=StrEnum)


class Effect(StrEnum):
    """When a changed value is heard."""

    MUSICAL = "at the next bar line"
    SONG = "with the next song"
    MIX = "at once"


class ParameterKind(Enum):
    """What a parameter's value is, in the words of an error message."""

    NUMBER = "a number"
    INTEGER = "a whole number"
    FLAG = "true or false"
    CHOICE = "one of"
    CHOICES = "a list of"
    PALETTE = "one or several of"
    KEYS = "a list of keys such as Eb or F#m"
    TEXT = "text"
    CONTROLS = "a list of MIDI controls such as '74 sound.low_pass' or '1:7 mix.keys'"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One row of the table.

    ``unit`` is empty for pure numbers and choices; ``minimum`` and ``maximum`` are inclusive and
    None where the kind has no range; the maximum of a text is its length. ``options`` is empty
    unless the kind is a choice.
    ``group`` and ``name`` are the TOML table and key.
    """

    group: str
    name: str
    kind: ParameterKind
    unit: str
    minimum: float | None
    maximum: float | None
    options: type[StrEnum] | None
    default: object
    description: str
    effect: Effect

    @property
    def path(self) -> str:
        """Group and name, such as ``music.tempo``."""
        return f"{self.group}.{self.name}"

    @property
    def allowed(self) -> str:
        """The allowed values in words."""
        unit = f" {self.unit}" if self.unit else ""
        if self.maximum is not None:
            least = "of at most" if self.minimum is None else f"from {self.minimum:g} to"
            return f"{self.kind.value} {least} {self.maximum:g}{unit}"
        if self.options is not None:
            return f"{self.kind.value} {', '.join(self.options)}"
        return self.kind.value

    def checked(self, value: object, where: str = "") -> object:
        """The value in its own type; raises :class:`LofidError` if it is not allowed.

        ``value`` is plain data as TOML or JSON give it (an enum member passes too); ``where``
        says in whose words it came, such as ``study.toml, line 4``.
        """
        try:
            return self._converted(value)
        except (TypeError, ValueError, OverflowError, LofidError) as error:
            place = f" ({where})" if where else ""
            detail = f" {error}" if isinstance(error, LofidError) else ""
            shown = _brief.repr(value)
            raise LofidError(
                f"{self.path} cannot be {shown}{place}; it takes {self.allowed}.{detail}"
            ) from None

    def plain(self, value: object) -> object:
        """A checked value as plain data, the inverse of :meth:`checked`."""
        if isinstance(value, tuple):
            items = [
                item.symbol if isinstance(item, Key | Control) else str(item) for item in value
            ]
            return items[0] if self.kind is ParameterKind.PALETTE and len(items) == 1 else items
        return str(value) if isinstance(value, StrEnum) else value

    def _converted(self, value: object) -> object:
        match self.kind:
            case ParameterKind.NUMBER | ParameterKind.INTEGER:
                if isinstance(value, bool) or not isinstance(value, int | float):
                    raise TypeError
                if self.kind is ParameterKind.INTEGER and value != int(value):
                    raise ValueError
                if not (self.minimum or 0.0) <= value <= (self.maximum or 0.0):
                    raise ValueError
                return float(value) if self.kind is ParameterKind.NUMBER else int(value)
            case ParameterKind.FLAG:
                if not isinstance(value, bool):
                    raise TypeError
                return value
            case ParameterKind.CHOICE:
                return self._option(value)
            case ParameterKind.CHOICES:
                return tuple(self._option(item) for item in _non_empty_list(value))
            case ParameterKind.PALETTE:
                several = value if isinstance(value, list | tuple) else [value]
                return tuple(dict.fromkeys(self._option(item) for item in _non_empty_list(several)))
            case ParameterKind.KEYS:
                return tuple(
                    item if isinstance(item, Key) else Key.parse(str(item))
                    for item in _non_empty_list(value)
                )
            case ParameterKind.TEXT:
                if not isinstance(value, str):
                    raise TypeError
                if len(value) > (self.maximum or 0.0) or not value.isprintable():
                    raise ValueError
                return value
            case ParameterKind.CONTROLS:
                if not isinstance(value, list | tuple):
                    raise TypeError
                return tuple(
                    item if isinstance(item, Control) else Control.parse(str(item))
                    for item in value
                )

    def _option(self, value: object) -> StrEnum:
        assert self.options is not None
        return self.options(str(value))


def _non_empty_list(value: object) -> list[Any] | tuple[Any, ...]:
    if not isinstance(value, list | tuple) or not value:
        raise TypeError
    return value


def _row(
    kind: ParameterKind, description: str, effect: Effect, **details: object
) -> dict[str, object]:
    """A field's metadata: the parameter but for its name, group and default."""
    blank = {"unit": "", "minimum": None, "maximum": None, "options": None}
    return {**blank, **details, "kind": kind, "description": description, "effect": effect}


def number(
    default: float, minimum: float, maximum: float, unit: str, description: str, *, effect: Effect
) -> float:
    """A field that holds a number between minimum and maximum, both included."""
    details = {"minimum": minimum, "maximum": maximum, "unit": unit}
    metadata = _row(ParameterKind.NUMBER, description, effect, **details)
    return field(default=float(default), metadata=metadata)


def integer(
    default: int, minimum: int, maximum: int, unit: str, description: str, *, effect: Effect
) -> int:
    """A field that holds a whole number between minimum and maximum, both included."""
    details = {"minimum": minimum, "maximum": maximum, "unit": unit}
    return field(
        default=default, metadata=_row(ParameterKind.INTEGER, description, effect, **details)
    )


def flag(default: bool, description: str, *, effect: Effect) -> bool:
    """A field that is on or off."""
    return field(default=default, metadata=_row(ParameterKind.FLAG, description, effect))


def choice(default: _Choice, description: str, *, effect: Effect) -> _Choice:
    """A field that holds one member of the default's enum."""
    metadata = _row(ParameterKind.CHOICE, description, effect, options=type(default))
    return field(default=default, metadata=metadata)


def choices(
    default: tuple[_Choice, ...], description: str, *, effect: Effect
) -> tuple[_Choice, ...]:
    """A field that holds one or more members of the default's enum."""
    metadata = _row(ParameterKind.CHOICES, description, effect, options=type(default[0]))
    return field(default=default, metadata=metadata)


def palette(
    default: tuple[_Choice, ...], description: str, *, effect: Effect
) -> tuple[_Choice, ...]:
    """A field that holds members of the default's enum, of which each song draws one.

    One alone may be given as it is, without a list.
    """
    metadata = _row(ParameterKind.PALETTE, description, effect, options=type(default[0]))
    return field(default=default, metadata=metadata)


def keys(default: tuple[Key, ...], description: str, *, effect: Effect) -> tuple[Key, ...]:
    """A field that holds one or more keys."""
    return field(default=default, metadata=_row(ParameterKind.KEYS, description, effect))


def text(default: str, longest: int, description: str, *, effect: Effect) -> str:
    """A field that holds printable text of at most ``longest`` characters; it may be empty."""
    details = {"maximum": longest, "unit": "characters"}
    return field(default=default, metadata=_row(ParameterKind.TEXT, description, effect, **details))


_CONTROL = re.compile(r"(?:(\d+):)?(\d+) +([\w.]+)")
HIGHEST_CONTROL = 119
"""Above lie MIDI's channel mode messages, which no knob sends."""
PREPARING_CONTROLS = frozenset({0, 32, 98, 99, 100, 101})
"""Bank select and the numbers of (non-)registered parameters: they say what the next message is
about, and the knob's place comes with that."""


@dataclass(frozen=True, slots=True)
class Control:
    """A MIDI controller that sets a parameter.

    ``channel`` is 1-16, or None for whichever; ``control`` 0-119; ``path`` names a parameter that
    holds one number, choice or flag.
    """

    channel: int | None
    control: int
    path: str

    @property
    def symbol(self) -> str:
        """``74 sound.low_pass``, or ``1:74 sound.low_pass`` for channel 1 alone."""
        channel = "" if self.channel is None else f"{self.channel}:"
        return f"{channel}{self.control} {self.path}"

    @classmethod
    def parse(cls, symbol: str) -> "Control":
        """Read ``[CHANNEL:]CONTROL PATH``; raises :class:`LofidError` for what it cannot mean."""
        match = _CONTROL.fullmatch(symbol.strip())
        if match is None:
            raise LofidError(f"'{symbol}' is no control; write one such as '74 sound.low_pass'.")
        channel = None if match[1] is None else int(match[1])
        if channel is not None and not 1 <= channel <= 16:
            raise LofidError(f"In '{symbol}', the channel must be 1 to 16.")
        if int(match[2]) > HIGHEST_CONTROL:
            raise LofidError(f"In '{symbol}', the control must be 0 to {HIGHEST_CONTROL}.")
        if find_parameter(match[3]).kind not in _TURNED:
            raise LofidError(f"No controller can set {match[3]}; choose a number, choice or flag.")
        return cls(channel, int(match[2]), match[3])

    def hears(self, channel: int, control: int) -> bool:
        """Whether this is the controller ``control`` (0-127) of ``channel`` (1-16)."""
        return self.control == control and self.channel in (None, channel)

    def value(self, position: int) -> object:
        """The parameter's value, as plain data, where the controller stands at 0-127.

        0 is the least and 127 the most; frequencies move by equal intervals. Flags are on from 64.
        """
        row = PARAMETERS[self.path]
        if row.kind is ParameterKind.FLAG:
            return position >= 64
        if row.options is not None:
            return str(list(row.options)[position * len(row.options) // 128])
        assert row.minimum is not None and row.maximum is not None
        share = position / 127
        if row.unit == "Hz":
            number = row.minimum * (row.maximum / row.minimum) ** share
        else:
            number = row.minimum + (row.maximum - row.minimum) * share
        return round(number) if row.kind is ParameterKind.INTEGER else min(number, row.maximum)


_TURNED = (
    ParameterKind.NUMBER,
    ParameterKind.INTEGER,
    ParameterKind.FLAG,
    ParameterKind.CHOICE,
    ParameterKind.PALETTE,
)
"""What one controller can set."""


def controls(
    default: tuple[Control, ...], description: str, *, effect: Effect
) -> tuple[Control, ...]:
    """A field that holds any number of MIDI controls, none too."""
    return field(default=default, metadata=_row(ParameterKind.CONTROLS, description, effect))


class Mood(StrEnum):
    """The families of chord progressions a song may choose from."""

    MELLOW = "mellow"
    BRIGHT = "bright"
    DARK = "dark"
    JAZZ = "jazz"
    SOUL = "soul"


class DrumStyle(StrEnum):
    """The playing the drums are asked for; ``any`` leaves it to the model."""

    ANY = "any"
    HIPHOP = "hiphop"
    FUNK = "funk"
    SOUL = "soul"
    JAZZ = "jazz"
    ROCK = "rock"


class Instrument(StrEnum):
    """What plays the chords or the melody."""

    PIANO = "piano"
    RHODES = "rhodes"
    WURLITZER = "wurlitzer"
    CELESTA = "celesta"
    MUSIC_BOX = "music-box"
    VIBRAPHONE = "vibraphone"
    MARIMBA = "marimba"
    NYLON_GUITAR = "nylon-guitar"
    JAZZ_GUITAR = "jazz-guitar"
    HARP = "harp"
    FLUTE = "flute"
    PAD = "pad"
    KALIMBA = "kalimba"


class BassInstrument(StrEnum):
    """What plays the bass line."""

    UPRIGHT = "upright"
    FINGERED = "fingered"
    FRETLESS = "fretless"


class Kit(StrEnum):
    """The drum kit."""

    ACOUSTIC = "acoustic"
    MACHINE = "808"
    JAZZ = "jazz"
    BRUSHES = "brushes"


def _keys_of(*symbols: str) -> tuple[Key, ...]:
    return tuple(Key.parse(symbol) for symbol in symbols)


@dataclass(frozen=True, slots=True)
class Music:
    """``[music]``: what is played."""

    tempo: float = number(
        80,
        60,
        100,
        "BPM",
        "Tempo around which each song chooses its own; set by hand, it is every song's.",
        effect=Effect.MUSICAL,
    )
    tempo_spread: float = number(
        8, 0, 12, "BPM", "How far a song's tempo may lie from it.", effect=Effect.MUSICAL
    )
    keys: tuple[Key, ...] = keys(
        _keys_of("C", "Eb", "F", "Bb", "Am", "Cm", "Dm", "Gm"),
        "Keys a song chooses from.",
        effect=Effect.MUSICAL,
    )
    moods: tuple[Mood, ...] = choices(
        (Mood.MELLOW, Mood.JAZZ, Mood.SOUL),
        "Families of chord progressions a song chooses from.",
        effect=Effect.SONG,
    )
    borrowed: float = number(
        0.15, 0, 1, "", "Share of loops with chords from outside the key.", effect=Effect.SONG
    )
    parts: tuple[Part, ...] = choices(
        (Part.KEYS, Part.MELODY, Part.BASS, Part.DRUMS), "Who plays.", effect=Effect.MUSICAL
    )
    density: float = number(
        0.4,
        0,
        1,
        "",
        "How many notes: 0 fewest, 1 most.",
        effect=Effect.MUSICAL,
    )
    energy: float = number(0.4, 0, 1, "", "How hard: 0 softest, 1 hardest.", effect=Effect.MUSICAL)
    melody: float = number(
        0.4, 0, 1, "", "How much melody above the chords: 0 is none.", effect=Effect.MUSICAL
    )
    broken: float = number(
        0.15,
        0,
        1,
        "",
        "How broken the chords are: 0 struck together, 1 as pianists of pop ballads break them.",
        effect=Effect.MUSICAL,
    )
    pedal: float = number(
        0.9,
        0,
        1,
        "",
        "How long chords ring: 0 as short as they are written, 1 until the next chord.",
        effect=Effect.MUSICAL,
    )
    register: float = number(
        60, 52, 68, "MIDI pitch", "Middle of the chords; 60 is middle C.", effect=Effect.MUSICAL
    )


@dataclass(frozen=True, slots=True)
class Form:
    """``[form]``: how a song is laid out."""

    section_bars: int = integer(
        16,
        8,
        64,
        "bars",
        "Length of a section A or B, rounded to whole loops.",
        effect=Effect.SONG,
    )
    sections: int = integer(
        3, 1, 8, "sections", "How many sections A and B a song has.", effect=Effect.SONG
    )
    spread: float = number(
        0.5,
        0,
        1,
        "",
        "How far songs differ in layout, swing, tape, texture and room; 0 is not at all.",
        effect=Effect.SONG,
    )
    intro: bool = flag(True, "Open a song without drums.", effect=Effect.SONG)
    breaks: bool = flag(True, "Take layers away between sections.", effect=Effect.SONG)
    variation: float = number(
        0.4,
        0,
        1,
        "",
        "How much of a loop is written anew when it returns.",
        effect=Effect.MUSICAL,
    )


@dataclass(frozen=True, slots=True)
class Groove:
    """``[groove]``: how it is played."""

    style: DrumStyle = choice(  # noqa: RUF009 - it is a dataclasses.field
        DrumStyle.HIPHOP, "The drums' way of playing.", effect=Effect.MUSICAL
    )
    drum_density: float = number(
        0.4,
        0,
        1,
        "",
        "How many drum hits: 0 fewest, 1 most.",
        effect=Effect.MUSICAL,
    )
    swing: float = number(
        58,
        50,
        66.7,
        "%",
        "Share of an eighth that its first sixteenth takes; 50 is straight.",
        effect=Effect.MUSICAL,
    )
    snare_delay: float = number(
        8, -25, 30, "ms", "How late the backbeat lies; negative is early.", effect=Effect.MUSICAL
    )
    hat_delay: float = number(
        0, -15, 25, "ms", "How late the hats and rides lie.", effect=Effect.MUSICAL
    )
    bass_delay: float = number(12, 0, 35, "ms", "How late the bass lies.", effect=Effect.MUSICAL)
    looseness: float = number(
        4,
        0,
        15,
        "ms",
        "Spread of each voice's own timing, the same in every pass of a loop.",
        effect=Effect.MUSICAL,
    )
    ghosts: float = number(
        0.5, 0, 1, "", "How many ghost notes the snare has.", effect=Effect.MUSICAL
    )
    fills: float = number(
        0.5, 0, 1, "", "How often a loop ends with a drum fill.", effect=Effect.MUSICAL
    )


@dataclass(frozen=True, slots=True)
class Sound:
    """``[sound]``: instruments, texture and effects.

    Where several instruments are named for a part, each song draws one of them.
    """

    keys: tuple[Instrument, ...] = palette(
        (Instrument.RHODES,), "What plays the chords.", effect=Effect.MIX
    )
    melody: tuple[Instrument, ...] = palette(
        (Instrument.VIBRAPHONE,), "What plays the melody.", effect=Effect.MIX
    )
    bass: tuple[BassInstrument, ...] = palette(
        (BassInstrument.UPRIGHT,), "What plays the bass.", effect=Effect.MIX
    )
    kit: tuple[Kit, ...] = palette((Kit.JAZZ,), "The drum kit.", effect=Effect.MIX)
    punch: float = number(
        0.5, 0, 1, "", "How hard the drums are pressed and driven, and how dull.",
        effect=Effect.MIX,
    )  # fmt: skip
    low_pass: float = number(
        9000, 1000, 20000, "Hz", "Where the highs begin to go.", effect=Effect.MIX
    )
    saturation: float = number(
        0.3, 0, 1, "", "How hard tape, keys and bass are driven.", effect=Effect.MIX
    )
    wow: float = number(
        0.12, 0, 1, "%", "Slow wavering of the pitch, below 1 Hz.", effect=Effect.MIX
    )
    flutter: float = number(
        0.08, 0, 0.5, "%", "Fast trembling of the pitch, about 7 Hz.", effect=Effect.MIX
    )
    crush_bits: float = number(
        12, 6, 16, "bit", "Resolution of the sampler that the music went through.",
        effect=Effect.MIX,
    )  # fmt: skip
    crush_rate: float = number(
        26.04, 6, 48, "kHz", "Sampling rate of that sampler.", effect=Effect.MIX
    )
    crush: float = number(
        0.3, 0, 1, "", "How much of the music goes through it.", effect=Effect.MIX
    )
    vinyl: float = number(0.4, 0, 1, "", "Hiss and crackle of a record.", effect=Effect.MIX)
    rain: float = number(0, 0, 1, "", "Rain at the window.", effect=Effect.MIX)
    cafe: float = number(0, 0, 1, "", "A café around the music.", effect=Effect.MIX)
    night: float = number(0, 0, 1, "", "A summer night, with crickets.", effect=Effect.MIX)
    street: float = number(0, 0, 1, "", "A street below, with cars.", effect=Effect.MIX)
    reverb: float = number(0.25, 0, 1, "", "Room around the keys and drums.", effect=Effect.MIX)
    chorus: float = number(0.2, 0, 1, "", "Width of the keys.", effect=Effect.MIX)
    tremolo: float = number(
        0, 0, 1, "", "How deep the keys sway from side to side.", effect=Effect.MIX
    )
    sidechain: float = number(
        3, 0, 12, "dB", "How far the kick pushes the keys down.", effect=Effect.MIX
    )


@dataclass(frozen=True, slots=True)
class Mix:
    """``[mix]``: loudness of the whole, and of the parts against a balanced mix."""

    loudness: float = number(
        -16, -30, -12, "LUFS", "Integrated loudness of the mix.", effect=Effect.MIX
    )
    keys: float = number(0, -40, 6, "dB", "Level of keys and melody.", effect=Effect.MIX)
    melody: float = number(
        0, -40, 6, "dB", "Level of the melody against the keys.", effect=Effect.MIX
    )
    bass: float = number(0, -40, 6, "dB", "Level of the bass.", effect=Effect.MIX)
    drums: float = number(0, -40, 6, "dB", "Level of the drums.", effect=Effect.MIX)
    texture: float = number(0, -40, 6, "dB", "Level of vinyl, rain and places.", effect=Effect.MIX)


FROM_SOUND = -1
"""The MIDI program that stands for the one of the chosen instrument."""


def _channel(default: int, part: Part) -> int:
    description = f"Channel of the {part}."
    return integer(default, 1, 16, "", description, effect=Effect.MIX)


def _program(part: Part) -> int:
    description = f"Program of the {part}; -1 is that of its instrument in [sound]."
    return integer(FROM_SOUND, FROM_SOUND, 127, "", description, effect=Effect.MIX)


def _port(part: Part) -> str:
    description = f"The MIDI output that alone gets the {part}, by its name; empty for all."
    return text("", 64, description, effect=Effect.MIX)


@dataclass(frozen=True, slots=True)
class Midi:
    """``[midi]``: what goes out to MIDI ports, and what is taken from them."""

    keys_channel: int = _channel(1, Part.KEYS)
    melody_channel: int = _channel(2, Part.MELODY)
    bass_channel: int = _channel(3, Part.BASS)
    drums_channel: int = _channel(10, Part.DRUMS)
    keys_program: int = _program(Part.KEYS)
    melody_program: int = _program(Part.MELODY)
    bass_program: int = _program(Part.BASS)
    drums_program: int = _program(Part.DRUMS)
    keys_port: str = _port(Part.KEYS)
    melody_port: str = _port(Part.MELODY)
    bass_port: str = _port(Part.BASS)
    drums_port: str = _port(Part.DRUMS)
    clock: bool = flag(False, "Send MIDI clock, start, stop and song position.", effect=Effect.MIX)
    follow: bool = flag(
        False, "Follow the MIDI clock, start and stop of another program.", effect=Effect.MIX
    )
    controls: tuple[Control, ...] = controls(
        (), "Controllers, with their channel or from any, that set a parameter.", effect=Effect.MIX
    )

    def channel(self, part: Part) -> int:
        """The channel (1-16) of a part."""
        channel: int = getattr(self, f"{part}_channel")
        return channel

    def program(self, part: Part) -> int:
        """The program (0-127) of a part, or :data:`FROM_SOUND`."""
        program: int = getattr(self, f"{part}_program")
        return program

    def port(self, part: Part) -> str:
        """The name of the only output that gets a part; empty where all do."""
        port: str = getattr(self, f"{part}_port")
        return port

    def turned(self, channel: int, control: int, position: int) -> Iterator[tuple[str, object]]:
        """Path and plain value of every parameter that a controller sets at that position.

        ``channel`` is 1-16, ``control`` and ``position`` 0-127.
        """
        for one in self.controls:
            if one.hears(channel, control):
                yield one.path, one.value(position)


@dataclass(frozen=True, slots=True)
class Settings:
    """A value for every parameter: what a preset is once it has been read."""

    music: Music = field(default_factory=Music)
    form: Form = field(default_factory=Form)
    groove: Groove = field(default_factory=Groove)
    sound: Sound = field(default_factory=Sound)
    mix: Mix = field(default_factory=Mix)
    midi: Midi = field(default_factory=Midi)

    def with_value(self, path: str, value: object, where: str = "") -> "Settings":
        """These settings with one parameter changed, checked against the table.

        ``path`` is such as ``music.tempo``, ``value`` plain data. Raises :class:`LofidError` for
        an unknown path (naming the nearest known ones) or a value that is not allowed.
        """
        parameter = find_parameter(path, where)
        group = getattr(self, parameter.group)
        changed = replace(group, **{parameter.name: parameter.checked(value, where)})
        return replace(self, **{parameter.group: changed})

    def value(self, path: str) -> object:
        """The value of the parameter at a path such as ``music.tempo``."""
        parameter = find_parameter(path)
        value: object = getattr(getattr(self, parameter.group), parameter.name)
        return value


GROUPS: dict[str, type] = {
    "music": Music,
    "form": Form,
    "groove": Groove,
    "sound": Sound,
    "mix": Mix,
    "midi": Midi,
}
"""The dataclass of each group, in the order of the documentation."""


def _table() -> dict[str, Parameter]:
    rows = (
        Parameter(group=group, name=row.name, default=row.default, **row.metadata)
        for group, members in GROUPS.items()
        for row in fields(members)
    )
    return {row.path: row for row in rows}


PARAMETERS: Mapping[str, Parameter] = _table()
"""Every parameter by its path, such as ``music.tempo``."""


def find_parameter(path: str, where: str = "") -> Parameter:
    """The parameter at a path; raises :class:`LofidError` naming the nearest paths."""
    if path in PARAMETERS:
        return PARAMETERS[path]
    name = path.rsplit(".", maxsplit=1)[-1]
    same_name = [known for known, row in PARAMETERS.items() if row.name == name]
    near = same_name or get_close_matches(path, PARAMETERS, n=3, cutoff=0.5)
    place = f" ({where})" if where else ""
    advice = f"did you mean {' or '.join(near)}?" if near else f"groups are {', '.join(GROUPS)}."
    raise LofidError(f"There is no parameter '{path}'{place}; {advice}")


def as_meant(values: Mapping[str, object]) -> dict[str, object]:
    """The values that somebody sets by hand, by path, with what they mean beside.

    Whoever names a tempo and no spread means that tempo: every song has it.
    """
    if "music.tempo" in values and "music.tempo_spread" not in values:
        return {**values, "music.tempo_spread": 0}
    return dict(values)
