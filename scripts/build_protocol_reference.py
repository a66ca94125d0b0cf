"""Write ``docs/protocol.md`` from the typed messages.

Usage: ``python scripts/build_protocol_reference.py``. A test fails when the file is out of date.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, inspect

from lofid.daemon import server
from lofid.music.parameters import Effect, Settings
from lofid.protocol import messages
from lofid.protocol.messages import EVENTS, REQUESTS, ErrorKind, Problem, Refused, result_of
from lofid.protocol.roles import DEFAULT, Role

TARGET = Path(__file__).resolve().parent.parent / "docs" / "protocol.md"

GROUPS = {
    "Telling": "status parameters get presets outputs snapshot_list",
    "Parameters and presets": "set volume preset_load preset_save preset_remove preset_morph",
    "Who plays, and whether": "play pause stop mute solo panic shutdown",
    "The course of the music": "next seed rewind branch branch_listen branch_adopt branch_drop",
    "Kept moments": "snapshot_save snapshot_load snapshot_remove like",
    "Outputs and recordings": "output_add output_remove record_start record_stop",
    "MIDI controllers": "midi_learn midi_forget",
}
"""The requests, in the order of the page."""

_PATHS = "; `own` where `name` is a path"

SETTABLE = "true or false, a number, a text or a list of texts"
"""Whatever a parameter may hold, in words."""


def reference() -> str:
    """The whole page."""
    return (
        f"{_opening()}\n## The requests\n\n{_requests()}\n## The events\n\n{_events()}\n"
        f"## What the messages hold\n\n{_structs()}"
    )


def _opening() -> str:
    sent = messages.encode_request(messages.Rewind(4), "7").decode()
    heard = messages.encode_answer("7", messages.Heard(Effect.MUSICAL, 118)).decode()
    return f"""# The control protocol

How programs steer a running daemon and listen to it: version {messages.VERSION}. This page is
enough to write a client in any language that has ZeroMQ and JSON. It is written by
`scripts/build_protocol_reference.py` from `lofid/protocol/messages.py`, where the messages are
defined. From Python, `lofid.Client` and `lofid.AsyncClient` have a method for each request; in a
shell, it is `lofid ctl` and `lofid watch`.

## In a few lines

```python
import json, os, zmq

folder = os.environ["XDG_RUNTIME_DIR"] + "/lofid/main"
daemon = zmq.Context.instance().socket(zmq.REQ)
daemon.connect(f"ipc://{{folder}}/requests")
daemon.send_json({{"v": 1, "id": "1", "do": "set", "values": {{"music.density": 0.8}}}})
print(daemon.recv_json())

events = zmq.Context.instance().socket(zmq.SUB)
events.subscribe("chord ")
events.connect(f"ipc://{{folder}}/events")
while True:
    topic, _, body = events.recv_string().partition(" ")
    print(json.loads(body)["symbol"])
```

## Where the daemon listens

| | the daemon has | a client takes | address |
|---|---|---|---|
| requests | ROUTER | REQ, or DEALER for several at once | `ipc://FOLDER/requests` |
| events | PUB | SUB | `ipc://FOLDER/events` |

`FOLDER` is `$XDG_RUNTIME_DIR/lofid/SESSION`, and `SESSION` is `main` unless `lofid serve --session`
said otherwise. Where `XDG_RUNTIME_DIR` is not set, it is `lofid-UID/SESSION` in the folder for
temporary files. Nobody but the user who runs the daemon may enter it.

With `lofid serve --tcp HOST:PORT` the daemon also takes requests at `tcp://HOST:PORT` and tells
events at the port after it, both to clients with a CURVE key only. `lofid keys make` makes the
daemon's keys, `lofid keys add NAME` the file of one client: TOML with `server`, `public` and
`secret` in Z85, which are the socket options `ZMQ_CURVE_SERVERKEY`, `ZMQ_CURVE_PUBLICKEY` and
`ZMQ_CURVE_SECRETKEY`. ZeroMQ does not tell a client that its key is wrong: nobody answers.

A key has a role, `lofid keys add NAME --role ROLE`, by default `{DEFAULT}`; `lofid keys role` gives
it another, which counts at once. Each request says which role it needs, and a role may do what
those before it may:

{_roles()}

Over the Unix sockets everybody is the daemon's own user, and may do everything. Keys that were made
before there were roles may, too, until they are given one; the daemon names them as it starts.

## Requests and answers

A request is one frame: a JSON object in UTF-8 of at most {messages.MOST_BYTES:,} bytes. A longer
one is refused, and whoever sends more than {server.HANG_UP_BYTES:,} bytes is disconnected.

