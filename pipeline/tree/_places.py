"""Kernel helper: where the clusters of a tree stand along its leaves."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline._jit import Kernel, jit

__all__ = ["loop", "places"]

P = ParamSpec("P")
R = TypeVar("R")

_MOST_LEAVES_INTERPRETED = 2048


def loop(kernel: Kernel[P, R], n: int) -> Callable[P, R]:
    """Compiled, or as it is written where it ends sooner than the compiler is loaded."""
    return kernel if n > _MOST_LEAVES_INTERPRETED else kernel.python


@jit
def places(linkage: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of each of the 2 n - 1 clusters: the position of its leftmost leaf, and how many it has."""
    n = len(linkage) + 1
    size = np.ones(2 * n - 1, np.int64)
    for t in range(n - 1):
        size[n + t] = size[np.int64(linkage[t, 0])] + size[np.int64(linkage[t, 1])]
    start = np.zeros(2 * n - 1, np.int64)
    for t in range(n - 2, -1, -1):
        left = np.int64(linkage[t, 0])
        start[left] = start[n + t]
        start[np.int64(linkage[t, 1])] = start[n + t] + size[left]
    return start, size
