"""Plan: rows cut into pieces of work, bounded so that Ctrl-C and progress need not wait."""

from __future__ import annotations

__all__ = ["ENTRIES_A_PIECE", "cut_evenly"]

ENTRIES_A_PIECE = 20_000_000
"""Entries read between two calls of `progress`: some hundredths of a second."""

_PIECES_A_THREAD = 4


def cut_evenly(n: int, entries_each: int, threads: int) -> list[tuple[int, int]]:
    """Cut `n` rows of so many entries into ranges, small enough, and some for each thread.

    Examples
    --------
    >>> cut_evenly(10, 1, 1), cut_evenly(5, ENTRIES_A_PIECE // 2, 1)
    ([(0, 3), (3, 6), (6, 9), (9, 10)], [(0, 2), (2, 4), (4, 5)])
    """
    longest = max(1, ENTRIES_A_PIECE // max(1, entries_each))
    length = max(1, min(longest, -(-n // (threads * _PIECES_A_THREAD))))
    return [(start, min(start + length, n)) for start in range(0, n, length)]
