"""Whether what is played sounds like a record, by its notes: songs, hands, kit, bass, melody.

Every figure is read from the notes, and from the plan no more than where sections and chords are.
"""

import itertools
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

from lofid.judge.figures import Figure, Share, Target
from lofid.judge.music import Shape, chord_at, chord_tones, shape, similarity
from lofid.music.chords import Mode, Quality
from lofid.music.notes import (
    BEATS_PER_BAR,
    DRUM_CLASS,
    PPQ,
    SIXTEENTH,
    TICKS_PER_BAR,
    DrumClass,
    Note,
    Part,
)
from lofid.music.plan import Bar, Section

Song = Sequence[Bar]

_LONGEST_GAP = 0.4
"""Seconds without a key that nobody minds."""
_UNIT = 4
"""Bars that are compared as one."""
_TOUCHING = SIXTEENTH
"""Ticks by which two notes must sound together to be heard so: less is a legato."""
_GHOST = 50
_PLAIN = frozenset({36, 35, 38, 40, 42})
"""General MIDI's kicks, snares and closed hat."""
_FORMS = (Section.A, Section.B)


def songs_of(bars: Iterable[Bar]) -> list[Song]:
    """Bars by song: one begins with an intro, or after an outro."""
    songs: list[list[Bar]] = []
    before: Bar | None = None
    for bar in bars:
        opens = bar.plan.section is Section.INTRO and bar.plan.bar_in_section == 0
        after = before is not None and before.plan.section is Section.OUTRO
        if not songs or opens or (after and bar.plan.section is not Section.OUTRO):
            songs.append([])
        songs[-1].append(bar)
        before = bar
    return list(songs)


def take_figures(takes: Sequence[Sequence[Bar]]) -> list[Figure]:
    """The figures of one preset: medians over its takes, each of which is one run of bars."""

    def of(measure: Callable[[Sequence[Bar]], float | None]) -> float | None:
        found = [value for take in takes if (value := measure(take)) is not None]
        return statistics.median(found) if found else None

    return [
        Figure("", "time without a key", of(keyless), "", Target(high=0.06)),
        Figure("", "top comping pattern", of(top_pattern), "", Target(high=0.35)),
        Figure("", "bars with their ninth", of(ninths), "", Target(low=0.5)),
        Figure("", "chord tones", of(lambda b: chord_tones(b).value), "", Target(0.88, 0.96)),
        Figure("", "minor ninths", of(minor_ninths), "", Target(high=0.005)),
        Figure("", "bass on the root", of(bass_on_root), "", Target(0.6, 0.75)),
        Figure("", "other drum voices", of(other_voices), "", Target(low=0.1)),
        Figure("", "ghosts of snares", of(ghosts), "", Target(0.15, 0.35)),
        Figure("", "snare velocity", of(snare_velocity)),
        Figure("", "keys onsets on the and of 4", of(pushes), "a bar"),
    ]


def hour_figures(bars: Sequence[Bar]) -> list[Figure]:
    """The figures of an hour of one preset."""
    songs = songs_of(bars)
    whole = songs[:-1] if len(songs) > 1 else songs
    minutes = sum(map(_seconds, bars)) / 60
    tempi = [_tempo(song) for song in whole]
    lengths = [sum(map(_seconds, song)) for song in whole]
    steps = [abs(one - two) for one, two in itertools.pairwise(tempi)]
    returned, unrelated = _returns(whole)
    return [
        Figure("", "songs an hour", len(whole) * 60 / minutes, "", Target(16, 24)),
        Figure("", "shortest song", min(lengths), "s", Target(low=120)),
        Figure("", "longest song", max(lengths), "s", Target(high=225)),
        Figure("", "instruments of keys", len(_key_instruments(whole)), "", Target(low=3)),
        Figure("", "layouts", len({_layout(song) for song in whole}), "", Target(low=4)),
        Figure("", "range of tempi", max(tempi) - min(tempi), "BPM", Target(low=12)),
        Figure("", "widest step of tempo", max(steps, default=0.0), "BPM", Target(high=8)),
        Figure("", "distinct four bars of keys", _distinct(whole), "", Target(low=0.6)),
        Figure("", "A when it returns", returned, "", Target(0.6, 0.85)),
        Figure("", "A against B", unrelated, "", Target(high=0.4)),
        Figure("", "ends on the tonic", _ends_home(whole), "", Target(low=0.8)),
        Figure("", "commonest bar of kick and snare", top_groove(bars), "", Target(high=0.08)),
    ]


