"""Memory for a run of months: what loading needed is given back, and nothing creeps.

All of it concerns glibc's allocator (mallopt(3)); elsewhere nothing is done.
"""

import ctypes
import gc
import sys

_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8
_LARGE = 131_072  # bytes


def keep_tidy() -> None:
    """Ask for large blocks to be given back as soon as they are freed; called at the start.

    A model's state is such a block, and a new one comes with every bar. By default glibc soon
    keeps them in its heap, where small ones settle in between and the gaps add up.
    """
    libc = _libc()
    if libc is not None:
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGE)
        libc.mallopt(_M_ARENA_MAX, 1)


def give_back() -> None:
    """Give freed memory back to the system, and keep what is there now out of the collector.

    Loading models and compiled code frees some 60 MB that glibc would keep for later.
    """
    gc.collect()
    gc.freeze()
    libc = _libc()
    if libc is not None:
        libc.malloc_trim(0)


def _libc() -> ctypes.CDLL | None:
    """The C library, where it is glibc."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "gnu_get_libc_version") else None
