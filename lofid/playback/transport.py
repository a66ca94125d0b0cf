"""The transport: cues in, the stream out, block by block, each bar exactly on its line.

It decides which take sounds next, and when that can no longer be changed; it lays the bar lines
and the MIDI events into the stream; and it never runs dry: where no take has come, the last good
loop stands in. Pure: it knows neither threads nor clocks nor outputs, and does the same for the
same calls.

Two counts of frames. *Stream* frames are what outputs count: every block follows the one before.
*Studio* frames stand still while the music is held. A bar line at studio frame L is heard where
the studio's frame L + ``Studio.LATENCY`` lies in the stream.
"""

import copy
import heapq
import itertools
import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any

import numpy as np

from lofid.compose.arranger import varied
from lofid.music.midi import without_overlaps
from lofid.music.notes import BEATS_PER_BAR, TICKS_PER_BAR, Part
from lofid.music.parameters import Settings
from lofid.music.plan import Automation, Bar, BarPlan
from lofid.outputs.messages import MidiStatus
from lofid.outputs.output import SAMPLE_RATE, Audio, BarLine, Block, MidiEvent
from lofid.playback.cue import Cue
from lofid.sound.lines import BarLines, frames_per_tick
from lofid.sound.studio import BLOCK, LEAD, STEMS, Studio
from lofid.sound.synth import GRID

TICKS_PER_CLOCK = TICKS_PER_BAR // (24 * BEATS_PER_BAR)

FADE = 1024
"""Frames over which the music is taken away and given back when it is held: 21 ms."""

LOOPS = (8, 4)
"""Bars in which songs go round, the most first."""

LATE = "no bar has come in time"


@dataclass(frozen=True, slots=True)
class BarStart:
    """A bar line that is heard within a block: at which stream frame, and which bar begins.

    ``take`` is 0 where the last good loop stands in, and ``reason`` then says why; ``seconds`` is
    the bar's length.
    """

    frame: int
    take: int
    bar: Bar
    seconds: float
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Passage:
    """A block of the stream, and what whoever steers wants to know of it.

    ``stems`` as in :class:`lofid.sound.studio.Rendered`, as long as the block; ``locked`` are the
    takes that can no longer be replaced from here on; ``lines`` the bar lines heard in the block;
    ``settings`` those that a take has brought along, where they count from this block on.
    """

    block: Block
    stems: Mapping[str, Audio]
    locked: tuple[int, ...]
    lines: tuple[BarStart, ...]
    settings: Settings | None = None


class _Rank(IntEnum):
    """The order of what lies on one frame: a pitch is let go before it is struck again."""

    OFF = 0
    LINE = 1
    CLOCK = 2
    ON = 3


@dataclass(frozen=True, slots=True)
class _Strike:
    """A note's beginning or end; ``number`` tells the notes of one pitch apart."""

    part: Part
    pitch: int
    velocity: int
    number: int


@dataclass(frozen=True, slots=True)
class _Next:
    """A bar that may be locked next."""

    take: int
    bar: Bar
    settings: Settings | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a transport and its studio stood, at a stream frame."""

    frame: int
    state: Mapping[str, Any]
    studio: bytes


_ONWARD = {"_studio", "_seed", "_tempo", "_cues", "_serial", "_muted"}
"""What of a transport only goes on."""


@dataclass(frozen=True, slots=True)
class _Placed:
    """A locked bar and its line, in studio frames."""

    next: _Next
    line: float
    frames_per_tick: float

    @property
    def heard(self) -> int:
        """The studio's frame in which the line is heard."""
        return round(self.line) + Studio.LATENCY


