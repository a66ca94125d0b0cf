import inspect
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lofid.client import AsyncClient, Client
from lofid.errors import LofidError
from lofid.music.parameters import PARAMETERS, Effect, Settings
from lofid.protocol import messages
from lofid.protocol.messages import EVENTS, REQUESTS, ErrorKind, Problem, Refused, Request
from lofid.protocol.roles import Role


def read(message: bytes) -> Request[Any]:
    return messages.decode_request(messages.decode_envelope(message), message)


def refused(message: bytes | dict[str, Any]) -> Problem:
    with pytest.raises(Refused) as error:
        read(message if isinstance(message, bytes) else json.dumps({"v": 1} | message).encode())
    return error.value.problem


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
fields = st.sampled_from(["name", "path", "values", "bars", "part", "level", "on", "number", "id"])


@given(st.binary(max_size=300))
def test_bytes_are_refused_and_nothing_else(message: bytes) -> None:
    assert refused(message).kind in (ErrorKind.MESSAGE, ErrorKind.VERSION)


@given(st.sampled_from(sorted(REQUESTS)), st.dictionaries(fields, json_values))
def test_fields_of_any_kind_are_read_or_refused_by_name(do: str, values: dict[str, Any]) -> None:
    message = {**values, "v": 1, "do": do}
    try:
        read(json.dumps(message).encode("utf-8", "surrogatepass"))
    except Refused as error:
        problem = error.problem
        assert problem.kind in (ErrorKind.FIELD, ErrorKind.MESSAGE)
        if problem.kind is ErrorKind.FIELD:
            assert problem.field is not None
            assert problem.allowed
            assert problem.field in problem.text


@pytest.mark.parametrize(
    "message",
    [
        b'{"v":1,"do":"status","x":' + b"[" * 7000 + b"]" * 7000 + b"}",
        b'{"v":1,"do":"status","v":' + b'{"a":' * 3000,
        b'{"v":1,"do":"status","id":"' + b"x" * 9000 + b'"}',
        b'{"v":1,"do":"seed","value":' + b"9" * 9000 + b"}",
        b'{"v":1,"do":"status","x":"\xff"}',
        b'{"v":1,"do":"status"' + b" " * messages.MOST_BYTES + b"}",
        b"",
        b"null",
    ],
)
def test_hostile_messages_end_in_a_sentence(message: bytes) -> None:
    problem = refused(message)
    assert problem.text.endswith(".")
    assert len(problem.text) < 500
    assert problem.allowed


def test_errors_say_field_range_and_what_to_try() -> None:
    assert refused({"do": "rewind", "bars": 0}) == Problem(
        ErrorKind.FIELD,
        "'bars' of 'rewind' cannot be 0; it takes a whole number from 1 to 256.",
        "bars",
        "a whole number from 1 to 256",
    )
    assert refused({"do": "get"}).field == "path"
    near = refused({"do": "preset_lode"})
    assert (near.kind, near.field) == (ErrorKind.REQUEST, "do")
    assert "preset_load" in (near.hint or "")
    version = refused({"v": 2, "do": "status"})
    assert (version.kind, version.allowed) == (ErrorKind.VERSION, "1")
    assert refused({"v": True, "do": "status"}).kind is ErrorKind.VERSION
    assert refused({"do": "like", "name": "../../x"}).field == "name"


def test_fields_that_nobody_knows_are_ignored() -> None:
    assert read(b'{"v":1,"do":"rewind","bars":2,"later":[1]}') == messages.Rewind(2)


def test_values_of_parameters_are_set_together_or_refused_with_their_range() -> None:
    settings = messages.with_values(Settings(), {"music.tempo": 72, "sound.rain": 0.5})
    assert (settings.music.tempo, settings.sound.rain) == (72.0, 0.5)
    with pytest.raises(Refused) as error:
        messages.with_values(settings, {"sound.rain": 0.1, "music.tempo": 300})
    problem = error.value.problem
    assert (problem.field, problem.allowed) == ("music.tempo", PARAMETERS["music.tempo"].allowed)
    assert problem.hint
    with pytest.raises(Refused) as unknown:
        messages.with_values(settings, {"music.tempoo": 70})
    assert unknown.value.problem.kind is ErrorKind.UNKNOWN
    assert "music.tempo" in (unknown.value.problem.hint or "")


