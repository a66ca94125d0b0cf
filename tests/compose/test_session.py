import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import deserialize
from safetensors.numpy import save

from lofid.compose.session import (
    MOST_BYTES,
    Moment,
    check_models,
    decoded,
    encoded,
    interned,
    load_moment,
    read_label,
    same_session,
    same_state,
    save_moment,
)
from lofid.compose.session import _digest as digest_of
from lofid.compose.station import SessionState, Station
from lofid.compose.steering import another_turn, next_song
from lofid.errors import LofidError
from lofid.music.parameters import Settings

MODELS = {"keys": "0123", "drums": "4567"}
VOCABULARIES = {"keys": "89ab", "drums": "cdef"}
NOW = datetime(2026, 11, 21, 7, 30, 1, 234567, tzinfo=UTC)


@pytest.fixture(scope="module")
def states(station: Station) -> list[SessionState]:
    """The states of a session after 0, 1 ... bars."""
    found = [station.opening(Settings(), 7)]
    for _ in range(44):
        found.append(station.step(found[-1], Settings()).state)
    return found


@pytest.fixture(scope="module")
def moment(states: list[SessionState]) -> Moment:
    assert states[-1].b is not None
    return Moment(states[-1], Settings(), MODELS, VOCABULARIES, NOW, "study", "a good one")


def test_a_session_goes_on_from_its_file_bit_for_bit(
    station: Station, states: list[SessionState]
) -> None:
    for state in (states[0], states[3], states[44], next_song(states[9])):
        kept = Moment(state, Settings(), MODELS, VOCABULARIES, NOW)
        again = decoded(encoded(kept), "x").state
        assert same_session(again, state)
        here, there = state, again
        for _ in range(6):
            one, other = station.step(here, Settings()), station.step(there, Settings())
            assert one.bar == other.bar
            here, there = one.state, other.state
        assert same_session(here, there)


@settings(deadline=None, max_examples=40)
@given(
    data=st.data(),
    seed=st.integers(0, 2**64 - 1),
    texts=st.lists(st.text(max_size=100), min_size=6, max_size=6),
    created=st.datetimes(timezones=st.just(UTC)),
)
def test_every_moment_is_read_back_the_same(
    data: st.DataObject,
    seed: int,
    texts: list[str],
    created: datetime,
    moment: Moment,
    any_settings: st.SearchStrategy[Settings],
) -> None:
    hashes = {texts[0]: texts[1]}, {texts[2]: texts[3]}
    state = replace(moment.state, seed=seed)
    written = Moment(state, data.draw(any_settings), *hashes, created, texts[4], texts[5])
    content = encoded(written)
    read = decoded(content, "x")
    assert same_session(read.state, state)
    assert replace(read, state=state) == written
    assert encoded(read) == content


def test_each_state_is_kept_once(moment: Moment) -> None:
    state = moment.state
    assert state.a is not None
    assert state.a.keys.after is not None
    twice = replace(state, keys=state.a.keys.after)
    assert len(encoded(replace(moment, state=twice))) < len(encoded(moment))


def test_zeros_of_either_sign_stay_as_they_are(moment: Moment) -> None:
    other = moment.state.keys.copy()
    other.att_shift[0, 0] = -0.0
    zero = moment.state.keys.copy()
    zero.att_shift[0, 0] = 0.0
    assert not same_state(other, zero)
    read = decoded(encoded(replace(moment, state=replace(moment.state, keys=other))), "x")
    assert np.signbit(read.state.keys.att_shift[0, 0])


def test_a_file_carries_its_label(moment: Moment, tmp_path: Path) -> None:
    path = tmp_path / "blue.lofistate"
    save_moment(path, moment)
    assert encoded(load_moment(path)) == encoded(moment)
    label = read_label(path)
    assert (label.preset, label.description, label.created) == ("study", "a good one", NOW)
    assert (label.seed, label.bar, label.models) == (7, 44, MODELS)


def test_other_weights_are_refused_with_the_reason(moment: Moment) -> None:
    check_models(moment, MODELS, VOCABULARIES, "blue.lofistate")
    with pytest.raises(LofidError, match=r"blue\.lofistate.*other weights of the drums.*4567"):
        check_models(moment, {**MODELS, "drums": "ffff"}, VOCABULARIES, "blue.lofistate")
    with pytest.raises(LofidError, match="other vocabulary of the keys"):
        check_models(moment, MODELS, {**VOCABULARIES, "keys": "ffff"}, "blue.lofistate")


