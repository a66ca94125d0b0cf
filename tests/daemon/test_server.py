import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lofid.daemon.server import HANG_UP_BYTES, Server, Tcp
from lofid.errors import LofidError
from lofid.protocol import messages
from lofid.protocol.curve import ClientKeys, KeyStore
from lofid.protocol.paths import SessionPaths
from lofid.protocol.roles import Role

Socket = zmq.Socket[bytes]
STATUS = messages.encode_request(messages.GetStatus(), "honest")


@pytest.fixture(scope="module")
def context() -> Iterator["zmq.Context[Socket]"]:
    context: zmq.Context[Socket] = zmq.Context()
    context.max_sockets = 4_000
    yield context
    context.destroy(linger=0)


def dealer(context: "zmq.Context[Socket]", path: Path) -> Socket:
    socket = context.socket(zmq.DEALER)
    socket.linger = 0
    socket.connect(f"ipc://{path}")
    return socket


def ask(socket: Socket, message: bytes) -> dict[str, Any]:
    socket.send(message)
    assert socket.poll(10_000), "no answer"
    answer: dict[str, Any] = json.loads(socket.recv())
    return answer


def free_ports() -> int:
    """The first of two free ports in a row."""
    with zmq.Context[Socket]() as context, context.socket(zmq.REP) as first:
        while True:
            port = first.bind_to_random_port("tcp://127.0.0.1")
            first.unbind(f"tcp://127.0.0.1:{port}")
            try:
                first.bind(f"tcp://127.0.0.1:{port + 1}")
            except zmq.ZMQError:
                continue
            return port


def memory(process: int) -> float:
    """Resident memory in MB."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


# -- requests ---------------------------------------------------------------------------------


def test_requests_are_answered_by_req_and_dealer_alike(
    context: "zmq.Context[Socket]", stand_in: Any
) -> None:
    with context.socket(zmq.REQ) as req, dealer(context, stand_in.places.requests) as raw:
        req.linger = 0
        req.connect(f"ipc://{stand_in.places.requests}")
        for socket in (req, raw):
            answer = ask(socket, messages.encode_request(messages.Rewind(3), "x"))
            assert (answer["v"], answer["id"], answer["ok"]) == (1, "x", True)
            assert answer["result"] == {"effect": "at the next bar line", "bar": 3}


def test_errors_are_typed(context: "zmq.Context[Socket]", stand_in: Any) -> None:
    with dealer(context, stand_in.places.requests) as socket:
        refused = ask(socket, messages.encode_request(messages.Set({"music.tempo": 1}), "1"))
        assert refused["error"] == {
            "kind": "refused",
            "text": "No.",
            "field": "music.tempo",
            "allowed": "72",
            "hint": "72",
        }
        fault = ask(socket, messages.encode_request(messages.Panic(), "2"))
        assert (fault["id"], fault["error"]["kind"]) == ("2", "internal")
        unsayable = ask(socket, messages.encode_request(messages.Like(), "3"))
        assert (unsayable["id"], unsayable["error"]["kind"]) == ("3", "internal")
        socket.send_multipart([b"", b"{}", b"{}"])
        assert socket.poll(10_000)
        assert json.loads(socket.recv_multipart()[-1])["error"]["kind"] == "message"


def test_an_answer_may_come_later(context: "zmq.Context[Socket]", stand_in: Any) -> None:
    with dealer(context, stand_in.places.requests) as socket:
        socket.send(messages.encode_request(messages.BranchPrepare(), "late"))
        socket.send(messages.encode_request(messages.Play(), "soon"))
        assert socket.poll(10_000)
        first = json.loads(socket.recv())
        assert socket.poll(10_000)
        assert [first["id"], json.loads(socket.recv())["id"]] == ["soon", "late"]


@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(st.binary(max_size=200) | st.text().map(str.encode), min_size=1, max_size=5))
def test_whatever_is_sent_honest_clients_are_answered(
    context: "zmq.Context[Socket]", stand_in: Any, frames: list[bytes]
) -> None:
    with dealer(context, stand_in.places.requests) as rude:
        rude.send_multipart(frames)
        with dealer(context, stand_in.places.requests) as honest:
            assert ask(honest, STATUS)["ok"]


def test_who_sends_too_much_is_cut_off_and_others_are_not(
    context: "zmq.Context[Socket]", stand_in: Any
) -> None:
    with (
        dealer(context, stand_in.places.requests) as rude,
        dealer(context, stand_in.places.requests) as honest,
    ):
        assert ask(rude, b" " * (messages.MOST_BYTES + 1))["error"]["kind"] == "message"
        rude.send(b"x" * (HANG_UP_BYTES + 1))
        assert ask(honest, STATUS)["ok"]
        assert not rude.poll(200)


def test_clients_take_turns(context: "zmq.Context[Socket]", stand_in: Any) -> None:
    """A thousand requests of one client do not come before one of another."""
    with (
        dealer(context, stand_in.places.requests) as greedy,
        dealer(context, stand_in.places.requests) as honest,
    ):
        greedy.sndhwm = 0
        assert ask(honest, STATUS)["ok"]
        for number in range(1_000):
            greedy.send(messages.encode_request(messages.Rewind(1), str(number)))
        honest.send(messages.encode_request(messages.Rewind(9), "honest"))
        assert honest.poll(10_000)
        honest.recv()
        rewinds = [one.bars for one in stand_in.seen if isinstance(one, messages.Rewind)]
        assert 9 in rewinds[:1_000]


def test_who_never_reads_answers_costs_little(
    context: "zmq.Context[Socket]", stand_in: Any
) -> None:
    with (
        dealer(context, stand_in.places.requests) as deaf,
        dealer(context, stand_in.places.requests) as honest,
    ):
        assert ask(honest, STATUS)["ok"]
        before = memory(os.getpid())
        for _ in range(20_000):
            deaf.send(STATUS)
        assert ask(honest, STATUS)["ok"]
        assert memory(os.getpid()) - before < 40


# -- events -----------------------------------------------------------------------------------


def test_a_newcomer_gets_the_status_first_and_alone(
    context: "zmq.Context[Socket]", stand_in: Any
) -> None:
    event = messages.ChordEvent(0, 0.0, "Am7", [0])
    with context.socket(zmq.SUB) as early, context.socket(zmq.SUB) as late:
        for socket in (early, late):
            socket.linger = 0
            socket.subscribe(b"")
            socket.connect(f"ipc://{stand_in.places.events}")
            assert socket.poll(10_000)
            assert socket.recv().startswith(b'status {"v":1,"event":"status","status":{')
        stand_in.publish.append(event)
        for socket in (early, late):
            assert socket.poll(10_000)
            assert messages.decode_event(socket.recv()) == event


LOUD = """
import sys, time, zmq
from lofid.protocol import messages
from lofid.protocol.paths import SessionPaths
from lofid.daemon.server import Server
from tests_status import STATUS
server = Server(zmq.Context(), SessionPaths.of())
server.welcome(STATUS)
print("ready", flush=True)
event = messages.StateEvent({"text": "x" * 500})
while True:
    for _ in range(int(sys.stdin.readline())):
        server.publish(event)
    time.sleep(0.5)
    print("told", flush=True)