def keyless(bars: Sequence[Bar]) -> float | None:
    """Share of the time in gaps of over 0.4 s without a sounding key; None without keys.

    Of runs of bars in which keys play; a bar without one is a rest that was meant.
    """
    silent = whole = 0.0
    for playing, run in itertools.groupby(bars, key=lambda bar: bool(bar.notes.get(Part.KEYS))):
        if not playing:
            continue
        line, end = 0.0, 0.0
        for bar in run:
            tick = 60 / bar.plan.tempo / PPQ
            for note in sorted(bar.notes[Part.KEYS]):
                gap = line + note.start * tick - end
                silent += gap if gap > _LONGEST_GAP else 0.0
                end = max(end, line + (note.start + note.duration) * tick)
            line += TICKS_PER_BAR * tick
        silent += line - end if line - end > _LONGEST_GAP else 0.0
        whole += line
    return silent / whole if whole else None


def top_pattern(bars: Sequence[Bar]) -> float | None:
    """Share of a song's bars of keys that have its commonest rhythm; the median over songs."""
    shares = []
    for song in songs_of(bars):
        patterns = [
            frozenset(round(note.start / SIXTEENTH) for note in notes)
            for bar in song
            if bar.plan.section in _FORMS and (notes := bar.notes.get(Part.KEYS))
        ]
        if len(patterns) >= 2 * _UNIT:
            shares.append(Counter(patterns).most_common(1)[0][1] / len(patterns))
    return statistics.median(shares) if shares else None


def ninths(bars: Sequence[Bar]) -> float | None:
    """Share of the bars of chords with a ninth in which the keys or the melody have it."""
    found = []
    for bar in bars:
        for chord in bar.plan.chords:
            nines = [step for step in chord.quality.intervals if step in (13, 14)]
            played = [
                note.pitch % 12
                for part in (Part.KEYS, Part.MELODY)
                for note in bar.notes.get(part, ())
                if chord_at(bar.plan, note.start) == chord
            ]
            if nines and played:
                found.append((chord.root + nines[0]) % 12 in played)
    return Share(sum(found), len(found)).value


def minor_ninths(bars: Sequence[Bar]) -> float | None:
    """Share of the melody's notes a minor ninth above a key that sounds with them, but over 7b9."""
    clashes = total = 0
    for bar in bars:
        keys = bar.notes.get(Part.KEYS, ())
        for note in bar.notes.get(Part.MELODY, ()):
            chord = chord_at(bar.plan, note.start)
            total += 1
            clashes += any(
                other.pitch < note.pitch
                and (note.pitch - other.pitch) % 12 == 1
                and _together(note, other) >= _TOUCHING
                and not (
                    chord.quality is Quality.DOMINANT_7_FLAT_9 and other.pitch % 12 == chord.root
                )
                for other in keys
            )
    return clashes / total if total else None


def _together(one: Note, other: Note) -> int:
    """Ticks for which two notes sound at once."""
    ends = one.start + one.duration, other.start + other.duration
    return min(ends) - max(one.start, other.start)


def bass_on_root(bars: Sequence[Bar]) -> float | None:
    """Share of the bass's notes that are the root of their chord."""
    found = [
        note.pitch % 12 == chord_at(bar.plan, note.start).root
        for bar in bars
        for note in bar.notes.get(Part.BASS, ())
    ]
    return Share(sum(found), len(found)).value


def _hits(bars: Iterable[Bar]) -> Iterator[Note]:
    for bar in bars:
        yield from bar.notes.get(Part.DRUMS, ())


def other_voices(bars: Sequence[Bar]) -> float | None:
    """Share of the hits on other voices of the kit than kick, snare and closed hat."""
    others = [hit.pitch not in _PLAIN for hit in _hits(bars)]
    return Share(sum(others), len(others)).value


def _snares(bars: Sequence[Bar]) -> list[int]:
    return [hit.velocity for hit in _hits(bars) if DRUM_CLASS[hit.pitch] is DrumClass.SNARE]


def ghosts(bars: Sequence[Bar]) -> float | None:
    """Share of the snares below velocity 50."""
    soft = [velocity < _GHOST for velocity in _snares(bars)]
    return Share(sum(soft), len(soft)).value


