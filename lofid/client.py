"""Steer a running daemon and listen to it, from Python.

::

    from lofid import Client

    with Client() as lofid:
        lofid.set({"music.tempo": 72})
        for event in lofid.events("chord"):
            print(event)

There is one method for each request of :mod:`lofid.protocol.messages`, with the request's fields as
arguments; it returns the request's result and raises :class:`~lofid.protocol.messages.Refused`
where the daemon would not. :class:`AsyncClient` has the same methods, to be awaited.
"""

import asyncio
import itertools
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, ParamSpec, Self, TypeVar, overload

import zmq
import zmq.asyncio

from lofid.errors import LofidError
from lofid.protocol import messages
from lofid.protocol.curve import ClientKeys
from lofid.protocol.messages import Event, Request, Result
from lofid.protocol.paths import DEFAULT_SESSION, SessionPaths, check_socket, is_served

_P = ParamSpec("_P")
_R = TypeVar("_R", bound=Result)

TIMEOUT = 5.0
"""Seconds to wait for an answer."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a daemon is, and how it lets us in."""

    requests: str
    events: str
    absent: str
    """One sentence for when nobody answers there, with what to do."""
    keys: ClientKeys | None = None
    local: Path | None = None
    """The socket's file, if it is on this machine."""

    @classmethod
    def of_session(cls, session: str = DEFAULT_SESSION) -> Self:
        """A session of this user on this machine."""
        places = SessionPaths.of(session)
        check_socket(places.requests)
        option = "" if session == DEFAULT_SESSION else f" --session {session}"
        return cls(
            f"ipc://{places.requests}",
            f"ipc://{places.events}",
            f"No daemon plays session '{session}'; start it with 'lofid serve{option}'.",
            local=places.requests,
        )

    @classmethod
    def of_url(cls, url: str, keys: Path | None = None) -> Self:
        """A daemon elsewhere: ``tcp://HOST:PORT`` with keys, or ``ipc://FOLDER``.

        Raises :class:`LofidError` for any other address, and for tcp without keys.
        """
        scheme, _, place = url.partition("://")
        if scheme == "ipc" and place.startswith("/"):
            absent = f"No daemon answers at {url}; check the folder, and that you may enter it."
            local = Path(place) / "requests"
            return cls(f"{url}/requests", f"{url}/events", absent, local=local)
        host, _, port = place.rpartition(":")
        if scheme != "tcp" or not host or not port.isdecimal() or not 0 < int(port) < 65_535:
            raise LofidError(
                f"'{url[:100]}' is no address of a daemon; write tcp://HOST:PORT, or ipc://FOLDER "
                "with the daemon's runtime folder."
            )
        if keys is None:
            raise LofidError(
                f"A daemon at {url} lets nobody in without a key; have 'lofid keys add NAME' make "
                "one on its machine, and give the file with --keys."
            )
        absent = (
            f"No daemon answers at {url}; check that it runs there with --tcp, and that it knows "
            f"the key in '{keys}'."
        )
        events = f"tcp://{host}:{int(port) + 1}"
        return cls(url, events, absent, ClientKeys.read(keys))

    def connect(self, socket: "zmq.Socket[Any]", endpoint: str) -> None:
        """Set the socket's keys and connect it; it connects again whenever it was cut off."""
        if self.keys is not None:
            socket.curve_serverkey = self.keys.server.encode("ascii")
            socket.curve_publickey = self.keys.public.encode("ascii")
            socket.curve_secretkey = self.keys.secret.encode("ascii")
        socket.linger = 0
        socket.reconnect_ivl = 50
        socket.reconnect_ivl_max = 1_000
        socket.connect(endpoint)

    def check(self) -> None:
        """Raise :class:`LofidError` at once where it can be seen that there is nobody."""
        if self.local is not None and not is_served(self.local):
            raise LofidError(self.absent)


