"""What is a linkage matrix, and what is wrong with one."""

import numpy as np
import pytest
from scipy.cluster import hierarchy

from clustergrid.pipeline.tree.validity import check_linkage, is_monotonic
from clustergrid.storage.errors import DataValueError
from tests.pipeline.tree.trees import METHODS, chain, random_tree, tree


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


def test_check_linkage_names_the_row_that_uses_a_cluster_again():
    Z = tree(30)
    Z[20, 0] = Z[11, 1]
    row = str(Z[20].tolist()).replace("[", r"\[").replace("]", r"\]")
    with pytest.raises(DataValueError, match=f"cluster {int(Z[11, 1])} more .* row 20 is {row}"):
        check_linkage(Z)


@pytest.mark.parametrize("method", METHODS)
def test_is_monotonic_is_scipys(method):
    for seed in range(5):
        Z = tree(40, method, seed=seed)
        assert is_monotonic(Z) == hierarchy.is_monotonic(Z)
    assert not is_monotonic(tree(40, "centroid"))
    with pytest.raises(DataValueError, match="before it is formed"):
        is_monotonic([[0, 3, 1.0, 2]])


@pytest.mark.slow
def test_a_million_leaves():
    for Z in (random_tree(1_000_000), chain(1_000_000)):
        assert check_linkage(Z, 1_000_000) is Z
        assert is_monotonic(Z)