def snare_velocity(bars: Sequence[Bar]) -> float | None:
    """The median velocity of the snares that are no ghosts."""
    firm = [velocity for velocity in _snares(bars) if velocity >= _GHOST]
    return statistics.median(firm) if firm else None


def pushes(bars: Sequence[Bar]) -> float | None:
    """Onsets of keys on the "and" of four, a bar of keys."""
    found = [
        any(round(note.start / SIXTEENTH) == 14 for note in notes)
        for bar in bars
        if (notes := bar.notes.get(Part.KEYS))
    ]
    return Share(sum(found), len(found)).value


def top_groove(bars: Iterable[Bar]) -> float | None:
    """Share of all bars of drums that have the commonest pattern of kick and firm snare."""
    patterns = Counter(
        frozenset(
            (round(hit.start / SIXTEENTH), DRUM_CLASS[hit.pitch])
            for hit in hits
            if DRUM_CLASS[hit.pitch] is DrumClass.KICK
            or (DRUM_CLASS[hit.pitch] is DrumClass.SNARE and hit.velocity >= _GHOST)
        )
        for bar in bars
        if bar.plan.section in _FORMS and (hits := bar.notes.get(Part.DRUMS))
    )
    return patterns.most_common(1)[0][1] / patterns.total() if patterns else None


def _seconds(bar: Bar) -> float:
    return 60 * BEATS_PER_BAR / bar.plan.tempo


def _tempo(song: Song) -> float:
    return statistics.median(bar.plan.tempo for bar in song)


def _key_instruments(songs: Sequence[Song]) -> set[str]:
    return {str(song[0].plan.face.keys) if song[0].plan.face else "" for song in songs}


def _layout(song: Song) -> tuple[tuple[Section, int], ...]:
    """The sections of a song with their lengths in units of four bars."""
    sections = itertools.groupby(
        song, key=lambda bar: (bar.plan.section, bar.plan.index - bar.plan.bar_in_section)
    )
    return tuple((section, len(list(bars)) // _UNIT) for (section, _), bars in sections)


def _units(song: Song) -> Iterator[tuple[Shape, ...]]:
    """Four bars of keys at a time, from the beginning of each section."""
    for _, section in itertools.groupby(
        song, key=lambda bar: bar.plan.index - bar.plan.bar_in_section
    ):
        bars = [shape(bar, (Part.KEYS,)) for bar in section]
        yield from (
            tuple(bars[at : at + _UNIT])
            for at in range(0, len(bars) - _UNIT + 1, _UNIT)
            if any(bars[at : at + _UNIT])
        )


def _distinct(songs: Sequence[Song]) -> float | None:
    units = [unit for song in songs for unit in _units(song)]
    return len(set(units)) / len(units) if units else None


def _returns(songs: Sequence[Song]) -> tuple[float | None, float | None]:
    """Likeness of the keys' bars of A and of those when A returns, and of A and B."""
    again: list[float] = []
    other: list[float] = []
    for song in songs:
        sections = [
            list(bars)
            for (section, _), bars in itertools.groupby(
                song, key=lambda bar: (bar.plan.section, bar.plan.index - bar.plan.bar_in_section)
            )
            if section in _FORMS
        ]
        if not sections:
            continue
        first, *later = sections
        for section in later:
            into = again if section[0].plan.section is first[0].plan.section else other
            for one, two in zip(first, section, strict=False):
                shapes = shape(one, (Part.KEYS,)), shape(two, (Part.KEYS,))
                if all(shapes):
                    into.append(similarity(*shapes))
    return (
        statistics.fmean(again) if again else None,
        statistics.fmean(other) if other else None,
    )


def _ends_home(songs: Sequence[Song]) -> float | None:
    """Share of the songs whose last notes are the tonic chord's, lowest or bass on the tonic.

    Where no bass plays, the tonic and its third must be there.
    """
    found = []
    for song in songs:
        last = next(
            (bar for bar in reversed(song) if bar.notes.get(Part.KEYS) or bar.notes.get(Part.BASS)),
            None,
        )
        if last is None:
            continue
        key = last.plan.key
        third = (key.tonic + (3 if key.mode is Mode.MINOR else 4)) % 12
        bass = last.notes.get(Part.BASS, ())
        keys = {note.pitch % 12 for note in last.notes.get(Part.KEYS, ())}
        home = bass[-1].pitch % 12 == key.tonic if bass else key.tonic in keys
        found.append(home and third in keys and last.plan.chords[-1].root == key.tonic)
    return Share(sum(found), len(found)).value
