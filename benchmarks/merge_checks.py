"""Merges of a tree, derived again from the rows, by SciPy and NumPy alone.

Of every merge in a sample two things are asked:

1. *Its height* is the distance of its two clusters, from all pairs of their members (of ward, from
   their means). Nothing is estimated: merges share no pair of rows, so all heights of a tree
   together take no more distances than there are pairs.
2. *No other cluster is nearer* to either of the two, of all that are live when they merge: methods
   that are reducible merge clusters that are nearest to one another. That takes the distances of
   their members to all rows. Where these are too many the clusters with the nearest means come
   first, and the report says how many were compared in part.

Members of a cluster are a range of rows, once these are in the order of the tree's leaves.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from scipy.stats import rankdata
from threadpoolctl import threadpool_limits

__all__ = ["METHODS", "Checked", "check_merges"]

METHODS = ("single", "complete", "average", "weighted", "ward")
"""Methods of which a merge joins clusters that are nearest to one another."""

_OWNERS, _COLUMNS = 64, 8192
"""Rows on either side of a block of distances."""

_NEAR = 8
"""Clusters of the nearest means whose distances of ward are computed to the last digit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What was found.

    Attributes
    ----------
    merges
        How many were looked at.
    pairs
        Distances between rows that were computed.
    worst_height
        Greatest difference of a height, by itself (or by 1e-4 of the greatest height, if more).
    whole, in_part
        Clusters that were compared with all others, and with those of the nearest means only.
    least_margin
        By how much the nearest other cluster is farther than the height, by the height; below 0,
        it is nearer.
    problems
        A line for each thing that is wrong.
    """

    merges: int
    pairs: int
    worst_height: float
    whole: int
    in_part: int
    least_margin: float
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Looked:
    """What was found of one merge."""

    merge: int
    height: float
    others: list[tuple[int, int, float]]
    pairs: int
    in_part: int


class _Tree:
    """A linkage matrix, and where the members of each cluster are in the order of its leaves."""

    def __init__(self, Z: NDArray[np.float64]) -> None:
        self.n = n = len(Z) + 1
        self.heights = Z[:, 2]
        self.pairs = Z[:, :2].astype(np.int64)
        self.sizes = np.concatenate([np.ones(n, np.int64), Z[:, 3].astype(np.int64)])
        self.ends = np.full(2 * n - 1, n - 1)
        """The merge that a cluster ends with."""
        self.ends[self.pairs.ravel()] = np.repeat(np.arange(n - 1), 2)
        starts, depths = [0] * (2 * n - 1), [0] * (2 * n - 1)
        sizes, pairs = self.sizes.tolist(), self.pairs.tolist()
        for merge in range(n - 2, -1, -1):
            left, right = pairs[merge]
            starts[left] = starts[n + merge]
            starts[right] = starts[n + merge] + sizes[left]
            depths[left] = depths[right] = depths[n + merge] + 1
        self.starts, self.depths = np.array(starts), np.array(depths)
        self.order = np.argsort(self.starts[:n])

    def members(self, cluster: int) -> slice:
        return slice(self.starts[cluster], self.starts[cluster] + self.sizes[cluster])

    def live(self, merge: int) -> NDArray[np.int64]:
        """Return the clusters there are before a merge, in the order of the leaves."""
        clusters = np.flatnonzero(self.ends[: self.n + merge] >= merge)
        beginning = np.full(self.n, -1)
        beginning[self.starts[clusters]] = clusters
        return beginning[beginning >= 0]

    def rows_of(self, clusters: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the members of some clusters, one cluster after another."""
        sizes = self.sizes[clusters]
        before = np.cumsum(sizes) - sizes
        return np.repeat(self.starts[clusters] - before, sizes) + np.arange(sizes.sum())


