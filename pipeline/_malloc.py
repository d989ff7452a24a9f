"""Driver: give memory that malloc keeps for later back to the system.

The C library keeps what is freed, because tasks of one stage ask for the same amounts again and
again. The next stage needs other amounts, or none in this process. Only glibc can be asked for it.
"""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress

__all__ = ["release_memory"]


def release_memory() -> None:
    """Give back what no object holds; nothing happens where the C library cannot."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # musl
            ctypes.CDLL(None).malloc_trim(0)
