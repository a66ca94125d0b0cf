"""The studio on hand-made bars, judged by pyloudnorm, scipy and counting."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pyloudnorm
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.signal import resample_poly, welch

from lofid.music.notes import SIXTEENTH, Note, Part
from lofid.music.parameters import BassInstrument, Instrument, Kit, Settings
from lofid.music.plan import Automation, Bar, Face, Ride
from lofid.sound import SAMPLE_RATE
from lofid.sound.calibration import calibration
from lofid.sound.effects import Limiter, TapeChain
from lofid.sound.lines import BarLines, frames_per_tick
from lofid.sound.studio import BLOCK, LEAD, STEMS, Rendered, Studio, rendered_bars
from lofid.sound.synth import GRID, Synth
from lofid.sound.texture import TEXTURES

Audio = NDArray[np.float32]
DRY = Settings()
for path, value in {
    "sound.vinyl": 0, "sound.rain": 0, "sound.reverb": 0, "sound.chorus": 0, "sound.wow": 0,
    "sound.flutter": 0, "sound.crush": 0, "sound.sidechain": 0, "sound.saturation": 0,
    "sound.low_pass": 20000,
}.items():  # fmt: skip
    DRY = DRY.with_value(path, value)
LATENCY_OF_MIX = TapeChain.LATENCY + Limiter.LATENCY


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
    synth.choose(Part.DRUMS, settings.sound.kit[0])
    sent = int(calibration(settings.sound.kit[0]).velocities[pitch, velocity])
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
    # What is left beside the recording's own way to its first peak is FluidSynth's grid, and the
    # frames by which the drum bus, which hears what was before, moves the edge.
    assert abs(onset - wanted - own_rise(DRY, 37, 120)) <= GRID / 2 + 4


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


def whole(pieces: list[Rendered]) -> list[Audio]:
    """The mix and the stems of consecutive pieces."""
    stems = [np.concatenate([one.stems[stem] for one in pieces]) for stem in STEMS]
    return [np.concatenate([one.mix for one in pieces]), *stems]


@pytest.mark.parametrize("size", [64, 512, 4801])
def test_blocks_of_any_size_are_the_same(bar_of: Callable[..., Bar], size: int) -> None:
    settings = Settings().with_value("sound.rain", 0.5).with_value("sound.tremolo", 0.3)
    bars = [bar_of(index, tempo=83.7) for index in range(3)]
    by_bar = whole([one for bar, one in rendered_bars(Studio(settings, seed=4), bars) if bar])
    studio, lines = Studio(settings, seed=4), BarLines()
    pieces = []
    for bar in bars:
        studio.add(bar, lines.begin(83.7), frames_per_tick(83.7))
        while studio.position < int(lines.next):
            pieces.append(studio.render(size))
    studio.close()
    for one, other in zip(whole(pieces), by_bar, strict=True):
        np.testing.assert_array_equal(one[: len(other)], other)


def steadily(studio: Studio, blocks: int) -> list[Audio]:
    return whole([studio.render(BLOCK) for _ in range(blocks)])


def held(studio: Studio, bar_of: Callable[..., Bar], **notes: tuple[int, int]) -> None:
    """Let parts hold a pitch at a velocity for many seconds, and wait until they do."""
    written = {
        Part(part): (Note(0, pitch, 40_000, velocity),) for part, (pitch, velocity) in notes.items()
    }
    studio.add(bar_of(0, notes=written), -LEAD, frames_per_tick(80))
    studio.render(3 * SAMPLE_RATE // BLOCK * BLOCK)


FLUTES = DRY.with_value("sound.keys", "flute").with_value("sound.melody", "flute")


def peak_of(audio: Audio, hertz: float) -> float:
    """The level of a sine in the audio."""
    turns = np.exp(-2j * np.pi * hertz / SAMPLE_RATE * np.arange(len(audio)))
    window = np.hanning(len(audio))
    return float(abs((audio[:, 0] * window * turns).sum()) / window.sum())


def test_keys_and_melody_are_muted_apart(bar_of: Callable[..., Bar]) -> None:
    studio = Studio(FLUTES, seed=1)
    held(studio, bar_of, keys=(69, 90), melody=(76, 90))
    before = steadily(studio, 60)
    studio.muted = frozenset({Part.MELODY})
    steadily(studio, 3)
    without = steadily(studio, 60)
    studio.muted = frozenset()
    steadily(studio, 3)
    after = steadily(studio, 60)
    studio.close()
    keys, melody = 440.0, 659.26
    for one in (without, after):
        # Two flutes sway; nothing else may move.
        assert peak_of(one[1], keys) == pytest.approx(peak_of(before[1], keys), rel=0.3)
    assert peak_of(without[1], melody) < 0.02 * peak_of(before[1], melody)
    assert peak_of(after[1], melody) == pytest.approx(peak_of(before[1], melody), rel=0.3)


def roughness(audio: Audio) -> float:
    """The largest step between neighbours' differences: a click stands out in it."""
    return float(np.abs(np.diff(audio.astype(float), n=2, axis=0)).max())