"""


def test_a_thousand_listeners_who_never_read_cost_bounded_memory(
    context: "zmq.Context[Socket]", places: SessionPaths, tmp_path: Path
) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 16_384), hard))
    (tmp_path / "tests_status.py").write_text(
        "from lofid.protocol.messages import PlayState, Status\n"
        "STATUS = Status(version='0', session='main', process=1, uptime=0, state=PlayState.PLAYING,"
        " preset='study', seed=1)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    with subprocess.Popen(
        [sys.executable, "-c", LOUD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        listeners = []
        for _ in range(1_000):
            listener = context.socket(zmq.SUB)
            listener.linger = 0
            listener.rcvhwm = 1
            listener.subscribe(b"")
            listener.connect(f"ipc://{places.events}")
            listeners.append(listener)

        def told(count: int) -> float:
            assert server.stdin is not None
            assert server.stdout is not None
            server.stdin.write(f"{count}\n")
            server.stdin.flush()
            assert server.stdout.readline() == "told\n"
            return memory(server.pid)

        full = told(3_000)
        # Kept without a bound, these would be 64 bytes each for each listener: 640 MB.
        assert told(10_000) - full < 40
        assert full < 250
        server.kill()
        for listener in listeners:
            listener.close()


# -- who may enter ----------------------------------------------------------------------------


def test_tcp_without_keys_is_refused_with_the_command_that_makes_them(places: SessionPaths) -> None:
    context: zmq.Context[Socket] = zmq.Context()
    with pytest.raises(LofidError, match="lofid keys make"):
        Server(context, places, Tcp("127.0.0.1", 7770))
    Server(context, places).close()
    context.term()


def test_a_port_that_is_taken_is_told_and_the_session_is_free_again(places: SessionPaths) -> None:
    KeyStore(places.keys).create()
    context: zmq.Context[Socket] = zmq.Context()
    with context.socket(zmq.REP) as other:
        port = other.bind_to_random_port("tcp://127.0.0.1")
        with pytest.raises(LofidError, match="free ports"):
            Server(context, places, Tcp("127.0.0.1", port))
    Server(context, places).close()
    context.term()


def enter(context: "zmq.Context[Socket]", port: int, keys: ClientKeys | None) -> Socket:
    socket = context.socket(zmq.DEALER)
    socket.linger = 0
    socket.reconnect_ivl = 1
    if keys is not None:
        socket.curve_serverkey = keys.server.encode()
        socket.curve_publickey = keys.public.encode()
        socket.curve_secretkey = keys.secret.encode()
    socket.connect(f"tcp://127.0.0.1:{port}")
    return socket


def test_over_tcp_only_known_keys_enter_and_wrong_ones_disturb_nobody(
    context: "zmq.Context[Socket]", stand_in: Any
) -> None:
    stand_in.stop()
    store = KeyStore(stand_in.places.keys)
    store.create()
    known = store.add("known")
    port = free_ports()
    stand_in.start(Tcp("127.0.0.1", port))
    stranger = ClientKeys(known.server, *(key.decode() for key in zmq.curve_keypair()))
    misled = ClientKeys(zmq.curve_keypair()[0].decode(), known.public, known.secret)
    wrong = [enter(context, port, keys) for keys in (None, stranger, misled) for _ in range(10)]
    for socket in wrong:
        socket.send(STATUS)
    with enter(context, port, known) as right, dealer(context, stand_in.places.requests) as local:
        before = memory(os.getpid())
        for _ in range(20):
            assert ask(right, STATUS)["ok"]
            assert ask(local, STATUS)["ok"]
            time.sleep(0.05)
        assert memory(os.getpid()) - before < 20
        assert not any(socket.poll(0) for socket in wrong)
        later = store.add("later")
        with enter(context, port, later) as newcomer:
            assert ask(newcomer, STATUS)["ok"], "known at once"
        store.remove("later")
        with enter(context, port, later) as removed:
            removed.send(STATUS)
            assert not removed.poll(500)
    for socket in wrong:
        socket.close()


def test_too_few_open_files_are_told_before_anything_is_held(places: SessionPaths) -> None:
    program = (
        "import resource, zmq; from lofid.protocol.paths import SessionPaths\n"
        "from lofid.daemon.server import Server\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (24, 24))\n"
        "Server(zmq.Context(), SessionPaths.of())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert "may have only 24 files open here, and the daemon needs 128" in done.stderr
    assert not places.runtime.exists()


def test_a_key_may_do_what_its_role_says_and_the_same_user_everything(
    context: "zmq.Context[Socket]", stand_in: Any
) -> None:
    stand_in.stop()
    store = KeyStore(stand_in.places.keys)
    store.create()
    keys = {role: store.add(role, role) for role in Role}
    port = free_ports()
    stand_in.start(Tcp("127.0.0.1", port))
    requests = (
        messages.GetStatus(), messages.Rewind(1), messages.RecordStart("take"),
        messages.RecordStart("/any/path"), messages.PresetLoad("/any/path"),
        messages.OutputAdd("file:/any/path.wav"), messages.Shutdown(),
    )  # fmt: skip

    def allowed(socket: Socket) -> int:
        answers = [ask(socket, messages.encode_request(one, "1")) for one in requests]
        for one in answers:
            assert one["ok"] or one["error"]["kind"] == "forbidden"
        return sum(one["ok"] for one in answers)

    with dealer(context, stand_in.places.requests) as local:
        assert allowed(local) == 7
    for role, count in ((Role.LISTEN, 1), (Role.STEER, 3), (Role.OWN, 7)):
        with enter(context, port, keys[role]) as socket:
            assert allowed(socket) == count
    with enter(context, port, keys[Role.LISTEN]) as socket:
        answer = ask(socket, messages.encode_request(messages.Rewind(1), "1"))
        assert answer["error"]["text"].startswith("'rewind' needs the role 'steer', and the key")
        assert "lofid keys role listen steer" in answer["error"]["text"]
        store.change("listen", Role.STEER)
        assert ask(socket, messages.encode_request(messages.Rewind(1), "1"))["ok"], "at once"
        store.remove("listen")
        assert "was removed" in ask(socket, STATUS)["error"]["text"]
        store.add("listen", Role.OWN)
        assert "was removed" in ask(socket, STATUS)["error"]["text"], "it has another key now"
    kept = stand_in.places.presets / "mine.toml"
    kept.parent.mkdir(parents=True)
    kept.touch()
    for role, mine in ((Role.STEER, False), (Role.OWN, True)):
        with enter(context, port, keys[role]) as socket:
            for name, ok in (("mine", mine), ("new", True)):
                answer = ask(socket, messages.encode_request(messages.PresetSave(name), "1"))
                assert answer["ok"] is ok, (role, name)
