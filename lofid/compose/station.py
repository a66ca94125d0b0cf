"""The station: one endless stream of bars.

A step is a pure function: (session state, settings) to (bar, session state). The session state
holds all that later bars depend on, as values: both models' states, the place in the form and the
song's loop material. Randomness is looked up by seed and bar number, so it needs no state.

How loops return. The first time a loop is played the models write it; its tokens are kept, and
the models' states at the end of that pass. A later pass plays the kept tokens again, and the
models hear them, so that their memory is of what was really played. A few bars of each pass are
written anew from that memory (how many is ``form.variation``), and these are not kept: the loop
stays what it was. A melody is written above the kept chords, which stay note for note, and then
returns like the rest. When a loop comes back after another section, both models get back the
states that they had at the end of its first pass. A model in a tuned style is reminded of it at
the beginning of each pass.
"""

import logging
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Self, TypeVar

from lofid.compose.arranger import LoopPlace, WrittenNotes, arrange
from lofid.compose.chance import RandomStream, checked_seed, generator
from lofid.compose.form import (
    LoopName,
    Place,
    Song,
    chords_of,
    compose_song,
    locate,
    own_chords,
    plan_bar,
)
from lofid.compose.guards import (
    drums_findings,
    drums_weakness,
    keys_findings,
    keys_weakness,
    pattern,
)
from lofid.compose.headers import drum_hits, drums_header, keys_header
from lofid.compose.lockstep import Duo, Half, OnThreads
from lofid.compose.player import Attempt, Hear, Player, Write
from lofid.compose.rules import DrumsRules, KeysRules
from lofid.music.notes import Note, Part
from lofid.music.parameters import Settings
from lofid.music.plan import Bar, BarPlan
from lofid.rwkv.state import ModelState
from lofid.tokens import drums, keys

_LOG = logging.getLogger(__name__)
_Item = TypeVar("_Item")

Tokens = tuple[int, ...]
_Rank = tuple[int, bool, float]
"""Of an attempt, the lower the better: findings, whether it says the same once more, weakness."""

CANDIDATES = 3
"""How many attempts a bar of a loop's first pass gets; the best one is kept."""

MOST_CANDIDATES = 5
"""How many a song's first bar of drums gets, to which the model keeps, and how many a variation."""

MOST_REPEATS = 6
"""Passes after which a bar of a loop is certainly varied."""


@dataclass(frozen=True, slots=True)
class KeysMemory:
    """What is kept of the keys of a loop: for each bar the event tokens, None before it is written.

    ``comping`` is the first pass, ``lead`` the same comping with the melody that was written above
    it; ``after`` the model's state at the end of the first pass.
    """

    comping: tuple[Tokens | None, ...]
    lead: tuple[Tokens | None, ...]
    after: ModelState | None = None


@dataclass(frozen=True, slots=True)
class DrumsMemory:
    """What is kept of the drums of a loop, in the same way."""

    bars: tuple[Tokens | None, ...]
    after: ModelState | None = None


@dataclass(frozen=True, slots=True)
class LoopMemory:
    """What is kept of a loop; ``repeats`` counts for each bar its passes without anything new."""

    keys: KeysMemory
    drums: DrumsMemory
    repeats: tuple[int, ...]

    @classmethod
    def empty(cls, bars: int) -> "LoopMemory":
        """Of a loop that was never played."""
        nothing = (None,) * bars
        return cls(KeysMemory(nothing, nothing), DrumsMemory(nothing), (0,) * bars)


