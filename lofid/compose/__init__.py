"""From settings to bars: presets, conductor and form, players in lockstep, arranger, guards.

Everything here is pure and deterministic: (session state, settings, seed) to (bar, session state).
Outputs and sockets stay out.
"""
