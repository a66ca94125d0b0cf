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
def _filtered(x: float, g: float, state: State, row: int) -> tuple[float, float]:
    """Low-pass and high-pass of a second-order Butterworth filter, for one frame.

    Zavalishin's form, which may move without a click: ``g`` is tan(pi f / rate), the filter's two
    memories are ``state[row]``.
    """
    damping = 1.4142135623730951
    first, second = state[row, 0], state[row, 1]
    band = (first + g * (x - second)) / (1.0 + g * (g + damping))
    low = second + g * band
    state[row, 0] = 2.0 * band - first
    state[row, 1] = 2.0 * low - second
    return low, x - damping * band - low


@compiled()
def _bent(x: float) -> float:
    """About tanh, within 2.5 %, and far cheaper: its continued fraction, cut."""
    x = min(3.0, max(-3.0, x))
    return x * (27.0 + x * x) / (27.0 + 9.0 * x * x)


@compiled()
def gathered(
    parts: Audio, levels: State, widths: State, keys: Audio, bass: Audio, drums: Audio
) -> None:
    """From the synthesizer's parts to stems.

    ``parts`` [keys, melody, bass, drums; 2 channels; frames]; ``levels`` [2, 4] are their gains at
    the block's first frame and behind its last, ``widths`` [2, 4] what is kept of their sides.
    """
    frames = parts.shape[2]
    gains, steps = _ramps(levels, frames)
    kept, moves = _ramps(widths, frames)
    keys[:] = 0.0
    for part in range(4):
        for n in range(frames):
            gain = 0.5 * (gains[part] + n * steps[part])
            middle = gain * (parts[part, 0, n] + parts[part, 1, n])
            side = gain * (parts[part, 0, n] - parts[part, 1, n]) * (kept[part] + n * moves[part])
            if part < 2:
                keys[n, 0] += middle + side
                keys[n, 1] += middle - side
            elif part == 2:
                bass[n, 0], bass[n, 1] = middle + side, middle - side
            else:
                drums[n, 0], drums[n, 1] = middle + side, middle - side


@compiled()
def channel_of_keys(
    audio: Audio,
    low_cut: float,
    drive: State,
    width: State,
    sway: State,
    hertz: NDArray[np.float64],
    first_frame: int,
    history: NDArray[np.float32],
    state: State,
) -> None:
    """The keys' channel, in place: low cut, saturation, width, and a sway from side to side.

    ``low_cut`` as in :func:`_filtered`; ``drive``, ``width`` and ``sway`` [2] are the gain into the
    saturation, the level of the side against the middle, and the depth of the sway. The side is
    the middle, late by a wavering 12 ms and laid on both channels with opposite signs: in mono it
    is gone and colours nothing. ``hertz`` are radians a frame of the wavering and of the sway;
    ``history`` [frames] holds the middle before the block, ``state`` [3 filters, 2].
    """
    frames, kept = audio.shape[0], history.shape[0]
    line = np.empty(kept + frames, dtype=np.float32)
    line[:kept] = history
    for n in range(frames):
        gain = drive[0] + (drive[1] - drive[0]) * n / frames
        for channel in range(2):
            _, high = _filtered(audio[n, channel], low_cut, state, channel)
            audio[n, channel] = _bent(gain * high) / gain
        line[kept + n] = 0.5 * (audio[n, 0] + audio[n, 1])
    for n in range(frames):
        frame = first_frame + n
        late = 576.0 + 110.0 * np.sin((hertz[0] * frame) % (2.0 * np.pi))
        place = kept + n - late
        base = int(place)
        between = place - base
        middle = line[base] + between * (line[base + 1] - line[base])
        _, side = _filtered(middle, 2.0 * low_cut, state, 2)
        side *= width[0] + (width[1] - width[0]) * n / frames
        depth = sway[0] + (sway[1] - sway[0]) * n / frames
        turn = depth * np.sin((hertz[1] * frame) % (2.0 * np.pi)) if depth > 0.0 else 0.0
        audio[n, 0] = (audio[n, 0] + side) * (1.0 + turn)
        audio[n, 1] = (audio[n, 1] - side) * (1.0 - turn)
    history[:] = line[frames:]


@compiled()
def channel_of_bass(audio: Audio, drive: State) -> None:
    """Saturation that gives the bass overtones for small speakers, in mono, in place.

    ``drive`` [2] is the gain into it; a little bias adds the even ones.
    """
    frames = audio.shape[0]
    bias = 0.25
    rest = _bent(bias)
    for n in range(frames):
        gain = drive[0] + (drive[1] - drive[0]) * n / frames
        x = 0.5 * (audio[n, 0] + audio[n, 1])
        y = (_bent(gain * x + bias) - rest) / gain
        audio[n, 0] = y
        audio[n, 1] = y


