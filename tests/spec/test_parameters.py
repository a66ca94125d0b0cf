"""Turn it and hear the difference: every row of the table of parameters, at three values.

What a plan, the arranger or a MIDI port makes of a parameter is seen as it is. Where a model has to
follow it, the models that come with lofid write a dozen bars at each value.
"""

import ast
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest

from lofid.compose.arranger import LoopPlace, WrittenNotes, arrange
from lofid.compose.chance import RandomStream, generator
from lofid.compose.form import Layout, Song, compose_song, locate, plan_bar
from lofid.compose.headers import drums_header, keys_header
from lofid.compose.player import Attempt, Player, Write, drums_player, keys_player
from lofid.compose.rules import DrumsRules, KeysRules
from lofid.compose.voices import VOCABULARIES
from lofid.music.chords import Key
from lofid.music.notes import DRUM_CLASS, DRUM_PITCH, SIXTEENTH, DrumClass, Note, Part
from lofid.music.parameters import PARAMETERS, Control, Mood, Settings
from lofid.music.plan import BarPlan, Beat, CompingFigure, Section
from lofid.outputs import BarLine, Block, MidiEvent
from lofid.outputs.messages import MidiStatus
from lofid.outputs.routing import Router
from lofid.rwkv.shipped import shipped_engine
from lofid.tokens import drums, keys

SEEDS = range(40)
_Test = TypeVar("_Test", bound=Callable[..., None])

ELSEWHERE = {
    "form.variation": "spec/test_loops.py::test_more_variation_writes_more_bars_anew",
    "sound.keys": "spec/test_sound.py::test_another_instrument_sounds_otherwise",
    "sound.melody": "spec/test_sound.py::test_another_instrument_sounds_otherwise",
    "sound.bass": "spec/test_sound.py::test_another_instrument_sounds_otherwise",
    "sound.kit": "spec/test_sound.py::test_another_instrument_sounds_otherwise",
    "sound.punch": "spec/test_sound.py::test_punch",
    "sound.cafe": "spec/test_sound.py::test_texture",
    "sound.night": "spec/test_sound.py::test_texture",
    "sound.street": "spec/test_sound.py::test_texture",
    "sound.low_pass": "spec/test_sound.py::test_low_pass",
    "sound.saturation": "spec/test_sound.py::test_saturation",
    "sound.wow": "spec/test_sound.py::test_wow_and_flutter",
    "sound.flutter": "spec/test_sound.py::test_wow_and_flutter",
    "sound.crush": "spec/test_sound.py::test_the_coarser_the_sampler_the_more_is_lost",
    "sound.crush_bits": "spec/test_sound.py::test_the_coarser_the_sampler_the_more_is_lost",
    "sound.crush_rate": "spec/test_sound.py::test_the_coarser_the_sampler_the_more_is_lost",
    "sound.vinyl": "spec/test_sound.py::test_texture",
    "sound.rain": "spec/test_sound.py::test_texture",
    "sound.reverb": "spec/test_sound.py::test_reverb",
    "sound.chorus": "spec/test_sound.py::test_chorus",
    "sound.tremolo": "spec/test_sound.py::test_tremolo",
    "sound.sidechain": "spec/test_sound.py::test_sidechain",
    "mix.loudness": "spec/test_sound.py::test_loudness",
    "mix.keys": "spec/test_sound.py::test_a_fader_moves_its_part_by_so_much",
    "mix.melody": "spec/test_sound.py::test_a_fader_moves_its_part_by_so_much",
    "mix.bass": "spec/test_sound.py::test_a_fader_moves_its_part_by_so_much",
    "mix.drums": "spec/test_sound.py::test_a_fader_moves_its_part_by_so_much",
    "mix.texture": "spec/test_sound.py::test_a_fader_moves_its_part_by_so_much",
    "midi.follow": "playback/test_sync.py::test_a_change_of_tempo_is_followed_within_a_bar",
}
"""Parameters whose test is in another file."""

_HERE: set[str] = set()


def turns(*paths: str) -> Callable[[_Test], _Test]:
    """Marks the test of parameters."""
    _HERE.update(paths)
    return lambda test: test


