"""Plan: bytes of memory that one task takes, from the matrix as it is stored.

The sums follow the arrays that are alive at once in ``tiles.py``, ``operands.py``, ``engines/``,
``duplicates.py`` and ``storage/reading.py``; ``d`` bytes is a distance, ``s`` bytes a value at
rest, and everything is computed in 8.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from clustergrid.storage.grid import (
    BLOCK_FEATURES,
    BLOCK_ROWS,
    DECODED_BYTES,
    band_rows,
    pass_block,
    round_up,
)
from clustergrid.storage.readers.chunking import storage_chunks

__all__ = ["StoredMatrix", "TileWork", "with_slack"]


def with_slack(size: int) -> int:
    """Add what malloc keeps between arrays, a quarter."""
    return size * 5 // 4


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredMatrix:
    """A matrix as tasks read it.

    Attributes
    ----------
    shape
        Rows and columns.
    itemsize
        Bytes of a value at rest.
    chunks
        Rows and columns that are decoded together; None: as a copy has them that the run makes.
    in_memory
        Whether nothing has to be decoded.
    n_stored
        Values that a sparse matrix stores; None of a dense one.
    """

    shape: tuple[int, int]
    itemsize: int
    chunks: tuple[int, int] | None = None
    in_memory: bool = False
    n_stored: int | None = None

    @property
    def density(self) -> float:
        """Share of the values that are stored."""
        return 1.0 if self.n_stored is None else self.n_stored / self.values

    @property
    def values(self) -> int:
        """How many there are."""
        return prod(self.shape)

    @property
    def read_chunks(self) -> tuple[int, int]:
        """Rows and columns that are cheap to read together."""
        if self.in_memory:
            return self.shape
        rows, columns = self.chunks or storage_chunks(self.shape, self.itemsize)
        return rows, columns

    def transpose(self) -> StoredMatrix:
        """Return the same matrix as tasks of its columns see it."""
        chunks = self.read_chunks
        return StoredMatrix(
            shape=self.shape[::-1],
            itemsize=self.itemsize,
            chunks=chunks[::-1],
            in_memory=self.in_memory,
            n_stored=self.n_stored,
        )

    def decoded_bytes(self, rows: int, columns: int) -> int:
        """Chunks that are held while a region is read: encoded, decoded, and cut out.

        Examples
        --------
        >>> StoredMatrix(shape=(20_000, 500), itemsize=8).decoded_bytes(2048, 500)
        24576000
        """
        if self.in_memory:
            return 0
        chunks = self.read_chunks
        chunk = prod(chunks) * self.itemsize
        region = zip((rows, columns), chunks, strict=True)
        touched = prod(_chunks_touched(length, step) for length, step in region)
        at_once = max(1, min(touched, DECODED_BYTES // chunk))
        return 3 * at_once * chunk

    def entries_bytes(self, rows: int) -> int:
        """Bytes of entries in float64, of rows that are twice as dense as others."""
        return min(rows * self.shape[1], self._entries(rows)) * 12

    def read_entries_bytes(self, rows: int) -> int:
        """Most memory of entries that are read, put in order, made float64, and scaled."""
        at_rest = 0 if self.in_memory else 2 * (self.itemsize + 8)
        return self.entries_bytes(rows) * (12 + 16 + at_rest) // 12

    def _entries(self, rows: int) -> int:
        return round(2 * self.density * rows * self.shape[1])

    def read_bytes(self, rows: int, columns: int) -> int:
        """Most memory of a region that is read, and made float64."""
        size = rows * columns
        return size * self.itemsize + max(self.decoded_bytes(rows, columns), 8 * size)


def _chunks_touched(length: int, step: int) -> int:
    """Chunks of an axis that a region reaches into, wherever it begins."""
    begins_on_chunks = length % step == 0 or step % length == 0
    return -(-length // step) + (0 if begins_on_chunks else 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class TileWork:
    """Distances between `n` observations of `k` features.

    Attributes
    ----------
    n, k
        Observations and features.
    itemsize
        Bytes of a distance.
    engine
        As `clustergrid.pipeline.metrics.engine_for` chose.
    matrix
        Observations in rows, as tasks read them.
    needs_whole_rows
        Whether a task holds all features whatever their number: rows are sorted, or transformed.
    is_transformed
        Whether rows are multiplied by a matrix of features by features.
    """

    n: int
    k: int
    itemsize: int
    engine: str = "product"
    matrix: StoredMatrix
    needs_whole_rows: bool = False
    is_transformed: bool = False

    def task_bytes(self, edge: int, features: int) -> int:
        """Most memory of a task: the norms of some rows, then a tile.

        Parameters
        ----------
        edge
            Observations along an edge of the tile.
        features
            That are held at once.
        """
        edge = min(edge, self.n)
        whole = self.k <= features or self.needs_whole_rows
        features = self.k if whole else features
        engine = _ENGINES[self.engine](self, edge, features, whole)
        # Both slabs of rows as they are stored; where they are in memory already, views of them.
        slab = 0 if self.matrix.in_memory else edge * self.k * self.matrix.itemsize
        is_loaded = whole or self.engine in _WHOLE_ROWS
        loaded = 2 * slab if is_loaded and self.engine not in _OWN_ROWS else 0
        tile = edge * edge * self.itemsize
        return with_slack(
            max(
                # While the second of two slabs is read, the first is there.
                slab + self.matrix.decoded_bytes(edge, self.k) if loaded else 0,
                loaded + engine + tile,
                # The encoded tile, and a padded one.
                3 * tile + edge * edge,
                self._norms_bytes,
            )
        )

    @property
    def _norms_bytes(self) -> int:
        rows, width = self._pass_block
        if self.engine == "sparse":
            average = max(1.0, self.matrix.density * self.k)
            rows = min(self.n, max(BLOCK_ROWS, round(SPARSE_PASS_ENTRIES / average)))
            return self.matrix.read_entries_bytes(rows) + 64 * rows
        features = min(self.k, round_up(width, BLOCK_FEATURES))
        # A block of features, centred, and squared.
        return self.matrix.read_bytes(rows, features) + 24 * rows * min(features, BLOCK_FEATURES)

    @property
    def _pass_block(self) -> tuple[int, int]:
        return pass_block((self.n, self.k), self.matrix.read_chunks)

    @property
    def digest_task_bytes(self) -> int:
        """Most memory of a task that looks for identical rows."""
        rows, width = self._pass_block
        size = rows * width
        decoded = self.matrix.decoded_bytes(rows, width)
        return with_slack(size * self.matrix.itemsize + max(decoded, 8 * size))

    @property
    def smallest_task_bytes(self) -> int:
        """Memory of a task on the smallest tile there is."""
        return self.task_bytes(BLOCK_ROWS, BLOCK_FEATURES)

    def read_tile_bytes(self, edge: int) -> int:
        """Most memory of reading a stored tile: encoded, decoded, and the rows that are kept."""
        return with_slack(3 * min(edge, self.n) ** 2 * self.itemsize)


def _product_bytes(work: TileWork, edge: int, features: int, whole: bool) -> int:
    """Operands, products, and blocks of values that become operands."""
    d, block = work.itemsize, min(BLOCK_ROWS, edge)
    products = 0 if whole else edge * edge * d
    values = _block_values_bytes(work, block, features, whole) + 16 * block * features
    # The matrix itself and the square root that rows are multiplied by.
    transform = 16 * work.k * work.k if work.is_transformed else 0
    return products + _operand_rows(edge, whole) * features * d + values + transform + _PAIRS_BYTES


def _operand_rows(edge: int, whole: bool) -> int:
    """Rows whose operands are held: right and left ones, and the other left ones of a band."""
    return edge * (1 + (band_rows(edge) if whole else 1))


def _counts_bytes(work: TileWork, edge: int, features: int, whole: bool) -> int:
    """Bits of all rows, numbers of common ones, and a block of values that becomes bits."""
    block = min(BLOCK_ROWS, edge)
    counts = 0 if whole else 8 * edge * edge
    values = _block_values_bytes(work, block, features, whole)
    return counts + edge * features // 4 + values + _PAIRS_BYTES


def _direct_bytes(work: TileWork, edge: int, features: int, whole: bool) -> int:
    """Operands, their sums, and a block of them transposed."""
    block = min(BLOCK_ROWS, edge)
    sums = 8 * _MOST_SUMS * (block * block if whole else edge * edge)
    values = _block_values_bytes(work, block, features, whole)
    operands = 8 * _operand_rows(edge, whole) * features
    return sums + operands + 16 * block * features + values + _PAIRS_BYTES


def _missing_bytes(work: TileWork, edge: int, features: int, whole: bool) -> int:
    """Distances in double precision, two blocks of values in some forms, and what is sorted."""
    block = min(BLOCK_ROWS, edge)
    values = 2 * _block_values_bytes(work, block, features, whole) + 32 * block * features
    ranks = 2 * _RANKS_BYTES * edge * features if work.needs_whole_rows else 0
    return 8 * edge * edge + values + ranks + 3 * _PAIRS_BYTES


def _sparse_bytes(work: TileWork, edge: int, features: int, whole: bool) -> int:
    """Entries of both slabs, of a block by columns, and sums of all rows with a block."""
    del features, whole
    block = min(BLOCK_ROWS, edge)
    entries = work.matrix.entries_bytes(edge) + work.matrix.read_entries_bytes(edge)
    by_columns = max(work.matrix.entries_bytes(block), _PANELS_BYTES)
    # Sums, flags, and squares of differences; whether distances are finite.
    return entries + by_columns + edge * block * 17 + edge * edge


def _scipy_bytes(work: TileWork, edge: int, features: int, whole: bool) -> int:
    """Distances and flags; rows in double precision, and of length one."""
    del whole
    return edge * edge * 9 + 32 * edge * features


def _function_bytes(work: TileWork, edge: int, features: int, whole: bool) -> int:
    """Distances, and rows, in double precision."""
    del features, whole
    return edge * edge * 8 + 16 * edge * work.k


def _precomputed_bytes(work: TileWork, edge: int, features: int, whole: bool) -> int:
    """Hold a tile, the one that mirrors it, and what they differ by."""
    del features, whole
    return 2 * work.matrix.read_bytes(edge, edge) + edge * edge * 9


def _block_values_bytes(work: TileWork, block: int, features: int, whole: bool) -> int:
    """Of a block of rows as it is read, and normalized."""
    read = 0 if whole else work.matrix.read_bytes(block, features)
    return read + 16 * block * features


SPARSE_PASS_ENTRIES = 2**20
"""Entries of sparse rows that a pass along the rows reads at once, about."""

_PANELS_BYTES = 2**22
"""Of a block of sparse rows that is made dense, some features at a time."""

_OWN_ROWS = ("precomputed", "sparse")
"""Engines that read slabs of rows in a form of their own."""

_MOST_SUMS = 3
"""Of a pair, in a loop over its features."""

_RANKS_BYTES = 9
"""Of a value with its rank and its place in the order of its row."""

_PAIRS_BYTES = BLOCK_ROWS * BLOCK_ROWS * 40
"""Of one block of pairs: its products, flags, and what is recomputed."""

_WHOLE_ROWS = ("scipy", "function")
"""Engines that hold all features, whatever their number."""

_ENGINES = {
    "product": _product_bytes,
    "counts": _counts_bytes,
    "direct": _direct_bytes,
    "missing": _missing_bytes,
    "sparse": _sparse_bytes,
    "scipy": _scipy_bytes,
    "function": _function_bytes,
    "precomputed": _precomputed_bytes,
}
