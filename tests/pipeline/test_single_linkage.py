"""Single linkage is one tree to the bit, from rows, from tiles, and from distances."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import is_valid_linkage
from scipy.cluster.hierarchy import linkage as scipy_linkage
from scipy.spatial.distance import pdist as scipy_pdist

from clustergrid.pipeline import linkage, pdist
from clustergrid.pipeline.execution import DaskExecutor, SerialExecutor, ThreadsExecutor
from clustergrid.pipeline.planning import Resources
from clustergrid.pipeline.stages import Stages
from clustergrid.storage.matrix import open_matrix
from tests.budget import examples
from tests.pipeline.hierarchy.kinds import KINDS, UNTIED, assert_every_merge_is_a_minimum

pytestmark = pytest.mark.quick_cases(one_in=8)


def trees(values, metric="euclidean", **options):
    """The tree by every way that there is, but SciPy's."""
    tiles = pdist(values, metric, **options)
    return {
        "rows": linkage(values, "single", metric, engine="data", **options),
        "square": linkage(values, "single", metric, engine="square", **options),
        "tiles": linkage(tiles, "single", engine="square"),
        "vector": linkage(tiles.to_numpy(), "single", engine="square"),
    }


def assert_all_equal(found):
    first = found.pop("rows")
    for name, tree in found.items():
        np.testing.assert_array_equal(tree, first, err_msg=name)
    return first


@settings(
    max_examples=examples(60),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    n=st.integers(2, 60),
    k=st.integers(1, 4),
    largest=st.integers(0, 3),
    metric=st.sampled_from(["euclidean", "cityblock", "chebyshev", "hamming"]),
    dtype=st.sampled_from([None, "float32"]),
    seed=st.integers(0, 1000),
)
def test_ties_are_broken_in_one_way(small_blocks, n, k, largest, metric, dtype, seed):
    values = np.random.default_rng(seed).integers(0, largest + 1, (n, k)).astype(float)
    Z = assert_all_equal(trees(values, metric, dtype=dtype))
    assert is_valid_linkage(Z)
    condensed = scipy_pdist(values, metric)
    if dtype is None:
        np.testing.assert_array_equal(Z[:, 2], scipy_linkage(condensed, "single")[:, 2])
    assert_every_merge_is_a_minimum(Z, condensed.astype(dtype or np.float64), "single")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_data(kind):
    values = KINDS[kind](np.random.default_rng(3), 700)
    Z = assert_all_equal(trees(values))
    expected = scipy_linkage(pdist(values).to_numpy(), "single")
    np.testing.assert_array_equal(Z[:, 2], expected[:, 2])
    if kind in UNTIED:
        np.testing.assert_array_equal(Z, expected)


def test_distances_without_a_last_bit_in_common():
    """Products of identical rows at other places of a block may be rounded otherwise."""
    rng = np.random.default_rng(4)
    values = rng.normal(size=(400, 31))[rng.integers(0, 400, 1500)]
    for metric in ("euclidean", "correlation"):
        assert_all_equal(trees(values, metric))
        assert_all_equal(trees(values.astype(np.float32), metric))


def test_identical_observations_are_not_collapsed():
    """Others may be at distance 0 too, and merge between them."""
    events = []
    values = np.repeat(np.arange(1.0, 4.0)[:, None] * [1, 2], 5, axis=0)
    linkage(values, "single", engine="square", progress=events.append)
    assert {event.stage for event in events} >= {"distance-row", "linkage-row"}
    assert "duplicates-row" not in {event.stage for event in events}
    assert_all_equal(trees(values, "cosine"))


@pytest.mark.parametrize("store", [False, True])
@pytest.mark.parametrize("kind", ["normal", "integers", "hub"])
def test_any_executor_and_store(client, tmp_path, store, kind):
    values = KINDS[kind](np.random.default_rng(6), 2200)
    expected = linkage(values, "single", engine="square")
    assert_every_height_is(expected, values)
    for number, executor in enumerate((SerialExecutor(), ThreadsExecutor(3), DaskExecutor(client))):
        stages = Stages(
            open_matrix(values),
            executor=executor,
            resources=Resources(memory_bytes=10**9, threads=2),
            store=str(tmp_path / str(number)) if store else None,
        )
        found = stages.linkage(0, method="single", metric="euclidean")
        np.testing.assert_array_equal(found, expected)
        assert not list((tmp_path).rglob("condensed*"))


def assert_every_height_is(Z, values):
    expected = scipy_linkage(scipy_pdist(values), "single")[:, 2]
    np.testing.assert_allclose(Z[:, 2], expected, rtol=1e-10)


@pytest.mark.parametrize("method", ["single", "centroid", "median"])
def test_ordering_the_leaves_leaves_the_tree(monkeypatch, method):
    """It asks for distances, and the tree is the one without."""
    monkeypatch.setattr("clustergrid.pipeline.tree_engine.SMALL_OBSERVATIONS", 100)
    values = np.random.default_rng(7).integers(0, 6, (300, 3)).astype(float)
    plain = linkage(values, method)
    ordered = linkage(values, method, optimal_ordering=True)
    np.testing.assert_array_equal(ordered[:, 2:], plain[:, 2:])
    np.testing.assert_array_equal(np.sort(ordered[:, :2], axis=1), np.sort(plain[:, :2], axis=1))
    assert (ordered[:, :2] != plain[:, :2]).any()
