"""Live MIDI ports, as far as all of them are alike: routed here, served by a host.

A kind of port is a host's module: :mod:`lofid.outputs.midi`, :mod:`lofid.outputs.jack`.
"""

from collections.abc import Mapping, Sequence

from lofid.errors import LofidError
from lofid.music.parameters import Settings
from lofid.outputs.hosting import AtOnce, Host, PlayEvents, Setup, Wires
from lofid.outputs.output import Block, Output, Received
from lofid.outputs.routing import Router

DEFAULT_NAME = "lofid"
_LONGEST_NAME = 32


class MidiPort(Output):
    """A port that other programs see as ``name``; they connect to it, or it is connected to them.

    It may be opened again after :meth:`abort`: the new port is connected as the last one was, and
    what that one left sounding is ended first. Opening takes some tenths of a second.
    """

    def __init__(self, name: str, module: str) -> None:
        self.name = name
        self._module = module
        self._router = Router(name, Settings())
        self._host: Host | None = None
        self._wires = Wires()

    def open(self) -> None:
        """Start the host, which opens the port."""
        messages = (*self._router.farewell(), *self._router.opening())
        self._host = Host(self._module, Setup(self.name, self._wires, messages))

    def adopt(self, settings: Settings) -> None:
        """Take up channels, programs and who gets what; changes are sent at once."""
        messages = self._router.adopt(settings)
        if messages and self._host is not None:
            self._host.send(AtOnce(tuple(messages)))

    def write(self, block: Block) -> None:
        """Hand the block's messages to the host; raises LofidError where it is gone."""
        host = self._opened()
        if block.moment is None:
            raise LofidError(f"The MIDI port '{self.name}' plays in real time only.")
        messages = self._router.route(block)
        if messages:
            host.send(PlayEvents(block.frame, block.moment, tuple(messages)))
        else:
            host.listen()
        self._greet(host)

    def silence(self) -> None:
        """End every note that sounds, on all channels used."""
        self._opened().send(AtOnce(tuple(self._router.ends())))

    def received(self) -> Sequence[Received]:
        """Controllers, clock and whatever else has come in."""
        return self._opened().received()

    def clock(self) -> tuple[int, float] | None:
        """The count of frames of the sound server that the port stands on, where it has one."""
        ticking = None if self._host is None else self._host.ticking
        return None if ticking is None else (ticking.frame, ticking.moment)

    def details(self) -> Mapping[str, float | int | str]:
        """What the port stands on, and the host's counters."""
        return {} if self._host is None else dict(self._host.figures)

    def close(self) -> None:
        """Play what is left, end all notes, close the port."""
        if self._host is not None:
            host, self._host = self._host, None
            host.finish()

    def abort(self) -> None:
        """End all notes and close the port at once."""
        if self._host is not None:
            host, self._host = self._host, None
            host.end()

    def _greet(self, host: Host) -> None:
        """Tell who has come to listen since, as far as the host knows, which programs play."""
        heard, self._wires = self._wires.outgoing, host.wires
        if set(host.wires.outgoing) - set(heard):
            host.send(AtOnce(tuple(self._router.opening())))

    def _opened(self) -> Host:
        assert self._host is not None, "not open"
        return self._host


def named(argument: str | None, kind: str) -> str:
    """The port's name from an output's argument; raises :class:`LofidError` for no name."""
    if argument is None:
        return DEFAULT_NAME
    if not argument or len(argument) > _LONGEST_NAME or ":" in argument:
        raise LofidError(
            f"The output '{kind}:{argument}' needs a name of at most {_LONGEST_NAME} characters "
            f"without a colon; write {kind}, or {kind}:NAME."
        )
    return argument
