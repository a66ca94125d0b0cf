"""Audio into a file, by its ending: WAV, FLAC, MP3 or Ogg Vorbis; or notes, into a MIDI file."""

import fcntl
import itertools
import os
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile as sf

from lofid import __version__
from lofid.errors import LofidError
from lofid.files import replacing, unfinished, user_path
from lofid.outputs.output import SAMPLE_RATE, Block, FileLabel, Output


@dataclass(frozen=True, slots=True)
class _Format:
    container: str
    subtype: str
    compression: float | None = None
    of_stems: str = ""
    """The subtype of stems, which rise above full scale, where there is one that keeps that."""


FORMATS = {
    # RF64 does not end at 4 GiB (four hours); see _downgrade_when_short.
    ".wav": _Format("RF64", "PCM_24", of_stems="FLOAT"),
    ".flac": _Format("FLAC", "PCM_24"),
    ".mp3": _Format("MP3", "MPEG_LAYER_III", 0.0),
    ".ogg": _Format("OGG", "VORBIS", 0.3),
}
"""What each ending means; the compression is libsndfile's, 0 the best quality."""

MIDI_FILE = ".mid"
"""The ending of what is no audio, but is written while the music plays all the same."""

STEMS_DOWN = 12.0
"""dB by which stems are turned down in files that end at full scale (``_Format.of_stems``)."""

_FULL = "no space left on the device"
_AT_ONCE = 16_384  # frames; libsndfile's Vorbis writer overflows its stack on long blocks


class FileOutput(Output):
    """Writes to a temporary name beside ``path``, which gets its name when it is closed.

    A stem (``label.stem``) may rise above full scale: WAV keeps it as it is, in floating point; in
    other files it lies ``STEMS_DOWN`` below. A link is followed; what is no file is refused.

    Where the disk is full, :meth:`write` raises, and what was written until then is finished by
    :meth:`close` all the same, or removed by :meth:`abort`.
    """

    comes_back = False

    def __init__(self, path: Path) -> None:
        if path.suffix.lower() not in FORMATS:
            raise LofidError(
                f"The file '{path}' has no ending that lofid can write; use one of "
                f"{', '.join([*FORMATS, MIDI_FILE])}."
            )
        self.path = path
        self._format = FORMATS[path.suffix.lower()]
        self._gain = np.float32(1.0)
        self._stack = ExitStack()
        self._file: sf.SoundFile | None = None
        self._temporary = path
        self._failed = False

    def notice(self) -> str:
        """Where that is which an earlier file of this name came to before it was cut off."""
        left = [path for path in unfinished(self.path) if _abandoned(path)]
        if not left:
            return ""
        others = f" ({len(left) - 1} more such beside it)" if len(left) > 1 else ""
        return (
            f"The file '{self.path}' was cut off before it was finished; what there is of it lies "
            f"in '{left[0]}'{others}: give it another name to keep it, or remove it."
        )

    def open(self) -> None:
        """Create the temporary file."""
        subtype = self._format.subtype
        if self.label is not None and self.label.stem:
            subtype = self._format.of_stems or subtype
            self._gain = np.float32(stem_gain(self.path))
        self._temporary = self._stack.enter_context(replacing(self.path))
        try:
            # Only the system's own call says why a file cannot be made; libsndfile does not.
            mark = self._stack.enter_context(self._temporary.open("ab"))
            with suppress(OSError):  # some network file systems have no locks
                fcntl.flock(mark, fcntl.LOCK_EX)
            self._file = sf.SoundFile(
                os.fsencode(self._temporary),  # names that are no text are names, too
                "w",
                samplerate=SAMPLE_RATE,
                channels=2,
                format=self._format.container,
                subtype=subtype,
                compression_level=self._format.compression,
            )
            if self._format.container == "RF64":
                _downgrade_when_short(self._file)
            if self.label is not None:
                _tag(self._file, self.label)
        except OSError as error:
            raise self._error(error.strerror or str(error)) from None
        except sf.LibsndfileError as error:
            raise self._error(str(error)) from None

    def write(self, block: Block) -> None:
        """Append the block; raises LofidError if there is no space left."""
        assert self._file is not None
        for start in range(0, len(block.audio), _AT_ONCE):
            audio = block.audio[start : start + _AT_ONCE]
            expected = self._file.frames + len(audio)
            # soundfile asserts that every frame was written.
            with suppress(sf.LibsndfileError, OSError, AssertionError):
                self._file.write(audio if self._gain == 1 else audio * self._gain)
            if self._file.frames != expected:
                self._failed = True
                raise self._error(_FULL)

    def close(self) -> None:
        """Finish the file and give it its name.

        Raises :class:`LofidError` where there was no space for all of it. Then it ends early or,
        if no player could read it, keeps a name of its own. Raises it, too, where somebody has
        removed what was written.
        """
        if self._file is None:
            return
        written = self._file.frames
        self._file.close()
        self._file = None
        if not self._temporary.exists():
            self.abort()
            raise LofidError(
                f"The file '{self.path}' was removed, or its folder was, while it was written; "
                "nothing of it is left."
            )
        # A full disk may show only now: libsndfile writes behind, and closes without complaint.
        try:
            # A FLAC file that ends early says that its length is unknown, which reads as endless.
            frames = sf.info(os.fsencode(self._temporary)).frames
            readable = min(frames, written + _AT_ONCE * self._failed)
        except sf.LibsndfileError:
            readable = 0
        if readable >= written and not self._failed:
            self._stack.close()
        elif readable:
            self._stack.close()
            raise LofidError(
                f"The file '{self.path}' ends after about {readable / SAMPLE_RATE:.0f} seconds"
                f" ({_FULL}); make room there before you record again."
            )
        else:
            left = self._left_over()
            self._temporary.rename(left)
            self.abort()
            raise LofidError(
                f"The file '{self.path}' could not be finished ({_FULL}); what there is of it is "
                f"kept as '{left}'. Make room there before you record again."
            )

    def abort(self) -> None:
        """Remove the temporary file."""
        if self._file is not None:
            self._file.close()
            self._file = None
        with suppress(_Aborted), self._stack:
            raise _Aborted

    def _left_over(self) -> Path:
        """A name for what could not be finished that no earlier one of it has."""
        stem, suffix = f"{self.path.stem}.part", self.path.suffix
        names = (f"{stem}-{number}{suffix}" for number in itertools.count(2))
        places = map(self._temporary.with_name, itertools.chain([stem + suffix], names))
        return next(place for place in places if not place.exists())

    def _error(self, reason: str) -> LofidError:
        return LofidError(
            f"The file '{self.path}' could not be written ({reason}); "
            "choose another place or make room there."
        )


