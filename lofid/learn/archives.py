"""Training archives: folders, or ``.tar.xz`` files of such a folder, each with an ``index.csv``."""

import csv
import hashlib
import io
import lzma
import tarfile
from dataclasses import dataclass
from pathlib import Path

from lofid.errors import LofidError
from lofid.files import xdg_folder
from lofid.learn.unpack import Unsafe, tarred
from lofid.music.midi import MidiSong, parse_midi


@dataclass(frozen=True, slots=True)
class Archive:
    """One data set in memory: ``rows`` of its index, ``files`` by path inside the folder."""

    name: str
    rows: list[dict[str, str]]
    files: dict[str, bytes]

    def song(self, path: str) -> MidiSong:
        """One of its MIDI files; raises :class:`LofidError` for a missing or damaged one."""
        if path not in self.files:
            raise LofidError(
                f"The data set '{self.name}' lacks the file {path} of its index; get it again."
            )
        return parse_midi(self.files[path], Path(self.name, path))


def data_folder() -> Path:
    """Where data sets lie by default: ``$XDG_DATA_HOME/lofid/data``."""
    return xdg_folder("XDG_DATA_HOME", Path.home() / ".local" / "share") / "lofid" / "data"


def _read_folder(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def _read_tar(path: Path) -> dict[str, bytes]:
    with lzma.open(path) as stream:
        return {name.split("/", 1)[-1]: content for name, content in tarred(stream)}


def open_archive(data: Path, name: str) -> Archive:
    """Read the archive ``name`` (``DATA/name.tar.xz`` or the folder ``DATA/name``).

    Raises :class:`LofidError` where it is missing, damaged or without an index.
    """
    packed, folder = data / f"{name}.tar.xz", data / name
    try:
        files = _read_folder(folder) if folder.is_dir() else _read_tar(packed)
        rows = list(csv.DictReader(io.StringIO(files["index.csv"].decode())))
    except FileNotFoundError as error:
        raise _missing(data, name) from error
    except (OSError, tarfile.TarError, lzma.LZMAError, EOFError, Unsafe) as error:
        raise LofidError(f"The archive {packed} is damaged ({error}); copy it again.") from error
    except (KeyError, UnicodeDecodeError) as error:
        raise LofidError(f"The data set '{name}' in {data} has no readable index.csv.") from error
    return Archive(name, rows, files)


def fingerprint(data: Path, name: str) -> str:
    """SHA-256 of an archive as it lies there: of the packed file, or of a folder's names and files.

    Raises :class:`LofidError` where it is missing or cannot be read.
    """
    packed, folder = data / f"{name}.tar.xz", data / name
    try:
        if not folder.is_dir():
            with packed.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        total = hashlib.sha256()
        for path, content in sorted(_read_folder(folder).items()):
            total.update(f"{path}\0{len(content)}\0".encode())
            total.update(content)
        return total.hexdigest()
    except FileNotFoundError as error:
        raise _missing(data, name) from error
    except OSError as error:
        raise LofidError(f"The data set '{name}' in {data} cannot be read ({error}).") from error


def _missing(data: Path, name: str) -> LofidError:
    return LofidError(
        f"The data set '{name}' is not in {data}; get it with: "
        f"lofid data get {name} --data {data} (or put {name}.tar.xz there)."
    )
