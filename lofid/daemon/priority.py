"""A process that keeps time asks the system for what that takes: its turn at once, memory at hand.

Both are asked for where the system allows them, and done without elsewhere: the remarks say what
a person may allow.
"""

import ctypes
import os
import resource
import sys
from dataclasses import dataclass

from lofid.realtime import schedule

PRIORITY = 4
"""Of SCHED_FIFO, 1 to 99: before everything usual, behind the sound server and its clients' own
threads, which jackd runs at 5."""

_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4  # mlockall(2)


@dataclass(frozen=True, slots=True)
class Granted:
    """How the process is scheduled, whether its memory stays in place, and what would help."""

    scheduling: str
    memory_locked: bool
    remarks: tuple[str, ...]


def ask() -> Granted:
    """Real-time scheduling for this thread and those it starts; memory that is never paged out.

    All of a process's threads need the same turn: one that waits for the processor while it holds
    Python's lock makes the others wait, too.
    """
    remarks: list[str] = []
    if sys.platform != "linux":
        return Granted(schedule(PRIORITY), False, ())
    scheduling = schedule(PRIORITY)
    if os.sched_getscheduler(0) != os.SCHED_FIFO:
        remarks.append(
            "Sound is not scheduled in real time; allow it with LimitRTPRIO=20 in the service's"
            " unit, or with 'rtprio 20' for your user in /etc/security/limits.conf."
        )
    locked = _lock_memory()
    if not locked:
        remarks.append(
            "Memory may be paged out, which can be heard; allow to lock it with"
            " LimitMEMLOCK=infinity in the service's unit, or with 'memlock unlimited' for your"
            " user in /etc/security/limits.conf."
        )
    return Granted(scheduling, locked, tuple(remarks))


def _lock_memory() -> bool:
    _, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if hard != resource.RLIM_INFINITY and os.geteuid() != 0:
        # Beyond a finite limit, memory asked for later would be refused: that ends a process.
        return False
    if hard == resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (hard, hard))
    everything = _MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT
    return bool(ctypes.CDLL(None).mlockall(everything) == 0)
