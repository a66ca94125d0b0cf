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

from lofid.music.midi import Song, Track
from lofid.music.notes import BEATS_PER_BAR, PPQ, SIXTEENTH, TICKS_PER_BAR, Note

Floats = NDArray[np.float64]

ON_GRID = 0.3
"""From this concentration on, onsets count as lying on their grid; random ones reach about 0.1."""
_HEARD = 0.5
"""The same for beats by ear, which lie on onsets: noise reaches 0.45, songs begin at 0.55."""
_MACHINE = 0.97
_EARLY_OR_LATE = 24  # ticks: more is another grid, not a feel
_TRIPLET = PPQ // 3

_RATE = 100  # frames a second
_SMOOTH = 2.0  # frames
_TEMPI = (50.0, 160.0)
_USUAL_TEMPO, _TEMPO_WIDTH = 85.0, 0.6  # BPM, octaves
_TIGHTNESS = 200.0
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


def aligned(song: Song, metre_known: bool) -> tuple[tuple[Track, ...], float] | None:
    """The tracks with bar lines at multiples of 1920 ticks, and the mean tempo in BPM.

    ``metre_known`` says that the file's own bar lines hold if its notes lie on its grid. None where
    no steady beat was found.
    """
    onsets = _onsets(song.tracks)
    close, late = concentration(onsets)
    if close >= ON_GRID:
        tempo = _mean_tempo(song, onsets)
        if abs(late) <= _EARLY_OR_LATE:
            tracks = _moved(song.tracks, round(late)) if close >= _MACHINE else song.tracks
            return (tracks if metre_known else _barred(tracks)), tempo
        return _barred(_moved(song.tracks, round(late))), tempo
    return _tracked(song)


def _mean_tempo(song: Song, onsets: Floats) -> float:
    first, last = int(onsets[0]), int(onsets[-1])
    seconds = song.seconds(last) - song.seconds(first)
    return (last - first) / PPQ * 60 / seconds if seconds > 0 else song.tempi[0].bpm


def _times(song: Song, ticks: Floats) -> Floats:
    """Seconds of ticks, through the tempo map."""
    marks = np.array([tempo.tick for tempo in song.tempi], np.float64)
    slopes = np.array([60 / (tempo.bpm * PPQ) for tempo in song.tempi])
    at_marks = np.concatenate([[0.0], np.cumsum(np.diff(marks) * slopes[:-1])])
    section = np.clip(np.searchsorted(marks, ticks, "right") - 1, 0, None)
    seconds: Floats = at_marks[section] + (ticks - marks[section]) * slopes[section]
    return seconds


def _tracked(song: Song) -> tuple[tuple[Track, ...], float] | None:
    """Beats by ear: every beat becomes 480 ticks."""
    notes = [note for track in song.tracks for note in track.notes]
    starts = _times(song, np.array([note.start for note in notes], np.float64))
    loud = np.array([note.velocity for note in notes], np.float64)
    beats = track_beats(starts, loud)
    if beats is None:
        return None

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
    if concentration(_onsets(tracks))[0] < _HEARD:
        return None
    return _barred(tracks), float(60 / np.median(np.diff(beats)))


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
    the one whose longest low note is longest in the mean begins the bar.
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
    turn = int(longest.reshape(-1, BEATS_PER_BAR).mean(0).argmax())
    line = offset * SIXTEENTH + (earliest + turn) * PPQ
    while starts.min() < line - SIXTEENTH // 2:
        line -= TICKS_PER_BAR
    return _moved(tracks, line)