@dataclass(frozen=True, slots=True)
class SessionState:
    """Everything needed to go on exactly.

    ``index`` counts the station's bars, ``bar`` the song's: after the last one it equals
    ``song.bars``, and the next song is chosen when it begins. ``pushed``: the bar before has struck
    the next one's first chord. States in here are never changed in place: a step copies what it
    advances.
    """

    seed: int
    index: int
    song: Song
    bar: int
    keys: ModelState
    drums: ModelState
    a: LoopMemory | None = None
    b: LoopMemory | None = None
    pushed: bool = False

    @classmethod
    def opening(
        cls, settings: Settings, seed: int, beginnings: tuple[ModelState, ModelState]
    ) -> Self:
        """The state before the first bar; ``beginnings`` are the keys' and the drums'.

        Raises :class:`LofidError` for a seed outside 0 to 2**64 - 1.
        """
        return cls(seed, 0, compose_song(settings, checked_seed(seed), 0, None), 0, *beginnings)

    @property
    def opens_loop(self) -> bool:
        """Whether the next bar is the first of a pass of a loop."""
        return self.bar == self.song.bars or locate(self.song, self.bar).slot == 0

    def loop(self, name: LoopName) -> LoopMemory | None:
        """What is kept of a loop; None before it was first played."""
        return self.a if name is LoopName.A else self.b

    def keeping(self, name: LoopName, memory: LoopMemory) -> "SessionState":
        """This state with something else kept of a loop."""
        return replace(self, a=memory) if name is LoopName.A else replace(self, b=memory)


@dataclass(frozen=True, slots=True)
class Step:
    """A written bar, the state after it, and what the guards found in the writing of it."""

    bar: Bar
    state: SessionState
    findings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Take:
    """One player's bar: its tokens, the state after it, and what the guards still hold against."""

    tokens: Tokens
    state: ModelState
    findings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Call:
    """What is asked for a bar, and where it stands."""

    settings: Settings
    plan: BarPlan
    place: Place
    vary: "_Variation"
    own: bool
    """Whether the chords are the loop's own: only then is what is written kept."""


def opened_duo(keys: Player, drums: Player) -> Duo:
    """The two players as their engines let them play.

    On a GPU, models of one shape are stacked; others run on two threads there, too.
    """
    if all(player.engine.name.startswith("triton") for player in (keys, drums)):
        from lofid.compose.stacked import Stacked  # noqa: PLC0415  loads torch

        with suppress(ValueError):
            return Stacked(keys, drums)
    return OnThreads(keys, drums)