class _Method(Generic[_P, _R]):
    """One request as a method: makes the request from its arguments and calls with it."""

    def __init__(self, request: Callable[_P, Request[_R]]) -> None:
        self._request = request
        self.__doc__ = request.__doc__

    @overload
    def __get__(self, client: "Client", owner: type) -> Callable[_P, _R]: ...
    @overload
    def __get__(self, client: "AsyncClient", owner: type) -> Callable[_P, Awaitable[_R]]: ...
    @overload
    def __get__(self, client: None, owner: type) -> Self: ...
    def __get__(self, client: "Client | AsyncClient | None", owner: type) -> Any:
        if client is None:
            return self
        call: Callable[[Request[_R]], Any] = client.call

        def method(*args: _P.args, **fields: _P.kwargs) -> Any:
            return call(self._request(*args, **fields))

        method.__doc__ = self.__doc__
        return method


class _Methods:
    """The methods of both clients."""

    status = _Method(messages.GetStatus)
    parameters = _Method(messages.GetParameters)
    get = _Method(messages.Get)
    set = _Method(messages.Set)
    presets = _Method(messages.ListPresets)
    preset_load = _Method(messages.PresetLoad)
    preset_save = _Method(messages.PresetSave)
    preset_remove = _Method(messages.PresetRemove)
    preset_morph = _Method(messages.PresetMorph)
    play = _Method(messages.Play)
    pause = _Method(messages.Pause)
    stop = _Method(messages.Stop)
    next = _Method(messages.Next)
    mute = _Method(messages.Mute)
    solo = _Method(messages.Solo)
    volume = _Method(messages.Volume)
    seed = _Method(messages.Seed)
    outputs = _Method(messages.ListOutputs)
    output_add = _Method(messages.OutputAdd)
    output_remove = _Method(messages.OutputRemove)
    record_start = _Method(messages.RecordStart)
    record_stop = _Method(messages.RecordStop)
    panic = _Method(messages.Panic)
    shutdown = _Method(messages.Shutdown)
    snapshot_save = _Method(messages.SnapshotSave)
    snapshot_load = _Method(messages.SnapshotLoad)
    snapshot_list = _Method(messages.SnapshotList)
    snapshot_remove = _Method(messages.SnapshotRemove)
    rewind = _Method(messages.Rewind)
    branch = _Method(messages.BranchPrepare)
    branch_listen = _Method(messages.BranchListen)
    branch_adopt = _Method(messages.BranchAdopt)
    branch_drop = _Method(messages.BranchDrop)
    like = _Method(messages.Like)
    midi_learn = _Method(messages.MidiLearn)
    midi_forget = _Method(messages.MidiForget)


class Events:
    """What a daemon tells, as an iterator; the first event is the whole status.

    It goes on after the daemon was started anew, again with the whole status. A listener who is
    slower than the music misses events.
    """

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]", address: Address, *topics: str):
        prefixes = _prefixes(topics)
        self._socket = context.socket(zmq.SUB)
        for topic in prefixes:
            self._socket.subscribe(topic)
        address.connect(self._socket, address.events)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        event = self.wait(None)
        if event is None:
            raise StopIteration
        return event

    def wait(self, timeout: float | None) -> Event | None:
        """The next event; None where none came for ``timeout`` seconds, or after :meth:`close`."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._socket.closed:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not self._socket.poll(None if left is None else round(left * 1_000)):
                return None
            event = messages.decode_event(self._socket.recv())
            if event is not None:
                return event
        return None

    def close(self) -> None:
        """Listen no more."""
        self._socket.close(linger=0)


class Client(_Methods):
    """A daemon to be steered; every method waits for its answer, ``timeout`` seconds at most.

    Without an address it is the user's own daemon. It may be used from several threads, and stays
    good when the daemon is started anew. Methods raise
    :class:`~lofid.protocol.messages.Refused` where the daemon says no, and
    :class:`~lofid.errors.LofidError` where there is none.
    """

    def __init__(self, address: Address | None = None, timeout: float = TIMEOUT) -> None:
        self.address = address or Address.of_session()
        self._timeout = timeout
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        _prepare(self._socket, self.address)
        self._ids = itertools.count(1)
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the daemon; events that somebody still listens to end, too."""
        self._context.destroy(linger=0)

    def call(self, request: Request[_R]) -> _R:
        """What the daemon answers to a request."""
        with self._lock:
            deadline = time.monotonic() + self._timeout
            if not self._socket.poll(0, zmq.POLLOUT):
                self.address.check()
                if not self._socket.poll(_left(deadline), zmq.POLLOUT):
                    raise LofidError(self.address.absent)
            identity = str(next(self._ids))
            self._socket.send(messages.encode_request(request, identity))
            while self._socket.poll(_left(deadline)):
                answer = self._socket.recv()
                if messages.answer_id(answer) == identity:  # else one that we gave up
                    return messages.decode_answer(answer, type(request))
            raise _late(request, self._timeout)

    def events(self, *topics: str) -> Events:
        """What the daemon tells from now on: all of it, or these topics and the status."""
        return Events(self._context, self.address, *topics)


