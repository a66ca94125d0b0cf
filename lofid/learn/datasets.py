"""The public data sets: where they come from, and having them in the data folder.

Each comes either packed from a mirror (a folder or an address that holds ``NAME.tar.xz``), checked
against the checksum of the archive that the shipped models were trained on, or from what its
authors published, converted here (:mod:`lofid.learn.originals`). Either way ``NAME.tar.xz`` appears
in the data folder when it is complete.

This module knows places and checksums. It must not know what is learned from the music.
"""

import csv
import hashlib
import io
import os
import sqlite3
import tarfile
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit
from xml.etree import ElementTree

from lofid.errors import LofidError
from lofid.files import alone_in, replacing, unfinished, user_path
from lofid.learn import originals
from lofid.learn.archives import fingerprint
from lofid.learn.download import MOST, WAITS, Progress, download
from lofid.learn.own import MANIFEST
from lofid.learn.sources import SOURCES
from lofid.learn.unpack import Unsafe
from lofid.rwkv.weights import DataSource

_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Original:
    """A file that the authors published, of at most so many bytes.

    ``sha256`` where it is known, else None.
    """

    url: str
    file: str
    sha256: str | None = None
    most: int = MOST


@dataclass(frozen=True, slots=True)
class DataSet:
    """A public data set.

    ``name`` is its archive's, ``short`` what one types. ``packed_bytes`` and ``packed_sha256`` are
    of ``NAME.tar.xz``, ``content_sha256`` of the music in it as
    :func:`lofid.learn.originals.content_digest` gives it. ``convert`` makes the archive from the
    authors' ``files``; a set without it comes from mirrors alone.
    """

    name: str
    short: str
    title: str
    page: str
    packed_bytes: int
    packed_sha256: str
    files: tuple[Original, ...] = ()
    convert: originals.Convert | None = None
    content_sha256: str = ""

    @property
    def is_packed_only(self) -> bool:
        """Whether only a mirror has it in our form: nothing here converts the originals."""
        return self.convert is None

    @property
    def source(self) -> DataSource:
        """Licence and credit."""
        return SOURCES[self.name]


def _repository(place: str, commit: str) -> Original:
    """A GitHub repository at a commit. GitHub packs it anew for each request: no checksum holds."""
    file = f"{place.replace('/', '-')}-{commit[:12]}.tar.gz"
    return Original(f"https://codeload.github.com/{place}/tar.gz/{commit}", file)