# -- files that are none ----------------------------------------------------------------------


def test_damage_is_noticed_wherever_it_is(moment: Moment) -> None:
    content = encoded(moment)
    for place in np.linspace(0, len(content) - 1, 500, dtype=int):
        damaged = bytearray(content)
        damaged[place] ^= 0x10
        with pytest.raises(LofidError, match="blue"):
            decoded(bytes(damaged), "blue")
    for length in np.linspace(0, len(content) - 1, 50, dtype=int):
        with pytest.raises(LofidError, match="blue"):
            decoded(content[:length], "blue")


@given(st.binary(max_size=300))
def test_noise_is_no_session(content: bytes) -> None:
    with pytest.raises(LofidError):
        decoded(content, "x")


def test_a_missing_or_giant_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(LofidError, match=r"none\.lofistate.*No such file"):
        load_moment(tmp_path / "none.lofistate")
    giant = tmp_path / "giant.lofistate"
    with giant.open("wb") as file:
        file.truncate(MOST_BYTES + 1)
    for read in (load_moment, read_label):
        with pytest.raises(LofidError, match=r"giant\.lofistate"):
            read(giant)
    head = tmp_path / "head.lofistate"
    head.write_bytes((2**63).to_bytes(8, "little") + b"{}")
    with pytest.raises(LofidError, match=r"head\.lofistate"):
        read_label(head)


def forged(content: bytes, change: Callable[[dict[str, Any], dict[str, Any]], None]) -> bytes:
    """A session file whose header and arrays were changed by somebody who knows its form."""
    length = int.from_bytes(content[:8], "little")
    outer = json.loads(content[8 : 8 + length])["__metadata__"]["lofid-session"]
    header = json.loads(outer.partition(" ")[2])
    arrays: dict[str, Any] = {
        name: np.frombuffer(entry["data"], "<f4").reshape(entry["shape"]).copy()
        for name, entry in deserialize(content)  # type: ignore[no-untyped-call]
    }
    change(header, arrays)
    text = json.dumps(header).encode()
    digest = digest_of(text, arrays)
    return save(arrays, metadata={"lofid-session": f"{digest} {text.decode()}"})


def changing(*path: str | int, to: object) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    def change(header: dict[str, Any], _: dict[str, Any]) -> None:
        here: Any = header
        for step in path[:-1]:
            here = here[step]
        here[path[-1]] = to

    return change


def array(name: str, value: Any) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    def change(_: dict[str, Any], arrays: dict[str, Any]) -> None:
        arrays[name] = value

    return change


def poisoned(_: dict[str, Any], arrays: dict[str, Any]) -> None:
    arrays["0.wkv"][0, 0, 5, 5] = np.nan


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (changing("format", to=3), "format"),
        (changing("format", to="x"), "header"),
        (changing("state", "seed", to=-1), "header"),
        (changing("state", "seed", to=2**70), "out of range"),
        (changing("state", "bar", to=5000), "bar 5000"),
        (changing("state", "index", to=2**60), "header"),
        (changing("state", "keys", to=40), "lacks"),
        (changing("state", "keys", to=-1), "header"),
        (changing("state", "keys", to=1), "fit|use"),
        (changing("state", "song", "key", to="H"), "key 'H'"),
        (changing("state", "song", "tempo_place", to=2.0), "header"),
        (changing("state", "song", "a", "bars", to=[["Cmaj7"]] * 17), "header"),
        (changing("state", "song", "a", "bars", to=[]), "header"),
        (changing("state", "song", "a", "bars", to=[["Cmaj77"]]), "chord"),
        (changing("state", "song", "b", "bars", to=[["C", "F", "G"]]), "header"),
        (changing("state", "song", "stretches", to=[]), "header"),
        (changing("state", "song", "stretches", 0, "passes", to=10**9), "header"),
        (changing("state", "song", "face", "keys", to="organ"), "header"),
        (changing("state", "song", "face", "wow", to=1e9), "header"),
        (changing("state", "song", "dice", to=2**63), "header"),
        (changing("state", "song", "ending", to=900), "header"),
        (changing("state", "a", "comping", to=[None]), "loop A"),
        (changing("state", "a", "comping", 0, to=[0, 0]), "none"),
        (changing("state", "a", "comping", 0, to=[]), "none"),
        (changing("state", "a", "drums", 0, to=[65000]), "none"),
        (changing("state", "b", "lead", 0, to=list(range(1001))), "header"),
        (changing("state", "b", "repeats", 0, to=-1), "header"),
        (changing("state", "b", "after_keys", to=63), "fit"),
        (changing("state", "more", to=1), "header"),
        (changing("settings", "music.tempo", to=1e9), "music.tempo"),
        (changing("settings", "music.tempi", to=80), "music.tempi"),
        (changing("settings", "music.keys", to=["C"] * 2000), "header"),
        (changing("settings", "music.tempo", to={"a": 1}), "header"),
        (changing("preset", to="x" * 1000), "header"),
        (changing("created", to="yesterday"), "header"),
        (array("0.wkv", np.zeros((1, 1, 64, 63), np.float32)), "RWKV"),
        (array("0.wkv", np.zeros((0, 1, 64, 64), np.float32)), "RWKV"),
        (array("0.wkv", np.zeros(4, np.float32)), "RWKV"),
        (array("0.att_shift", np.zeros((2, 64), np.float32)), "RWKV"),
        (array("0.att_shift", np.zeros((1, 64), np.float64)), "foreign"),
        (array("9.wkv", np.zeros((1, 1, 64, 64), np.float32)), "lacks"),
        (array("payload", np.zeros(4, np.float32)), "foreign"),
        (poisoned, "infinite or none"),
    ],
)
def test_a_hostile_file_is_refused_in_a_sentence(
    change: Callable[[dict[str, Any], dict[str, Any]], None], words: str, moment: Moment
) -> None:
    content = encoded(moment)
    assert same_session(decoded(forged(content, lambda _h, _a: None), "x").state, moment.state)
    with pytest.raises(LofidError, match=words) as raised:
        decoded(forged(content, change), "blue.lofistate")
    assert "blue.lofistate" in str(raised.value)
    assert len(str(raised.value)) < 1000


