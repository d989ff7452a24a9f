"""Plan: how many rows and columns to read, or to store, together."""

from __future__ import annotations

from clustergrid.storage.grid import BLOCK_FEATURES, round_up

__all__ = [
    "BLOCK_BYTES",
    "SMALL_BYTES",
    "SMALL_SPARSE_BYTES",
    "aligned_chunks",
    "block_rows",
    "storage_chunks",
]

BLOCK_BYTES = 32 * 2**20  # what a task reads at once
LARGEST_BLOCK_BYTES = 64 * 2**20
CHUNK_BYTES = 8 * 2**20  # a tile of distances reads some thousand rows, and whole chunks
SMALL_BYTES = 64 * 2**20  # below this, a matrix may be held in memory
SMALL_SPARSE_BYTES = 16 * 2**20  # below this, nothing is gained by leaving out zeros
ROW_UNIT = 512  # later stages compute in blocks of these, so chunks are multiples of them


def block_rows(n_columns: int, itemsize: int, block_bytes: int = BLOCK_BYTES) -> int:
    """Rows of about `block_bytes`, a multiple of `ROW_UNIT` where as many fit.

    Examples
    --------
    >>> block_rows(1000, 8), block_rows(30_000, 8)
    (4096, 139)
    """
    rows = max(1, block_bytes // max(1, n_columns * itemsize))
    return rows // ROW_UNIT * ROW_UNIT or rows


def storage_chunks(shape: tuple[int, int], itemsize: int) -> tuple[int, int]:
    """Chunks for a matrix that is about to be stored.

    One chunk for a small matrix; whole rows, in multiples of 512, while 512 of them take little
    more than `CHUNK_BYTES`; beyond that, columns are cut in multiples of 2048 too: whoever reads
    some features of a tile's rows decodes no others.

    Examples
    --------
    >>> storage_chunks((1000, 100), 8)
    (1000, 100)
    >>> storage_chunks((28_057, 115), 8), storage_chunks((100_000, 5_000), 4)
    ((8704, 115), (512, 5000))
    >>> storage_chunks((100_000, 50_000), 8)
    (512, 2048)
    """
    n_rows, n_columns = shape
    if n_rows * n_columns * itemsize <= CHUNK_BYTES:
        return max(1, n_rows), max(1, n_columns)
    if ROW_UNIT * n_columns * itemsize <= 2 * CHUNK_BYTES:
        rows = max(ROW_UNIT, block_rows(n_columns, itemsize, CHUNK_BYTES))
        return min(rows, round_up(n_rows, ROW_UNIT)), n_columns
    columns = CHUNK_BYTES // (ROW_UNIT * itemsize) // BLOCK_FEATURES * BLOCK_FEATURES
    return ROW_UNIT, max(BLOCK_FEATURES, columns)


def aligned_chunks(
    shape: tuple[int, int], stored: tuple[int, int], itemsize: int
) -> tuple[int, int]:
    """Blocks of about 32 MB that are made of whole stored chunks, whole rows where possible.

    Examples
    --------
    >>> aligned_chunks((100_000, 1_000), (1, 1_000), 8)
    (4096, 1000)
    >>> aligned_chunks((100_000, 1_000), (100, 100), 8)
    (4000, 1000)
    >>> aligned_chunks((100_000, 100_000), (1_000, 1_000), 8)
    (1000, 4000)
    """
    n_rows, n_columns = shape
    stored_rows, stored_columns = (max(1, s) for s in stored)
    if min(stored_rows, n_rows) * n_columns * itemsize <= LARGEST_BLOCK_BYTES:
        wanted = block_rows(n_columns, itemsize)
        rows = max(wanted // stored_rows * stored_rows, stored_rows)
        return min(rows, n_rows), n_columns
    columns = BLOCK_BYTES // (stored_rows * itemsize) // stored_columns * stored_columns
    return min(stored_rows, n_rows), min(max(columns, stored_columns), n_columns)