class AsyncClient(_Methods):
    """As :class:`Client`, for asyncio: every method is awaited, and several may be at once."""

    def __init__(self, address: Address | None = None, timeout: float = TIMEOUT) -> None:
        self.address = address or Address.of_session()
        self._timeout = timeout
        self._context = zmq.asyncio.Context()
        self._socket = self._context.socket(zmq.DEALER)
        _prepare(self._socket, self.address)
        self._ids = itertools.count(1)
        self._waiting: dict[str, asyncio.Future[bytes]] = {}
        self._reader: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Let go of the daemon."""
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
        self._context.destroy(linger=0)

    async def call(self, request: Request[_R]) -> _R:
        """What the daemon answers to a request."""
        if not int(self._socket.get(zmq.EVENTS)) & zmq.POLLOUT:
            self.address.check()
        if self._reader is None:
            self._reader = asyncio.create_task(self._read())
        identity = str(next(self._ids))
        answer = asyncio.get_running_loop().create_future()
        sent = False
        self._waiting[identity] = answer
        try:
            async with asyncio.timeout(self._timeout):
                await self._socket.send(messages.encode_request(request, identity))
                sent = True
                return messages.decode_answer(await answer, type(request))
        except TimeoutError:
            raise (
                _late(request, self._timeout) if sent else LofidError(self.address.absent)
            ) from None
        finally:
            del self._waiting[identity]

    async def events(self, *topics: str) -> AsyncGenerator[Event, None]:
        """What the daemon tells from now on: all of it, or these topics and the status."""
        with self._context.socket(zmq.SUB) as socket:
            for topic in _prefixes(topics):
                socket.subscribe(topic)
            self.address.connect(socket, self.address.events)
            while True:
                event = messages.decode_event(await socket.recv())
                if event is not None:
                    yield event

    async def _read(self) -> None:
        while True:
            answer = await self._socket.recv()
            waiting = self._waiting.get(messages.answer_id(answer) or "")
            if waiting is not None and not waiting.done():  # else one that we gave up
                waiting.set_result(answer)


def _prepare(socket: "zmq.Socket[Any]", address: Address) -> None:
    # Only for a daemon that is there: what was asked before it was started must not reach it later.
    socket.immediate = True
    address.connect(socket, address.requests)


def _prefixes(topics: tuple[str, ...]) -> list[str]:
    """What to subscribe to; raises :class:`LofidError` for a topic that does not exist."""
    unknown = sorted(set(topics) - set(messages.EVENTS))
    if unknown:
        raise LofidError(
            f"There are no events '{unknown[0]}'; there are {', '.join(messages.EVENTS)}."
        )
    return [f"{topic} " for topic in {"status", *topics}] if topics else [""]


def _left(deadline: float) -> int:
    """Milliseconds that are left."""
    return max(0, round((deadline - time.monotonic()) * 1_000))


def _late(request: Request[Any], timeout: float) -> LofidError:
    do = request.__struct_config__.tag
    return LofidError(
        f"The daemon did not answer '{do}' within {timeout:g} s; see 'lofid ctl status', and its "
        "log if it does not answer that."
    )