class Station:
    """Writes bars with two players; holds no musical state of its own.

    One thread at a time may use a station. The players of keys and drums must have engines of
    their own: they run in parallel, or as one (:mod:`lofid.compose.lockstep`). Use it as a context
    manager, or :meth:`close` it.
    """

    def __init__(self, keys: Player, drums: Player) -> None:
        self._keys = keys
        self._drums = drums
        self._duo = opened_duo(keys, drums)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End what the players were run with."""
        self._duo.close()

    def opening(self, settings: Settings, seed: int) -> SessionState:
        """The state before the first bar.

        Raises :class:`LofidError` for a seed outside 0 to 2**64 - 1.
        """
        return SessionState.opening(settings, seed, self.beginnings)

    @property
    def beginnings(self) -> tuple[ModelState, ModelState]:
        """The states of keys and drums before the first bar of a song, in their style."""
        return self._keys.initial_state(), self._drums.initial_state()

    def bars(self, settings: Settings, seed: int) -> Iterator[Bar]:
        """All bars from the first, without end; raises as :meth:`opening` and :meth:`step` do."""
        state = self.opening(settings, seed)
        while True:
            step = self.step(state, settings)
            yield step.bar
            state = step.state

    def step(self, state: SessionState, settings: Settings) -> Step:
        """Write the next bar under these settings, which may differ from those of the bar before.

        ``state`` stays as it was and may be used again. Raises
        :class:`~lofid.compose.player.ModelFailure` where a model cannot go on from it.
        """
        state = self._begun(state, settings)
        place = locate(state.song, state.bar)
        plan = plan_bar(settings, state.seed, state.song, place, state.index)
        if place.final:
            return self._ended(state, settings, plan, place)
        name = place.stretch.loop
        memory = state.loop(name) or LoopMemory.empty(place.loop_bars)
        if place.opens_stretch:
            # A loop that comes back is taken up as the players knew it.
            state = replace(
                state,
                keys=memory.keys.after or state.keys,
                drums=memory.drums.after or state.drums,
            )
        if place.slot == 0:
            if plan.parts & {Part.KEYS, Part.MELODY}:
                state = replace(state, keys=self._keys.reminded(state.keys))
            if Part.DRUMS in plan.parts:
                state = replace(state, drums=self._drums.reminded(state.drums))
        vary = _Variation.drawn(settings, state.seed, plan, place, memory)
        own = chords_of(settings, state.song, place) == own_chords(state.song, place)
        call = _Call(settings, plan, place, vary if own else replace(vary, keys=True), own)
        keys_part, drums_part = self._duo.play(
            _keys_half(state, call, memory.keys), _drums_half(state, call, memory.drums)
        )
        keys_take, keys_memory, findings = keys_part
        drums_take, drums_memory, drums_findings = drums_part
        slot = place.slot
        known = memory.keys.comping[slot], memory.keys.lead[slot]
        new = (keys_take and keys_take.tokens not in known) or (
            drums_take and drums_take.tokens != memory.drums.bars[slot]
        )
        repeats = 0 if new else memory.repeats[slot] + 1
        memory = LoopMemory(keys_memory, drums_memory, _with(memory.repeats, slot, repeats))
        notes = WrittenNotes()
        if keys_take:
            heard = keys.decode_notes(keys_take.tokens)
            notes = replace(notes, comping=heard.comping, melody=heard.melody)
            state = replace(state, keys=keys_take.state)
        if drums_take:
            notes = replace(notes, drums=drums.decode_notes(drums_take.tokens))
            state = replace(state, drums=drums_take.state)
        loop_place = LoopPlace(state.song.number, list(LoopName).index(name), slot)
        arranged = arrange(
            plan, settings.groove, state.seed, loop_place, notes, pushed=state.pushed
        )
        return Step(
            Bar(plan, MappingProxyType(arranged.notes)),
            replace(
                state.keeping(name, memory),
                index=state.index + 1,
                bar=state.bar + 1,
                pushed=arranged.pushes,
            ),
            findings + drums_findings,
        )

    def _ended(self, state: SessionState, settings: Settings, plan: BarPlan, place: Place) -> Step:
        """A bar of a song's last chord, which no model writes."""
        loop_place = LoopPlace(state.song.number, 0, place.slot)
        arranged = arrange(plan, settings.groove, state.seed, loop_place, WrittenNotes())
        after = replace(state, index=state.index + 1, bar=state.bar + 1, pushed=False)
        return Step(Bar(plan, MappingProxyType(arranged.notes)), after)

    def _begun(self, state: SessionState, settings: Settings) -> SessionState:
        """The state as the settings' keys let it go on.

        In a key that they no longer hold, the song moves to the nearest one of the same mode; where
        there is none, or the song is over, the next song begins, from silence in the players'
        memory.
        """
        song, keys_allowed = state.song, settings.music.keys
        same_mode = [key for key in keys_allowed if key.mode is song.key.mode]
        if state.bar >= song.bars or not same_mode:
            song = compose_song(settings, state.seed, song.number + 1, song)
            return SessionState(state.seed, state.index, song, 0, *self.beginnings)
        if song.key in keys_allowed:
            return state
        here = song.key.transposition
        nearest = min(same_mode, key=lambda key: abs(key.transposition - here))
        return replace(state, song=replace(song, key=nearest))


