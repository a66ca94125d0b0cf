"""The studio on hand-made bars, judged by pyloudnorm, scipy and counting."""

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pyloudnorm
import pytest
from numpy.typing import NDArray
from scipy.signal import resample_poly

from lofid.music.notes import SIXTEENTH, Note, Part
from lofid.music.parameters import Instrument, Settings
from lofid.music.plan import Bar
from lofid.sound import SAMPLE_RATE
from lofid.sound.calibration import calibration
from lofid.sound.studio import STEMS, Studio, rendered_bars
from lofid.sound.synth import GRID, Synth

Audio = NDArray[np.float32]
DRY = Settings()
for path, value in {
    "sound.vinyl": 0, "sound.rain": 0, "sound.reverb": 0, "sound.chorus": 0, "sound.wow": 0,
    "sound.flutter": 0, "sound.crush": 0, "sound.sidechain": 0, "sound.saturation": 0,
    "sound.low_pass": 20000,
}.items():  # fmt: skip
    DRY = DRY.with_value(path, value)


def rendered(studio: Studio, bars: list[Bar]) -> tuple[Audio, dict[str, Audio]]:
    done = [one for _, one in rendered_bars(studio, bars)]
    stems = {stem: np.concatenate([one.stems[stem] for one in done]) for stem in STEMS}
    return np.concatenate([one.mix for one in done]), stems


@pytest.fixture(scope="module")
def music(bar_of: Callable[..., Bar]) -> tuple[Audio, dict[str, Audio]]:
    return rendered(Studio(Settings(), seed=3), [bar_of(index) for index in range(40)])


def loudness(audio: Audio) -> float:
    return float(pyloudnorm.Meter(SAMPLE_RATE).integrated_loudness(audio.astype(float)))


def test_integrated_loudness(music: tuple[Audio, dict[str, Audio]]) -> None:
    assert loudness(music[0]) == pytest.approx(-16, abs=0.5)


def test_true_peak(music: tuple[Audio, dict[str, Audio]]) -> None:
    peak = np.abs(resample_poly(music[0].astype(float), 4, 1, axis=0)).max()
    assert 20 * np.log10(peak) <= -1.0


@pytest.mark.parametrize(
    ("stem", "level", "tolerance"),
    [("drums", -5, 2), ("keys", -6, 2), ("bass", -8, 2), ("texture", -22, 4)],
)
def test_balance(
    music: tuple[Audio, dict[str, Audio]], stem: str, level: float, tolerance: float
) -> None:
    mix, stems = music
    assert loudness(stems[stem]) - loudness(mix) == pytest.approx(level, abs=tolerance)


def test_first_bars_are_as_loud_as_the_rest(music: tuple[Audio, dict[str, Audio]]) -> None:
    mix, _ = music
    assert loudness(mix[: 12 * SAMPLE_RATE]) == pytest.approx(-16, abs=1.5)


@pytest.mark.parametrize("instrument", [Instrument.PIANO, Instrument.KALIMBA, Instrument.PAD])
def test_any_instrument_at_any_density(bar_of: Callable[..., Bar], instrument: Instrument) -> None:
    settings = Settings().with_value("sound.keys", instrument)
    for density in (0.0, 1.0):
        bars = [bar_of(index, density=density) for index in range(24)]
        mix, stems = rendered(Studio(settings, seed=3), bars)
        late = slice(20 * SAMPLE_RATE, 70 * SAMPLE_RATE)
        assert loudness(stems["keys"][late]) - loudness(mix[late]) == pytest.approx(-6, abs=2)


def test_a_bar_lasts_from_line_to_line(bar_of: Callable[..., Bar]) -> None:
    tempos = [60, 71.3, 80, 83.7, 100, 92.123, 77.7]
    bars = [bar_of(index, tempo=tempos[index % len(tempos)], notes={}) for index in range(40)]
    frames, exact = 0, Fraction(0)
    for bar, one in rendered_bars(Studio(DRY, seed=1), bars):
        if bar is None:
            break
        frames += len(one.mix)
        exact += Fraction(4 * 60 * SAMPLE_RATE) / Fraction(bar.plan.tempo)
        assert abs(frames - exact) <= 1
        assert {audio.shape for audio in one.stems.values()} == {one.mix.shape}


def own_rise(settings: Settings, pitch: int, velocity: int) -> int:
    """Frames from a drum's note to the first sound that counts, on the synth alone."""
    synth = Synth()
    synth.choose(Part.DRUMS, settings.sound.kit)
    sent = int(calibration(settings.sound.kit).velocities[pitch, velocity])
    synth.note(Part.DRUMS, 0, SAMPLE_RATE, pitch, sent)
    heard = np.abs(synth.render(SAMPLE_RATE)[3]).max(axis=0)
    synth.close()
    return int(np.argmax(heard > 0.02 * heard.max()))


