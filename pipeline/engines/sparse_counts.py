"""Driver: distances that count, of the entries of sparse rows.

The features that two rows have in common are found by way of their entries, instead of 64 features
at a time as in ``counts.py``. They are the same whole numbers, and `COUNTS` makes distances of
both: which engine counts cannot be seen in a distance.
"""

from __future__ import annotations

import numpy as np

from clustergrid.pipeline.engines import _compressed
from clustergrid.pipeline.engines._bits import COUNTS
from clustergrid.pipeline.engines._centred import CompressedRows
from clustergrid.storage.grid import slabs

__all__ = ["count_distances"]

# Left rows whose counts with a block of right rows stay in a processor's cache.
_ROWS_AT_ONCE = 128


def count_distances(
    metric: str, left: CompressedRows, right: CompressedRows, n_features: int, out: np.ndarray
) -> None:
    """Compute the distances of left rows and a block of right rows.

    Parameters
    ----------
    metric
        One that `COUNTS` knows. Hamming distances compare values, the others whether there are
        any; of truth values that is the same.
    left, right
        Rows that store no zeros.
    n_features
        Of every row.
    out
        ``(left, right)`` float64 or float32.
    """
    is_of_values = metric == "hamming"
    by_columns = _compressed.by_columns(
        right.data if is_of_values else np.empty(len(right.indices), np.bool_),
        right.indices,
        right.indptr[:-1],
        right.indptr[1:],
        0,
        n_features,
    )
    height = min(_ROWS_AT_ONCE, len(left))
    counts = np.empty((height, len(right)), np.float64 if is_of_values else np.int32)
    distances = np.empty((height, len(right)))
    for part in slabs(len(left), _ROWS_AT_ONCE):
        rows = left[part]
        common, found = counts[: len(rows)], distances[: len(rows)]
        common[:] = 0
        if is_of_values:
            _compressed.add_half_each(rows.data, rows.indices, rows.indptr, *by_columns, common)
        else:
            _compressed.count_common_entries(rows.indices, rows.indptr, *by_columns[:2], common)
        COUNTS[metric](common, rows.entries, right.entries, n_features, found)
        out[part] = found
