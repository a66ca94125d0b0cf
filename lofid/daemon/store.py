"""What a session leaves on the disk: where it stands, so that nothing is lost, and its snapshots.

A *checkpoint* holds the whole session (2 MB); the *journal* that belongs to it gets one short line
for every bar that sounded since, and one for everything else that must be found again. Whoever
recovers writes those bars again from the checkpoint: they are the same, bit for bit. A new
checkpoint is made when the music takes a turn that the journal cannot say, and when writing its
bars again would take long.

The disk may be slow or full: all writing happens in a thread of its own, and what fails is told
and tried again with the next bar. This module knows neither sockets nor models.
"""

import hashlib
import logging
import os
import threading
import zlib
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import IO, Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from lofid.compose.session import (
    MOST_BYTES,
    SUFFIX,
    Label,
    Moment,
    check_models,
    decoded,
    encoded,
    load_moment,
    plain_settings,
    read_label,
    same_session,
    save_moment,
    settings_from,
)
from lofid.compose.station import SessionState
from lofid.daemon.ledger import same_music
from lofid.errors import LofidError
from lofid.files import is_text, read_file, sync_folder, user_path, write_durably
from lofid.music.notes import Part
from lofid.music.parameters import Settings
from lofid.music.plan import Bar
from lofid.protocol.paths import checked_name

_LOG = logging.getLogger(__name__)

LONGEST_REPLAY = 1.0
"""Seconds that writing the journal's bars again may take."""

LONGEST_JOURNAL = 2**20
"""Bytes."""

MOST_WAITING = 32
"""Entries that may wait for the disk; what comes then is left to the next checkpoint."""

CHECKPOINT = f"checkpoint{SUFFIX}"

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class MorphLeft:
    """What is left of a morph: to which preset, the settings at its end, and in how many bars."""

    preset: str
    end: Settings
    bars: int


@dataclass(frozen=True, slots=True)
class Situation:
    """What must be found again besides the music: as it was when it was last told."""

    settings: Settings = field(default_factory=Settings)
    preset: str = ""
    muted: frozenset[Part] = frozenset()
    outputs: Mapping[str, str] = field(default_factory=dict)
    """Their specs by their names."""
    paused: bool = False
    voices: Mapping[str, str] | None = None
    """Which models play (:mod:`~lofid.daemon.model_choice`); None where that was lost."""
    solo: frozenset[Part] = frozenset()
    seed: int | None = None
    """Where the session's chance comes from; its music may have taken other turns since."""
    morph: MorphLeft | None = None


@dataclass(frozen=True, slots=True)
class Recovered:
    """Where a session stood.

    ``moment`` is the checkpoint: its state, and the settings that all bars since were written with.
    ``digests`` are those of the bars that sounded since (:func:`digest`), in order.
    """

    moment: Moment
    digests: tuple[str, ...]
    situation: Situation


def digest(bar: Bar) -> str:
    """Of a bar's place, tempo and notes: the same bar has the same, on every machine."""
    notes = [
        (part.value, [(n.start, n.pitch, n.duration, n.velocity) for n in bar.notes[part]])
        for part in Part
        if part in bar.notes
    ]
    text = msgspec.json.encode((bar.plan.index, bar.plan.tempo, notes))
    return hashlib.blake2b(text, digest_size=8).hexdigest()


# -- lines of the journal ---------------------------------------------------------------------


class _BarLine(msgspec.Struct, tag="bar", forbid_unknown_fields=True):
    """A bar sounded."""

    digest: Annotated[str, Meta(max_length=32)]


class _MorphLine(msgspec.Struct, forbid_unknown_fields=True):
    preset: str
    end: dict[str, Any]
    bars: Annotated[int, Meta(ge=1)]


