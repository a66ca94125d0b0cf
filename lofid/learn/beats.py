"""Where the beats are: a file's own grid where its notes lie on it, else by ear.

A file played to a click has its onsets near sixteenths or triplets of its own ticks. In one played
freely the ticks mean nothing but time: tempo is then found by the autocorrelation of the onsets,
beats by dynamic programming (D. Ellis, "Beat Tracking by Dynamic Programming", Journal of New
Music Research 36, 2007), bar lines by where the bass rests longest.

This module knows notes, tempo maps and the grid. It must not know files or data sets.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lofid.music.midi import MidiSong, Track
from lofid.music.notes import (
    BEATS_PER_BAR,
    DRUM_CLASS,
    PPQ,
    SIXTEENTH,
    TICKS_PER_BAR,
    DrumClass,
    Note,
)

Floats = NDArray[np.float64]

ON_GRID = 0.3
"""From this concentration on, onsets count as lying on their grid; random ones reach about 0.1."""
_HEARD = 0.5
"""The same for beats by ear, which lie on onsets: noise reaches 0.45, songs begin at 0.55."""
_MACHINE, _EXACT = 0.97, 0.999
_OTHER_TEMPO = 0.03  # a share
_STEADY = 0.05  # seconds that a beat is longer or shorter than most
_WEIGHTS = ((PPQ, 1.0), (PPQ // 2, 0.6), (PPQ // 4, 0.3), (PPQ // 3, 0.2), (1, 0.0))
"""What an onset tells about a beat, by the finest step (ticks) that it keeps to."""
_EARLY_OR_LATE = 24  # ticks: more is another grid, not a feel
_TRIPLET = PPQ // 3

_RATE = 100  # frames a second
_SMOOTH = 2.0  # frames
_TEMPI = (50.0, 160.0)
_USUAL_TEMPO, _TEMPO_WIDTH = 85.0, 0.6  # BPM, octaves
_TIGHTNESS = 200.0
_AS_GOOD = 0.97
"""The share of the longest rest of the bass from which on another beat's is as good."""
_LOW_SHARE = 0.35
"""The share of notes, from the lowest up, among which the bass is sought."""


def concentration(onsets: Floats) -> tuple[float, float]:
    """How closely onsets keep to sixteenths or triplet eighths of 480 ticks, 0 to 1; and how late.

    The first is the mean resultant length of their phases, the second the circular mean in ticks.
    """
    if not len(onsets):
        return 0.0, 0.0
    best = (0.0, 0.0)
    for step in (SIXTEENTH, _TRIPLET):
        mean = complex(np.exp(2j * np.pi * onsets / step).mean())
        best = max(best, (abs(mean), float(np.angle(mean)) / (2 * np.pi) * step))
    return best


def _onsets(tracks: Iterable[Track]) -> Floats:
    starts = {(note.start) for track in tracks for note in track.notes}
    return np.array(sorted(starts), np.float64)


def _moved(tracks: Iterable[Track], ticks: int) -> tuple[Track, ...]:
    """The tracks ``ticks`` earlier; what would begin before the first bar line is left out."""
    return tuple(
        replace(
            track,
            notes=tuple(
                replace(note, start=note.start - ticks)
                for note in track.notes
                if note.start - ticks >= -SIXTEENTH // 2
            ),
        )
        for track in tracks
    )


def aligned(song: MidiSong, metre_known: bool) -> tuple[tuple[Track, ...], float] | None:
    """The tracks with bar lines at multiples of 1920 ticks, and the mean tempo in BPM.

    ``metre_known`` says that the file's own bar lines hold if its notes lie on its grid. None where
    no steady beat was found.
    """
    onsets = _onsets(song.tracks)
    close, late = concentration(onsets)
    if close < ON_GRID:
        return _tracked(song)
    tempo = _mean_tempo(song, onsets)
    if close < _EXACT and len({one.bpm for one in song.tempi}) == 1:
        # Nobody need have played to this map: a program may have noted down what it heard.
        heard = _tracked(song)
        if heard is not None and _is_better(heard, (song.tracks, tempo)):
            return heard
    if abs(late) <= _EARLY_OR_LATE:
        tracks = _moved(song.tracks, round(late)) if close >= _MACHINE else song.tracks
        return (tracks if metre_known else _barred(tracks)), tempo
    return _barred(_moved(song.tracks, round(late))), tempo


def _is_better(heard: tuple[Sequence[Track], float], given: tuple[Sequence[Track], float]) -> bool:
    """Whether beats by ear carry the music better than those of a file's map.

    At half or double the tempo the snare must say it.
    """
    ratio = heard[1] / given[1]
    if abs(ratio - 1) < _OTHER_TEMPO:
        return False
    if min(abs(ratio - 2), abs(2 * ratio - 1)) < _OTHER_TEMPO:
        return _backbeat(heard[0]) > _backbeat(_barred(given[0]))
    return _weight_on_beats(heard[0]) > _weight_on_beats(given[0])


