"""The desk: the daemon's main process, which holds the session and nothing that may block.

One thread, one poller. Requests change the ledger; the ledger says what the writer has to write
next; what it wrote becomes cues for the stage; the stage tells what was heard, and what was heard
goes into the store. A process that dies, hangs or gives rubbish is started again from the last
good state. Must not import numba or FluidSynth: it lives beside them, not with them.
"""

import heapq
import itertools
import logging
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import zmq
from msgspec.structs import replace as replace_fields

from lofid import __version__
from lofid.compose.preset import Preset, named_preset
from lofid.compose.session import Moment, interned
from lofid.compose.station import SessionState
from lofid.compose.steering import another_turn, next_song
from lofid.daemon import links, model_choice
from lofid.daemon.branching import Fork
from lofid.daemon.children import Child
from lofid.daemon.gpu_trial import Trial
from lofid.daemon.ledger import BARS_AHEAD, Ledger, Steer, Task
from lofid.daemon.notify import Notifier
from lofid.daemon.recording import Tape
from lofid.daemon.server import Deferred, Handler, Server, Tcp
from lofid.daemon.store import MorphLeft, Recovered, Situation, Store, digest
from lofid.daemon.view import View, chord_events, finite
from lofid.music.notes import BEATS_PER_BAR, TICKS_PER_BAR, Part
from lofid.music.parameters import (
    HIGHEST_CONTROL,
    PARAMETERS,
    PREPARING_CONTROLS,
    Control,
    Settings,
    as_meant,
    find_parameter,
)
from lofid.outputs import FileLabel, free_spec
from lofid.protocol.messages import (
    BarEvent,
    BarInfo,
    ChordEvent,
    Event,
    Health,
    LevelsEvent,
    Limits,
    MorphInfo,
    NotesEvent,
    OutputInfo,
    PlayState,
    Recording,
    Request,
    Result,
    StateEvent,
    Status,
    WarningEvent,
    with_values,
)
from lofid.protocol.paths import SessionPaths
from lofid.rwkv.choice import EngineName, EngineRole, RunningEngine
from lofid.rwkv.state import ModelState as RwkvState

_LOG = logging.getLogger(__name__)

RECORDING, RECORDED_NOTES = "recording", "recording-midi"
"""Names of the outputs that a recording is."""

SILENT = -70.0
"""LUFS, BS.1770's absolute gate; a softer bar has not sounded, whatever the processes say."""

HANGS_AFTER = 3.0
"""Seconds without an answer after which a writer counts as hung; ten times its slowest bar where
that is more."""

STAGE_SILENT = 10.0
"""Seconds without a word from the stage, which reports once a second, after which it hangs."""

REQUESTS_A_TURN = 20
"""Requests that are answered between two looks at the music."""

_RECORDED = (RECORDING, RECORDED_NOTES)
_TURN = 0.25  # seconds between two looks at what sends no message
_FIRST_START, _NEXT_START = 180.0, 20.0  # seconds; the first start of all compiles the engine
_NOT_CLOSED = ("opening", "playing", "waiting")
_LEAVING = 15.0  # seconds that outputs get to finish their files
_HURRIED = 1.0  # seconds that are left of these when somebody is in a hurry
_STOOD_STILL = 2.0  # seconds between two turns that only somebody else can be to blame for
_SAME_FAULT = 60.0  # seconds in which a fault of one kind is told once
_AFTER_FAULT = 0.05  # seconds between a fault and the next turn
_LONGEST_BACK_OFF = 10.0
_GIVE_UP_PLACE, _GIVE_UP_SONG = 2, 4  # failures in a row after which the course is changed


@dataclass(frozen=True, slots=True, kw_only=True)
class Beginning:
    """What a session begins with where nothing of it was kept."""

    preset: Preset
    seed: int
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Job:
    """A bar that the writer was asked for, and who waits for it."""

    number: int
    sent: float
    done: Callable[[links.BarWritten], None]


