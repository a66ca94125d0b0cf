"""Sessions as files: a moment of the music, whole, in one ``.lofistate`` file.

The form is safetensors: the models' states as arrays, everything else as JSON in the header. People
give these files to each other, so nothing in them is executed, and nothing is believed that was
not checked: a damaged or hostile file ends in a sentence.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save as serialized

from lofid import __version__
from lofid.compose.chance import checked_seed
from lofid.compose.form import Layout, LoopName, Song, Stretch
from lofid.compose.station import DrumsMemory, KeysMemory, LoopMemory, SessionState, Tokens
from lofid.errors import LofidError
from lofid.files import opened_file, read_file, write_durably
from lofid.music.chords import Chord, Key, Mode
from lofid.music.parameters import (
    PARAMETERS,
    BassInstrument,
    Instrument,
    Kit,
    Mood,
    Settings,
)
from lofid.music.plan import Face, Section
from lofid.music.progressions import Progression
from lofid.rwkv.config import HEAD_SIZE
from lofid.rwkv.state import ModelState
from lofid.tokens import drums, keys
from lofid.tokens.grammar import TokenError

SUFFIX = ".lofistate"

FORMAT = 2
"""Goes up when an older lofid could no longer read the file."""

_READ = (1, FORMAT)
"""What this one reads; what a file of an older format does not say of a song is as it was then."""

MOST_BYTES = 64 * 2**20
"""A file beyond this is no session: one of the largest models takes 17 MB."""

_TITLE: Final = "lofid-session"
"""Name of the one metadata entry: the digest of the file and, after a space, the header."""

_FIELDS: Final = ("att_shift", "ffn_shift", "wkv")


@dataclass(frozen=True, slots=True)
class Moment:
    """A session at one moment: all that is needed to go on from it elsewhere.

    ``models`` and ``vocabularies`` are hashes by player (``keys``, ``drums``): the state means
    something to these weights only. ``preset`` and ``description`` are for people.
    """

    state: SessionState
    settings: Settings
    models: Mapping[str, str]
    vocabularies: Mapping[str, str]
    created: datetime
    preset: str = ""
    description: str = ""
    lofid: str = __version__


@dataclass(frozen=True, slots=True)
class Label:
    """What is written on a session file, read without its arrays; see :class:`Moment`."""

    seed: int
    bar: int
    """How many bars the session had played."""
    models: Mapping[str, str]
    vocabularies: Mapping[str, str]
    created: datetime
    preset: str
    description: str
    lofid: str


# -- the header, as msgspec reads and checks it ------------------------------------------------

_Count = Annotated[int, Meta(ge=0, le=2**48)]
_Text = Annotated[str, Meta(max_length=2000)]
_Name = Annotated[str, Meta(max_length=200)]
_Event = Annotated[int, Meta(ge=0, le=2**16)]
_Kept = Annotated[list[Annotated[list[_Event], Meta(max_length=1000)] | None], Meta(max_length=16)]
_Value = bool | int | float | _Name | Annotated[list[_Name], Meta(max_length=1000)]
_Array = Annotated[int, Meta(ge=0, le=63)]
"""Number of a model's state among the file's arrays."""


class _Strict(msgspec.Struct, forbid_unknown_fields=True):
    pass


class _Loop(_Strict):
    mode: Mode
    moods: Annotated[list[Mood], Meta(max_length=10)]
    source: _Name
    bars: Annotated[
        list[Annotated[list[_Name], Meta(min_length=1, max_length=2)]],
        Meta(min_length=1, max_length=16),
    ]


class _Stretch(_Strict):
    section: Section
    loop: LoopName
    passes: Annotated[int, Meta(ge=1, le=64)]
    variant: Annotated[int, Meta(ge=0, le=64)] = 0


_Factor = Annotated[float, Meta(ge=0.25, le=4)]


class _Face(_Strict):
    keys: Instrument
    melody: Instrument
    bass: BassInstrument
    kit: Kit
    low_pass: _Factor
    wow: _Factor
    vinyl: _Factor
    reverb: _Factor


class _Song(_Strict):
    number: _Count
    key: _Name
    tempo_place: Annotated[float, Meta(ge=-1, le=1)]
    a: _Loop
    b: _Loop
    stretches: Annotated[list[_Stretch], Meta(min_length=1, max_length=64)]
    breaks: bool
    layout: Layout = Layout.ARCH
    face: _Face | None = None
    dice: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0
    ending: Annotated[int, Meta(ge=0, le=4)] = 0


class _Memory(_Strict):
    comping: _Kept
    lead: _Kept
    drums: _Kept
    repeats: Annotated[list[_Count], Meta(max_length=16)]
    after_keys: _Array | None
    after_drums: _Array | None


class _State(_Strict):
    seed: Annotated[int, Meta(ge=0)]
    index: _Count
    bar: _Count
    song: _Song
    keys: _Array
    drums: _Array
    a: _Memory | None
    b: _Memory | None
    pushed: bool = False


class _Header(_Strict):
    format: int
    lofid: _Name
    created: Annotated[datetime, Meta(tz=True)]
    preset: _Name
    description: _Text
    models: dict[_Name, _Name]
    vocabularies: dict[_Name, _Name]
    settings: dict[_Name, _Value]
    state: _State


class _Format(msgspec.Struct):
    """As much of a header as every version has."""

    format: int


# -- writing ----------------------------------------------------------------------------------


def encoded(moment: Moment) -> bytes:
    """The content of a session file. The same moment gives the same bytes."""
    pool = _Pool()
    state = moment.state
    header = _Header(
        format=FORMAT,
        lofid=moment.lofid,
        created=moment.created,
        preset=moment.preset,
        description=moment.description,
        models=dict(moment.models),
        vocabularies=dict(moment.vocabularies),
        settings=plain_settings(moment.settings),
        state=_State(
            seed=state.seed,
            index=state.index,
            bar=state.bar,
            song=_written_song(state.song),
            keys=pool.number(state.keys),
            drums=pool.number(state.drums),
            a=_written_memory(state.a, pool),
            b=_written_memory(state.b, pool),
            pushed=state.pushed,
        ),
    )
    text = msgspec.json.encode(header)
    arrays = pool.arrays()
    # One entry: several would come in an order that changes from write to write.
    return serialized(arrays, metadata={_TITLE: f"{_digest(text, arrays)} {text.decode()}"})


def plain_settings(settings: Settings) -> dict[str, Any]:
    """The values of all parameters as plain data."""
    return {path: row.plain(settings.value(path)) for path, row in PARAMETERS.items()}


class _Pool:
    """The models' states of a session, each different one once."""

    def __init__(self) -> None:
        self._states: list[ModelState] = []

    def number(self, state: ModelState) -> int:
        """The number under which a state is kept."""
        for number, known in enumerate(self._states):
            if same_state(known, state):
                return number
        self._states.append(state)
        return len(self._states) - 1

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """All arrays by their names in the file."""
        return {
            f"{number}.{field}": np.ascontiguousarray(getattr(state, field), np.float32)
            for number, state in enumerate(self._states)
            for field in _FIELDS
        }


