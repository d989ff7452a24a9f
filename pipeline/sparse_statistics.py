"""Driver: statistics of a sparse matrix in one pass over what it stores."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from clustergrid.pipeline._sparse_statistics import compressed_statistics
from clustergrid.pipeline.execution import Executor
from clustergrid.pipeline.monitor import Progress
from clustergrid.storage.grid import READ_BLOCK, slabs
from clustergrid.storage.sparse import SparseSource

__all__ = ["sparse_statistics"]

_BLOCK_CELLS = 2**26
_LEAST_ROWS = 16


def sparse_statistics(
    source: SparseSource, executor: Executor, progress: Progress
) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """Read the matrix once, and give the statistics of blocks of rows in their order.

    The blocks depend on the shape of the matrix alone, so what is merged of them does too.

    Yields
    ------
    rows, of_rows, of_columns
        Which rows, and what `block_statistics` would give of them.
    """
    n, k = source.shape
    step = min(READ_BLOCK, max(_LEAST_ROWS, _BLOCK_CELLS // k))
    with progress.stage("statistics", total=n * k * source.dtype.itemsize, unit="bytes") as stage:
        finished: dict[int, tuple[slice, np.ndarray, np.ndarray]] = {}
        following = 0
        # No more wait for an earlier one than tasks are under way at once.
        for block in executor.map(
            _statistics_of, executor.share(source), slabs(n, step), name="statistics"
        ):
            finished[block[0].start] = block
            stage.advance(len(block[1]) * k * source.dtype.itemsize)
            while following in finished:
                rows, of_rows, of_columns = finished.pop(following)
                following = rows.stop
                yield rows, of_rows, of_columns


def _statistics_of(source: SparseSource, rows: slice) -> tuple[slice, np.ndarray, np.ndarray]:
    data, indices, indptr = source.read_compressed(rows)
    values = np.asarray(data, np.float64)
    return rows, *compressed_statistics(values, indices, indptr, source.shape[1])
