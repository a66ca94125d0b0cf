"""Branches: an audition goes round until it is adopted, and what is adopted is what was heard."""

from collections.abc import Iterator

import pytest

from lofid.compose.player import drums_player, keys_player
from lofid.compose.station import Station
from lofid.daemon.branching import Fork
from lofid.daemon.ledger import Ledger
from lofid.daemon.store import digest
from lofid.errors import LofidError
from lofid.music.parameters import Settings
from lofid.protocol.messages import BRANCH_BARS
from lofid.rwkv.shipped import shipped_engine
from lofid.tokens import drums, keys


class Session:
    """A ledger whose bars are written by the models and locked one after the other."""

    def __init__(self, station: Station) -> None:
        self.station = station
        self.ledger = Ledger(Settings())
        self.fork: Fork | None = None

    def play(self, bars: int) -> list[str]:
        heard = []
        for _ in range(bars):
            while (task := self.ledger.task()) is not None:
                before = task.state or self.station.opening(task.settings, 5)
                step = self.station.step(before, task.settings)
                assert self.ledger.written(task, before, step.bar, step.state, 0.01)
            take = self.ledger.locked(self.ledger.cues().cues[0].take)
            heard.append(digest(take.bar))
            if self.fork is not None:
                self.fork.locked(take)
        return heard

    def branch(self, count: int) -> Fork:
        assert self.ledger.tip is not None
        self.fork = Fork(self.ledger, self.ledger.tip.after, count)
        return self.fork


@pytest.fixture(scope="module")
def station() -> Iterator[Station]:
    players = (
        keys_player(shipped_engine("pocket-keys", keys.VOCABULARY.hash)),
        drums_player(shipped_engine("pocket-drums", drums.VOCABULARY.hash)),
    )
    with Station(*players) as opened:
        yield opened


@pytest.fixture
def session(station: Station) -> Session:
    started = Session(station)
    started.play(6)
    return started


def test_an_audition_goes_round_and_branches_differ(session: Session) -> None:
    fork = session.branch(2)
    fork.listen(1)
    first = session.play(2 * BRANCH_BARS)
    assert first[:BRANCH_BARS] == first[BRANCH_BARS:]
    fork.listen(2)
    second = session.play(BRANCH_BARS)
    assert second != first[:BRANCH_BARS]


def test_what_is_adopted_is_what_was_heard(session: Session) -> None:
    fork = session.branch(3)
    fork.listen(2)
    heard = session.play(BRANCH_BARS)
    assert session.play(2) == heard[:2]
    fork.adopt(None)
    assert session.play(2) == heard[2:]
    assert session.play(1)[0] not in heard


def test_dropped_as_if_there_had_never_been_a_fork(station: Station) -> None:
    plain, forked = Session(station), Session(station)
    plain.play(6)
    forked.play(6)
    straight = plain.play(4)
    fork = forked.branch(2)
    fork.listen(1)
    forked.play(3)
    fork.drop()
    assert forked.play(4) == straight


def test_unknown_numbers_are_refused(session: Session) -> None:
    fork = session.branch(2)
    with pytest.raises(LofidError, match="There is no branch 3; there are 1 to 2"):
        fork.listen(3)
    with pytest.raises(LofidError, match="No branch is auditioned"):
        fork.adopt(None)


def test_an_audition_does_not_take_back_another_course(session: Session) -> None:
    fork = session.branch(2)
    session.play(1)
    fork.listen(1)
    session.play(2)
    fork.interrupt()
    assert session.ledger.tip is not None
    last = session.ledger.tip.bar.plan.index
    session.play(BRANCH_BARS)
    fork.drop()
    session.play(1)
    assert session.ledger.tip.bar.plan.index == last + BRANCH_BARS + 1
