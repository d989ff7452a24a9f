"""Driver: stages bound to some rows and columns of a matrix, for parts that are clustered alone."""

from __future__ import annotations

import numpy as np

from clustergrid.pipeline.digests import array_digest
from clustergrid.pipeline.stages import Stages

__all__ = ["select"]


def select(stages: Stages, rows: np.ndarray, columns: np.ndarray) -> Stages:
    """Bind stages to some rows and columns, as they are normalized in the whole matrix.

    Parameters
    ----------
    stages
        Those of the whole matrix. They run in the same place, with the same memory; where they have
        a store, the part has a directory of its own in it.
    rows, columns
        Which, ``int64``. Nothing is read before something is computed.
    """
    n, k = stages.shape
    normalized = stages.reordered(np.arange(n), np.arange(k))
    store = stages.store
    if store is not None:
        store = f"{store.rstrip('/')}/part-{array_digest(rows, columns)[:16]}"
    row_dim, column_dim = normalized.dims
    return Stages(
        normalized.isel({row_dim: rows, column_dim: columns}),
        dtype=stages.dtype,
        executor=stages.executor,
        resources=stages.resources,
        store=store,
        progress=stages.progress,
    )
