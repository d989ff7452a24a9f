"""Single linkage from tiles, against SciPy and against Kruskal on all pairs."""

import pickle

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import is_valid_linkage, linkage
from scipy.spatial.distance import pdist

from clustergrid.pipeline import spanning_tree as driver
from clustergrid.pipeline.engines.base import UndefinedPairError
from clustergrid.pipeline.execution import DaskExecutor, SerialExecutor, ThreadsExecutor
from clustergrid.pipeline.hierarchy import _forest, linkage_matrix
from clustergrid.pipeline.hierarchy._edges import Edges
from clustergrid.pipeline.monitor import Progress
from clustergrid.pipeline.normalize import Normalization, matrix_statistics
from clustergrid.pipeline.operands import distance_input
from clustergrid.pipeline.spanning_tree import spanning_tree
from clustergrid.pipeline.tiles import tile_distances
from clustergrid.storage.errors import DataValueError
from clustergrid.storage.grid import BLOCK_FEATURES, TriangleGrid
from clustergrid.storage.source import ArraySource
from tests.pipeline.hierarchy.kinds import KINDS, UNTIED, clades


def first_coordinates(one, other):
    """A metric of the user's own."""
    return abs(one[0] - other[0]) + 0.25 * abs(one[-1] - other[-1])


def distances_of(values, metric="euclidean", *, dtype=None, features_at_once=BLOCK_FEATURES):
    executor, progress = SerialExecutor(), Progress()
    source = ArraySource(values)
    return distance_input(
        source,
        matrix_statistics(source, executor, progress),
        Normalization(),
        metric,
        dtype=np.dtype(dtype or (values.dtype if values.dtype == np.float32 else np.float64)),
        features_at_once=features_at_once,
        executor=executor,
        progress=progress,
        name="distance",
    )


def tree_of(values, metric="euclidean", *, edge=8, executor=None, progress=None, **options):
    """The tree by tiles; each call makes its own operands, which belong to a grid."""
    own = {name: options.pop(name) for name in ("dtype", "features_at_once") if name in options}
    return spanning_tree(
        distances_of(values, metric, **own),
        TriangleGrid(n=len(values), tile_edge=edge),
        executor=executor or SerialExecutor(),
        progress=progress or Progress(),
        name="linkage",
        **options,
    )


def assert_same(one, other):
    for field in ("lower", "higher", "weight"):
        np.testing.assert_array_equal(getattr(one, field), getattr(other, field))
    assert one.weight.dtype == other.weight.dtype


def kruskal(square):
    """The first edges of all, in order, that join two components."""
    n = len(square)
    lower, higher = np.triu_indices(n, 1)
    weight = square[lower, higher]
    component, chosen = np.arange(n), []
    for e in np.lexsort((higher, lower, weight)):
        one, other = component[lower[e]], component[higher[e]]
        if one != other:
            component[component == other] = one
            chosen.append(e)
    return Edges(lower=lower[chosen], higher=higher[chosen], weight=weight[chosen])


def matrix(n, k, dtype=np.float64, seed=0):
    return np.random.default_rng(seed).normal(size=(n, k)).astype(dtype)


@pytest.mark.parametrize("n", [2, 3, 90, 700])
@pytest.mark.parametrize("kind", KINDS)
def test_tree_is_scipys(small_blocks, kind, n):
    values = KINDS[kind](np.random.default_rng(n), n)
    n = len(values)
    Z = linkage_matrix(tree_of(values, edge=64).merges(), n)
    expected = linkage(pdist(values), "single")
    assert is_valid_linkage(Z)
    np.testing.assert_allclose(
        Z[:, 2], expected[:, 2], rtol=1e-10, atol=1e-14 * np.abs(values).max()
    )
    if kind in UNTIED:
        np.testing.assert_array_equal(clades(Z), clades(expected))


FAMILIES = {
    "scipy": ("euclidean", "scipy", matrix),
    "product": ("euclidean", "product", matrix),
    "unit rows": ("correlation", "product", matrix),
    "direct": ("cityblock", "direct", matrix),
    "counts": ("jaccard", "counts", lambda n, k, dtype, seed: matrix(n, k, dtype, seed) > 0),
    "missing": (
        "nan_euclidean",
        "missing",
        lambda n, k, dtype, seed: np.where(
            np.random.default_rng(seed).random((n, k)) < 0.2, np.nan, matrix(n, k, dtype, seed)
        ).astype(dtype),
    ),
    "function": (first_coordinates, "function", matrix),
}


@pytest.mark.parametrize("family", FAMILIES)
@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    n=st.integers(1, 70),
    k=st.integers(9, 20),
    blocks=st.integers(1, 5),
    dtype=st.sampled_from([np.float32, np.float64]),
    threads=st.integers(0, 3),
)
def test_any_tiles_give_the_same_bits(
    use_engine, small_blocks, family, n, k, blocks, dtype, threads
):
    metric, engine, make = FAMILIES[family]
    use_engine(engine)
    values = make(n, k, dtype, n * k)
    executor = ThreadsExecutor(threads) if threads else SerialExecutor()
    found = tree_of(values, metric, edge=8 * blocks, executor=executor, features_at_once=16)
    everything = slice(0, n)
    square = tile_distances(distances_of(values, metric), everything, everything)
    assert_same(found, kruskal(square))


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data(), n=st.integers(2, 60), blocks=st.integers(1, 4))
def test_ties_go_to_the_lowest_rows(small_blocks, data, n, blocks):
    largest = data.draw(st.integers(0, 3))
    values = np.random.default_rng(n).integers(0, largest + 1, (n, 2)).astype(float)
    square = tile_distances(distances_of(values), slice(0, n), slice(0, n))
    assert_same(tree_of(values, edge=8 * blocks), kruskal(square))


