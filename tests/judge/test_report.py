"""The report over takes made by hand."""

from dataclasses import replace

import numpy as np
from rich.console import Console

from lofid.judge.figures import Figure, Share
from lofid.judge.human import keys_bars
from lofid.judge.loudness import Audio
from lofid.judge.report import (
    Humans,
    MeasuredTake,
    layer_table,
    musical_figures,
    recital_figures,
    sound_figures,
)
from lofid.learn.pieces import KeysBar, KeysPiece
from lofid.music.chords import Chord
from lofid.music.notes import Note, Part
from lofid.music.plan import Bar
from lofid.sound import SAMPLE_RATE


def song(seed: int, bars: int = 16) -> list[Bar]:
    """Random notes of C minor seventh and its tune, as a human piece."""
    generator = np.random.Generator(np.random.Philox(seed))
    chord = Chord.parse("Cm7")
    tones = sorted(chord.pitch_classes)

    def line(octave: int) -> tuple[Note, ...]:
        picked = generator.choice(tones, 8)
        return tuple(Note(240 * i, octave + int(p), 200, 70) for i, p in enumerate(picked))

    played = tuple(KeysBar((chord, chord), line(48), line(72)) for _ in range(bars))
    return keys_bars(KeysPiece(f"song:{seed}", 80.0, played))


HUMANS = Humans([song(1), song(2)], [], [song(seed) for seed in range(3, 9)])


def by_name(figures: list[Figure]) -> dict[str, Figure]:
    assert len({figure.name for figure in figures}) == len(figures)
    return {figure.name: figure for figure in figures}


def test_musical_figures() -> None:
    takes = [
        MeasuredTake("study", 1, song(20), Share(32, 32)),
        MeasuredTake("study", 2, song(21), Share(31, 32)),
    ]
    found = by_name(musical_figures(takes, HUMANS))
    assert found["legal bars"].measured == 63 / 64
    assert found["legal bars"].verdict == "missed"
    assert found["chord tones"].measured == found["chord tones"].human == 1
    # One chord throughout: shuffling it changes nothing.
    assert found["chord tones, above shuffled"].measured == 0
    assert found["bars with a seventh or ninth"].verdict == "met"
    assert found["swing, less what was asked"].measured is None
    assert found["kick on one"].verdict == ""
    assert found["longest run of one bar"].measured == 1
    assert found["bars without melody"].verdict == "missed"


def test_takes_without_a_melody_do_not_count_as_its_rests() -> None:
    sung = MeasuredTake("study", 1, song(20), Share())
    drums = MeasuredTake(
        "drums-only", 1, [Bar(replace(b.plan, parts=frozenset())) for b in song(1)], Share()
    )
    assert by_name(musical_figures([sung, drums]))["bars without melody"].measured == 0


def test_nothing_to_measure() -> None:
    assert all(figure.verdict in ("", "met") for figure in musical_figures([], None))


def test_recitation_is_noticed() -> None:
    honest = by_name(recital_figures([MeasuredTake("study", 1, song(30), Share())], HUMANS))
    thief = MeasuredTake("study", 1, [*song(30), *song(4)[2:8]], Share())
    caught = by_name(recital_figures([thief], HUMANS))
    name = "keys: longest run known, median"
    assert (honest[name].verdict, caught[name].verdict) == ("met", "missed")
    assert caught[name].measured == 48


def tone(decibels: float) -> Audio:
    time = np.arange(5 * SAMPLE_RATE) / SAMPLE_RATE
    wave = 10 ** (decibels / 20) * np.sin(2 * np.pi * 997 * time)
    return np.stack([wave, wave], 1).astype(np.float32)


def test_sound_figures() -> None:
    found = by_name(sound_figures("study", tone(-16), {"drums": tone(-21), "keys": tone(-30)}))
    assert found["loudness"].verdict == found["drums, to the mix"].verdict == "met"
    assert found["drums, to the mix"].note.startswith("100% of its 3 s windows inside")
    assert found["keys, to the mix"].verdict == "missed"
    assert found["bass, to the mix"].measured is None


def test_layers_are_shown() -> None:
    console = Console(width=100)
    with console.capture() as capture:
        console.print(layer_table([MeasuredTake("study", 1, song(1), Share())]))
    assert "100%" in capture.get()
    assert str(Part.MELODY) in capture.get()