class Desk:
    """The session and the processes that play it.

    Making it takes hold of the session and reads what was kept of it; :meth:`run` plays until
    :meth:`leave`. ``voices`` are the models that this start asks for (see
    :mod:`~lofid.daemon.model_choice`), ``engine`` what is to compute them. Raises
    :class:`~lofid.errors.LofidError` where the session is held by another daemon, its folders
    cannot be used, or those models cannot play. One thread.
    """

    def __init__(
        self,
        places: SessionPaths,
        beginning: Beginning,
        notifier: Notifier,
        *,
        tcp: Tcp | None = None,
        new: bool = False,
        virtual: bool = False,
        voices: Mapping[str, str] = {},
        engine: EngineName = EngineName.AUTO,
    ) -> None:
        self.places = places
        self.began = time.monotonic()
        self._notifier = notifier
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.server = Server(self._context, places, tcp)
        self.view = View()
        # What the session is, beside its music: changed by this class's own methods alone, and told
        # and kept wherever it has changed (_tell).
        self._preset = beginning.preset
        self._seed = beginning.seed
        self._state = PlayState.PLAYING
        self._muted: frozenset[Part] = frozenset()
        self._solo: frozenset[Part] = frozenset()
        self._outputs: dict[str, str] = {}
        self._recording: Tape | None = None
        self._recording_lost = ""
        self._learning: str | None = None
        self._mode_told = False
        self._morph_to: Preset | None = None
        self._fork: Fork | None = None
        self.waiting: dict[str, list[Callable[[links.OutputState], None]]] = {}
        """Who waits until it is known whether the output of that name plays, or has closed."""
        self.ledger = Ledger(beginning.preset.settings)
        self.store = Store(places.state)
        self._job: _Job | None = None
        self._jobs = itertools.count(1)
        self._failures = 0
        self._retry_at = {"writer": 0.0, "stage": 0.0}
        self._stage_told = self._turned = self.began
        self._patience = {"writer": 0.0, "stage": 0.0}  # seconds
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._chords: deque[tuple[float, ChordEvent]] = deque()
        self._leaving = self._hurried = False
        self._faults: dict[type[Exception], float] = {}  # when each may be told again
        self._soon: deque[Callable[[], None]] = deque()
        self._wake = socket.socketpair()
        for end in self._wake:
            end.setblocking(False)
        self._replay: deque[str] = deque()
        self._moment: Moment | None = None
        recovered = None if new else self.store.recover()
        self.taken_up = recovered is not None
        """Whether a session goes on; else one begins."""
        self.voices = voices
        """The models that play, and their style."""
        self._told: dict[str, object] = {}
        self._told_settings = self.ledger.settings
        try:
            self._take_up(beginning, recovered)
        except BaseException:
            self.store.close()
            self.server.close()
            raise
        self._told, self._told_settings = self._facts(), self.ledger.settings
        options = [f"--{option}={name}" for option, name in self.voices.items()]
        self._slow = [*options, f"--engine={EngineName.CPU}"]
        self._fast = [*options, f"--engine={engine}"]
        self.writer, trial = (
            Child(name, "lofid.daemon.writer", self._fast, places.runtime, self._context)
            for name in ("writer", "trial")
        )
        self._trial = Trial(trial)
        self.stage = Child(
            "stage",
            "lofid.daemon.stage",
            [f"--seed={self._seed}", *(["--virtual"] if virtual else [])],
            places.runtime,
            self._context,
        )

    def _take_up(self, beginning: Beginning, recovered: Recovered | None) -> None:
        """Go on where the session stood; or begin it.

        Raises LofidError where the models that were asked for cannot play.
        """
        specs = list(beginning.outputs)
        if recovered is not None:
            situation = recovered.situation
            self.ledger = Ledger(situation.settings)
            self._seed = recovered.moment.state.seed if situation.seed is None else situation.seed
            self._preset = named_preset(situation.preset, situation.settings, self.places.presets)
            self._muted, self._solo = situation.muted, situation.solo
            self._state = PlayState.PAUSED if situation.paused else PlayState.PLAYING
            self._moment, self._replay = recovered.moment, deque(recovered.digests)
            if (left := situation.morph) is not None:
                self.ledger.morph(left.end, left.bars)
                self._morph_to = named_preset(left.preset, left.end, self.places.presets)
        style = {} if self._preset.style is None else {model_choice.STYLE: self._preset.style}
        if recovered is None:
            self.voices = {**style, **self.voices}
            model_choice.check(self.voices)
        else:
            kept = recovered.situation.voices
            self.voices, told = model_choice.taken_up(style if kept is None else kept, self.voices)
            for sentence in told:
                self.warn(sentence)
        named = dict(recovered.situation.outputs) if recovered else {}
        for name, spec in named.items() or ((None, spec) for spec in specs):
            found = free_spec(spec, self._outputs.values())
            self._outputs[name or self.free_name(spec)] = found

    # -- the loop -----------------------------------------------------------------------------

    def run(self, answer: Handler) -> None:
        """Play until :meth:`leave`, and answer requests."""
        try:
            self.server.welcome(self.status())
            while not self._leaving:
                try:
                    self._turn(answer)
                except Exception as fault:
                    self._met(fault)
            self._notifier.stopping()
            self._end_stage()
        finally:
            self.close()

    def close(self) -> None:
        """End the processes, and let go of the session."""
        for child in (self.writer, self._trial.child, self.stage):
            child.end(grace=0)
        self.store.close()
        self.server.close()
        self._context.destroy(linger=500)
        for end in self._wake:
            end.close()

    def leave(self) -> None:
        """End after this turn of the loop; a signal handler may call it."""
        self._leaving = True

    def interrupt(self) -> None:
        """End as by :meth:`leave`; the second time, without waiting for outputs that take long."""
        self._hurried = self._leaving
        self._leaving = True

    @property
    def wake_fd(self) -> int:
        """Whatever is written here, one byte or more, wakes the loop; never blocks."""
        return self._wake[1].fileno()

    def soon(self, action: Callable[[], None]) -> None:
        """Do something in the desk's thread; any thread may ask for it."""
        self._soon.append(action)
        with suppress(BlockingIOError):  # a full pipe wakes as well
            self._wake[1].send(b".")

    def at(self, moment: float, action: Callable[[], None]) -> None:
        """Do something at a moment of the monotonic clock."""
        heapq.heappush(self._timers, (moment, next(self._jobs), action))

    def _met(self, fault: Exception) -> None:
        """A turn met a fault of ours: what it was about is lost, the music goes on.

        The message or timer that it was about has been taken, and is not met again. Where the same
        fault comes with every turn, it neither fills the log nor takes the processor.
        """
        now = time.monotonic()
        if now >= self._faults.get(type(fault), 0.0):
            self._faults[type(fault)] = now + _SAME_FAULT
            _LOG.error("A turn of the daemon failed.", exc_info=fault)
            with suppress(Exception):  # telling may be what fails
                self.warn(
                    f"The daemon met a fault of its own ({type(fault).__name__}); the music goes "
                    "on, and its log tells more."
                )
        time.sleep(_AFTER_FAULT)

    def _pardon(self, seconds: float) -> None:
        """All processes stood still for so long, and this one, too: nobody hangs for that."""
        self._stage_told += seconds
        for child in (self.writer, self.stage, self._trial.child):
            child.started_at += seconds
        if self._job is not None:
            self._job = replace(self._job, sent=self._job.sent + seconds)

    def _turn(self, answer: Handler) -> None:
        now = time.monotonic()
        if now - self._turned > _STOOD_STILL:
            self._pardon(now - self._turned)
        self._turned = now
        self._keep_processes(now)
        self._give_work(now)
        due = [queue[0][0] - now for queue in (self._timers, self._chords) if queue]
        wait = min(_TURN, *due) if due else _TURN
        inputs: list[Any] = [*self.server.sockets, self._wake[0].fileno()]
        children = (self.writer, self.stage, self._trial.child)
        inputs += [child.link.socket for child in children if child.link]
        zmq.zmq_poll([(one, zmq.POLLIN) for one in inputs], max(0, round(wait * 1000)))
        # The music first: requests are answered in between, a handful at a time.
        for child, hear in ((self.stage, self._hear_stage), (self.writer, self._hear_writer)):
            while child.link is not None and (message := child.link.receive()) is not None:
                hear(message)
                self._tell()
        with suppress(BlockingIOError):
            self._wake[0].recv(4096)
        while self._soon:
            self._soon.popleft()()
            self._tell()
        self._publish_chords(time.monotonic())
        while self._timers and self._timers[0][0] <= time.monotonic():
            heapq.heappop(self._timers)[2]()
        for warning in self.store.warnings():
            self.warn(warning)
        self.server.serve(partial(self.answered, answer), REQUESTS_A_TURN)

    def answered(self, answer: Handler, request: Request[Any]) -> Result | Deferred:
        """The answer to a request, told to all listeners what it has changed."""
        try:
            return answer(request)
        finally:
            self._tell()

    # -- processes ----------------------------------------------------------------------------

    def _keep_processes(self, now: float) -> None:
        """Start what does not run, and start anew what hangs."""
        self._trial.turn(now)
        if not self.writer.running:
            self._give_up_job()
            self._doubt_engine(now)
            self._start(self.writer, now, "The process that writes the music has ended")
        elif not self.writer.ready and now - self.writer.started_at > (
            _NEXT_START if self.view.writer_ready else _FIRST_START
        ):
            self._restart_writer("The models could not be loaded in time")
        elif self._job and now - self._job.sent > max(HANGS_AFTER, 10 * self.view.slowest_write):
            self._restart_writer("The process that writes the music hangs")
        if self.stage.running and now - self._stage_told > (
            STAGE_SILENT if self.stage.ready else _FIRST_START
        ):
            self.warn("The process that plays the music hangs; it is ended.")
            self.stage.end(grace=0)
        if not self.stage.running and self._start(
            self.stage, now, "The process that plays the music has ended"
        ):
            self._stage_told = now
            self._stage_anew()

    def _stage_anew(self) -> None:
        """The stage knows of nothing: tell it the session."""
        self.ledger.restart_stage()
        self.view.outputs.clear()
        self.mix()
        # What a file holds by now is kept: the music goes on in another one.
        self._outputs = {name: free_spec(spec) for name, spec in self._outputs.items()}
        self._tape_anew()
        for name, spec in self._outputs.items():
            self.stage.send(links.AddOutput(name, spec, self._label))
        for name in self.waiting.keys() - self._outputs.keys():
            self._output_state(links.OutputState(name, "", "closed"))
        if self._state is not PlayState.PLAYING:
            self.stage.send(links.StagePause())

    def _start(self, child: Child, now: float, told: str) -> bool:
        """Start a process, unless it failed to start a moment ago; whether it was."""
        if now < self._retry_at[child.name]:
            return False
        if child.starts:
            why = f" ({child.fate})" if child.fate else ""
            self.warn(f"{told}{why}; it is started again.")
        # One that has worked is needed at once; one that cannot even start wants patience.
        failed = child.starts and not child.ready
        patience = max(0.5, 2 * self._patience[child.name]) if failed else 0.0
        self._patience[child.name] = min(_LONGEST_BACK_OFF, patience)
        self._retry_at[child.name] = now + self._patience[child.name]
        child.start()
        return True

    def _restart_writer(self, told: str) -> None:
        self.warn(f"{told}; it is started again.")
        self._give_up_job()
        self._doubt_engine(time.monotonic())
        self.view.slowest_write = 0.0
        self.writer.start()

    def _doubt_engine(self, now: float) -> None:
        """The writer must start anew: if not with the CPU engine, then now with that."""
        ready = self.view.writer_ready
        if ready is not None and ready.running.role is EngineRole.FASTER:
            running = RunningEngine(
                "", f"the engine '{ready.running.engine}' failed", EngineRole.STAND_IN
            )
            self.view.writer_ready = replace(ready, running=running)
            self._rest_engine(now)

    def _rest_engine(self, now: float) -> None:
        """The CPU engine writes; the faster one is tried again later."""
        self.writer.arguments = self._slow
        seconds = self._trial.begin_rest(now)
        _LOG.info("The faster engine is tried again in %.0f s.", seconds)

    def _change_engine(self, ready: links.WriterReady) -> None:
        """The faster engine works again, in another process: it writes from the next bar on."""
        self.writer.arguments = self._fast
        self.writer.take_over(self._trial.child)
        self._trial.succeed()
        self.view.slowest_write = 0.0
        self._writer_ready(ready)
        self.warn(f"The engine '{ready.running.engine}' works again, and writes.")

    def _writer_ready(self, ready: links.WriterReady) -> None:
        self.writer.ready = True
        self.view.writer_ready = ready
        for remark in ready.remarks:
            self.warn(remark)

    def _end_stage(self) -> None:
        """Let the outputs fade out and finish their files."""
        self.stage.send(links.Leave())
        until = time.monotonic() + _LEAVING
        while self.stage.running and (left := until - time.monotonic()) > 0:
            if self._hurried:
                until = min(until, time.monotonic() + _HURRIED)
                self._hurried = False
                _LOG.info("The outputs get %g s more to end.", _HURRIED)
            if self.stage.link is not None and self.stage.link.socket.poll(
                min(100, round(left * 1000))
            ):
                self._hear_end()
        self._hear_end()

    def _hear_end(self) -> None:
        """What of the stage's last words matters: bars, and files that could not be finished."""
        while self.stage.link is not None and (message := self.stage.link.receive()) is not None:
            if isinstance(message, links.BarSounded | links.OutputState):
                self._hear_stage(message)

    def health(self, child: Child) -> Health:
        """How one of the processes is."""
        if not child.running:
            return Health.DOWN
        if not child.ready:
            return Health.STARTING
        standing_in = self.view.started is not None and bool(self.view.started.reason)
        return Health.LATE if standing_in and child is self.writer else Health.WELL

    # -- writing ------------------------------------------------------------------------------

    def _give_work(self, now: float) -> None:
        """Ask the writer for the next bar, if one is wanted."""
        if self._job is not None or not self.writer.ready:
            return
        if self._trial.outcome is not None:
            self._change_engine(self._trial.outcome)
        if self._moment is not None:
            moment = self._moment
            if self._replay:
                self._ask(moment.state, moment.settings, now, self._rewritten)
                return
            self.ledger.begin(moment.state)
            self._moment = None
        try:
            task = self.ledger.task()
        except Exception:
            self.ledger.forgive()  # a change that cannot be made would be tried for ever
            raise
        if task is not None:
            self._ask(task.state, task.settings, now, partial(self._written, task))
        elif self._fork is not None and (branch := self._fork.task()) is not None:
            number, state = branch
            self._ask(
                state, self.ledger.settings, now, partial(self._branch_written, self._fork, number)
            )

    def _ask(
        self,
        state: SessionState | None,
        settings: Settings,
        now: float,
        done: Callable[[links.BarWritten], None],
    ) -> None:
        number = next(self._jobs)
        if self.writer.send(links.WriteBar(number, state, settings, self._seed)):
            self._job = _Job(number, now, done)

    def _written(self, task: Task, written: links.BarWritten) -> None:
        before = task.state or written.before
        after = interned(written.after, before)
        if not self.ledger.written(task, before, written.bar, after, written.seconds):
            return
        # Music begins with some bars in hand: whatever happens next, it goes on.
        if self.ledger.tip is not None or self.ledger.ahead == BARS_AHEAD:
            self.stage.send(self.ledger.cues())

    def _rewritten(self, written: links.BarWritten) -> None:
        """A bar that sounded before the daemon ended was written again."""
        assert self._moment is not None
        if digest(written.bar) != self._replay.popleft():
            self.warn(
                f"Bar {written.bar.plan.index + 1} came out otherwise than when it was played, on "
                "another processor perhaps; the music goes on from there."
            )
        after = interned(written.after, self._moment.state)
        self._moment = replace(self._moment, state=after)

    def _branch_written(self, fork: Fork, number: int, written: links.BarWritten) -> None:
        fork.written(number, written.bar, written.after)

    def _hear_writer(self, message: object) -> None:
        match message:
            case links.WriterReady():
                before = self.view.writer_ready
                if self._trial.resting and before is not None:
                    running = replace(before.running, engine=message.running.engine)
                    message = replace(message, running=running)
                elif message.running.role is EngineRole.STAND_IN:
                    self._rest_engine(time.monotonic())
                self._writer_ready(message)
                if not self.store.introduce(message.models, message.vocabularies):
                    self._moment = None  # other models wrote it: begin anew
                    self._replay.clear()
            case links.EngineChanged() if self.view.writer_ready is not None:
                self.view.writer_ready = replace(self.view.writer_ready, running=message.running)
                self.warn(message.remark)
                self._rest_engine(time.monotonic())
            case links.BarWritten() if self._job and message.job == self._job.number:
                job, self._job, self._failures = self._job, None, 0
                self.view.wrote(message)
                for finding in message.findings:
                    _LOG.info("%s", finding)
                job.done(message)
            case links.WriteFailed() if self._job and message.job == self._job.number:
                reason = message.reason.rstrip(".")
                self._restart_writer(f"A bar could not be written ({reason})")
            case _:
                pass  # the answer to a question of a writer's former life

    def _give_up_job(self) -> None:
        """The writer has failed at a bar: it is written again, or the music goes elsewhere."""
        if self._job is None:
            return
        self._job = None
        self._failures += 1
        if self._failures >= _GIVE_UP_PLACE:
            self._replay.clear()
        if self._failures >= _GIVE_UP_SONG:
            self.ledger.steer(lambda state, _: next_song(state))
        elif self._failures >= _GIVE_UP_PLACE:
            turn = self._failures
            self.ledger.steer(lambda state, _: another_turn(state, turn))

    # -- what is heard ------------------------------------------------------------------------

    def _hear_stage(self, message: object) -> None:
        self._stage_told = time.monotonic()
        match message:
            case links.StageReady():
                self.stage.ready = True
                self.view.stage_ready = message
                for remark in message.remarks:
                    _LOG.info("%s", remark)
            case links.Locked():
                self._locked(message.take)
            case links.BarStarted():
                self._bar_started(message)
            case links.BarSounded():
                self._bar_sounded(message)
            case links.Levels():
                self.view.levels = message
                self.publish(LevelsEvent(dict(message.peaks), finite(message.loudness)))
            case links.OutputState():
                self._output_state(message)
            case links.Controller():
                self._controller_moved(message)
            case links.StageStatus():
                before, self.view.stage_status = self.view.stage_status, message
                if message.trouble and (before is None or before.trouble != message.trouble):
                    self.warn(message.trouble)
                self.ledger.delivered(message.cued)
                followed = self.ledger.settings.midi.follow and message.paused
                if self._state is not PlayState.PLAYING or followed:
                    # Silence is what was asked for, here or by the clock that is followed.
                    self._notifier.ready()
                    self._notifier.feed()

    def _locked(self, number: int) -> None:
        take = self.ledger.locked(number)
        if self._fork is not None:
            self._fork.locked(take)
        if self._morph_to is not None and self.ledger.morphing is None:
            self._preset, self._morph_to = self._morph_to, None
            self.mix()  # where a change of the mix has crossed the last bar's own settings

    def _bar_started(self, started: links.BarStarted) -> None:
        before, self.view.started = self.view.started, started
        self._publish_chords(float("inf"))  # those of the bar before, where it was cut short
        take = self.ledger.played(started.take)
        if take is not None:
            self.view.take = take
        if started.reason and not (before and before.reason):
            self.warn(f"The last good loop stands in: {started.reason}.")
        plan = started.bar.plan
        self.publish(BarEvent(BarInfo.of(plan, started.seconds, started.reason)))
        self.publish(NotesEvent.of(started.bar, TICKS_PER_BAR))
        for chord in chord_events(plan):
            moment = started.moment + chord.beat / BEATS_PER_BAR * started.seconds
            self._chords.append((moment, chord))
        self.server.welcome(self.status())
        symbols = " ".join(chord.symbol for chord in plan.chords)
        self._notifier.status(f"Bar {plan.index + 1}, {plan.section}, {symbols}")
        if before is None:
            self._notifier.ready()

    def _publish_chords(self, until: float) -> None:
        """Tell the chords that begin by then."""
        while self._chords and self._chords[0][0] <= until:
            self.publish(self._chords.popleft()[1])

    def _bar_sounded(self, sounded: links.BarSounded) -> None:
        self.view.bars_played += 1
        take = self.ledger.played(sounded.take)
        started = self.view.started
        meant = started is not None and not any(
            notes for part, notes in started.bar.notes.items() if part not in self.silenced
        )
        if sounded.loudness > SILENT or meant:
            self._notifier.feed()
        if take is not None:
            self.store.sounded(take.before, take.bar, take.after, take.settings, take.seconds)

    def _output_state(self, told: links.OutputState) -> None:
        before = self.view.outputs.get(told.name)
        if told.state == "opening" and before is not None:
            told = replace(told, reason=before.reason)  # tried again, and told once
        self.view.outputs[told.name] = told
        # One that is to be closed may yet tell how it plays.
        settled = told.state not in (("opening",) if told.name in self._outputs else _NOT_CLOSED)
        waiting = self.waiting.pop(told.name, ()) if settled else ()
        if told.state == "closed":
            self._outputs.pop(told.name, None)
            self.view.outputs.pop(told.name)
            self._tape_closed(told, by_itself=not waiting)
        for heard in waiting:
            heard(told)
        if not waiting and told.reason and (before is None or before.reason != told.reason):
            self.warn(told.reason)

    def _controller_moved(self, moved: links.Controller) -> None:
        midi = self.ledger.settings.midi
        if self._learning is not None and moved.control > HIGHEST_CONTROL:
            if not self._mode_told:  # a sequencer that stops sends one for each channel
                self._mode_told = True
                self.warn(
                    f"Controller {moved.control} is no knob's but a channel mode message, such as "
                    f"sequencers send as they stop; '{self._learning}' waits for another one, from "
                    f"0 to {HIGHEST_CONTROL}."
                )
        elif self._learning is not None and moved.control not in PREPARING_CONTROLS:
            control = Control(moved.channel, moved.control, self._learning)
            others = [one for one in midi.controls if one.path != self._learning]
            self.learn(None)
            self.set({"midi.controls": [one.symbol for one in (*others, control)]})
        elif values := dict(midi.turned(moved.channel, moved.control, moved.value)):
            self.set(values)

    def learn(self, path: str | None) -> None:
        """Bind a parameter to the next controller that is moved; None to wait for none."""
        self._learning, self._mode_told = path, False

    # -- what requests do ---------------------------------------------------------------------

    def set(self, values: Mapping[str, object]) -> dict[str, object]:
        """Set parameters, all or none, and return what was set, with what it meant beside.

        Raises LofidError for a value that is not allowed.
        """
        before, values = self.ledger.settings, as_meant(values)
        self.ledger.change(lambda settings: with_values(settings, values))
        settings = self.ledger.settings
        if (before.sound, before.mix, before.midi) != (settings.sound, settings.mix, settings.midi):
            self.mix()
        return {path: find_parameter(path).plain(settings.value(path)) for path in values}

    def load(self, preset: Preset) -> dict[str, object]:
        """Take up a preset at the next bar line, and return the parameters that it changes.

        A preset is a mood: the rig, ``[midi]``, stays as it is.
        """
        before = self.ledger.settings
        self._preset, self._morph_to = preset, None
        self._check_style(preset)
        self.ledger.switch(self._with_rig(preset.settings))
        return self.changed_since(before)

    def morph(self, preset: Preset, bars: int) -> None:
        """Go over to a preset within so many bars; the rig stays as it is."""
        self.ledger.morph(self._with_rig(preset.settings), bars)
        self._morph_to = preset
        self._check_style(preset)

    def saved_as(self, preset: Preset) -> None:
        """The settings that play have become a preset."""
        self._preset = preset

    def _with_rig(self, settings: Settings) -> Settings:
        return replace(settings, midi=self.ledger.settings.midi)

    def reseed(self, seed: int, beginnings: tuple[RwkvState, RwkvState]) -> None:
        """Begin a new session of music from a seed; ``beginnings`` are the models' own."""
        self._seed = seed
        self.steer(lambda _, settings: SessionState.opening(settings, seed, beginnings))

    def steer(self, change: Steer) -> None:
        """Change the musical course from the next bar line on; an audition ends."""
        self._end_audition()
        self.ledger.steer(change)

    def go_to(self, moment: Moment, preset: Preset) -> None:
        """Go on from a kept moment, with its settings but for the rig; ``preset`` is its own."""
        self._preset, self._seed, self._morph_to = preset, moment.state.seed, None
        self._end_audition()
        self.ledger.switch(self._with_rig(moment.settings), lambda _state, _: moment.state)

    def branch(self, begin: SessionState, count: int) -> Fork:
        """Have several continuations prepared, instead of those that are."""
        if self._fork is not None:
            self._fork.drop()
        self._fork = Fork(self.ledger, begin, count)
        return self._fork

    def forget_branches(self) -> None:
        """There are no continuations any more: one was adopted, or all were dropped."""
        self._fork = None

    def _end_audition(self) -> None:
        """The course is about to be changed: an audition must not take it back."""
        if self._fork is not None and self._fork.listening is not None:
            self._fork.interrupt()

    def mute(self, part: Part, on: bool) -> None:
        """Silence a part, or let it be heard again."""
        self._muted = self._muted | {part} if on else self._muted - {part}
        self.mix()

    def solo(self, part: Part, on: bool) -> None:
        """Let a part be heard alone, with others that are solo, or no longer."""
        self._solo = self._solo | {part} if on else self._solo - {part}
        self.mix()

    # -- recording ----------------------------------------------------------------------------

    def record(self, path: Path, ending: str, heard: Callable[[links.OutputState], None]) -> None:
        """Record into ``path``, numbered where it is taken; ``heard`` is told what became of it."""
        self._recording_lost = ""
        self._recording = tape = Tape.free(path, ending, self._outputs.values())
        self.waiting[RECORDING] = [heard]
        self.add_output(RECORDING, tape.audio)
        self.add_output(RECORDED_NOTES, tape.midi)

    def stop_recording(self, done: Callable[[str], None]) -> None:
        """Finish both files; ``done`` is told what went wrong with them, nothing where all is well.

        Whatever went wrong with one of them before is told as well.
        """
        lost, closing = self._recording_lost, [RECORDING]
        if RECORDED_NOTES in self._outputs:
            closing.append(RECORDED_NOTES)
        reasons, open_still = [lost] if lost else [], set(closing)

        def closed(told: links.OutputState) -> None:
            open_still.discard(told.name)
            if told.reason:
                reasons.append(told.reason)
            if not open_still:
                self._recording_lost = ""
                done(" ".join(dict.fromkeys(reasons)))

        for name in closing:
            self.waiting[name] = [closed]
        for name in closing:
            self.remove_output(name)

    def recording_lost(self) -> str:
        """Why the last recording ended by itself; told once, empty where it did not."""
        lost, self._recording_lost = self._recording_lost, ""
        return lost

    @property
    def recording(self) -> Recording | None:
        """The recording under way, once its file is open."""
        tape = self._recording
        return None if tape is None or RECORDING in self.waiting else tape.info()

    def _tape_closed(self, told: links.OutputState, *, by_itself: bool) -> None:
        """One of the recording's files has closed."""
        if self._recording is None or told.name not in (RECORDING, RECORDED_NOTES):
            return
        if told.reason and by_itself:
            self._recording_lost = told.reason
        if told.name == RECORDING:
            self._recording = None
            self.remove_output(RECORDED_NOTES)

    def _tape_anew(self) -> None:
        """The stage was started anew: a recording goes on in two more files of one name."""
        tape = self._recording
        if tape is None or RECORDING not in self._outputs:
            return
        others = [spec for name, spec in self._outputs.items() if name not in _RECORDED]
        again = Tape.free(tape.path, tape.ending, others)
        self._recording = again
        if again.name != tape.name:
            self.warn(f"The recording goes on in '{again.name}', beside '{tape.name}'.")
        self._outputs[RECORDING] = again.audio
        if RECORDED_NOTES in self._outputs:
            self._outputs[RECORDED_NOTES] = again.midi

    # -- who plays, and where to --------------------------------------------------------------

    @property
    def seed(self) -> int:
        """Where the session's chance comes from."""
        return self._seed

    @property
    def outputs(self) -> Mapping[str, str]:
        """The specs of the outputs by their names."""
        return self._outputs

    @property
    def learning(self) -> str | None:
        """The parameter that waits for a controller."""
        return self._learning

    @property
    def fork(self) -> Fork | None:
        """The continuations that are prepared."""
        return self._fork

    @property
    def style(self) -> str | None:
        """The tuned style that the models are in; None where they play as they are."""
        return self.voices.get(model_choice.STYLE)

    def _check_style(self, preset: Preset) -> None:
        """Say it where a preset asks for another style than the one that the models are in."""
        if preset.style not in (None, self.style):
            self.warn(
                f"The preset '{preset.name}' asks for the style '{preset.style}', which is other "
                "weights and other music; the session takes up its settings and still plays "
                f"{model_choice.in_words(self.voices)}. To hear the preset in its own style, begin "
                "with it: lofid serve --new --preset."
            )

    def mix(self) -> None:
        """Tell the stage the settings of sound and mix, and who is muted."""
        self.stage.send(links.Mixing(self.ledger.settings, self.silenced))

    @property
    def silenced(self) -> frozenset[Part]:
        """Who is not heard: the muted, and while somebody is solo all others."""
        return self._muted | (frozenset(Part) - self._solo if self._solo else frozenset())

    @property
    def next_index(self) -> int | None:
        """Index of the bar after the one that was locked last; None before the first."""
        return self.ledger.tip.bar.plan.index + 1 if self.ledger.tip else None

    def hold(self, state: PlayState) -> None:
        """Play, pause or stop."""
        orders = {
            PlayState.PLAYING: links.StagePlay,
            PlayState.PAUSED: links.StagePause,
            PlayState.STOPPED: links.StageStop,
        }
        self._state = state
        self.stage.send(orders[state]())

    def add_output(self, name: str, spec: str) -> None:
        """Open an output; what becomes of it is told when it is known."""
        self._outputs[name] = spec
        self.stage.send(links.AddOutput(name, spec, self._label))

    @property
    def _label(self) -> FileLabel:
        return FileLabel(self._preset.name, self._seed)

    def remove_output(self, name: str) -> None:
        """Close an output; nothing happens where it has closed itself."""
        if self._outputs.pop(name, None) is not None:
            self.stage.send(links.RemoveOutput(name))

    def free_name(self, spec: str) -> str:
        """A name for an output: its kind, numbered where there are several."""
        kind = spec.partition(":")[0]
        names = itertools.chain([kind], (f"{kind}-{number}" for number in itertools.count(2)))
        return next(name for name in names if not self.taken(name))

    def taken(self, name: str) -> bool:
        """Whether an output may not be called so: there is one, perhaps about to close."""
        return name in {*self._outputs, *self.waiting, RECORDING, RECORDED_NOTES}

    def publish(self, event: Event) -> None:
        """Tell an event to all listeners."""
        self.server.publish(event)

    def _facts(self) -> dict[str, object]:
        """The fields of the status that are told where they change."""
        return {
            "state": self._state,
            "preset": self._preset.name,
            "changed": self._changed(),
            "morph": self._morph_info(),
            "seed": self._seed,
            "muted": sorted(self._muted),
            "solo": sorted(self._solo),
            "outputs": self.output_infos(),
            "recording": self.recording and replace_fields(self.recording, seconds=0.0),
            "branches": self._fork.info() if self._fork else None,
            "learning": self._learning,
            "engine": self.view.engine(),
        }

    def _tell(self) -> None:
        """Tell all listeners what has changed since they were last told, and keep it.

        Whoever changes something need not say so: this is called after whatever was done.
        """
        facts, settings = self._facts(), self.ledger.settings
        changed = {name: fact for name, fact in facts.items() if fact != self._told[name]}
        if settings is not self._told_settings:
            changed |= self.changed_since(self._told_settings)
        self._told, self._told_settings = facts, settings
        if changed:
            self.publish(StateEvent(changed))
            self.server.welcome(self.status())
        self.store.situate(
            Situation(
                settings,
                self._preset.name,
                self._muted,
                {name: spec for name, spec in self._outputs.items() if name not in _RECORDED},
                self._state is not PlayState.PLAYING,
                self.voices,
                self._solo,
                self._seed,
                self._morph_left(),
            )
        )

    def warn(self, text: str) -> None:
        """Tell the user something that they should know."""
        _LOG.warning("%s", text)
        self.publish(WarningEvent(self.view.warn(text)))

    def moment(self, state: SessionState, description: str = "") -> Moment:
        """A state of the session with all that belongs to it; the models must be loaded."""
        engine = self.view.writer_ready
        assert engine is not None
        return Moment(
            state,
            self.ledger.settings,
            engine.models,
            engine.vocabularies,
            datetime.now(UTC),
            self._preset.name,
            description,
        )

    def status(self) -> Status:
        """Everything there is to know about the session."""
        view, now = self.view, time.monotonic()
        playing = self._state is PlayState.PLAYING and view.next_line is not None
        return Status(
            version=__version__,
            session=self.places.session,
            process=os.getpid(),
            uptime=now - self.began,
            state=self._state,
            bar=view.bar(),
            bars_played=view.bars_played,
            next_line=max(0.0, view.next_line - now) if playing and view.next_line else None,
            song=view.song(),
            preset=self._preset.name,
            changed=self._changed(),
            morph=self._morph_info(),
            seed=self._seed,
            style=self.style,
            model=self.voices.get("model"),
            muted=sorted(self._muted),
            solo=sorted(self._solo),
            outputs=self.output_infos(),
            levels=view.level(),
            recording=self.recording,
            branches=self._fork.info() if self._fork else None,
            learning=self._learning,
            engine=view.engine(),
            writer=view.writer(self.health(self.writer), self.ledger.ahead, self.writer),
            stage=view.stage(self.health(self.stage), self.stage),
            warnings=list(view.warnings),
            limits=Limits(rewind_bars=len(self.ledger.history)),
        )

    def _changed(self) -> list[str]:
        """The parameters that have another value than in the preset, but for the rig's."""
        now, preset = self.ledger.settings, self._preset.settings
        return [
            path
            for path, row in PARAMETERS.items()
            if row.group != "midi" and now.value(path) != preset.value(path)
        ]

    def changed_since(self, before: Settings) -> dict[str, Any]:
        """The parameters that have another value than they had in ``before``, as plain data."""
        now = self.ledger.settings
        return {
            path: row.plain(now.value(path))
            for path, row in PARAMETERS.items()
            if now.value(path) != before.value(path)
        }

    def _morph_info(self) -> MorphInfo | None:
        morph = self.ledger.morphing
        return MorphInfo(self._morph_to.name, *morph) if morph and self._morph_to else None

    def _morph_left(self) -> MorphLeft | None:
        morph, end = self.ledger.morphing, self.ledger.morph_end
        if morph is None or end is None or self._morph_to is None:
            return None
        done, bars = morph
        return MorphLeft(self._morph_to.name, end, bars - done)

    def output_infos(self) -> list[OutputInfo]:
        """The outputs and what has become of them."""
        return [self.view.output(name, spec) for name, spec in self._outputs.items()]
