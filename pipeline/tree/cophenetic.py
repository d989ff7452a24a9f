"""Kernel: the height at which two leaves meet, for the pairs that are asked for.

Between every two neighbours in the leaf order is one merge: the one whose left child ends there.
Of the merges between two leaves, the last (which is above all others) is the one where they meet,
whatever the heights. So a pair is a maximum over a range, for which a table of the maxima of all
ranges of 1, 2, 4, ... is kept, and a row is two running maxima.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clustergrid.pipeline.tree._places import loop, places
from clustergrid.pipeline.tree.validity import check_linkage
from clustergrid.storage.errors import DataValueError

__all__ = ["CopheneticDistances", "cophenetic_correlation", "cophenetic_distances"]

_ENTRIES_AT_ONCE = 2**22


@dataclass(frozen=True, slots=True, kw_only=True)
class CopheneticDistances:
    """Cophenetic distances of a tree, as they are asked for; from `cophenetic_distances`.

    Attributes
    ----------
    heights
        ``(n - 1,) float64``: of the merges.
    positions
        ``(n,) int64``: where each leaf stands in the leaf order.
    merges
        ``(levels, n - 1) int32``: the last merge among the ``2^level`` gaps between neighbours from
        each gap on.
    """

    heights: NDArray[np.float64]
    positions: NDArray[np.int64]
    merges: NDArray[np.int32]

    @property
    def n(self) -> int:
        """How many leaves there are."""
        return len(self.positions)

    def pairs(self, i: ArrayLike, j: ArrayLike) -> NDArray[np.float64]:
        """Return the distances of leaves `i` and `j`, integer arrays that broadcast; 0 to itself.

        Each takes the same few steps, however large or deep the tree.

        Raises
        ------
        DataValueError
            They are no whole numbers from 0 to n - 1.
        """
        here, there = np.broadcast_arrays(self._check(i), self._check(j))
        left = np.minimum(self.positions[here], self.positions[there])
        gaps = np.maximum(self.positions[here], self.positions[there]) - left
        # The largest power of two that is at most the number of gaps: 0.5 <= mantissa < 1.
        level = np.maximum(np.frexp(gaps.astype(np.float64))[1] - 1, 0)
        # Of a leaf and itself any gap will do.
        left = np.minimum(left, self.n - 2)
        last = np.maximum(left + gaps - (1 << level.astype(np.int64)), 0)
        merge = np.maximum(self.merges[level, left], self.merges[level, last])
        return np.where(gaps == 0, 0.0, self.heights[merge])

    def row(self, i: int) -> NDArray[np.float64]:
        """Return the distances of leaf `i` to all leaves, ``(n,) float64``.

        Raises
        ------
        DataValueError
            It is no whole number from 0 to n - 1.
        """
        return self._row(int(self._check(i)))

    def parts(self, entries_at_once: int = _ENTRIES_AT_ONCE) -> Iterator[NDArray[np.float64]]:
        """Yield the condensed distances in SciPy's order, part by part.

        Parameters
        ----------
        entries_at_once
            The most distances in a part, though it is never less than one leaf's.
        """
        rows: list[NDArray[np.float64]] = []
        held = 0
        for i in range(self.n - 1):
            if rows and held + self.n - i - 1 > entries_at_once:
                yield np.concatenate(rows)
                rows, held = [], 0
            rows.append(self._row(i)[i + 1 :])
            held += len(rows[-1])
        yield np.concatenate(rows)

    def to_numpy(self) -> NDArray[np.float64]:
        """Return all of them in SciPy's condensed order, ``(n (n - 1) / 2,) float64``."""
        condensed = np.empty(self.n * (self.n - 1) // 2)
        start = 0
        for part in self.parts():
            condensed[start : start + len(part)] = part
            start += len(part)
        return condensed

    def _row(self, i: int) -> NDArray[np.float64]:
        gaps, position = self.merges[0], self.positions[i]
        found = np.zeros(self.n)
        found[position + 1 :] = self.heights[np.maximum.accumulate(gaps[position:])]
        if position > 0:
            met = np.maximum.accumulate(gaps[:position][::-1])
            found[:position] = self.heights[met][::-1]
        return found[self.positions]

    def _check(self, leaves: Any) -> NDArray[np.int64]:
        given = np.asarray(leaves)
        if given.dtype.kind not in "iu":
            raise DataValueError(f"leaves are numbered by integers, got {given.dtype}")
        bad = (given < 0) | (given >= self.n)
        if bad.any():
            raise DataValueError(
                f"leaves are numbered from 0 to {self.n - 1}, got {given[bad].ravel()[0]}"
            )
        return given.astype(np.int64)


def cophenetic_distances(Z: ArrayLike) -> CopheneticDistances:
    """Prepare the cophenetic distances of a tree: the heights at which leaves meet.

    Nothing of size n^2 is made unless it is asked for. Where heights invert, a distance is still
    the height of the merge where two leaves meet, as in SciPy's ``cophenet``.

    Parameters
    ----------
    Z
        ``(n - 1, 4)``: linkage matrix of n leaves.

    Returns
    -------
    CopheneticDistances
        ``pairs(i, j)``, ``row(i)``, ``parts()`` and ``to_numpy()``. It takes ``4 n log2(n)`` bytes:
        80 MB of a million leaves.

    Raises
    ------
    DataValueError
        It is no linkage matrix.

    Examples
    --------
    >>> d = cophenetic_distances([[1, 2, 1.0, 2], [0, 3, 2.5, 3]])
    >>> d.pairs([0, 1], [1, 2]).tolist(), d.row(2).tolist(), d.to_numpy().tolist()
    ([2.5, 1.0], [2.5, 1.0, 0.0], [2.5, 2.5, 1.0])
    """
    linkage = check_linkage(Z)
    n = len(linkage) + 1
    start, size = loop(places, n)(linkage)
    left = linkage[:, 0].astype(np.int64)
    levels = (n - 1).bit_length()
    merges = np.zeros((levels, n - 1), np.int32)
    merges[0, start[left] + size[left] - 1] = np.arange(n - 1)
    for level in range(1, levels):
        half = 1 << (level - 1)
        whole = n - 1 - 2 * half + 1
        np.maximum(
            merges[level - 1, :whole],
            merges[level - 1, half : half + whole],
            out=merges[level, :whole],
        )
    return CopheneticDistances(heights=linkage[:, 2].copy(), positions=start[:n], merges=merges)


def cophenetic_correlation(Z: ArrayLike, distances: NDArray[Any]) -> float:
    """Return how well a tree keeps distances: their correlation with the cophenetic ones.

    Parameters
    ----------
    Z
        ``(n - 1, 4)``: linkage matrix of n leaves.
    distances
        ``(n (n - 1) / 2,)``: the condensed distance matrix. It is read once, a few megabytes at a
        time, so it may be mapped from a file.

    Returns
    -------
    float
        NaN where all distances, or all heights, are equal.

    Raises
    ------
    DataValueError
        It is no linkage matrix, or the distances are not those of n leaves.

    Examples
    --------
    >>> Z = [[1, 2, 1.0, 2], [0, 3, 2.5, 3]]
    >>> round(cophenetic_correlation(Z, np.array([2.0, 3.0, 1.0])), 4)
    0.866
    """
    cophenetic = cophenetic_distances(Z)
    n = cophenetic.n
    if np.shape(distances) != (n * (n - 1) // 2,):
        raise DataValueError(
            f"the condensed distance matrix of {n} leaves has {n * (n - 1) // 2} entries, "
            f"got shape {np.shape(distances)}"
        )
    count, mean, scatter = 0, np.zeros(2), np.zeros((2, 2))
    # Means and scatter of parts are put together (Chan, Golub and LeVeque 1983).
    for part in cophenetic.parts():
        given = np.asarray(distances[count : count + len(part)], np.float64)
        both = np.stack([part, given])
        center = both.mean(axis=1)
        both -= center[:, None]
        step = center - mean
        total = count + len(part)
        scatter += both @ both.T + np.outer(step, step) * (count * (len(part) / total))
        mean += step * (len(part) / total)
        count = total
    spread = np.sqrt(scatter[0, 0] * scatter[1, 1])
    return float(scatter[0, 1] / spread) if spread > 0 else float("nan")
