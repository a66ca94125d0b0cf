"""The sample-by-sample loops of the sound room, compiled by numba.

Every kernel carries its state in arrays that the caller keeps between blocks, so that cutting the
stream into other blocks changes nothing. Audio is float32 [frames, 2] unless said otherwise.
"""

import numpy as np
from numpy.typing import NDArray

from lofid.compiled import compiled

Audio = NDArray[np.float32]
State = NDArray[np.float64]
"""Levels that have [2] in their shape are those at the block's first frame and behind its last."""


@compiled()
def k_weighted_hops(audio: Audio, hop: int, state: State, partial: State) -> State:
    """Mean squares of the K-weighted audio, both channels summed, for every whole hop of frames.

    ITU-R BS.1770-4, with its coefficients for 48 kHz. ``state`` [2 channels, 2 filters, 2 delays]
    and ``partial`` (energy and frames of the hop that has begun) are updated in place.
    """
    # The standard's two stages: the head's high shelf, then the RLB high-pass.
    b = (
        (1.53512485958697, -2.69169618940638, 1.19839281085285),
        (1.0, -2.0, 1.0),
    )
    a = ((-1.69065929318241, 0.73248077421585), (-1.99004745483398, 0.99007225036621))
    frames = audio.shape[0]
    hops = np.empty(int(partial[1] + frames) // hop)
    done = 0
    for n in range(frames):
        for channel in range(2):
            x = float(audio[n, channel])
            for stage in range(2):
                y = b[stage][0] * x + state[channel, stage, 0]
                state[channel, stage, 0] = (
                    b[stage][1] * x - a[stage][0] * y + state[channel, stage, 1]
                )
                state[channel, stage, 1] = b[stage][2] * x - a[stage][1] * y
                x = y
            partial[0] += x * x
        partial[1] += 1.0
        if partial[1] >= hop:
            hops[done] = partial[0] / hop
            done += 1
            partial[:] = 0.0
    return hops


@compiled()
def gated_mean(energies: State, count: int) -> float:
    """The mean of the first ``count`` energies behind EBU R 128's relative gate, -10 LU."""
    total = 0.0
    for i in range(count):
        total += energies[i]
    gate = 0.1 * total / count
    total, inside = 0.0, 0
    for i in range(count):
        if energies[i] >= gate:
            total += energies[i]
            inside += 1
    return total / inside


@compiled()
def _ramps(levels: State, frames: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return levels[0].astype(np.float32), ((levels[1] - levels[0]) / frames).astype(np.float32)


@compiled()
def gathered(parts: Audio, levels: State, keys: Audio, bass: Audio, drums: Audio) -> None:
    """From the synthesizer's parts to stems.

    ``parts`` [keys, melody, bass, drums; 2 channels; frames]; ``levels`` [2, 4] are their gains at
    the block's first frame and behind its last.
    """
    frames = parts.shape[2]
    gains, steps = _ramps(levels, frames)
    for channel in range(2):
        for n in range(frames):
            keys[n, channel] = (
                parts[0, channel, n] * (gains[0] + n * steps[0])
                + parts[1, channel, n] * (gains[1] + n * steps[1])
            )  # fmt: skip
            bass[n, channel] = parts[2, channel, n] * (gains[2] + n * steps[2])
            drums[n, channel] = parts[3, channel, n] * (gains[3] + n * steps[3])


@compiled()
def pushed(keys: Audio, texture: Audio, push: NDArray[np.float32], depth: State) -> None:
    """Turn the keys down by ``depth`` [2] dB where the push is 1, the texture by half of that."""
    frames = keys.shape[0]
    for n in range(frames):
        decibels = push[n] * (depth[0] + (depth[1] - depth[0]) * n / frames)
        if decibels > 0.0:
            half = np.exp(decibels * -0.05756462732485115)  # of 10 ** (1 / 40)
            for channel in range(2):
                keys[n, channel] *= half * half
                texture[n, channel] *= half


@compiled()
def balanced(stems: Audio, levels: State, music: Audio) -> None:
    """Bring ``stems`` [4, frames, 2] to their ``levels`` [2, 4], in place.

    The first three make up the music; texture, the last, is laid on top of it later.
    """
    frames = stems.shape[1]
    gains, steps = _ramps(levels, frames)
    music[:] = 0.0
    for stem in range(4):
        for n in range(frames):
            gain = gains[stem] + n * steps[stem]
            for channel in range(2):
                stems[stem, n, channel] *= gain
                if stem < 3:
                    music[n, channel] += stems[stem, n, channel]


@compiled()
def laid_on(music: Audio, texture: Audio, levels: State) -> None:
    """Music and texture at their ``levels`` [2, 2], together in ``music``."""
    frames = music.shape[0]
    gains, steps = _ramps(levels, frames)
    for n in range(frames):
        for channel in range(2):
            music[n, channel] = music[n, channel] * (gains[0] + n * steps[0]) + texture[
                n, channel
            ] * (gains[1] + n * steps[1])


@compiled()
def round_off(audio: Audio, knee: float) -> None:
    """Bend what rises above ``knee`` towards full scale, by a tanh, in place."""
    room = 1.0 - knee
    for n in range(audio.shape[0]):
        for channel in range(2):
            over = abs(audio[n, channel]) - knee
            if over > 0.0:
                bent = knee + room * np.tanh(over / room)
                audio[n, channel] = np.copysign(bent, audio[n, channel])


@compiled()
def add(out: Audio, audio: Audio, level: State) -> None:
    """Add audio to ``out`` at its ``level`` [2]."""
    frames = out.shape[0]
    for n in range(frames):
        gain = np.float32(level[0] + (level[1] - level[0]) * n / frames)
        for channel in range(2):
            out[n, channel] += audio[n, channel] * gain


@compiled()
def delayed(audio: Audio, level: State, history: Audio, out: Audio) -> None:
    """The audio [frames, 2] at its ``level`` [2], as many frames late as ``history`` holds.

    That is no more than the block.
    """
    frames, late = audio.shape[0], history.shape[0]
    for channel in range(2):
        for n in range(late):
            out[n, channel] = history[n, channel]
        for n in range(frames):
            value = audio[n, channel] * (level[0] + (level[1] - level[0]) * n / frames)
            if n + late < frames:
                out[n + late, channel] = value
            else:
                history[n + late - frames, channel] = value


@compiled()
def chorus(
    audio: Audio,
    mix: State,
    delays: tuple[float, float],
    phase: float,
    rate: float,
    history: Audio,
) -> None:
    """Mix the audio with itself, delayed by a time that sways, in place.

    ``mix`` [2] is the delayed one's share; ``delays`` the middle and the swing around it in frames,
    less together than ``history`` [frames, 2] holds of what came before; ``phase`` (radians) that
    of the sway at the block's first frame, ``rate`` radians a frame.
    """
    frames, kept = audio.shape[0], history.shape[0]
    line = np.empty((kept + frames, 2), dtype=np.float32)
    line[:kept] = history
    line[kept:] = audio
    history[:] = line[frames:]
    if mix[0] == 0.0 and mix[1] == 0.0:
        return
    for n in range(frames):
        place = kept + n - delays[0] - delays[1] * np.sin(phase + rate * n)
        base = int(place)
        t = np.float32(place - base)
        share = np.float32(mix[0] + (mix[1] - mix[0]) * n / frames)
        for channel in range(2):
            late = line[base, channel] + t * (line[base + 1, channel] - line[base, channel])
            audio[n, channel] += share * (late - audio[n, channel])


@compiled()
def reverberate(
    audio: Audio,
    wet: State,
    feedback: float,
    damping: float,
    combs: NDArray[np.int64],
    allpasses: NDArray[np.int64],
    line: NDArray[np.float32],
    state: NDArray[np.float32],
    places: NDArray[np.int64],
) -> None:
    """Lay a room over the audio, in place: Schroeder's and Moorer's, tuned as Freeverb is.

    ``wet`` [2] is its level; ``combs`` and ``allpasses`` [2 channels, count] are their lengths in
    frames. ``line`` holds all of their delays end to end, ``state`` [2, combs] what damps each
    comb, ``places`` [2, combs + allpasses] where each delay's oldest frame lies.
    """
    start = 0
    into = np.empty(audio.shape[0], dtype=np.float32)
    for n in range(audio.shape[0]):
        into[n] = np.float32(0.015) * (audio[n, 0] + audio[n, 1])
    room = np.empty_like(into)
    back, damp = np.float32(feedback), np.float32(damping)
    for channel in range(2):
        room[:] = 0.0
        for i in range(combs.shape[1]):
            length, place, low = combs[channel, i], places[channel, i], state[channel, i]
            for n in range(room.shape[0]):
                late = line[start + place]
                low = late + damp * (low - late)
                line[start + place] = into[n] + back * low
                room[n] += late
                place += 1
                if place == length:
                    place = 0
            # What fades for minutes must not end in denormal numbers, which are slow.
            state[channel, i] = low if abs(low) > 1e-15 else np.float32(0.0)
            places[channel, i] = place
            start += length
        for i in range(allpasses.shape[1]):
            length, place = allpasses[channel, i], places[channel, combs.shape[1] + i]
            for n in range(room.shape[0]):
                late = line[start + place]
                line[start + place] = room[n] + np.float32(0.5) * late
                room[n] = late - room[n]
                place += 1
                if place == length:
                    place = 0
            places[channel, combs.shape[1] + i] = place
            start += length
        for n in range(room.shape[0]):
            level = np.float32(wet[0] + (wet[1] - wet[0]) * n / room.shape[0])
            audio[n, channel] += level * room[n]


@compiled()
def filter_and_compress(
    audio: Audio,
    poles: State,
    threshold: float,
    slope: float,
    attack: float,
    release: float,
    state: State,
) -> None:
    """Two one-pole low-passes, then a compressor on each channel's peak, in place.

    ``poles`` [2] are the filters' coefficients g / (1 + g), g = tan(pi f / rate), at the block's
    first frame and behind its last; in this form (Zavalishin, The Art of VA Filter Design, 2012,
    section 3.10) they may move without a click. ``slope`` is 1 / ratio - 1, ``attack`` and
    ``release`` one-pole coefficients, ``state`` [2 channels, 2 filters and the envelope].
    """
    frames = audio.shape[0]
    step = (poles[1] - poles[0]) / frames
    for channel in range(2):
        first, second, envelope = state[channel, 0], state[channel, 1], state[channel, 2]
        pole = poles[0]
        for n in range(frames):
            way = (audio[n, channel] - first) * pole
            x = first + way
            first = x + way
            way = (x - second) * pole
            x = second + way
            second = x + way
            pole += step
            level = abs(x)
            envelope += (attack if level > envelope else release) * (level - envelope)
            if envelope > threshold:
                x *= (envelope / threshold) ** slope
            audio[n, channel] = x
        state[channel, 0], state[channel, 1], state[channel, 2] = first, second, envelope


@compiled()
def saturate_and_waver(
    audio: Audio,
    drive: State,
    depths: NDArray[np.float64],
    first_frame: int,
    phases: NDArray[np.float64],
    rates: NDArray[np.float64],
    history: Audio,
    out: Audio,
) -> None:
    """Tape: soft saturation, then a delay that wavers by wow and flutter.

    ``drive`` [2] is the small-signal gain into tanh (taken out again behind it) at the block's
    first frame and behind its last. The delay is half the history plus the sum of sines of
    ``depths`` [2, sines] (frames, likewise), ``rates`` (radians a frame) and ``phases``.
    ``history`` [frames, 2] holds the frames before the block; it is updated in place.
    """
    frames, kept = audio.shape[0], history.shape[0]
    line = np.empty((kept + frames, 2), dtype=np.float32)
    line[:kept] = history
    for n in range(frames):
        scale = np.float32(drive[0] + (drive[1] - drive[0]) * n / frames)
        for channel in range(2):
            # tanh's continued fraction, cut: within 2.5 % of it, and far cheaper.
            x = min(np.float32(3.0), max(np.float32(-3.0), scale * audio[n, channel]))
            square = x * x
            y = x * (np.float32(27.0) + square) / (np.float32(27.0) + np.float32(9.0) * square)
            line[kept + n, channel] = y / scale
    # The sines move slowly against the frames: they turn by rotation, set right every 256 frames.
    sines, cosines = np.sin(phases), np.cos(phases)
    turns = np.stack((np.cos(rates), np.sin(rates)), axis=1)
    for n in range(frames):
        delay = kept / 2.0
        for i in range(rates.shape[0]):
            if n % 256 == 0:
                # Frame counts grow for months: take whole turns away before the sine.
                angle = (phases[i] + rates[i] * (first_frame + n)) % (2.0 * np.pi)
                sines[i], cosines[i] = np.sin(angle), np.cos(angle)
            depth = depths[0, i] + (depths[1, i] - depths[0, i]) * n / frames
            delay += depth * sines[i]
            sines[i], cosines[i] = (
                sines[i] * turns[i, 0] + cosines[i] * turns[i, 1],
                cosines[i] * turns[i, 0] - sines[i] * turns[i, 1],
            )
        place = kept + n - delay
        base = int(np.floor(place))
        t = place - base
        # Third-order Lagrange interpolation between base and base + 1.
        c0 = -t * (t - 1.0) * (t - 2.0) / 6.0
        c1 = (t + 1.0) * (t - 1.0) * (t - 2.0) / 2.0
        c2 = -(t + 1.0) * t * (t - 2.0) / 2.0
        c3 = (t + 1.0) * t * (t - 1.0) / 6.0
        for channel in range(2):
            out[n, channel] = (
                c0 * line[base - 1, channel]
                + c1 * line[base, channel]
                + c2 * line[base + 1, channel]
                + c3 * line[base + 2, channel]
            )
    history[:] = line[frames:]


@compiled()
def crush(audio: Audio, bits: float, step: float, mix: State, state: State) -> None:
    """Sample and hold at ``step`` of the rate (0-1], quantised to ``bits``, mixed in place.

    ``mix`` [2] is how much of it; ``state`` is [phase, held left, held right].
    """
    levels = 2.0 ** (bits - 1.0)
    for n in range(audio.shape[0]):
        state[0] += step
        if state[0] >= 1.0:
            state[0] -= 1.0
            state[1] = np.round(audio[n, 0] * levels) / levels
            state[2] = np.round(audio[n, 1] * levels) / levels
        share = mix[0] + (mix[1] - mix[0]) * n / audio.shape[0]
        audio[n, 0] += share * (state[1] - audio[n, 0])
        audio[n, 1] += share * (state[2] - audio[n, 1])


@compiled()
def ducking(
    kicks: NDArray[np.int64],
    strengths: NDArray[np.float64],
    attack: float,
    hold: int,
    release: float,
    state: State,
    out: NDArray[np.float32],
) -> None:
    """How far the kick pushes down, 0 (not at all) to 1, for every frame of ``out``.

    ``kicks`` are frames inside the block, in order, each with a strength 0-1; ``attack`` and
    ``release`` are one-pole coefficients, ``hold`` the frames for which the attack goes on.
    ``state`` is [envelope, target, frames of hold left].
    """
    next_kick = 0
    for n in range(out.shape[0]):
        while next_kick < kicks.shape[0] and kicks[next_kick] <= n:
            state[1] = strengths[next_kick]
            state[2] = hold
            next_kick += 1
        if state[2] > 0.0:
            state[2] -= 1.0
            if state[1] > state[0]:
                state[0] += attack * (state[1] - state[0])
        else:
            state[0] -= release * state[0]
        out[n] = state[0]


@compiled()
def limit(
    audio: Audio,
    ceiling: float,
    release: float,
    taps: NDArray[np.float64],
    history: Audio,
    needed: State,
    state: State,
    out: Audio,
) -> None:
    """Look-ahead limiter on the true peak (ITU-R BS.1770-4, annex 2).

    ``taps`` [phases, length] interpolates between frames; ``history`` [look + length // 2 - 1, 2]
    is the delay line, ``needed`` [2, look] holds two rings: the gains that the peaks ask for, and
    their smoothed minimum; ``state`` is [gain behind the release, ring position, sum of the
    second ring, frames until no peak is left in the first]. The output lies
    ``history.shape[0]`` frames behind the input.
    """
    frames, kept, look = audio.shape[0], history.shape[0], needed.shape[1]
    phases, length = taps.shape
    line = np.empty((kept + frames, 2), dtype=np.float32)
    line[:kept] = history
    line[kept:] = audio
    position = int(state[1])
    for n in range(frames):
        # The peak between the two frames that lie in the middle of the interpolator.
        newest = kept + n
        peak = 0.0
        for channel in range(2):
            here = abs(line[newest - length // 2, channel])
            after = abs(line[newest - length // 2 + 1, channel])
            peak = max(peak, here)
            # Between two quiet frames no music rises above the ceiling.
            if here + after > 0.4 * ceiling:
                for phase in range(phases):
                    value = 0.0
                    for k in range(length):
                        value += taps[phase, k] * line[newest - k, channel]
                    peak = max(peak, abs(value))
        needed[0, position] = min(1.0, ceiling / peak) if peak > 0.0 else 1.0
        lowest = 1.0
        if needed[0, position] < 1.0 or state[3] > 0.0:
            # Only while a peak lies inside the window does the minimum need a search.
            state[3] = look if needed[0, position] < 1.0 else state[3] - 1.0
            for i in range(look):
                lowest = min(lowest, needed[0, i])
        if lowest < state[0]:
            state[0] = lowest
        else:
            state[0] += release * (lowest - state[0])
        state[2] += state[0] - needed[1, position]
        needed[1, position] = state[0]
        gain = state[2] / look
        out[n, 0] = line[n, 0] * gain
        out[n, 1] = line[n, 1] * gain
        position = (position + 1) % look
    # The running sum is taken afresh, so that rounding does not gather over months.
    state[2] = needed[1].sum()
    state[1] = position
    history[:] = line[frames:]


@compiled()
def pink(white: Audio, state: State) -> None:
    """White noise to pink (Paul Kellet's economy filter, ±0.5 dB from 20 Hz), in place.

    ``state`` is [2 channels, 3 poles].
    """
    for channel in range(2):
        for n in range(white.shape[0]):
            x = float(white[n, channel])
            state[channel, 0] = 0.99765 * state[channel, 0] + x * 0.0990460
            state[channel, 1] = 0.96300 * state[channel, 1] + x * 0.2965164
            state[channel, 2] = 0.57000 * state[channel, 2] + x * 1.0526913
            white[n, channel] = 0.2 * (
                state[channel, 0] + state[channel, 1] + state[channel, 2] + x * 0.1848
            )


@compiled()
def band(audio: Audio, low: float, high: float, state: State) -> None:
    """One-pole high-pass and low-pass (coefficients of the poles), in place.

    ``state`` is [2 channels, 2].
    """
    for channel in range(2):
        for n in range(audio.shape[0]):
            x = float(audio[n, channel])
            state[channel, 0] += low * (x - state[channel, 0])
            state[channel, 1] += high * (x - state[channel, 0] - state[channel, 1])
            audio[n, channel] = state[channel, 1]


@compiled()
def add_rings(
    out: Audio,
    starts: NDArray[np.int64],
    levels: NDArray[np.float64],
    pans: NDArray[np.float64],
    pitches: NDArray[np.float64],
    decays: NDArray[np.float64],
    length: int,
) -> None:
    """Add short decaying sines (clicks, drops) to ``out``; pitches in radians a frame."""
    for i in range(starts.shape[0]):
        level = levels[i]
        for n in range(min(length, out.shape[0] - starts[i])):
            value = level * np.sin(pitches[i] * (n + 1))
            out[starts[i] + n, 0] += value * (1.0 - pans[i])
            out[starts[i] + n, 1] += value * pans[i]
            level *= decays[i]
