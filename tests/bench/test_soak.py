import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from bench import soak
from bench.capture import Captured, longest_silence
from bench.soak import Usage, compare
from lofid.judge.figures import Figure
from lofid.outputs.output import SAMPLE_RATE, Audio
from lofid.system import JACK


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose name leaves room for the names of sockets."""
    with tempfile.TemporaryDirectory(prefix="lofid-") as name:
        yield Path(name)


def measured(figures: list[Figure], name: str) -> float | None:
    return next(figure.measured for figure in figures if figure.name == name)


def test_minutes_on_the_virtual_clock(folder: Path) -> None:
    figures = soak.virtual(folder, 0.03, ["--seed", "1"], folder / "memory.png")
    assert (measured(figures, "bars") or 0) > 20
    assert measured(figures, "bars out of order or missing") == 0
    assert measured(figures, "bars that the loop stood in for") == 0
    assert measured(figures, "exit code") == 0
    assert (folder / "memory.png").stat().st_size > 1000


@pytest.mark.skipif(not JACK.present, reason="needs jackd (Debian: jackd2)")
def test_seconds_in_real_time(folder: Path) -> None:
    figures = soak.real_time(folder, 0.15, ["--seed", "1"])
    assert measured(figures, "bars out of order or missing") == 0
    assert measured(figures, "exit code") == 0
    assert (measured(figures, "frames compared") or 0) > SAMPLE_RATE
    xruns = measured(figures, "xruns, as the daemon says")
    missed = measured(figures, "frames the recorder missed")
    if not xruns and not missed:  # else the machine was too busy for what is asked
        assert measured(figures, "frames that differ") == 0
        assert measured(figures, "seams between frames") == 0


def written(path: Path, audio: Audio, subtype: str) -> Path:
    soundfile.write(path, audio, SAMPLE_RATE, subtype)
    return path


def test_a_frame_that_is_lost_is_found(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    music = (0.1 * rng.standard_normal((10 * SAMPLE_RATE, 2))).astype(np.float32)
    silence = np.zeros((7_000, 2), np.float32)
    beside = written(tmp_path / "beside.wav", np.concatenate([silence, music]), "PCM_24")
    cut = 4 * SAMPLE_RATE
    no_cycles = np.zeros((0, 2))
    holed = music.copy()
    holed[cut : cut + 512] = 0
    for heard, different, seams in (
        (music[100:], 0, 0),  # the recorder came 100 frames late
        (np.concatenate([silence, music, silence]), 0, 0),
        (np.concatenate([silence, music[:cut], music[cut + 1 :]]), SAMPLE_RATE // 4, 1),
        (np.concatenate([music[:cut], silence, music[cut:]]), 0, 1),
        (holed, SAMPLE_RATE // 4, 1),
    ):
        path = written(tmp_path / "heard.wav", heard, "FLOAT")
        same = compare(Captured(path, no_cycles, 0, 0), beside)
        assert same.frames > 3 * SAMPLE_RATE
        assert (same.different, same.seams) == (different, seams)


def test_silence_is_measured_between_sounds(tmp_path: Path) -> None:
    tone = np.full((SAMPLE_RATE, 2), 0.1, np.float32)
    nothing = np.zeros((SAMPLE_RATE, 2), np.float32)
    parts = [nothing, tone, nothing[: SAMPLE_RATE // 2], tone, nothing, nothing]
    path = written(tmp_path / "heard.wav", np.concatenate(parts), "FLOAT")
    assert longest_silence(path) == pytest.approx(0.5, abs=0.02)
    assert longest_silence(written(tmp_path / "no.wav", nothing, "FLOAT")) == float("inf")


def test_growth_is_that_of_the_sum_after_the_first_hour() -> None:
    hours = [0.1 * look for look in range(40)]
    settling = [100 - 50 * max(0, 1 - hour) for hour in hours]
    growing = [20 + 3 * hour for hour in hours]
    usage = Usage(hours, {"desk": settling, "writer": growing})
    assert usage.slope([settling, growing], 1.0) == pytest.approx(3)
    assert usage.slope([settling], 1.0) == pytest.approx(0, abs=1e-6)
    assert usage.slope([settling], 3.5) is None
