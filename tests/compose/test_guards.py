from lofid.compose.form import compose_song, locate, plan_bar
from lofid.compose.guards import (
    drums_findings,
    drums_weakness,
    has_groove,
    keys_findings,
    keys_weakness,
)
from lofid.music.chords import Chord, Key
from lofid.music.notes import DRUM_PITCH, SIXTEENTH, DrumClass, Note
from lofid.music.parameters import Settings
from lofid.music.plan import BarPlan


def plan() -> BarPlan:
    song = compose_song(Settings(), 1, 0, None)
    bar = plan_bar(Settings(), 1, song, locate(song, 20), 20)
    values = {name: getattr(bar, name) for name in BarPlan.__dataclass_fields__}
    return BarPlan(**{**values, "key": Key.parse("C"), "chords": (Chord.parse("Dm7"),)})


def hit(drum: DrumClass, sixteenth: int) -> Note:
    return Note(sixteenth * SIXTEENTH + 5, DRUM_PITCH[drum], SIXTEENTH, 80)


GROOVE = [
    hit(DrumClass.KICK, 0),
    hit(DrumClass.SNARE, 4),
    hit(DrumClass.KICK, 10),
    hit(DrumClass.SNARE, 12),
]


def chord(*pitches: int) -> list[Note]:
    return [Note(0, pitch, 480, 70) for pitch in pitches]


def test_a_plain_groove_passes() -> None:
    assert has_groove(GROOVE)
    assert drums_findings(GROOVE) == []


def test_what_is_wrong_with_drums_is_named() -> None:
    assert "silence" in drums_findings([])[0]
    assert "groove" in drums_findings(GROOVE[1:])[0]
    crowd = [*GROOVE, *(hit(DrumClass.CLOSED_HAT, at % 16) for at in range(40))]
    assert "crowd" in drums_findings(crowd)[0]


def test_hats_keep_time_better_than_the_snare() -> None:
    hats = [*GROOVE, *(hit(DrumClass.CLOSED_HAT, at) for at in range(0, 16, 2))]
    snares = [*GROOVE, *(hit(DrumClass.SNARE, at) for at in range(1, 16, 2))]
    assert drums_weakness(hats, 12) < drums_weakness(snares, 12)
    assert drums_weakness(hats, 12) < drums_weakness(hats, 24)


def test_what_is_wrong_with_keys_is_named() -> None:
    assert keys_findings(chord(50, 53, 60), plan()) == []
    assert "silence" in keys_findings(chord(50), plan())[0]
    assert "Dm7" in keys_findings(chord(52, 55), plan())[0]
    assert "crowd" in keys_findings(chord(*range(48, 90)), plan())[0]


def test_thirds_sevenths_and_chord_tones_make_a_bar_better() -> None:
    whole, without_seventh, foreign = (
        keys_weakness(chord(*pitches), plan())
        for pitches in ((53, 57, 60), (53, 57, 62), (55, 59, 64))
    )
    assert whole == 0
    assert whole < without_seventh < foreign
