"""The output that records: WAV, FLAC, MP3 or Ogg Vorbis through libsndfile.

A recording grows under a temporary name beside its own and gets that name when it is complete.
"""

import io
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import soundfile

from lofid.errors import LofidError
from lofid.files import replacing
from lofid.outputs import SAMPLE_RATE, Audio

FORMATS: dict[str, tuple[str, str]] = {
    ".wav": ("WAV", "PCM_24"),
    ".flac": ("FLAC", "PCM_24"),
    ".mp3": ("MP3", "MPEG_LAYER_III"),
    ".ogg": ("OGG", "VORBIS"),
}
"""Ending, libsndfile's container and its encoding."""

_BLOCK = 1 << 15
"""Frames a write: libsndfile's Vorbis encoder overflows its stack on very long ones."""


class _AbandonedError(Exception):
    """Ends the temporary file of a recording that nobody wants."""


class _Sink(io.FileIO):
    """A file that remembers why it could not be written: libsndfile's MP3 encoder ignores it."""

    error: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            return super().write(data) or 0
        except OSError as error:
            self.error = error
            return 0


class FileOutput:
    """Records to a path; raises :class:`LofidError` for an unknown ending or a path that fails."""

    keeps_time = False

    def __init__(self, path: str) -> None:
        target = Path(path)
        ending = target.suffix.lower()
        if ending not in FORMATS:
            raise LofidError(
                f"The file '{path}' has no ending of a known format; use {', '.join(FORMATS)}."
            )
        container, encoding = FORMATS[ending]
        # Whatever is raised inside this context removes the temporary file, and an OSError leaves
        # it as the sentence for the user.
        with ExitStack() as opening:
            temporary = opening.enter_context(replacing(target))
            self._sink = _Sink(temporary, "w+")
            self._file = soundfile.SoundFile(
                self._sink, "w", SAMPLE_RATE, 2, encoding, format=container
            )
            self._recording = opening.pop_all()

    def write(self, audio: Audio) -> None:
        """Append frames; a full disk ends the recording with a :class:`LofidError`."""
        try:
            for begin in range(0, len(audio), _BLOCK):
                self._file.write(np.ascontiguousarray(audio[begin : begin + _BLOCK]))
        # soundfile asserts that all frames were written.
        except (RuntimeError, AssertionError) as error:
            self._fail(error)
        if self._sink.error:
            self._fail(self._sink.error)

    def close(self) -> None:
        """Complete the file and give it its name."""
        try:
            self._file.close()
        except RuntimeError as error:
            self._fail(error)
        if self._sink.error:
            self._fail(self._sink.error)
        self._sink.close()
        self._recording.close()

    def abort(self) -> None:
        """Remove what was written."""
        with suppress(_AbandonedError):
            self._end(_AbandonedError())

    def _fail(self, error: Exception) -> NoReturn:
        self._end(self._sink.error or OSError(str(error)))

    def _end(self, reason: Exception) -> NoReturn:
        """Close everything and leave the context by an exception, which removes the file."""
        with suppress(RuntimeError):
            self._file.close()
        self._sink.close()
        with self._recording:
            raise reason
        raise AssertionError  # the context passes the exception on
