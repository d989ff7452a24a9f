"""Plan: how to copy a matrix into other chunks within a given memory.

A row of target chunks needs all the columns of some rows. Where the source keeps few rows
together, bands of rows are read and written, each value once. Where it keeps very many (a matrix
stored column by column), a band would read the whole source again and again; then an array in
between, whose chunks are as high as a band and as wide as what is read at once, makes it two
passes. This is the way of the library rechunker, cut down to two dimensions and two passes.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CopyPlan", "plan_copy"]

_MOST_READS = 3
"""Reading the source so often costs no more than writing and reading an array in between."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyPlan:
    """How a matrix is copied.

    Attributes
    ----------
    band_rows
        Rows that are read, and written to the target, at once: whole target chunks.
    region
        Rows and columns that are read at once into the array in between; None without one.
    between_chunks
        Chunks of the array in between; None without one.
    """

    band_rows: int
    region: tuple[int, int] | None = None
    between_chunks: tuple[int, int] | None = None


def plan_copy(
    shape: tuple[int, int],
    itemsize: int,
    source_chunks: tuple[int, int],
    target_chunks: tuple[int, int],
    memory_bytes: int,
) -> CopyPlan:
    """Choose bands, and an array in between where the source would be read too often.

    Parameters
    ----------
    shape, itemsize
        Of the matrix: rows, columns, bytes a value.
    source_chunks, target_chunks
        Rows and columns of a chunk.
    memory_bytes
        What the values under way may take, as far as whole chunks fit in it.

    Examples
    --------
    >>> plan_copy((10**6, 100), 8, (4096, 100), (8192, 100), 10**9).band_rows
    1245184
    >>> plan_copy((10**6, 2_000), 8, (10**6, 1), (512, 2_000), 10**9)  # doctest: +ELLIPSIS
    CopyPlan(band_rows=62464, region=(1000000, 125), between_chunks=(62464, 125))
    """
    n_rows, n_columns = shape
    rows, columns = (min(chunk, length) for chunk, length in zip(source_chunks, shape, strict=True))
    unit = target_chunks[0]
    band = max(1, memory_bytes // (n_columns * itemsize) // unit) * unit
    if -(-rows // band) <= _MOST_READS:
        return CopyPlan(band_rows=band)
    # Where one region holds all rows its pieces may be of any height; else they divide a chunk.
    height = band if rows >= n_rows else _largest_divisor(rows, band)
    if -(-rows // height) > -(-n_rows // unit):
        return CopyPlan(band_rows=band)
    width = max(1, memory_bytes // (rows * itemsize) // columns) * columns
    return CopyPlan(
        band_rows=band,
        region=(rows, min(width, n_columns)),
        between_chunks=(height, min(width, n_columns)),
    )


def _largest_divisor(number: int, most: int) -> int:
    return next(divisor for divisor in range(min(most, number), 0, -1) if number % divisor == 0)
