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

_KEPT_AT_THE_TOP, _LARGEST_KEPT = 2**28, 2**25
"""Bytes of an arena, and of the largest array that is taken from one, which is glibc's most."""

_CHOSEN_OUTSIDE = (
    (_M_TRIM_THRESHOLD, "MALLOC_TRIM_THRESHOLD_"),
    (_M_MMAP_THRESHOLD, "MALLOC_MMAP_THRESHOLD_"),
)
"""What whoever started this process may have chosen, as Dask's nannies do."""


def keep_memory() -> None:
    """Let malloc keep what is freed, until `release_memory`; what tasks use they use again."""
    _set(_M_MMAP_THRESHOLD, _LARGEST_KEPT)
    _set(_M_TRIM_THRESHOLD, _KEPT_AT_THE_TOP)


def release_memory() -> None:
    """Give back what no object holds; nothing happens where the C library cannot."""
    if "pyarrow" in sys.modules:
        import pyarrow

        pyarrow.default_memory_pool().release_unused()
    if sys.platform == "linux":
        for parameter, variable in _CHOSEN_OUTSIDE:
            value = os.environ.get(variable, "")
            if value.isascii() and value.isdigit():
                _set(parameter, int(value))
        with suppress(OSError, AttributeError):  # musl
            ctypes.CDLL(None).malloc_trim(0)


def use_one_arena() -> None:
    """Let all threads of this process share one arena, from now on.

    By default glibc makes eight arenas a core, and each keeps up to 64 MB of what was freed,
    which `release_memory` does not reach. Our threads ask for few and large pieces, so they seldom
    wait for one another; a process that does other things besides is not ours to change.
    """
    _set(_M_ARENA_MAX, 1)


def _set(parameter: int, value: int) -> None:
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # musl
            ctypes.CDLL(None).mallopt(parameter, value)
