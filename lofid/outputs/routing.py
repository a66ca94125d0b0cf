"""From events of the stream to the bytes for one MIDI port: channels, programs, who gets what.

Pure: it knows settings and messages, no ports and no time but the stream's frames.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping

from lofid.music.notes import BEATS_PER_BAR, Part
from lofid.music.parameters import FROM_SOUND, Settings
from lofid.music.plan import Face
from lofid.outputs.messages import MidiStatus, Sounding
from lofid.outputs.output import BarLine, Block, MidiEvent
from lofid.sound.synth import programs

_SIXTEENTHS = 4 * BEATS_PER_BAR
_POSITIONS = 1 << 14  # song positions that can be told, in sixteenths: 1,024 bars


def part_programs(settings: Settings, face: Face | None = None) -> Mapping[Part, int]:
    """The program (0-127) that each part asks for in a song of that face."""
    usual = programs(settings.sound, face)
    return {
        part: usual[part] if chosen == FROM_SOUND else chosen
        for part in Part
        for chosen in (settings.midi.program(part),)
    }


class Router:
    """Makes the messages of the port called ``name``.

    A note ends on the channel where it began, whatever was changed meanwhile; where one pitch is
    struck again on a channel before it has ended, it is struck anew and ends with the last of its
    notes. At one frame notes end before others begin.
    """

    def __init__(self, name: str, settings: Settings) -> None:
        self._name = name
        self._settings = settings
        self._face: Face | None = None  # of the bar that began last
        self._programs = part_programs(settings)
        # The channels on which each part's pitch sounds, in order of time.
        self._channels: defaultdict[tuple[Part, int], deque[int]] = defaultdict(deque)
        self._strikes: Counter[tuple[int, int]] = Counter()  # of each channel and pitch
        self._running = False  # whether who follows our clock has been told to
        self._sounding = Sounding()

    def opening(self) -> list[bytes]:
        """What a port must hear before anything else: its programs."""
        return self._sent(self._program_changes(Part))

    def adopt(self, settings: Settings) -> list[bytes]:
        """Take up new settings; returns what must be sent at once."""
        before, programs_before = self._settings, self._programs
        self._settings, self._programs = settings, part_programs(settings, self._face)
        changed = [
            part
            for part in Part
            if self._programs[part] != programs_before[part]
            or settings.midi.channel(part) != before.midi.channel(part)
            or settings.midi.port(part) != before.midi.port(part)
        ]
        messages = self._program_changes(changed)
        if self._running and not settings.midi.clock:
            self._running = False
            messages.append(bytes((MidiStatus.STOP,)))
        return self._sent(messages)

    def route(self, block: Block) -> list[tuple[int, bytes]]:
        """The block's messages for this port with their frames, in the order to send them."""
        things: list[MidiEvent | BarLine] = sorted(
            (*block.lines, *block.events), key=lambda thing: (thing.frame, _rank(thing))
        )
        return [
            (thing.frame, message)
            for thing in things
            for message in self._sent(
                (*self._cast(thing.plan.face), *self._joining(thing))
                if isinstance(thing, BarLine)
                else self._routed(thing)
            )
        ]

    def ends(self) -> list[bytes]:
        """What ends every note; those that have begun are forgotten."""
        self._channels.clear()
        self._strikes.clear()
        return self._sounding.ends()

    def farewell(self) -> list[bytes]:
        """As :meth:`ends`, and a stop for those who follow our clock; they may join again."""
        self._running = False
        self._channels.clear()
        self._strikes.clear()
        return self._sounding.farewell()

    def _sent(self, messages: Iterable[bytes]) -> list[bytes]:
        sent = list(messages)
        for message in sent:
            self._sounding.take(message)
        return sent

    def _program_changes(self, parts: Iterable[Part]) -> list[bytes]:
        midi = self._settings.midi
        return [
            bytes((MidiStatus.PROGRAM | midi.channel(part) - 1, self._programs[part]))
            for part in parts
            if self._plays(part)
        ]

    def _cast(self, face: Face | None) -> list[bytes]:
        """The programs that change with a bar's face."""
        before = self._programs
        self._face, self._programs = face, part_programs(self._settings, face)
        return self._program_changes(part for part in Part if self._programs[part] != before[part])

    def _plays(self, part: Part) -> bool:
        return self._settings.midi.port(part) in ("", self._name)

    def _joining(self, line: BarLine) -> list[bytes]:
        """Who follows our clock starts at a bar line, wherever we are by then."""
        if self._running or not self._settings.midi.clock:
            return []
        self._running = True
        position = line.plan.index * _SIXTEENTHS % _POSITIONS
        if position == 0:
            return [bytes((MidiStatus.START,))]
        return [
            bytes((MidiStatus.SONG_POSITION, position & 0x7F, position >> 7)),
            bytes((MidiStatus.CONTINUE,)),
        ]

    def _routed(self, event: MidiEvent) -> list[bytes]:
        if event.part is None:
            if not self._settings.midi.clock:
                return []
            if event.status == MidiStatus.STOP:
                self._running = False
            return [bytes((event.status, *event.data))]
        if event.status == MidiStatus.NOTE_ON and event.data[1] > 0:
            return self._begun(event.part, event)
        if event.status in (MidiStatus.NOTE_ON, MidiStatus.NOTE_OFF):
            return self._ended(event.part, event)
        if not self._plays(event.part):
            return []
        channel = self._settings.midi.channel(event.part) - 1
        return [bytes((event.status | channel, *event.data))]

    def _begun(self, part: Part, event: MidiEvent) -> list[bytes]:
        if not self._plays(part):
            return []
        pitch, channel = event.data[0], self._settings.midi.channel(part) - 1
        self._channels[part, pitch].append(channel)
        self._strikes[channel, pitch] += 1
        strike = bytes((MidiStatus.NOTE_ON | channel, *event.data))
        if self._strikes[channel, pitch] == 1:
            return [strike]
        return [bytes((MidiStatus.NOTE_OFF | channel, pitch, 0)), strike]

    def _ended(self, part: Part, event: MidiEvent) -> list[bytes]:
        pitch = event.data[0]
        if not self._channels[part, pitch]:
            return []
        channel = self._channels[part, pitch].popleft()
        self._strikes[channel, pitch] -= 1
        if self._strikes[channel, pitch] > 0:
            return []
        velocity = event.data[1] if event.status == MidiStatus.NOTE_OFF else 0
        return [bytes((MidiStatus.NOTE_OFF | channel, pitch, velocity))]


def _rank(thing: MidiEvent | BarLine) -> int:
    """The order at one frame: what ends, where we are, the clock, the rest, what begins."""
    if isinstance(thing, BarLine):
        return 1
    match thing.status:
        case MidiStatus.NOTE_ON:
            return 4 if thing.data[1] > 0 else 0
        case MidiStatus.NOTE_OFF | MidiStatus.STOP:
            return 0
        case MidiStatus.CLOCK:
            return 2
    return 3
