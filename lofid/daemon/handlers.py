"""What the daemon does for each request: one method each, named after it.

Checks that need the session are made here; what a message may hold at all is the protocol's
business, and was checked before. Nothing here waits: what takes the disk answers later.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial, singledispatchmethod
from pathlib import Path
from typing import Any, TypeVar

from lofid.compose.chance import checked_seed
from lofid.compose.preset import (
    Preset,
    all_presets,
    load_preset,
    named_preset,
    preset_names,
    remove_preset,
    save_preset,
)
from lofid.compose.session import Moment, check_models
from lofid.compose.station import SessionState
from lofid.compose.steering import another_turn, next_section, next_song
from lofid.daemon import links
from lofid.daemon.branching import Fork
from lofid.daemon.desk import RECORDING, Desk
from lofid.daemon.ledger import Steer
from lofid.daemon.server import Deferred, fault
from lofid.daemon.store import Entry, SnapshotFolder
from lofid.errors import LofidError
from lofid.files import user_path
from lofid.music.parameters import (
    Control,
    Effect,
    Parameter,
    Settings,
    find_parameter,
)
from lofid.outputs import KINDS, free_spec
from lofid.protocol import messages
from lofid.protocol.messages import ErrorKind, Heard, PlayState, Refused, Request, Result

_T = TypeVar("_T")

PROMPT = 2.0
"""Seconds for an output to do what it is told before whoever asked is answered without it."""

_SNAPSHOT = "the name of a snapshot, as 'snapshot_list' tells them"
_SPECS = ", ".join(kind.syntax for kind in KINDS.values())


class RequestHandlers:
    """Answers requests with what a desk has and does."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._shelf = SnapshotFolder(desk.places.snapshots)
        self._turns = 0

    @singledispatchmethod
    def answer(self, request: Request[Any]) -> Result | Deferred:
        """Do what is asked for; raises LofidError where that cannot be."""
        raise NotImplementedError(type(request).__name__)

    # -- telling ------------------------------------------------------------------------------

    @answer.register
    def _status(self, _: messages.GetStatus) -> Result:
        return self._desk.status()

    @answer.register
    def _parameters(self, _: messages.GetParameters) -> Result:
        return messages.Parameters.of(self._settings)

    @answer.register
    def _get(self, request: messages.Get) -> Result:
        return messages.ParameterInfo.of(_known(request.path), self._settings)

    @answer.register
    def _outputs(self, _: messages.ListOutputs) -> Result:
        return messages.Outputs(self._desk.output_infos())

    @answer.register
    def _presets(self, _: messages.ListPresets) -> Deferred:
        folder = self._desk.places.presets
        return self._on_disk(
            lambda: all_presets(folder),
            lambda presets: messages.Presets(
                [messages.PresetInfo(one.name, one.description, one.own) for one in presets]
            ),
        )

    # -- parameters and presets ---------------------------------------------------------------

    @answer.register
    def _set(self, request: messages.Set) -> Result:
        return self._changed(request.values)

    @answer.register
    def _volume(self, request: messages.Volume) -> Result:
        return self._changed({f"mix.{request.part}": request.level})

    @answer.register
    def _preset_load(self, request: messages.PresetLoad) -> Result:
        values = self._desk.load(self._preset(request.name))
        return messages.Changed(Effect.MUSICAL, self._desk.next_index, values)

    @answer.register
    def _preset_save(self, request: messages.PresetSave) -> Result | Deferred:
        settings, folder = self._settings, self._desk.places.presets
        style = self._desk.style

        def saved(path: Path) -> Result:
            self._desk.saved_as(Preset(request.name, request.description, settings, style=style))
            return messages.Saved(request.name, str(path))

        return self._on_disk(
            lambda: save_preset(folder, request.name, request.description, settings, style), saved
        )

    @answer.register
    def _preset_remove(self, request: messages.PresetRemove) -> Deferred:
        folder = self._desk.places.presets

        def remove() -> None:
            is_there = request.name in preset_names(folder)
            kind = ErrorKind.REFUSED if is_there else ErrorKind.UNKNOWN
            with _about("name", "a preset of your own, as 'presets' tells them", kind):
                remove_preset(folder, request.name)

        return self._on_disk(remove, lambda _: messages.Done())

    @answer.register
    def _preset_morph(self, request: messages.PresetMorph) -> Result:
        self._desk.morph(self._preset(request.name), request.bars)
        return self._at_next_line()

    @answer.register
    def _midi_learn(self, request: messages.MidiLearn) -> Result:
        with _about("path", "a number, choice or flag", ErrorKind.FIELD):
            Control.parse(f"0 {_known(request.path).path}")
        self._desk.learn(request.path)
        return messages.Done()

    @answer.register
    def _midi_forget(self, request: messages.MidiForget) -> Result:
        path = _known(request.path).path
        if self._desk.learning == path:
            self._desk.learn(None)
        others = [one.symbol for one in self._settings.midi.controls if one.path != path]
        self._desk.set({"midi.controls": others})
        return messages.Done()

    # -- who plays, and whether ---------------------------------------------------------------

    @answer.register
    def _play(self, _: messages.Play) -> Result:
        return self._held(PlayState.PLAYING)

    @answer.register
    def _pause(self, _: messages.Pause) -> Result:
        return self._held(PlayState.PAUSED)

    @answer.register
    def _stop(self, _: messages.Stop) -> Result:
        return self._held(PlayState.STOPPED)

    @answer.register
    def _mute(self, request: messages.Mute) -> Result:
        self._desk.mute(request.part, request.on)
        return Heard(Effect.MIX)

    @answer.register
    def _solo(self, request: messages.Solo) -> Result:
        self._desk.solo(request.part, request.on)
        return Heard(Effect.MIX)

    @answer.register
    def _panic(self, _: messages.Panic) -> Result:
        self._desk.stage.send(links.StagePanic())
        return messages.Done()

    @answer.register
    def _shutdown(self, _: messages.Shutdown) -> Result:
        self._desk.leave()
        return messages.Done()

    # -- the course of the music --------------------------------------------------------------

    @answer.register
    def _next(self, request: messages.Next) -> Result:
        change = next_song if request.target is messages.NextTarget.SONG else next_section
        return self._steered(lambda state, _: change(state))

    @answer.register
    def _seed(self, request: messages.Seed) -> Result:
        with _about("value", messages.field_words(messages.Seed, "value"), ErrorKind.FIELD):
            seed = checked_seed(request.value)
        self._desk.reseed(seed, self._loaded().beginnings)
        return Heard(Effect.MUSICAL, 0)

    @answer.register
    def _rewind(self, request: messages.Rewind) -> Result:
        history = self._desk.ledger.history
        if not history:
            raise Refused("Nothing has been played yet that could be taken back; try again soon.")
        if request.bars > len(history):
            raise Refused(
                f"Only the last {len(history)} bars can be taken back; ask for fewer.",
                ErrorKind.FIELD,
                field="bars",
                allowed=f"a whole number from 1 to {len(history)}",
            )
        self._turns += 1
        begin, turn = history[-request.bars].before, self._turns
        return self._steered(lambda _state, _: another_turn(begin, turn), index=begin.index)

    @answer.register
    def _branch(self, request: messages.BranchPrepare) -> Result:
        tip = self._desk.ledger.tip
        if tip is None:
            raise Refused("Nothing has been played yet that could branch; try again soon.")
        return self._desk.branch(tip.after, request.count).info()

    @answer.register
    def _branch_listen(self, request: messages.BranchListen) -> Result:
        fork = self._fork()
        fork.listen(request.number)
        return Heard(Effect.MUSICAL, fork.index)

    @answer.register
    def _branch_adopt(self, request: messages.BranchAdopt) -> Result:
        fork = self._fork()
        fork.adopt(request.number)
        self._desk.forget_branches()
        return Heard(Effect.MUSICAL, fork.index)

    @answer.register
    def _branch_drop(self, _: messages.BranchDrop) -> Result:
        fork = self._fork()
        fork.drop()
        self._desk.forget_branches()
        return self._at_next_line()

    # -- kept moments -------------------------------------------------------------------------

    @answer.register
    def _snapshot_save(self, request: messages.SnapshotSave) -> Result | Deferred:
        tip = self._desk.ledger.tip
        if tip is None:
            raise Refused("Nothing has been played yet that could be kept; try again soon.")
        return self._kept(request.name, tip.after)

    @answer.register
    def _like(self, request: messages.Like) -> Result | Deferred:
        sounding = self._desk.view.take
        if sounding is None:
            raise Refused("Nothing has been played yet that could be liked; try again soon.")
        # The loop that sounds began some bars ago, if that is not forgotten yet.
        begin = sounding.before
        for take in reversed(self._desk.ledger.history):
            # Only what led here: after a rewind, other bars of the same place are kept as well.
            if take.after is begin and not begin.opens_loop:
                begin = take.before
        return self._kept(request.name, begin)

    @answer.register
    def _snapshot_list(self, _: messages.SnapshotList) -> Result | Deferred:
        return self._on_disk(
            self._shelf.entries,
            lambda entries: messages.Snapshots([self._described(entry) for entry in entries]),
        )

    @answer.register
    def _snapshot_remove(self, request: messages.SnapshotRemove) -> Result | Deferred:
        def remove() -> None:
            with _about("name", _SNAPSHOT):
                self._shelf.remove(request.name)

        return self._on_disk(remove, lambda _: messages.Done())

    @answer.register
    def _snapshot_load(self, request: messages.SnapshotLoad) -> Result | Deferred:
        engine = self._loaded()

        folder = self._desk.places.presets

        def load() -> tuple[Moment, Preset]:
            with _about("name", f"{_SNAPSHOT}, or the path of a file", _kind(request.name)):
                moment = self._shelf.load(request.name)
                check_models(moment, engine.models, engine.vocabularies, request.name)
            return moment, named_preset(moment.preset, moment.settings, folder)

        def loaded(kept: tuple[Moment, Preset]) -> Result:
            self._desk.go_to(*kept)
            return Heard(Effect.MUSICAL, kept[0].state.index)

        return self._on_disk(load, loaded)

    # -- outputs ------------------------------------------------------------------------------

    @answer.register
    def _output_add(self, request: messages.OutputAdd) -> Result | Deferred:
        with _about("spec", _SPECS, ErrorKind.FIELD):
            spec = free_spec(request.spec, self._desk.outputs.values())
        name = request.name or self._desk.free_name(spec)
        if self._desk.taken(name):
            raise Refused(
                f"There is an output '{name}' already; remove it first, or give another name.",
                field="name",
            )
        return self._opened(name, spec)

    @answer.register
    def _output_remove(self, request: messages.OutputRemove) -> Result | Deferred:
        if request.name not in self._desk.outputs:
            raise Refused.unknown("output", request.name, list(self._desk.outputs))
        before = self._desk.view.outputs.get(request.name)
        has_played = before is not None and before.state == "playing"
        answer = self._soon_or(messages.Done())

        def closed(told: links.OutputState) -> None:
            failed = has_played and told.reason  # why another never played matters no more
            self._tell(answer, Refused(told.reason) if failed else messages.Done())

        self._desk.waiting.setdefault(request.name, []).append(closed)
        self._desk.remove_output(request.name)
        return answer

    @answer.register
    def _record_start(self, request: messages.RecordStart) -> Result | Deferred:
        if RECORDING in self._desk.outputs or RECORDING in self._desk.waiting:
            raise Refused(
                "A recording is being made already; stop that first: 'lofid ctl record stop'."
            )
        name = request.name or f"{datetime.now():%Y-%m-%d-%H%M%S}"
        path = user_path(name) if "/" in name else self._desk.places.state / "recordings" / name
        if name.rpartition("/")[2] in ("", ".", ".."):
            raise Refused(
                f"'{name}' is a folder; name the recording in it, without an ending.",
                ErrorKind.FIELD,
                field="name",
                allowed=messages.field_words(messages.RecordStart, "name"),
            )
        if "/" not in name:
            with suppress(OSError):  # the refusal of its file tells why
                path.parent.mkdir(parents=True, exist_ok=True)
        answer = Deferred()

        def opened(told: links.OutputState) -> None:
            if told.state == "closed":
                reason = told.reason or "The recording was ended before it had begun."
                answer.answer(Refused(reason))
            else:
                recording = self._desk.recording
                assert recording is not None
                answer.answer(recording)

        self._desk.record(path, request.format, opened)
        return answer

    @answer.register
    def _record_stop(self, _: messages.RecordStop) -> Result | Deferred:
        recording = self._desk.recording
        if recording is None:
            if lost := self._desk.recording_lost():
                raise Refused(f"The recording had ended by itself: {lost}")
            raise Refused("Nothing is being recorded; begin with 'lofid ctl record start'.")
        answer = self._soon_or(recording)
        self._desk.stop_recording(
            lambda reason: self._tell(answer, Refused(reason) if reason else recording)
        )
        return answer

    # -- helpers ------------------------------------------------------------------------------

    @property
    def _settings(self) -> Settings:
        return self._desk.ledger.settings

    def _preset(self, name: str) -> Preset:
        folder = self._desk.places.presets
        known = ", ".join(preset_names(folder))
        with _about("name", f"{known}, or the path of a file", _kind(name)):
            return load_preset(name, folder)

    def _changed(self, values: Mapping[str, object]) -> Result:
        now = self._desk.set(values)
        effects = {find_parameter(path).effect for path in values}
        # The one that is heard last speaks for all.
        effect = next(one for one in (Effect.SONG, Effect.MUSICAL, Effect.MIX) if one in effects)
        return messages.Changed(
            effect, self._desk.next_index if effect is Effect.MUSICAL else None, now
        )

    def _held(self, state: PlayState) -> Result:
        self._desk.hold(state)
        return messages.Playing(state)

    def _steered(self, change: Steer, index: int | None = None) -> Result:
        self._desk.steer(change)
        return Heard(Effect.MUSICAL, self._desk.next_index if index is None else index)

    def _at_next_line(self) -> Result:
        return Heard(Effect.MUSICAL, self._desk.next_index)

    def _loaded(self) -> links.WriterReady:
        """The models that play; refused before they are loaded."""
        if self._desk.view.writer_ready is None:
            raise Refused("The models are not loaded yet; try again in a moment.")
        return self._desk.view.writer_ready

    def _fork(self) -> Fork:
        if self._desk.fork is None:
            raise Refused("There are no branches; prepare some first: 'lofid ctl branch 3'.")
        return self._desk.fork

    def _kept(self, name: str | None, state: SessionState) -> Deferred:
        moment = self._desk.moment(state)
        return self._on_disk(lambda: self._shelf.save(name, moment), self._described)

    def _described(self, entry: Entry) -> messages.Snapshot:
        label, engine = entry.label, self._desk.view.writer_ready
        if label is None:
            return messages.Snapshot(entry.name, str(entry.path), 0, 0.0, reason=entry.reason)
        reason = ""
        if engine is not None:
            try:
                check_models(label, engine.models, engine.vocabularies, entry.name)
            except LofidError as error:
                reason = str(error)
        return messages.Snapshot(
            entry.name,
            str(entry.path),
            label.bar,
            label.created.timestamp(),
            label.preset,
            reason,
        )

    def _opened(self, name: str, spec: str) -> Deferred:
        """Open an output, and answer when it plays, or waits to be tried again, or cannot."""
        answer = self._soon_or(messages.OutputInfo(name, spec, "opening"))

        def told(state: links.OutputState) -> None:
            refused = state.state == "closed"
            reason = state.reason or f"The output '{name}' was removed before it played."
            self._tell(answer, Refused(reason) if refused else self._desk.view.output(name, spec))

        self._desk.waiting[name] = [told]
        self._desk.add_output(name, spec)
        return answer

    def _soon_or(self, otherwise: Result) -> Deferred:
        """An answer to come; where an output hangs, ``otherwise`` before the client gives up."""
        answer = Deferred()
        self._desk.at(time.monotonic() + PROMPT, lambda: answer.answer(otherwise))
        return answer

    def _tell(self, answer: Deferred, outcome: Result | Refused) -> None:
        """Answer; where that was done without the outcome, warn everybody of a bad one."""
        if answer.given and isinstance(outcome, Refused):
            self._desk.warn(str(outcome))
        answer.answer(outcome)

    def _on_disk(self, work: Callable[[], _T], answered: Callable[[_T], Result]) -> Deferred:
        """Do something that may wait for the disk, then answer from the desk's own thread."""
        answer = Deferred()

        def settle(future: Future[_T]) -> None:
            try:
                answer.answer(answered(future.result()))
            except LofidError as error:
                answer.answer(error)
            except Exception:
                answer.answer(fault(work))

        future = self._desk.store.submit(work)
        future.add_done_callback(lambda done: self._desk.soon(partial(settle, done)))
        return answer


def _known(path: str) -> Parameter:
    """A parameter by its path; refused as the protocol refuses where there is none."""
    with _about("path", "a path from 'parameters'"):
        return find_parameter(path)


def _kind(name: str) -> ErrorKind:
    """What is wrong with a name, or path, that does not serve."""
    return ErrorKind.FIELD if "/" in name else ErrorKind.UNKNOWN


@contextmanager
def _about(field: str, allowed: str, kind: ErrorKind = ErrorKind.UNKNOWN) -> Iterator[None]:
    """What is refused in here, is refused for what a field of the request holds."""
    try:
        yield
    except Refused:
        raise
    except LofidError as error:
        hint = Refused.of(error).problem.hint
        raise Refused(str(error), kind, field=field, allowed=allowed, hint=hint) from None
