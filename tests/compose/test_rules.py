from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lofid.compose.form import compose_song, locate, plan_bar
from lofid.compose.guards import has_groove
from lofid.compose.headers import drums_header, keys_header
from lofid.compose.player import Attempt, Player, Write
from lofid.compose.preset import load_preset, preset_names
from lofid.compose.rules import DrumsRules, KeysRules
from lofid.music.chords import Chord, Key
from lofid.music.notes import SIXTEENTH, TICKS_PER_BAR, Note, Part
from lofid.music.plan import BarPlan
from lofid.music.scales import chord_scale
from lofid.tokens import drums, keys
from lofid.tokens.grammar import Phase

SEEDS = st.integers(0, 2**64 - 1)
PRESETS = [load_preset(name).settings for name in preset_names()]


def plan_for(seed: int) -> BarPlan:
    choices = PRESETS[seed % len(PRESETS)]
    song = compose_song(choices, seed, 0, None)
    plan = plan_bar(choices, seed, song, locate(song, seed % song.bars), 0)
    return replace(plan, parts=frozenset(Part), melody=0.7)


def sounding(notes: tuple[Note, ...], plan: BarPlan) -> list[Note]:
    return [replace(note, pitch=note.pitch + plan.key.transposition) for note in notes]


def written(
    player: Player, header: list[int], rules: KeysRules | DrumsRules, seed: int
) -> tuple[int, ...]:
    rng = np.random.Generator(np.random.Philox(seed))
    (played,) = player.play(Write(header, player.initial_state(), [Attempt(rules, rng)]))
    return played.tokens


@settings(deadline=None, max_examples=60)
@given(seed=SEEDS)
def test_any_model_keeps_to_scale_register_and_grid(seed: int, untrained_keys: Player) -> None:
    plan = plan_for(seed)
    tokens = written(untrained_keys, keys_header(plan), KeysRules(plan), seed)
    assert len(tokens) <= untrained_keys.sampling.longest + 3
    bar = keys.decode_notes(tokens)
    share = TICKS_PER_BAR // len(plan.chords)
    for note in (*sounding(bar.comping, plan), *sounding(bar.melody, plan)):
        assert note.pitch % 12 in chord_scale(plan.chords[note.start // share], plan.key)
        assert note.start % SIXTEENTH == 0
    assert all(48 <= note.pitch <= 72 for note in sounding(bar.comping, plan))
    assert all(65 <= note.pitch <= 84 for note in sounding(bar.melody, plan))
    assert len(bar.melody) <= 4
    for lead in bar.melody:
        beneath = [note.pitch for note in bar.comping if note.start == lead.start]
        assert lead.pitch > max(beneath, default=0)


@given(seed=SEEDS)
def test_the_chords_follow_the_register(seed: int) -> None:
    low, high = (
        np.exp(KeysRules(replace(plan_for(seed), register=register)).bias(Phase.POSITION))
        for register in (52.0, 68.0)
    )
    tokens = list(keys.COMPING_TOKENS)
    means = [np.average(tokens, weights=shares[tokens]) for shares in (low, high)]
    assert means[1] - means[0] > 5


@settings(deadline=None, max_examples=40)
@given(seed=SEEDS)
def test_no_melody_where_none_is_asked(seed: int, untrained_keys: Player) -> None:
    plan = replace(plan_for(seed), melody=0.0)
    tokens = written(untrained_keys, keys_header(plan), KeysRules(plan), seed)
    assert not keys.decode_notes(tokens).melody


@settings(deadline=None, max_examples=60)
@given(seed=SEEDS)
def test_a_melody_over_kept_chords_leaves_them_as_they_were(
    seed: int, untrained_keys: Player
) -> None:
    plan = plan_for(seed)
    plain = replace(plan, melody=0.0)
    base = written(untrained_keys, keys_header(plain), KeysRules(plain), seed)
    over = written(untrained_keys, keys_header(plan), KeysRules(plan, over=base), seed + 1)
    assert keys.decode_notes(over).comping == keys.decode_notes(base).comping
    bar = keys.decode_notes(over)
    assert len(bar.melody) <= 4
    highest = max(note.pitch for note in bar.comping)
    assert all(lead.pitch > highest for lead in bar.melody)


def test_a_crowd_of_kept_chords_stays_whole(untrained_keys: Player) -> None:
    plan = replace(plan_for(1), key=Key.parse("C"), chords=(Chord.parse("Dm7"),))
    crowd = tuple(
        Note(start * SIXTEENTH, pitch, 120, 72) for start in range(16) for pitch in (53, 57, 60, 64)
    )
    base = keys.encode_notes(keys.KeysNotes(crowd, ()))
    assert len(base) > untrained_keys.sampling.longest
    over = written(untrained_keys, keys_header(plan), KeysRules(plan, over=base), 1)
    assert keys.decode_notes(over).comping == crowd


@settings(deadline=None, max_examples=60)
@given(seed=SEEDS)
def test_insisting_on_the_backbeat_gives_one(seed: int, untrained_drums: Player) -> None:
    plan = plan_for(seed)
    rules = DrumsRules(plan, backbeat=True)
    tokens = written(untrained_drums, drums_header(plan), rules, seed)
    assert has_groove(drums.decode_notes(tokens))
