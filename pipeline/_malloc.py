"""Driver: keep memory that is freed while tasks run, and give it back to the system afterwards.

Tasks of one stage ask for the same amounts again and again. What the C library gives back between
two of them the system clears once more, which took a fifth of the time of Dask's workers: their
nannies tell malloc to keep nothing. The next stage needs other amounts, or none in this process.
Only glibc can be asked for either.
"""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import suppress

__all__ = ["keep_memory", "release_memory", "use_one_arena"]

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8

_KEPT = (
    (_M_TRIM_THRESHOLD, "MALLOC_TRIM_THRESHOLD_", 2**28),
    (_M_MMAP_THRESHOLD, "MALLOC_MMAP_THRESHOLD_", 2**25),
)
"""What malloc is told; the variable by which whoever started this process may have told it, as
Dask's nannies do; and the least that it shall keep, in bytes: of an arena, and of the largest array
that is taken from one, which is glibc's most."""


def keep_memory() -> None:
    """Let malloc keep what is freed, until `release_memory`; what tasks use they use again."""
    for parameter, variable, least in _KEPT:
        _tell("mallopt", parameter, max(least, _chosen(variable) or 0))


def release_memory() -> None:
    """Give back what no object holds; nothing happens where the C library cannot."""
    if "pyarrow" in sys.modules:
        import pyarrow

        pyarrow.default_memory_pool().release_unused()
    for parameter, variable, _ in _KEPT:
        chosen = _chosen(variable)
        if chosen is not None:
            _tell("mallopt", parameter, chosen)
    _tell("malloc_trim", 0)


def use_one_arena() -> None:
    """Let all threads of this process share one arena, from now on.

    By default glibc makes eight arenas a core, and each keeps up to 64 MB of what was freed,
    which `release_memory` does not reach. Our threads ask for few and large pieces, so they seldom
    wait for one another; a process that does other things besides is not ours to change.
    """
    _tell("mallopt", _M_ARENA_MAX, 1)


def _chosen(variable: str) -> int | None:
    value = os.environ.get(variable, "")
    return int(value) if value.isascii() and value.isdigit() else None


def _tell(function: str, *words: int) -> None:
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # musl
            getattr(ctypes.CDLL(None), function)(*words)