DATA_SETS: dict[str, DataSet] = {
    item.name: item
    for item in (
        DataSet(
            "keys_pop909",
            "pop909",
            "POP909 and POP909-CL: pop songs for piano, with chords",
            "https://github.com/music-x-lab/POP909-Dataset",
            11_300_380,
            "7571ef5da96feeb96eec8f91764e09e35e583c15f858bba98242c0fee35cd02c",
            (
                _repository(
                    "music-x-lab/POP909-Dataset", "d83e6edba6872a704f5d3b8b32f5cb540088dae6"
                ),
                _repository(
                    "AndyWeasley2004/POP909-CL-Dataset", "be9094392903c471a930519e1c0bacf8b6be5d62"
                ),
            ),
            originals.pop909,
            "09558aa8e8a5ce958c380ad4176c4f9a9e5094bd2f70d46a8083ae2269504d62",
        ),
        DataSet(
            "leadsheets_openewld",
            "openewld",
            "OpenEWLD: jazz and song lead sheets",
            "https://doi.org/10.5281/zenodo.4332855",
            1_727_432,
            "48fe357e34829a6df10da47c9e4a6f2075a82ade899db4c8da9e7d0c8081e9c9",
            (_repository("00sapo/OpenEWLD", "ec03cbd809ca5296ee708591b970d0423dcbe31c"),),
            originals.openewld,
            "e05624638edfe0bbe986aff4d022d3a2f6a9a41a9b38a841e3f05a03e9425424",
        ),
        DataSet(
            "chords_free_midi",
            "free-midi-chords",
            "free-midi-chords: chord progressions",
            "https://github.com/ldrolez/free-midi-chords",
            36_236,
            "1cc0aad1d249d3afb39378ca40e882fe73e72fcb592c7e928d86add908106c73",
            (_repository("ldrolez/free-midi-chords", "baf0896694de6b09ac00250722f2414202e668ed"),),
            originals.free_midi_chords,
            "e1c50d76f7439c9f690f1df45233e421f17ab7f1c28a25afba6e49e074776ce8",
        ),
        DataSet(
            "lofi_magenta_player",
            "lofi-player",
            "Lo-Fi Player: nine lo-fi loops",
            "https://github.com/magenta/lofi-player",
            6_652,
            "b7ff6a08050d57e87f89501925cb39923d5b490b35fef9a55eb115b5f573e882",
            (_repository("magenta/lofi-player", "e8e49d2c40169c57e593d83e1c208e58e6557717"),),
            originals.lofi_player,
            "1867e1f84262f70539e0619ee1b7c145633c1f2515f7a3a8c204999a37f7bef0",
        ),
        DataSet(
            "drums_gmd",
            "groove",
            "Groove MIDI Dataset 1.0.0: played drums",
            "https://magenta.tensorflow.org/datasets/groove",
            2_351_424,
            "198001e999964b8caae3fd038e0ae7574568f5b3dea177b6a30418800839df5c",
            (
                Original(
                    "https://storage.googleapis.com/magentadata/datasets/groove/"
                    "groove-v1.0.0-midionly.zip",
                    "groove-v1.0.0-midionly.zip",
                    # As TensorFlow Datasets lists it.
                    "651cbc524ffb891be1a3e46d89dc82a1cecb09a57c748c7b45b844c4841dcc1e",
                    most=16 << 20,  # three million are played drums without their sound
                ),
            ),
            originals.groove,
            "2e666904b256b748b371e47ac561c336e28345e238699386df42656ae8f029d3",
        ),
        DataSet(
            "drums_stickflow",
            "stickflow",
            "StickFlow: drum patterns on the grid",
            "https://github.com/jkobti/stickflow-drum-patterns",
            27_448,
            "4c38ae9ce9692125111d693acf34beeaf2cd91b1fb3eb2333b8b62f47720bbd5",
            (
                _repository(
                    "jkobti/stickflow-drum-patterns", "80bf78730dc368e59de8d9fe1532962cde0127c8"
                ),
            ),
            originals.stickflow,
            "47cccb51e050babdf5c5f492448bd8e8129682f222ab5eac48bbf1d8f26a58ee",
        ),
        DataSet(
            "harmony_mcgill_billboard",
            "mcgill-billboard",
            "McGill Billboard 2.0: chords and sections of chart songs",
            "https://ddmal.music.mcgill.ca/research/The_McGill_Billboard_Project_(Chord_Analysis_Dataset)/",
            424_196,
            "4473c6d7e5a9993bbad0ec561533c3848d7bebb802784faacbaa1d9c3a258b00",
        ),
        DataSet(
            "form_rs200",
            "rs200",
            "RS200: form and harmony of rock songs, for counts alone",
            "http://rockcorpus.midside.com",
            364_028,
            "33e86971aedfe44172c6f00a550ea07220292c9625b58d8843e0331b8a50957b",
        ),
        DataSet(
            "keys_openscore_lieder",
            "lieder",
            "OpenScore Lieder: songs for voice and piano, as written",
            "https://github.com/OpenScore/Lieder",
            330_012,
            "e665f08709ae617525f5045a280c309303aa76dbdeba171221b18af08046a6ec",
        ),
        DataSet(
            "folk_ceol_rince",
            "ceol-rince",
            "Ceol Rince na hEireann: Irish dance tunes",
            "https://doi.org/10.5281/zenodo.5768216",
            191_292,
            "6b7b7adbfd9982e5c807bb4d72e9536a23b5911a85b8cf5fc5d884ce098336c4",
            (
                _repository(
                    "polifonia-project/folk_ngram_analysis",
                    "9d8ccf9fe40ffdd2a1787e75527062fc1d07c669",
                ),
            ),
            originals.ceol_rince,
            "2679cff49c58ddc654de24c299a76771dcbefa55fbb6a7e1a6388b423dfd6f4b",
        ),
    )
}
"""By name of the archive, those that the shipped models learned from first."""


class Outcome(StrEnum):
    """What came of getting a data set."""

    PRESENT = "already here"
    VERIFIED = "verified"
    """The very archive that the shipped models were trained on."""
    CONVERTED = "converted"
    """From the originals, with the very music that the shipped models were trained on."""
    DIFFERENT = "converted, but other music than the shipped models were trained on"


def named(name: str) -> DataSet:
    """The data set of a short name or of an archive's; raises :class:`LofidError`."""
    for item in DATA_SETS.values():
        if name.lower() in (item.name, item.short):
            return item
    known = ", ".join(item.short for item in DATA_SETS.values())
    raise LofidError(f"The data set '{name}' is not known; choose one of {known}.")


@dataclass(frozen=True, slots=True)
class Present:
    """A public data set in a data folder.

    ``bytes`` of the archive or folder, 0 where it is not there; ``verified`` says whether it is
    the very archive that the shipped models were trained on.
    """

    item: DataSet
    bytes: int
    verified: bool


def present(data: Path) -> list[Present]:
    """Which data sets are in a data folder; raises :class:`LofidError` if it cannot be read."""
    found = []
    for item in DATA_SETS.values():
        packed, folder = data / f"{item.name}.tar.xz", data / item.name
        if folder.is_dir():
            size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            found.append(Present(item, size, False))
        elif packed.is_file():
            verified = fingerprint(data, item.name) == item.packed_sha256
            found.append(Present(item, packed.stat().st_size, verified))
        else:
            found.append(Present(item, 0, False))
    return found


def own_sets(data: Path) -> list[Path]:
    """The folders of the prepared sets of one's own MIDI in a data folder."""
    return [path.parent for path in sorted((data / "own").glob(f"*/{MANIFEST}"))]


