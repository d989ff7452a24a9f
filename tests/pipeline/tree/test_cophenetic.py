"""Cophenetic distances against SciPy: pairs, rows, parts, correlation; and of a million leaves."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster import hierarchy
from scipy.spatial.distance import pdist, squareform

from clustergrid.pipeline.tree.cophenetic import cophenetic_correlation, cophenetic_distances
from clustergrid.storage.errors import DataValueError
from tests.budget import examples
from tests.pipeline.tree.trees import METHODS, chain, random_tree, tree

pytestmark = pytest.mark.quick_cases(one_in=4)


@settings(max_examples=examples(80), deadline=None)
@given(
    n=st.integers(2, 70),
    seed=st.integers(0, 1000),
    ties=st.booleans(),
    at_once=st.integers(1, 500),
    data=st.data(),
)
def test_they_are_scipys(n, seed, ties, at_once, data):
    # Heights of centroid and median may invert.
    Z = tree(n, data.draw(st.sampled_from((*METHODS, "median"))), ties, seed)
    expected = hierarchy.cophenet(Z)
    square = squareform(expected)
    found = cophenetic_distances(Z)
    np.testing.assert_array_equal(found.to_numpy(), expected)
    i = np.arange(n)
    np.testing.assert_array_equal(found.pairs(i[:, None], i), square)
    np.testing.assert_array_equal([found.row(leaf) for leaf in i], square)
    parts = list(found.parts(at_once))
    np.testing.assert_array_equal(np.concatenate(parts), expected)
    assert max(map(len, parts)) <= max(at_once, n - 1)


def test_heights_that_invert():
    Z = np.array([[0, 1, 3.0, 2], [2, 4, 2.0, 3], [3, 5, 1.0, 4]])
    found = cophenetic_distances(Z)
    np.testing.assert_array_equal(found.to_numpy(), hierarchy.cophenet(Z))
    assert found.pairs(0, 1) == 3.0
    assert found.pairs([0, 3], [2, 1]).tolist() == [2.0, 1.0]


def test_a_chain_of_a_million_leaves():
    n = 1_000_000
    found = cophenetic_distances(chain(n))
    i, j = np.random.default_rng(1).integers(0, n, (2, 100_000))
    # Merge t adds leaf t + 1, at height t.
    expected = np.where(i == j, 0, np.maximum(i, j) - 1.0)
    np.testing.assert_array_equal(found.pairs(i, j), expected)
    np.testing.assert_array_equal(found.row(7), found.pairs(7, np.arange(n)))


def test_a_million_leaves():
    n = 1_000_000
    Z = random_tree(n)
    found = cophenetic_distances(Z)
    i, j = np.random.default_rng(1).integers(0, n, (2, 1000))
    np.testing.assert_array_equal(found.row(int(i[0])), found.pairs(i[0], np.arange(n)))
    parent = np.empty(2 * n - 1, np.int64)
    parent[Z[:, :2].astype(int)] = n + np.arange(n - 1)[:, None]
    for a, b, height in zip(i, j, found.pairs(i, j), strict=True):
        while a != b:  # the one that was formed first goes up
            a, b = (parent[a], b) if a < b else (a, parent[b])
        assert height == (Z[a - n, 2] if a >= n else 0.0)


@pytest.mark.parametrize("method", METHODS)
def test_the_correlation_is_scipys(method, monkeypatch):
    condensed = pdist(np.random.default_rng(0).normal(size=(200, 3)))
    Z = hierarchy.linkage(condensed, method)
    expected, _ = hierarchy.cophenet(Z, condensed)
    assert cophenetic_correlation(Z, condensed) == pytest.approx(expected, rel=1e-10)
    # An offset that is a million times the spread.
    far = cophenetic_correlation(Z, condensed + 1e6)
    assert far == pytest.approx(expected, rel=1e-8)


def test_the_correlation_of_many_parts_reads_them_once(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "clustergrid.pipeline.tree.cophenetic.CopheneticDistances.parts.__defaults__", (500,)
    )
    condensed = pdist(np.random.default_rng(0).normal(size=(150, 3))).astype(np.float32)
    np.save(tmp_path / "d.npy", condensed)
    Z = hierarchy.linkage(condensed, "average")
    expected, _ = hierarchy.cophenet(Z, condensed.astype(float))
    mapped = np.load(tmp_path / "d.npy", mmap_mode="r")
    assert cophenetic_correlation(Z, mapped) == pytest.approx(expected, rel=1e-10)


def test_what_does_not_fit_is_refused():
    Z = tree(10)
    found = cophenetic_distances(Z)
    with pytest.raises(DataValueError, match="from 0 to 9, got 10"):
        found.pairs([0, 1], [3, 10])
    with pytest.raises(DataValueError, match="from 0 to 9, got -1"):
        found.row(-1)
    with pytest.raises(DataValueError, match="integers, got float64"):
        found.pairs(0.5, 1)
    with pytest.raises(DataValueError, match=r"45 entries, got shape \(44,\)"):
        cophenetic_correlation(Z, np.ones(44))
    with pytest.raises(DataValueError, match="4 columns"):
        cophenetic_distances(np.zeros((3, 3)))
    assert np.isnan(cophenetic_correlation(Z, np.ones(45)))
