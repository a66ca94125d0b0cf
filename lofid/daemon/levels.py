"""How loud the stream is, tenth by tenth of a second and bar by bar, as it goes out."""

import numpy as np

from lofid.daemon.links import Levels
from lofid.playback.transport import Passage
from lofid.sound.loudness import SILENCE, Tenths, to_loudness

_FLOOR = 1e-6  # -120 dBFS: the peak of silence


class Meters:
    """Measures passages as they are heard."""

    def __init__(self) -> None:
        self._tenths = Tenths()
        self._peaks: dict[str, float] = {}
        self._bar: list[float] = []

    def hear(self, passage: Passage) -> list[Levels]:
        """Measure the next passage; the levels of the tenths of a second that ended in it."""
        for name, audio in {**passage.stems, "mix": passage.block.audio}.items():
            peak = max(float(audio.max(initial=0.0)), -float(audio.min(initial=0.0)))
            self._peaks[name] = max(self._peaks.get(name, _FLOOR), peak)
        energies = self._tenths.hear(passage.block.audio)
        self._bar += [energy for energy in energies if to_loudness(energy) > SILENCE]
        if not energies:
            return []
        peaks = {name: float(20 * np.log10(peak)) for name, peak in self._peaks.items()}
        self._peaks.clear()
        return [Levels(peaks, to_loudness(energy)) for energy in energies]

    def bar(self) -> float:
        """LUFS of what was heard since the last call, gated as BS.1770 does; at least -70."""
        loud, self._bar = self._bar, []
        return to_loudness(sum(loud) / len(loud)) if loud else SILENCE
