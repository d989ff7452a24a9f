"""Driver: read a region of a Zarr array without holding many of its chunks at once.

zarr fetches ten chunks at a time and holds each of them twice, encoded and decoded, before it
copies what was asked for. Of 64 MB chunks that is more than a gigabyte in every thread, whatever
the size of the region.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from clustergrid.storage.grid import DECODED_BYTES, slabs

if TYPE_CHECKING:
    import zarr

__all__ = ["read_region"]


def read_region(array: zarr.Array[Any], rows: slice, columns: slice) -> np.ndarray:
    """Read a region of a two-dimensional array, some chunks at a time.

    Parameters
    ----------
    array
        ``(n, k)``.
    rows, columns
        Ranges in it, without a step.

    Returns
    -------
    numpy.ndarray
        The values. Beside them some `DECODED_BYTES` of chunks are held, or one chunk if that is
        larger, encoded and decoded.
    """
    unit = array.shards or array.chunks
    (top, bottom, _), (left, right, _) = (
        rows.indices(array.shape[0]),
        columns.indices(array.shape[1]),
    )
    height, width = _chunks_at_once(unit, array.dtype.itemsize, (top, bottom), (left, right))
    if bottom - top <= height and right - left <= width:
        return np.asarray(array[top:bottom, left:right])
    values = np.empty((max(0, bottom - top), max(0, right - left)), array.dtype)
    # From the corner of the first chunk, so that each is read once.
    first_row, first_column = top - top % unit[0], left - left % unit[1]
    for down in slabs(bottom - first_row, height):
        r = slice(max(top, first_row + down.start), first_row + down.stop)
        for across in slabs(right - first_column, width):
            c = slice(max(left, first_column + across.start), first_column + across.stop)
            values[r.start - top : r.stop - top, c.start - left : c.stop - left] = array[r, c]
    return values


def _chunks_at_once(
    unit: tuple[int, ...], itemsize: int, rows: tuple[int, int], columns: tuple[int, int]
) -> tuple[int, int]:
    """Rows and columns of whole chunks that are decoded together."""
    count = max(1, DECODED_BYTES // (unit[0] * unit[1] * itemsize))
    across = -(-columns[1] // unit[1]) - columns[0] // unit[1]
    at_once = max(1, min(count, across))
    return max(1, count // at_once) * unit[0], at_once * unit[1]
