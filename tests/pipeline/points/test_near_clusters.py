"""What means leave out is too far; totals have the same bits whichever pairs share a panel."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clustergrid.pipeline.hierarchy._clusters import CODES
from clustergrid.pipeline.points._bounds import (
    at_left,
    bound_operands,
    reach_of_means,
    share_of_roundings,
    weigh_means,
)
from clustergrid.pipeline.points._pair_squares import _pair_total, add_pairs
from clustergrid.pipeline.points._squares import HALF, PAIR_EDGE, PLAIN, ROOT
from clustergrid.pipeline.points.euclidean import EuclideanPoints
from clustergrid.pipeline.points.layout import Layout
from clustergrid.pipeline.points.near_clusters import NearClusters
from tests.budget import examples
from tests.pipeline.points.cases import given_of, ignore, some_clusters, source_of
from tests.pipeline.points.test_kernels import MAKE
from tests.pipeline.points.test_source import assert_same_lists

METHODS = ("complete", "average", "weighted")


def distances_between(rows, layout, form, method):
    """Return the distances of all pairs of clusters, in NumPy."""
    squares = np.square(rows[layout.points][:, None] - rows[layout.points]).sum(axis=2)
    single = {ROOT: np.sqrt(squares), PLAIN: squares, HALF: np.minimum(0.5 * squares, 2)}[form]
    if method == "complete":
        return np.maximum.reduceat(
            np.maximum.reduceat(single, layout.starts[:-1], axis=0), layout.starts[:-1], axis=1
        )
    weighted = single * layout.weights[:, None] * layout.weights
    sums = np.add.reduceat(
        np.add.reduceat(weighted, layout.starts[:-1], axis=0), layout.starts[:-1], axis=1
    )
    return sums / (layout.masses[:, None] * layout.masses)


@pytest.mark.parametrize("form", [ROOT, PLAIN, HALF])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", MAKE)
@settings(max_examples=examples(15), deadline=None)
@given(seed=st.integers(0, 2**32 - 1), k=st.sampled_from([1, 2, 34, 300]))
def test_no_cluster_within_reach_is_left_out(kind, method, form, seed, k):
    rng = np.random.default_rng(seed)
    n = 40
    rows = MAKE[kind](rng, n, k)
    if form == HALF:
        rows = rows / np.sqrt(np.square(rows).sum(axis=1, keepdims=True))
    sizes = rng.integers(1, 9, n)
    layout = Layout.of(some_clusters(n, method, n_merges=28, sizes=sizes, seed=seed % 100), 512)
    centre = rows.mean(axis=0)
    longest = np.sqrt(np.square(rows - centre).sum(axis=1).max())
    scale = float(np.ldexp(1.0, -int(np.frexp(longest)[1])))
    means = np.empty((len(layout), k))
    weigh_means(rows, layout.points, layout.weights, layout.starts, centre, scale, means)
    operands = np.empty((len(layout), k + 2), np.float32)
    share = share_of_roundings(k)
    bound_operands(means, np.arange(len(means)), np.zeros(k), 1.0, share, operands)
    products = at_left(operands) @ operands.T
    distances = distances_between(rows, layout, form, method)
    n_members = 2 * int(layout.counts.max())
    far = reach_of_means(distances.ravel(), scale=scale, n_members=n_members, form=form)
    assert (products <= far.reshape(products.shape)).all()


@pytest.mark.parametrize("metric", ["euclidean", "sqeuclidean", "correlation"])
@pytest.mark.parametrize("method", METHODS)
def test_most_clusters_of_other_groups_are_left_out(monkeypatch, method, metric):
    rng = np.random.default_rng(4)
    n, k = 6000, 20
    centres = 4 * rng.normal(size=(10, k))
    groups = rng.integers(10, size=n)
    values = rng.normal(size=(n, k)) + centres[groups]
    clusters = some_clusters(n, method, n_merges=4000, groups=groups)
    owners = np.flatnonzero(clusters.live)[::2]
    looked_at = []
    real = NearClusters._candidates

    def seen(self, owners, reach):
        for others in real(self, owners, reach):
            looked_at.append(len(others) * len(owners))
            yield others

    monkeypatch.setattr(NearClusters, "_candidates", seen)
    source = source_of(given_of(values, metric))
    found = source.nearest_clusters(clusters, method, 16, owners, ignore)
    assert sum(looked_at) < 0.4 * len(owners) * clusters.live.sum()
    monkeypatch.setattr(EuclideanPoints, "list_clusters", lambda *args: None)
    assert_same_lists(found, source.nearest_clusters(clusters, method, 16, owners, ignore), rtol=0)


@pytest.mark.parametrize("metric", ["euclidean", "sqeuclidean", "correlation", "cosine"])
@pytest.mark.parametrize("method", METHODS)
def test_lists_that_reach_nowhere_leave_out_nothing_near(monkeypatch, method, metric):
    """Bounds within a tight group are zero, or less: single precision does not see it."""
    rng = np.random.default_rng(7)
    n, k = 3000, 10
    groups = rng.integers(10, size=n)
    spread = np.where(groups < 2, 1e-5, 1.0)[:, None]
    values = 4 * rng.normal(size=(10, k))[groups] + spread * rng.normal(size=(n, k))
    clusters = some_clusters(n, method, n_merges=1200, groups=groups)
    owners = np.flatnonzero(clusters.live)
    source = source_of(given_of(values, metric))
    found = source.nearest_clusters(clusters, method, 16, owners, ignore)
    monkeypatch.setattr(EuclideanPoints, "list_clusters", lambda *args: None)
    assert_same_lists(found, source.nearest_clusters(clusters, method, 16, owners, ignore), rtol=0)


@pytest.mark.parametrize("form", [ROOT, PLAIN, HALF])
@pytest.mark.parametrize("method", ["single", *METHODS, "ward"])
@settings(max_examples=examples(20), deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    k=st.sampled_from([1, 3, 4, 50]),
    largest=st.sampled_from([1, 3, 20, 150, PAIR_EDGE + 100]),
)
def test_totals_have_the_same_bits_whichever_pairs_are_together(form, method, seed, k, largest):
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, largest + 1, 12)
    starts = np.concatenate([[0], np.cumsum(counts)])
    n = int(starts[-1])
    rows = rng.normal(size=(n, k)) * (0.1 if form == HALF else 1.0)
    places, weights = rng.permutation(n), rng.integers(1, 9, n).astype(float)
    n_pairs = 100
    first, second = rng.integers(0, 12, (2, n_pairs))
    if seed % 2:
        first = np.sort(first)
    code, totals = CODES[method], np.empty(n_pairs)
    clusters = (rows, places, weights, starts)
    cuts = [0, *np.sort(rng.integers(0, n_pairs, 3)), n_pairs]
    for begin, end in itertools.pairwise(cuts):
        add_pairs(*clusters, first, second, form, code, totals, begin, end)
    alone = [_pair_total(*clusters, *pair, form, code) for pair in zip(first, second, strict=True)]
    np.testing.assert_array_equal(totals, alone)
