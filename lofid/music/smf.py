"""Standard MIDI Files as bytes: chunks, and what stands in them, in order.

Read as players read: what is odd beside the notes costs nothing of them. A chunk whose length is
wrong ends where the next track begins, chunks of other kinds are passed over, a RIFF wrapper (.rmi)
or a MacBinary head is taken off, and a meta event that makes no sense is left out. A file that is
cut off, or whose events cannot be told apart, is :class:`Broken`. This module knows bytes; what
the events mean for the music, :mod:`lofid.music.midi` says.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

_HEAD: Final = b"MThd"
_TRACK: Final = b"MTrk"
_WRAPPED: Final = 1024  # bytes within which a file's head is sought, behind whatever wraps it


class Broken(ValueError):
    """The bytes are no MIDI file, or one that is damaged or cut off."""


class FileStatus(IntEnum):
    """Kinds of events; those on a channel without the channel's four bits."""

    NOTE_OFF = 0x80
    NOTE_ON = 0x90
    CONTROL = 0xB0
    PROGRAM = 0xC0
    SYSEX = 0xF0
    META = 0xFF


class Meta(IntEnum):
    """The meta events that tell something about the music."""

    TRACK_NAME = 0x03
    END_OF_TRACK = 0x2F
    TEMPO = 0x51
    TIME_SIGNATURE = 0x58
    KEY_SIGNATURE = 0x59


@dataclass(frozen=True, slots=True)
class FileEvent:
    """At ``tick`` of the file's own resolution, counted from its beginning.

    ``channel`` is 0-15, or for a meta event its type and for others 0. ``data`` are the one or two
    bytes (0-127) of a channel's message, or the content of a meta event or system exclusive
    (without 0xF0, with the 0xF7 at its end if it is there).
    """

    tick: int
    status: int
    channel: int
    data: bytes


@dataclass(frozen=True, slots=True)
class File:
    """A file's head and its tracks, each with its end (a tick).

    ``division`` is the resolution in ticks a quarter note; negative where it counts frames.
    """

    kind: int
    division: int
    tracks: tuple[tuple[tuple[FileEvent, ...], int], ...]


def parse(content: bytes) -> File:
    """The chunks and events in the bytes of a file; raises :class:`Broken`."""
    content = _unwrapped(content)
    if len(content) < 14 or not content.startswith(_HEAD):
        raise Broken("no head")
    kind, count, division = (int.from_bytes(content[at : at + 2], "big") for at in (8, 10, 12))
    tracks = tuple(_events(content, *place) for place in _tracks(content))
    if count and not tracks:
        raise Broken("no tracks")
    return File(kind, division - 0x10000 if division & 0x8000 else division, tracks)


def _unwrapped(content: bytes) -> bytes:
    """The file without what may lie before its head; what lies behind it is no track."""
    upto = len(content) if content.startswith(b"RIFF") else _WRAPPED
    return content[max(0, content.find(_HEAD, 0, upto)) :]


def _tracks(content: bytes) -> Iterator[tuple[int, int, bool]]:
    """Where each track's events begin and end, and whether the end is the one that is declared."""
    at = _end(content, 0)[0]
    while at + 8 <= len(content):
        end, as_declared = _end(content, at)
        if content.startswith(_TRACK, at):
            yield at + 8, end, as_declared
        at = end


def _end(content: bytes, at: int) -> tuple[int, bool]:
    """Where the chunk at ``at`` ends, and whether that is by its own length.

    If nothing that could be a chunk lies there, its length is wrong: it ends where the next track
    begins.
    """
    begin = at + 8
    declared = begin + int.from_bytes(content[at + 4 : begin], "big")
    name = content[declared : declared + 4]
    if declared == len(content) or name == _TRACK:
        return declared, True
    size = int.from_bytes(content[declared + 4 : declared + 8], "big")
    if len(name) == 4 and name.isalnum() and declared + 8 + size <= len(content):
        return declared, True
    following = content.find(_TRACK, begin)
    return (len(content) if following < 0 else following), False


def _events(
    content: bytes, at: int, end: int, as_declared: bool
) -> tuple[tuple[FileEvent, ...], int]:
    """The events of a track, and the tick at which it ends."""
    events: list[FileEvent] = []
    tick, running = 0, 0
    while at < end:
        delta, at = _number(content, at, end)
        tick += delta
        if at >= end:
            raise Broken("an event without its status")
        status = content[at]
        if status < 0x80:
            status = running
        else:
            at += 1
        if status < 0x80:
            raise Broken("data without a status")
        if status < 0xF0:
            running = status
            length = 1 if 0xC0 <= status < 0xE0 else 2
            data = content[at : at + length]
            if not data.isascii():  # of careless programs: clipped, as players do
                data = bytes(min(byte, 127) for byte in data)
            events.append(FileEvent(tick, status & 0xF0, status & 0x0F, data))
        elif status in (0xF0, 0xF7, 0xFF):
            kind = 0
            if status == FileStatus.META:
                if at >= end:
                    raise Broken("a meta event without its type")
                kind = content[at]
                at += 1
            length, at = _number(content, at, end)
            if status == FileStatus.META and kind == Meta.END_OF_TRACK:
                return tuple(events), tick
            if status != 0xF7:
                events.append(FileEvent(tick, status, kind, content[at : at + length]))
        else:  # what belongs on a cable, and not in a file
            length = {0xF1: 1, 0xF2: 2, 0xF3: 1}.get(status, 0)
        at += length
    if at > end or not as_declared:
        raise Broken("a track that is cut off")
    return tuple(events), tick


def _number(content: bytes, at: int, end: int) -> tuple[int, int]:
    """A number of variable length, seven bits a byte and at most four of them; and what follows."""
    value = 0
    for index in range(at, min(at + 4, end)):
        value = value << 7 | content[index] & 0x7F
        if content[index] < 0x80:
            return value, index + 1
    raise Broken("a number without end")