@pytest.mark.parametrize("start", [-60, 0, 7, 333, 1500])
def test_an_onset_is_where_the_note_is(bar_of: Callable[..., Bar], start: int) -> None:
    studio = Studio(DRY, seed=1)
    silent, tempo = bar_of(0, tempo=83, notes={}), 83
    note = {Part.DRUMS: (Note(start, 37, SIXTEENTH, 120),)}
    blocks = [silent, bar_of(1, tempo=tempo, notes=note), bar_of(2, tempo=tempo, notes={})]
    _, stems = rendered(studio, blocks)
    heard = np.abs(stems["drums"]).max(axis=1)
    onset = int(np.argmax(heard > 0.02 * heard.max()))
    wanted = (1920 + start) * 60 * SAMPLE_RATE / (tempo * 480) + Studio.LATENCY
    # What is left beside the recording's own way to its first peak is FluidSynth's grid.
    assert abs(onset - wanted - own_rise(DRY, 37, 120)) <= GRID / 2 + 1


def test_pitch(bar_of: Callable[..., Bar]) -> None:
    settings = DRY.with_value("sound.keys", "flute")
    note = {Part.KEYS: (Note(0, 69, 1800, 90),)}
    mix, _ = rendered(Studio(settings, seed=1), [bar_of(0, notes=note)])
    tone = mix[SAMPLE_RATE // 2 :][: SAMPLE_RATE * 2, 0]
    spectrum = np.abs(np.fft.rfft(tone * np.hanning(len(tone))))
    assert spectrum.argmax() / 2 == pytest.approx(440, abs=2)


def test_a_note_rings_over_the_bar_line(bar_of: Callable[..., Bar]) -> None:
    settings = DRY.with_value("sound.keys", "flute")
    note = {Part.KEYS: (Note(1800, 69, 960, 90),)}
    _, stems = rendered(Studio(settings, seed=1), [bar_of(0, notes=note), bar_of(1, notes={})])
    second = stems["keys"][3 * SAMPLE_RATE : 6 * SAMPLE_RATE]
    assert np.abs(second[: SAMPLE_RATE // 2]).max() > 0.01
    assert np.abs(second[-SAMPLE_RATE // 2 :]).max() < 1e-3


def test_the_same_bars_give_the_same_audio(bar_of: Callable[..., Bar]) -> None:
    bars = [bar_of(index) for index in range(4)]
    settings = Settings().with_value("sound.rain", 0.5)
    first, _ = rendered(Studio(settings, seed=9), bars)
    again, _ = rendered(Studio(settings, seed=9), bars)
    other, _ = rendered(Studio(settings, seed=10), bars)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_kick_pushes_the_keys_down(bar_of: Callable[..., Bar]) -> None:
    settings = DRY.with_value("sound.keys", "flute")
    notes = {
        Part.KEYS: (Note(0, 69, 3840, 90),),
        Part.DRUMS: (Note(960, 36, SIXTEENTH, 110),),
    }
    levels = {}
    for depth in (0, 6):
        ducked = settings.with_value("sound.sidechain", depth)
        _, stems = rendered(Studio(ducked, seed=1), [bar_of(0, notes=notes), bar_of(1, notes={})])
        levels[depth] = np.abs(stems["keys"])
    kick = Studio.LATENCY + int(1.5 * SAMPLE_RATE)
    gain = [
        levels[6][kick + at : kick + at + 960].max() / levels[0][kick + at : kick + at + 960].max()
        for at in (-4800, 1440, 38_400)
    ]
    before, deepest, after = 20 * np.log10(np.array(gain) / gain[2])
    assert before == pytest.approx(after, abs=0.7)
    assert -6.5 < deepest < -4.5


def test_a_fader_is_heard_at_once_and_no_leveller_undoes_it(bar_of: Callable[..., Bar]) -> None:
    quiet = Settings().with_value("mix.drums", -12)
    bars = [bar_of(index) for index in range(16)]
    _, usual = rendered(Studio(Settings(), seed=1), bars)
    _, turned = rendered(Studio(quiet, seed=1), bars)
    assert loudness(turned["drums"]) - loudness(usual["drums"]) == pytest.approx(-12, abs=0.1)
    assert loudness(turned["keys"]) == pytest.approx(loudness(usual["keys"]), abs=0.1)
