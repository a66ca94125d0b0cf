"""From bars to audio: synthesizer, effects, texture, mix and loudness.

Audio is float32, shaped [frames, 2], at 48,000 frames a second. This room knows bars and
parameters; it must not know models, sockets or clocks: it renders as fast as it is asked to.
"""

SAMPLE_RATE = 48_000
"""Frames a second, everywhere in lofid."""
