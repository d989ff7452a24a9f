"""Plan: the ranks of a matrix's rows: how large they are, where they are kept, and what that takes.

A rank needs its whole row, so that ranks are made once, before the tiles: in the memory of the
process whose threads run the tasks where they are small beside it, otherwise in the store.
"""

from __future__ import annotations

import numpy as np

from clustergrid.pipeline.resources import Resources
from clustergrid.pipeline.tile_memory import StoredMatrix, with_slack
from clustergrid.storage.grid import BLOCK_FEATURES, BLOCK_ROWS

__all__ = [
    "are_ranks_in_memory",
    "rank_bytes",
    "rank_chunks",
    "rank_dtype",
    "rank_matrix",
    "rank_task_bytes",
]

_RANKED_AT_ONCE = 2**22
"""Values of a task: they are held twice, with the order that sorts them."""

_MOST_OF_MEMORY = 8
"""Ranks stay in memory up to this part of it."""


def rank_dtype(n_features: int) -> np.dtype[np.floating]:
    """Smallest type that holds halves up to the number of features exactly."""
    return np.dtype(np.float32 if n_features < 2**23 else np.float64)


def rank_bytes(n: int, n_features: int) -> int:
    """Bytes of the ranks."""
    return n * n_features * rank_dtype(n_features).itemsize


def rank_chunks(n: int, n_features: int) -> tuple[int, int]:
    """Rows and columns of their chunks at rest; a task ranks the rows of one.

    Examples
    --------
    >>> rank_chunks(100_000, 1_000), rank_chunks(2_000, 1_000_000)
    ((512, 1000), (4, 524288))
    """
    rows = max(1, min(n, BLOCK_ROWS, _RANKED_AT_ONCE // n_features))
    return rows, min(
        n_features, max(BLOCK_FEATURES, 2**21 // rows // BLOCK_FEATURES * BLOCK_FEATURES)
    )


def are_ranks_in_memory(n: int, n_features: int, memory_bytes: int, *, in_process: bool) -> bool:
    """Whether ranks stay in memory, and are not put into the store.

    Parameters
    ----------
    n, n_features
        Rows and columns of what is ranked.
    memory_bytes
        What may be used.
    in_process
        Whether tasks run in this process, and can read its memory.

    Examples
    --------
    >>> are_ranks_in_memory(20_000, 1_000, 10**9, in_process=True)
    True
    """
    return in_process and rank_bytes(n, n_features) <= memory_bytes // _MOST_OF_MEMORY


def rank_matrix(n: int, n_features: int, resources: Resources) -> StoredMatrix:
    """Ranks as the tasks of the tiles read them."""
    return StoredMatrix(
        shape=(n, n_features),
        itemsize=rank_dtype(n_features).itemsize,
        chunks=rank_chunks(n, n_features),
        in_memory=are_ranks_in_memory(
            n, n_features, resources.memory_bytes, in_process=not resources.worker_processes
        ),
    )


def rank_task_bytes(matrix: StoredMatrix) -> int:
    """Most memory of a task that ranks some rows of a matrix.

    The values as they are read and in float64, their ranks in float64 and as they are kept, and the
    order that sorts some of them.
    """
    n, k = matrix.shape
    rows = rank_chunks(n, k)[0]
    return with_slack(matrix.read_bytes(rows, k) + 32 * rows * k)