def stem_gain(path: Path) -> float:
    """What a stem is multiplied with in a file of this name, so that nothing of it is cut off."""
    return 1.0 if FORMATS[path.suffix.lower()].of_stems else float(10 ** (-STEMS_DOWN / 20))


def _tag(file: sf.SoundFile, label: FileLabel) -> None:
    """Write into a file what is played; to be called before any audio is."""
    stem = f", {label.stem}" if label.stem else ""
    file.title = f"{label.preset}, seed {label.seed}{stem}"
    file.software = f"lofid {__version__}"
    file.comment = f"preset={label.preset} seed={label.seed} lofid={__version__}"


def _abandoned(path: Path) -> bool:
    """Whether nobody writes a file any more: as long as somebody does, it is locked."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:  # it is locked, or nobody can say
        return False
    return True


def _downgrade_when_short(file: sf.SoundFile) -> None:
    """Let an RF64 file of less than 4 GiB become plain WAV, which every program reads.

    libsndfile's SFC_RF64_AUTO_DOWNGRADE; soundfile has no public way to give such a command.
    """
    sf._snd.sf_command(file._file, 0x1210, sf._ffi.NULL, 1)


class _Aborted(Exception):
    """Tells the temporary file's context not to give it its name."""


def make(argument: str | None) -> Output:
    """The file output for a path."""
    if not argument:
        raise LofidError("The output 'file' needs a path, such as file:music.flac.")
    path = user_path(argument)
    if path.suffix.lower() == MIDI_FILE:
        from lofid.outputs.midi_file import MidiFileOutput  # noqa: PLC0415 - it needs the synth

        return MidiFileOutput(path)
    return FileOutput(path)