def _written_song(song: Song) -> _Song:
    def loop(progression: Progression) -> _Loop:
        return _Loop(
            progression.mode,
            sorted(progression.moods),
            progression.source,
            [[chord.symbol for chord in bar] for bar in progression.bars],
        )

    return _Song(
        song.number,
        song.key.symbol,
        song.tempo_place,
        loop(song.a),
        loop(song.b),
        [_Stretch(one.section, one.loop, one.passes, one.variant) for one in song.stretches],
        song.breaks,
        song.layout,
        None if song.face is None else _Face(**asdict(song.face)),
        song.dice,
        song.ending,
    )


def _written_memory(memory: LoopMemory | None, pool: _Pool) -> _Memory | None:
    if memory is None:
        return None

    def kept(bars: Iterable[Tokens | None]) -> list[list[int] | None]:
        return [None if tokens is None else list(tokens) for tokens in bars]

    return _Memory(
        kept(memory.keys.comping),
        kept(memory.keys.lead),
        kept(memory.drums.bars),
        list(memory.repeats),
        None if memory.keys.after is None else pool.number(memory.keys.after),
        None if memory.drums.after is None else pool.number(memory.drums.after),
    )


def _digest(text: bytes, arrays: Mapping[str, NDArray[np.float32]]) -> str:
    """Of the header and all arrays, to tell a file that was damaged on its way."""
    found = hashlib.blake2b(text, digest_size=16)
    for name in sorted(arrays):
        found.update(arrays[name].tobytes())
    return found.hexdigest()


