import os
import random
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lofid.compose.player import drums_player, keys_player
from lofid.compose.session import Moment, encoded, same_session
from lofid.compose.station import SessionState, Station, Step
from lofid.compose.steering import next_song
from lofid.daemon import store as stores
from lofid.daemon.store import CHECKPOINT, Recovered, Situation, SnapshotFolder, Store, digest
from lofid.errors import LofidError
from lofid.music.notes import Part
from lofid.music.parameters import Settings
from lofid.rwkv.shipped import shipped_engine
from lofid.tokens import drums, keys

MODELS = {"keys": "0123", "drums": "4567"}
VOCABULARIES = {"keys": "89ab", "drums": "cdef"}
BARS = 40


@dataclass(frozen=True)
class Music:
    """A line of bars as a station wrote it, with the states between them."""

    station: Station
    opening: SessionState
    steps: list[Step]

    @property
    def digests(self) -> list[str]:
        return [digest(step.bar) for step in self.steps]

    def before(self, bar: int) -> SessionState:
        return self.steps[bar - 1].state if bar else self.opening

    def sound(self, store: Store, bars: range, seconds: float = 0.01) -> None:
        for bar in bars:
            step = self.steps[bar]
            store.sounded(self.before(bar), step.bar, step.state, Settings(), seconds)


@pytest.fixture(scope="module")
def music() -> Iterator[Music]:
    players = (
        keys_player(shipped_engine("pocket-keys", keys.VOCABULARY.hash)),
        drums_player(shipped_engine("pocket-drums", drums.VOCABULARY.hash)),
    )
    with Station(*players) as station:
        state = opening = station.opening(Settings(), 7)
        steps: list[Step] = []
        for _ in range(BARS):
            steps.append(station.step(state, Settings()))
            state = steps[-1].state
        yield Music(station, opening, steps)


def opened(folder: Path) -> Store:
    store = Store(folder)
    store.recover()
    store.introduce(MODELS, VOCABULARIES)
    return store


def recovered(folder: Path) -> Recovered | None:
    store = Store(folder)
    try:
        return store.recover()
    finally:
        store.close()


def kept_bars(music: Music, folder: Path) -> int:
    """How many bars a session in a folder is long; it is a prefix of the music."""
    store = Store(folder)
    found = store.recover()
    assert store.warnings() == []
    store.close()
    if found is None:
        return 0
    start = found.moment.state.index
    assert same_session(found.moment.state, music.before(start))
    assert list(found.digests) == music.digests[start : start + len(found.digests)]
    return start + len(found.digests)


def test_a_session_is_found_again_to_the_bar(music: Music, tmp_path: Path) -> None:
    store = opened(tmp_path)
    situation = Situation(
        Settings().with_value("mix.drums", -6),
        "rain",
        frozenset({Part.MELODY}),
        {"main": "device", "tape": "file:/tmp/tape.flac"},
        paused=True,
        voices={"style": "mine"},
    )
    store.situate(Situation(outputs={"main": "device"}))
    music.sound(store, range(20))
    store.situate(situation)
    store.close()
    found = recovered(tmp_path)
    assert found is not None
    assert found.situation == situation
    assert found.moment.state.index == 1
    assert len(found.digests) == 19
    state = found.moment.state
    for expected in found.digests:
        step = music.station.step(state, found.moment.settings)
        assert digest(step.bar) == expected
        state = step.state
    assert same_session(state, music.before(20))


def test_a_system_without_fdatasync_keeps_the_journal(
    music: Music, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "fdatasync")  # as on macOS
    store = opened(tmp_path)
    music.sound(store, range(5))
    store.close()
    assert kept_bars(music, tmp_path) == 5


def test_a_bar_costs_one_short_line(music: Music, tmp_path: Path) -> None:
    store = opened(tmp_path)
    music.sound(store, range(1))
    store.submit(lambda: None).result()
    journal = next(tmp_path.glob("journal-*"))
    size = journal.stat().st_size
    music.sound(store, range(1, 31))
    store.close()
    assert next(tmp_path.glob("journal-*")) == journal
    assert (journal.stat().st_size - size) / 30 <= 100


def test_a_checkpoint_is_made_before_writing_again_takes_long(music: Music, tmp_path: Path) -> None:
    store = opened(tmp_path)
    for bar in range(20):
        music.sound(store, range(bar, bar + 1), seconds=0.3)
        store.submit(lambda: None).result()
        found = recovered(tmp_path)
        assert found is not None
        assert len(found.digests) * 0.3 <= stores.LONGEST_REPLAY
    store.close()


