"""One's own MIDI files as pieces to learn from: what is usable, and why the rest is not.

    pieces, findings = own_pieces(Path("my-midi"))     # read, heard, filtered
    pieces.keys, pieces.drums                          # KeysPiece and DrumsPiece, in the home key
    pieces.of_style("rain")                            # only those of the sub-folder "rain"
    save_own(data, "mine", pieces, findings)           # as `lofid data add` does
    pieces, findings = own_pieces(own_folder(data, "mine"))    # the same again, at once

A sub-folder of the folder is a style. A prepared set is a folder of its own with all that was found
out; it needs the files no more. Each piece's ``group`` is made from its notes, so that it stays on
its side of a split when files are renamed.

This module knows folders of MIDI files and prepared sets. It must not know tokens, models or
training.
"""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from lofid.errors import LofidError
from lofid.files import path_as_text, read_file, write_durably
from lofid.learn.archives import data_folder
from lofid.learn.hearing import Reason, Unusable, hear
from lofid.learn.pieces import DrumsPiece, KeysBar, KeysPiece
from lofid.music.chords import Chord
from lofid.music.notes import Note

VERSION = 1
"""Of the prepared format."""
MANIFEST = "own.json"
MOST_BYTES = 2**31
"""Of a set's files."""
SUFFIXES = (".mid", ".midi", ".kar", ".smf", ".rmi")


@dataclass(frozen=True, slots=True)
class FileFinding:
    """A file that was left out; ``path`` inside the folder, ``detail`` says more or is empty."""

    path: str
    reason: Reason
    detail: str = ""


@dataclass(frozen=True, slots=True)
class OwnSong:
    """A usable file: its keys, its drums or both. ``style`` is the sub-folder's name or empty."""

    path: str
    style: str
    keys: KeysPiece | None
    drums: DrumsPiece | None


@dataclass(frozen=True, slots=True)
class OwnPieces:
    """What a folder gives."""

    songs: tuple[OwnSong, ...]

    @property
    def keys(self) -> tuple[KeysPiece, ...]:
        """The keys of all songs that have them."""
        return tuple(song.keys for song in self.songs if song.keys is not None)

    @property
    def drums(self) -> tuple[DrumsPiece, ...]:
        """The drums of all songs that have them."""
        return tuple(song.drums for song in self.songs if song.drums is not None)

    @property
    def styles(self) -> tuple[str, ...]:
        """The styles there are, in order of name; the folder itself is the empty one."""
        return tuple(sorted({song.style for song in self.songs}))

    def of_style(self, style: str) -> "OwnPieces":
        """Only the songs of a style."""
        return OwnPieces(tuple(song for song in self.songs if song.style == style))


_ADVICE = {
    Reason.DAMAGED: "export them again from the program they came from",
    Reason.TOO_LONG: "cut them into songs",
    Reason.NOT_FOUR_FOUR: "add some in 4/4",
    Reason.NO_BEAT: "add some that were played to a click",
    Reason.TEMPO: "save them with the tempo that is meant",
}
"""What to do about files that are left out for a reason."""


class NothingUsable(LofidError):
    """No file of a folder can be used; ``findings`` say why, file by file."""

    def __init__(self, folder: Path, findings: Sequence[FileFinding]) -> None:
        self.findings = tuple(findings)
        (commonest, _), *_ = Counter(finding.reason for finding in findings).most_common(1)
        advice = _ADVICE.get(commonest, "add files with more music in them")
        super().__init__(
            f"None of the {len(findings)} MIDI files in '{path_as_text(folder)}' can be used "
            f"({in_numbers(findings)}); {advice}."
        )


