"""The bytes of MIDI 1.0, and which notes sound after some of them were sent."""

from enum import IntEnum


class MidiStatus(IntEnum):
    """Status bytes that we send or understand; those of channel messages are for channel 0."""

    NOTE_OFF = 0x80
    NOTE_ON = 0x90
    CONTROL = 0xB0
    PROGRAM = 0xC0
    SONG_POSITION = 0xF2
    CLOCK = 0xF8
    START = 0xFA
    CONTINUE = 0xFB
    STOP = 0xFC


FIRST_SYSTEM = 0xF0
"""Status bytes from here on have no channel."""

SUSTAIN, ALL_SOUND_OFF, ALL_NOTES_OFF = 64, 120, 123
"""Controllers that end notes."""


class Sounding:
    """What a receiver of our messages hears: the notes that were not ended, the channels used."""

    def __init__(self) -> None:
        self._notes: dict[tuple[int, int], None] = {}  # (channel, pitch), in order of time
        self._channels: set[int] = set()
        self._clocked = False

    def take(self, message: bytes) -> None:
        """Remember that a message was sent."""
        if message[0] >= FIRST_SYSTEM:
            if message[0] in (MidiStatus.START, MidiStatus.CONTINUE, MidiStatus.STOP):
                self._clocked = message[0] != MidiStatus.STOP
            return
        kind, channel = message[0] & 0xF0, message[0] & 0x0F
        self._channels.add(channel)
        if kind == MidiStatus.NOTE_ON and message[2] > 0:
            self._notes[channel, message[1]] = None
        elif kind in (MidiStatus.NOTE_ON, MidiStatus.NOTE_OFF):
            self._notes.pop((channel, message[1]), None)

    def has(self, release: bytes) -> bool:
        """Whether the note sounds that this note-off would end."""
        return (release[0] & 0x0F, release[1]) in self._notes

    def ends(self) -> list[bytes]:
        """Messages after which nothing sounds on any channel that was used; forgets the notes.

        Some receivers know only note-offs, some hold notes by pedal or go on ringing: each note
        is ended by its own note-off, then every channel by controllers 64, 120 and 123.
        """
        ends = [bytes((MidiStatus.NOTE_OFF | channel, pitch, 0)) for channel, pitch in self._notes]
        self._notes.clear()
        for channel in sorted(self._channels):
            ends += (
                bytes((MidiStatus.CONTROL | channel, control, 0))
                for control in (SUSTAIN, ALL_SOUND_OFF, ALL_NOTES_OFF)
            )
        return ends

    def farewell(self) -> list[bytes]:
        """As :meth:`ends`, and a stop for those who follow our clock."""
        stop = [bytes((MidiStatus.STOP,))] if self._clocked else []
        self._clocked = False
        return [*self.ends(), *stop]
