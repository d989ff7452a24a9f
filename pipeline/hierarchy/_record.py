"""Kernel helper: what an engine has merged so far, and who is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline.hierarchy.methods import Merges

__all__ = ["Record", "Report"]

Report: TypeAlias = Callable[[int, int, float], None]
"""Called with how many merges are done, of how many, and the greatest height among them."""


class Record:
    """The merges of a matrix's rows, filled by one engine after another.

    Parameters
    ----------
    n_rows
        Of the matrix.
    report
        Who is told.

    Attributes
    ----------
    done, total
        How many merges are made, and how many there will be.
    merges
        Room for all of them.
    """

    def __init__(self, n_rows: int, report: Report | None = None) -> None:
        self.done, self.total = 0, n_rows - 1
        self.merges = Merges.empty(self.total)
        self._report = report
        self._told, self._height = 0, 0.0

    def append(
        self,
        first: NDArray[np.int64],
        second: NDArray[np.int64],
        height: NDArray[np.float64],
    ) -> None:
        """Add merges behind those that are made."""
        new = slice(self.done, self.done + len(height))
        self.merges.first[new], self.merges.second[new] = first, second
        self.merges.height[new] = height
        self.done = new.stop

    def tell(self) -> None:
        """Report where things stand; what that raises ends the clustering."""
        if self._report is None:
            return
        untold = self.merges.height[self._told : self.done]
        self._height = float(untold.max(initial=self._height))
        self._told = self.done
        self._report(self.done, self.total, self._height)