@compiled()
def channel_of_drums(
    audio: Audio,
    threshold: float,
    slope: float,
    attack: float,
    release: float,
    share: State,
    drive: State,
    cutoff: State,
    state: State,
) -> None:
    """The drum bus, in place: parallel compression, saturation, low-pass.

    ``threshold`` (linear), ``slope`` (1 / ratio - 1), ``attack`` and ``release`` (one-pole
    coefficients) are the compressor's; ``share`` [2] of its output goes beside the dry drums,
    ``drive`` [2] is the gain into the saturation, ``cutoff`` [2] the low-pass as in
    :func:`_filtered`; ``state`` [3, 2] are the filters and the envelope.
    """
    frames = audio.shape[0]
    for n in range(frames):
        level = max(abs(audio[n, 0]), abs(audio[n, 1]))
        envelope = state[2, 0]
        envelope += (attack if level > envelope else release) * (level - envelope)
        state[2, 0] = envelope
        wet = share[0] + (share[1] - share[0]) * n / frames
        pressed = (envelope / threshold) ** slope if envelope > threshold else 1.0
        gain = 1.0 - wet + wet * pressed * threshold**slope
        push = drive[0] + (drive[1] - drive[0]) * n / frames
        g = cutoff[0] + (cutoff[1] - cutoff[0]) * n / frames
        for channel in range(2):
            x = _bent(push * gain * audio[n, channel]) / push
            audio[n, channel], _ = _filtered(x, g, state, channel)


@compiled()
def grounded(audio: Audio, rumble: float, mono: float, state: State) -> None:
    """Cut what lies below hearing, and the sides below some more, in place.

    ``rumble`` and ``mono`` as in :func:`_filtered`; ``state`` [2, 2].
    """
    for n in range(audio.shape[0]):
        _, middle = _filtered(0.5 * (audio[n, 0] + audio[n, 1]), rumble, state, 0)
        _, side = _filtered(0.5 * (audio[n, 0] - audio[n, 1]), mono, state, 1)
        audio[n, 0] = middle + side
        audio[n, 1] = middle - side


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
            line[kept + n, channel] = _bent(scale * audio[n, channel]) / scale
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
def slowed(audio: Audio, speed: State, line: Audio, state: State) -> None:
    """A tape whose ``speed`` [2] goes from 1 to 0, in place; what it plays lies ever further back.

    ``line`` [frames, 2] is filled with what came since it began to slow; ``state`` is [frames in
    it, place of the head]. The level falls with the speed. When it runs again, it is where it would
    have been.
    """
    frames, room = audio.shape[0], line.shape[0]
    runs = speed[1] > speed[0]
    for n in range(frames):
        now = speed[0] + (speed[1] - speed[0]) * (n + 1) / frames
        level = min(1.0, max(0.0, now))  # a head hears the change of the flux
        if runs:
            audio[n, 0] *= level
            audio[n, 1] *= level
            continue
        have = int(state[0])
        if have < room:
            line[have, 0], line[have, 1] = audio[n, 0], audio[n, 1]
            state[0] += 1.0
        base = int(state[1])
        between = state[1] - base
        after = min(base + 1, int(state[0]) - 1)
        for channel in range(2):
            audio[n, channel] = level * (
                line[base, channel] + between * (line[after, channel] - line[base, channel])
            )
        state[1] = min(state[1] + now, state[0] - 1.0)


@compiled()
def crush(
    audio: Audio, bits: float, step: float, cutoff: float, mix: State, held: State, state: State
) -> None:
    """Sample and hold at ``step`` of the rate (0-1], quantised to ``bits``, mixed in place.

    ``cutoff``, as in :func:`_filtered`, is that of the sampler's own low-pass, which takes the
    images away. ``mix`` [2] is how much of it; ``held`` is [phase, left, right], ``state`` [2, 2].
    """
    levels = 2.0 ** (bits - 1.0)
    for n in range(audio.shape[0]):
        held[0] += step
        if held[0] >= 1.0:
            held[0] -= 1.0
            held[1] = np.round(audio[n, 0] * levels) / levels
            held[2] = np.round(audio[n, 1] * levels) / levels
        share = mix[0] + (mix[1] - mix[0]) * n / audio.shape[0]
        for channel in range(2):
            low, _ = _filtered(held[1 + channel], cutoff, state, channel)
            audio[n, channel] += share * (low - audio[n, channel])


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
            if abs(level) < 1e-6:
                break