class _Merges:
    def __init__(
        self, values: Any, Z: NDArray[np.float64], method: str, metric: str, most_pairs: float
    ) -> None:
        self.tree = _Tree(Z)
        self.method, self.most_pairs = method, most_pairs
        self._is_ward = method == "ward"
        self.rows, self.metric, self.factor = _compared(values[self.tree.order], metric)
        self.leaf_depths = self.tree.depths[self.tree.order]
        # Good enough to say which clusters are about the nearest.
        centred = self.rows - self.rows.mean(axis=0)
        self.sums_before = np.concatenate([np.zeros((1, centred.shape[1])), centred.cumsum(axis=0)])

    def look_at(self, merge: int, *, neighbours: bool) -> _Looked:
        tree = self.tree
        one, other = sorted(tree.pairs[merge].tolist(), key=lambda c: int(tree.sizes[c]))
        height = float(self.distances(one, np.array([other]))[0])
        others: list[tuple[int, int, float]] = []
        pairs, in_part = 0 if self._is_ward else int(tree.sizes[[one, other]].prod()), 0
        live = tree.live(merge) if neighbours else np.empty(0, np.int64)
        for owner in (one, other) if neighbours else ():
            rest = live[(live != one) & (live != other)]
            if len(rest) == 0:
                continue
            compared = self.worth_comparing(owner, rest)
            distances = self.distances(owner, compared)
            nearest = int(np.argmin(distances))
            others.append((owner, int(compared[nearest]), float(distances[nearest])))
            if not self._is_ward:
                pairs += int(tree.sizes[owner] * tree.sizes[compared].sum())
                in_part += len(compared) < len(rest)
        return _Looked(merge=merge, height=height, others=others, pairs=pairs, in_part=in_part)

    def worth_comparing(self, owner: int, rest: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return all others, or those of the nearest means; in the order of the leaves."""
        sizes = self.tree.sizes
        if self._is_ward:
            apart = self._apart(owner, rest)
            some = min(_NEAR, len(rest)) - 1
            return np.sort(rest[np.argpartition(apart, some)[: some + 1]])
        if float(sizes[owner]) * float(sizes[rest].sum()) <= self.most_pairs:
            return rest
        order = np.argsort(self._apart(owner, rest))
        taken = np.cumsum(sizes[rest[order]]) * float(sizes[owner]) <= self.most_pairs
        taken[0] = True
        return rest[order[taken]][np.argsort(self.tree.starts[rest[order[taken]]])]

    def _apart(self, owner: int, rest: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return about how far the means are, squared; of ward what it makes of that."""
        starts, sizes = self.tree.starts, self.tree.sizes
        size, others = sizes[owner], sizes[rest]

        def means(clusters: NDArray[np.int64]) -> NDArray[np.float64]:
            begin = starts[clusters]
            sums = self.sums_before[begin + sizes[clusters]] - self.sums_before[begin]
            return np.asarray(sums / sizes[clusters][:, None])

        apart = np.square(means(rest) - means(np.array([owner]))).sum(axis=1)
        return np.asarray(apart * (size * others / (size + others))) if self._is_ward else apart

    def distances(self, owner: int, others: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the distances of a cluster to some others."""
        tree = self.tree
        if self._is_ward:
            return np.array([self._ward(owner, cluster) for cluster in others.tolist()])
        columns = tree.rows_of(others)
        starts = np.cumsum(tree.sizes[others]) - tree.sizes[others]
        members = tree.members(owner)
        weights = np.ones(len(columns))
        owner_weights = np.ones(members.stop - members.start)
        if self.method == "weighted":
            depth = np.repeat(tree.depths[others], tree.sizes[others])
            weights = np.ldexp(1.0, depth - self.leaf_depths[columns])
            owner_weights = np.ldexp(1.0, tree.depths[owner] - self.leaf_depths[members])
        totals = self._reduced(members, owner_weights, columns)
        if self.method == "single":
            return self.factor * np.minimum.reduceat(totals, starts)
        if self.method == "complete":
            return self.factor * np.maximum.reduceat(totals, starts)
        masses = owner_weights.sum() * np.add.reduceat(weights, starts)
        return self.factor * np.add.reduceat(weights * totals, starts) / masses

    def _reduced(
        self, members: slice, weights: NDArray[np.float64], columns: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Reduce the distances of each of some rows to all members of a cluster."""
        begin = {"single": np.inf, "complete": -np.inf}.get(self.method, 0.0)
        totals = np.full(len(columns), begin)
        owners = self.rows[members]
        for across in _slabs(len(columns), _COLUMNS):
            right, total = self.rows[columns[across]], totals[across]
            for part in _slabs(len(owners), _OWNERS):
                distances = cdist(owners[part], right, self.metric)
                if self.method == "single":
                    np.minimum(total, distances.min(axis=0), out=total)
                elif self.method == "complete":
                    np.maximum(total, distances.max(axis=0), out=total)
                else:
                    total += weights[part] @ distances
        return totals

    def _ward(self, one: int, other: int) -> float:
        tree = self.tree
        origin = self.rows[tree.members(one).start]
        means = [(self.rows[tree.members(c)] - origin).mean(axis=0) for c in (one, other)]
        size, size_other = (int(tree.sizes[c]) for c in (one, other))
        share = size * size_other / (size + size_other)
        return float(np.sqrt(2.0 * share * np.square(means[0] - means[1]).sum()))


def _compared(values: NDArray[Any], metric: str) -> tuple[NDArray[np.float64], Any, float]:
    """Return rows, SciPy's metric, and a factor: differences of unit rows keep their digits."""
    rows = np.asarray(values, np.float64)
    if metric == "spearman":
        rows = rankdata(rows, axis=1)
    if metric not in ("cosine", "correlation", "spearman"):
        return rows, metric, 1.0
    if metric != "cosine":
        rows = rows - rows.mean(axis=1, keepdims=True)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True), "sqeuclidean", 0.5


def _slabs(n: int, step: int) -> Iterator[slice]:
    return (slice(begin, min(begin + step, n)) for begin in range(0, n, step))


def check_merges(
    values: NDArray[Any],
    Z: NDArray[np.float64],
    method: str,
    metric: str = "euclidean",
    *,
    merges: NDArray[np.int64],
    neighbours: bool = True,
    most_pairs: float = 1e9,
    tolerance: float = 1e-10,
    threads: int = 2,
) -> Checked:
    """Derive some merges of a tree from its rows again.

    Parameters
    ----------
    values
        ``(n, k)``: the rows.
    Z
        ``(n - 1, 4)``: their linkage matrix.
    method, metric
        One of `METHODS`; one of SciPy's metrics, or spearman. Of ward the metric is euclidean.
    merges
        Which rows of `Z`.
    neighbours
        Whether to look for clusters that are nearer, too.
    most_pairs
        Distances of rows for one cluster's others; beyond, those of the nearest means alone.
    tolerance
        What heights may differ by, relative to themselves, or to 1e-4 of the greatest one.
    threads
        How many merges are looked at at once.
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    whole = _Merges(values, Z, method, metric, most_pairs)
    with threadpool_limits(1), ThreadPoolExecutor(threads) as pool:
        looked = list(
            pool.map(lambda merge: whole.look_at(int(merge), neighbours=neighbours), merges)
        )
    least = 1e-4 * float(Z[-1, 2])
    problems, worst, margin = [], 0.0, float("inf")
    for found in looked:
        height = float(Z[found.merge, 2])
        scale = max(abs(found.height), least)
        error = abs(found.height - height) / scale if scale else 0.0
        worst = max(worst, error)
        if not error <= tolerance:
            problems.append(
                f"merge {found.merge} is at height {height!r}, and its clusters are "
                f"{found.height!r} apart"
            )
        for owner, other, distance in found.others:
            nearer = (distance - height) / scale if scale else 0.0
            margin = min(margin, nearer)
            if not nearer >= -tolerance:
                problems.append(
                    f"merge {found.merge} takes cluster {owner} at height {height!r}, and cluster "
                    f"{other} is {distance!r} away"
                )
    in_part = sum(found.in_part for found in looked)
    return Checked(
        merges=len(looked),
        pairs=sum(found.pairs for found in looked),
        worst_height=worst,
        whole=sum(len(found.others) for found in looked) - in_part,
        in_part=in_part,
        least_margin=margin,
        problems=tuple(problems),
    )