def test_every_parameter_is_turned_by_a_test() -> None:
    assert _HERE | ELSEWHERE.keys() == PARAMETERS.keys()
    for place in sorted(set(ELSEWHERE.values())):
        file, _, name = place.partition("::")
        tree = ast.parse((Path(__file__).parents[1] / file).read_text("utf-8"))
        assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def set_to(path: str, value: object, base: Settings | None = None) -> Settings:
    return (base or Settings()).with_value(path, value)


def songs(settings: Settings, seeds: Sequence[int] = SEEDS) -> list[tuple[int, Song]]:
    return [(seed, compose_song(settings, seed, 0, None)) for seed in seeds]


def plans(settings: Settings, seeds: Sequence[int] = SEEDS[:12]) -> list[BarPlan]:
    return [
        plan_bar(settings, seed, song, locate(song, bar), bar)
        for seed, song in songs(settings, seeds)
        for bar in range(song.bars)
    ]


def openings(settings: Settings) -> list[BarPlan]:
    """The plan of one bar of each of many songs."""
    return [plan_bar(settings, seed, song, locate(song, 20), 20) for seed, song in songs(settings)]


# -- [music] ----------------------------------------------------------------------------------


@turns("music.tempo")
def test_tempo() -> None:
    means = [
        statistics.mean(plan.tempo for plan in openings(set_to("music.tempo", tempo)))
        for tempo in (70, 80, 90)
    ]
    assert means == pytest.approx([70, 80, 90], abs=1.5)


@turns("music.tempo_spread")
def test_tempo_spread() -> None:
    spreads = []
    for spread in (0, 4, 12):
        tempos = [plan.tempo for plan in openings(set_to("music.tempo_spread", spread))]
        assert max(abs(tempo - 80) for tempo in tempos) <= spread
        spreads.append(max(tempos) - min(tempos))
    assert spreads[0] == 0
    assert spreads[1] > 6
    assert spreads[2] > 18


@turns("music.keys")
@pytest.mark.parametrize("symbols", [["C"], ["Am", "F#m"], ["Eb", "F", "Gm"]])
def test_keys(symbols: list[str]) -> None:
    drawn = Counter(song.key for _, song in songs(set_to("music.keys", symbols)))
    assert set(drawn) == set(map(Key.parse, symbols))
    assert min(drawn.values()) > len(SEEDS) / len(symbols) / 3


@turns("music.moods")
@pytest.mark.parametrize("mood", [Mood.MELLOW, Mood.JAZZ, Mood.DARK])
def test_moods(mood: Mood) -> None:
    settings = set_to("music.moods", [mood], set_to("music.keys", ["Am"]))
    loops = [loop for _, song in songs(settings) for loop in (song.a, song.b)]
    assert sum(mood in loop.moods for loop in loops) >= 0.9 * len(loops)
    assert len({loop.bars for loop in loops}) > 1


@turns("music.borrowed")
def test_borrowed() -> None:
    shares = []
    for borrowed in (0.0, 0.5, 1.0):
        settings = set_to("music.borrowed", borrowed)
        loops = [loop for _, song in songs(settings) for loop in (song.a, song.b)]
        shares.append(sum(loop.is_borrowing for loop in loops) / len(loops))
    assert shares == pytest.approx([0, 0.5, 1], abs=0.2)
    assert shares[0] < 0.05


@turns("music.parts")
@pytest.mark.parametrize(
    "parts", [["keys"], ["drums", "bass"], ["keys", "melody", "bass", "drums"]]
)
def test_parts(parts: list[str]) -> None:
    chosen = {Part(part) for part in parts}
    heard = [plan.parts for plan in plans(set_to("music.parts", parts), SEEDS[:3])]
    assert set().union(*heard) == chosen
    assert all(heard)


