"""Driver: the ranks of a matrix's rows, for rank correlations: in memory, or at rest.

A rank needs its whole row. Tiles that made ranks themselves would sort every row as often as there
are tiles along an edge, and could not hold long rows; so they are made once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clustergrid.pipeline.engines._ranks import rank_rows
from clustergrid.pipeline.execution import Executor
from clustergrid.pipeline.leftovers import owned
from clustergrid.pipeline.monitor import Progress
from clustergrid.pipeline.normalize import Normalization
from clustergrid.pipeline.rank_plan import rank_chunks, rank_dtype
from clustergrid.storage.arrays import create_array, open_array, write_block
from clustergrid.storage.grid import slabs
from clustergrid.storage.source import ArraySource, MatrixSource, ZarrSource

__all__ = ["ranked"]


_SMALL = 2**18
"""Values that SciPy ranks in a moment."""


def _ranks_of(values: np.ndarray) -> np.ndarray:
    """Rank rows; few of them without a compiler, which gives the same ranks."""
    if values.size > _SMALL:
        return rank_rows(values)
    from scipy.stats import rankdata

    return np.asarray(rankdata(values, axis=1))


@dataclass(frozen=True, slots=True)
class _Ranking:
    """What a task needs to rank some rows."""

    source: MatrixSource
    normalization: Normalization
    store: str | None = None
    path: str = ""

    def rows(self, rows: slice) -> tuple[slice, np.ndarray | None]:
        """Rank them; return the ranks, unless they are put at rest."""
        features = slice(0, self.source.shape[1])
        values = self.normalization.apply(self.source.read(rows, features), rows, features)
        ranks = _ranks_of(values).astype(rank_dtype(values.shape[1]))
        if self.store is None:
            return rows, ranks
        write_block(open_array(self.store, self.path, mode="r+"), (rows.start, 0), ranks)
        return rows, None


def ranked(
    source: MatrixSource,
    normalization: Normalization,
    *,
    store: str | None,
    path: str,
    executor: Executor,
    progress: Progress,
) -> MatrixSource:
    """Rank every row of the normalized matrix.

    Parameters
    ----------
    source, normalization
        The matrix, ``(n, k)``, without missing values.
    store, path
        Where to put the ranks at rest, in place of what is there; None: they stay in memory.
    executor, progress
        Where rows are ranked, and who is told, as stage `path`.
    """
    n, k = source.shape
    chunks = rank_chunks(n, k)
    ranks: np.ndarray | None = None
    if store is None:
        ranks = np.empty((n, k), dtype=rank_dtype(k))
    else:
        create_array(
            store,
            path,
            shape=(n, k),
            dtype=rank_dtype(k),
            chunks=chunks,
            attributes=owned(),
            overwrite=True,
        )
    task = _Ranking(source, normalization, store, path)
    row_bytes = k * source.dtype.itemsize
    with progress.stage(path, total=n, unit="rows", unit_bytes=row_bytes) as stage:
        for rows, part in executor.map(
            _Ranking.rows, executor.share(task), slabs(n, chunks[0]), name=path
        ):
            if ranks is not None:
                assert part is not None
                ranks[rows] = part
            stage.advance(rows.stop - rows.start)
    if ranks is not None:
        return ArraySource(ranks)
    assert store is not None
    return ZarrSource(store, path)
