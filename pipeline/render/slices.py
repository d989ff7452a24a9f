"""Plan: where leaves stand along an axis of the picture, which may be split into slices by gaps.

Places count leaves: leaf i covers the places i to i + 1. Coordinates are those of matplotlib's
axes, where a gap stands between slices. On an axis of one slice both are the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clustergrid.storage.errors import DataValueError

__all__ = ["Slices"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Slices:
    """The slices of an axis, in the order in which they stand.

    Attributes
    ----------
    lengths
        Leaves of each slice, at least one.
    gap
        Width of the space between two slices, in leaves.

    Examples
    --------
    >>> slices = Slices(lengths=(2, 3), gap=0.5)
    >>> slices.n, slices.length, slices.bounds.tolist()
    (5, 5.5, [0, 2, 5])
    >>> slices.position([0, 0.5, 2.5, 5]).tolist()
    [0.0, 0.5, 3.0, 5.5]
    """

    lengths: tuple[int, ...]
    gap: float = 0.0

    def __post_init__(self) -> None:
        if not self.lengths or min(self.lengths) < 1:
            raise DataValueError(f"every slice has at least one leaf, got lengths {self.lengths}")
        if not 0 <= self.gap < np.inf:
            raise DataValueError(f"a gap is no narrower than 0 leaves, got {self.gap}")

    @classmethod
    def whole(cls, n: int) -> Slices:
        """Return the one slice of an axis that is not split.

        Examples
        --------
        >>> Slices.whole(3)
        Slices(lengths=(3,), gap=0.0)
        """
        return cls(lengths=(n,))

    @classmethod
    def spaced(cls, lengths: tuple[int, ...], fraction: float) -> Slices:
        """Return slices whose gaps are each a fraction of the whole axis.

        Raises
        ------
        DataValueError
            The gaps leave no room for leaves.

        Examples
        --------
        >>> Slices.spaced((5, 4), 0.1)
        Slices(lengths=(5, 4), gap=1.0)
        """
        taken = fraction * (len(lengths) - 1)
        if not 0 <= taken < 1:
            raise DataValueError(
                f"{len(lengths)} slices with gaps of {fraction:g} of the axis leave no room for "
                f"leaves: gaps are at least 0 and below 1/{max(1, len(lengths) - 1)} of it"
            )
        return cls(lengths=lengths, gap=fraction * sum(lengths) / (1 - taken))

    @property
    def count(self) -> int:
        """Number of slices."""
        return len(self.lengths)

    @property
    def n(self) -> int:
        """Number of leaves."""
        return sum(self.lengths)

    @property
    def length(self) -> float:
        """Coordinate of the end of the axis: its leaves and gaps."""
        return self.n + (self.count - 1) * self.gap

    @property
    def bounds(self) -> NDArray[np.int64]:
        """``(count + 1,)`` places where slices begin, and where the last ends."""
        return np.array([0, *accumulate(self.lengths)], dtype=np.int64)

    @property
    def starts(self) -> NDArray[np.float64]:
        """``(count,)`` coordinates where slices begin."""
        return self.bounds[:-1] + self.gap * np.arange(self.count)

    @property
    def stops(self) -> NDArray[np.float64]:
        """``(count,)`` coordinates where slices end."""
        return self.bounds[1:] + self.gap * np.arange(self.count)

    def slice_of(self, places: ArrayLike) -> NDArray[np.int64]:
        """Which slice places are in; a bound is in the slice that begins there.

        Examples
        --------
        >>> Slices(lengths=(2, 3), gap=1).slice_of([0, 1.5, 2, 5]).tolist()
        [0, 0, 1, 1]
        """
        found = np.searchsorted(self.bounds, np.asarray(places, dtype=np.float64), side="right")
        return np.clip(found - 1, 0, self.count - 1).astype(np.int64)

    def position(self, places: ArrayLike) -> NDArray[np.float64]:
        """Coordinates of places; that of a bound is where the slice begins, not where one ends."""
        at = np.asarray(places, dtype=np.float64)
        return at + self.gap * self.slice_of(at)

    def pixel_edges(self, n_pixels: int) -> NDArray[np.int64]:
        """Cut the leaves into pixels of which none is of two slices.

        Parameters
        ----------
        n_pixels
            Pixels along the whole axis, those of its gaps included.

        Returns
        -------
        (p + 1,) int64
            First leaf of every pixel, and one past the last. Within a slice pixels differ by at
            most one leaf. A slice has at least one pixel however narrow it is, so that there are
            fewer than ``n_pixels + count``, not always at most `n_pixels`.

        Examples
        --------
        >>> Slices.whole(10).pixel_edges(4).tolist()
        [0, 3, 5, 8, 10]
        >>> Slices(lengths=(4, 6), gap=2).pixel_edges(6).tolist()
        [0, 2, 4, 6, 8, 10]
        """
        lengths = np.array(self.lengths, dtype=np.int64)
        shares = (lengths * (n_pixels / self.length) + 1e-6).astype(np.int64)
        cuts = [
            begin + -(-np.arange(pixels, dtype=np.int64) * leaves // pixels)
            for begin, leaves, pixels in zip(
                self.bounds, lengths, np.clip(shares, 1, lengths), strict=False
            )
        ]
        return np.concatenate([*cuts, [self.n]])

    def cell_edges(self, edges: NDArray[np.int64]) -> NDArray[np.float64]:
        """Coordinates of the edges of cells, with an empty cell at each gap.

        Parameters
        ----------
        edges : (p + 1,) int
            Places where cells begin and end, every bound of a slice among them.

        Returns
        -------
        (p + count,) float64
            Of p cells and count - 1 gaps; `with_gaps` makes room for these.

        Examples
        --------
        >>> Slices(lengths=(2, 2), gap=0.5).cell_edges(np.arange(5)).tolist()
        [0.0, 1.0, 2.0, 2.5, 3.5, 4.5]
        """
        begins = self.position(edges)
        ends = self.stops[:-1]
        return np.insert(begins, np.searchsorted(edges, self.bounds[1:-1]), ends)

    def with_gaps(
        self, values: NDArray[Any], edges: NDArray[np.int64], axis: int, fill: object
    ) -> NDArray[Any]:
        """Put an empty cell at each gap of values that stand along an axis.

        Parameters
        ----------
        values
            p values along `axis`.
        edges : (p + 1,) int
            As of `cell_edges`.
        axis
            Which axis of `values` is split.
        fill
            What empty cells hold.

        Examples
        --------
        >>> Slices(lengths=(1, 2), gap=1).with_gaps(np.array([1., 2, 3]), np.arange(4), 0, np.nan)
        array([ 1., nan,  2.,  3.])
        """
        if self.count == 1:
            return values
        places = np.searchsorted(edges, self.bounds[1:-1])
        filled: NDArray[Any] = np.insert(values, places, fill, axis=axis)  # type: ignore[call-overload]
        return filled
