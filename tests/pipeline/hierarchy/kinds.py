"""Kinds of data that break engines, and what a tree has to be whoever made it."""

import numpy as np
from scipy.cluster.hierarchy import is_valid_linkage, linkage
from scipy.spatial.distance import squareform

from clustergrid.pipeline.hierarchy import REDUCIBLE_METHODS


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


def clades(Z, order=slice(None)):
    """Order-free fingerprints of the sets of leaves below each merge, of rows in some order."""
    n = len(Z) + 1
    print_of = np.empty(2 * n - 1, np.uint64)
    print_of[:n] = np.random.default_rng(5).integers(0, 2**63, n, dtype=np.uint64)[order]
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


def assert_scipys(Z, condensed, method, *, untied=True, same_distances=True, lost=0.0):
    """A tree has SciPy's heights, zeros as zeros; its clades too, where no distances are equal.

    Of the same distances, heights of single and complete are the same to the bit. `lost` is what
    the condensed distances have lost, of ones that were computed otherwise.
    """
    expected = linkage(condensed.astype(np.float64), method)
    assert is_valid_linkage(Z)
    if method in REDUCIBLE_METHODS:
        assert (np.diff(Z[:, 2]) >= 0).all()
    np.testing.assert_allclose(Z[:, 2], expected[:, 2], rtol=1e-10, atol=lost, err_msg=method)
    if method in ("single", "complete") and same_distances:
        np.testing.assert_array_equal(Z[:, 2], expected[:, 2], err_msg=method)
    if untied:
        np.testing.assert_array_equal(clades(Z), clades(expected), err_msg=method)


class _Replayed:
    """The clusters that are left, with the distances of all pairs by definition.

    Sums over pairs of points are kept, which are linear in the weights of either cluster: nothing
    is cancelled before a distance is asked for, and then in extended precision.
    """

    def __init__(self, condensed, method):
        square = squareform(condensed).astype(np.longdouble)
        self.method = method
        self.takes_squares = method in ("ward", "centroid", "median")
        self.sums = np.square(square) if self.takes_squares else square
        self.sizes = np.ones(len(square), np.int64)
        self.ids = np.arange(len(square))
        # The greatest distance between points of the two clusters; of one, within it.
        self.reach = square.copy()

    def distances(self):
        """Distances of all pairs; their squares, where methods take squares."""
        found = self.sums.copy()
        if self.takes_squares:
            own = np.diagonal(self.sums) / 2
            found -= own[:, None] + own
        if self.method == "ward":
            found *= 2 / (1 / self.sizes[:, None] + 1 / self.sizes)
        np.fill_diagonal(found, np.inf)
        return found

    def room(self, distances, same_distances):
        """How far from these a distance may be that was computed in double precision."""
        if self.method in ("single", "complete") and same_distances:
            return np.zeros_like(distances)
        if self.method not in ("centroid", "median"):
            return 2e-10 * np.abs(distances)
        # Centroids may be nearer than any of their points: then little is left of large squares.
        own = np.diagonal(self.reach)
        return 1e-12 * np.square(np.maximum(self.reach, np.maximum(own[:, None], own)))

    def merge(self, i, j, union):
        """Put the union of two clusters in the place of the first; return its size."""
        sizes, sums, reach = self.sizes, self.sums, self.reach
        size = sizes[i] + sizes[j]
        share = 0.5 if self.method in ("weighted", "median") else sizes[i] / np.longdouble(size)
        if self.method in ("single", "complete"):
            sums[i] = (np.minimum if self.method == "single" else np.maximum)(sums[i], sums[j])
            sums[:, i] = sums[i]
        else:
            row = share * sums[i] + (1 - share) * sums[j]
            own = share * row[i] + (1 - share) * row[j]
            sums[i] = sums[:, i] = row
            sums[i, i] = own
        farthest = np.maximum(reach[i], reach[j])
        within = max(farthest[i], farthest[j])
        reach[i] = reach[:, i] = farthest
        reach[i, i] = within
        sizes[i], self.ids[i] = size, union
        left = np.arange(len(sizes)) != j
        self.sizes, self.ids = sizes[left], self.ids[left]
        self.sums, self.reach = (of_pairs[np.ix_(left, left)] for of_pairs in (sums, reach))
        return size


def assert_every_merge_is_a_minimum(Z, condensed, method, *, same_distances=True, lost=0.0):
    """Replay a tree without an engine: each merge is at its height, and no pair is nearer.

    To the bit for single and complete of the same distances, to 1e-10 for average, weighted and
    ward; `lost` is what the condensed distances have lost, of ones that were computed otherwise.
    """
    left = _Replayed(condensed, method)
    n = len(left.sizes)
    for t, (one, other, height, size) in enumerate(Z):
        (i,), (j,) = np.flatnonzero(left.ids == one), np.flatnonzero(left.ids == other)
        distances = left.distances()
        room = left.room(distances, same_distances) + lost
        found = np.square(np.longdouble(height)) if left.takes_squares else height
        assert abs(distances[i, j] - found) <= room[i, j], f"merge {t} of {method}: height"
        assert found <= (distances + room).min() + room[i, j], f"merge {t} of {method}: nearer"
        assert left.merge(i, j, n + t) == size
