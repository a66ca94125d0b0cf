"""Pitches, chords, keys, notes, bars and plans: what the rest of lofid talks about.

Pure values and functions. This room knows no model, no sound card, no socket.
"""