def test_all_distances_equal(small_blocks):
    tree = tree_of(np.eye(100), "cityblock", edge=16)
    np.testing.assert_array_equal(tree.lower, np.zeros(99))
    np.testing.assert_array_equal(tree.higher, np.arange(1, 100))


def test_float32_distances_stay_so_and_are_compared_as_such(small_blocks):
    values = matrix(200, 10, np.float32)
    tree = tree_of(values, edge=32)
    assert tree.weight.dtype == np.float32
    square = tile_distances(distances_of(values), slice(0, 200), slice(0, 200))
    assert_same(tree, kruskal(square))
    assert tree.merges().height.dtype == np.float64


@pytest.mark.parametrize("kind", ["normal", "hub", "integers"])
def test_every_executor_gives_the_same_bits(small_blocks, client, kind):
    values = KINDS[kind](np.random.default_rng(2), 300)
    expected = tree_of(values, edge=64)
    for executor in (ThreadsExecutor(2), ThreadsExecutor(5), DaskExecutor(client)):
        assert_same(tree_of(values, edge=64, executor=executor), expected)


@pytest.mark.slow
def test_worker_processes_give_the_same_bits(worker_process):
    values = matrix(1400, 12)
    expected = tree_of(values, edge=1400)
    assert_same(tree_of(values, edge=512, executor=DaskExecutor(worker_process)), expected)


def test_order_of_rows_does_not_matter(small_blocks):
    values = matrix(300, 8)
    shuffle = np.random.default_rng(1).permutation(300)
    heights = tree_of(values, edge=64).weight
    np.testing.assert_allclose(tree_of(values[shuffle], edge=64).weight, heights, rtol=1e-12)


CLUSTERED = np.tile([0.0, 40.0, 90.0], 300)[:, None]


@pytest.mark.parametrize("offsets", [0.0, CLUSTERED])
def test_few_edges_of_a_tile_pass(small_blocks, monkeypatch, offsets):
    collected = []
    real = _forest._collect

    def spy(tile, *rest):
        done, count = real(tile, *rest)
        collected.append((count, tile.size))
        return done, count

    monkeypatch.setattr(_forest, "_collect", spy)
    tree_of(matrix(900, 10) + offsets, edge=64)
    edges, pairs = np.sum(collected, axis=0)
    assert pairs > 300_000
    assert edges < pairs / 40


def test_memory_of_a_tile_is_used_again(small_blocks):
    task = driver._TreeOfTile(distances_of(matrix(64, 4)), TriangleGrid(n=64, tile_edge=16))
    for i in range(4):
        task(driver._Work(tile=(i, i)))
    assert len(task._rooms) == 1
    assert not pickle.loads(pickle.dumps(task))._rooms


@pytest.fixture
def computed(monkeypatch):
    """The tiles that are computed, by the rows and columns that they begin with."""
    tiles = []

    def spy(given_input, rows, columns, out):
        tiles.append((rows.start, columns.start))
        return tile_distances(given_input, rows, columns, out)

    monkeypatch.setattr(driver, "tile_distances", spy)
    return tiles


def test_a_tree_is_resumed_where_it_stood(small_blocks, computed):
    values, checkpoints = matrix(400, 6), []
    expected = tree_of(values, edge=16, on_checkpoint=checkpoints.append)
    assert len(computed) == len(set(computed)) == TriangleGrid(n=400, tile_edge=16).n_tiles
    assert len(checkpoints) > 2
    for checkpoint in checkpoints:
        computed.clear()
        events = []
        progress = Progress(events.append)
        resumed = pickle.loads(pickle.dumps(checkpoint))
        again = tree_of(values, edge=16, resumed=resumed, progress=progress)
        assert_same(again, expected)
        assert len(computed) == 325 - len(checkpoint.finished)
        assert events[0].kept == len(checkpoint.finished)
        assert events[-1].done == 325


def test_what_is_not_of_this_grid_is_not_resumed(small_blocks):
    checkpoints = []
    tree_of(matrix(200, 6), edge=16, on_checkpoint=checkpoints.append)
    with pytest.raises(DataValueError, match=r"a tree of 200 observations is resumed on 190"):
        tree_of(matrix(190, 6), edge=16, resumed=checkpoints[-1])
    with pytest.raises(DataValueError, match="in 3 tiles"):
        tree_of(matrix(200, 6), edge=104, resumed=checkpoints[-1])


def test_pair_without_a_distance_is_named(small_blocks):
    def undefined(one, other):
        return np.nan if {one[0], other[0]} == {3.0, 70.0} else abs(one[0] - other[0])

    with pytest.raises(UndefinedPairError) as error:
        tree_of(np.arange(90.0)[:, None], undefined, edge=16)
    assert error.value.rows == (3, 70)


def test_interrupt_ends_the_tree(small_blocks, computed):
    def interrupt(event):
        if event.done >= 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tree_of(matrix(200, 4), edge=8, progress=Progress(interrupt, interval_seconds=0))
    assert len(computed) == 20