class _SituationLine(msgspec.Struct, tag="situation", forbid_unknown_fields=True):
    settings: dict[str, Any]
    preset: str
    muted: list[Part]
    outputs: dict[str, str]
    paused: bool
    voices: dict[str, str] | None = None
    solo: list[Part] = []
    seed: int | None = None
    morph: _MorphLine | None = None

    @classmethod
    def of(cls, situation: Situation) -> "_SituationLine":
        morph = situation.morph
        return cls(
            plain_settings(situation.settings),
            situation.preset,
            sorted(situation.muted),
            dict(situation.outputs),
            situation.paused,
            None if situation.voices is None else dict(situation.voices),
            sorted(situation.solo),
            situation.seed,
            None
            if morph is None
            else _MorphLine(morph.preset, plain_settings(morph.end), morph.bars),
        )

    def situation(self) -> Situation:
        """Raises LofidError where the settings are none of this version."""
        morph = self.morph
        return Situation(
            settings_from(self.settings),
            self.preset,
            frozenset(self.muted),
            self.outputs,
            self.paused,
            self.voices,
            frozenset(self.solo),
            self.seed,
            None
            if morph is None
            else MorphLeft(morph.preset, settings_from(morph.end), morph.bars),
        )


_Line = _BarLine | _SituationLine


def _line(entry: _Line) -> bytes:
    text = msgspec.json.encode(entry)
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _lines(content: bytes) -> tuple[list[_Line], int]:
    """The lines up to the first that is torn or was damaged, and the bytes that they take."""
    found: list[_Line] = []
    whole = 0
    for line in content.splitlines(keepends=True):
        crc, _, text = line.rstrip(b"\n").partition(b" ")
        if not line.endswith(b"\n") or crc != b"%08x" % zlib.crc32(text):
            break
        try:
            found.append(msgspec.json.decode(text, type=_Line))
        except (msgspec.MsgspecError, RecursionError):
            break
        whole += len(line)
    return found, whole


def _journal(folder: Path, checkpoint: bytes) -> Path:
    """The journal that belongs to a checkpoint of that content."""
    name = hashlib.blake2b(checkpoint, digest_size=8).hexdigest()
    return folder / f"journal-{name}"


