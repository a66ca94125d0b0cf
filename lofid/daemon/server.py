"""The sockets at which the daemon is steered and heard.

A ROUTER takes requests and gives answers; a PUB tells events. Both listen on Unix sockets in the
session's folder, which nobody else may enter, and, if asked, on tcp to clients whose CURVE key is
known. Nothing here ever waits: the daemon polls :attr:`Server.sockets` in its own loop and calls
:meth:`Server.serve`. Whatever peers do, each can make only so much wait here: a listener who never
reads misses events, a client who never reads misses answers, and whoever sends too much is read as
often as everybody else.

What a request means is the handler's business.
"""

import logging
import os
import resource
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import zmq
from zmq.utils import z85

from lofid.errors import LofidError
from lofid.protocol import messages
from lofid.protocol.curve import KeyStore
from lofid.protocol.messages import ErrorKind, Event, Refused, Request, Result, Status
from lofid.protocol.paths import Hold, SessionPaths
from lofid.protocol.roles import DEFAULT, Role

_LOG = logging.getLogger(__name__)

Socket = zmq.Socket[bytes]

REQUESTS_WAITING = 10
"""Requests of one client that wait here; more wait on the client's side."""

ANSWERS_WAITING = 100
"""Answers that wait for one client; more are dropped."""

EVENTS_WAITING = 200
"""Events that wait for one listener; more are dropped. About ten seconds of everything."""

MOST_DEFERRED = 1_000
"""Answers that may be owed at once."""

HANG_UP_BYTES = 4 * messages.MOST_BYTES
"""A frame of more bytes is not even read: its sender is disconnected."""

FILES = 16_384
"""Open files, and so connections, that the process asks the system for."""

FEWEST_FILES = 128
"""With fewer, its processes could not be started, or no client could connect."""

_ZAP = "inproc://zeromq.zap.01"
_HANDSHAKE_MS = 5_000
_HEARTBEAT_MS = 10_000


class Deferred:
    """An answer that comes later: a handler returns it, and calls :meth:`answer`."""

    def __init__(self) -> None:
        self._answer: Result | Refused | None = None
        self._send: Callable[[Result | Refused], None] | None = None

    @property
    def given(self) -> bool:
        """Whether it has come."""
        return self._answer is not None

    def answer(self, answer: Result | LofidError) -> None:
        """Answer whoever asked; may come before the handler has returned. The first one counts."""
        if self._answer is not None:
            return
        self._answer = Refused.of(answer) if isinstance(answer, LofidError) else answer
        if self._send is not None:
            self._send(self._answer)

    def _connect(self, send: Callable[[Result | Refused], None]) -> None:
        self._send = send
        if self._answer is not None:
            send(self._answer)


def fault(request: object) -> Refused:
    """The answer where a request met a fault of ours; to be called while that is handled."""
    _LOG.exception("A request failed: %.200r", request)
    return Refused(
        "The daemon met a fault of its own in this request; its log tells more.",
        ErrorKind.INTERNAL,
    )


Handler = Callable[[Request[Any]], Result | Deferred]
"""Does what a request asks for; raises :class:`LofidError` where that cannot be."""


@dataclass(frozen=True, slots=True)
class Tcp:
    """Where to listen for clients from elsewhere: events are told at the port after ``port``."""

    host: str
    """An address or interface of this machine; ``*`` for all."""
    port: int

    def url(self, offset: int) -> str:
        """The address of requests (0) or events (1) in ZeroMQ's form."""
        return f"tcp://{self.host}:{self.port + offset}"


