"""Asking the operating system for real-time scheduling.

It needs a right (RLIMIT_RTPRIO) that a user may lack. Nothing fails without it; whoever asks tells
the user what was granted.
"""

import os


def schedule(priority: int) -> str:
    """Ask for SCHED_FIFO at ``priority`` (1-99) for this process; returns what it runs under."""
    if not hasattr(os, "sched_setscheduler"):
        return "normal"
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    except OSError:
        return "normal"
    return f"SCHED_FIFO {priority}"
