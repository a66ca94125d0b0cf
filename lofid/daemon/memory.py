"""Memory for a run of months: what loading needed is given back, and nothing creeps.

All of it concerns glibc's allocator (mallopt(3)); elsewhere nothing is done.
"""

import ctypes
import gc
import sys
from pathlib import Path

_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8
_MADV_DONTNEED = 4
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
    """Give back what was needed to start, and keep what is there now out of the collector.

    Loading models and compiled code frees some 60 MB that glibc would keep for later.
    """
    gc.collect()
    gc.freeze()
    libc = _libc()
    if libc is not None:
        libc.malloc_trim(0)
    unload_compiler()


def unload_compiler() -> None:
    """Take LLVM's machine code, 60 MB, out of our memory; what is used again is read again.

    Code only (``r-xp``): it is never written to, so its file holds all of it (madvise(2)). It comes
    back where a function is called for the first time, so this is worth doing again.
    """
    libc = _libc()
    if libc is None:
        return
    for line in Path("/proc/self/maps").read_text("utf-8").splitlines():
        place, access, *_, name = line.split(maxsplit=5)
        if access == "r-xp" and "libllvmlite" in name:
            first, last = (int(number, 16) for number in place.split("-"))
            start, length = ctypes.c_void_p(first), ctypes.c_size_t(last - first)
            libc.munlock(start, length)
            libc.madvise(start, length, _MADV_DONTNEED)


def _libc() -> ctypes.CDLL | None:
    """The C library, where it is glibc."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "gnu_get_libc_version") else None
