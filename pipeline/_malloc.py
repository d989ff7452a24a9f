"""Driver: give memory that malloc keeps for later back to the system.

The C library keeps what is freed, because tasks of one stage ask for the same amounts again and
again. The next stage needs other amounts, or none in this process. Only glibc can be asked for it.
"""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress

__all__ = ["release_memory", "use_one_arena"]

_M_ARENA_MAX = -8


def release_memory() -> None:
    """Give back what no object holds; nothing happens where the C library cannot."""
    if "pyarrow" in sys.modules:
        import pyarrow

        pyarrow.default_memory_pool().release_unused()
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # musl
            ctypes.CDLL(None).malloc_trim(0)


def use_one_arena() -> None:
    """Let all threads of this process share one arena, from now on.

    By default glibc makes eight arenas a core, and each keeps up to 64 MB of what was freed,
    which `release_memory` does not reach. Our threads ask for few and large pieces, so they seldom
    wait for one another; a process that does other things besides is not ours to change.
    """
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
