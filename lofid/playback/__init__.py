"""Time: bars become blocks of audio and MIDI events at exact frames, in step with a clock.

Used by ``lofid play`` in its own process and by the daemon's stage. A transport is handed bars and
asked for blocks::

    transport = Transport(settings, seed=7)
    transport.hand_over(cue)
    passage = transport.advance(512)

Knows bars, sound and what an output is fed with; must not know the daemon, sockets or models.
"""
