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
    merged = np.where(t == 0, 0, t + 1), np.where(t == 0, 1, n + t - 1)
    return np.ascontiguousarray(np.column_stack([*merged, t, t + 2.0]))


def random_tree(n, seed=0):
    """Again and again a third of the clusters, chosen at random, is merged with another third."""
    rng = np.random.default_rng(seed)
    live, formed, rows = np.arange(n), n, []
    size = np.ones(2 * n - 1)
    while len(live) > 1:
        live = rng.permutation(live)
        third = max(1, len(live) // 3)
        pairs = np.sort(live[: 2 * third].reshape(2, third), axis=0).T
        made = formed + np.arange(third)
        size[made] = size[pairs].sum(axis=1)
        rows.append(pairs)
        live = np.concatenate([live[2 * third :], made])
        formed += third
    return np.ascontiguousarray(
        np.column_stack([np.concatenate(rows), np.arange(1.0, n), size[n:]])
    )
