"""Asking the operating system for punctuality: real-time scheduling and memory that stays put.

Both need a right (RLIMIT_RTPRIO, RLIMIT_MEMLOCK) that a user may lack. Nothing fails without them;
whoever asks tells the user what was granted.
"""

import ctypes
import os
import sys

_LOCK_CURRENT, _LOCK_FUTURE = 1, 2  # MCL_CURRENT and MCL_FUTURE of <sys/mman.h> on Linux


def schedule(priority: int) -> str:
    """Ask for SCHED_FIFO at ``priority`` (1-99) for this process; returns what it runs under."""
    if not hasattr(os, "sched_setscheduler"):
        return "normal"
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    except OSError:
        return "normal"
    return f"SCHED_FIFO {priority}"


def lock_memory() -> bool:
    """Keep the process' memory from being swapped out; returns whether that was granted."""
    if sys.platform != "linux":
        return False
    refused: int = ctypes.CDLL(None).mlockall(_LOCK_CURRENT | _LOCK_FUTURE)
    return refused == 0