class Transport:
    """Plays takes in an unbroken line through a studio.

    ``seed`` is that of the stand-in's variations. ``tempo`` is asked, when a bar is locked, for the
    BPM of the bar whose line is heard at a stream frame; by default what its plan says.
    One thread at a time.
    """

    def __init__(
        self, studio: Studio, seed: int, tempo: Callable[[int, BarPlan], float] | None = None
    ) -> None:
        self._studio = studio
        self._seed = seed
        self._tempo = tempo
        self._frame = 0
        self._cues: tuple[Cue, ...] = ()
        self._last = 0  # the take that was locked last
        self._again: deque[_Next] = deque()  # locked, and then held before they were heard
        self._lines: BarLines | None = None  # None while there is no bar to come from
        self._placed: deque[_Placed] = deque()
        self._changes: deque[tuple[float, Settings]] = deque()
        self._due: list[tuple[int, _Rank, int, _Placed | _Strike | None]] = []
        self._serial = itertools.count()
        self._sounding: dict[tuple[Part, int], int] = {}
        self._ticking = False  # whether clocks go out
        self._muted = studio.muted
        self._cuts: list[MidiEvent] = []  # what ends at the beginning of the next block
        self._held = self._dropping = self._replaying = False
        self._level = FADE  # how far the music is faded in
        self._history: deque[Bar] = deque(maxlen=LOOPS[0])
        self._stand_ins = 0  # since the last take
        self._prepared: _Next | None = None  # the stand-in that would be next

    @property
    def frame(self) -> int:
        """The stream frame that the next block begins with."""
        return self._frame

    @property
    def held(self) -> bool:
        """Whether the music is paused or stopped."""
        return self._held

    @property
    def cued(self) -> int:
        """The last take of the cues that came last, 0 without any."""
        return self._cues[-1].take if self._cues else 0

    def cue(self, cues: Sequence[Cue]) -> None:
        """What is to come; replaces whatever was cued before and is not locked."""
        self._cues = tuple(cues)

    def mix(self, settings: Settings, muted: frozenset[Part]) -> None:
        """Take up settings of sound and mix, and who is muted, from the next block on.

        They count more than those which bars cued before bring along.
        """
        self._cues = tuple(replace(cue, settings=None) for cue in self._cues)
        self._changes.clear()
        self._studio.settings = settings
        self._studio.muted = muted
        for part, pitch in [place for place in self._sounding if place[0] in muted - self._muted]:
            self._cuts.append(self._note_off(part, pitch))
        self._muted = muted

    def pause(self) -> None:
        """Fade out, end all MIDI notes, and hold the music in the middle of the bar."""
        self._held = True

    def stop(self) -> None:
        """Fade out and drop the rest of the bar; :meth:`play` goes on with the bar after it."""
        self._held = True
        self._dropping = self._lines is not None

    def play(self) -> None:
        """Go on after a pause or stop; a stop is completed first."""
        self._replaying = self._dropping
        self._held = self._dropping

    def skip(self) -> None:
        """Drop the rest of the bar and go on with the next one at once; held music stays held."""
        if not self._held:
            self.stop()
            self.play()

    def panic(self) -> None:
        """End every note; those to come will sound."""
        self._end_notes()
        self._studio.silence()
        for placed in self._placed:
            first = (_up(self._studio.position) - LEAD - placed.line) / placed.frames_per_tick
            bar = placed.next.bar
            to_come = {
                part: tuple(note for note in notes if note.start >= first)
                for part, notes in bar.notes.items()
            }
            self._studio.add(Bar(bar.plan, to_come), placed.line, placed.frames_per_tick)

    @property
    def coming(self) -> int | None:
        """The take that would be locked next, 0 for a stand-in; None before anything was played."""
        candidate = self._candidate()
        return None if candidate is None else candidate.take

    def steady(self, most: int) -> int:
        """How many of the next frames can be rendered at once, ``most`` at most; maybe none.

        No bar is locked in them, and no bar brings settings along. A multiple of ``BLOCK``.
        """
        if self._held and self._level > 0:
            return 0
        if self._lines is None:
            return most // BLOCK * BLOCK if self._held else 0
        position = self._studio.position
        ends: list[float] = [position + most]
        if not self._held:
            ends += [at for at, _ in self._changes]
            candidate = self._candidate()
            if candidate is not None:
                ends.append(self._first(candidate))
        end = math.floor(min(ends)) // BLOCK * BLOCK
        return max(0, (end - position) // BLOCK * BLOCK)

    def save(self) -> Standing:
        """Where everything stands, for :meth:`restore` before the next ``save``."""
        state = {
            name: copy.copy(value) for name, value in vars(self).items() if name not in _ONWARD
        }
        return Standing(self._frame, state, self._studio.save())

    def restore(self, standing: Standing) -> None:
        """Stand again where :meth:`save` was called, but for what has been cued since.

        What was locked stays so: go back to a moment behind which nothing was.
        """
        vars(self).update(standing.state)
        self._studio.restore(standing.studio)

    def forget(self) -> None:
        """Nothing that was saved will be restored."""
        self._studio.forget()

    def lacks_cue(self, frames: int) -> bool:
        """Whether the next block would be silent, or begin a stand-in, for want of a cue."""
        if self._held or self._again or self._cued() is not None:
            return False
        stand_in = self._stand_in()
        return stand_in is None or self._lines is None or self._must_lock(stand_in, frames)

    def block(self, frames: int) -> Passage:
        """The next ``frames`` of the stream (``Block.moment`` is not set)."""
        events = [replace(event, frame=self._frame) for event in self._cuts]
        self._cuts = []
        run = self._run(frames)
        first = self._studio.position
        locked = self._lock(run)
        lines = self._collect(first, run, events)
        settings = self._changed(run)
        silence: Audio = np.zeros((frames, 2), dtype=np.float32)
        audio, stems = silence, dict.fromkeys(STEMS, silence)
        if run:
            rendered = self._studio.render(run)
            gain = self._gain(run)
            audio = _filled(rendered.mix, gain, frames)
            stems = {stem: _filled(part, gain, frames) for stem, part in rendered.stems.items()}
        if self._held and self._level == 0:
            self._fall_silent()
            end = self._frame + min(run, frames - 1)
            events += [replace(event, frame=end) for event in self._cuts]
            self._cuts = []
        plans = tuple(BarLine(line.frame, line.bar.plan) for line in lines)
        block = Block(self._frame, audio, tuple(events), plans)
        self._frame += frames
        return Passage(block, stems, locked, tuple(lines), settings)

    def _run(self, frames: int) -> int:
        """How many of the next frames come from the studio; the rest is silence."""
        if self._lines is not None:
            return min(frames, self._level) if self._held else frames
        if self._held or (opening := self._candidate()) is None:
            return 0
        # The first bar line lies so that the earliest note is the first thing to be rendered.
        lead = math.ceil(-_earliest(opening.bar) * frames_per_tick(opening.bar.plan.tempo))
        self._lines = BarLines(_up(self._studio.position) - LEAD + lead + GRID)
        return frames

    def _changed(self, run: int) -> Settings | None:
        """Take up the settings of the line that the next frames from the studio reach, if any."""
        settings = None
        while self._changes and self._changes[0][0] < _up(self._studio.position + run):
            settings = self._studio.settings = self._changes.popleft()[1]
        return settings

    def _gain(self, run: int) -> Audio | None:
        """The fade over the next frames from the studio, [frames, 1]; None where there is none."""
        if not self._held and self._level == FADE:
            return None
        steps = np.arange(1, run + 1, dtype=np.float32)[:, None]
        levels = self._level + (-steps if self._held else steps)
        self._level = min(FADE, self._level + (-run if self._held else run))
        gain: Audio = np.minimum(np.float32(1), levels / np.float32(FADE))
        return gain

    def _fall_silent(self) -> None:
        """The music has been faded out: end the notes, and the bar if it is not to go on."""
        self._end_notes()
        if self._ticking:
            self._cuts.append(MidiEvent(0, MidiStatus.STOP))
            self._ticking = False
        if not self._dropping:
            return
        # What was locked but not heard yet is the first to come afterwards.
        position = self._studio.position
        self._again.extendleft(
            placed.next for placed in reversed(self._placed) if placed.heard >= position
        )
        self._placed.clear()
        self._changes.clear()
        self._due.clear()
        self._lines = None
        self._studio.silence()
        self._studio.render(_up(Studio.LATENCY - LEAD) + BLOCK)  # what still rings goes nowhere
        self._level = FADE
        self._dropping = False
        if self._replaying:
            self._held = self._replaying = False

    def _lock(self, run: int) -> tuple[int, ...]:
        """Lock every bar that the next frames from the studio reach into; returns their takes."""
        locked: list[int] = []
        while run and self._must_lock(following := self._sure(), run):
            again = bool(self._again)
            self._place(following)
            if again:
                self._again.popleft()
            elif following.take:
                locked.append(following.take)
                self._last = following.take
                self._history.append(following.bar)
                self._stand_ins = 0
            else:
                self._stand_ins += 1
            self._prepared = None
        return tuple(locked)

    def _must_lock(self, following: _Next, frames: int) -> bool:
        """Whether the next frames reach the earliest note of a bar, or its line."""
        return _up(self._studio.position + frames) > self._first(following)

    def _first(self, following: _Next) -> float:
        """The studio's frame by which a bar must be locked: its earliest note, or its line."""
        assert self._lines is not None
        lead = _earliest(following.bar) * frames_per_tick(following.bar.plan.tempo)
        return self._lines.next + LEAD + lead - GRID

    def _place(self, following: _Next) -> None:
        """Schedule a bar at the next line: its sound, its line, its clocks and its notes."""
        assert self._lines is not None
        bar, tempo = following.bar, following.bar.plan.tempo
        if self._tempo is not None:
            heard = round(self._lines.next) + Studio.LATENCY
            tempo = self._tempo(heard - self._studio.position + self._frame, bar.plan)
        tick = frames_per_tick(tempo)
        line = self._lines.begin(tempo)
        placed = _Placed(following, line, tick)
        self._placed.append(placed)
        self._studio.add(bar, line, tick)
        if following.settings is not None:
            self._changes.append((line + LEAD, following.settings))

        def at(ticks: int) -> int:
            return round(line + ticks * tick) + Studio.LATENCY

        self._push(at(0), _Rank.LINE, placed)
        for ticks in range(0, TICKS_PER_BAR, TICKS_PER_CLOCK):
            self._push(at(ticks), _Rank.CLOCK, None)
        for part, notes in bar.notes.items():
            for note in without_overlaps(notes):
                strike = _Strike(part, note.pitch, note.velocity, next(self._serial))
                start = at(note.start)
                self._push(start, _Rank.ON, strike)
                self._push(max(start + 1, at(note.start + note.duration)), _Rank.OFF, strike)

    def _push(self, frame: int, rank: _Rank, what: _Placed | _Strike | None) -> None:
        heapq.heappush(self._due, (frame, rank, next(self._serial), what))

    def _collect(self, first: int, run: int, events: list[MidiEvent]) -> list[BarStart]:
        """The lines heard in the next frames from the studio; their events are appended."""
        lines: list[BarStart] = []
        while self._due and self._due[0][0] < first + run:
            at, rank, _, what = heapq.heappop(self._due)
            frame = self._frame + max(0, at - first)
            if rank is _Rank.CLOCK:
                self._ticking = True
                events.append(MidiEvent(frame, MidiStatus.CLOCK))
            elif isinstance(what, _Placed):
                while self._placed[0] is not what:
                    self._placed.popleft()
                seconds = what.frames_per_tick * TICKS_PER_BAR / SAMPLE_RATE
                one = what.next
                lines.append(BarStart(frame, one.take, one.bar, seconds, one.reason))
            elif isinstance(what, _Strike):
                events += [replace(event, frame=frame) for event in self._struck(rank, what)]
        return lines

    def _struck(self, rank: _Rank, strike: _Strike) -> Iterator[MidiEvent]:
        """The events of a note's beginning or end: only the last of a pitch may end it."""
        place = (strike.part, strike.pitch)
        if rank is _Rank.OFF:
            if self._sounding.get(place) == strike.number:
                yield self._note_off(*place)
        elif strike.part not in self._muted:
            if place in self._sounding:
                yield self._note_off(*place)
            self._sounding[place] = strike.number
            yield MidiEvent(0, MidiStatus.NOTE_ON, (strike.pitch, strike.velocity), strike.part)

    def _note_off(self, part: Part, pitch: int) -> MidiEvent:
        del self._sounding[part, pitch]
        return MidiEvent(0, MidiStatus.NOTE_OFF, (pitch, 0), part)

    def _end_notes(self) -> None:
        self._cuts += [self._note_off(*place) for place in list(self._sounding)]

    def _candidate(self) -> _Next | None:
        """The bar that would be locked now; None before anything was played."""
        if self._again:
            return self._again[0]
        return self._cued() or self._stand_in()

    def _sure(self) -> _Next:
        following = self._candidate()
        assert following is not None, "the first line came with a first bar"
        return following

    def _cued(self) -> _Next | None:
        """The cue that follows the take locked last."""
        fitting = (cue for cue in self._cues if cue.follows == self._last)
        return next((_Next(cue.take, cue.bar, cue.settings) for cue in fitting), None)

    def _stand_in(self) -> _Next | None:
        """The next bar of the last good loop, varied; None before anything was played."""
        if not self._history:
            return None
        if self._prepared is None:
            # A song's last chord is no loop to stay on.
            history = [bar for bar in self._history if not bar.plan.final] or list(self._history)
            loop = _last_loop(history)
            turn, slot = divmod(self._stand_ins, len(loop))
            tempo = history[-1].plan.tempo
            bar = varied(loop[slot], self._seed, turn + 1)
            plan = replace(bar.plan, tempo=tempo, automation=Automation())
            self._prepared = _Next(0, replace(bar, plan=plan), reason=LATE)
        return self._prepared


def _last_loop(history: Sequence[Bar]) -> Sequence[Bar]:
    """The end of what was played that can be repeated from its beginning.

    Songs go round in 4 or 8 bars: what lies so far back goes on where the history ends. Taken from
    the last section if it has lasted so long, otherwise from what was played in the same key.
    """
    last = history[-1].plan
    song = list(itertools.takewhile(lambda bar: bar.plan.key == last.key, reversed(history)))
    section = list(itertools.takewhile(lambda bar: bar.plan.section == last.section, song))
    tail = section if len(section) >= LOOPS[-1] else song
    bars = next((bars for bars in LOOPS if len(tail) >= bars), len(tail))
    return history[-bars:]


def _earliest(bar: Bar) -> int:
    """Ticks from a bar's line to where it begins to sound: 0, or less."""
    return min([0, *(notes[0].start for notes in bar.notes.values() if notes)])


def _up(frame: int) -> int:
    """The next frame of the studio's grid: so far it has rendered, to reach this one."""
    return -(-frame // BLOCK) * BLOCK


def _filled(audio: Audio, gain: Audio | None, frames: int) -> Audio:
    """Audio with a fade, and silence behind it up to so many frames."""
    if gain is None:
        return audio
    whole: Audio = np.zeros((frames, 2), dtype=np.float32)
    whole[: len(audio)] = audio * gain
    return whole
