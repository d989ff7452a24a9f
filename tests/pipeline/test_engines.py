"""Every engine against SciPy, on every kind of data that breaks engines."""

import numpy as np
import pytest
from scipy.cluster.hierarchy import linkage as scipy_linkage
from scipy.spatial.distance import pdist as scipy_pdist

from clustergrid.pipeline import linkage
from clustergrid.pipeline.tree_engine import ENGINES
from tests.pipeline.engine_cases import CASES
from tests.pipeline.hierarchy.kinds import (
    KINDS,
    TIED,
    UNTIED,
    assert_every_merge_is_a_minimum,
    assert_scipys,
    clades,
)

pytestmark = [pytest.mark.quick_cases(one_in=8), pytest.mark.parametrize("case", CASES, ids=str)]


@pytest.mark.parametrize("kind", UNTIED)
def test_heights_and_clades_are_scipys(case, kind):
    for n in (2, 3, 40, 300):
        points = UNTIED[kind](np.random.default_rng(n), n)
        Z = case.tree(points)
        same = case.takes_scipys_distances
        assert_scipys(Z, scipy_pdist(points), case.method, same_distances=same)
        assert Z.dtype == np.float64


# Which of equals are merged first may change heights further up: every merge is checked as it is.
@pytest.mark.parametrize("kind", TIED)
def test_every_merge_among_ties_is_a_minimum(case, kind):
    assert_minima(case, kind, (2, 3, 40))


@pytest.mark.slow
@pytest.mark.parametrize("kind", TIED)
def test_every_merge_among_more_ties_is_a_minimum(case, kind):
    assert_minima(case, kind, (130, 300))


def assert_minima(case, kind, numbers):
    for n in numbers:
        points = TIED[kind](np.random.default_rng(n), n)
        condensed = scipy_pdist(points)
        Z = case.tree(points)
        same = case.takes_scipys_distances
        assert_every_merge_is_a_minimum(Z, condensed, case.method, same_distances=same)
        if case.method == "single":
            assert_scipys(Z, condensed, "single", untied=False, same_distances=same)


@pytest.mark.slow
@pytest.mark.parametrize("kind", UNTIED)
def test_order_of_rows_does_not_matter(case, kind):
    points = KINDS[kind](np.random.default_rng(1), 150)
    order = np.random.default_rng(2).permutation(len(points))
    Z, turned = case.tree(points), case.tree(points[order])
    np.testing.assert_allclose(np.sort(turned[:, 2]), np.sort(Z[:, 2]), rtol=1e-10)
    np.testing.assert_array_equal(clades(turned, order), clades(Z))


def test_names_and_sizes_of_clusters_are_scipys(case):
    points = np.random.default_rng(4).normal(size=(300, 6))
    expected = scipy_linkage(scipy_pdist(points), case.method)
    np.testing.assert_array_equal(case.tree(points)[:, [0, 1, 3]], expected[:, [0, 1, 3]])


def test_what_is_given_is_left_as_it_is(case):
    given, same = (case.of(np.random.default_rng(5).normal(size=(90, 4))) for _ in range(2))
    linkage(given, case.method, engine=case.engine)
    if case.given == "tiles":
        given, same = given.to_numpy(), same.to_numpy()
    np.testing.assert_array_equal(given, same)


def test_of_one_row_there_is_no_tree(case):
    with pytest.raises(ValueError, match="number of observations cannot be determined"):
        case.tree(np.ones((1, 3)))


def test_every_engine_is_here(case):
    assert case.engine in ENGINES
    assert {each.engine for each in CASES} == {*ENGINES}
