"""The ledger: what was played, what is written ahead, and what has to be written next.

Pure bookkeeping, no sockets and no clock. Musical changes throw away the takes that the stage has
not locked and begin again from the last one that it has: speculate and roll back. A change stays
pending until a take that carries it is locked, so it cannot be lost in a race with the stage.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from lofid.compose.morph import morphed
from lofid.compose.station import SessionState
from lofid.daemon.links import Cues
from lofid.music.parameters import Settings
from lofid.music.plan import Bar
from lofid.playback.cue import Cue

BARS_AHEAD = 4
"""Takes that lie finished before they are due: twelve seconds at 80 BPM, in which a writer that
hangs is found out and started anew."""

KEPT = 32
"""Locked takes that can be gone back to; a take of the pocket models weighs 0.8 MB."""

Steer = Callable[[SessionState, Settings], SessionState]
"""A change of the musical course: from the state that was to be gone on from to another one."""


@dataclass(frozen=True, slots=True)
class Take:
    """A written bar in its place in the line; ``settings`` are those it was written with.

    ``seconds`` is how long writing it took; ``steers`` are the changes that it is the first to
    carry; ``step`` counts the bars of a morph, this one included, and is 0 outside of one.
    """

    number: int
    follows: int
    before: SessionState
    bar: Bar
    after: SessionState
    settings: Settings
    seconds: float
    steers: tuple[Steer, ...] = ()
    step: int = 0


@dataclass(frozen=True, slots=True)
class Task:
    """What to write next; ``state`` is None for a session's opening."""

    version: int
    follows: int
    state: SessionState | None
    settings: Settings
    steers: tuple[Steer, ...]
    step: int


@dataclass(frozen=True, slots=True)
class Morph:
    """A walk from one set of settings to another, so many bars long."""

    start: Settings
    end: Settings
    bars: int

    def at(self, step: int) -> Settings:
        """The settings of the ``step``-th bar, counted from 1."""
        return morphed(self.start, self.end, min(1.0, step / self.bars))


