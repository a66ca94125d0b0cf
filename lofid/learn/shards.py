"""Prepared passes: a corpus's token streams on disk, drawn once and mapped into memory.

Reading the archives takes a minute and drawing a pass some seconds; mapping a prepared one takes
milliseconds, and several processes share its memory. A prepared corpus *is* a
:class:`~lofid.learn.sequences.Corpus`: ``stream(number)``, ``choosing`` and ``reported`` hold
exactly the same tokens, as read-only maps, so whoever trains may take either:

    corpus = prepared_corpus("keys", data, seed)          # draws what is missing, when asked for it
    prepare(recipe("keys", data, seed), folder, range(8))  # or all of it ahead

A folder of shards belongs to one recipe: player, seed, vocabulary, data sets and the version of the
code that draws. Each stream is two ``.npy`` files and, written last, a ``.json`` with their sizes
and checksums: what has one is complete. A build that was killed leaves complete streams, and the
next one goes on from them. Shards can always be drawn again, so a damaged one is.

This module knows streams and files. It must not know models or how they are trained, nor torch.
"""

import fcntl
import hashlib
import json
import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from dataclasses import asdict, astuple, dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lofid.errors import LofidError
from lofid.files import replacing, xdg_folder
from lofid.learn.archives import fingerprint
from lofid.learn.sequences import (
    DRUMS_SOURCES,
    KEYS_SOURCES,
    Corpus,
    Span,
    TokenStream,
    drums_corpus,
    keys_corpus,
)
from lofid.tokens import drums, keys
from lofid.tokens.vocabulary import Vocabulary

DRAWING = (
    "learn/archives.py",
    "learn/harmony.py",
    "learn/pieces.py",
    "learn/sequences.py",
    "learn/shards.py",
    "learn/thesis.py",
    "music/chords.py",
    "music/midi.py",
    "music/notes.py",
    "music/rig.py",
    "music/smf.py",
    "tokens/controls.py",
    "tokens/drums.py",
    "tokens/grammar.py",
    "tokens/keys.py",
    "tokens/thesis.py",
    "tokens/vocabulary.py",
)
"""The modules, below the package, on which a drawn stream depends."""
CHOOSING, REPORTED = "choosing", "reported"
MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a corpus depends on; ``sources`` maps data sets to the SHA-256 of what they hold.

    ``draw`` reads the data sets and gives the corpus itself; it may be sent to other processes.
    """

    player: str
    seed: int
    vocabulary: Vocabulary
    sources: dict[str, str]
    draw: Callable[[], Corpus]

    @property
    def identity(self) -> dict[str, object]:
        """The manifest: all but the way to draw it, as plain data."""
        return {
            "version": version(),
            "player": self.player,
            "seed": self.seed,
            "vocabulary": self.vocabulary.name,
            "vocabulary_hash": self.vocabulary.hash,
            "sources": self.sources,
        }

    @property
    def name(self) -> str:
        """A folder's name that no other recipe has."""
        digest = hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode())
        return f"{self.player}-seed{self.seed}-{digest.hexdigest()[:16]}"


@dataclass(frozen=True, slots=True)
class _Seal:
    """What is known of a complete stream: lengths, SHA-256 of both files, and its pieces."""

    tokens: int
    notes: int
    tokens_sha256: str
    events_sha256: str
    spans: list[tuple[str, str, int, int]]


@cache
def version(package: Path = Path(__file__).parents[1]) -> str:
    """Of all code that decides what a seed draws, the split included, and of the files' form.

    Whoever changes a line of it draws anew; a pass takes seconds, a stale one spoils a run.
    """
    total = hashlib.sha256()
    for name in DRAWING:
        total.update(name.encode() + (package / name).read_bytes())
    return total.hexdigest()[:16]


def default_folder() -> Path:
    """Where prepared passes lie: ``$XDG_CACHE_HOME/lofid/shards``."""
    return xdg_folder("XDG_CACHE_HOME", Path.home() / ".cache") / "lofid" / "shards"


def recipe(player: str, data: Path, seed: int) -> Recipe:
    """The recipe of ``keys`` or ``drums`` from the archives in ``data``.

    Raises :class:`LofidError` for a missing archive.
    """
    if player == "keys":
        read, vocabulary, names = keys_corpus, keys.VOCABULARY, KEYS_SOURCES
    else:
        read, vocabulary, names = drums_corpus, drums.VOCABULARY, DRUMS_SOURCES
    sources = {name: fingerprint(data, name) for name in names}
    return Recipe(player, seed, vocabulary, sources, partial(read, data, seed))


def prepared_corpus(player: str, data: Path, seed: int, folder: Path | None = None) -> Corpus:
    """``keys_corpus`` or ``drums_corpus`` through prepared passes below ``folder``.

    What is missing is drawn when it is asked for and kept (by default in the user's cache). Raises
    :class:`LofidError` for missing or damaged data, and where the passes cannot be written.
    """
    return open_shards(folder or default_folder(), recipe(player, data, seed))


