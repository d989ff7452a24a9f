"""Kernel helper: one BLAS thread a task, restored when the last task of the process is done.

The executor already keeps every core busy with tiles. A product that starts threads of its own
oversubscribes the machine, and its last bits may depend on how many it got.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import threadpoolctl
from threadpoolctl import ThreadpoolController

__all__ = ["single_blas_thread"]


class _Limit:
    """Counts the tasks inside, because threads may leave in any order."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._limiter: Any = None

    def enter(self) -> None:
        with self._lock:
            if self._inside == 0:
                _take_control()
                self._limiter = ThreadpoolController().limit(limits=1, user_api="blas")
                self._limiter.__enter__()
            self._inside += 1

    def leave(self) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                _take_control()
                self._limiter.__exit__(None, None, None)
                self._limiter = None


def _take_control() -> None:
    """Let this thread set OpenBLAS's limit, whichever thread set it before.

    Some versions of threadpoolctl lift a limit only in the thread that set it. Any other would try
    without an error, and the process would keep one BLAS thread for ever.
    """
    openblas: Any = getattr(threadpoolctl, "OpenBLASController", None)
    if hasattr(openblas, "clear_controlling_thread"):
        openblas.clear_controlling_thread(force=True)


_LIMIT = _Limit()


@contextmanager
def single_blas_thread() -> Iterator[None]:
    """Keep BLAS to one thread in this process while at least one caller is inside."""
    _LIMIT.enter()
    try:
        yield
    finally:
        _LIMIT.leave()