def test_a_turn_of_the_music_makes_a_checkpoint(music: Music, tmp_path: Path) -> None:
    store = opened(tmp_path)
    music.sound(store, range(10))
    faster = Settings().with_value("music.tempo", 90)
    step = music.station.step(music.before(10), faster)
    store.sounded(music.before(10), step.bar, step.state, faster, 0.01)
    store.submit(lambda: None).result()
    found = recovered(tmp_path)
    assert found is not None
    assert (found.moment.state.index, found.digests) == (11, ())
    assert found.moment.settings == faster

    turned = next_song(music.before(5))
    step = music.station.step(turned, faster)
    store.sounded(turned, step.bar, step.state, faster, 0.01)
    store.close()
    found = recovered(tmp_path)
    assert found is not None
    assert same_session(found.moment.state, step.state)


def test_mixing_makes_no_checkpoint(music: Music, tmp_path: Path) -> None:
    store = opened(tmp_path)
    music.sound(store, range(5))
    store.submit(lambda: None).result()
    journal = next(tmp_path.glob("journal-*"))
    store.situate(Situation(Settings().with_value("mix.keys", -3)))
    music.sound(store, range(5, 10))
    store.close()
    assert next(tmp_path.glob("journal-*")) == journal
    assert kept_bars(music, tmp_path) == 10


def test_a_torn_line_is_no_line_and_the_journal_goes_on(music: Music, tmp_path: Path) -> None:
    store = opened(tmp_path)
    music.sound(store, range(10))
    store.close()
    journal = next(tmp_path.glob("journal-*"))
    whole = journal.read_bytes()
    for length in range(len(whole) - 150, len(whole)):
        journal.write_bytes(whole[:length])
        assert 6 <= kept_bars(music, tmp_path) <= 9
    journal.write_bytes(whole[:-3])
    store = opened(tmp_path)
    situation = Situation(preset="rain")
    store.situate(situation)
    store.close()
    found = recovered(tmp_path)
    assert found is not None
    assert (len(found.digests), found.situation) == (8, situation)


def test_a_damaged_journal_is_read_as_far_as_it_goes(music: Music, tmp_path: Path) -> None:
    store = opened(tmp_path)
    music.sound(store, range(10))
    store.close()
    journal = next(tmp_path.glob("journal-*"))
    lines = journal.read_bytes().splitlines(keepends=True)
    lines[5] = lines[5].replace(b"bar", b"rab")
    journal.write_bytes(b"".join(lines))
    store = Store(tmp_path)
    found = store.recover()
    store.close()
    assert found is not None
    assert list(found.digests) == music.digests[1:5]
    (warning,) = store.warnings()
    assert "damaged" in warning


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "foreign"])
def test_a_damaged_checkpoint_is_set_aside(music: Music, tmp_path: Path, damage: str) -> None:
    store = opened(tmp_path)
    music.sound(store, range(3))
    store.close()
    path = tmp_path / CHECKPOINT
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        content[-1000] ^= 1
    path.write_bytes(
        {"empty": b"", "cut": bytes(content[:-100]), "foreign": b"hello" * 100}.get(
            damage, bytes(content)
        )
    )
    store = Store(tmp_path)
    assert store.recover() is None
    (warning,) = store.warnings()
    assert "set aside" in warning
    assert not path.exists()
    assert len(list(tmp_path.glob(f"{CHECKPOINT}.bad-*"))) == 1
    store.introduce(MODELS, VOCABULARIES)
    music.sound(store, range(4))
    store.close()
    assert kept_bars(music, tmp_path) == 4


def test_a_session_of_other_models_is_set_aside(music: Music, tmp_path: Path) -> None:
    store = opened(tmp_path)
    music.sound(store, range(3))
    store.close()
    store = Store(tmp_path)
    found = store.recover()
    assert found is not None
    assert not store.introduce({**MODELS, "drums": "ffff"}, VOCABULARIES)
    (warning,) = store.warnings()
    assert "other weights of the drums" in warning
    assert not (tmp_path / CHECKPOINT).exists()
    store.close()


def test_a_disk_that_refuses_is_told_and_tried_again(music: Music, tmp_path: Path) -> None:
    folder = tmp_path / "session"
    folder.write_text("in the way")
    store = Store(folder)
    store.introduce(MODELS, VOCABULARIES)
    music.sound(store, range(3))
    store.submit(lambda: None).result()
    (warning,) = store.warnings()
    assert "cannot be kept" in warning
    folder.unlink()
    music.sound(store, range(3, 5))
    store.close()
    (warning,) = store.warnings()
    assert "again" in warning
    assert kept_bars(music, folder) == 5


