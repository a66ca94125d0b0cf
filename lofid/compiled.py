"""Compiling with numba: without Python's lock, and once for all starts where that is possible."""

import os
import sys
from collections.abc import Callable
from typing import Any

from numba import njit

from lofid.processes import python_module


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Decorate a top-level function; ``options`` are those of ``numba.njit``.

    It runs without the GIL, so that no sound card waits for it. numba keeps the machine code beside
    the function's file, in a folder of the user or in ``NUMBA_CACHE_DIR``; where none of them can
    be written, it refuses, and the function is compiled at every start.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        try:
            dispatcher = njit(nogil=True, cache=True, **options)(function)
        except RuntimeError:
            return njit(nogil=True, **options)(function)
        _CACHED.append(dispatcher)
        return dispatcher

    return decorate


_CACHED: list[Any] = []
_AFRESH = "LOFID_BEGUN_AFRESH"


def begin_afresh(module: str) -> None:
    """Begin this process anew, once, if it had to compile what the next one finds compiled.

    Compiling takes 100 MB, and a process keeps most of it. ``module`` is what was started with
    ``python -m``. To be called when everything was compiled and nothing else was begun: no socket,
    no thread that is needed.
    """
    compiled_here = any(dispatcher.stats.cache_misses for dispatcher in _CACHED)
    if compiled_here and _AFRESH not in os.environ:
        os.environ[_AFRESH] = "yes"
        os.execv(sys.executable, [*python_module(module), *sys.argv[1:]])