TURNED = {
    "sound.low_pass": 1000, "sound.saturation": 1, "sound.sidechain": 12, "sound.crush": 0,
    "mix.keys": -40, "mix.melody": -40, "mix.loudness": -30, "sound.wow": 1,
    "sound.reverb": 1, "sound.chorus": 1, "sound.tremolo": 1,
}  # fmt: skip


@pytest.mark.parametrize("path", TURNED)
def test_nothing_clicks_when_it_is_turned(bar_of: Callable[..., Bar], path: str) -> None:
    studio = Studio(FLUTES, seed=1)
    held(studio, bar_of, keys=(69, 90), melody=(76, 90))
    quiet = roughness(steadily(studio, 40)[0])
    studio.settings = FLUTES.with_value(path, TURNED[path])
    turned = roughness(steadily(studio, 40)[0])
    studio.settings = FLUTES
    back = roughness(steadily(studio, 40)[0])
    studio.close()
    assert max(turned, back) < 2.5 * quiet


def test_a_mute_is_a_fade_of_one_block(bar_of: Callable[..., Bar]) -> None:
    studio = Studio(FLUTES, seed=1)
    held(studio, bar_of, keys=(69, 90))
    quiet = roughness(steadily(studio, 40)[0])
    studio.muted = frozenset({Part.KEYS, Part.MELODY})
    muted = steadily(studio, 40)
    studio.close()
    assert roughness(muted[0]) < 2.5 * quiet
    # What the cut of rumble still rings lies below 16 bits.
    assert np.abs(muted[0][LATENCY_OF_MIX + BLOCK + 64 :]).max() < 1e-4


def test_silence_ends_everything_and_forgets_what_was_to_come(bar_of: Callable[..., Bar]) -> None:
    studio = Studio(FLUTES.with_value("sound.reverb", 1.0), seed=1)
    held(studio, bar_of, keys=(69, 90), bass=(33, 90))
    studio.add(bar_of(1), studio.position, frames_per_tick(80))
    quiet = roughness(steadily(studio, 4)[0])
    studio.silence()
    ended = steadily(studio, 400)
    assert roughness(ended[0]) < 2.5 * quiet
    assert np.abs(ended[0][LATENCY_OF_MIX + BLOCK + 64 :]).max() < 1e-6
    # What comes afterwards sounds as ever.
    studio.add(bar_of(2), studio.position, frames_per_tick(80))
    assert np.abs(steadily(studio, 100)[0]).max() > 0.05
    studio.close()


def test_what_is_late_is_played_at_once_unless_it_is_over(bar_of: Callable[..., Bar]) -> None:
    studio = Studio(FLUTES, seed=1)
    studio.render(4 * SAMPLE_RATE)
    over, sounding = Note(0, 60, SIXTEENTH, 90), Note(0, 69, 4 * 1920, 90)
    bar = bar_of(0, notes={Part.KEYS: (over, sounding)})
    studio.add(bar, SAMPLE_RATE, frames_per_tick(80))
    heard = steadily(studio, 60)[1]
    studio.close()
    assert peak_of(heard, 440.0) > 0.01
    assert peak_of(heard, 261.63) < 0.02 * peak_of(heard, 440.0)


