"""Plan: the levels of a pyramid: how many there are, and which one a picture wants."""

from __future__ import annotations

__all__ = ["TILE", "level_for", "levels", "pyramid_cells", "region_cells"]

TILE = 512
"""Rows and columns of a tile."""

_READ_BYTES = 2**25


def levels(shape: tuple[int, int], tile: int = TILE) -> list[tuple[int, int]]:
    """Rows and columns of the levels above the matrix itself, until one fits a tile.

    Examples
    --------
    >>> levels((5000, 300))
    [(2500, 150), (1250, 75), (625, 38), (313, 19)]
    >>> levels((500, 300))
    []
    """
    found = []
    while max(shape) > tile:
        shape = (-(-shape[0] // 2), -(-shape[1] // 2))
        found.append(shape)
    return found


def level_for(n_levels: int, cells: tuple[float, float], pixels: tuple[int, int]) -> int:
    """Choose the level for a window: the smallest that has a cell for every pixel.

    Parameters
    ----------
    n_levels
        Levels above the matrix.
    cells
        Rows and columns of the matrix that are shown.
    pixels
        That they are shown in.

    Returns
    -------
    int
        0 for the matrix itself.

    Examples
    --------
    >>> level_for(5, (100_000, 5_000), (1000, 1000)), level_for(5, (1000, 1000), (1000, 1000))
    (2, 0)
    """
    per_pixel = min(count / max(1, pixel) for count, pixel in zip(cells, pixels, strict=True))
    return min(n_levels, max(0, int(per_pixel).bit_length() - 1))


def pyramid_cells(shape: tuple[int, int], tile: int = TILE) -> int:
    """Count the cells of all levels above a matrix.

    Examples
    --------
    >>> pyramid_cells((2000, 1000))
    625000
    """
    return sum(rows * columns for rows, columns in levels(shape, tile))


def region_cells(number: int, itemsize: int) -> int:
    """Count the cells of a level that are made at once, where a tile has no more.

    Parameters
    ----------
    number
        1 for the first level, which is made of the matrix; others are of four arrays.
    itemsize
        Bytes of a value.

    Examples
    --------
    >>> region_cells(1, 4), region_cells(2, 4)
    (2097152, 419430)
    """
    return _READ_BYTES // (4 * (itemsize if number == 1 else 3 * itemsize + 8))
