"""What the daemon tells systemd: that it is ready, what it does, that it lives, that it leaves.

The protocol is that of sd_notify(3): datagrams of ``KEY=VALUE`` lines to the socket that
``NOTIFY_SOCKET`` names. Knows nothing of music: whoever holds a :class:`Notifier` decides when the
watchdog has earned its feed.
"""

import os
import socket
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Self


class Notifier:
    """The line to the service manager, from one thread; silent where nobody listens.

    Telling never blocks and never fails: a service manager that is restarting, or has a full
    socket, must not disturb the music.
    """

    def __init__(self, address: str | None, watchdog: float | None) -> None:
        """Speak to the datagram socket ``address`` (``@NAME`` is an abstract one; None: nobody).

        ``watchdog`` is the time in seconds after which the service manager ends a process that has
        not been fed, None where it does not watch.
        """
        self.watchdog = watchdog
        self._address = f"\0{address[1:]}" if address and address[0] == "@" else address
        self._socket: socket.socket | None = None
        if self._address is not None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.setblocking(False)

    @classmethod
    def taken_from(cls, environment: MutableMapping[str, str]) -> Self:
        """The one that the service manager describes in ``environment``, usually ``os.environ``.

        Takes the variables out: processes that we start must not speak in our name.
        """
        address = environment.pop("NOTIFY_SOCKET", "")
        microseconds = environment.pop("WATCHDOG_USEC", "")
        watched = environment.pop("WATCHDOG_PID", str(os.getpid()))
        if len(address) < 2 or address[0] not in "/@":  # vsock and the like: not for us
            return cls(None, None)
        fed = microseconds.isdecimal() and watched == str(os.getpid())
        return cls(address, int(microseconds) / 1e6 if fed else None)

    def ready(self) -> None:
        """Start-up is over."""
        self._tell("READY=1")

    def status(self, sentence: str) -> None:
        """What ``systemctl status`` shows; one line."""
        self._tell(f"STATUS={' '.join(sentence.split())}")

    def feed(self) -> None:
        """All is well; to be called more often than :attr:`watchdog` runs out."""
        self._tell("WATCHDOG=1")

    def stopping(self) -> None:
        """The end has begun: outputs are being finished."""
        self._tell("STOPPING=1")

    def close(self) -> None:
        """Say no more; safe more than once."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _tell(self, line: str) -> None:
        if self._socket is not None and self._address is not None:
            with suppress(OSError):
                self._socket.sendto(line.encode(), self._address)
