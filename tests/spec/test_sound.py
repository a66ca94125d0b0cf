"""[sound] and [mix]: turn it and hear the difference, each at three values.

One studio plays one bar again and again, while one thing at a time is turned.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from lofid.compose.form import compose_song, locate, plan_bar
from lofid.music.notes import DRUM_PITCH, PPQ, SIXTEENTH, DrumClass, Note, Part
from lofid.music.parameters import Settings
from lofid.music.plan import Bar
from lofid.sound import SAMPLE_RATE
from lofid.sound.lines import frames_per_tick
from lofid.sound.studio import Rendered, Studio
from lofid.sound.texture import TEXTURES

Audio = NDArray[np.float32]

DRY = Settings()
for path, value in {
    "sound.vinyl": 0, "sound.rain": 0, "sound.reverb": 0, "sound.chorus": 0, "sound.wow": 0,
    "sound.flutter": 0, "sound.crush": 0, "sound.sidechain": 0, "sound.saturation": 0,
    "sound.tremolo": 0, "sound.low_pass": 20000, "sound.keys": "flute", "sound.melody": "flute",
}.items():  # fmt: skip
    DRY = DRY.with_value(path, value)

A4 = 440.0
HELD = {Part.KEYS: (Note(0, 69, 4 * PPQ, 90),)}
HITS = {
    Part.DRUMS: tuple(
        Note(beat * PPQ, DRUM_PITCH[drum], SIXTEENTH, 110)
        for beat, drum in enumerate((DrumClass.KICK, DrumClass.SNARE) * 2)
    )
}
CHORDS = {
    Part.KEYS: tuple(Note(beat * PPQ, pitch, 400, 90) for beat in range(4) for pitch in (60, 64)),
    Part.MELODY: (Note(0, 76, PPQ, 80), Note(2 * PPQ, 79, PPQ, 80)),
    Part.BASS: (Note(0, 36, PPQ, 90), Note(2 * PPQ, 43, PPQ, 90)),
}
EVERYBODY = {**CHORDS, **HITS}


class Desk:
    """A studio in which one bar at 80 BPM, three seconds, is played under any settings."""

    def __init__(self) -> None:
        self._studio = Studio(DRY, seed=1)
        song = compose_song(DRY, 1, 0, None)
        self._plan = plan_bar(DRY, 1, song, locate(song, 20), 20)
        self.play(DRY, EVERYBODY)  # levels find their places

    def close(self) -> None:
        self._studio.close()

    def play(
        self, settings: Settings, notes: Mapping[Part, tuple[Note, ...]], seconds: float = 3.0
    ) -> Rendered:
        """What is heard from the bar's line on."""
        studio = self._studio
        studio.silence()
        studio.settings = settings
        studio.render(Studio.LATENCY + SAMPLE_RATE // 4)
        studio.add(Bar(self._plan, notes), studio.position, frames_per_tick(80))
        studio.render(Studio.LATENCY)
        return studio.render(round(seconds * SAMPLE_RATE))

    def turned(
        self,
        path: str,
        notes: Mapping[Part, tuple[Note, ...]],
        *values: object,
        seconds: float = 3.0,
        others: Mapping[str, object] = {},
    ) -> list[Rendered]:
        """What is heard at each value, with ``others`` as they are given."""
        base = DRY
        for name, value in others.items():
            base = base.with_value(name, value)
        return [self.play(base.with_value(path, value), notes, seconds) for value in values]


@pytest.fixture(scope="module")
def desk() -> Iterator[Desk]:
    opened = Desk()
    yield opened
    opened.close()


def level(audio: Audio) -> float:
    """RMS in dB."""
    return float(10 * np.log10(np.mean(np.square(audio, dtype=float)) + 1e-20))


def mono(audio: Audio) -> NDArray[np.float64]:
    return np.asarray(audio.mean(axis=1), float)


def share_above(audio: Audio, hertz: float) -> float:
    """The part of the energy that lies above a frequency."""
    power = np.abs(np.fft.rfft(mono(audio))) ** 2
    return float(power[round(hertz * len(audio) / SAMPLE_RATE) :].sum() / power.sum())


def wavering(audio: Audio, low: float, high: float) -> float:
    """How far the pitch of A4 moves at rates from ``low`` to ``high`` Hz, in percent."""
    turns = np.exp(-2j * np.pi * A4 / SAMPLE_RATE * np.arange(len(audio)))
    hop = SAMPLE_RATE // 100
    frames = (mono(audio) * turns)[: len(audio) // hop * hop].reshape(-1, hop).mean(axis=1)[30:-50]
    rate = np.diff(np.unwrap(np.angle(frames))) * 100 / (2 * np.pi) / A4 * 100
    spectrum = np.fft.rfft(rate - rate.mean())
    at = np.fft.rfftfreq(len(rate), 0.01)
    spectrum[(at < low) | (at > high)] = 0
    return float(np.fft.irfft(spectrum).std())


def rising(values: list[float], by: float) -> bool:
    return all(after - before > by for before, after in pairwise(values))


@pytest.mark.parametrize(
    ("path", "part", "stem", "values"),
    [
        ("sound.keys", Part.KEYS, "keys", ("rhodes", "flute", "harp")),
        ("sound.melody", Part.MELODY, "keys", ("vibraphone", "flute", "music-box")),
        ("sound.bass", Part.BASS, "bass", ("upright", "fingered", "fretless")),
        ("sound.kit", Part.DRUMS, "drums", ("jazz", "808", "acoustic")),
    ],
)
def test_another_instrument_sounds_otherwise(
    desk: Desk, path: str, part: Part, stem: str, values: tuple[str, ...]
) -> None:
    spectra: list[NDArray[np.float64]] = []
    for heard in desk.turned(path, {part: EVERYBODY[part]}, *values):
        spectrum = np.abs(np.fft.rfft(mono(heard.stems[stem])))[: 3 * 8000]
        bands = np.sqrt((spectrum**2).reshape(-1, 100).sum(axis=1))
        spectra.append(bands / np.linalg.norm(bands))
    for one, another in ((0, 1), (1, 2), (0, 2)):
        assert spectra[one] @ spectra[another] < 0.99


def test_low_pass(desk: Desk) -> None:
    heard = desk.turned("sound.low_pass", HITS, 1000, 4000, 20000)
    assert rising([10 * np.log10(share_above(one.mix, 4000)) for one in heard], 3)


def test_saturation(desk: Desk) -> None:
    heard = desk.turned("sound.saturation", HITS, 0.0, 0.5, 1.0, others={"mix.loudness": -30})
    crests = [20 * np.log10(np.abs(one.mix).max()) - level(one.mix) for one in heard]
    assert rising(crests[::-1], 0.5), "peaks are rounded off"


@pytest.mark.parametrize(
    ("path", "values", "band"),
    [("sound.wow", (0.0, 0.4, 1.0), (0.05, 2.0)), ("sound.flutter", (0.0, 0.2, 0.5), (5.0, 12.0))],
)
def test_wow_and_flutter(
    desk: Desk, path: str, values: tuple[float, ...], band: tuple[float, float]
) -> None:
    long = {Part.KEYS: (Note(0, 69, 12 * PPQ, 90),)}
    heard = desk.turned(path, long, *values, seconds=9.0)
    assert rising([wavering(one.mix, *band) for one in heard], 0.02)


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("sound.crush", (0.0, 0.5, 1.0)),
        ("sound.crush_bits", (16, 9, 6)),
        ("sound.crush_rate", (48, 20, 6)),
    ],
)
def test_the_coarser_the_sampler_the_more_is_lost(
    desk: Desk, path: str, values: tuple[float, ...]
) -> None:
    fine: dict[str, object] = {"sound.crush": 1, "sound.crush_bits": 16, "sound.crush_rate": 48}
    fine |= {"sound.crush_bits": 7, "sound.crush_rate": 12} if path == "sound.crush" else {}
    fine.pop(path)
    heard = desk.turned(path, HELD, *values, others=fine)
    # A flute leaves the highs to the sampler's noise and images.
    assert rising([10 * np.log10(share_above(one.mix, 6000)) for one in heard], 1)


