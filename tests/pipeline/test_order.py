"""Leaf order, cuts and coordinates against SciPy, and on trees that recursion cannot climb."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster import hierarchy
from scipy.spatial.distance import pdist

from clustergrid.pipeline import order
from clustergrid.pipeline.order import (
    check_linkage,
    cut,
    dendrogram_coordinates,
    leaf_order,
    optimal_ordering,
)
from clustergrid.storage.errors import DataValueError

METHODS = ("single", "complete", "average", "centroid", "ward")


def tree(n, method="average", ties=False, seed=0):
    rng = np.random.default_rng([seed, n])
    points = rng.integers(0, 4, (n, 3)).astype(float) if ties else rng.normal(size=(n, 3))
    return hierarchy.linkage(pdist(points), method)


def chain(n):
    """Every merge adds one leaf."""
    t = np.arange(n - 1)
    return np.column_stack([np.where(t == 0, 0, t + 1), np.where(t == 0, 1, n + t - 1), t, t + 2.0])


def same_partition(a, b):
    pairs = len(np.unique(np.column_stack([a, b]), axis=0))
    return pairs == len(np.unique(a)) == len(np.unique(b))


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n", [2, 3, 4, 150])
def test_order_and_coordinates_are_scipys(n, method, ties):
    Z = tree(n, method, ties)
    drawn = hierarchy.dendrogram(Z, no_plot=True)
    np.testing.assert_array_equal(leaf_order(Z), hierarchy.leaves_list(Z))
    assert leaf_order(Z).dtype == np.int64
    icoord, dcoord = dendrogram_coordinates(Z)
    np.testing.assert_array_equal(icoord, drawn["icoord"])
    np.testing.assert_array_equal(dcoord, drawn["dcoord"])


@pytest.mark.parametrize("method", METHODS)
def test_cut_at_a_height_is_scipys(method):
    Z = tree(120, method)
    for height in (0, *Z[::7, 2], Z[:, 2].mean(), Z[-1, 2], 1e9):
        expected = hierarchy.fcluster(Z, height, "distance")
        assert same_partition(cut(Z, height=height), expected)


@pytest.mark.parametrize("method", ["single", "complete", "average", "ward"])
def test_cut_into_k_is_scipys(method):
    Z = tree(60, method)
    for k in range(1, 61):
        assert same_partition(cut(Z, k=k), hierarchy.fcluster(Z, k, "maxclust"))


@settings(max_examples=50, deadline=None)
@given(n=st.integers(2, 40), seed=st.integers(0, 1000), data=st.data())
def test_cut_into_exactly_k_numbered_along_the_leaves(n, seed, data):
    Z = tree(n, data.draw(st.sampled_from(METHODS)), ties=True, seed=seed)
    k = data.draw(st.integers(1, n))
    labels = cut(Z, k=k)
    assert labels.dtype == np.int64
    steps = np.diff(labels[leaf_order(Z)], prepend=0)
    assert steps[0] == 1
    assert set(steps[1:]) <= {0, 1}
    assert labels.max() == k


def test_cut_wants_one_number_in_its_range():
    Z = tree(5)
    for arguments in ({}, {"k": 2, "height": 1.0}):
        with pytest.raises(DataValueError, match="exactly one of k and height"):
            cut(Z, **arguments)
    for k in (0, 6, 2.5, -1):
        with pytest.raises(DataValueError, match=f"from 1 to 5 .* got {k}"):
            cut(Z, k=k)
    with pytest.raises(DataValueError, match="nan"):
        cut(Z, height=float("nan"))
    np.testing.assert_array_equal(cut(Z, k=np.int64(1)), np.ones(5))


def test_a_chain_of_many_leaves():
    n = 100_000
    Z = check_linkage(chain(n), n)
    assert hierarchy.is_valid_linkage(Z)
    found = leaf_order(Z)
    assert sorted(found[-2:]) == [0, 1]
    np.testing.assert_array_equal(np.sort(found), np.arange(n))
    assert (np.bincount(cut(Z, k=1000))[1:] == 1).sum() == 999
    assert cut(Z, height=10.0).max() == n - 11
    icoord, dcoord = dendrogram_coordinates(Z)
    np.testing.assert_array_equal(dcoord[:, 1], Z[:, 2])
    assert icoord.min() == 5
    assert icoord.max() == 10 * n - 5


def test_one_leaf_is_a_tree_without_links():
    Z = np.empty((0, 4))
    np.testing.assert_array_equal(leaf_order(Z), [0])
    np.testing.assert_array_equal(cut(Z, k=1), [1])
    np.testing.assert_array_equal(cut(Z, height=1.0), [1])
    assert dendrogram_coordinates(Z)[0].shape == (0, 4)


def test_optimal_ordering_is_scipys(monkeypatch):
    points = np.random.default_rng(1).normal(size=(40, 3))
    condensed = pdist(points)
    Z = hierarchy.linkage(condensed, "average")
    ordered = optimal_ordering(Z, condensed)
    np.testing.assert_array_equal(ordered, hierarchy.optimal_leaf_ordering(Z, condensed))
    with pytest.raises(DataValueError, match="of 40 leaves has 780 entries, got shape \\(779,"):
        optimal_ordering(Z, condensed[1:])
    monkeypatch.setattr(order, "MAX_LEAVES_ORDERED_OPTIMALLY", 39)
    with pytest.raises(DataValueError, match=r"at most 39 leaves, got 40: .* Leave optimal_ord"):
        optimal_ordering(Z, condensed)


def test_check_linkage_passes_what_scipy_passes():
    Z = tree(30)
    for given_ in (Z, Z.tolist(), np.asfortranarray(Z), Z.astype(np.float32).astype(object)):
        checked = check_linkage(given_, 30)
        assert checked.flags.c_contiguous
        assert checked.dtype == np.float64
    assert check_linkage(Z) is Z


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ((1, 0), -1, "negative ids"),
        ((1, 0), 0.5, "whole numbers"),
        ((1, 2), -0.1, "negative heights"),
        ((1, 2), np.nan, "finite"),
        ((1, 3), -2, "negative counts"),
        ((1, 3), 9, "more observations"),
        ((0, 1), 5, "before it is formed"),
        ((2, 1), 0, "more than once"),
    ],
)
def test_check_linkage_says_what_is_wrong(place, value, words):
    Z = np.array([[0, 1, 1, 2], [2, 3, 2, 2], [4, 5, 3, 4]], np.float64)
    assert check_linkage(Z, 4) is Z
    Z[place] = value
    with pytest.raises(DataValueError, match=f"row_linkage .*{words}"):
        check_linkage(Z, name="row_linkage")


def test_check_linkage_shapes():
    with pytest.raises(DataValueError, match=r"4 columns .* got shape \(3, 3\)"):
        check_linkage(np.zeros((3, 3)))
    with pytest.raises(DataValueError, match="at least two observations"):
        check_linkage(np.zeros((0, 4)))
    with pytest.raises(DataValueError, match="matrix of numbers"):
        check_linkage([["a"]])
    with pytest.raises(DataValueError, match="col_linkage has 5 leaves, but 7 observations"):
        check_linkage(tree(5), 7, "col_linkage")