class Store:
    """Keeps one session in its folder; one process at a time may do so.

    Every method may be called from the thread that made the store, and none of them waits for the
    disk but :meth:`recover` and :meth:`close`. What goes wrong is told by :meth:`warnings`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")
        self._waiting = threading.BoundedSemaphore(MOST_WAITING)
        self._warnings: deque[str] = deque(maxlen=20)
        self._recovered: Recovered | None = None
        self._models: Mapping[str, str] = {}
        self._vocabularies: Mapping[str, str] = {}
        self._situation = Situation()
        # From here on: the thread's alone.
        self._file: IO[bytes] | None = None
        self._written: Situation | None = None
        self._state: SessionState | None = None
        self._settings = Settings()
        self._replay = 0.0
        self._failing = False

    # -- coming back --------------------------------------------------------------------------

    def recover(self) -> Recovered | None:
        """Where the session stood; None where there is none, or none that can be read.

        To be called once, first. A file that cannot be used is set aside, and that is told.
        """
        for left in self._folder.glob(f".*.part{SUFFIX}"):
            left.unlink(missing_ok=True)
        path = self._folder / CHECKPOINT
        if not os.path.lexists(path):
            return None
        try:
            content = read_file(path, "session", MOST_BYTES)
            moment = decoded(content, path)
        except LofidError as error:
            self._set_aside(str(error).rstrip("."))
            return None
        situation = Situation(moment.settings, moment.preset)
        digests: list[str] = []
        journal = _journal(self._folder, content)
        try:
            written = journal.read_bytes()
            lines, whole = _lines(written)
            if b"\n" in written[whole:]:  # more than the one line that was being written
                self._warnings.append(
                    f"The journal '{journal}' is damaged; what it held after {whole} bytes is lost."
                )
            for line in lines:
                if isinstance(line, _SituationLine):
                    situation = line.situation()
                else:
                    digests.append(line.digest)
            os.truncate(journal, whole)
            self._file = journal.open("ab")
        except (OSError, LofidError) as error:
            self._warnings.append(
                f"The journal '{journal}' cannot be read to its end ({error}); bars that sounded "
                "last may be missing."
            )
        self._situation = self._written = situation
        self._recovered = Recovered(moment, tuple(digests), situation)
        return self._recovered

    def introduce(self, models: Mapping[str, str], vocabularies: Mapping[str, str]) -> bool:
        """Say by whose hand bars are written from now on: hashes by player.

        False where what was recovered was written by others: it is set aside, and that is told.
        """
        self._models, self._vocabularies = models, vocabularies
        recovered, self._recovered = self._recovered, None
        if recovered is not None:
            try:
                check_models(recovered.moment, models, vocabularies, self._folder / CHECKPOINT)
            except LofidError as error:
                self._later(self._close_journal)
                self._set_aside(str(error).rstrip("."))
                return False
        return True

    def _set_aside(self, reason: str) -> None:
        """Give the checkpoint another name, beside."""
        path = self._folder / CHECKPOINT
        aside = path.with_name(f"{path.name}.bad-{datetime.now(UTC):%Y%m%d-%H%M%S-%f}")
        try:
            path.rename(aside)
        except OSError as error:
            self._warnings.append(f"{reason}; it cannot be set aside either ({error.strerror}).")
        else:
            self._warnings.append(f"{reason}; it was set aside as '{aside.name}'.")

    # -- what happens -------------------------------------------------------------------------

    def situate(self, situation: Situation) -> None:
        """Take note of everything but the music."""
        if situation != self._situation:
            self._situation = situation
            self._later(self._note_situation)

    def sounded(
        self,
        before: SessionState,
        bar: Bar,
        after: SessionState,
        settings: Settings,
        seconds: float,
    ) -> None:
        """Take note of a bar that sounded: the states around it, the settings it was written with.

        ``seconds`` is how long writing it took.
        """
        self._later(lambda: self._note_bar(before, bar, after, settings, seconds))

    def submit(self, work: Callable[[], _T]) -> "Future[_T]":
        """Do other work on the disk, in its turn; the future's callbacks run in that thread."""
        return self._thread.submit(work)

    def warnings(self) -> list[str]:
        """What went wrong since this was last asked, a sentence each."""
        found: list[str] = []
        while self._warnings:
            found.append(self._warnings.popleft())
        return found

    def close(self) -> None:
        """Write what waits, and end the thread."""
        self._thread.shutdown()
        self._close_journal()

    # -- in the thread ------------------------------------------------------------------------

    def _later(self, note: Callable[[], None]) -> None:
        if self._waiting.acquire(blocking=False):
            self._thread.submit(self._guarded, note)

    def _guarded(self, note: Callable[[], None]) -> None:
        """Write a note; where that fails, the next bar makes a checkpoint."""
        self._waiting.release()
        try:
            note()
        except Exception as error:
            self._close_journal()
            if not isinstance(error, OSError | LofidError):  # ours to mend, but not by silence
                _LOG.exception("a note could not be written")
            if not self._failing:
                reason = str(error).rstrip(".")
                self._warnings.append(
                    f"The session cannot be kept in '{self._folder}' ({reason}); the music goes on,"
                    " and every bar tries again."
                )
            self._failing = True

    def _note_bar(
        self,
        before: SessionState,
        bar: Bar,
        after: SessionState,
        settings: Settings,
        seconds: float,
    ) -> None:
        straight_on = (
            self._file is not None
            and self._state is not None
            and same_session(self._state, before)
            and same_music(self._settings, settings)
        )
        self._replay += seconds
        self._state, self._settings = after, settings
        if straight_on and self._replay <= LONGEST_REPLAY:
            self._append(_BarLine(digest(bar)))
            self._note_situation()  # should it have had to wait too long
        else:
            self._make_checkpoint()

    def _note_situation(self) -> None:
        if self._file is not None and self._written != self._situation:
            situation = self._situation
            self._append(_SituationLine.of(situation))
            self._written = situation

    def _append(self, entry: _Line) -> None:
        assert self._file is not None
        self._file.write(_line(entry))
        self._file.flush()
        os.fsync(self._file.fileno())
        if self._file.tell() > LONGEST_JOURNAL and self._state is not None:
            self._make_checkpoint()

    def _make_checkpoint(self) -> None:
        """The checkpoint takes effect with its name: its journal lies there by then."""
        assert self._state is not None
        self._close_journal()
        situation = self._situation
        moment = Moment(
            self._state,
            self._settings,
            self._models,
            self._vocabularies,
            datetime.now(UTC),
            situation.preset,
        )
        content = encoded(moment)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        journal = _journal(self._folder, content)
        write_durably(journal, _line(_SituationLine.of(situation)))
        write_durably(self._folder / CHECKPOINT, content)
        self._file = journal.open("ab")
        self._written = situation
        self._replay = 0.0
        for old in self._folder.glob("journal-*"):
            if old != journal:
                old.unlink(missing_ok=True)
        if self._failing:
            self._failing = False
            self._warnings.append(f"The session is kept in '{self._folder}' again.")

    def _close_journal(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            with suppress(OSError):
                file.close()


# -- snapshots --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Entry:
    """A snapshot; without ``label`` it cannot be used, and ``reason`` says why."""

    name: str
    path: Path
    label: Label | None
    reason: str = ""


class SnapshotFolder:
    """The snapshots in a folder, ``NAME.lofistate``; works on the disk at once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save(self, name: str | None, moment: Moment) -> Entry:
        """Keep a moment, instead of what had the name; None names it after its date and time.

        Raises :class:`LofidError` for a name that is none, or where the disk refuses.
        """
        path = self._path(name) if name else self._free(f"{moment.created:%Y-%m-%d-%H%M%S}")
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise LofidError(
                f"The folder '{self._folder}' cannot be made ({error.strerror}); make room there."
            ) from error
        save_moment(path, moment)
        return self._entry(path)

    def load(self, name: str) -> Moment:
        """The moment of that name, or in the file of that path.

        Raises :class:`LofidError` where there is none, or none that can be used.
        """
        if "/" in name or name.endswith(SUFFIX):
            return load_moment(user_path(name))
        self._check(name)
        return load_moment(self._path(name))

    def entries(self) -> list[Entry]:
        """All snapshots, the newest first."""
        found: dict[Path, float] = {}
        for path in self._folder.glob(f"[!.]*{SUFFIX}"):
            with suppress(OSError):  # a link to nothing, or removed this moment
                if is_text(path.stem):
                    found[path] = path.stat().st_mtime
        return [self._entry(path) for path in sorted(found, key=found.__getitem__, reverse=True)]

    def remove(self, name: str) -> None:
        """Remove a snapshot; raises :class:`LofidError` where there is none of that name."""
        if not self._path(name).is_symlink():  # a link to nothing can be removed, too
            self._check(name)
        try:
            self._path(name).unlink()
            sync_folder(self._folder)
        except OSError as error:
            raise LofidError(
                f"The snapshot '{name}' cannot be removed ({error.strerror}); check its folder "
                f"'{self._folder}'."
            ) from error

    def _path(self, name: str) -> Path:
        return self._folder / f"{checked_name(name, 'snapshot')}{SUFFIX}"

    def _free(self, name: str) -> Path:
        """A path of that name, numbered where it is taken."""
        path, number = self._path(name), 1
        while path.exists():
            number += 1
            path = self._path(f"{name}-{number}")
        return path

    def _check(self, name: str) -> None:
        if not self._path(name).exists():
            names = [entry.name for entry in self.entries()]
            near = get_close_matches(name, names, n=2)
            known = (
                f"did you mean {' or '.join(near)}?"
                if near
                else "'lofid ctl snapshot list' names them."
            )
            raise LofidError(f"There is no snapshot '{name}'; {known}")

    def _entry(self, path: Path) -> Entry:
        try:
            return Entry(path.stem, path, read_label(path))
        except LofidError as error:
            return Entry(path.stem, path, None, str(error))
