"""Cuts against SciPy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster import hierarchy

from clustergrid.pipeline.tree.cophenetic import cophenetic_distances
from clustergrid.pipeline.tree.cuts import cut
from clustergrid.pipeline.tree.orders import leaf_order
from clustergrid.storage.errors import DataValueError
from tests.budget import examples
from tests.pipeline.tree.trees import METHODS, chain, random_tree, tree


def same_partition(a, b):
    pairs = len(np.unique(np.column_stack([a, b]), axis=0))
    return pairs == len(np.unique(a)) == len(np.unique(b))


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


@settings(max_examples=examples(50), deadline=None)
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


@pytest.mark.slow
@pytest.mark.parametrize("make", [random_tree, chain])
def test_a_million_leaves(make):
    Z = make(1_000_000)
    for labels, k in ((cut(Z, k=1000), 1000), (cut(Z, height=Z[-1000, 2]), 1000)):
        assert labels.max() == k
        steps = np.diff(labels[leaf_order(Z)], prepend=0)
        assert steps[0] == 1
        assert set(steps[1:].tolist()) == {0, 1}
    # Two leaves are together where they meet below the cut.
    i, j = np.random.default_rng(0).integers(0, 1_000_000, (2, 100_000))
    meet = cophenetic_distances(Z).pairs(i, j)
    np.testing.assert_array_equal(labels[i] == labels[j], meet <= Z[-1000, 2])
