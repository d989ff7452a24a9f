"""Leaf order and coordinates against SciPy, and on trees that recursion cannot climb."""

import numpy as np
import pytest
from scipy.cluster import hierarchy

from clustergrid.pipeline.tree.cuts import cut
from clustergrid.pipeline.tree.orders import dendrogram_coordinates, leaf_order
from clustergrid.pipeline.tree.validity import check_linkage
from tests.pipeline.tree.trees import METHODS, chain, tree


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
