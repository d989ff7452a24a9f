"""Trees of distances in memory, by the engine that was chosen."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from clustergrid.pipeline import trees
from clustergrid.pipeline.monitor import Progress


@pytest.mark.parametrize("method", ["average", "ward"])
def test_cores_change_no_bit_where_memory_binds(monkeypatch, method):
    # Of noise, lists leave more clusters than so much memory holds the square of.
    distances = pdist(np.random.default_rng(0).normal(size=(2500, 20)))
    memory_bytes, limits = 9_000_000, []
    beside = trees._limits_beside
    monkeypatch.setattr(
        trees, "_limits_beside", lambda *given: limits.append(beside(*given)) or limits[-1]
    )

    def tree(cores):
        monkeypatch.setattr(trees, "available_cores", lambda: cores)
        return trees.condensed_tree(
            distances,
            method,
            engine="condensed",
            memory_bytes=memory_bytes,
            progress=Progress(),
            name="linkage",
        )

    expected = tree(1)
    for cores in (2, 3, 64):
        np.testing.assert_array_equal(tree(cores), expected)
    assert [limit.threads for limit in limits] == [1, 2, 3, 64]
    assert len({limit.most_clusters for limit in limits}) == 1
    # It does bind.
    assert limits[0].most_clusters < beside(distances.nbytes, 2500, 10**12).most_clusters