class Server:
    """Takes requests and tells events for one session.

    Whoever makes it holds the session (:class:`~lofid.protocol.paths.Hold`) until :meth:`close`.
    Raises :class:`LofidError` where another daemon does, where the folder or the port cannot be
    used, and for ``tcp`` without keys.
    """

    def __init__(
        self, context: "zmq.Context[Socket]", places: SessionPaths, tcp: Tcp | None = None
    ) -> None:
        self._places = places
        keys = KeyStore(places.keys)
        curve = None if tcp is None else keys.server()
        _raise_file_limit()
        self._hold = Hold(places)
        self._deferred = 0
        self._requests = context.socket(zmq.ROUTER)
        self._requests.rcvhwm = REQUESTS_WAITING
        self._requests.sndhwm = ANSWERS_WAITING
        self._requests.maxmsgsize = HANG_UP_BYTES
        # PUB, not XPUB: subscriptions that are told to the application wait without limit until it
        # reads them. A newcomer is greeted by libzmq itself.
        self._events = context.socket(zmq.PUB)
        self._events.sndhwm = EVENTS_WAITING
        self._events.maxmsgsize = HANG_UP_BYTES
        self._doorkeeper: _Doorkeeper | None = None
        try:
            self._requests.bind(f"ipc://{places.requests}")
            self._events.bind(f"ipc://{places.events}")
            if tcp is not None and curve is not None:
                self._doorkeeper = _Doorkeeper(context, keys)
                self._listen(tcp, *curve)
        except BaseException:
            self.close()
            raise

    @property
    def sockets(self) -> tuple[Socket, ...]:
        """What to poll for input; whenever one has some, call :meth:`serve`."""
        # The events' socket never has any, but greets newcomers only while somebody looks at it.
        doorkeeper = () if self._doorkeeper is None else (self._doorkeeper.socket,)
        return self._requests, self._events, *doorkeeper

    def serve(self, handler: Handler, limit: int = 100) -> int:
        """Answer at most ``limit`` requests, fairly between clients; returns how many.

        A :class:`LofidError` of the handler becomes a typed error, any other exception one of kind
        ``internal``; both go to whoever asked, and the latter into the log.
        """
        if self._doorkeeper is not None:
            self._doorkeeper.serve(limit)
        for served in range(limit):
            try:
                frames = self._requests.recv_multipart(zmq.DONTWAIT, copy=False)
            except zmq.Again:
                return served
            self._serve_one(handler, frames)
        return limit

    def publish(self, event: Event) -> None:
        """Tell an event to whoever listens."""
        self._events.send(messages.encode_event(event), zmq.DONTWAIT)

    def welcome(self, status: Status) -> None:
        """What everybody who begins to listen from now on gets first."""
        message = messages.encode_event(messages.StatusEvent(status))
        self._events.setsockopt(zmq.XPUB_WELCOME_MSG, message)

    def close(self) -> None:
        """Send what was not sent yet within half a second, and let go of the session."""
        for socket in (self._requests, self._events):
            socket.close(linger=500)
        if self._doorkeeper is not None:
            self._doorkeeper.socket.close(linger=0)
        self._hold.release()

    def _listen(self, tcp: Tcp, public: str, secret: str) -> None:
        # Options hold for addresses that are bound after them: the Unix sockets need no keys.
        for offset, socket in enumerate((self._requests, self._events)):
            socket.curve_server = True
            socket.curve_publickey = public.encode("ascii")
            socket.curve_secretkey = secret.encode("ascii")
            socket.zap_domain = b"lofid"
            socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)  # nobody enters unless the keeper says so
            socket.handshake_ivl = _HANDSHAKE_MS
            socket.heartbeat_ivl = _HEARTBEAT_MS
            socket.ipv6 = ":" in tcp.host
            try:
                socket.bind(tcp.url(offset))
            except zmq.ZMQError as error:
                raise LofidError(
                    f"Nobody can be served at {tcp.url(offset)} ({error.strerror}); choose an "
                    "address of this machine and two free ports, one after the other."
                ) from error

    def _check_role(self, request: Request[Any], frame: zmq.Frame) -> None:
        """Raise :class:`Refused` where a client from elsewhere may not ask for this."""
        try:
            called = str(frame.get("User-Id"))  # by the doorkeeper
        except zmq.ZMQError:  # it came over a Unix socket, where only the same user enters
            return
        assert self._doorkeeper is not None
        role, do = self._doorkeeper.role(called), request.__struct_config__.tag
        name = called.partition(" ")[0]
        if role is None:
            raise Refused(
                f"The key '{name}' was removed; whoever owns the daemon gives another.",
                ErrorKind.FORBIDDEN,
            )
        if role.allows(request.needs):
            there = request.written(self._places)
            if there is not None and os.path.lexists(there) and not role.allows(Role.OWN):
                raise Refused(
                    f"'{do}' would replace what is called '{there.stem}', which needs the role "
                    f"'{Role.OWN}', and the key '{name}' has '{role}'; choose another name.",
                    ErrorKind.FORBIDDEN,
                    field="name",
                    allowed="a name that is not taken",
                )
        else:
            by_path = "" if request.role is request.needs else " with a path"
            raise Refused(
                f"'{do}'{by_path} needs the role '{request.needs}', and the key '{name}' has "
                f"'{role}'; on the daemon's machine, 'lofid keys role {name} {request.needs}' "
                "gives it.",
                ErrorKind.FORBIDDEN,
                field="name" if by_path else None,
                allowed="a name, no path" if by_path else None,
            )

    def _serve_one(self, handler: Handler, frames: list[zmq.Frame]) -> None:
        *route, message = (frame.bytes for frame in frames)
        identity: str | None = None
        answer: Result | Refused | Deferred
        try:
            if len(route) > 2 or any(route[1:]):
                raise Refused(
                    "The message has more than one part; send one JSON object in one frame.",
                    ErrorKind.MESSAGE,
                    allowed="one frame, or an empty one before it",
                )
            envelope = messages.decode_envelope(message)
            identity = envelope.id
            request = messages.decode_request(envelope, message)
            self._check_role(request, frames[-1])
            if self._deferred >= MOST_DEFERRED:
                raise Refused(
                    "Too many requests are waiting for their answers; ask again in a moment.",
                    ErrorKind.BUSY,
                )
            answer = handler(request)
        except LofidError as error:
            answer = Refused.of(error)
        except Exception:
            answer = fault(message)
        if isinstance(answer, Deferred):
            self._deferred += 1
            answer._connect(lambda late: self._settle(route[:2], identity, late))
        else:
            self._answer(route[:2], identity, answer)

    def _settle(self, route: list[bytes], identity: str | None, answer: Result | Refused) -> None:
        self._deferred -= 1
        if not self._requests.closed:
            self._answer(route, identity, answer)

    def _answer(self, route: list[bytes], identity: str | None, answer: Result | Refused) -> None:
        # A ROUTER drops what is for somebody who has gone, or does not read.
        try:
            message = messages.encode_answer(identity, answer)
        except Exception:  # whoever asked must not wait for what cannot be said
            message = messages.encode_answer(identity, fault(type(answer).__name__))
        self._requests.send_multipart([*route, message], zmq.DONTWAIT)


