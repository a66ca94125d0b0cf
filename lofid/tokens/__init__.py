"""Bars as tokens: the two vocabularies, their grammar, and the way between notes and token ids.

Knows music, not models: torch and engines stay out. A bar is a header of control tokens (what is
asked), events in order of time, and an end. :mod:`lofid.tokens.keys` and
:mod:`lofid.tokens.drums` are the two players' forms; :mod:`lofid.tokens.thesis` is the bar-less
format of the thesis, kept for import and as a baseline.
"""
