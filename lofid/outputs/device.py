"""The output that is heard: a sound device through PortAudio."""

from types import ModuleType

from lofid.errors import LofidError
from lofid.outputs import SAMPLE_RATE, Audio
from lofid.system import PORTAUDIO, missing_error

_OTHERWISE = (
    "write to a file instead (lofid play --output file:music.flac, or lofid render music.flac), "
    "or see what this machine has (lofid doctor)"
)


def _sounddevice() -> ModuleType:
    try:
        import sounddevice  # noqa: PLC0415 - it looks for the system's library when imported
    except OSError as error:
        raise missing_error(PORTAUDIO) from error
    module: ModuleType = sounddevice
    return module


class DeviceOutput:
    """Plays on the device whose name holds ``name`` (any case), or on the default one.

    Raises :class:`LofidError` where there is no such device or it cannot be opened.
    """

    keeps_time = True

    def __init__(self, name: str = "") -> None:
        sounddevice = _sounddevice()
        self._error: type[Exception] = sounddevice.PortAudioError
        playing = [item for item in sounddevice.query_devices() if item["max_output_channels"] > 0]
        if not playing:
            raise LofidError(f"This machine has no sound device; {_OTHERWISE}.")
        if name and not any(name.lower() in item["name"].lower() for item in playing):
            names = ", ".join(item["name"] for item in playing)
            raise LofidError(f"No sound device is called '{name}'; choose one of: {names}.")
        self.underruns = 0
        """Blocks before which the device ran dry."""
        try:
            self._stream = sounddevice.OutputStream(
                samplerate=SAMPLE_RATE,
                channels=2,
                dtype="float32",
                device=name or None,
                latency="high",
            )
            self._stream.start()
        except (self._error, ValueError) as error:
            raise LofidError(
                f"The sound device '{name or 'default'}' cannot be opened ({error}); {_OTHERWISE}."
            ) from error

    def write(self, audio: Audio) -> None:
        """Play frames; waits while the device has enough to play."""
        try:
            self.underruns += bool(self._stream.write(audio))
        except self._error as error:
            raise LofidError(f"The sound device stopped ({error}); start again.") from error

    def close(self) -> None:
        """Play out what was written, then let go of the device."""
        self._stream.stop()
        self._stream.close()

    def abort(self) -> None:
        """Let go of the device at once."""
        self._stream.abort()
        self._stream.close()