class _Doorkeeper:
    """Tells libzmq which keys may enter (ZeroMQ Authentication Protocol, RFC 27).

    It lives in the daemon's own loop, so that there is no thread that could die; while nobody
    serves it, nobody new enters.
    """

    def __init__(self, context: "zmq.Context[Socket]", keys: KeyStore) -> None:
        self._keys = keys
        self._seen: object = None
        self._clients: dict[str, Role] = {}
        self._look()
        for name, entry in keys.clients().items():
            if entry.role is None:
                _LOG.warning(
                    "The key '%s' was made before there were roles, and may do everything; give "
                    "it one: 'lofid keys role %s %s'.",
                    name,
                    name,
                    DEFAULT,
                )
        # A ROUTER where the protocol has a REP: it cannot get stuck between question and answer.
        self.socket = context.socket(zmq.ROUTER)
        self.socket.bind(_ZAP)

    def serve(self, limit: int) -> None:
        """Answer at most ``limit`` of libzmq's questions."""
        for _ in range(limit):
            try:
                route, _, version, question, _, _, _, mechanism, *credentials = (
                    self.socket.recv_multipart(zmq.DONTWAIT)
                )
            except zmq.Again:
                return
            known = self._called(credentials[0]) if mechanism == b"CURVE" and credentials else None
            verdict = (
                (b"400", b"unknown key", b"")
                if known is None
                else (b"200", b"OK", known.encode("ascii"))
            )
            self.socket.send_multipart([route, b"", version, question, *verdict, b""])

    def role(self, called: str) -> Role | None:
        """What a client may ask for; None where its key was removed since it came in."""
        self._look()
        return self._clients.get(called)

    def _look(self) -> None:
        """Learn which clients there are, where that has changed."""
        version = self._keys.version()
        if version != self._seen:
            clients = self._keys.clients().items()
            self._clients = {f"{name} {entry.public}": entry.may for name, entry in clients}
            self._seen = version

    def _called(self, key: bytes) -> str | None:
        """What a client is called here: the name with the key, for a name may get another key."""
        self._look()
        public = z85.encode(key).decode("ascii")
        return next((one for one in self._clients if one.endswith(f" {public}")), None)


def _raise_file_limit() -> None:
    """Every connection takes an open file, and the usual limit is 1,024: ask for more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    if soft != resource.RLIM_INFINITY and soft < FEWEST_FILES:
        raise LofidError(
            f"A process may have only {soft} files open here, and the daemon needs {FEWEST_FILES}; "
            f"allow more: 'ulimit -n {FEWEST_FILES}', or LimitNOFILE= of its systemd unit."
        )