def test_every_parameter_can_be_described_and_set_to_what_it_is() -> None:
    told = messages.Parameters.of(Settings())
    answer = messages.decode_answer(messages.encode_answer("1", told), messages.GetParameters)
    values = {row.path: row.value for row in answer.parameters}
    assert set(values) == set(PARAMETERS)
    request = read(messages.encode_request(messages.Set(values), "1"))
    assert isinstance(request, messages.Set)
    assert messages.with_values(Settings(), request.values) == Settings()


def test_answers_come_back_as_they_were() -> None:
    heard = messages.Heard(Effect.MUSICAL, 7)
    assert messages.decode_answer(messages.encode_answer("a", heard), messages.Rewind) == heard
    with pytest.raises(Refused) as error:
        no = Refused("No.", ErrorKind.BUSY, field="f", allowed="a", hint="h")
        messages.decode_answer(messages.encode_answer("a", no), messages.Rewind)
    assert error.value.problem == Problem(ErrorKind.BUSY, "No.", "f", "a", "h")


def test_events_have_their_topic_before_them() -> None:
    event = messages.ChordEvent(3, 2.0, "Am7", [0, 4, 7, 9])
    message = messages.encode_event(event)
    assert message.startswith(b'chord {"v":1,"event":"chord",')
    assert messages.decode_event(message) == event
    assert messages.decode_event(b'later {"v":1,"event":"later"}') is None
    assert set(EVENTS) == {"status", "bar", "notes", "chord", "levels", "state", "warning"}


@pytest.mark.parametrize("client", [Client, AsyncClient])
def test_clients_have_a_method_for_every_request(client: type) -> None:
    for name, request in REQUESTS.items():
        assert inspect.getattr_static(client, name).__doc__ == request.__doc__


def test_any_error_of_ours_carries_its_advice() -> None:
    problem = Refused.of(LofidError("There is no preset 'x'; there are study, rain.")).problem
    assert (problem.kind, problem.hint) == (ErrorKind.REFUSED, "there are study, rain.")
    assert Refused.of(LofidError("It is full.")).problem.hint is None


@pytest.mark.parametrize(
    "message",
    [
        b'{"v":1,"id":"1","do":"status","do":"set","values":{"music.tempo":70}}',
        b'{"v":1,"id":"1","do":"set","do":"status"}',
        b'{"v":1,"id":"1","do":"preset_load","name":"\\ud800"}',
        b'{"v":1,"id":"1","do":"snapshot_load","name":"\\udc80x"}',
    ],
)
def test_what_contradicts_itself_is_no_message(message: bytes) -> None:
    with pytest.raises(Refused) as told:
        messages.decode_request(messages.decode_envelope(message), message)
    assert told.value.problem.kind is ErrorKind.MESSAGE


@pytest.mark.parametrize(
    ("request_", "role"),
    [
        (messages.GetStatus(), Role.LISTEN),
        (messages.SnapshotList(), Role.LISTEN),
        (messages.Set({"music.tempo": 70}), Role.STEER),
        (messages.PresetLoad("rain"), Role.STEER),
        (messages.PresetLoad("/etc/passwd"), Role.OWN),
        (messages.PresetMorph("mine.toml"), Role.OWN),
        (messages.SnapshotLoad("dawn"), Role.STEER),
        (messages.SnapshotLoad("~/x.lofistate"), Role.OWN),
        (messages.RecordStart(), Role.STEER),
        (messages.RecordStart("take"), Role.STEER),
        (messages.RecordStart("../take"), Role.OWN),
        (messages.RecordStart(".."), Role.OWN),
        (messages.OutputAdd("null"), Role.OWN),
        (messages.OutputRemove("null"), Role.OWN),
        (messages.PresetRemove("mine"), Role.OWN),
        (messages.Shutdown(), Role.OWN),
    ],
)
def test_what_reaches_beyond_the_music_needs_the_owner(request_: Request[Any], role: Role) -> None:
    assert request_.needs is role