@pytest.mark.parametrize("path", [f"sound.{name}" for name in TEXTURES])
def test_texture(desk: Desk, path: str) -> None:
    heard = desk.turned(path, {}, 0.0, 0.3, 1.0)
    # The median of tenths of a second: a single pop is not how loud a record is.
    tenths = [one.stems["texture"][: 3 * SAMPLE_RATE].reshape(30, -1, 2) for one in heard]
    levels = [float(np.median([level(tenth) for tenth in one])) for one in tenths]
    assert levels[0] < -150
    assert rising(levels, 1), "by 5 dB and more, less what a gust makes of it"
    assert not np.allclose(heard[2].stems["texture"], heard[1].stems["texture"])


@pytest.mark.parametrize(("notes", "stem"), [(HITS, "drums"), (CHORDS, "keys")])
def test_reverb(desk: Desk, notes: Mapping[Part, tuple[Note, ...]], stem: str) -> None:
    heard = desk.turned("sound.reverb", notes, 0.0, 0.4, 1.0)
    beat = 60 / 80 * SAMPLE_RATE
    between = [
        np.concatenate(
            [one.stems[stem][round((n + 0.85) * beat) : round((n + 0.98) * beat)] for n in range(3)]
        )
        for one in heard
    ]
    assert rising([level(audio) for audio in between], 1)