def test_a_hanging_disk_makes_nobody_wait(music: Music, tmp_path: Path) -> None:
    store = opened(tmp_path)
    go_on = os.pipe()
    hanging = store.submit(lambda: os.read(go_on[0], 1))
    for _ in range(4):
        music.sound(store, range(BARS))
    os.write(go_on[1], b"x")
    hanging.result()
    for end in go_on:
        os.close(end)
    store.submit(lambda: None).result()
    music.sound(store, range(5))
    store.close()
    assert kept_bars(music, tmp_path) == 5


def test_killed_at_any_moment_it_loses_no_bar_that_was_kept(music: Music, tmp_path: Path) -> None:
    rng = random.Random(1)
    lost: list[int] = []
    kept: list[int] = []
    for attempt in range(100):
        folder = tmp_path / str(attempt)
        told, tell = os.pipe()
        child = os.fork()
        if child == 0:
            write_until_killed(music, folder, tell, rng.random())
        os.close(tell)
        # Between any two bars, or within the next one.
        acknowledged = sum(len(os.read(told, 1)) for _ in range(attempt % BARS))
        time.sleep(rng.uniform(0.0, 0.002))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        acknowledged += len(os.read(told, 1000))
        os.close(told)
        bars = kept_bars(music, folder)
        assert acknowledged <= bars
        lost.append(bars - acknowledged)
        kept.append(bars)
    assert max(lost) <= 1
    assert len({bars for bars in kept if 0 < bars < BARS}) >= 10  # it was no easy time
    assert not list(tmp_path.glob("*/*.bad-*"))


def write_until_killed(music: Music, folder: Path, tell: int, seconds: float) -> None:
    """Keep bar after bar and tell each that was kept; never returns."""
    try:
        store = opened(folder)
        for bar in range(BARS):
            store.situate(Situation(preset=str(bar)))
            music.sound(store, range(bar, bar + 1), seconds)
            store.submit(lambda: os.write(tell, b".")).result()
        time.sleep(10)
    finally:
        os._exit(1)


# -- snapshots --------------------------------------------------------------------------------


def moment(state: SessionState) -> Moment:
    now = datetime(2026, 11, 21, 7, 30, tzinfo=UTC)
    return Moment(state, Settings(), MODELS, VOCABULARIES, now, "study", "that chord")


def test_snapshots_are_kept_listed_loaded_and_removed(music: Music, tmp_path: Path) -> None:
    shelf = SnapshotFolder(tmp_path / "snapshots")
    assert shelf.entries() == []
    kept = moment(music.before(9))
    saved = shelf.save("blue", kept)
    assert saved.label is not None
    assert (saved.label.bar, saved.label.preset, saved.label.seed) == (9, "study", 7)
    assert encoded(shelf.load("blue")) == encoded(kept)
    assert encoded(shelf.load(str(saved.path))) == encoded(kept)
    names = {shelf.save(None, kept).name, shelf.save(None, kept).name}
    assert names == {"2026-11-21-073000", "2026-11-21-073000-2"}
    (tmp_path / "snapshots" / "odd.lofistate").write_bytes(b"odd")
    (tmp_path / "snapshots" / "gone.lofistate").symlink_to(tmp_path / "nothing")
    entries = {entry.name: entry for entry in shelf.entries()}
    assert set(entries) == names | {"blue", "odd"}
    assert entries["odd"].label is None
    assert "odd.lofistate" in entries["odd"].reason
    shelf.remove("odd")
    shelf.save("blue", replace(kept, description="again"))
    label = {entry.name: entry for entry in shelf.entries()}["blue"].label
    assert label is not None
    assert label.description == "again"


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".hidden", "x" * 40])
def test_a_name_is_no_path(name: str, music: Music, tmp_path: Path) -> None:
    shelf = SnapshotFolder(tmp_path)
    if name:
        with pytest.raises(LofidError):
            shelf.save(name, moment(music.opening))
    with pytest.raises(LofidError):
        shelf.remove(name)
    assert list(tmp_path.iterdir()) == []


def test_odd_entries_of_the_folder_are_passed_over_and_a_dangling_link_can_go(
    music: Music, tmp_path: Path
) -> None:
    shelf = SnapshotFolder(tmp_path)
    shelf.save("blue", moment(music.opening))
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.lofistate")).touch()
    (tmp_path / "gone.lofistate").symlink_to(tmp_path / "nothing")
    assert [entry.name for entry in shelf.entries()] == ["blue"]
    shelf.remove("gone")
    assert not (tmp_path / "gone.lofistate").is_symlink()


def test_an_unknown_snapshot_is_answered_with_the_nearest(music: Music, tmp_path: Path) -> None:
    shelf = SnapshotFolder(tmp_path)
    shelf.save("blue", moment(music.opening))
    with pytest.raises(LofidError, match="did you mean blue"):
        shelf.load("bleu")
    with pytest.raises(LofidError, match="no snapshot 'other'"):
        shelf.remove("other")