def open_shards(folder: Path, made: Recipe) -> Corpus:
    """The corpus of a recipe, its streams mapped from below ``folder`` and drawn where missing."""
    place = _Place(folder / made.name, made)
    return Corpus(
        made.vocabulary,
        lambda number: place.stream(_pass_name(number)),
        place.stream(CHOOSING),
        place.stream(REPORTED),
        tuple(made.sources),
    )


def prepare(made: Recipe, folder: Path, passes: Iterable[int], workers: int = 1) -> Iterator[int]:
    """Draw the passes that are missing; yields the number of each as soon as it is there.

    ``workers`` processes each read the data sets for themselves (about 0.6 GB of memory each).
    Raises :class:`LofidError` as :func:`prepared_corpus`.
    """
    place = _Place(folder / made.name, made)
    place.stream(CHOOSING)
    place.stream(REPORTED)
    missing = []
    for number in passes:
        if place.sealed(_pass_name(number)) is None:
            missing.append(number)
        else:
            yield number
    if workers == 1 or len(missing) < 2:
        for number in missing:
            place.stream(_pass_name(number))
            yield number
        return
    # Spawned, as torch may have threads in this process, which a fork would leave without owners.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(missing)), context) as pool:
        shares = [missing[first::workers] for first in range(workers)]
        jobs = {pool.submit(_draw_share, place.folder, made, share): share for share in shares}
        for job in as_completed(jobs):
            job.result()
            yield from jobs[job]


def _draw_share(folder: Path, made: Recipe, passes: list[int]) -> None:
    place = _Place(folder, made)
    for number in passes:
        place.stream(_pass_name(number))


def _pass_name(number: int) -> str:
    return f"pass-{number:04d}"


class _Place:
    """A recipe's folder."""

    def __init__(self, folder: Path, made: Recipe) -> None:
        self.folder, self._made = folder, made
        self._drawn: Corpus | None = None

    def stream(self, name: str) -> TokenStream:
        """A stream, drawn first if it is missing or damaged."""
        found = self._mapped(name)
        if found is not None:
            return found
        with self._alone(name):
            found = self._mapped(name)  # perhaps another process drew it meanwhile
            if found is None:
                self._write(name, self._draw(name))
                found = self._mapped(name)
        if found is None:
            raise LofidError(
                f"The prepared pass {self.folder / name} does not read back as it was written; "
                "check that disk."
            )
        return found

    def sealed(self, name: str) -> _Seal | None:
        """The seal of a complete stream, None where there is none."""
        with suppress(OSError, ValueError, TypeError):
            return _Seal(**json.loads(self._file(name, "json").read_text()))
        return None

    def _file(self, name: str, kind: str) -> Path:
        return self.folder / f"{name}.{kind}"

    def _mapped(self, name: str) -> TokenStream | None:
        """The stream from its files; None where it is incomplete or its checksums differ."""
        seal = self.sealed(name)
        if seal is None:
            return None
        try:
            tokens: NDArray[np.int16] = np.load(self._file(name, "tokens.npy"), mmap_mode="r")
            events: NDArray[np.bool_] = np.load(self._file(name, "events.npy"), mmap_mode="r")
        except (OSError, ValueError, EOFError):
            return None
        if (_digest(tokens), _digest(events)) != (seal.tokens_sha256, seal.events_sha256):
            return None
        return TokenStream(tokens, events, seal.notes, tuple(Span(*span) for span in seal.spans))

    def _draw(self, name: str) -> TokenStream:
        if self._drawn is None:
            self._drawn = self._made.draw()
        if name == CHOOSING:
            return self._drawn.choosing
        if name == REPORTED:
            return self._drawn.reported
        return self._drawn.stream(int(name.rpartition("-")[2]))

    def _write(self, name: str, stream: TokenStream) -> None:
        seal = _Seal(
            len(stream.tokens),
            stream.notes,
            _digest(stream.tokens),
            _digest(stream.is_event),
            [astuple(span) for span in stream.spans],
        )
        self._file(name, "json").unlink(missing_ok=True)
        for kind, content in (("tokens.npy", stream.tokens), ("events.npy", stream.is_event)):
            with replacing(self._file(name, kind)) as temporary:
                np.save(temporary, content)
        with replacing(self._file(name, "json")) as temporary:
            temporary.write_text(json.dumps(asdict(seal), indent=1))

    @contextmanager
    def _alone(self, name: str) -> Iterator[None]:
        """While no other process writes this stream; the manifest is there from the first on.

        Other streams may be drawn meanwhile.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = self._file(name, "lock").open("w")
        except OSError as error:
            raise LofidError(
                f"Prepared passes cannot be kept in {self.folder} ({error.strerror}); "
                "choose another cache folder with XDG_CACHE_HOME."
            ) from error
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for left in self.folder.glob(f".{name}.*.part*"):  # of a build that was killed
                left.unlink(missing_ok=True)
            if not (self.folder / MANIFEST).exists():
                with replacing(self.folder / MANIFEST) as temporary:
                    temporary.write_text(json.dumps(self._made.identity, indent=1))
            yield


def _digest(content: NDArray[np.generic]) -> str:
    return hashlib.sha256(np.ascontiguousarray(content).data).hexdigest()