@turns("music.melody")
def test_melody() -> None:
    bars, notes = [], []
    for melody in (0.0, 0.4, 1.0):
        written = plans(set_to("music.melody", melody))
        asked = [plan for plan in written if Part.MELODY in plan.parts]
        bars.append(len(asked) / len(written))
        field = keys.VOCABULARY.block("melody")
        headers = {token for plan in written for token in keys_header(plan) if token in field}
        notes.append(max(headers))
    assert bars[0] == 0
    assert bars[0] < bars[1] < bars[2] <= 0.7
    assert notes[0] < notes[1] < notes[2]


# -- what the models make of their headers --------------------------------------------------------

BARS = 16


@pytest.fixture(scope="module")
def keys_model() -> Player:
    return keys_player(shipped_engine("pocket-keys", VOCABULARIES["keys"]))


@pytest.fixture(scope="module")
def drums_model() -> Player:
    return drums_player(shipped_engine("pocket-drums", VOCABULARIES["drums"]))


def numbers(stream: RandomStream) -> list[np.random.Generator]:
    return [generator(1, stream, attempt) for attempt in range(BARS)]


def chords_at(settings: Settings, model: Player) -> list[tuple[Note, ...]]:
    """Bars of chords, over the chords of one song."""
    plain = replace(openings(settings)[3], melody=0.0)
    attempts = [Attempt(KeysRules(plain), rng) for rng in numbers(RandomStream.KEYS)]
    written = model.play(Write(keys_header(plain), model.initial_state(), attempts))
    return [keys.decode_notes(one.tokens).comping for one in written]


def hits_at(settings: Settings, model: Player) -> list[tuple[Note, ...]]:
    plan = next(plan for plan in openings(settings) if Part.DRUMS in plan.parts)
    attempts = [
        Attempt(DrumsRules(plan, backbeat=False), rng) for rng in numbers(RandomStream.DRUMS)
    ]
    written = model.play(Write(drums_header(plan), model.initial_state(), attempts))
    return [drums.decode_notes(one.tokens) for one in written]


def rising(values: Sequence[float]) -> bool:
    return all(before < after for before, after in pairwise(values))


@turns("music.density")
def test_density(keys_model: Player) -> None:
    notes = [
        sum(map(len, chords_at(set_to("music.density", dial), keys_model)))
        for dial in (0.0, 0.5, 1.0)
    ]
    assert rising(notes)
    assert notes[2] > 2 * notes[0]


@turns("music.energy")
def test_energy(keys_model: Player, drums_model: Player) -> None:
    for bars_at, model in ((chords_at, keys_model), (hits_at, drums_model)):
        loudness = [
            statistics.mean(
                note.velocity
                for bar in bars_at(set_to("music.energy", dial), model)
                for note in bar
            )
            for dial in (0.0, 0.5, 1.0)
        ]
        assert rising(loudness)
        assert loudness[2] - loudness[0] > 15


@turns("music.broken")
def test_broken(keys_model: Player) -> None:
    together = []
    for dial in (0.0, 0.5, 1.0):
        bars = chords_at(set_to("music.broken", dial), keys_model)
        onsets = sum(len({note.start for note in bar}) for bar in bars)
        together.append(sum(map(len, bars)) / onsets)
    assert rising(together[::-1])
    assert together[0] > 1.5 * together[2]


@turns("music.register")
def test_register(keys_model: Player) -> None:
    heights = [
        statistics.mean(
            note.pitch
            for bar in chords_at(set_to("music.register", pitch), keys_model)
            for note in bar
        )
        for pitch in (52, 60, 68)
    ]
    assert rising(heights)
    assert heights[2] - heights[0] > 5


@turns("groove.drum_density")
def test_drum_density(drums_model: Player) -> None:
    hits = [
        sum(map(len, hits_at(set_to("groove.drum_density", dial), drums_model)))
        for dial in (0.0, 0.5, 1.0)
    ]
    assert rising(hits)
    assert hits[2] > 1.5 * hits[0]


@turns("groove.style")
def test_style(drums_model: Player) -> None:
    heard = {}
    for style in ("hiphop", "funk", "jazz"):
        bars = hits_at(set_to("groove.style", style), drums_model)
        counts = Counter(DRUM_CLASS[hit.pitch] for bar in bars for hit in bar)
        heard[style] = counts
    assert all(heard[one] != heard[other] for one, other in pairwise([*heard, "hiphop"]))


