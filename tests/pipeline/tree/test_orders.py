"""Leaf order and coordinates against SciPy, and on trees that recursion cannot climb."""

import subprocess
import sys

import numpy as np
import pytest
from scipy.cluster import hierarchy

from clustergrid.pipeline.tree.cuts import cut
from clustergrid.pipeline.tree.orders import dendrogram_coordinates, leaf_order
from clustergrid.pipeline.tree.validity import check_linkage
from clustergrid.storage.errors import DataValueError
from tests.pipeline.tree.trees import METHODS, chain, tree

pytestmark = pytest.mark.quick_cases(one_in=8)


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


def test_what_is_no_tree_is_refused_before_a_loop_leaves_its_arrays():
    for use in (leaf_order, lambda Z: cut(Z, k=2)):
        with pytest.raises(DataValueError, match="before it is formed"):
            use([[0, 9, 1.0, 2], [2, 3, 2.0, 3]])


SMALL = """
import sys
from clustergrid import pipeline as p
Z = [[0, 1, 1, 2], [2, 4, 2, 2], [3, 5, 2, 3], [6, 7, 4, 5]]
d = [[abs(a - b) for b in (0, 1, 5, 2.5, 7)] for a in (0, 1, 5, 2.5, 7)]
p.leaf_order(Z), p.cut(Z, k=2), p.inconsistency(Z), p.is_monotonic(Z), p.to_newick(Z)
p.cophenetic_distances(Z).to_numpy(), p.optimal_leaf_ordering(Z, d), p.write_newick(Z, sys.stdout)
print([name for name in ("numba", "dask", "zarr", "scipy.cluster") if name in sys.modules])
"""


def test_small_trees_load_nothing_heavy():
    done = subprocess.run(
        [sys.executable, "-c", SMALL], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
