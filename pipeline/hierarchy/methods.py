"""Plan: the names of the linkage methods, and what an engine leaves behind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clustergrid.storage.errors import DataTypeError, DataValueError

__all__ = ["METHODS", "REDUCIBLE_METHODS", "Merges", "Start", "check_method"]

METHODS: tuple[str, ...] = (
    "single",
    "complete",
    "average",
    "weighted",
    "centroid",
    "median",
    "ward",
)
"""The linkage methods, under SciPy's names."""

REDUCIBLE_METHODS: tuple[str, ...] = ("single", "complete", "average", "weighted", "ward")
"""The methods in which a merge brings no third cluster nearer, so that heights never invert."""


def check_method(method: str) -> str:
    """Return `method` when it names a linkage method.

    Raises
    ------
    DataValueError
        With SciPy's words, for any other name.

    Examples
    --------
    >>> check_method("average")
    'average'
    """
    if method not in METHODS:
        raise DataValueError(f"Invalid method: {method}")
    return method


@dataclass(frozen=True, slots=True, kw_only=True)
class Merges:
    """The merges of a tree, in an order in which every merge follows those below it.

    Parameters
    ----------
    first, second
        ``(n - 1,) int64``: one row (any) of each of the two clusters that were merged.
    height
        ``(n - 1,) float64``: the distance between the two clusters.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    height: NDArray[np.float64]

    def __post_init__(self) -> None:
        if not self.first.shape == self.second.shape == self.height.shape:
            raise ValueError(
                "first, second and height must be equally long, got "
                f"{self.first.shape}, {self.second.shape} and {self.height.shape}"
            )

    @classmethod
    def empty(cls, n_merges: int) -> Merges:
        """Return room for `n_merges` merges, for an engine to fill."""
        return cls(
            first=np.empty(n_merges, np.int64),
            second=np.empty(n_merges, np.int64),
            height=np.empty(n_merges),
        )

    @classmethod
    def joined(cls, parts: Sequence[Merges]) -> Merges:
        """Return several, one behind another."""
        return cls(
            first=np.concatenate([part.first for part in parts]),
            second=np.concatenate([part.second for part in parts]),
            height=np.concatenate([part.height for part in parts]),
        )

    def cut(self, count: int) -> tuple[Merges, Merges]:
        """Return the first ones, and the others."""
        first, last = (
            Merges(first=self.first[part], second=self.second[part], height=self.height[part])
            for part in (slice(0, count), slice(count, None))
        )
        return first, last


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """The clusters that an engine starts from, one a row of its square of their distances.

    What it merges are rows of that square; `expand` puts these merges behind those already made,
    of observations. The weights that weighted and median give to observations (2^-depth) are in
    the distances between the clusters, and no engine asks for them again.

    Parameters
    ----------
    sizes
        ``(m,) int64``: how many observations each cluster has.
    rows
        ``(m,) int64``: one observation (any) of each cluster.
    merges
        The ``n - m`` merges that made the clusters of `n` observations, each behind those below
        it.

    Raises
    ------
    DataTypeError
        If sizes or rows are no integers.
    DataValueError
        If their lengths do not fit one another, or a size is below one.

    Examples
    --------
    >>> start = Start(
    ...     sizes=np.array([2, 1]),
    ...     rows=np.array([0, 2]),
    ...     merges=Merges(first=np.array([0]), second=np.array([1]), height=np.array([0.5])),
    ... )
    >>> left = Merges(first=np.array([0]), second=np.array([1]), height=np.array([3.0]))
    >>> start.expand(left).second.tolist()
    [1, 2]
    """

    sizes: NDArray[np.int64]
    rows: NDArray[np.int64]
    merges: Merges

    def __post_init__(self) -> None:
        for name, values in (("sizes", self.sizes), ("rows", self.rows)):
            if values.dtype.kind not in "iu":
                raise DataTypeError(f"{name} of clusters must be integers, got {values.dtype}")
        if self.sizes.ndim != 1 or self.sizes.shape != self.rows.shape:
            raise DataValueError(
                "sizes and rows must be vectors, a cluster an element, got shapes "
                f"{self.sizes.shape} and {self.rows.shape}"
            )
        if self.sizes.size and self.sizes.min() < 1:
            raise DataValueError(
                f"sizes of clusters must be at least 1, got {self.sizes.min()} at cluster "
                f"{self.sizes.argmin()}"
            )
        if self.n_observations != len(self.sizes) + len(self.merges.height):
            raise DataValueError(
                f"{len(self.sizes)} clusters of {self.n_observations} observations take "
                f"{self.n_observations - len(self.sizes)} merges, got {len(self.merges.height)}"
            )

    @property
    def n_observations(self) -> int:
        """How many observations all clusters have together."""
        return int(self.sizes.sum())

    @classmethod
    def observations(cls, n: int) -> Start:
        """Return the start of a whole tree: every observation is a cluster."""
        return cls(sizes=np.ones(n, np.int64), rows=np.arange(n), merges=Merges.empty(0))

    def expand(self, merges: Merges) -> Merges:
        """Return the merges already made, then those of the rows of the square."""
        return Merges(
            first=np.concatenate([self.merges.first, self.rows[merges.first]]),
            second=np.concatenate([self.merges.second, self.rows[merges.second]]),
            height=np.concatenate([self.merges.height, merges.height]),
        )