def test_chorus(desk: Desk) -> None:
    heard = desk.turned("sound.chorus", HELD, 0.0, 0.4, 1.0)
    sides = [level(one.stems["keys"][:, :1] - one.stems["keys"][:, 1:]) for one in heard]
    middles = [level(one.stems["keys"][:, :1] + one.stems["keys"][:, 1:]) for one in heard]
    assert rising([side - middle for side, middle in zip(sides, middles, strict=True)], 1.5)
    assert np.ptp(middles) < 0.5, "in mono nothing is gone"


def test_punch(desk: Desk) -> None:
    heard = desk.turned("sound.punch", HITS, 0.0, 0.4, 1.0)
    drums = [one.stems["drums"] for one in heard]
    crests = [20 * np.log10(np.abs(one).max()) - level(one) for one in drums]
    assert rising(crests[::-1], 1.5), "peaks are pressed down"
    assert rising([10 * np.log10(share_above(one, 8000)) for one in drums][::-1], 1), "and dulled"


def test_tremolo(desk: Desk) -> None:
    heard = desk.turned("sound.tremolo", HELD, 0.0, 0.4, 1.0)
    sway = []
    for one in heard:
        frames = one.stems["keys"][: 3 * SAMPLE_RATE].reshape(-1, SAMPLE_RATE // 20, 2)
        sides = np.sqrt(np.square(frames, dtype=float).mean(axis=1))[5:50]
        sway.append(float(np.std(20 * np.log10(sides[:, 0] / sides[:, 1]))))
    assert rising(sway, 0.5)


def test_sidechain(desk: Desk) -> None:
    kick = {**HELD, Part.DRUMS: (Note(2 * PPQ, DRUM_PITCH[DrumClass.KICK], SIXTEENTH, 110),)}
    heard = desk.turned("sound.sidechain", kick, 0.0, 5.0, 12.0)
    at = round(1.5 * SAMPLE_RATE) + 1440
    levels = [level(one.stems["keys"][at : at + 2400]) for one in heard]
    assert rising(levels[::-1], 2.5)


@pytest.mark.parametrize("others", [{}, {"sound.keys": "rhodes"}])
def test_loudness(desk: Desk, others: dict[str, object]) -> None:
    heard = desk.turned("mix.loudness", CHORDS, -30, -24, -18, others=others)
    levels = [level(one.mix) for one in heard]
    assert np.diff(levels) == pytest.approx([6, 6], abs=1)


@pytest.mark.parametrize(
    ("path", "notes", "stem"),
    [
        ("mix.keys", CHORDS, "keys"),
        ("mix.melody", {Part.MELODY: CHORDS[Part.MELODY]}, "keys"),
        ("mix.bass", CHORDS, "bass"),
        ("mix.drums", HITS, "drums"),
        ("mix.texture", {}, "mix"),
    ],
)
def test_a_fader_moves_its_part_by_so_much(
    desk: Desk, path: str, notes: Mapping[Part, tuple[Note, ...]], stem: str
) -> None:
    turned: dict[str, object] = {"sound.vinyl": 0.5} if stem == "mix" else {}
    heard = desk.turned(path, notes, -12, -6, 0, others=turned)
    measured: Callable[[Rendered], Audio] = (
        (lambda one: one.mix) if stem == "mix" else (lambda one: one.stems[stem])
    )
    levels = [level(measured(one)) for one in heard]
    # A record's pops fall as they like.
    assert np.diff(levels) == pytest.approx([6, 6], abs=2.5 if stem == "mix" else 1)


def test_a_fader_leaves_the_others_alone(desk: Desk) -> None:
    quiet, usual = desk.turned("mix.drums", EVERYBODY, -30, 0)
    for stem in ("keys", "bass"):
        assert level(quiet.stems[stem]) == pytest.approx(level(usual.stems[stem]), abs=0.5)
    low, high = desk.turned("mix.melody", {Part.KEYS: CHORDS[Part.KEYS]}, -40, 6)
    assert level(low.stems["keys"]) == pytest.approx(level(high.stems["keys"]), abs=0.5)
