"""Key and chords by ear: what a file that names neither seems to say, half bar by half bar.

Both are hidden Markov models over pitch-class profiles: a chord (or key) explains the classes that
sound by a multinomial, change costs, and Viterbi finds the cheapest course. The chords know the
key that was found first and who plays the lowest note.

This module knows notes on our grid, chords and keys. It must not know files or data sets.
"""

from collections.abc import Iterable, Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from lofid.music.chords import Chord, Key, Mode, Quality
from lofid.music.notes import TICKS_PER_BAR, Note

HALF_BAR = TICKS_PER_BAR // 2

Floats = NDArray[np.float64]

_MAJOR = (0.238, 0.006, 0.111, 0.006, 0.137, 0.094, 0.016, 0.214, 0.009, 0.080, 0.008, 0.081)
_MINOR = (0.220, 0.006, 0.104, 0.123, 0.019, 0.103, 0.012, 0.214, 0.062, 0.022, 0.061, 0.052)
"""How often each class above the tonic sounds (Albrecht and Shanahan, "The Use of Large Corpora to
Train a New Type of Key-Finding Algorithm", Music Perception 31, 2013)."""
_KEYS = tuple(Key(tonic, mode) for mode in (Mode.MAJOR, Mode.MINOR) for tonic in range(12))
_KEY_EVIDENCE = 8.0
_KEY_CHANGE = 30.0

_CHORDS = tuple(Chord(root, quality) for quality, root in product(Quality, range(12)))
_TONE = {0: 1.0, 3: 0.9, 4: 0.9, 7: 0.8}
_OTHER_TONE, _STRANGER, _STRANGER_IN_KEY = 0.6, 0.05, 0.15
_PRIOR = {
    Quality.MAJOR: 0.0,
    Quality.MINOR: 0.0,
    Quality.DOMINANT_7: -0.8,
    Quality.MINOR_7: -0.8,
    Quality.MAJOR_7: -0.8,
    Quality.SUS4: -1.2,
    Quality.DOMINANT_9: -1.2,
    Quality.MINOR_9: -1.2,
    Quality.MAJOR_9: -1.2,
    Quality.SUS_7: -2.0,
    Quality.ADD_9: -2.0,
}
"""Log odds against a plain triad."""
_RARE = -2.5
_OUT_OF_KEY = -0.6
_BASS_ROOT, _BASS_TONE, _BASS_STRANGER = 0.0, -1.5, -2.0
_CHORD_EVIDENCE = 8.0
_CHANGE_AT_BAR, _CHANGE_INSIDE = 1.5, 2.0


def profiles(notes: Iterable[Note], count: int) -> tuple[Floats, NDArray[np.int64]]:
    """What sounds in each half bar: ticks of each pitch class [count, 12], and the bass [count].

    Notes are at absolute ticks. The bass is the class of the lowest note that sounds for a quarter
    of the half bar at least, -1 where there is none.
    """
    sounding = np.zeros((count, 12))
    lowest = np.full(count, 128)
    for note in notes:
        end = note.start + note.duration
        for half in range(max(0, note.start // HALF_BAR), min(count, -(-end // HALF_BAR))):
            ticks = min(end, (half + 1) * HALF_BAR) - max(note.start, half * HALF_BAR)
            sounding[half, note.pitch % 12] += ticks
            if ticks >= HALF_BAR // 4:
                lowest[half] = min(lowest[half], note.pitch)
    return sounding, np.where(lowest < 128, lowest % 12, -1)


def _course(scores: Floats, change: Floats) -> list[int]:
    """The best course through states.

    ``scores`` [steps, states] are log chances, ``change`` [steps] is what leaving a state costs.
    """
    best = scores[0]
    came_from = np.zeros(scores.shape, np.int64)
    stay = np.arange(scores.shape[1])
    for step in range(1, len(scores)):
        leader = int(best.argmax())
        moves = best[leader] - change[step] > best
        came_from[step] = np.where(moves, leader, stay)
        best = np.where(moves, best[leader] - change[step], best) + scores[step]
    course = [int(best.argmax())]
    for step in range(len(scores) - 1, 0, -1):
        course.append(int(came_from[step, course[-1]]))
    return course[::-1]


def _evidence(sounding: Floats, amount: float) -> Floats:
    """Profiles scaled to ``amount`` in all; silence stays without any."""
    total = sounding.sum(1, keepdims=True)
    scaled: Floats = amount * sounding / np.maximum(total, 1.0)
    return scaled


def estimate_keys(sounding: Floats) -> list[Key]:
    """The key of each bar, from the profiles of its two half bars [twice the bars, 12]."""
    bars = sounding.reshape(-1, 2, 12).sum(1)
    profile = np.array(
        [np.roll(_MAJOR if key.mode is Mode.MAJOR else _MINOR, key.tonic) for key in _KEYS]
    )
    scores = _evidence(bars, _KEY_EVIDENCE) @ np.log(profile).T
    return [_KEYS[state] for state in _course(scores, np.full(len(bars), _KEY_CHANGE))]


def _chord_table(key: Key) -> tuple[Floats, Floats, Floats]:
    """For a key: log chance of each class [chords, 12], of each bass class, and prior [chords]."""
    tones = np.full((len(_CHORDS), 12), _STRANGER)
    tones[:, sorted(key.pitch_classes)] = _STRANGER_IN_KEY
    bass = np.full((len(_CHORDS), 12), _BASS_STRANGER)
    prior = np.zeros(len(_CHORDS))
    for index, chord in enumerate(_CHORDS):
        for interval in chord.quality.intervals:
            place = (chord.root + interval) % 12
            tones[index, place] = _TONE.get(interval, _OTHER_TONE)
            bass[index, place] = _BASS_TONE
        bass[index, chord.root] = _BASS_ROOT
        strange = len(chord.pitch_classes - key.pitch_classes)
        prior[index] = _PRIOR.get(chord.quality, _RARE) + strange * _OUT_OF_KEY
    return np.log(tones / tones.sum(1, keepdims=True)), bass, prior


def estimate_chords(
    sounding: Floats, bass: NDArray[np.int64], keys: Sequence[Key]
) -> list[Chord | None]:
    """The chord of each half bar, None where nothing sounds; ``keys`` has one a bar."""
    scores = _chord_scores(sounding, bass, keys)
    change = np.where(np.arange(len(scores)) % 2 == 0, _CHANGE_AT_BAR, _CHANGE_INSIDE)
    course = _course(scores, change)
    return [
        _CHORDS[state] if profile.any() else None
        for state, profile in zip(course, sounding, strict=True)
    ]


def _chord_scores(sounding: Floats, bass: NDArray[np.int64], keys: Sequence[Key]) -> Floats:
    """Log chance of each half bar under each chord [half bars, chords]; 0 for silence."""
    tables = {key: _chord_table(key) for key in set(keys)}
    evidence = _evidence(sounding, _CHORD_EVIDENCE)
    scores = np.zeros((len(sounding), len(_CHORDS)))
    for half, profile in enumerate(evidence):
        tones, low, prior = tables[keys[half // 2]]
        if profile.any():
            scores[half] = tones @ profile + prior
            if bass[half] >= 0:
                scores[half] += low[:, bass[half]]
    return scores