def _keys_half(
    state: SessionState, call: _Call, memory: KeysMemory
) -> Half[tuple[_Take | None, KeysMemory, tuple[str, ...]]]:
    """The bar of keys, None where they are silent; what is kept of the loop's; findings."""
    plan, vary, slot = call.plan, call.vary, call.place.slot
    if not plan.parts & {Part.KEYS, Part.MELODY}:
        return None, memory, ()
    header = keys_header(plan)
    kept = memory.comping[slot]
    take: _Take | None = None
    findings: tuple[str, ...] = ()
    if kept is None or vary.keys:
        # Where the bass will join in, the chords leave it room from the start.
        plain = replace(plan, melody=0.0, parts=frozenset(call.settings.music.parts))
        best = yield from _best_keys(state, plain)
        take, findings = _judged(best, kept if call.own else None, "keys", plan)
        if take and kept is None and call.own:
            memory = replace(memory, comping=_with(memory.comping, slot, take.tokens))
    comping = take.tokens if take else kept
    assert comping is not None
    if plan.melody:
        lead = memory.lead[slot]
        if lead is None or vary.keys or vary.melody:
            rng = generator(state.seed, RandomStream.KEYS, state.index, attempt=100)
            attempt = Attempt(KeysRules(plan, over=comping), rng)
            (played,) = yield Write(header, state.keys, (attempt,))
            take = _Take(played.tokens, played.state)
            if lead is None and not vary.keys and call.own:
                memory = replace(memory, lead=_with(memory.lead, slot, played.tokens))
        else:
            take, comping = None, lead
    if take is None:
        (heard,) = yield Hear((*header, *comping), state.keys)
        take = _Take(comping, heard.state)
    if call.place.closes_loop and memory.after is None and call.own:
        memory = replace(memory, after=take.state)
    return take, memory, findings


def _best_keys(state: SessionState, plan: BarPlan) -> Half[_Take]:
    """The best of a few attempts at a bar of comping from the same state."""
    attempts = [
        Attempt(KeysRules(plan), generator(state.seed, RandomStream.KEYS, state.index, attempt))
        for attempt in range(CANDIDATES)
    ]
    written = yield Write(keys_header(plan), state.keys, attempts)
    shift = plan.key.transposition
    ranked: list[tuple[_Rank, _Take]] = []
    for played in written:
        comping = [_moved(note, shift) for note in keys.decode_notes(played.tokens).comping]
        findings = tuple(keys_findings(comping, plan))
        rank = (len(findings), False, keys_weakness(comping, plan))
        ranked.append((rank, _Take(played.tokens, played.state, findings)))
    return _best(ranked)


def _drums_half(
    state: SessionState, call: _Call, memory: DrumsMemory
) -> Half[tuple[_Take | None, DrumsMemory, tuple[str, ...]]]:
    """The bar of drums, None where they are silent; what is kept of the loop's; findings."""
    plan, slot = call.plan, call.place.slot
    if Part.DRUMS not in plan.parts:
        return None, memory, ()
    kept = memory.bars[slot]
    take: _Take | None = None
    findings: tuple[str, ...] = ()
    if kept is None or plan.fill or call.vary.drums:
        opens = not any(any(loop.drums.bars) for loop in (state.a, state.b) if loop)
        stale = memory.bars[slot - 1] if kept is None and call.place.closes_phrase else kept
        count = CANDIDATES if stale is None and not opens else MOST_CANDIDATES
        best = yield from _best_drums(state, plan, count, stale)
        take, findings = _judged(best, kept, "drums", plan)
        if take and kept is None and not plan.fill:
            memory = replace(memory, bars=_with(memory.bars, slot, take.tokens))
    if take is None:
        assert kept is not None
        (heard,) = yield Hear((*drums_header(plan), *kept), state.drums)
        take = _Take(kept, heard.state)
    if call.place.closes_loop and memory.after is None:
        memory = replace(memory, after=take.state)
    return take, memory, findings


