"""Kernel helper: components of a graph whose edges come one by one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clustergrid.pipeline._jit import jit

__all__ = ["find"]


@jit
def find(parent: NDArray[np.int64], node: int) -> int:
    """Return the root of a node's component, to which all on the way then point."""
    root = node
    while parent[root] != root:
        root = parent[root]
    while parent[node] != root:
        parent[node], node = root, parent[node]
    return root
