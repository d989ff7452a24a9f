"""Plan: the names of the linkage methods, and what an engine leaves behind."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clustergrid.storage.errors import DataValueError

__all__ = ["METHODS", "REDUCIBLE_METHODS", "Merges", "check_method"]

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
