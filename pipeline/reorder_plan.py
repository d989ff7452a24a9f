"""Plan: how a matrix is written in another order of rows and columns, in two passes.

The first pass reads *blocks* of whole chunks, and takes each apart into *pieces*: the cells that
belong to one *region* of the reordered matrix. The second pass puts the pieces of a region
together, and writes it in whole chunks. Every value is read twice and written twice, whatever the
orders are. Blocks and regions are as large as the memory of a task allows, so that pieces are few.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np

from clustergrid.pipeline.errors import MemoryLimitError
from clustergrid.pipeline.sizes import format_bytes
from clustergrid.storage.grid import slabs
from clustergrid.storage.readers.chunking import storage_chunks

__all__ = ["ReorderPlan", "chunk_regions", "counts"]

_MOST_BYTES = 2**26
_LEAST_BYTES = 2**20

_COPIES = 8
"""Of a block or region in the memory of a task: read, decoded, normalized, moved, encoded."""


def chunk_regions(
    shape: tuple[int, int], chunks: tuple[int, int], cells: int
) -> tuple[list[slice], list[slice]]:
    """Cut a matrix into regions of whole chunks: whole rows of them where they are not too long.

    Parameters
    ----------
    shape, chunks
        Rows and columns, of the matrix and of a chunk.
    cells
        Of a region at most, where chunks are not larger.

    Examples
    --------
    >>> rows, columns = chunk_regions((100, 50), (10, 20), 1200)
    >>> [part.stop for part in rows], [part.stop for part in columns]
    ([20, 40, 60, 80, 100], [50])
    >>> rows, columns = chunk_regions((100, 50), (10, 20), 400)
    >>> len(rows), [part.stop for part in columns]
    (10, [40, 50])
    """
    (n, k), (height, width) = shape, (max(1, chunk) for chunk in chunks)
    if min(height, n) * k <= cells:
        return list(slabs(n, max(1, cells // (k * height)) * height)), list(slabs(k, k))
    return list(slabs(n, height)), list(slabs(k, max(1, cells // (height * width)) * width))


@dataclass(frozen=True, kw_only=True)
class ReorderPlan:
    """Blocks that are read, and regions that are written.

    Attributes
    ----------
    shape, itemsize
        Of the reordered matrix: rows, columns, bytes a value.
    source_chunks
        Rows and columns that are cheap to read together; None of a matrix in memory, of which any
        are: it is cut as it will be stored.
    task_bytes
        What a task may take.

    Examples
    --------
    >>> plan = ReorderPlan(
    ...     shape=(100_000, 5_000), itemsize=4, source_chunks=(512, 5_000), task_bytes=3 * 10**8
    ... )
    >>> plan.chunks, plan.n_blocks, plan.n_regions, plan.scratch_bytes
    ((512, 5000), 66, 66, 2000000000)
    >>> plan.cut
    '1536x5000-1536x5000'
    """

    shape: tuple[int, int]
    itemsize: int
    source_chunks: tuple[int, int] | None
    task_bytes: int

    def check(self) -> None:
        """Refuse a matrix of which a chunk does not fit.

        Raises
        ------
        MemoryLimitError
            The message says how much it takes, and how much there is.
        """
        if self.needed_bytes > max(self.task_bytes, _COPIES * _LEAST_BYTES):
            raise MemoryLimitError(
                f"a chunk of the reordered matrix needs {format_bytes(self.needed_bytes)} in a "
                f"task, and a task has {format_bytes(self.task_bytes)}: give it more memory",
                needed_bytes=self.needed_bytes,
                limit_bytes=self.task_bytes,
            )

    @property
    def chunks(self) -> tuple[int, int]:
        """Rows and columns of a chunk of the reordered matrix."""
        rows, columns = storage_chunks(self.shape, self.itemsize)
        return min(rows, self.shape[0]), min(columns, self.shape[1])

    @property
    def needed_bytes(self) -> int:
        """Of a task, at its peak."""
        sides = (self.block_rows, self.block_columns), (self.region_rows, self.region_columns)
        largest = max(
            int(rows[0].stop - rows[0].start) * int(columns[0].stop - columns[0].start)
            for rows, columns in sides
        )
        return _COPIES * largest * self.itemsize

    @property
    def _cells(self) -> int:
        size = min(max(self.task_bytes // _COPIES, _LEAST_BYTES), _MOST_BYTES)
        # Powers of two: pieces that a killed run left are of use with a little less memory, too.
        return max(1, (1 << (size.bit_length() - 1)) // self.itemsize)

    @cached_property
    def _blocks(self) -> tuple[list[slice], list[slice]]:
        return chunk_regions(self.shape, self.source_chunks or self.chunks, self._cells)

    @cached_property
    def _regions(self) -> tuple[list[slice], list[slice]]:
        return chunk_regions(self.shape, self.chunks, self._cells)

    @property
    def block_rows(self) -> list[slice]:
        """Rows of the matrix, block by block."""
        return self._blocks[0]

    @property
    def block_columns(self) -> list[slice]:
        """Columns of the matrix, block by block."""
        return self._blocks[1]

    @property
    def region_rows(self) -> list[slice]:
        """Rows of the reordered matrix, region by region."""
        return self._regions[0]

    @property
    def region_columns(self) -> list[slice]:
        """Columns of the reordered matrix, region by region."""
        return self._regions[1]

    @property
    def blocks(self) -> list[tuple[int, int]]:
        """Numbers of all blocks, along the rows and along the columns."""
        return list(product(range(len(self.block_rows)), range(len(self.block_columns))))

    @property
    def regions(self) -> list[tuple[int, int]]:
        """Numbers of all regions, along the rows and along the columns."""
        return list(product(range(len(self.region_rows)), range(len(self.region_columns))))

    @property
    def n_blocks(self) -> int:
        """How many blocks there are."""
        return len(self.blocks)

    @property
    def n_regions(self) -> int:
        """How many regions there are."""
        return len(self.regions)

    @property
    def cut(self) -> str:
        """Name of how blocks and regions are cut."""
        sides = (self.block_rows, self.block_columns), (self.region_rows, self.region_columns)
        return "-".join(f"{rows[0].stop}x{columns[0].stop}" for rows, columns in sides)

    @property
    def scratch_bytes(self) -> int:
        """Of all pieces, which are as many values as the matrix has."""
        return self.shape[0] * self.shape[1] * self.itemsize


def counts(place: np.ndarray, blocks: list[slice], regions: list[slice]) -> np.ndarray:
    """Count, of every block of an axis, the rows that belong to each region.

    Parameters
    ----------
    place
        ``(n,)`` int: where each row stands.
    blocks, regions
        How the axis is cut before and after.

    Returns
    -------
    numpy.ndarray
        ``(len(blocks), len(regions))`` int64.

    Examples
    --------
    >>> halves = [slice(0, 2), slice(2, 4)]
    >>> counts(np.array([3, 0, 1, 2]), halves, halves).tolist()
    [[1, 1], [1, 1]]
    """
    starts = np.array([region.start for region in regions])
    region_of = np.searchsorted(starts, place, side="right") - 1
    found = [np.bincount(region_of[block], minlength=len(regions)) for block in blocks]
    return np.array(found, np.int64)
