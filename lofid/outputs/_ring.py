"""The ring of audio between an output and the process that owns its sound card.

Shared memory: ``HEADER`` counters of 8 bytes, then ``SIZE`` frames of two float32. One side writes,
one plays, and each counter is moved by one of them only, so nobody ever waits for a lock.
"""

import mmap
import os
import tempfile

SIZE = 65_536
"""Frames that the ring holds, a power of two."""

HEADER = 32
FRAME = 8
"""Bytes of a frame."""

# The counters' places. Moved by the writer:
WRITTEN = 0  # frames ever written
TARGET = 1  # frames that must be there before playing begins, or goes on after an xrun
ENDING = 2  # 1 when nothing more comes: what is there is played, and running out is no xrun
WAITING = 3  # 1 while the writer wants to be woken (set back by the player)
# Moved by the player:
READ = 8  # frames ever played
ASKED = 9  # frames that the card ever wanted
XRUNS = 10  # how often the ring ran dry
UNDERFLOWS = 11  # how often the card itself says that it ran dry
PERIOD = 12  # most frames wanted at once
PLAYING = 13  # 0 while the ring fills up to the target
TURN = 14  # which of the two time stamps is the newest: its lowest bit
STAMPS = 16  # twice [frames played before, nanoseconds of the monotonic clock when heard]


def memory() -> int:
    """A descriptor of new shared memory for a ring, all zero; it may be inherited."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("lofid-ring")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, (HEADER + SIZE) * FRAME)
    return descriptor


def mapped(descriptor: int) -> mmap.mmap:
    """The memory behind a descriptor of :func:`memory`."""
    return mmap.mmap(descriptor, (HEADER + SIZE) * FRAME)
