"""What the channels of a MIDI file play: programs, banks, and which of them are drums.

Channel 10 is drums in General MIDI. Others become drums by a bank (General MIDI 2, XG) or by system
exclusive (GS, XG), and in the same ways channel 10 becomes none. This module knows what
:mod:`lofid.music.smf` read; it must not know notes.
"""

from enum import Enum, auto
from typing import Final

from lofid.music import smf

DRUM_CHANNEL: Final = 9
"""General MIDI's channel 10, counted from 0 as in the bytes."""

_BANK: Final = 0  # the controller
_GM2_MELODY, _GM2_DRUMS, _XG_DRUMS = 121, 120, 127  # banks

_ANY: Final = None  # in the patterns below: which device is meant
_GS: Final = (0x41, _ANY, 0x42, 0x12)
_XG: Final = (0x43, _ANY, 0x4C)


class _Standard(Enum):
    """How a file says that its banks are meant."""

    GM = auto()
    GM2 = auto()
    GS = auto()
    XG = auto()


_RESETS: Final = {
    (0x7E, _ANY, 0x09, 0x01): _Standard.GM,
    (0x7E, _ANY, 0x09, 0x02): _Standard.GM,
    (0x7E, _ANY, 0x09, 0x03): _Standard.GM2,
    (*_GS, 0x40, 0x00, 0x7F): _Standard.GS,
    (*_GS, 0x00, 0x00, 0x7F): _Standard.GS,
    (*_XG, 0x00, 0x00, 0x7E): _Standard.XG,
    (*_XG, 0x00, 0x00, 0x7F): _Standard.XG,
}
"""System exclusive that sets a synthesizer back, and what it is then."""


class Rig:
    """The state of sixteen channels as a file's events come, in order of time."""

    def __init__(self) -> None:
        self._standard: _Standard | None = None
        self._reset()

    def _reset(self) -> None:
        self._programs: dict[int, int] = {}
        self._banks: dict[int, int] = {}
        self._parts: dict[int, bool] = {}  # by system exclusive: whether they are drums

    def program(self, channel: int) -> int:
        """The program (0-127) that a channel plays."""
        return self._programs.get(channel, 0)

    def is_drums(self, channel: int) -> bool:
        """Whether a channel plays drums."""
        if channel in self._parts:
            return self._parts[channel]
        bank = self._banks.get(channel)
        if bank == _GM2_DRUMS or (bank == _XG_DRUMS and self._standard is not _Standard.GS):
            return True
        if bank == _GM2_MELODY and self._standard is _Standard.GM2:
            return False
        return channel == DRUM_CHANNEL

    def take(self, event: smf.FileEvent) -> None:
        """Take up what an event says of the channels; most say nothing."""
        if event.status == smf.FileStatus.PROGRAM:
            self._programs[event.channel] = event.data[0]
        elif event.status == smf.FileStatus.CONTROL and event.data[0] == _BANK:
            self._banks[event.channel] = event.data[1]
        elif event.status == smf.FileStatus.SYSEX:
            self._exclusive(event.data)

    def _exclusive(self, data: bytes) -> None:
        for pattern, standard in _RESETS.items():
            if _matches(data, pattern):
                self._standard = standard
                self._reset()
        # GS: address 40 1p 15, value 0 for notes; its part 0 is channel 10, 1-9 are 1-9.
        if _matches(data, (*_GS, 0x40, _ANY, 0x15)) and data[5] >> 4 == 1 and len(data) > 7:
            part = data[5] & 0x0F
            channel = DRUM_CHANNEL if part == 0 else part - (part <= DRUM_CHANNEL)
            self._parts[channel] = data[7] > 0
        # XG: address 08 pp 07, value 0 for notes.
        if _matches(data, (*_XG, 0x08, _ANY, 0x07)) and data[4] < 16 and len(data) > 6:
            self._parts[data[4]] = data[6] > 0


def _matches(data: bytes, pattern: tuple[int | None, ...]) -> bool:
    """Whether system exclusive begins as a pattern does."""
    return len(data) >= len(pattern) and all(
        wanted in (_ANY, byte) for wanted, byte in zip(pattern, data, strict=False)
    )
