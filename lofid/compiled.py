"""Compiling with numba: without Python's lock, and once for all starts where that is possible."""

from collections.abc import Callable
from typing import Any

from numba import njit


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Decorate a top-level function; ``options`` are those of ``numba.njit``.

    It runs without the GIL, so that no sound card waits for it. numba keeps the machine code beside
    the function's file, in a folder of the user or in ``NUMBA_CACHE_DIR``; where none of them can
    be written, it refuses, and the function is compiled at every start.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        try:
            return njit(nogil=True, cache=True, **options)(function)
        except RuntimeError:
            return njit(nogil=True, **options)(function)

    return decorate
