"""The spanning tree of a square: one order of all edges, whatever the pieces and the type."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist, squareform

from clustergrid.pipeline.hierarchy import (
    Merges,
    _spanning,
    cluster_condensed,
    cluster_square,
    linkage_matrix,
)
from clustergrid.pipeline.hierarchy._record import Record
from clustergrid.pipeline.hierarchy._spanning import GrowingTree, merge_by_spanning_tree
from clustergrid.storage.errors import DataValueError
from tests.budget import examples
from tests.pipeline.hierarchy.kinds import KINDS, TIED

pytestmark = pytest.mark.quick_cases(one_in=4)


def kruskal(condensed):
    """The first edges of all that join two components, by (distance, lower, higher)."""
    n = round((1 + np.sqrt(1 + 8 * len(condensed))) / 2)
    lower, higher = np.triu_indices(n, 1)
    component, chosen = np.arange(n), []
    for e in np.lexsort((higher, lower, condensed)):
        one, other = component[lower[e]], component[higher[e]]
        if one != other:
            component[component == other] = one
            chosen.append(e)
    height = np.asarray(condensed)[chosen].astype(np.float64)
    return Merges(first=lower[chosen], second=higher[chosen], height=height)


def assert_same_tree(merges, expected):
    n = len(merges.height) + 1
    np.testing.assert_array_equal(linkage_matrix(merges, n), linkage_matrix(expected, n))


def assert_same_edges(merges, expected):
    for field in ("first", "second", "height"):
        np.testing.assert_array_equal(getattr(merges, field), getattr(expected, field))


@settings(max_examples=examples(100), deadline=None)
@given(data=st.data(), n=st.integers(2, 20), dtype=st.sampled_from([np.float32, np.float64]))
def test_ties_go_to_the_lowest_observations(data, n, dtype):
    n_distances = n * (n - 1) // 2
    values = st.lists(st.integers(0, 3), min_size=n_distances, max_size=n_distances)
    condensed = np.array(data.draw(values), dtype)
    expected = kruskal(condensed)
    assert_same_tree(cluster_condensed(condensed, "single"), expected)
    assert_same_tree(cluster_square(squareform(condensed), "single"), expected)


# Whole lanes, some over, and less than one.
@pytest.mark.parametrize("n", [3, 127, 128, 129, 300])
@pytest.mark.parametrize("kind", TIED)
def test_ties_among_many(kind, n):
    values = KINDS[kind](np.random.default_rng(n), n)
    condensed = pdist(values, "cityblock")
    for dtype in (np.float32, np.float64):
        found = cluster_condensed(condensed.astype(dtype), "single")
        assert_same_tree(found, kruskal(condensed.astype(dtype)))


@pytest.mark.parametrize("n_edges", [1, 7, 1000])
def test_pieces_change_nothing(n_edges, monkeypatch):
    square = squareform(pdist(np.random.default_rng(0).integers(0, 4, (150, 3)), "cityblock"))
    monkeypatch.setattr(_spanning, "ENTRIES_A_PIECE", n_edges * 150)
    for is_tied in (False, True):
        told = []
        record = Record(150, lambda done, total, height, to=told: to.append(done))
        merge_by_spanning_tree(square, record, is_tied=is_tied)
        assert_same_edges(record.merges, kruskal(squareform(square)))
        assert len(told) == -(-149 // n_edges) * (1 if is_tied else 2)


def test_without_equal_heights_no_edge_is_needed():
    condensed = pdist(np.random.default_rng(2).normal(size=(300, 4)))
    plain, kept = (Record(300) for _ in range(2))
    merge_by_spanning_tree(squareform(condensed), plain)
    merge_by_spanning_tree(squareform(condensed), kept, is_tied=True)
    assert_same_edges(kept.merges, kruskal(condensed))
    assert (plain.merges.first != kept.merges.first).any()
    assert_same_tree(plain.merges, kept.merges)


def test_the_square_is_left_as_it_is():
    square = squareform(pdist(np.random.default_rng(1).normal(size=(40, 3))))
    before = square.copy()
    assert GrowingTree(square).grow(39) is not None
    np.testing.assert_array_equal(square, before)


def test_what_is_out_of_reach_is_refused():
    square = squareform(pdist(np.arange(8.0)[:, None]))
    square[3:, :3] = square[:3, 3:] = np.inf
    assert GrowingTree(square).grow(7) is None
    with pytest.raises(DataValueError, match="only finite values"):
        merge_by_spanning_tree(square, Record(8))