def test_instruments_change_with_their_next_note(bar_of: Callable[..., Bar]) -> None:
    def played(change: bool) -> Audio:
        studio = Studio(DRY, seed=1)
        studio.add(bar_of(0), 0, frames_per_tick(80))
        if change:
            studio.settings = DRY.with_value("sound.keys", "celesta")
        audio = studio.render(2 * SAMPLE_RATE)
        studio.close()
        return audio.stems["keys"]

    assert not np.array_equal(played(change=True), played(change=False))


@given(st.lists(st.floats(40, 240), min_size=1, max_size=50), st.integers(0, 2**44))
def test_bar_lines_are_exact_for_ever(tempos: list[float], first: int) -> None:
    lines, exact = BarLines(first), Fraction(first)
    for tempo in tempos:
        assert abs(lines.begin(tempo) - exact) < 0.01
        exact += Fraction(4 * 60 * SAMPLE_RATE) / Fraction(tempo)
    assert abs(lines.next - exact) < 0.01


def test_a_face_plays_from_its_bar_on_and_only_what_the_settings_name(
    bar_of: Callable[..., Bar],
) -> None:
    def heard(palette: list[str], *faces: Face | None) -> Audio:
        settings = DRY.with_value("sound.keys", palette)
        notes = {Part.KEYS: (Note(0, 69, 1800, 90),)}
        bars = [bar_of(index, notes=notes) for index in range(len(faces))]
        bars = [
            replace(bar, plan=replace(bar.plan, face=face))
            for bar, face in zip(bars, faces, strict=True)
        ]
        return rendered(Studio(settings, seed=1), bars)[1]["keys"]

    def face(keys: Instrument) -> Face:
        return Face(keys, Instrument.VIBRAPHONE, BassInstrument.UPRIGHT, Kit.JAZZ)

    flute, harp = face(Instrument.FLUTE), face(Instrument.HARP)
    bar = 3 * SAMPLE_RATE
    both = heard(["flute", "harp"], flute, harp)
    np.testing.assert_array_equal(both[:bar], heard(["flute"], flute, flute)[:bar])
    assert not np.array_equal(both[bar:], heard(["flute"], flute, flute)[bar:])
    np.testing.assert_array_equal(heard(["flute"], harp), heard(["flute"], None))
    np.testing.assert_array_equal(heard(["flute", "piano"], harp), heard(["flute"], None))


STEERED: dict[str, object] = {
    "mix.melody": -20, "mix.drums": 6, "mix.texture": -34, "sound.reverb": 0.9, "sound.chorus": 0.8,
    "sound.low_pass": 1500, "sound.rain": 1, "sound.sidechain": 12, "sound.tremolo": 1,
}  # fmt: skip


@pytest.mark.parametrize("path", STEERED)
def test_what_was_rendered_ahead_is_mixed_anew(bar_of: Callable[..., Bar], path: str) -> None:
    steered = Settings().with_value(path, STEERED[path])
    notes = {
        **bar_of(0).notes,
        Part.MELODY: tuple(Note(start, 76, SIXTEENTH, 90) for start in range(0, 1920, 240)),
    }

    def played(ahead: int, then: Settings = steered) -> Audio:
        """A stretch, and one steered; before that one, so many frames are rendered ahead."""
        studio = Studio(Settings(), seed=1)
        studio.add(bar_of(0, tempo=100, notes=notes), 0, frames_per_tick(100))
        first = studio.render(40 * BLOCK).mix
        if ahead:
            saved = studio.save()
            studio.render(ahead)
            studio.restore(saved)
        second = studio.render(20 * BLOCK).mix
        studio.settings = then
        third = studio.render(60 * BLOCK).mix
        studio.close()
        return np.concatenate((first, second, third))

    reference = played(0)
    np.testing.assert_array_equal(reference, played(30 * BLOCK))
    assert not np.array_equal(reference, played(0, Settings()))


