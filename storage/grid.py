"""Plan: pure integer arithmetic on chunk grids and on the packed upper triangle of tiles.

Everything that is computed blockwise is computed in *blocks* of a fixed number of rows, counted
from row 0, whatever the chunks of the input or the tiles of a run are. Chunks and tiles are
multiples of a block (or the whole axis), so a value never depends on how the work was cut.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import isqrt

__all__ = [
    "BLOCK_FEATURES",
    "BLOCK_ROWS",
    "DECODED_BYTES",
    "READ_BLOCK",
    "TriangleGrid",
    "is_aligned",
    "pass_block",
    "round_up",
    "slabs",
]

BLOCK_ROWS = 512
"""Rows of one product. Results depend on this number's value in their last bits: it is fixed."""

BLOCK_FEATURES = 2048
"""Features of one product, summed in order. Fixed for the same reason."""

READ_BLOCK = 2048
"""Rows and columns that a pass over the matrix reads at once. Fixed for the same reason."""

DECODED_BYTES = 2**25
"""Of chunks that are decoded at once, where several are read."""

_PASS_VALUES = 2**21


_BAND_OBSERVATIONS = 2048
_STRIP_VALUES = 2**16


def round_up(value: int, multiple: int) -> int:
    """Return the smallest multiple of `multiple` that is at least `value`.

    Examples
    --------
    >>> round_up(5, 4), round_up(8, 4), round_up(0, 4)
    (8, 8, 0)
    """
    return -(-value // multiple) * multiple


def slabs(length: int, step: int) -> Iterator[slice]:
    """Cut ``range(length)`` into consecutive slices of `step`; the last may be short.

    Examples
    --------
    >>> [(s.start, s.stop) for s in slabs(10, 4)]
    [(0, 4), (4, 8), (8, 10)]
    """
    if step <= 0:
        raise ValueError(f"step must be positive, got {step}")
    for start in range(0, length, step):
        yield slice(start, min(start + step, length))


def pass_block(shape: tuple[int, int], chunks: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns that a pass along the rows reads at once: some 2 million values.

    They are whole chunks where these are not much larger, and at least `BLOCK_ROWS` rows: fewer
    would read the same chunks again for the next rows.

    Examples
    --------
    >>> pass_block((28_057, 115), (8704, 115)), pass_block((100_000, 5_000), (512, 5_000))
    ((17408, 115), (512, 5000))
    >>> pass_block((1000, 100_000), (512, 8192)), pass_block((60, 100_000), (60, 2048))
    ((512, 8192), (60, 4096))
    >>> pass_block((1000, 100_000), (1000, 100_000))
    (512, 4096)
    """
    rows, columns = shape
    chunk_rows, chunk_columns = (max(1, chunk) for chunk in chunks)
    least = _PASS_VALUES // BLOCK_ROWS
    width = min(columns, round_up(least, chunk_columns))
    if width > 4 * least:
        width = least
    height = _PASS_VALUES // max(1, width)
    return min(rows, max(height // chunk_rows * chunk_rows, BLOCK_ROWS)), width


def strips(n: int, width: int) -> Iterator[slice]:
    """Yield strips of `n` rows whose values, in double precision, stay in a processor's cache.

    Examples
    --------
    >>> [strip.stop for strip in strips(200, 1000)]
    [65, 130, 195, 200]
    """
    return slabs(n, max(1, _STRIP_VALUES // max(1, width)))


def band_rows(tile_edge: int) -> int:
    """Rows of tiles that are walked together, so that they share what is made of their columns.

    Examples
    --------
    >>> band_rows(512), band_rows(2048), band_rows(10_000)
    (4, 2, 2)
    """
    return max(2, _BAND_OBSERVATIONS // tile_edge)


def is_aligned(region: slice, chunk: int, length: int) -> bool:
    """Whether a region of an axis covers whole chunks (the axis's last chunk may be short).

    Examples
    --------
    >>> is_aligned(slice(4, 8), 4, 10), is_aligned(slice(8, 10), 4, 10)
    (True, True)
    >>> is_aligned(slice(4, 7), 4, 10), is_aligned(slice(2, 8), 4, 10)
    (False, False)
    """
    return bool(region.start % chunk == 0 and (region.stop % chunk == 0 or region.stop == length))


@dataclass(frozen=True, slots=True, kw_only=True)
class TriangleGrid:
    """The tiles ``(i, j)``, ``i <= j``, of an ``n x n`` symmetric matrix, packed row by row.

    Where `n` is no multiple of the edge, the tiles of the last column are narrower, and the last
    tile of all is narrower and lower. Tiles of one shape make one *stack*, so none is padded.

    Parameters
    ----------
    n
        Number of observations.
    tile_edge
        Observations a tile spans along each axis; the last tile of an axis may hold fewer.

    Examples
    --------
    >>> grid = TriangleGrid(n=10, tile_edge=4)
    >>> grid.n_edges, grid.n_tiles
    (3, 6)
    >>> [grid.tile(p) for p in range(grid.n_tiles)]
    [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)]
    >>> grid.position(1, 2), grid.rows(2)
    (4, slice(8, 10, None))
    >>> grid.tile_shape(0, 2), grid.offset(1, 1), grid.n_values
    ((4, 2), 40, 68)
    >>> grid.stacks
    {'tiles': (3, 4, 4), 'border': (2, 4, 2), 'corner': (1, 2, 2)}
    >>> [grid.place(*grid.tile(p)) for p in range(grid.n_tiles)][-3:]
    [('tiles', 2), ('border', 1), ('corner', 0)]
    """

    n: int
    tile_edge: int

    def __post_init__(self) -> None:
        if self.n < 1 or self.tile_edge < 1:
            raise ValueError(
                f"n and tile_edge must be positive, got n={self.n}, tile_edge={self.tile_edge}"
            )

    @property
    def n_edges(self) -> int:
        """Number of tiles along one axis."""
        return -(-self.n // self.tile_edge)

    @property
    def n_tiles(self) -> int:
        """Number of tiles with ``i <= j``."""
        return self.n_edges * (self.n_edges + 1) // 2

    def position(self, i: int, j: int) -> int:
        """Position of tile ``(i, j)``, ``i <= j``, in the packed order."""
        if not 0 <= i <= j < self.n_edges:
            raise IndexError(f"tile ({i}, {j}) is not in a triangle of {self.n_edges} tiles a side")
        return i * self.n_edges - i * (i - 1) // 2 + (j - i)

    def tile(self, position: int) -> tuple[int, int]:
        """Tile ``(i, j)`` at a position of the packed order; the inverse of `position`."""
        if not 0 <= position < self.n_tiles:
            raise IndexError(f"position {position} is not in 0..{self.n_tiles - 1}")
        # From the end, the rows hold 1, 2, 3, ... tiles: solve the triangular number.
        remaining = self.n_tiles - 1 - position
        i = self.n_edges - 1 - (isqrt(8 * remaining + 1) - 1) // 2
        j = i + position - self.position(i, i)
        return i, j

    def rows(self, i: int) -> slice:
        """Observations that tile row (or column) `i` spans."""
        start = i * self.tile_edge
        return slice(start, min(start + self.tile_edge, self.n))

    def tile_shape(self, i: int, j: int) -> tuple[int, int]:
        """Rows and columns of tile ``(i, j)``."""
        rows, columns = self.rows(i), self.rows(j)
        return rows.stop - rows.start, columns.stop - columns.start

    @property
    def n_values(self) -> int:
        """Values of all tiles: every pair once, and of the diagonal tiles the other half too."""
        return self.offset(self.n_edges - 1, self.n_edges - 1) + self._remainder**2

    def offset(self, i: int, j: int) -> int:
        """Values of the tiles before ``(i, j)`` in the packed order."""
        self.position(i, j)
        edge = self.tile_edge
        above = edge * (i * self.n - edge * (i * (i - 1) // 2))
        return above + self.tile_shape(i, j)[0] * (j - i) * edge

    @property
    def _remainder(self) -> int:
        """Observations that the last tile row (or column) spans."""
        return self.n - (self.n_edges - 1) * self.tile_edge

    @property
    def stacks(self) -> dict[str, tuple[int, int, int]]:
        """Tiles of one shape each: how many there are, their rows and their columns.

        ``tiles`` are those of full width, ``border`` the last column of narrower ones, ``corner``
        the last tile of that.
        """
        edge, rest = self.tile_edge, self._remainder
        if rest == edge or self.n_edges == 1:
            return {"tiles": (self.n_tiles, rest, rest)}
        whole = self.n_edges - 1
        return {
            "tiles": (whole * (whole + 1) // 2, edge, edge),
            "border": (whole, edge, rest),
            "corner": (1, rest, rest),
        }

    def place(self, i: int, j: int) -> tuple[str, int]:
        """Stack that holds tile ``(i, j)``, ``i <= j``, and its number there."""
        position = self.position(i, j)
        if len(self.stacks) == 1:
            return "tiles", position
        if i == self.n_edges - 1:
            return "corner", 0
        if j == self.n_edges - 1:
            return "border", i
        return "tiles", position - i  # every row above has one tile in the border

    def placed(self, stack: str, number: int) -> int:
        """Position of a tile in the packed order; the inverse of `place`.

        Examples
        --------
        >>> grid = TriangleGrid(n=10, tile_edge=4)
        >>> grid.placed("border", 1), grid.placed("tiles", 2)
        (4, 3)
        """
        count = self.stacks[stack][0]
        if not 0 <= number < count:
            raise IndexError(f"tile {number} is not one of the {count} of {stack!r}")
        if stack == "corner":
            return self.n_tiles - 1
        if stack == "border":
            return self.position(number, self.n_edges - 1)
        if len(self.stacks) == 1:
            return number
        whole = TriangleGrid(n=(self.n_edges - 1) * self.tile_edge, tile_edge=self.tile_edge)
        return self.position(*whole.tile(number))