def _weight_on_beats(tracks: Iterable[Track]) -> float:
    """How much onsets keep to beats and eighths rather than to what lies between, 0 to 1."""
    onsets = _onsets(tracks)
    found = np.full(len(onsets), _WEIGHTS[-1][1])
    for step, weight in reversed(_WEIGHTS):
        off = np.abs((onsets + step / 2) % step - step / 2)
        found[off <= _EARLY_OR_LATE] = weight
    return float(found.mean())


def _backbeat(tracks: Iterable[Track]) -> float:
    """The share of snares on the second and fourth beat; 0 without any."""
    beats = _hits(tracks, DrumClass.SNARE) / PPQ
    nearest = np.round(beats)
    on_beat = np.abs(beats - nearest) * PPQ <= _EARLY_OR_LATE
    return float((on_beat & (nearest % 2 == 1)).mean()) if len(beats) else 0.0


def _hits(tracks: Iterable[Track], drum: DrumClass) -> Floats:
    """Where a drum is struck."""
    return np.array(
        [
            note.start
            for track in tracks
            if track.is_drums
            for note in track.notes
            if DRUM_CLASS.get(note.pitch) is drum
        ],
        np.float64,
    )


def _mean_tempo(song: MidiSong, onsets: Floats) -> float:
    first, last = int(onsets[0]), int(onsets[-1])
    seconds = song.seconds(last) - song.seconds(first)
    return (last - first) / PPQ * 60 / seconds if seconds > 0 else song.tempi[0].bpm


def _times(song: MidiSong, ticks: Floats) -> Floats:
    """Seconds of ticks, through the tempo map."""
    marks = np.array([tempo.tick for tempo in song.tempi], np.float64)
    slopes = np.array([60 / (tempo.bpm * PPQ) for tempo in song.tempi])
    at_marks = np.concatenate([[0.0], np.cumsum(np.diff(marks) * slopes[:-1])])
    section = np.clip(np.searchsorted(marks, ticks, "right") - 1, 0, None)
    seconds: Floats = at_marks[section] + (ticks - marks[section]) * slopes[section]
    return seconds


def _tracked(song: MidiSong) -> tuple[tuple[Track, ...], float] | None:
    """Beats by ear: every beat becomes 480 ticks."""
    notes = [note for track in song.tracks for note in track.notes]
    starts = _times(song, np.array([note.start for note in notes], np.float64))
    loud = np.array([note.velocity for note in notes], np.float64)
    beats = track_beats(starts, loud)
    if beats is None:
        return None
    tracks = _set_on(song, beats)
    if concentration(_onsets(tracks))[0] < _HEARD:
        return None
    # At half or double the tempo the same notes lie on beats; then the snare must say it.
    doubled = np.insert((beats[1:] + beats[:-1]) / 2, np.arange(len(beats)), beats)
    barred, counted = max(
        ((_barred(_set_on(song, one)), one) for one in (beats, doubled, beats[::2])),
        key=lambda heard: _backbeat(heard[0]),
    )
    steps = np.diff(counted)  # whole hundredths of a second: their mean is more exact
    usual = np.abs(steps - np.median(steps)) <= _STEADY
    return barred, float(60 / steps[usual].mean())


def _set_on(song: MidiSong, beats: Floats) -> tuple[Track, ...]:
    """The tracks with every beat (a time in seconds) at a multiple of 480 ticks."""

    def ticks(seconds: Floats) -> Floats:
        return _on_beats(seconds, beats)

    tracks = []
    for track in song.tracks:
        begin = np.array([note.start for note in track.notes], np.float64)
        end = begin + np.array([note.duration for note in track.notes], np.float64)
        begins, ends = ticks(_times(song, begin)), ticks(_times(song, end))
        tracks.append(
            replace(
                track,
                notes=tuple(
                    Note(round(a), note.pitch, max(1, round(b - a)), note.velocity)
                    for note, a, b in zip(track.notes, begins, ends, strict=True)
                ),
            )
        )
    return tuple(tracks)


def _on_beats(seconds: Floats, beats: Floats) -> Floats:
    """Ticks of times, a beat being 480; before and after the beats as the nearest two go."""
    index = np.clip(np.searchsorted(beats, seconds, "right") - 1, 0, len(beats) - 2)
    span = beats[index + 1] - beats[index]
    ticks: Floats = PPQ * (index + (seconds - beats[index]) / span)
    return ticks