# -- reading ----------------------------------------------------------------------------------


class _Unfit(Exception):
    """What is wrong with a session's content, in words that complete a sentence."""


def decoded(content: bytes, where: str | Path) -> Moment:
    """The inverse of :func:`encoded`.

    Raises :class:`LofidError` naming ``where`` for anything that :func:`encoded` cannot give.
    """
    try:
        return _decoded(content)
    except LofidError as error:
        raise LofidError(f"The session '{where}' cannot be used: {error}") from error
    except _Unfit as error:
        raise LofidError(
            f"The session '{where}' cannot be used: {error}; get the file again."
        ) from error


def _decoded(content: bytes) -> Moment:
    if len(content) > MOST_BYTES:
        raise _Unfit(f"with {len(content)} bytes it is too large to be one")
    try:
        entries = deserialize(content)  # type: ignore[no-untyped-call]
    except SafetensorError as error:
        raise _Unfit(f"it is damaged or no session at all ({str(error)[:200]})") from error
    length = int.from_bytes(content[:8], "little")
    text, digest = _opened(content[8 : 8 + length])
    header = _header(text)
    arrays = {name: _array(name, entry) for name, entry in entries}
    if _digest(text, arrays) != digest:
        raise _Unfit("it was damaged on its way")
    return Moment(
        state=_read_state(header.state, arrays),
        settings=settings_from(header.settings),
        models=header.models,
        vocabularies=header.vocabularies,
        preset=header.preset,
        description=header.description,
        created=header.created,
        lofid=header.lofid,
    )


class _Outer(msgspec.Struct):
    """The header of the safetensors file, but for its tensors, which its own library reads."""

    metadata: dict[str, str] = msgspec.field(name="__metadata__")


def _opened(raw: bytes) -> tuple[bytes, str]:
    """Our own header and the digest of the file, from the header of the safetensors file."""
    try:
        outer = msgspec.json.decode(raw, type=_Outer)
        digest, _, text = outer.metadata[_TITLE].partition(" ")
        return text.encode(), digest
    except (msgspec.MsgspecError, KeyError, RecursionError) as error:
        raise _Unfit("it is no session of lofid") from error


def _header(text: bytes) -> _Header:
    try:
        version = msgspec.json.decode(text, type=_Format).format
        if version not in _READ:
            raise _Unfit(f"lofid {__version__} reads format {FORMAT}, and this is {version}")
        return msgspec.json.decode(text, type=_Header)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise _Unfit(f"its header does not hold what it should ({error})") from error


def _array(name: str, entry: Mapping[str, Any]) -> NDArray[np.float32]:
    if entry["dtype"] != "F32" or not name.endswith(_FIELDS):
        raise _Unfit(f"it holds a foreign array '{name[:40]}'")
    array = np.frombuffer(entry["data"], "<f4").reshape(entry["shape"])
    if not np.isfinite(array).all():
        raise _Unfit(f"its array '{name}' holds numbers that are infinite or none")
    return array


def settings_from(values: Mapping[str, Any]) -> Settings:
    """Settings from plain data; what is missing keeps its default.

    Raises :class:`LofidError` for an unknown parameter or a value that is not allowed.
    """
    settings = Settings()
    for path, value in values.items():
        settings = settings.with_value(path, value)
    return settings


