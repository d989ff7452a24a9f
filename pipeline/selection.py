"""Driver: stages bound to some rows and columns of a matrix, for parts that are clustered alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from clustergrid.pipeline.digests import array_digest
from clustergrid.pipeline.normalize import Normalization
from clustergrid.pipeline.reordering import reordered_dtype
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
        Which, ``int64``. Nothing is read before something is computed, but of a matrix in memory.
    """
    store = stages.store
    if store is not None:
        store = f"{store.rstrip('/')}/part-{array_digest(rows, columns)[:16]}"
    return Stages(
        _selected(stages, rows, columns),
        dtype=stages.dtype,
        executor=stages.executor,
        resources=stages.resources,
        store=store,
        progress=stages.progress,
    )


def _selected(stages: Stages, rows: np.ndarray, columns: np.ndarray) -> xr.DataArray:
    """Select of the normalized matrix: a copy of an array in memory, else lazily, in Dask's way.

    Stages take whatever has no chunks for an array in memory; and a task that reads a lazy window
    would compute an array of its own on a worker, which has no client.
    """
    row_dim, column_dim = stages.matrix.dims
    indices = {row_dim: rows, column_dim: columns}
    if stages.matrix.chunks is None:
        n, k = stages.shape
        return stages.reordered(np.arange(n), np.arange(k)).isel(indices).load()
    part = stages.matrix.isel(indices)
    whole = stages.normalization
    if whole.axis is None:
        return part
    assert whole.shift is not None
    assert whole.scale is not None
    index = (rows, columns)[whole.axis]
    picked = replace(whole, shift=whole.shift[index], scale=whole.scale[index])
    dtype = reordered_dtype(part.dtype, whole)
    values = part.data.map_blocks(_normalized, picked, dtype=dtype, meta=np.empty((0, 0), dtype))
    return part.copy(data=values)


def _normalized(
    values: np.ndarray, normalization: Normalization, block_info: dict[int | None, Any]
) -> np.ndarray:
    """Normalize a block, whose place Dask says."""
    rows, columns = (slice(*ends) for ends in block_info[0]["array-location"])
    block = normalization.apply(values, rows, columns)
    return block.astype(block_info[None]["dtype"], copy=False)