# -- [form] -----------------------------------------------------------------------------------


@turns("form.section_bars")
def test_section_bars() -> None:
    for bars in (16, 32, 64):
        for _, song in songs(set_to("form.section_bars", bars)):
            for stretch in song.stretches:
                if stretch.section in (Section.A, Section.B):
                    assert stretch.passes * len(song.loop(stretch.loop).bars) == bars


@turns("form.sections")
@pytest.mark.parametrize("sections", [1, 4, 8])
def test_sections(sections: int) -> None:
    for _, song in songs(set_to("form.sections", sections)):
        names = [s.section for s in song.stretches if s.section in (Section.A, Section.B)]
        assert len(names) == sections
        if song.layout not in (Layout.VAMP, Layout.VERSES):
            assert all(one is not other for one, other in pairwise(names))


@turns("form.intro")
def test_intro() -> None:
    for intro in (True, False):
        for seed, song in songs(set_to("form.intro", intro)):
            assert (song.stretches[0].section is Section.INTRO) == intro
            first = plan_bar(set_to("form.intro", intro), seed, song, locate(song, 0), 0)
            assert (Part.DRUMS in first.parts) == (not intro)


@turns("form.breaks")
def test_breaks() -> None:
    with_breaks, without = (plans(set_to("form.breaks", value)) for value in (True, False))
    assert any(plan.section is Section.BREAK for plan in with_breaks)
    assert not any(plan.section is Section.BREAK for plan in without)
    thinned = [
        sum(
            plan.section in (Section.A, Section.B) and not {Part.DRUMS, Part.BASS} <= plan.parts
            for plan in written
        )
        for written in (with_breaks, without)
    ]
    assert thinned[0] > thinned[1]


# -- [groove] ---------------------------------------------------------------------------------

PLACE = LoopPlace(0, 0, 1)
STEADY = Settings()
for path, value in {
    "groove.looseness": 0, "groove.snare_delay": 0, "groove.hat_delay": 0, "groove.bass_delay": 0,
    "groove.swing": 50, "music.tempo": 80, "music.tempo_spread": 0, "form.spread": 0,
}.items():  # fmt: skip
    STEADY = STEADY.with_value(path, value)
MS_A_TICK = 60_000 / (80 * 480)
GRID = WrittenNotes(
    comping=tuple(Note(at * SIXTEENTH, pitch, 240, 70) for at in range(16) for pitch in (60,)),
    drums=tuple(
        Note(at * SIXTEENTH, DRUM_PITCH[drum], SIXTEENTH, 80)
        for at in range(16)
        for drum in (DrumClass.KICK, DrumClass.SNARE, DrumClass.CLOSED_HAT)
    ),
)


def arranged(settings: Settings, place: LoopPlace = PLACE, index: int = 20) -> dict[str, list[int]]:
    """When each voice plays, in ticks."""
    song = compose_song(settings, 1, 0, None)
    plan = plan_bar(settings, 1, song, locate(song, 20), index)
    plan = replace(plan, parts=frozenset(Part), beat=Beat(), figure=CompingFigure.WRITTEN)
    played = arrange(plan, settings.groove, 1, place, GRID).notes
    voices: dict[str, list[int]] = {"keys": [note.start for note in played[Part.KEYS]]}
    voices["bass"] = [note.start for note in played[Part.BASS]]
    for drum in (DrumClass.KICK, DrumClass.SNARE, DrumClass.CLOSED_HAT):
        pitch = DRUM_PITCH[drum]
        voices[drum.name] = [note.start for note in played[Part.DRUMS] if note.pitch == pitch]
    return voices


@turns("groove.swing")
def test_swing() -> None:
    straight = arranged(STEADY)
    for swing in (54.0, 60.0, 66.0):
        swung = arranged(set_to("groove.swing", swing, STEADY))
        for voice in ("keys", "KICK", "SNARE", "CLOSED_HAT"):
            late = [
                after - before for before, after in zip(straight[voice], swung[voice], strict=True)
            ]
            assert late[::2] == [0] * 8
            share = 0.55 if voice in ("KICK", "SNARE") else 1.0  # the beat stands
            assert late[1::2] == [round(2 * SIXTEENTH * share * (swing - 50) / 100)] * 8