| field | |
|---|---|
| `v` | the version of the protocol, `{messages.VERSION}` |
| `id` | a text of at most {messages.LONGEST_ID} characters; the answer has it, too |
| `do` | what is wanted, one of [the requests](#the-requests) |
| … | the request's own fields |

```json
{sent}
{heard}
```

Each request has one answer, with its `id`. With a DEALER, answers may come in another order than
the requests: some take longer. Fields that are not known are ignored, on both sides; a later
daemon may send more of them. The version changes when something that is here now would go.

Where something could not be done, `ok` is false and there is an `error` instead of a `result`:

```json
{_example_error()}
```

{_fields(Problem)}
Each `kind` has one meaning:

| kind | |
|---|---|
{"".join(f"| `{kind}` | {kind.meaning} |{chr(10)}" for kind in ErrorKind)}
At most {server.REQUESTS_WAITING} requests of one client wait at the daemon, more wait at the
client. Whoever does not read loses what comes after {server.ANSWERS_WAITING} answers or
{server.EVENTS_WAITING} events.

### When a change is heard

Many answers say so in `effect`. Sound, mix and MIDI change *{Effect.MIX}*. What is played changes
*{Effect.MUSICAL}*: bars are written ahead, and those that nobody has heard are thrown away and
written again. A change that comes a quarter of a second before a bar line is heard from that line
on, and `bar` is the index of the bar that begins there. What a song chooses when it begins changes
*{Effect.SONG}*.

## Events

An event is one frame: its topic, a space and a JSON object with `v`, `event` (the topic once more)
and the event's own fields. Subscribe to `bar ` and so on, with the space, or to nothing at all for
everything. Whoever subscribes to `status ` gets the whole {_link(messages.Status)} first, once, and
again after the daemon was started anew; what changes from then on is told by the other events.
"""


def _example_error() -> str:
    try:
        messages.with_values(Settings(), {"music.tempo": 200})
    except Refused as refused:
        answer = json.loads(messages.encode_answer("8", refused))
    return json.dumps(answer, indent=2)


def _roles() -> str:
    return "\n".join(f"- `{role}`: {role.meaning}." for role in Role)


def _requests() -> str:
    named = [name for names in GROUPS.values() for name in names.split()]
    assert sorted(named) == sorted(REQUESTS), "each request belongs to one group"
    pages = []
    for title, names in GROUPS.items():
        pages.append(f"### {title}\n")
        for name in names.split():
            request = REQUESTS[name]
            pages.append(
                f"#### `{name}`\n\n{_summary(request)} Answer: {_link(result_of(request))}. "
                f"Role: `{request.role}`{_PATHS if request.own_paths else ''}.\n\n"
                f"{_fields(request)}"
            )
    return "\n".join(pages)


def _events() -> str:
    return "\n".join(
        f"### `{name}`\n\n{_summary(event)}\n\n{_fields(event)}" for name, event in EVENTS.items()
    )


def _structs() -> str:
    """Every structure that a result or an event holds, by name."""
    found: dict[str, type[Struct]] = {}
    for request in REQUESTS.values():
        _collect(inspect.type_info(result_of(request)), found)
    for event in EVENTS.values():
        for field in _struct(event).fields:
            _collect(field.type, found)
    return "\n".join(
        f"### Object {name}\n\n{_summary(struct)}\n\n{_fields(struct)}"
        for name, struct in sorted(found.items())
    )


def _collect(kind: inspect.Type, found: dict[str, type[Struct]]) -> None:
    if isinstance(kind, inspect.StructType):
        found[kind.cls.__name__] = kind.cls
        for field in kind.fields:
            _collect(field.type, found)
    for part in _parts(kind):
        _collect(part, found)


def _parts(kind: inspect.Type) -> Iterator[inspect.Type]:
    match kind:
        case inspect.Metadata():
            yield kind.type
        case inspect.UnionType():
            yield from kind.types
        case inspect.ListType():
            yield kind.item_type
        case inspect.DictType():
            yield kind.value_type
        case _:
            return


def _fields(message: type[Struct]) -> str:
    """The fields of a message as a table; nothing where there are none."""
    rows = [
        f"| `{field.encode_name}` | {_takes(field.type)}{_default(field)} | {_meaning(field)} |\n"
        for field in _struct(message).fields
    ]
    return "| field | holds | |\n|---|---|---|\n" + "".join(rows) if rows else ""


def _takes(kind: inspect.Type) -> str:
    """What a field holds, with links to structures."""
    match kind:
        case inspect.Metadata():
            return _takes(kind.type)
        case inspect.StructType():
            return _link(kind.cls)
        case inspect.ListType() | inspect.VarTupleType():
            return f"list of {_takes(kind.item_type)}"
        case inspect.DictType():
            return f"object of {_takes(kind.value_type)}"
        case inspect.EnumType():
            return ", ".join(f"`{member}`" for member in kind.cls)
        case inspect.UnionType() if any(isinstance(one, inspect.BoolType) for one in kind.types):
            return SETTABLE
        case inspect.UnionType():
            words = (_takes(member) for member in kind.types)
            return " or ".join(dict.fromkeys(words))
        case _:
            return messages.in_words(kind)


def _link(struct: type[Struct]) -> str:
    name = struct.__name__
    return f"[{name}](#object-{name.lower()})"


def _default(field: inspect.Field) -> str:
    if field.required or field.default in (None, msgspec.NODEFAULT, ""):
        return ""
    plain: Any = msgspec.to_builtins(field.default)
    return "" if isinstance(plain, dict | list) else f"; default `{json.dumps(plain)}`"


def _meaning(field: inspect.Field) -> str:
    extra = field.type.extra_json_schema if isinstance(field.type, inspect.Metadata) else None
    return str((extra or {}).get("description", ""))


def _summary(message: type[Struct]) -> str:
    return " ".join((message.__doc__ or "").split())


def _struct(message: type[Struct]) -> inspect.StructType:
    info = inspect.type_info(message)
    assert isinstance(info, inspect.StructType)
    return info


if __name__ == "__main__":
    TARGET.write_text(reference(), "utf-8")
