"""Trees that the tests of what comes with a tree share."""

import numpy as np
from scipy.cluster import hierarchy
from scipy.spatial.distance import pdist

METHODS = ("single", "complete", "average", "centroid", "ward")


def tree(n, method="average", ties=False, seed=0):
    rng = np.random.default_rng([seed, n])
    points = rng.integers(0, 4, (n, 3)).astype(float) if ties else rng.normal(size=(n, 3))
    return hierarchy.linkage(pdist(points), method)


def chain(n):
    """Every merge adds one leaf."""
    t = np.arange(n - 1)
    return np.column_stack([np.where(t == 0, 0, t + 1), np.where(t == 0, 1, n + t - 1), t, t + 2.0])
