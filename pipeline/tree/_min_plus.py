"""Kernel: the shortest paths through every subtree, from one of its leaves to another.

Call ``M[u, w]`` the least sum of distances between neighbours over all orders of a subtree that
begin with leaf ``u`` and end with leaf ``w``, which lie below different children of its root. Of a
subtree with the children X and Y, the order leaves X at some ``m`` and enters Y at some ``k``::

    T[k, u] = min over m of  D[k, m] + M[m, u]        m below the other child of X than u
    M[w, u] = min over k of  M[w, k] + T[k, u]        k below the other child of Y than w

These are products of matrices in which plus stands for times and the minimum for the sum, of
O(n^3) steps in all whatever the distances (Bar-Joseph and others 2003, "K-ary clustering with
optimal leaf ordering for gene expression data"). Without a branch on the values they run as fast as
a processor adds, which beats sorting candidates and ending early.

One square holds it all, in the order of the leaves: ``M`` above the diagonal, where it replaces
nothing that is needed again, ``D`` below. ``T`` is one more block of the size of a subtree's.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline._jit import jit

__all__ = ["COLUMNS", "Joins", "join_plainly", "join_small", "join_strip", "joins_of", "pass_strip"]

COLUMNS = 256
_INNER = 64
_ROWS = 64


class Joins(NamedTuple):
    """The merges of a tree as ranges of positions along its leaves.

    Parameters
    ----------
    bounds
        ``(n - 1, 6) int64``: where the larger child X begins, where its right child begins, where
        it ends; the same of the smaller child Y. A leaf's right child begins where it does.
    steps
        ``(n - 1,) int64``: additions that each merge takes.
    """

    bounds: NDArray[np.int64]
    steps: NDArray[np.int64]


def joins_of(
    linkage: NDArray[np.float64], start: NDArray[np.int64], size: NDArray[np.int64]
) -> Joins:
    """Return the ranges of a tree whose clusters start where `places` says."""
    n = len(linkage) + 1
    children = linkage[:, :2].astype(np.int64)
    middle = start.copy()
    middle[n:] = start[children[:, 1]]
    is_swapped = size[children[:, 0]] < size[children[:, 1]]
    larger = np.where(is_swapped, children[:, 1], children[:, 0])
    smaller = np.where(is_swapped, children[:, 0], children[:, 1])
    bounds = np.stack(
        [
            *(start[larger], middle[larger], start[larger] + size[larger]),
            *(start[smaller], middle[smaller], start[smaller] + size[smaller]),
        ],
        axis=1,
    )
    x0, xs, x1, y0, ys, y1 = bounds.T
    steps = 2 * (xs - x0) * (x1 - xs) * (y1 - y0) + 2 * (ys - y0) * (y1 - ys) * (x1 - x0)
    return Joins(bounds, steps)


def join_plainly(square: NDArray[np.float64], bounds: NDArray[np.int64]) -> None:
    """Fill the paths of one merge with NumPy alone: the same bits as the compiled kernels."""
    x0, xs, x1, y0, ys, y1 = bounds.tolist()
    is_left = x0 < y0
    if xs == x0:  # two leaves
        square[min(x0, y0), max(x0, y0)] = square[max(x0, y0), min(x0, y0)]
        return
    distances = square[y0:y1, x0:x1] if is_left else square[x0:x1, y0:y1].T
    through = square[x0:xs, xs:x1]
    paths = np.empty((y1 - y0, x1 - x0))
    paths[:, xs - x0 :] = _min_plus(distances[:, : xs - x0], through)
    paths[:, : xs - x0] = _min_plus(distances[:, xs - x0 :], through.T)
    if ys > y0:
        through = square[y0:ys, ys:y1]
        upper = _min_plus(through, paths[ys - y0 :])
        paths[ys - y0 :] = _min_plus(through.T, paths[: ys - y0])
        paths[: ys - y0] = upper
    if is_left:
        square[x0:x1, y0:y1] = paths.T
    else:
        square[y0:y1, x0:x1] = paths


def _min_plus(left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    """Loop over the shortest of the three dimensions."""
    (rows, inner), columns = left.shape, right.shape[1]
    best = np.full((rows, columns), np.inf)
    if inner <= min(rows, columns):
        for i in range(inner):
            np.minimum(best, left[:, i, None] + right[i], out=best)
    elif rows <= columns:
        for row in range(rows):
            (left[row, :, None] + right).min(axis=0, out=best[row])
    else:
        for column in range(columns):
            (left + right[:, column]).min(axis=1, out=best[:, column])
    return best


@jit
def _multiply(
    left: NDArray[np.float64],
    tile: NDArray[np.float64],
    best: NDArray[np.float64],
    rows: int,
    inner: int,
    columns: int,
) -> None:
    """Lower `best` to the min-plus product of `left` and `tile`; all three are flat.

    Rows come in pairs and the inner dimension in fours: whoever fills `left` pads it with
    infinities. Two rows share what they load of the tile.
    """
    for row in range(0, rows, 2):
        out = best[row * COLUMNS : (row + 2) * COLUMNS]
        for i in range(0, inner, 4):
            at = row * _INNER + i
            a0 = left[at]
            a1 = left[at + 1]
            a2 = left[at + 2]
            a3 = left[at + 3]
            b0 = left[at + _INNER]
            b1 = left[at + _INNER + 1]
            b2 = left[at + _INNER + 2]
            b3 = left[at + _INNER + 3]
            some = tile[i * COLUMNS : (i + 4) * COLUMNS]
            for j in range(columns):
                p = out[j]
                q = out[COLUMNS + j]
                d = some[j]
                value = a0 + d
                p = value if value < p else p
                value = b0 + d
                q = value if value < q else q
                d = some[COLUMNS + j]
                value = a1 + d
                p = value if value < p else p
                value = b1 + d
                q = value if value < q else q
                d = some[2 * COLUMNS + j]
                value = a2 + d
                p = value if value < p else p
                value = b2 + d
                q = value if value < q else q
                d = some[3 * COLUMNS + j]
                value = a3 + d
                p = value if value < p else p
                value = b3 + d
                q = value if value < q else q
                out[j] = p
                out[COLUMNS + j] = q


@jit
def _pad(left: NDArray[np.float64], rows: int, inner: int) -> None:
    """Fill up `left` with infinities to pairs of rows and fours along the inner dimension."""
    for row in range(rows):
        for i in range(inner, (inner + 3) // 4 * 4):
            left[row * _INNER + i] = np.inf
    if rows % 2 == 1:
        left[rows * _INNER : (rows + 1) * _INNER] = np.inf


@jit
def _strip(bounds: NDArray[np.int64], index: int) -> tuple[int, int]:
    """Return which columns of X a strip has; none lies below both children of X."""
    x0, xs, x1 = bounds[0], bounds[1], bounds[2]
    n_left = (xs - x0 + COLUMNS - 1) // COLUMNS
    if index < n_left:
        begin = x0 + index * COLUMNS
        return begin, min(begin + COLUMNS, xs)
    begin = xs + (index - n_left) * COLUMNS
    return begin, min(begin + COLUMNS, x1)


@jit
def pass_strip(
    square: NDArray[np.float64],
    paths: NDArray[np.float64],
    bounds: NDArray[np.int64],
    index: int,
) -> None:
    """Fill columns of ``T[k, u]``, a flat array of as many rows as Y has leaves, strip `index`."""
    left = np.empty((_ROWS + 1) * _INNER)
    tile = np.empty(_INNER * COLUMNS)
    best = np.empty((_ROWS + 1) * COLUMNS)
    _pass_strip(square, paths, bounds, index, left, tile, best)


@jit
def join_strip(
    square: NDArray[np.float64],
    paths: NDArray[np.float64],
    bounds: NDArray[np.int64],
    index: int,
) -> None:
    """Fill columns of ``M[w, u]`` from all of ``T[k, u]``, strip `index`."""
    left = np.empty((_ROWS + 1) * _INNER)
    tile = np.empty(_INNER * COLUMNS)
    best = np.empty((_ROWS + 1) * COLUMNS)
    _join_strip(square, paths, bounds, index, left, tile, best)


@jit
def _pass_strip(
    square: NDArray[np.float64],
    paths: NDArray[np.float64],
    bounds: NDArray[np.int64],
    index: int,
    left: NDArray[np.float64],
    tile: NDArray[np.float64],
    best: NDArray[np.float64],
) -> None:
    x0, xs, x1, y0, y1 = bounds[0], bounds[1], bounds[2], bounds[3], bounds[5]
    u0, u1 = _strip(bounds, index)
    columns = u1 - u0
    m_begin = xs if u0 < xs else x0
    m_end = x1 if u0 < xs else xs
    for k0 in range(y0, y1, _ROWS):
        rows = min(_ROWS, y1 - k0)
        best[: (rows + 1) * COLUMNS] = np.inf
        for m0 in range(m_begin, m_end, _INNER):
            inner = min(_INNER, m_end - m0)
            for k in range(rows):
                for m in range(inner):
                    # Distances are below the diagonal.
                    low = min(k0 + k, m0 + m)
                    high = max(k0 + k, m0 + m)
                    left[k * _INNER + m] = square[high, low]
            _pad(left, rows, inner)
            if m0 > u0:
                for u in range(columns):
                    for m in range(inner):
                        tile[m * COLUMNS + u] = square[u0 + u, m0 + m]
            else:
                for m in range(inner):
                    for u in range(columns):
                        tile[m * COLUMNS + u] = square[m0 + m, u0 + u]
            _multiply(left, tile, best, rows, inner, columns)
        for k in range(rows):
            at = (k0 - y0 + k) * (x1 - x0) + u0 - x0
            for u in range(columns):
                paths[at + u] = best[k * COLUMNS + u]


@jit
def _join_strip(
    square: NDArray[np.float64],
    paths: NDArray[np.float64],
    bounds: NDArray[np.int64],
    index: int,
    left: NDArray[np.float64],
    tile: NDArray[np.float64],
    best: NDArray[np.float64],
) -> None:
    x0, x1, y0, ys, y1 = bounds[0], bounds[2], bounds[3], bounds[4], bounds[5]
    u0, u1 = _strip(bounds, index)
    columns = u1 - u0
    width = x1 - x0
    if ys == y0:
        for u in range(u0, u1):
            square[min(u, y0), max(u, y0)] = paths[u - x0]
        return
    for side in range(2):
        w_begin = y0 if side == 0 else ys
        w_end = ys if side == 0 else y1
        k_begin = ys if side == 0 else y0
        k_end = y1 if side == 0 else ys
        for w0 in range(w_begin, w_end, _ROWS):
            rows = min(_ROWS, w_end - w0)
            best[: (rows + 1) * COLUMNS] = np.inf
            for k0 in range(k_begin, k_end, _INNER):
                inner = min(_INNER, k_end - k0)
                for w in range(rows):
                    for k in range(inner):
                        low = min(w0 + w, k0 + k)
                        high = max(w0 + w, k0 + k)
                        left[w * _INNER + k] = square[low, high]
                _pad(left, rows, inner)
                for k in range(inner):
                    at = (k0 - y0 + k) * width + u0 - x0
                    for u in range(columns):
                        tile[k * COLUMNS + u] = paths[at + u]
                _multiply(left, tile, best, rows, inner, columns)
            if x0 < y0:
                for u in range(columns):
                    for w in range(rows):
                        square[u0 + u, w0 + w] = best[w * COLUMNS + u]
            else:
                for w in range(rows):
                    for u in range(columns):
                        square[w0 + w, u0 + u] = best[w * COLUMNS + u]


@jit
def join_small(
    square: NDArray[np.float64],
    paths: NDArray[np.float64],
    bounds: NDArray[np.int64],
    steps: NDArray[np.int64],
    first: int,
    most_steps: int,
    budget: int,
) -> int:
    """Do merges from `first` on, up to one of more than `most_steps`, or some `budget` steps.

    Returns the merge that is to be done next.
    """
    left = np.empty((_ROWS + 1) * _INNER)
    tile = np.empty(_INNER * COLUMNS)
    best = np.empty((_ROWS + 1) * COLUMNS)
    t = first
    while t < len(bounds) and steps[t] <= most_steps and budget > 0:
        some = bounds[t]
        x0, xs, x1, y0 = some[0], some[1], some[2], some[3]
        if xs == x0:  # two leaves
            square[min(x0, y0), max(x0, y0)] = square[max(x0, y0), min(x0, y0)]
        else:
            n_strips = (xs - x0 + COLUMNS - 1) // COLUMNS + (x1 - xs + COLUMNS - 1) // COLUMNS
            for index in range(n_strips):
                _pass_strip(square, paths, some, index, left, tile, best)
            for index in range(n_strips):
                _join_strip(square, paths, some, index, left, tile, best)
        # Small merges take longer than their steps say.
        budget -= steps[t] + 10_000
        t += 1
    return t
