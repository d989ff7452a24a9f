"""Shapes of the matrices that distances are measured on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from distance_jobs import grouped

FAST = ("euclidean", "cosine", "correlation")
"""Metrics that are matrix products."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """Rows and columns, smaller for a quick look."""

    n: int
    k: int
    dtype: str
    quick: int = 5_000

    def matrix(self, quick: bool) -> np.ndarray:
        return grouped(self.rows(quick), self.k, self.dtype)  # type: ignore[no-any-return]

    def rows(self, quick: bool) -> int:
        return min(self.n, self.quick) if quick else self.n

    def name(self, quick: bool) -> str:
        return f"{self.rows(quick):,} x {self.k:,} {self.dtype}"
