"""Judging what is made: musical and acoustic figures, the human data beside them, benchmarks.

Takes bars and audio from the rest of lofid and measures them; nothing else depends on this room.
"""