def _read_state(state: _State, arrays: Mapping[str, NDArray[np.float32]]) -> SessionState:
    states = [_model_state(number, arrays) for number in range(math.ceil(len(arrays) / 3))]
    song = _read_song(state.song)
    if state.bar > song.bars:
        raise _Unfit(f"it stands at bar {state.bar} of a song of {song.bars}")
    used = {state.keys: state.keys, state.drums: state.drums}

    def chosen(number: int, like: int) -> ModelState:
        if number >= len(states) or states[number].wkv.shape != states[like].wkv.shape:
            raise _Unfit("the shapes of its arrays do not fit each other")
        used[number] = number
        return states[number]

    def memory(name: LoopName, kept: _Memory | None) -> LoopMemory | None:
        if kept is None:
            return None
        bars = len(song.loop(name).bars)
        if {len(kept.comping), len(kept.lead), len(kept.drums), len(kept.repeats)} != {bars}:
            raise _Unfit(f"what it keeps of loop {name} is not {bars} bars long")
        after_keys, after_drums = kept.after_keys, kept.after_drums
        return LoopMemory(
            KeysMemory(
                _bars(kept.comping, keys.decode_notes),
                _bars(kept.lead, keys.decode_notes),
                None if after_keys is None else chosen(after_keys, state.keys),
            ),
            DrumsMemory(
                _bars(kept.drums, drums.decode_notes),
                None if after_drums is None else chosen(after_drums, state.drums),
            ),
            tuple(kept.repeats),
        )

    if max(state.keys, state.drums) >= len(states):
        raise _Unfit("it lacks the states of its models")
    read = SessionState(
        seed=checked_seed(state.seed),
        index=state.index,
        song=song,
        bar=state.bar,
        keys=states[state.keys],
        drums=states[state.drums],
        a=memory(LoopName.A, state.a),
        b=memory(LoopName.B, state.b),
        pushed=state.pushed,
    )
    if len(used) != len(states):
        raise _Unfit("it holds arrays that it does not use")
    return read


def _model_state(number: int, arrays: Mapping[str, NDArray[np.float32]]) -> ModelState:
    try:
        state = ModelState(*(arrays[f"{number}.{field}"] for field in _FIELDS))
    except KeyError as error:
        raise _Unfit(f"it lacks the array {error}") from error
    shape = state.wkv.shape
    if (
        len(shape) != 4
        or min(shape) == 0
        or shape[2:] != (HEAD_SIZE, HEAD_SIZE)
        or state.att_shift.shape != (shape[0], shape[1] * HEAD_SIZE)
        or state.ffn_shift.shape != state.att_shift.shape
    ):
        raise _Unfit("its arrays are no states of an RWKV-6 model")
    return state


def _read_song(song: _Song) -> Song:
    def loop(one: _Loop) -> Progression:
        bars = tuple(tuple(map(Chord.parse, bar)) for bar in one.bars)
        return Progression(one.mode, frozenset(one.moods), one.source, bars)

    return Song(
        song.number,
        Key.parse(song.key),
        song.tempo_place,
        loop(song.a),
        loop(song.b),
        tuple(Stretch(one.section, one.loop, one.passes, one.variant) for one in song.stretches),
        song.breaks,
        song.layout,
        None if song.face is None else Face(**msgspec.structs.asdict(song.face)),
        song.dice,
        song.ending,
    )


def _bars(kept: Sequence[list[int] | None], decode: Any) -> tuple[Tokens | None, ...]:
    """Bars of tokens, each of them legal."""
    try:
        for tokens in kept:
            if tokens is not None:
                decode(tokens)
    except TokenError as error:
        raise _Unfit(f"a bar that it keeps is none ({error})") from error
    return tuple(None if tokens is None else tuple(tokens) for tokens in kept)


# -- files ------------------------------------------------------------------------------------


def save_moment(path: Path, moment: Moment) -> None:
    """Write a session file, complete or not at all; raises :class:`LofidError` where refused."""
    write_durably(path, encoded(moment))


def load_moment(path: Path) -> Moment:
    """Read a session file; raises :class:`LofidError` where it cannot be read or used."""
    return decoded(_content(path), path)


