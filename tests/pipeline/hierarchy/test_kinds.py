"""The checks of trees see what is wrong with one."""

import numpy as np
import pytest
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import pdist, squareform

from clustergrid.pipeline.hierarchy import METHODS, REDUCIBLE_METHODS
from tests.pipeline.hierarchy.kinds import (
    KINDS,
    assert_every_merge_is_a_minimum,
    assert_scipys,
    definition,
)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", KINDS)
def test_scipys_own_trees_pass(kind, method):
    condensed = pdist(KINDS[kind](np.random.default_rng(0), 70))
    Z = linkage(condensed, method)
    assert_scipys(Z, condensed, method)
    assert_every_merge_is_a_minimum(Z, condensed, method)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["normal", "far apart", "powers of 3"])
def test_a_height_that_is_off_is_seen(kind, method):
    condensed = pdist(KINDS[kind](np.random.default_rng(0), 30))
    # Where points are far apart, below 1e-12 of the greatest distance.
    by_replay = 1e-9 if method in REDUCIBLE_METHODS else 1e-7
    for check, share in ((assert_scipys, 2e-10), (assert_every_merge_is_a_minimum, by_replay)):
        for t in range(0, 29, 4):
            Z = linkage(condensed, method)
            Z[t, 2] *= 1 + share
            with pytest.raises(AssertionError):
                check(Z, condensed, method)


@pytest.mark.parametrize("method", METHODS)
def test_a_merge_of_other_clusters_is_seen(method):
    square = squareform(pdist(np.random.default_rng(1).normal(size=(40, 3))))
    # The tree of points of which two have changed places.
    order = np.arange(40)
    order[[3, 17]] = 17, 3
    Z = linkage(squareform(square[np.ix_(order, order)]), method)
    for check in (assert_scipys, assert_every_merge_is_a_minimum):
        with pytest.raises(AssertionError):
            check(Z, squareform(square), method)


@pytest.mark.parametrize("method", REDUCIBLE_METHODS)
def test_a_zero_is_a_zero(method):
    condensed = pdist(KINDS["duplicated"](np.random.default_rng(0), 60))
    Z = linkage(condensed, method)
    Z[0, 2] = 1e-300
    for check in (assert_scipys, assert_every_merge_is_a_minimum):
        with pytest.raises(AssertionError):
            check(Z, condensed, method)


@pytest.mark.parametrize("method", METHODS)
def test_what_is_replayed_is_the_definition(method):
    rng = np.random.default_rng(2)
    square = squareform(pdist(rng.normal(size=(12, 3))))
    heights = linkage(squareform(square), method)[:, 2]
    Z = linkage(squareform(square), method)
    weights = dict(enumerate(np.eye(12)))
    for t, (one, other, _, size) in enumerate(Z):
        pair = np.array([weights.pop(one), weights.pop(other)])
        np.testing.assert_allclose(definition(method, square, pair)[0, 1], heights[t], rtol=1e-9)
        share = 0.5 if method in ("weighted", "median") else (pair[0] > 0).sum() / size
        weights[12 + t] = share * pair[0] + (1 - share) * pair[1]
