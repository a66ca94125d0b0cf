"""Memory that was needed to start, given back before the long run."""

import ctypes
import gc
import sys


def give_back() -> None:
    """Give freed memory back to the system, and keep what is there now out of the collector.

    Loading models and compiled code frees some 60 MB that glibc would keep for later (mallopt(3),
    M_TRIM_THRESHOLD).
    """
    gc.collect()
    gc.freeze()
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "malloc_trim"):  # glibc has it, musl has not
            libc.malloc_trim(0)