def track_beats(starts: Floats, loudness: Floats) -> Floats | None:
    """Times of the beats in seconds, from onsets in seconds and their weights.

    None for fewer than eight onsets or less than four seconds.
    """
    if len(starts) < 8 or np.ptp(starts) < 4:
        return None
    first = starts.min()
    novelty = np.zeros(int(np.ceil((starts.max() - first) * _RATE)) + 2 * _RATE)
    np.add.at(novelty, np.round((starts - first) * _RATE).astype(int) + _RATE // 2, loudness)
    width = np.arange(-8, 9)
    novelty = np.convolve(novelty**0.5, np.exp(-0.5 * (width / _SMOOTH) ** 2), "same")
    novelty /= novelty.std()
    period = _period(novelty)
    back = np.arange(round(period / 2), round(period * 2) + 1)
    cost = -_TIGHTNESS * np.log(back / period) ** 2
    score, came_from = novelty.copy(), np.full(len(novelty), -1)
    for frame in range(int(back[0]), len(novelty)):
        usable = back[back <= frame]
        options = score[frame - usable] + cost[: len(usable)]
        best = int(options.argmax())
        if options[best] > 0:
            score[frame] += options[best]
            came_from[frame] = frame - usable[best]
    tail = len(score) - round(period)
    frame = tail + int(score[tail:].argmax())
    beats = []
    while frame >= 0:
        beats.append(frame)
        frame = int(came_from[frame])
    if len(beats) < 8:
        return None
    times: Floats = (np.array(beats[::-1]) - _RATE // 2) / _RATE + first
    return times


def _period(novelty: Floats) -> float:
    """The beat's length in frames: the best lag of the autocorrelation near the usual tempo."""
    size = 2 * len(novelty)
    spectrum = np.fft.rfft(novelty - novelty.mean(), size)
    correlation = np.fft.irfft(np.abs(spectrum) ** 2, size)
    lags = np.arange(round(60 * _RATE / _TEMPI[1]), round(60 * _RATE / _TEMPI[0]) + 1)
    octaves = np.log2(60 * _RATE / lags / _USUAL_TEMPO)
    support = correlation[lags] + 0.5 * correlation[2 * lags] + 0.25 * correlation[4 * lags]
    weighed = support * np.exp(-0.5 * (octaves / _TEMPO_WIDTH) ** 2)
    return float(lags[int(weighed.argmax())])


def _barred(tracks: Sequence[Track]) -> tuple[Track, ...]:
    """The tracks moved so that bars begin where the bass says; the first bar is whole.

    First the sixteenth that carries most of the sound becomes the beat; then, of the four beats,
    the one whose longest low note is longest in the mean begins the bar. Where two are as good, the
    one with more bass drums does, then the first.
    """
    notes = [note for track in tracks for note in track.notes]
    starts = np.array([note.start for note in notes], np.float64)
    lengths = np.minimum([note.duration for note in notes], TICKS_PER_BAR)
    pitches = np.array([note.pitch for note in notes])
    weight = np.array([note.velocity for note in notes]) * np.minimum(lengths, PPQ)
    sixteenths = np.round(starts / SIXTEENTH).astype(int)
    offset = int(np.bincount(sixteenths % 4, weight, 4).argmax())
    beats, off_beat = np.divmod(sixteenths - offset, 4)
    anchors = (off_beat == 0) & (pitches <= np.quantile(pitches, _LOW_SHARE))
    earliest = int(beats.min())
    longest = np.zeros(BEATS_PER_BAR * (1 + (int(beats.max()) - earliest) // BEATS_PER_BAR))
    np.maximum.at(longest, beats[anchors] - earliest, lengths[anchors])
    rests = longest.reshape(-1, BEATS_PER_BAR).mean(0)
    kicks = _kicks(tracks, offset * SIXTEENTH + earliest * PPQ)
    good = [turn for turn in range(BEATS_PER_BAR) if rests[turn] >= _AS_GOOD * rests.max()]
    turn = max(good, key=lambda turn: (kicks[turn], -turn))
    line = offset * SIXTEENTH + (earliest + turn) * PPQ
    while starts.min() < line - SIXTEENTH // 2:
        line -= TICKS_PER_BAR
    return _moved(tracks, line)


def _kicks(tracks: Iterable[Track], first: int) -> NDArray[np.int_]:
    """How many bass drums fall on each of the four beats, counted from the tick ``first``."""
    places = np.round((_hits(tracks, DrumClass.KICK) - first) / SIXTEENTH).astype(int)
    beats, off_beat = np.divmod(places, 4)
    return np.bincount(beats[off_beat == 0] % BEATS_PER_BAR, minlength=BEATS_PER_BAR)
