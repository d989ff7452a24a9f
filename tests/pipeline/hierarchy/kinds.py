"""Kinds of data that break engines, and what a tree has to be whoever made it."""

import numpy as np
from scipy.spatial.distance import squareform


def normal(rng, n):
    return rng.normal(size=(n, 6))


def _far_apart(rng, n):
    points = rng.normal(size=(n, 3))
    points[n // 2 :] += 1e8
    return points


def low_rank(rng, n):
    return rng.normal(size=(n, 3)) @ rng.normal(size=(3, 20)) + 0.1 * rng.normal(size=(n, 20))


def _duplicated(rng, n):
    return rng.normal(size=(-(-n // 3), 4))[rng.integers(0, -(-n // 3), n)]


def hub(rng, n):
    points = rng.standard_t(1.5, size=(n, 4))
    points[rng.permutation(n)[: n // 3]] = 0
    return points


UNTIED = {
    "normal": normal,
    "low rank": low_rank,
    "heavy tails": lambda rng, n: rng.standard_t(1.1, size=(n, 4)),
    "offset": lambda rng, n: rng.normal(size=(n, 5)) + 1e6,
    "far apart": _far_apart,
    # Up to 3**33 a double is exact.
    "powers of 3": lambda rng, n: 3.0 ** rng.permutation(min(n, 33))[:, None],
}
TIED = {
    "integers": lambda rng, n: rng.integers(0, 4, (n, 3)).astype(float),
    "equal distances": lambda rng, n: np.eye(n),
    "duplicated": _duplicated,
    "hub": hub,
    "sparse counts": lambda rng, n: rng.poisson(0.2, (n, 8)).astype(float),
}
KINDS = UNTIED | TIED


def clades(Z):
    """Order-free fingerprints of the sets of leaves below each merge."""
    n = len(Z) + 1
    print_of = np.empty(2 * n - 1, np.uint64)
    print_of[:n] = np.random.default_rng(5).integers(0, 2**63, n, dtype=np.uint64)
    for t, (a, b) in enumerate(Z[:, :2].astype(int)):
        print_of[n + t] = print_of[a] ^ print_of[b]
    return np.sort(print_of[n:])


def definition(method, D, members):
    """Distances between clusters from those between points; see the identities of the methods."""
    if method in ("single", "complete"):
        extreme = np.min if method == "single" else np.max
        return np.array([[extreme(D[np.ix_(a > 0, b > 0)]) for b in members] for a in members])
    if method in ("average", "weighted"):
        return members @ D @ members.T
    products = members @ D**2 @ members.T
    own = np.diag(products) / 2
    g = np.maximum(products - own[:, None] - own, 0)
    if method == "ward":
        size = 1 / members.max(axis=1)
        g = 2 * g * size[:, None] * size / (size[:, None] + size)
    return np.sqrt(g)


def assert_every_merge_is_a_minimum(Z, condensed, method):
    """Replay a tree without an engine: each merge is at its height, and no pair is nearer."""
    D = squareform(condensed).astype(float)
    n = len(D)
    tolerance = 1e-7 * D.max() + 1e-12
    weights = dict(enumerate(np.eye(n)))
    sizes = dict.fromkeys(range(n), 1)
    for t, (a, b, height, count) in enumerate(Z):
        ids = list(weights)
        distances = definition(method, D, np.array(list(weights.values())))
        np.fill_diagonal(distances, np.inf)
        assert abs(distances[ids.index(a), ids.index(b)] - height) <= tolerance
        assert height <= distances.min() + tolerance
        w_a, w_b, n_a, n_b = weights.pop(a), weights.pop(b), sizes[a], sizes[b]
        share = 0.5 if method in ("weighted", "median") else n_a / (n_a + n_b)
        weights[n + t] = share * w_a + (1 - share) * w_b
        sizes[n + t] = n_a + n_b
        assert sizes[n + t] == count