def test_silence_ends_what_was_played_ahead(bar_of: Callable[..., Bar]) -> None:
    def played(ahead: bool) -> Audio:
        studio = Studio(FLUTES, seed=1)
        held(studio, bar_of, keys=(69, 90))
        saved = studio.save()
        if ahead:
            studio.render(40 * BLOCK)
        studio.restore(saved)
        studio.silence()
        ended = studio.render(10 * BLOCK).stems["keys"]
        note = {Part.KEYS: (Note(0, 76, SIXTEENTH, 90),)}
        studio.add(bar_of(1, notes=note), studio.position, frames_per_tick(80))
        after = studio.render(60 * BLOCK).stems["keys"]
        studio.close()
        return np.concatenate((ended, after))

    usual, early = played(False), played(True)
    assert np.abs(early[3 * BLOCK : LEAD // 2]).max() < 1e-4
    # FluidSynth's own noise aside, the next note begins on the same frame.
    onsets = [int(np.argmax(np.abs(one[6 * BLOCK :]).max(axis=1) > 0.01)) for one in (usual, early)]
    assert onsets[0] == onsets[1] > 0


def spectrum_of(audio: Audio) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    hertz, power = welch(audio.astype(float), SAMPLE_RATE, nperseg=8192, axis=0)
    return hertz, power


def band_level(audio: Audio, low: float, high: float) -> float:
    hertz, power = spectrum_of(audio.mean(axis=1))
    return float(10 * np.log10(power[(hertz >= low) & (hertz < high)].sum()))


def automated(bar_of: Callable[..., Bar], automation: Automation, settings: Settings) -> Rendered:
    """Two bars of a held flute, the second automated, and one more; from its second line on."""
    studio = Studio(settings, seed=1)
    note = {Part.KEYS: (Note(0, 69, 4 * 1920, 90), Note(0, 81, 4 * 1920, 90))}
    bars = [bar_of(0, notes=note), bar_of(1, notes={}), bar_of(2, notes={})]
    bars[1] = replace(bars[1], plan=replace(bars[1].plan, automation=automation))
    for index, bar in enumerate(bars):
        studio.add(bar, index * BAR, frames_per_tick(80))
    whole_of = studio.render(3 * BAR + Studio.LATENCY)
    studio.close()
    return Rendered(whole_of.mix[BAR + Studio.LATENCY :], {})


BAR = 3 * SAMPLE_RATE  # at 80 BPM


def rms(audio: Audio) -> float:
    return float(20 * np.log10(np.sqrt(np.mean(np.square(audio.astype(float)))) + 1e-9))


def test_a_level_is_ridden_over_its_bar(bar_of: Callable[..., Bar]) -> None:
    plain = automated(bar_of, Automation(), FLUTES).mix
    ridden = automated(bar_of, Automation(level=Ride(0.0, -12.0)), FLUTES).mix
    for share in (0.25, 0.5, 0.95):
        here = slice(int(share * BAR) - 2400, int(share * BAR) + 2400)
        assert rms(ridden[here]) - rms(plain[here]) == pytest.approx(-12 * share, abs=1.0)
    after = slice(BAR + 4800, BAR + 24_000)
    assert rms(ridden[after]) == pytest.approx(rms(plain[after]), abs=0.5)


def test_a_filter_opens_over_its_bar(bar_of: Callable[..., Bar]) -> None:
    opening = Automation(low_pass=Ride(300.0, 12_000.0))
    plain, filtered = (automated(bar_of, one, FLUTES).mix for one in (Automation(), opening))

    def lost(place: int) -> float:
        """How much of the upper flute is gone, against the lower one."""
        here = slice(place, place + 9600)
        levels = [peak_of(one[here], 880) / peak_of(one[here], 440) for one in (filtered, plain)]
        return float(20 * np.log10(levels[0] / levels[1]))

    assert lost(2400) < -6
    assert lost(BAR - 14_400) > -1
    assert lost(BAR + 4800) > -0.5


def test_the_tape_stops_and_runs_again(bar_of: Callable[..., Bar]) -> None:
    stopped = automated(bar_of, Automation(tape_stop=True), FLUTES).mix
    plain = automated(bar_of, Automation(), FLUTES).mix
    half = stopped[BAR // 2 - 2400 : BAR // 2 + 2400]
    # Half way through the bar it runs at half its speed: an octave lower.
    assert peak_of(half, 220.0) > 3 * peak_of(half, 660.0)
    assert peak_of(half, 220.0) > 10 * peak_of(plain[BAR // 2 - 2400 : BAR // 2 + 2400], 220.0)
    assert rms(stopped[BAR - 1200 : BAR - 200]) < rms(plain[BAR - 1200 : BAR - 200]) - 12
    after = slice(BAR + 4800, BAR + 24_000)
    assert rms(stopped[after]) == pytest.approx(rms(plain[after]), abs=0.5)
    assert roughness(stopped) < 2.5 * roughness(plain)


def test_texture_is_ridden_and_the_needle_is_set_down(bar_of: Callable[..., Bar]) -> None:
    settings = FLUTES.with_value("sound.vinyl", 0.5).with_value("mix.keys", -40)
    plain = automated(bar_of, Automation(), settings).mix
    louder = automated(bar_of, Automation(texture=Ride(6.0, 6.0)), settings).mix
    assert rms(louder[:BAR]) - rms(plain[:BAR]) == pytest.approx(6, abs=1)
    needle = automated(bar_of, Automation(needle=True), settings).mix
    knock = np.abs(needle - plain)[: SAMPLE_RATE // 2].max(axis=1)
    assert knock.max() > 3 * np.abs(plain).std()
    assert int(np.argmax(knock > 0.3 * knock.max())) < 0.02 * SAMPLE_RATE


@pytest.mark.parametrize("name", TEXTURES)
def test_a_texture_moves_and_is_as_loud_as_any(name: str) -> None:
    seconds = 40
    audio = TEXTURES[name](5).take(seconds * SAMPLE_RATE)
    assert loudness(audio) == pytest.approx(-20, abs=1.5)
    powers = np.square(audio).reshape(seconds, -1).mean(axis=1)
    assert np.std(10 * np.log10(powers)) > 0.7
    assert np.abs(np.asarray(np.corrcoef(audio.T))[0, 1]) < 0.95
    again = TEXTURES[name](5)
    pieces = [again.take(size) for size in (512, 4096, 100, 60_000)]
    np.testing.assert_array_equal(np.concatenate(pieces), audio[: 512 + 4096 + 100 + 60_000])
    assert not np.array_equal(TEXTURES[name](6).take(48_000), audio[:48_000])


def test_nothing_lies_at_the_sides_of_the_bass_nor_below_hearing() -> None:
    noise = np.random.default_rng(1).standard_normal((4 * SAMPLE_RATE, 2)).astype(np.float32) * 0.05
    out = np.concatenate(
        [TAPE.process(block.copy(), DRY.sound) for block in noise.reshape(-1, BLOCK, 2)]
    )
    side, middle = out[:, :1] - out[:, 1:], out[:, :1] + out[:, 1:]
    assert band_level(side, 30, 60) < band_level(middle, 30, 60) - 10
    assert band_level(side, 500, 2000) == pytest.approx(band_level(middle, 500, 2000), abs=1)
    assert band_level(middle, 5, 12) < band_level(middle, 40, 47) - 8


TAPE = TapeChain(1)


def test_the_sampler_leaves_no_images(bar_of: Callable[..., Bar]) -> None:
    settings = DRY.with_value("sound.crush", 1).with_value("sound.crush_bits", 16).sound
    tone = 0.1 * np.sin(2 * np.pi * 5000 / SAMPLE_RATE * np.arange(SAMPLE_RATE // BLOCK * BLOCK))
    blocks = np.stack((tone, tone), axis=1).astype(np.float32).reshape(-1, BLOCK, 2)
    tape = TapeChain(1)
    out = np.concatenate([tape.process(block.copy(), settings) for block in blocks])[4800:]
    assert band_level(out, 15_000, 22_000) < band_level(out, 4900, 5100) - 24
