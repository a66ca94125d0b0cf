"""Branches: several continuations of the next bars, heard one after the other, one adopted.

A branch is the session state at the fork, turned another way; its bars follow from that, so that
what is auditioned is what is adopted.
"""

from dataclasses import dataclass, field

from lofid.compose.station import SessionState
from lofid.compose.steering import another_turn
from lofid.daemon.ledger import Ledger, Take
from lofid.errors import LofidError
from lofid.music.plan import Bar
from lofid.protocol.messages import BRANCH_BARS, Branch, Branches, ErrorKind, Refused


@dataclass
class _Continuation:
    """One branch: where it begins, its bars that are written, and the state after them."""

    start: SessionState
    after: SessionState
    bars: list[Bar] = field(default_factory=list)


class Fork:
    """A moment of a ledger with several continuations, numbered from 1. One thread."""

    def __init__(self, ledger: Ledger, begin: SessionState, count: int) -> None:
        self.index = begin.index
        self.listening: int | None = None
        """The branch that is auditioned."""
        self._ledger = ledger
        self._continuations = [
            _Continuation(start, start)
            for start in (another_turn(begin, number + 1) for number in range(count))
        ]
        self._heard = 0  # bars of the auditioned branch that were locked since it began
        self._straight: SessionState | None = None  # from where the music would have gone on

    def task(self) -> tuple[int, SessionState] | None:
        """The branch whose next bar is to be written, and from which state; None if none is."""
        for number, one in enumerate(self._continuations, start=1):
            if len(one.bars) < BRANCH_BARS:
                return number, one.after
        return None

    def written(self, number: int, bar: Bar, after: SessionState) -> None:
        """The next bar of a branch was written."""
        one = self._continuations[number - 1]
        one.bars.append(bar)
        one.after = after

    def listen(self, number: int) -> None:
        """Play a branch from the next bar line on, and again, until another word is said."""
        start = self._numbered(number).start
        if self._straight is None:
            tip = self._ledger.tip
            self._straight = tip.after if tip else start
        self.listening, self._heard = number, 0
        self._ledger.steer(lambda _state, _settings: start)

    def adopt(self, number: int | None) -> None:
        """Go on from a branch, by default the one that is auditioned."""
        chosen = number or self.listening
        if chosen is None:
            raise LofidError("No branch is auditioned; say which one to adopt: branch adopt 2.")
        start = self._numbered(chosen).start
        if chosen != self.listening:
            self._ledger.steer(lambda _state, _settings: start)
        self.listening = None

    def drop(self) -> None:
        """Go on as if there had never been a fork."""
        straight, self.listening = self._straight, None
        if straight is not None:
            self._ledger.steer(lambda _state, _settings: straight)

    def interrupt(self) -> None:
        """The course was changed otherwise: nothing is auditioned, or gone back to, any more."""
        self.listening = self._straight = None

    def locked(self, take: Take) -> None:
        """A take was locked: an audition that has come to its end begins again."""
        if self.listening is None:
            return
        start = self._numbered(self.listening).start
        self._heard = 1 if take.before is start else self._heard + (self._heard > 0)
        if self._heard == BRANCH_BARS:
            self._heard = 0
            self._ledger.steer(lambda _state, _settings: start)

    def info(self) -> Branches:
        """The branches, described."""
        return Branches(
            [
                Branch(
                    number,
                    len(one.bars),
                    [chord.symbol for bar in one.bars for chord in bar.plan.chords],
                    sum(len(notes) for bar in one.bars for notes in bar.notes.values()),
                )
                for number, one in enumerate(self._continuations, start=1)
            ],
            self.index,
            self.listening,
        )

    def _numbered(self, number: int) -> _Continuation:
        if not 1 <= number <= len(self._continuations):
            raise Refused(
                f"There is no branch {number}; there are 1 to {len(self._continuations)}.",
                ErrorKind.UNKNOWN,
                field="number",
                allowed=f"1 to {len(self._continuations)}",
            )
        return self._continuations[number - 1]