def own_pieces(
    folder: Path, heard: Callable[[int, int], None] | None = None
) -> tuple[OwnPieces, tuple[FileFinding, ...]]:
    """The pieces of a folder of MIDI files or of a prepared set, and what was left out of it.

    The name of a set in the user's data folder will do, where no folder is called so. ``heard`` is
    told the number of files done and of all. Raises :class:`LofidError` for a folder
    that is not there or holds no MIDI files, or none that can be used.
    """
    kept = data_folder() / "own" / folder
    place = kept if not folder.is_dir() and (kept / MANIFEST).is_file() else folder
    if (place / MANIFEST).is_file():
        return load_own(place)
    if not folder.is_dir():
        fault = "is a file" if folder.is_file() else "does not exist"
        raise LofidError(f"The folder '{folder}' {fault}; name a folder with MIDI files.")
    files, findings = _midi_files(folder)
    if not files and not findings:
        raise LofidError(
            f"The folder '{folder}' holds no MIDI files (.mid or .midi); name the one that does."
        )
    songs: list[OwnSong] = []
    known: dict[str, str] = {}
    for index, path in enumerate(files):
        inside = path.relative_to(folder)
        name = path_as_text(inside)
        try:
            style = path_as_text(inside.parts[0]) if len(inside.parts) > 1 else ""
            song = hear(path, style)
            if song.digest in known:
                raise Unusable(Reason.DUPLICATE, f"the same notes as {known[song.digest]}")
            known[song.digest] = name
            songs.append(OwnSong(name, style, song.keys, song.drums))
        except Unusable as refused:
            findings.append(FileFinding(name, refused.reason, path_as_text(refused.detail)))
        if heard is not None:
            heard(index + 1, len(files))
    if not songs:
        raise NothingUsable(folder, findings)
    return OwnPieces(tuple(songs)), tuple(findings)


def _midi_files(folder: Path) -> tuple[list[Path], list[FileFinding]]:
    """The MIDI files below a folder, in order, and the folders that nobody may look into.

    Links are followed; a folder that is reached by several ways is entered once.
    """
    findings: list[FileFinding] = []

    def unreadable(error: OSError) -> None:
        inside = Path(str(error.filename)).relative_to(folder)
        reason = f"cannot be read: {error.strerror}"
        findings.append(FileFinding(path_as_text(inside), Reason.DAMAGED, reason))

    files: list[Path] = []
    seen: set[tuple[int, int]] = set()
    for place, inner, names in os.walk(folder, onerror=unreadable, followlinks=True):
        inner.sort()
        status = Path(place).stat()
        identity = (status.st_dev, status.st_ino)
        if identity in seen:
            inner.clear()
            continue
        seen.add(identity)
        paths = (Path(place, name) for name in names)
        files += (path for path in paths if path.suffix.lower() in SUFFIXES)
    return sorted(files), findings


def in_numbers(findings: Sequence[FileFinding]) -> str:
    """How many were left out for which reason: ``2 not in 4/4, 1 damaged``."""
    counted = Counter(finding.reason for finding in findings)
    return ", ".join(f"{count} {reason}" for reason, count in counted.most_common())


# --- prepared sets ------------------------------------------------------------------------------

_PlainNote = tuple[int, int, int, int]


class _PlainBar(msgspec.Struct):
    chords: tuple[str | None, str | None]
    comping: list[_PlainNote]
    melody: list[_PlainNote]


class _PlainKeys(msgspec.Struct):
    group: str
    tempo: float | None
    bars: list[_PlainBar]


class _PlainDrums(msgspec.Struct):
    group: str
    tempo: float
    style: str
    bars: list[list[_PlainNote]]


class _PlainSong(msgspec.Struct):
    """A line of a set's file of pieces: chords as symbols, notes as start, pitch, length, velocity.

    Notes and chords stand in the home key, as in the pieces.
    """

    path: str
    style: str
    keys: _PlainKeys | None
    drums: _PlainDrums | None


class OwnManifest(msgspec.Struct):
    """What a prepared set says of itself: counts, the file of its pieces, and what was left out."""

    version: int
    name: str
    songs: int
    styles: tuple[str, ...]
    keys_bars: int
    drums_bars: int
    pieces: str
    sha256: str
    left_out: tuple[FileFinding, ...]


def own_folder(data: Path, name: str) -> Path:
    """Where the prepared set ``name`` lies in a data folder.

    Raises :class:`LofidError` for a name that is no plain file name.
    """
    if not re.fullmatch(r"\w[\w .-]*", name):
        raise LofidError(
            f"The name '{name}' cannot be a folder's; use letters, digits, hyphens and dots."
        )
    return data / "own" / name


