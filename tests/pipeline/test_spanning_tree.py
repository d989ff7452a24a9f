"""Single linkage from tiles, against SciPy and against Kruskal on all pairs."""

import pickle
from itertools import count
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist

from clustergrid.pipeline import spanning_tree as driver
from clustergrid.pipeline.engines.base import UndefinedPairError
from clustergrid.pipeline.execution import DaskExecutor, SerialExecutor, ThreadsExecutor
from clustergrid.pipeline.hierarchy import _forest, linkage_matrix
from clustergrid.pipeline.hierarchy._edges import Edges, spanning_forest
from clustergrid.pipeline.monitor import Progress
from clustergrid.pipeline.normalize import Normalization, matrix_statistics
from clustergrid.pipeline.operands import distance_input
from clustergrid.pipeline.spanning_tree import Checkpoint, spanning_tree
from clustergrid.pipeline.tiles import tile_distances
from clustergrid.storage.errors import DataValueError
from clustergrid.storage.grid import BLOCK_FEATURES, TriangleGrid
from clustergrid.storage.source import ArraySource
from tests.budget import examples
from tests.pipeline.hierarchy.kinds import KINDS, UNTIED, assert_scipys

pytestmark = pytest.mark.quick_cases(one_in=8)


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
    assert_scipys(Z, pdist(values), "single", untied=kind in UNTIED, same_distances=False)


def with_gaps(n, k, dtype, seed):
    """All rows have the first feature: any two have one in common."""
    values = matrix(n, k, dtype, seed)
    values[:, 1:][np.random.default_rng(seed).random((n, k - 1)) < 0.2] = np.nan
    return values


FAMILIES = {
    "scipy": ("euclidean", "scipy", matrix),
    "product": ("euclidean", "product", matrix),
    "unit rows": ("correlation", "product", matrix),
    "direct": ("cityblock", "direct", matrix),
    "counts": ("jaccard", "counts", lambda n, k, dtype, seed: matrix(n, k, dtype, seed) > 0),
    "missing": ("nan_euclidean", "missing", with_gaps),
    "function": (first_coordinates, "function", matrix),
}


@pytest.mark.parametrize("family", FAMILIES)
@settings(
    max_examples=examples(10),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    n=st.integers(1, 70),
    k=st.integers(9, 20),
    blocks=st.integers(1, 5),
    dtype=st.sampled_from([np.float32, np.float64]),
    threads=st.integers(0, 3),
)
@example(n=11, k=17, blocks=1, dtype=np.float64, threads=0)  # of features, one is over
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
    max_examples=examples(40),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
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


@pytest.fixture
def checkpoints(monkeypatch):
    """Every tile gives one."""
    monkeypatch.setattr(driver, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(driver, "CHECKPOINT_SHARE", 0)
    return []


def seen(grid, checkpoint):
    """The pairs of the tiles that are finished."""
    pairs = np.zeros((grid.n, grid.n), bool)
    for position in checkpoint.finished:
        i, j = checkpoint.grid.tile(position)
        pairs[checkpoint.grid.rows(i), checkpoint.grid.rows(j)] = True
    return pairs


@pytest.mark.parametrize("kind", ["normal", "integers"])
def test_a_tree_is_resumed_where_it_stood(small_blocks, computed, checkpoints, kind):
    values = KINDS[kind](np.random.default_rng(0), 200)
    grid = TriangleGrid(n=200, tile_edge=16)
    expected = tree_of(values, edge=16, on_checkpoint=checkpoints.append)
    assert len(computed) == len(set(computed)) == len(checkpoints) == grid.n_tiles == 91
    # On the diagonal, in the first strip, and in the rest.
    for checkpoint in checkpoints[::7]:
        computed.clear()
        events = []
        resumed = Checkpoint.from_arrays(checkpoint.to_arrays())
        assert resumed.finished == checkpoint.finished
        again = tree_of(values, edge=16, resumed=resumed, progress=Progress(events.append))
        assert_same(again, expected)
        assert len(computed) == 91 - len(checkpoint.finished)
        assert events[0].kept == len(checkpoint.finished)
        assert events[-1].done == 91


def test_a_checkpoint_has_the_forest_of_what_was_seen(small_blocks, checkpoints):
    values = np.random.default_rng(1).integers(0, 5, (120, 2)).astype(float)
    tree_of(values, edge=16, on_checkpoint=checkpoints.append)
    grid = TriangleGrid(n=120, tile_edge=16)
    square = tile_distances(distances_of(values), slice(0, 120), slice(0, 120))
    for checkpoint in checkpoints[::3]:
        pairs = np.argwhere(np.triu(seen(grid, checkpoint), 1))
        edges = Edges(lower=pairs[:, 0], higher=pairs[:, 1], weight=square[tuple(pairs.T)])
        assert_same(checkpoint.forest, spanning_forest(edges, 120))


@pytest.mark.parametrize(("before", "after"), [(8, 32), (32, 8), (24, 40), (16, 200)])
def test_a_tree_is_resumed_in_other_tiles(small_blocks, computed, checkpoints, before, after):
    values = matrix(200, 6)
    expected = tree_of(values, edge=before, on_checkpoint=checkpoints.append)
    old, new = (TriangleGrid(n=200, tile_edge=edge) for edge in (before, after))
    for checkpoint in checkpoints[:: max(1, len(checkpoints) // 7)]:
        computed.clear()
        assert_same(tree_of(values, edge=after, resumed=checkpoint), expected)
        # A tile is left out if it was seen as a whole.
        pairs = seen(old, checkpoint)
        pairs |= pairs.T
        places = [new.tile(p) for p in range(new.n_tiles)]
        wanted = [(i, j) for i, j in places if not pairs[new.rows(i), new.rows(j)].all()]
        assert sorted(computed) == [(new.rows(i).start, new.rows(j).start) for i, j in wanted]


def test_checkpoints_are_taken_from_time_to_time(small_blocks, monkeypatch):
    seconds = count()
    monkeypatch.setattr(driver, "time", SimpleNamespace(monotonic=lambda: next(seconds)))
    taken = []
    tree_of(matrix(200, 6), edge=16, on_checkpoint=taken.append)
    # 91 tiles, a second each; a checkpoint takes one too, and the next waits 20.
    assert [len(checkpoint.finished) for checkpoint in taken] == [10, 30, 50, 70, 90]


def test_what_is_not_of_this_grid_is_not_resumed(small_blocks, checkpoints):
    tree_of(matrix(200, 6), edge=16, on_checkpoint=checkpoints.append)
    with pytest.raises(DataValueError, match=r"a tree of 200 observations is resumed on 190"):
        tree_of(matrix(190, 6), edge=16, resumed=checkpoints[-1])
    arrays = checkpoints[-1].to_arrays()
    for name, wrong in (("higher", 200), ("lower", -1), ("finished", 91), ("finished", -1)):
        broken = {**arrays, name: np.append(arrays[name][1:], wrong)}
        with pytest.raises(DataValueError, match="not of 200 observations in 91 tiles"):
            Checkpoint.from_arrays(broken)
    many = {
        name: np.append(arrays[name], arrays[name][:1]) for name in ("lower", "higher", "weight")
    }
    with pytest.raises(DataValueError, match="a forest of 200 edges"):
        Checkpoint.from_arrays({**arrays, **many})


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
