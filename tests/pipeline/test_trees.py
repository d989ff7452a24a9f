"""Trees of distances in memory, by the engine that was chosen."""

import numpy as np
import pytest
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import pdist

from clustergrid.pipeline import pdist as our_pdist
from clustergrid.pipeline import trees
from clustergrid.pipeline.errors import MemoryLimitError
from clustergrid.pipeline.hierarchy import small
from clustergrid.pipeline.hierarchy.proved import NegativeDistanceError
from clustergrid.pipeline.monitor import Progress
from tests.pipeline.hierarchy.kinds import clades

pytestmark = pytest.mark.quick_cases(one_in=16)


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


def tree_of(distances, method, *, engine=None, memory_bytes=10**9):
    given = {"engine": engine, "memory_bytes": memory_bytes}
    return trees.condensed_tree(distances, method, **given, progress=Progress(), name="linkage")


def negative_distances(n, kind):
    """Distances of which a few are below zero: by rounding, or as nobody's are."""
    distances = pdist(np.random.default_rng(0).random((n, 8)))
    some = distances[:: n + 1]
    # With larger ones SciPy's ward takes roots of what is negative.
    some[:] = -1e-16 * np.arange(len(some)) if kind == "rounding" else -0.1 * some
    return distances


def test_the_engine_that_takes_the_place_of_another_is_told():
    notes = []
    trees.condensed_tree(
        negative_distances(2100, "rounding"),
        "ward",
        engine=None,
        memory_bytes=10**9,
        progress=Progress(lambda event: notes.append((event.note, event.is_news))),
        name="linkage",
    )
    assert notes[0][0].startswith("engine condensed")
    (news,) = (note for note, is_news in notes if is_news)
    assert news.startswith("a distance is negative: engine square")


@pytest.mark.parametrize("kind", ["rounding", "any"])
@pytest.mark.parametrize("method", ["single", "complete", "average", "weighted", "ward"])
@pytest.mark.parametrize("n", [200, 2300])
def test_negative_distances_are_taken_as_scipy_takes_them(n, method, kind):
    distances = negative_distances(n, kind)
    assert (distances < 0).sum() > n // 8
    expected = linkage(distances, method)
    assert not np.isnan(expected).any()
    for engine in (None, "square"):
        Z = tree_of(distances, method, engine=engine)
        np.testing.assert_allclose(Z[:, 2], expected[:, 2], rtol=1e-10, atol=1e-13)
        np.testing.assert_array_equal(clades(Z), clades(expected))


def test_lists_refuse_negative_distances_of_ward():
    distances = negative_distances(2300, "any")
    with pytest.raises(NegativeDistanceError, match=r"-0\.\d+, between points \d+ and \d+, is neg"):
        tree_of(distances, "ward", engine="condensed")
    # Of the other methods there are no squares.
    Z = tree_of(distances, "average", engine="condensed")
    np.testing.assert_allclose(Z[:, 2], linkage(distances, "average")[:, 2], rtol=1e-10)
    # What SciPy takes must fit.
    with pytest.raises(MemoryLimitError, match="square matrix of 2,300"):
        tree_of(distances, "ward", memory_bytes=40_000_000)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scipy_is_given_no_more_than_there_is(monkeypatch, dtype):
    n = 300
    distances = pdist(np.random.default_rng(0).random((n, 8))).astype(dtype)
    n_distances = n * (n - 1) // 2
    least_bytes = n_distances * (8 if dtype == np.float64 else 16)
    expected = linkage(distances.astype(np.float64), "average")
    Z = tree_of(distances, "average", engine="scipy", memory_bytes=least_bytes)
    np.testing.assert_array_equal(Z, expected)
    monkeypatch.setattr(small, "condensed_of", None)
    with pytest.raises(MemoryLimitError, match=r"300 observations takes .* engine='square'"):
        tree_of(distances, "average", engine="scipy", memory_bytes=least_bytes - 1)
    given = {"engine": "scipy", "optimal_ordering": False, "progress": Progress()}
    tiles = our_pdist(np.random.default_rng(0).random((n, 8)).astype(dtype))
    itemsize = np.dtype(dtype).itemsize
    least_bytes = n * n * itemsize + n_distances * 16
    with pytest.raises(MemoryLimitError, match="300 observations takes"):
        trees.tiles_tree(tiles, "average", **given, memory_bytes=least_bytes - 1, name="linkage")
    monkeypatch.undo()
    Z = trees.tiles_tree(tiles, "average", **given, memory_bytes=least_bytes, name="linkage")
    np.testing.assert_allclose(Z[:, 2], expected[:, 2], rtol=1e-5)