def test_a_session_of_the_first_format_goes_on(moment: Moment, station: Station) -> None:
    def older(header: dict[str, Any], _: dict[str, Any]) -> None:
        header["format"] = 1
        del header["state"]["pushed"]
        song = header["state"]["song"]
        for name in ("layout", "face", "dice", "ending"):
            del song[name]
        for stretch in song["stretches"]:
            del stretch["variant"]
        for name in ("music.pedal", "form.spread", "groove.ghosts"):
            del header["settings"][name]

    read = decoded(forged(encoded(moment), older), "x")
    song = read.state.song
    assert (song.face, song.ending, song.a) == (None, 0, moment.state.song.a)
    state = read.state
    while state.song.number == song.number:
        step = station.step(state, read.settings)
        state = step.state
    assert state.song.face is not None
    assert state.song.ending


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(deadline=None, max_examples=300)
@given(data=st.data())
def test_whatever_a_header_says_it_is_read_or_refused(
    data: st.DataObject, moment: Moment, station: Station
) -> None:
    def change(header: dict[str, Any], _: dict[str, Any]) -> None:
        here: Any = header
        while True:
            places = list(here) if isinstance(here, dict) else list(range(len(here)))
            place = data.draw(st.sampled_from(places))
            inner = here[place]
            if not isinstance(inner, dict | list) or not inner or data.draw(st.booleans()):
                here[place] = data.draw(JSON)
                return
            here = inner

    content = forged(encoded(moment), change)
    try:
        read = decoded(content, "x")
    except LofidError:
        return
    step = station.step(read.state, read.settings)  # what is read can be gone on from
    assert step.state.index == read.state.index + 1


def test_deep_headers_are_refused(moment: Moment) -> None:
    for deep in ("[" * 100_000 + "]" * 100_000, '{"a":' * 100_000 + "1" + "}" * 100_000):
        content = save({}, metadata={"lofid-session": f"0 {deep}"})
        with pytest.raises(LofidError):
            decoded(content, "x")


# -- states beside each other -----------------------------------------------------------------


def test_a_ring_of_states_keeps_each_array_once(states: list[SessionState]) -> None:
    before = states[40]
    after: SessionState = pickle.loads(pickle.dumps(states[41]))
    kept = interned(after, before)
    assert same_session(kept, after)
    assert before.a is not None
    assert kept.a is not None
    assert kept.a.keys.after is before.a.keys.after
    assert kept.a.drums.after is before.a.drums.after
    assert kept.song is before.song
    assert kept.keys is after.keys
    turned: SessionState = pickle.loads(pickle.dumps(another_turn(before, 1)))
    assert interned(turned, before).keys is before.keys