@turns("groove.snare_delay", "groove.hat_delay", "groove.bass_delay")
@pytest.mark.parametrize(
    ("path", "voice", "values"),
    [
        ("groove.snare_delay", "SNARE", (-20, 10, 30)),
        ("groove.hat_delay", "CLOSED_HAT", (-15, 10, 25)),
        ("groove.bass_delay", "bass", (5, 20, 35)),
    ],
)
def test_delays(path: str, voice: str, values: tuple[float, ...]) -> None:
    on_time = arranged(STEADY)
    for delay in values:
        late = arranged(set_to(path, delay, STEADY))
        for name, starts in late.items():
            moves = {(a - b) * MS_A_TICK for a, b in zip(starts, on_time[name], strict=True)}
            for move in moves:
                assert move == pytest.approx(delay if name == voice else 0, abs=MS_A_TICK)


@turns("groove.looseness")
def test_looseness() -> None:
    spreads = []
    for looseness in (0.0, 4.0, 12.0):
        settings = set_to("groove.looseness", looseness, STEADY)
        moves = []
        for slot in range(12):
            bar, again = (arranged(settings, LoopPlace(0, 0, slot), index) for index in (20, 84))
            assert bar == again, "the same in every pass"
            for voice in ("keys", "KICK", "SNARE", "CLOSED_HAT"):
                moves += [
                    (start - at * SIXTEENTH) * MS_A_TICK
                    for at, start in enumerate(sorted(bar[voice]))
                    if at % 2 == 0
                ]
        spreads.append(statistics.pstdev(moves))
    assert spreads == pytest.approx([0, 4, 12], rel=0.3, abs=0.3)


@turns("groove.ghosts")
def test_ghosts() -> None:
    hits = tuple(
        Note(at * SIXTEENTH, DRUM_PITCH[DrumClass.SNARE], SIXTEENTH, 100) for at in (4, 12)
    )
    shares = []
    for ghosts in (0.0, 0.5, 1.0):
        plan = replace(openings(set_to("groove.ghosts", ghosts))[0], parts=frozenset({Part.DRUMS}))
        bars = [
            arrange(
                replace(plan, beat=Beat(ghosts=plan.beat.ghosts), fill=False),
                Settings().groove,
                seed,
                PLACE,
                WrittenNotes(drums=hits),
            ).notes[Part.DRUMS]
            for seed in range(60)
        ]
        soft = [note.velocity < 50 for bar in bars for note in bar]
        shares.append(sum(soft) / len(soft))
    assert shares[0] == 0
    assert 0.15 <= shares[1] <= 0.35
    assert shares[2] > shares[1] + 0.05


@turns("music.pedal")
def test_pedal() -> None:
    chords = tuple(Note(at * SIXTEENTH, p, 240, 70) for at in (0, 8) for p in (52, 57, 60 + at))
    lengths = []
    for pedal in (0.0, 0.5, 1.0):
        plan = openings(set_to("music.pedal", pedal))[0]
        plan = replace(plan, figure=CompingFigure.WRITTEN, chords=plan.chords[:1])
        played = arrange(plan, Settings().groove, 1, PLACE, WrittenNotes(comping=chords)).notes
        lengths.append(statistics.mean(note.duration for note in played[Part.KEYS]))
    assert lengths[0] == 240
    assert lengths[0] + 200 < lengths[1] < lengths[2] - 200


@turns("form.spread")
def test_spread() -> None:
    swings, layouts, wear = [], [], []
    for spread in (0.0, 0.25, 1.0):
        settings = set_to("form.spread", spread)
        swings.append(statistics.pstdev(plan.swing for plan in openings(settings)))
        layouts.append(len({song.layout for _, song in songs(settings)}))
        faces = [song.face for _, song in songs(settings)]
        wear.append(statistics.pstdev(face.wow for face in faces if face))
    assert (swings[0], layouts[0], wear[0]) == (0, 1, 0)
    assert swings[1] < swings[2]
    assert layouts[2] == len(Layout)
    assert 0 < wear[1] < wear[2]


