"""Kernel helper: pieces of work on threads, which share no result."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

__all__ = ["in_threads"]

Piece = TypeVar("Piece")
Result = TypeVar("Result")


def in_threads(
    function: Callable[[Piece], Result],
    pieces: Iterable[Piece],
    *,
    threads: int,
    pause: Callable[[], None],
) -> list[Result]:
    """Return what a function makes of each piece, in their order.

    Parameters
    ----------
    function
        Called in several threads at once. It has to let go of the interpreter, as compiled
        kernels do, and pieces must not write to the same place.
    pieces
        Of a few hundredths of a second each: none that has begun is broken off.
    threads
        How many at once. For one, or for one piece, no thread is started.
    pause
        Called in the caller's thread as pieces are done. What it raises, and Ctrl-C, ends the
        work after the pieces that are under way.
    """
    results: list[Result] = []
    pieces = list(pieces)
    if threads == 1 or len(pieces) < 2:
        for piece in pieces:
            results.append(function(piece))
            pause()
        return results
    with ThreadPoolExecutor(min(threads, len(pieces)), "clustergrid-linkage") as pool:
        futures = [pool.submit(function, piece) for piece in pieces]
        try:
            for future in futures:
                results.append(future.result())
                pause()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return results
