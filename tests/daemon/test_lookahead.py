"""What is rendered far ahead and taken back, beside what was never rendered ahead."""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import numpy as np
import pytest

from lofid.daemon.lookahead import FAR, Lookahead
from lofid.music.chords import Chord, Key
from lofid.music.notes import Note, Part
from lofid.music.parameters import Settings
from lofid.music.plan import Bar, BarPlan, Section
from lofid.outputs.output import Audio, BarLine, MidiEvent
from lofid.playback.cue import Cue
from lofid.playback.transport import Passage, Transport
from lofid.sound.studio import BLOCK, Studio

FRAMES = 96 * BLOCK
TEMPO = 480.0  # BPM: half a second a bar
TURNED = Settings().with_value("mix.drums", -30).with_value("sound.low_pass", 1500)


@pytest.fixture(scope="module")
def bars() -> list[Cue]:
    made = []
    for take in range(1, 9):
        plan = BarPlan(
            take, TEMPO, Key.parse("C"), (Chord.parse("C"),), Section.A, take,
            0.5, 0.5, 60.0, 0.5, 50.0, frozenset(Part),
        )  # fmt: skip
        early = -20 * (take % 3)  # notes may begin before their line
        keys = (Note(early, 60 + take, 400, 80), Note(960, 67, 600, 90))
        drums = tuple(Note(480 * beat, 36 + 2 * (beat % 2), 120, 100) for beat in range(4))
        made.append(Cue(take, take - 1, Bar(plan, {Part.KEYS: keys, Part.DRUMS: drums})))
    return made


@dataclass
class Heard:
    audio: list[Audio] = field(default_factory=list)
    events: list[MidiEvent] = field(default_factory=list)
    lines: list[BarLine] = field(default_factory=list)
    takes: list[int] = field(default_factory=list)
    locked: list[tuple[int, int]] = field(default_factory=list)

    def hear(self, passage: Passage) -> None:
        self.audio.append(passage.block.audio)
        self.events += passage.block.events
        self.lines += passage.block.lines
        self.takes += [line.take for line in passage.lines]
        self.locked += [(passage.block.frame, take) for take in passage.locked]


Turn = Callable[[Transport], None]
TURNS: dict[str, Turn] = {
    "nothing": lambda _: None,
    "mix": lambda transport: transport.mix(TURNED, frozenset()),
    "mute": lambda transport: transport.mix(Settings(), frozenset({Part.DRUMS})),
    "pause": lambda transport: transport.pause(),
    "skip": lambda transport: transport.skip(),
}


def played(cues: list[Cue], turn: Turn, at: int, chance: Random | None) -> Heard:
    """The stream, turned at a frame; with ``chance`` rendered ahead, and back there by then."""
    studio = Studio(Settings(), 1)
    transport = Transport(studio, 1)
    transport.cue(cues)
    ahead, heard = Lookahead(transport), Heard()
    turned = False
    while transport.frame < FRAMES:
        if transport.frame == at and not turned:
            turn(transport)
            turned = True
        passage = ahead.render(BLOCK, 0 if chance is None or turned else FAR)
        if not turned and transport.frame > at:
            ahead.take_back(transport.frame - at)
            assert transport.frame == at
        elif chance is not None and chance.random() < 0.5:
            ahead.take_back(chance.randrange(ahead.room // BLOCK + 1) * BLOCK)
        until = transport.frame if chance is None else transport.frame - BLOCK
        for piece in ahead.pieces(min(until, passage.block.frame + 3 * BLOCK)):
            heard.hear(piece)
    for piece in ahead.pieces(FRAMES):
        heard.hear(piece)
    studio.close()
    return heard


@pytest.mark.parametrize("name", TURNS)
def test_what_is_taken_back_was_never_there(bars: list[Cue], name: str) -> None:
    at = 61 * BLOCK  # in the middle of a bar
    plain = played(bars, TURNS[name], at, None)
    ahead = played(bars, TURNS[name], at, Random(name))
    assert max(map(len, ahead.audio)) > BLOCK
    length = min(sum(map(len, one.audio)) for one in (plain, ahead))
    assert length >= FRAMES - BLOCK
    first, second = (np.concatenate(one.audio)[:length] for one in (plain, ahead))
    np.testing.assert_array_equal(first, second)
    assert (plain.events, plain.lines, plain.takes) == (ahead.events, ahead.lines, ahead.takes)
    # A bar is locked no earlier for being rendered ahead: what replaces it is still in time.
    assert plain.locked == ahead.locked and len(plain.locked) >= 2
