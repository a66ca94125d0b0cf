"""Connections to other programs on a JACK server: what they are, and making them again.

JACK forgets a client's connections when it goes. Whoever opens its port anew connects it as it was,
as soon as the other programs are there.
"""

import ctypes
import errno
import re
import time
from contextlib import suppress
from typing import Any

from lofid.errors import LofidError
from lofid.outputs.hosting import Wires

_PATIENCE = 3.0  # seconds in which a client that was killed is noticed by the server
_PAUSE = 0.05


class Patchbay:
    """The wires of our two ports, given by their full names, such as ``lofid:out``.

    ``client`` is an open ``jack.Client``. ``wanted`` is what to restore: each wire until it is
    there for the first time, for after that, whoever takes it away means it.
    """

    def __init__(self, client: Any, outgoing: str, incoming: str, wanted: Wires) -> None:
        self._client = client
        self._outgoing, self._incoming = outgoing, incoming
        self._wanted = {(outgoing, port) for port in wanted.outgoing}
        self._wanted |= {(port, incoming) for port in wanted.incoming}

    def restore(self) -> None:
        """Make the wanted connections that can be made now."""
        import jack  # noqa: PLC0415 - it looks for the C library as soon as it is imported

        for source, sink in tuple(self._wanted):
            try:
                self._client.connect(source, sink)
            except jack.JackErrorCode as error:
                if error.code != errno.EEXIST:
                    continue
            self._wanted.discard((source, sink))

    def wires(self) -> Wires:
        """What our ports are connected to, and what is still wanted."""
        outgoing = {port.name for port in self._client.get_all_connections(self._outgoing)}
        incoming = {port.name for port in self._client.get_all_connections(self._incoming)}
        outgoing |= {sink for source, sink in self._wanted if source == self._outgoing}
        incoming |= {source for source, sink in self._wanted if sink == self._incoming}
        return Wires(tuple(sorted(outgoing)), tuple(sorted(incoming)))


def open_client(name: str) -> Any:
    """A ``jack.Client`` of exactly this name; raises :class:`LofidError` where there can be none.

    A predecessor that has just died is waited for.
    """
    try:
        import jack  # noqa: PLC0415 - it looks for the C library as soon as it is imported
    except OSError:
        raise LofidError(
            "The library of JACK is not installed; install jackd2 or PipeWire's JACK."
        ) from None
    latest = time.monotonic() + _PATIENCE
    while True:
        try:
            return jack.Client(name, use_exact_name=True, no_start_server=True)
        except jack.JackOpenError as error:
            # JACK 2 tells of a taken name as an error of the server, PipeWire as it should.
            if error.status.server_failed:
                raise LofidError(
                    "No JACK server runs; start one (jackd, or PipeWire's JACK)."
                ) from None
        if time.monotonic() > latest:
            raise _taken(name)
        time.sleep(_PAUSE)


def prefer_own_jack() -> None:
    """Let whatever this process loads from now on call this machine's JACK library.

    Wheels bring a libjack of their own, and a server turns away clients of another version.
    """
    with suppress(OSError):  # no JACK here: nobody will use it
        ctypes.CDLL("libjack.so.0", mode=ctypes.RTLD_GLOBAL)


def free_name(client: Any, name: str) -> None:
    """Wait until no other client has this name, for a predecessor that has just died.

    For clients that are opened without us; raises :class:`LofidError` where it stays taken.
    """
    latest = time.monotonic() + _PATIENCE
    while client.get_ports(f"^{re.escape(name)}:"):
        if time.monotonic() > latest:
            raise _taken(name)
        time.sleep(_PAUSE)


def _taken(name: str) -> LofidError:
    return LofidError(
        f"JACK has a client '{name}' already; give this output a name of its own: jack:NAME, "
        "midi:NAME."
    )
