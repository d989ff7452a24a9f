"""Inconsistency against SciPy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster import hierarchy

from clustergrid.pipeline.tree.inconsistencies import inconsistency
from clustergrid.storage.errors import DataValueError
from tests.budget import examples
from tests.pipeline.tree.trees import METHODS, chain, random_tree, tree


@settings(max_examples=examples(60), deadline=None)
@given(n=st.integers(2, 60), depth=st.integers(0, 12), seed=st.integers(0, 1000), data=st.data())
def test_it_is_scipys(n, depth, seed, data):
    Z = tree(n, data.draw(st.sampled_from(METHODS)), seed=seed)
    expected = hierarchy.inconsistent(Z, depth)
    np.testing.assert_allclose(inconsistency(Z, depth), expected, rtol=1e-7, atol=1e-9)


def test_two_levels_by_default():
    Z = tree(50)
    np.testing.assert_array_equal(inconsistency(Z), inconsistency(Z, 2))


def test_heights_that_nearly_agree():
    # SciPy takes 1e16 from 1e16 here, and finds deviations of some units.
    Z = chain(4)
    Z[:, 2] = 1e8 + np.array([0.0, 0.25, 0.5])
    found = inconsistency(Z, 3)
    np.testing.assert_allclose(found[2], [1e8 + 0.25, 0.25, 3, 1.0], rtol=1e-12)
    Z[:, 2] = 0.1
    np.testing.assert_array_equal(inconsistency(Z, 3)[:, [1, 3]], 0)


@pytest.mark.slow
def test_a_million_leaves():
    for Z in (random_tree(1_000_000), chain(1_000_000)):
        found = inconsistency(Z)
        counts = 1 + (Z[:, :2] >= len(Z) + 1).sum(axis=1)
        np.testing.assert_array_equal(found[:, 2], counts)


def test_a_depth_is_a_whole_number():
    for depth in (-1, 1.5, "2"):
        with pytest.raises(DataValueError, match=f"at least 0, got {depth}"):
            inconsistency(tree(5), depth)