def get(
    item: DataSet,
    data: Path,
    mirror: str | None = None,
    progress: Progress | None = None,
    waits: Sequence[float] = WAITS,
) -> Outcome:
    """Have a data set in the data folder.

    ``mirror`` is a folder or an http(s) address with packed archives; without it the authors'
    own publication is fetched and converted. Raises :class:`LofidError` for what
    :func:`~lofid.learn.download.download` does, for an original that is not as expected, and while
    another process gets the same one.
    """
    goal = data / f"{item.name}.tar.xz"
    if goal.is_file() or (data / item.name).is_dir():
        return Outcome.PRESENT
    if mirror is None and item.is_packed_only:
        raise LofidError(
            f"The data set {item.short} comes only packed, as its originals ({item.page}) are not "
            f"converted here; name a folder or address that has {goal.name} with --from."
        )
    try:
        data.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LofidError(
            f"The folder '{data}' cannot be made ({error.strerror}); name another with --data."
        ) from error
    with alone_in(data / f".{item.name}.fetching", f"The data set {item.short} is being fetched"):
        for left in unfinished(goal):  # of a process that was killed
            left.unlink(missing_ok=True)
        if mirror is None:
            return _from_originals(item, data, goal, progress, waits)
        if urlsplit(mirror).scheme in ("http", "https"):
            url = f"{mirror.rstrip('/')}/{goal.name}"
            download(url, goal, item.packed_sha256, progress, waits, item.packed_bytes)
        else:
            _from_folder(item, user_path(mirror) / goal.name, goal, progress)
    return Outcome.VERIFIED


def _from_folder(item: DataSet, packed: Path, goal: Path, progress: Progress | None) -> None:
    if not packed.is_file():
        raise LofidError(f"The mirror {packed.parent} has no {packed.name}; name another folder.")
    total = hashlib.sha256()
    size, done = packed.stat().st_size, 0
    if size != item.packed_bytes:
        raise LofidError(
            f"{packed} has {size:,} bytes instead of {item.packed_bytes:,}: it is damaged or "
            "another version; nothing was taken."
        )
    with replacing(goal) as temporary:
        with packed.open("rb") as source, temporary.open("wb") as copy:
            while block := source.read(_BLOCK):
                total.update(block)
                copy.write(block)
                done += len(block)
                if progress is not None:
                    progress(done, size)
            copy.flush()
            os.fsync(copy.fileno())
        if total.hexdigest() != item.packed_sha256:
            raise LofidError(
                f"{packed} has another checksum than expected ({total.hexdigest()[:16]}… instead "
                f"of {item.packed_sha256[:16]}…): it is damaged or another version; "
                "nothing was taken."
            )


def _from_originals(
    item: DataSet, data: Path, goal: Path, progress: Progress | None, waits: Sequence[float]
) -> Outcome:
    kept = data / "downloads"
    paths = []
    for original in item.files:
        path = kept / original.file
        if not path.is_file():
            download(original.url, path, original.sha256, progress, waits, original.most)
        paths.append(path)
    try:
        rows, files = _converted(item, paths)
    except LofidError:  # it would not convert the next time either
        _remove(paths)
        raise
    files["index.csv"] = originals.index_csv(rows)
    files["SOURCE.md"] = (
        f"# {item.title}\n{item.source.attribution}\n\nLicence: {item.source.licence}\n\n"
        + "".join(f"Converted from {original.url}\n" for original in item.files)
    ).encode()
    _pack(item.name, files, goal)
    _remove(paths)
    same = originals.content_digest(files, rows) == item.content_sha256
    return Outcome.CONVERTED if same else Outcome.DIFFERENT


def _converted(item: DataSet, paths: Sequence[Path]) -> tuple[originals.Rows, originals.Files]:
    assert item.convert is not None
    try:
        rows, files = item.convert(paths)
    except (
        OSError, EOFError, zlib.error, KeyError, ValueError, IndexError, UnicodeError, csv.Error,
        tarfile.TarError, zipfile.BadZipFile, ElementTree.ParseError, sqlite3.Error, Unsafe,
        SyntaxError, RuntimeError,
    ) as error:  # fmt: skip
        raise LofidError(
            f"What was downloaded of {item.title} is damaged or laid out in a new way ({error}) "
            "and was removed; try again, or name a mirror with --from."
        ) from error
    if not rows:
        raise LofidError(
            f"What was downloaded of {item.title} holds no music where it was expected; "
            "name a mirror with --from."
        )
    return rows, files


def _remove(paths: Sequence[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _pack(name: str, files: Mapping[str, bytes], goal: Path) -> None:
    """The files below one folder as a packed archive, the same bytes for the same files."""
    with replacing(goal) as temporary, tarfile.open(temporary, "w:xz") as archive:
        for path in sorted(files):
            member = tarfile.TarInfo(f"{name}/{path}")
            member.size = len(files[path])
            archive.addfile(member, io.BytesIO(files[path]))
