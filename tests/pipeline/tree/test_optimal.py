"""Optimal ordering against SciPy."""

import numpy as np
import pytest
from scipy.cluster import hierarchy
from scipy.spatial.distance import pdist

from clustergrid.pipeline.tree import optimal
from clustergrid.pipeline.tree.optimal import optimal_leaf_ordering
from clustergrid.storage.errors import DataValueError


def test_optimal_ordering_is_scipys(monkeypatch):
    points = np.random.default_rng(1).normal(size=(40, 3))
    condensed = pdist(points)
    Z = hierarchy.linkage(condensed, "average")
    ordered = optimal_leaf_ordering(Z, condensed)
    np.testing.assert_array_equal(ordered, hierarchy.optimal_leaf_ordering(Z, condensed))
    with pytest.raises(DataValueError, match="of 40 leaves has 780 entries, got shape \\(779,"):
        optimal_leaf_ordering(Z, condensed[1:])
    monkeypatch.setattr(optimal, "MAX_LEAVES_ORDERED_OPTIMALLY", 39)
    with pytest.raises(DataValueError, match=r"at most 39 leaves, got 40: .* Leave optimal_ord"):
        optimal_leaf_ordering(Z, condensed)