def _best_drums(
    state: SessionState, plan: BarPlan, attempts: int, stale: Tokens | None
) -> Half[_Take]:
    """The best of so many attempts; if none is sound, one more that insists on a backbeat.

    Any other sound pattern is better than that of ``stale`` once more; where all attempts have
    that, as many again are made.
    """
    header, wanted = drums_header(plan), drum_hits(plan.drum_density)
    said = None if stale is None else pattern(drums.decode_notes(stale))

    def tried(which: range, *, backbeat: bool) -> Half[list[tuple[_Rank, _Take]]]:
        written = yield Write(
            header,
            state.drums,
            [
                Attempt(
                    DrumsRules(plan, backbeat=backbeat),
                    generator(state.seed, RandomStream.DRUMS, state.index, attempt),
                )
                for attempt in which
            ],
        )
        ranked: list[tuple[_Rank, _Take]] = []
        for played in written:
            hits = drums.decode_notes(played.tokens)
            findings = tuple(drums_findings(hits))
            rank = (len(findings), pattern(hits) == said, drums_weakness(hits, wanted))
            ranked.append((rank, _Take(played.tokens, played.state, findings)))
        return ranked

    ranked = yield from tried(range(attempts), backbeat=False)
    if all(same for (_, same, _), _ in ranked):
        ranked += yield from tried(range(attempts, 2 * attempts), backbeat=False)
    if all(take.findings for _, take in ranked):
        ranked += yield from tried(range(len(ranked), len(ranked) + 1), backbeat=True)
    return _best(ranked)


def _same_pattern(one: Tokens, other: Tokens) -> bool:
    return pattern(drums.decode_notes(one)) == pattern(drums.decode_notes(other))


def _best(ranked: list[tuple[_Rank, _Take]]) -> _Take:
    """The take of the lowest rank, the first of equals."""
    return min(ranked, key=lambda take: take[0])[1]


@dataclass(frozen=True, slots=True)
class _Variation:
    """Which players write this bar of a returning loop anew."""

    keys: bool
    melody: bool
    drums: bool

    @classmethod
    def drawn(
        cls, settings: Settings, seed: int, plan: BarPlan, place: Place, memory: LoopMemory
    ) -> "_Variation":
        """Drawn for one bar: the last bar of a loop is varied most, the first never by chance.

        After ``MOST_REPEATS`` the drums vary, or the keys of a station without drums. Where the
        drums' loop is one bar over and over, so does every eighth bar.
        """
        amount = settings.form.variation
        share = 0.0 if place.slot == 0 else amount if place.closes_loop else amount / 4
        due = memory.repeats[place.slot] >= MOST_REPEATS
        bars = memory.drums.bars
        here, before = bars[place.slot], bars[place.slot - 1]
        over_and_over = here and before and place.closes_phrase and _same_pattern(here, before)
        chance = generator(seed, RandomStream.VARIATION, plan.index).random(3)
        drums_due = due and Part.DRUMS in settings.music.parts
        return cls(
            keys=bool(plan.parts & {Part.KEYS, Part.MELODY})
            and (bool(chance[0] < share / 2) or (due and not drums_due)),
            melody=bool(chance[1] < share),
            drums=Part.DRUMS in plan.parts
            and bool(chance[2] < share or drums_due or over_and_over),
        )


def _judged(
    take: _Take, kept: Tokens | None, player: str, plan: BarPlan
) -> tuple[_Take | None, tuple[str, ...]]:
    """The take, or None where the guards object and the kept bar can be played; what they say."""
    if not take.findings:
        return take, ()
    answer = "played as written" if kept is None else "the loop's own bar is played"
    finding = f"{player}, bar {plan.index}: {'; '.join(take.findings)}; {answer}"
    _LOG.warning("%s", finding)
    return (take if kept is None else None), (finding,)


def _with(items: tuple[_Item, ...], index: int, item: _Item) -> tuple[_Item, ...]:
    return (*items[:index], item, *items[index + 1 :])


def _moved(note: Note, semitones: int) -> Note:
    return replace(note, pitch=note.pitch + semitones)