def read_label(path: Path) -> Label:
    """What a session file says of itself; raises :class:`LofidError` as :func:`load_moment`.

    The arrays are not looked at: loading the file may still fail.
    """
    try:
        text, _ = _opened(_head(path))
        header = _header(text)
    except _Unfit as error:
        raise LofidError(f"The session '{path}' cannot be used: {error}.") from error
    return Label(
        seed=header.state.seed,
        bar=header.state.index,
        models=header.models,
        vocabularies=header.vocabularies,
        created=header.created,
        preset=header.preset,
        description=header.description,
        lofid=header.lofid,
    )


def check_models(
    made: Moment | Label,
    models: Mapping[str, str],
    vocabularies: Mapping[str, str],
    where: str | Path,
) -> None:
    """Raise a :class:`LofidError` unless a session was made by these weights.

    Hashes by player, as in :class:`Moment`.
    """
    for kind, theirs, ours in (
        ("vocabulary", made.vocabularies, vocabularies),
        ("weights", made.models, models),
    ):
        for player, found in ours.items():
            if theirs.get(player) != found:
                raise LofidError(
                    f"The session '{where}' was made with other {kind} of the {player} "
                    f"({theirs.get(player, 'none')} instead of {found}, by lofid {made.lofid}); "
                    "use the weights and the style that it was made with."
                )


def same_state(a: ModelState, b: ModelState) -> bool:
    """Whether two models' states are the same, bit for bit."""
    return a is b or all(
        np.array_equal(getattr(a, field).view(np.uint32), getattr(b, field).view(np.uint32))
        for field in _FIELDS
    )


def interned(after: SessionState, before: SessionState) -> SessionState:
    """``after`` with the models' states that it has in common with ``before`` held only once.

    What comes from another process shares nothing with what is known here: a loop's states would
    be kept again with every bar.
    """
    known = [state for state in _states(before) if state is not None]

    def kept(state: ModelState) -> ModelState:
        return next((one for one in known if same_state(one, state)), state)

    def memory(loop: LoopMemory | None) -> LoopMemory | None:
        if loop is None:
            return None
        keys_after, drums_after = loop.keys.after, loop.drums.after
        return replace(
            loop,
            keys=replace(loop.keys, after=keys_after and kept(keys_after)),
            drums=replace(loop.drums, after=drums_after and kept(drums_after)),
        )

    known += [shared := kept(after.keys), sounding := kept(after.drums)]
    return replace(
        after,
        song=before.song if after.song == before.song else after.song,
        keys=shared,
        drums=sounding,
        a=memory(after.a),
        b=memory(after.b),
    )


def _states(state: SessionState) -> list[ModelState | None]:
    """All models' states that a session holds."""
    loops = [loop for loop in (state.a, state.b) if loop]
    afters = [after for loop in loops for after in (loop.keys.after, loop.drums.after)]
    return [state.keys, state.drums, *afters]


def same_session(a: SessionState, b: SessionState) -> bool:
    """Whether the same bars follow from both under the same settings."""
    return (
        (a.seed, a.index, a.bar, a.song, a.pushed) == (b.seed, b.index, b.bar, b.song, b.pushed)
        and same_state(a.keys, b.keys)
        and same_state(a.drums, b.drums)
        and _same_memory(a.a, b.a)
        and _same_memory(a.b, b.b)
    )


def _same_memory(a: LoopMemory | None, b: LoopMemory | None) -> bool:
    if a is None or b is None:
        return a is b
    return (
        (a.keys.comping, a.keys.lead, a.drums.bars, a.repeats)
        == (b.keys.comping, b.keys.lead, b.drums.bars, b.repeats)
        and _same_after(a.keys.after, b.keys.after)
        and _same_after(a.drums.after, b.drums.after)
    )


def _same_after(a: ModelState | None, b: ModelState | None) -> bool:
    return a is b if a is None or b is None else same_state(a, b)


def _content(path: Path) -> bytes:
    return read_file(path, "session", MOST_BYTES)


def _head(path: Path) -> bytes:
    """The header of a safetensors file."""
    with opened_file(path, "session") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > MOST_BYTES:
            raise _Unfit("it is no session of lofid")
        return file.read(length)