@turns("groove.fills")
def test_fills() -> None:
    shares = []
    for fills in (0.0, 0.4, 1.0):
        written = [p for p in plans(set_to("groove.fills", fills)) if Part.DRUMS in p.parts]
        phrase_ends = [plan for plan in written if plan.bar_in_section % 8 == 7]
        assert not any(plan.fill for plan in written if plan.bar_in_section % 8 < 3)
        shares.append(sum(plan.fill for plan in phrase_ends) / len(phrase_ends))
    assert shares[0] == 0
    assert shares[1] == pytest.approx(0.45, abs=0.15)
    assert shares[2] == 1


# -- [midi] -----------------------------------------------------------------------------------


def sent(settings: Settings, *events: MidiEvent, port: str = "lofid") -> list[bytes]:
    router = Router(port, settings)
    plan = replace(openings(Settings())[0], index=3)
    block = Block(0, np.zeros((8, 2), np.float32), events, (BarLine(0, plan),))
    return [*router.opening(), *(message for _, message in router.route(block))]


@turns(*(f"midi.{part}_{what}" for part in Part for what in ("channel", "program", "port")))
@pytest.mark.parametrize("part", Part)
def test_channel_program_and_port(part: Part) -> None:
    strike = MidiEvent(0, MidiStatus.NOTE_ON, (60, 9), part)
    for channel, program in ((1, 0), (7, 64), (16, 127)):
        settings = set_to(f"midi.{part}_channel", channel)
        settings = set_to(f"midi.{part}_program", program, settings)
        said = sent(settings, strike)
        assert bytes((MidiStatus.PROGRAM | channel - 1, program)) in said
        assert said[-1] == bytes((MidiStatus.NOTE_ON | channel - 1, 60, 9))
    for port, heard in (("", True), ("lofid", True), ("other", False)):
        said = sent(set_to(f"midi.{part}_port", port), strike)
        assert any(message[0] & 0xF0 == MidiStatus.NOTE_ON for message in said) == heard


@turns("midi.clock")
def test_clock() -> None:
    tick = MidiEvent(0, MidiStatus.CLOCK, ())
    for clock in (False, True):
        said = sent(set_to("midi.clock", clock), tick)
        assert (bytes((MidiStatus.CLOCK,)) in said) == clock
        assert (bytes((MidiStatus.SONG_POSITION, 48, 0)) in said) == clock


@turns("midi.controls")
def test_controls() -> None:
    settings = set_to("midi.controls", ["74 sound.low_pass", "2:7 mix.keys", "1 form.sections"])
    low_pass = [dict(settings.midi.turned(1, 74, at))["sound.low_pass"] for at in (0, 64, 127)]
    assert low_pass[0] == 1000
    assert low_pass[2] == 20000
    assert low_pass[1] == pytest.approx((1000 * 20000) ** 0.5, rel=0.03), "by equal intervals"
    levels = [dict(settings.midi.turned(2, 7, at))["mix.keys"] for at in (0, 64, 127)]
    assert levels == pytest.approx([-40, -17, 6], abs=0.5)
    assert [dict(settings.midi.turned(5, 1, at))["form.sections"] for at in (0, 64, 127)] == [
        1,
        5,
        8,
    ]
    assert not list(settings.midi.turned(1, 7, 64))
    assert not list(settings.midi.turned(1, 75, 64))
    flag = Control.parse("1 form.intro")
    assert [flag.value(at) for at in (0, 63, 64, 127)] == [False, False, True, True]
    options = [str(option) for option in PARAMETERS["groove.style"].options or ()]
    style = Control.parse("1 groove.style")
    assert [style.value(at) for at in range(128)] == sorted(
        (style.value(at) for at in range(128)), key=lambda name: options.index(str(name))
    )
    assert {style.value(at) for at in range(128)} == set(options)
