"""A MIDI file that is written while the music plays, and is whole at every bar line.

Type 0: one track, each part on its own channel, at PPQ 480 with the tempo of every bar, so that
bars lie on the grid and notes where they sounded. Only the bar that sounds is held in memory. At
its end it is appended behind the track's end mark, then the track's length is made right, then the
old end mark becomes an empty text: whoever reads the file, and whenever we are killed, there is
music up to a bar line.
"""

import os
from contextlib import suppress
from pathlib import Path

import mido
from mido.midifiles.meta import encode_variable_int

from lofid.errors import LofidError
from lofid.files import place_of, temporary_name
from lofid.music.midi import key_name
from lofid.music.notes import BEATS_PER_BAR, EARLIEST_START, PPQ, TICKS_PER_BAR, Part
from lofid.music.parameters import Settings
from lofid.outputs.messages import MidiStatus
from lofid.outputs.output import SAMPLE_RATE, BarLine, Block, Output
from lofid.outputs.routing import Router

_LENGTH_AT = 18  # bytes from the file's beginning to the length of its only track
_TRACK_AT = _LENGTH_AT + 4
_END_MARK = b"\xff\x2f\x00"
_TEXT = b"\x01"  # in place of the mark's second byte, it makes an empty text
_LONGEST = 0xFFFF0000  # bytes of a track; some months
_ROUNDING = 2  # frames that a bar may be off its tempo because lines lie on whole frames
_HALTED = 0.1  # a bar that lasted so much longer or shorter than planned was held or cut off


