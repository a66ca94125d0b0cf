import statistics
from dataclasses import replace

import pytest

from lofid.compose.chance import RandomStream, generator
from lofid.compose.form import compose_song, locate, plan_bar
from lofid.compose.kit import CLAP, GHOST, PEDAL_HAT, RIM, drummed
from lofid.music.notes import DRUM_CLASS, DRUM_PITCH, PPQ, SIXTEENTH, DrumClass, Note
from lofid.music.parameters import Settings
from lofid.music.plan import BarPlan, Beat, Timekeeper

KICK, SNARE, HAT = DrumClass.KICK, DrumClass.SNARE, DrumClass.CLOSED_HAT


def hit(step: int, drum: DrumClass, velocity: int) -> Note:
    return Note(step * SIXTEENTH, DRUM_PITCH[drum], SIXTEENTH, velocity)


GROOVE = sorted(
    [
        hit(0, KICK, 48),
        hit(10, KICK, 40),
        hit(4, SNARE, 120),
        hit(12, SNARE, 124),
        hit(7, SNARE, 30),
        *(hit(step, HAT, 23 + 20 * (step % 4 == 0)) for step in range(0, 16, 2)),
    ]
)


def played(plan: BarPlan, seed: int = 1) -> list[Note]:
    return drummed(plan, GROOVE, generator(seed, RandomStream.KIT, 0))


def with_beat(energy: float = 0.4, *, fill: bool = False, **beat: object) -> BarPlan:
    song = compose_song(Settings(), 1, 0, None)
    plan = plan_bar(Settings(), 1, song, locate(song, 20), 20)
    own = Beat(**beat)  # type: ignore[arg-type]
    return replace(plan, energy=energy, fill=fill, beat=own)


def of(hits: list[Note], drum: DrumClass) -> list[Note]:
    return [one for one in hits if DRUM_CLASS[one.pitch] is drum]


def steps(hits: list[Note]) -> list[int]:
    return sorted(round(one.start / SIXTEENTH) for one in hits)


@pytest.mark.parametrize("energy", [0.1, 0.25, 0.4, 0.6])
def test_the_kit_is_in_balance_and_as_hard_as_the_preset(energy: float) -> None:
    hits = played(with_beat(energy))
    kick = statistics.median(one.velocity for one in of(hits, KICK))
    snare = statistics.median(one.velocity for one in of(hits, SNARE) if one.velocity >= GHOST)
    hats = [one.velocity for one in of(hits, HAT)]
    assert 0.8 * snare < kick < snare  # the pads had 0.36
    assert min(hats) > 30
    assert len(set(hats)) > 1
    assert (snare < 100) == (energy < 0.5)


def test_ghosts_are_as_many_as_asked() -> None:
    def share(asked: float) -> float:
        found = [
            one.velocity < GHOST
            for seed in range(60)
            for one in of(played(with_beat(ghosts=asked), seed), SNARE)
        ]
        return sum(found) / len(found)

    assert share(0.0) == 0
    assert 0.15 <= share(0.5) <= 0.35
    assert share(1.0) > share(0.5) + 0.05


def test_each_voice_takes_over_what_it_is_asked_to() -> None:
    rim = played(with_beat(rim=True))
    assert [one.pitch for one in rim if steps([one])[0] in (4, 12) and one.pitch != 42] == [RIM] * 2
    ride = played(with_beat(timekeeper=Timekeeper.RIDE))
    assert not of(ride, HAT) and len(of(ride, DrumClass.RIDE)) == 8
    assert steps(of(played(with_beat(open_hat=6)), DrumClass.OPEN_HAT)) == [6]
    assert steps([one for one in played(with_beat(pedal=True)) if one.pitch == PEDAL_HAT]) == [
        4,
        12,
    ]
    assert steps([one for one in played(with_beat(clap=True)) if one.pitch == CLAP]) == [4, 12]
    assert steps(of(played(with_beat(crash=True)), DrumClass.CRASH)) == [0]


def test_half_time_has_one_backbeat_on_three() -> None:
    hits = played(with_beat(half_time=True, kicks=(7, 8, 14)))
    assert steps(of(hits, SNARE)) == [8]
    assert steps(of(hits, KICK)) == [0, 14]


def test_the_song_has_kicks_of_its_own() -> None:
    assert steps(of(played(with_beat()), KICK)) == [0, 10]
    own = of(played(with_beat(kicks=(3, 10))), KICK)
    assert steps(own) == [0, 3, 10]
    assert of(played(with_beat()), KICK)[1] in own
    assert not of(played(with_beat(kick=False)), KICK)


def test_a_stop_leaves_the_rest_of_the_bar_empty() -> None:
    assert max(one.start for one in played(with_beat(stop=2 * PPQ))) < 2 * PPQ


def test_a_fill_runs_down_the_toms_and_grows() -> None:
    hits = played(with_beat(fill=True))
    toms = [
        one
        for one in hits
        if DRUM_CLASS[one.pitch] in (DrumClass.HIGH_TOM, DrumClass.MID_TOM, DrumClass.LOW_TOM)
    ]
    assert len(toms) >= 2
    classes = [DRUM_CLASS[one.pitch] for one in sorted(toms)]
    assert classes == sorted(classes, reverse=True)
    assert min(steps(toms)) >= 10
    assert not of(hits, HAT) or max(steps(of(hits, HAT))) < 12
