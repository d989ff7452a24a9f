"""What derives merges again accepts SciPy's trees, and sees whatever is wrong with another."""

import numpy as np
import pytest
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import pdist
from scipy.stats import rankdata

from benchmarks.merge_checks import METHODS, check_merges

pytestmark = pytest.mark.quick_cases(one_in=4)

N = 400
VALUES = np.random.default_rng(0).normal(size=(N, 30))
ALL = np.arange(N - 1)
CASES = [(method, "euclidean") for method in METHODS] + [
    *(("complete", metric) for metric in ("cityblock", "cosine")),
    *(("average", metric) for metric in ("sqeuclidean", "correlation", "spearman")),
    ("weighted", "correlation"),
]


def tree(method, metric):
    values, named = VALUES, metric
    if metric == "spearman":
        values, named = rankdata(VALUES, axis=1), "correlation"
    return linkage(pdist(values, named), method)


@pytest.mark.parametrize(("method", "metric"), CASES)
def test_trees_of_scipy_are_right(method, metric):
    Z = tree(method, metric)
    found = check_merges(VALUES, Z, method, metric, merges=ALL)
    assert found.problems == ()
    assert found.merges == N - 1
    # The last merge has no others.
    assert (found.whole, found.in_part) == (2 * (N - 2), 0)
    assert found.worst_height < 1e-12
    assert found.least_margin > -1e-12
    heights = check_merges(VALUES, Z, method, metric, merges=ALL, neighbours=False)
    assert heights.pairs == (0 if method == "ward" else N * (N - 1) // 2)
    assert heights.whole == 0
    few = check_merges(VALUES, Z, method, metric, merges=ALL, most_pairs=1000)
    assert few.problems == ()
    assert few.pairs < found.pairs or method == "ward"
    assert bool(few.in_part) == (method != "ward")


@pytest.mark.parametrize(("method", "metric"), CASES)
def test_a_height_that_is_off_is_seen(method, metric):
    Z = tree(method, metric)
    for merge in np.flatnonzero(Z[:, 2] > 1e-3)[[0, 100, -1]]:
        wrong = Z.copy()
        wrong[merge, 2] *= 1 + 1e-9
        found = check_merges(VALUES, wrong, method, metric, merges=np.array([merge]))
        assert len(found.problems) == 1
        assert f"merge {merge} is at height" in found.problems[0]


@pytest.mark.parametrize(("method", "metric"), CASES)
def test_a_merge_of_clusters_that_are_not_nearest_is_seen(method, metric):
    Z = tree(method, metric)
    # Two merges of leaves exchange a partner; their heights are made what they are then.
    one, other = np.flatnonzero((Z[:, :2] < N).all(axis=1))[[5, 20]]
    wrong = Z.copy()
    wrong[one, 1], wrong[other, 1] = Z[other, 1], Z[one, 1]
    merges = np.array([one, other])
    found = check_merges(VALUES, wrong, method, metric, merges=merges, neighbours=False)
    assert len(found.problems) == 2
    for problem, merge in zip(found.problems, merges, strict=True):
        wrong[merge, 2] = float(problem.split()[-2])
    found = check_merges(VALUES, wrong, method, metric, merges=merges)
    assert len(found.problems) >= 2
    assert all("takes cluster" in problem for problem in found.problems)
    assert found.least_margin < 0


def test_a_method_that_brings_clusters_nearer_is_refused():
    with pytest.raises(ValueError, match="got 'centroid'"):
        check_merges(VALUES, tree("average", "euclidean"), "centroid", merges=ALL)