class MidiFileOutput(Output):
    """Writes a ``.mid`` file from the first bar line on; it has its name from its first bar on."""

    comes_back = False

    def __init__(self, path: Path) -> None:
        self.path = path
        self._place = path  # when it is open: where the name leads to, and a name beside that
        self._temporary: Path | None = None
        self._settings = Settings()
        self._router = Router("", self._settings)
        self._file: int | None = None
        self._named = False
        self._end = _TRACK_AT  # the byte behind the track's last one
        self._line: BarLine | None = None  # of the bar that sounds
        self._before: BarLine | None = None  # of the bar before it
        self._tempo = 0  # microseconds a quarter, as written last
        self._held: list[tuple[int, bytes]] = []  # the messages of that bar, by frame
        self._frame = 0  # the next block's
        self._closing = False  # the bar that sounds is not heard to its end

    def open(self) -> None:
        """Create the file under a temporary name."""
        self._place = place_of(self.path)
        self._temporary = temporary_name(self._place)
        try:
            self._file = os.open(self._temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666)
        except OSError as error:
            raise self._error(error) from None
        self._put(0, b"MThd" + bytes((0, 0, 0, 6, 0, 0, 0, 1, *divmod(PPQ, 256))))
        self._put(_LENGTH_AT - 4, b"MTrk" + bytes(4))

    def adopt(self, settings: Settings) -> None:
        """Take up channels and programs; a file has every part, and no clock."""
        for part in Part:
            settings = settings.with_value(f"midi.{part}_port", "")
        self._settings = settings.with_value("midi.clock", False)
        self._held += ((self._frame, message) for message in self._router.adopt(self._settings))

    def write(self, block: Block) -> None:
        """Hold the block's messages; append a bar where the next one begins."""
        messages = self._router.route(block)
        for line in block.lines:
            self._held += (timed for timed in messages if timed[0] < line.frame)
            messages = [timed for timed in messages if timed[0] >= line.frame]
            self._begin(line)
        self._held += messages
        self._frame = block.frame + len(block.audio)
        if self._line is None:  # a note may begin a little ahead of the first bar line
            self._held = [timed for timed in self._held if timed[0] > self._frame - SAMPLE_RATE]

    def silence(self) -> None:
        """End every note that sounds."""
        self._held += (
            (self._frame, message)
            for message in self._router.ends()
            if message[0] & 0xF0 == MidiStatus.NOTE_OFF
        )

    def close(self) -> None:
        """Append what has sounded of the last bar."""
        if self._file is None:
            return
        self._closing = True
        self.silence()
        if self._line is None:
            self._append([(0, message) for message in self._opening()], 0)
        else:
            self._append_bar(self._line, self._frame)
        removed = not self._place.exists()
        self.abort()
        if removed:
            raise LofidError(
                f"The file '{self.path}' was removed, or its folder was, while it was written; "
                "nothing of it is left."
            )

    def abort(self) -> None:
        """Leave the file as it is, whole up to its last bar line; without a bar, leave none."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
        if not self._named and self._temporary is not None:
            with suppress(OSError):
                self._temporary.unlink(missing_ok=True)

    def _begin(self, line: BarLine) -> None:
        if self._line is None:
            early = -EARLIEST_START * 60 * SAMPLE_RATE / (line.plan.tempo * PPQ)
            self._held = [
                (line.frame, message)
                for frame, message in self._held
                if frame >= line.frame - early and message[0] & 0xF0 != MidiStatus.PROGRAM
            ]
            self._held[:0] = ((line.frame, message) for message in self._opening())
        else:
            self._append_bar(self._line, line.frame)
            self._before = self._line
        self._line = line

    def _append_bar(self, line: BarLine, end: int) -> None:
        """Append the bar from ``line`` to the frame ``end`` with what was held of it."""
        planned = SAMPLE_RATE * 60 * BEATS_PER_BAR / line.plan.tempo
        frames = end - line.frame
        if self._closing or abs(frames / planned - 1) > _HALTED:
            length, tempo = round(TICKS_PER_BAR * frames / planned), mido.bpm2tempo(line.plan.tempo)
        elif abs(frames - planned) > _ROUNDING:
            length, tempo = TICKS_PER_BAR, round(1e6 * frames / (SAMPLE_RATE * BEATS_PER_BAR))
        else:
            length, tempo = TICKS_PER_BAR, mido.bpm2tempo(line.plan.tempo)
        messages = [(0, message) for message in self._headline(line, tempo)]
        for frame, message in self._held:
            inside = (frame - line.frame) / frames if frames else 0
            messages.append((min(length, max(0, round(length * inside))), message))
        self._held.clear()
        self._append(messages, length)

    def _opening(self) -> list[bytes]:
        """What stands at the beginning: names and programs."""
        messages = [_meta("track_name", name="lofid")]
        messages.append(_meta("time_signature", numerator=BEATS_PER_BAR, denominator=4))
        for part in Part:
            channel = self._settings.midi.channel(part) - 1
            messages.append(_meta("channel_prefix", channel=channel))
            messages.append(_meta("instrument_name", name=str(part)))
        return [*messages, *self._router.opening()]

    def _headline(self, line: BarLine, tempo: int) -> list[bytes]:
        """What a bar says of itself where the one before it said otherwise."""
        plan, before = line.plan, None if self._before is None else self._before.plan
        messages = []
        if tempo != self._tempo:
            self._tempo = tempo
            messages.append(_meta("set_tempo", tempo=tempo))
        if before is None or plan.key != before.key:
            messages.append(_meta("key_signature", key=key_name(plan.key)))
        if before is None or plan.section != before.section or plan.bar_in_section == 0:
            messages.append(_meta("marker", text=str(plan.section)))
        return messages

    def _append(self, messages: list[tuple[int, bytes]], length: int) -> None:
        """Append messages at their ticks, and an end mark at ``length``."""
        content, now = bytearray(), 0
        for tick, message in messages:
            content += bytes(encode_variable_int(tick - now)) + message
            now = tick
        content += bytes(encode_variable_int(length - now)) + _END_MARK
        if self._end + len(content) > _LONGEST:
            raise LofidError(f"The file '{self.path}' is full; begin another one.")
        self._put(self._end, bytes(content))
        mark = self._end - len(_END_MARK) + 1  # the byte that tells the old end mark from a text
        self._end += len(content)
        self._put(_LENGTH_AT, (self._end - _TRACK_AT).to_bytes(4, "big"))
        if mark > _TRACK_AT:
            self._put(mark, _TEXT)
        if not self._named:
            assert self._temporary is not None, "not open"
            try:
                self._temporary.replace(self._place)
            except OSError as error:
                raise self._error(error) from None
            self._named = True

    def _put(self, at: int, content: bytes) -> None:
        assert self._file is not None, "not open"
        try:
            while content:
                done = os.pwrite(self._file, content, at)
                at, content = at + done, content[done:]
        except OSError as error:
            raise self._error(error) from None

    def _error(self, error: OSError) -> LofidError:
        return LofidError(
            f"The file '{self.path}' could not be written ({error.strerror}); "
            "choose another place or make room there."
        )


def _meta(kind: str, **details: object) -> bytes:
    return bytes(mido.MetaMessage(kind, **details).bytes())