def save_own(data: Path, name: str, pieces: OwnPieces, findings: Sequence[FileFinding]) -> Path:
    """Keep pieces as the set ``name``, in place of one of that name; returns its folder.

    The manifest is written last: a set is complete or as it was before. Raises
    :class:`LofidError` where it cannot be written.
    """
    folder = own_folder(data, name)
    encode = msgspec.json.encode
    content = b"".join(encode(_plain_song(song)) + b"\n" for song in pieces.songs)
    digest = hashlib.sha256(content).hexdigest()
    file = folder / f"pieces-{digest[:16]}.jsonl"
    manifest = OwnManifest(
        version=VERSION,
        name=name,
        songs=len(pieces.songs),
        styles=pieces.styles,
        keys_bars=sum(len(piece.bars) for piece in pieces.keys),
        drums_bars=sum(len(piece.bars) for piece in pieces.drums),
        pieces=file.name,
        sha256=digest,
        left_out=tuple(findings),
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LofidError(
            f"The folder '{folder}' cannot be made ({error.strerror}); name another with --data."
        ) from error
    write_durably(file, content)
    write_durably(folder / MANIFEST, msgspec.json.format(encode(manifest), indent=1))
    for old in folder.glob("pieces-*.jsonl"):
        if old != file:
            old.unlink(missing_ok=True)
    return folder


def own_manifest(folder: Path) -> OwnManifest:
    """What the prepared set in ``folder`` says of itself; raises :class:`LofidError`."""
    try:
        content = read_file(folder / MANIFEST, "set's list", MOST_BYTES)
        manifest = msgspec.json.decode(content, type=OwnManifest)
    except (LofidError, ValueError, RecursionError) as error:  # msgspec's are ValueErrors
        raise _damaged(folder, error) from error
    if manifest.version != VERSION:
        raise LofidError(
            f"The set '{folder}' is of version {manifest.version}, this lofid reads {VERSION}; "
            "add its MIDI files again with: lofid data add."
        )
    return manifest


def load_own(folder: Path) -> tuple[OwnPieces, tuple[FileFinding, ...]]:
    """A prepared set; raises :class:`LofidError` for one that is damaged or of another version."""
    manifest = own_manifest(folder)
    try:
        content = read_file(folder / Path(manifest.pieces).name, "set's file", MOST_BYTES)
        if hashlib.sha256(content).hexdigest() != manifest.sha256:
            raise ValueError("its checksum differs")
        decoder = msgspec.json.Decoder(_PlainSong)
        songs = tuple(_song(decoder.decode(line)) for line in content.splitlines())
    except (ValueError, TypeError, RecursionError, LofidError) as error:
        raise _damaged(folder, error) from error
    return OwnPieces(songs), manifest.left_out


def _damaged(folder: Path, error: Exception) -> LofidError:
    return LofidError(
        f"The set '{folder}' is damaged ({error}); add its MIDI files again with: "
        f"lofid data add FOLDER --as {folder.name}."
    )


def _plain_notes(notes: Iterable[Note]) -> list[_PlainNote]:
    return [(note.start, note.pitch, note.duration, note.velocity) for note in notes]


def _notes(plain: Iterable[_PlainNote]) -> tuple[Note, ...]:
    return tuple(Note(*values) for values in plain)


def _plain_chord(chord: Chord | None) -> str | None:
    return None if chord is None else chord.symbol


def _chord(plain: str | None) -> Chord | None:
    return None if plain is None else Chord.parse(plain)


def _plain_keys(keys: KeysPiece) -> _PlainKeys:
    bars = [
        _PlainBar(
            (_plain_chord(bar.chords[0]), _plain_chord(bar.chords[1])),
            _plain_notes(bar.comping),
            _plain_notes(bar.melody),
        )
        for bar in keys.bars
    ]
    return _PlainKeys(keys.group, keys.tempo, bars)


def _keys(plain: _PlainKeys) -> KeysPiece:
    bars = tuple(
        KeysBar(
            (_chord(bar.chords[0]), _chord(bar.chords[1])), _notes(bar.comping), _notes(bar.melody)
        )
        for bar in plain.bars
    )
    return KeysPiece(plain.group, plain.tempo, bars)


def _plain_song(song: OwnSong) -> _PlainSong:
    keys, drums = song.keys, song.drums
    return _PlainSong(
        song.path,
        song.style,
        None if keys is None else _plain_keys(keys),
        None
        if drums is None
        else _PlainDrums(drums.group, drums.tempo, drums.style, [*map(_plain_notes, drums.bars)]),
    )


def _song(plain: _PlainSong) -> OwnSong:
    drums = plain.drums
    return OwnSong(
        plain.path,
        plain.style,
        None if plain.keys is None else _keys(plain.keys),
        None
        if drums is None
        else DrumsPiece(
            drums.group, drums.tempo, drums.style, False, tuple(map(_notes, drums.bars))
        ),
    )
