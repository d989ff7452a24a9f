"""Plan: bytes of memory that one task takes, from the matrix as it is stored.

The sums follow the arrays that are alive at once in ``tiles.py``, ``distance.py``,
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
    """

    shape: tuple[int, int]
    itemsize: int
    chunks: tuple[int, int] | None = None
    in_memory: bool = False

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
        ``"product"``, ``"direct"``, ``"scipy"``, ``"function"`` or ``"precomputed"``.
    matrix
        Observations in rows, as tasks read them.
    """

    n: int
    k: int
    itemsize: int
    engine: str = "product"
    matrix: StoredMatrix

    def task_bytes(self, edge: int, features: int) -> int:
        """Most memory of a task: the norms of some rows, then a tile.

        Parameters
        ----------
        edge
            Observations along an edge of the tile.
        features
            That are held at once.
        """
        edge, whole = min(edge, self.n), self.k <= features
        features = min(features, self.k)
        engine = _ENGINES[self.engine](self, edge, features, whole)
        is_loaded = self.engine == "function" or (whole and self.engine != "precomputed")
        loaded = 16 * edge * self.k if is_loaded else 0
        tile = edge * edge * self.itemsize
        return with_slack(
            max(
                # While the second of two slabs is read, the first is there.
                loaded // 2 + self.matrix.read_bytes(edge, self.k) if loaded else 0,
                loaded + engine,
                # The encoded tile, and a padded one.
                3 * tile + edge * edge,
                self._norms_bytes,
            )
        )

    @property
    def _norms_bytes(self) -> int:
        rows, width = self._pass_block
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
    """Operands and products; blocks of values that become operands, or are recomputed."""
    d = work.itemsize
    read = 0 if whole else work.matrix.read_bytes(min(BLOCK_ROWS, edge), features)
    block = 32 * min(BLOCK_ROWS, edge) * features + read
    return edge * edge * (d + 1) + 2 * edge * features * d + block + _PAIRS_BYTES


def _direct_bytes(work: TileWork, edge: int, features: int, whole: bool) -> int:
    """Add up sums, as distances too; operands, also centred, and a block of them transposed."""
    d = work.itemsize
    narrowed = d if d < 8 else 0
    read = 0 if whole else work.matrix.read_bytes(edge, features) + 8 * edge * features
    block = 24 * min(BLOCK_ROWS, edge) * features
    return edge * edge * (9 + narrowed) + 16 * edge * features + read + block + _PAIRS_BYTES


def _scipy_bytes(work: TileWork, edge: int, features: int, whole: bool) -> int:
    """Distances and flags; rows of length one."""
    del whole
    return edge * edge * (9 + work.itemsize) + 16 * edge * features


def _function_bytes(work: TileWork, edge: int, features: int, whole: bool) -> int:
    """Distances, as they are wanted too."""
    del features, whole
    return edge * edge * (9 + work.itemsize)


def _precomputed_bytes(work: TileWork, edge: int, features: int, whole: bool) -> int:
    """Hold a tile, the one that mirrors it, and what they differ by."""
    del features, whole
    return 2 * work.matrix.read_bytes(edge, edge) + edge * edge * (9 + work.itemsize)


_PAIRS_BYTES = BLOCK_ROWS * BLOCK_ROWS * 32
"""Of one block of pairs: its products, flags, and what is recomputed."""

_ENGINES = {
    "product": _product_bytes,
    "direct": _direct_bytes,
    "scipy": _scipy_bytes,
    "function": _function_bytes,
    "precomputed": _precomputed_bytes,
}