class Ledger:
    """The line of takes of one session.

    A new session is opened, unless :meth:`begin` says from where to go on.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.tip: Take | None = None
        self.history: deque[Take] = deque(maxlen=KEPT)
        self._start: SessionState | None = None
        self._line: list[Take] = []
        self._sent: dict[int, Take] = {}
        self._pending: list[Steer] = []
        self._morph: Morph | None = None
        self._morph_done = 0
        self._version = 0
        self._count = 0

    def begin(self, state: SessionState) -> None:
        """Go on from a state; before anything is written."""
        self._start = state

    # -- changes ------------------------------------------------------------------------------

    def change(self, edit: Callable[[Settings], Settings]) -> bool:
        """Edit the settings; True where bars have to be written anew for it.

        A morph that is under way goes on, between settings that are both edited. What ``edit``
        raises is raised, and nothing has changed.
        """
        settings = edit(self.settings)
        if self._morph:
            self._morph = Morph(edit(self._morph.start), edit(self._morph.end), self._morph.bars)
        musical = not same_music(self.settings, settings)
        self.settings = settings
        if musical or self._morph or self._pending:  # takes of these carry settings of the mix
            self._begin_anew()
        return musical

    def steer(self, change: Steer) -> None:
        """Change the musical course from the next bar line on."""
        self._pending.append(change)
        self._begin_anew()

    def forgive(self) -> None:
        """Forget changes of the course that are pending: the music goes straight on."""
        self._pending.clear()
        self._begin_anew()

    def morph(self, end: Settings, bars: int) -> None:
        """Walk to other settings within so many bars."""
        self._morph, self._morph_done = Morph(self.settings, end, bars), 0
        self._begin_anew()

    def switch(self, settings: Settings, change: Steer | None = None) -> None:
        """Go on with other settings from the next bar line on, sound and mix included.

        With ``change`` from elsewhere, too; what was pending is dropped then.
        """
        self.settings = settings
        self._morph, self._morph_done = None, 0
        if change is not None:
            self._pending.clear()
        self.steer(change or (lambda state, _: state))  # one of its own: takes are told by it

    @property
    def morphing(self) -> tuple[int, int] | None:
        """Bars done and bars in all of the morph that is under way."""
        return (self._morph_done, self._morph.bars) if self._morph else None

    @property
    def morph_end(self) -> Settings | None:
        """Where the morph that is under way goes."""
        return self._morph.end if self._morph else None

    def _begin_anew(self) -> None:
        self._version += 1
        self._line.clear()

    # -- writing ------------------------------------------------------------------------------

    def task(self) -> Task | None:
        """What should be written next; None while enough lies ahead."""
        if len(self._line) >= BARS_AHEAD:
            return None
        last = self._line[-1] if self._line else self.tip
        state = last.after if last else self._start
        steers = () if self._line or state is None else tuple(self._pending)
        step, settings = 0, self.settings
        if self._morph:
            step = (self._line[-1].step if self._line else self._morph_done) + 1
            settings = self._morph.at(step)
        if state is not None:
            for steer in steers:
                state = steer(state, settings)
        return Task(self._version, last.number if last else 0, state, settings, steers, step)

    def written(
        self, task: Task, before: SessionState, bar: Bar, after: SessionState, seconds: float
    ) -> bool:
        """Put what was written for a task into the line; False where it is no longer wanted."""
        last = self._line[-1] if self._line else self.tip
        if task.version != self._version or task.follows != (last.number if last else 0):
            return False
        self._count += 1
        take = Take(
            number=self._count,
            follows=task.follows,
            before=before,
            bar=bar,
            after=after,
            settings=task.settings,
            seconds=seconds,
            steers=task.steers,
            step=task.step,
        )
        self._line.append(take)
        self._sent[take.number] = take
        return True

    def cues(self) -> Cues:
        """What the stage should know to come."""
        return Cues(
            tuple(
                Cue(
                    take.number,
                    take.follows,
                    take.bar,
                    take.settings if take.steers or take.step else None,
                )
                for take in self._line
            )
        )

    @property
    def ahead(self) -> int:
        """Takes that are written and not locked."""
        return len(self._line)

    # -- playing ------------------------------------------------------------------------------

    def locked(self, number: int) -> Take:
        """The stage has locked a take, perhaps one that was to be replaced; returns it."""
        take = self._sent[number]
        self.tip = take
        self.history.append(take)
        expected = bool(self._line) and self._line[0] is take
        if expected:
            del self._line[0]
        self._pending = [steer for steer in self._pending if steer not in take.steers]
        if not expected or self._pending:  # a change came in too late for this bar line
            self._begin_anew()
        if self._morph and take.step and take.settings == self._morph.at(take.step):
            self._morph_done = take.step
            self.settings = take.settings
            if take.step >= self._morph.bars:
                self._morph = None
        self._sent = self._descendants(take)
        return take

    def played(self, number: int) -> Take | None:
        """A take that was locked not long ago; None for 0, the stand-in."""
        return next((take for take in reversed(self.history) if take.number == number), None)

    def _descendants(self, take: Take) -> dict[int, Take]:
        """What the stage may yet lock after a take, replaced or not: cues travel, too."""
        kept: dict[int, Take] = {}
        for number, sent in self._sent.items():
            if sent.follows == take.number or sent.follows in kept:
                kept[number] = sent
        return kept

    def delivered(self, number: int) -> None:
        """The stage holds cues of which that take is the last: what was cued before has gone."""
        held = {number}
        while (last := self._sent.get(min(held))) is not None:
            held.add(last.follows)
        self._sent = {
            sent: take for sent, take in self._sent.items() if sent > number or sent in held
        }

    def restart_stage(self) -> None:
        """The stage was started anew: it knows of nothing, and what was locked last begins again.

        A bar that was cut off is played again from its beginning.
        """
        if self.tip is not None:
            cut = self.history.pop()
            self._start = cut.before
            self.tip = None
        self._sent.clear()
        self._begin_anew()


def same_music(a: Settings, b: Settings) -> bool:
    """Whether both settings make the same bars; how they sound may differ."""
    return (a.music, a.form, a.groove) == (b.music, b.form, b.groove)
