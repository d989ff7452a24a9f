"""Distances against SciPy, and the same bits however the work is cut and wherever it runs."""

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist, squareform

from clustergrid.pipeline.distance import (
    compute_distances,
    fill_square,
    read_square,
    write_distances,
)
from clustergrid.pipeline.engines import _differences
from clustergrid.pipeline.engines.base import UndefinedRowsError
from clustergrid.pipeline.execution import DaskExecutor, SerialExecutor, ThreadsExecutor
from clustergrid.pipeline.metrics import engine_for, get_metric
from clustergrid.pipeline.monitor import Progress
from clustergrid.pipeline.normalize import Normalization, matrix_statistics
from clustergrid.pipeline.operands import distance_input
from clustergrid.pipeline.ranking import ranked
from clustergrid.storage.condensed import create_condensed, open_condensed
from clustergrid.storage.errors import IntegrityError
from clustergrid.storage.grid import BLOCK_FEATURES, BLOCK_ROWS, TriangleGrid
from clustergrid.storage.source import ArraySource
from tests.budget import examples

pytestmark = pytest.mark.quick_cases(one_in=4)

ENGINES = ("scipy", "product")
# Metrics of any real numbers. The others have tests of their own below.
PRODUCTS = ("euclidean", "sqeuclidean", "cosine", "correlation")
LOOPS = ("cityblock", "chebyshev", "canberra", "braycurtis")
CASES = [
    (metric, engine)
    for metrics, compiled in ((PRODUCTS, "product"), (LOOPS, "direct"))
    for metric in metrics
    for engine in ("scipy", compiled)
]


def distances(
    values,
    metric,
    *,
    executor=None,
    tile_edge=BLOCK_ROWS,
    features_at_once=BLOCK_FEATURES,
    dtype=None,
    normalize=None,
    axis=0,
    keywords=None,
):
    """Square matrix of distances between the rows (or the columns) of a matrix in memory."""
    executor, progress = executor or SerialExecutor(), Progress()
    source = ArraySource(values)
    statistics = matrix_statistics(source, executor, progress)
    normalization = Normalization() if normalize is None else normalize(statistics)
    if axis == 1:
        source, statistics = source.transpose(), statistics.transpose()
        normalization = normalization.transpose()
    if metric == "spearman":
        source = ranked(
            source, normalization, store=None, path="r", executor=executor, progress=progress
        )
        normalization = Normalization()
    if dtype is None:
        dtype = values.dtype if values.dtype == np.float32 else np.float64
    given_input = distance_input(
        source,
        statistics,
        normalization,
        metric,
        keywords,
        dtype=np.dtype(dtype),
        features_at_once=features_at_once,
        executor=executor,
        progress=progress,
        name="distance",
    )
    n = source.shape[0]
    square = np.full((n, n), np.nan, dtype=dtype)

    def take(rows, columns, tile):
        # Every pair comes once, and a diagonal tile comes whole.
        assert np.isnan(square[rows, columns]).all()
        square[rows, columns] = tile

    grid = TriangleGrid(n=n, tile_edge=min(tile_edge, n))
    compute_distances(given_input, grid, take, executor=executor, progress=progress, name="d")
    missing = np.isnan(square)
    square[missing] = square.T[missing]
    return square


def matrix(n, k, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, k)) + rng.normal(size=k)).astype(dtype)


def near_duplicates(n, k, dtype=np.float64):
    """Pairs of rows closer than a thousandth of the typical distance, and some equal ones."""
    values = matrix(n, k, np.float64)
    half = n // 2
    noise = np.random.default_rng(1).normal(size=(half, k))
    values[half : 2 * half] = values[:half] + 1e-5 * noise
    values[half] = values[0]
    return values.astype(dtype)


KINDS = {
    "normal": matrix,
    "offset": lambda n, k: matrix(n, k) + 1e6,
    "near duplicates": near_duplicates,
    "huge": lambda n, k: matrix(n, k) * 1e150,
    "tiny": lambda n, k: matrix(n, k) * 1e-150,
    "one constant column": lambda n, k: np.where(np.arange(k) == 1, 7.0, matrix(n, k)),
    "mixed scales": lambda n, k: matrix(n, k) * 10.0 ** np.linspace(-6, 6, k),
    "counts": lambda n, k: np.random.default_rng(2).poisson(1.0, (n, k)) + np.eye(n, k),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("metric", "engine"), CASES)
def test_float64_is_scipys(use_engine, metric, engine, kind):
    use_engine(engine)
    values = KINDS[kind](90, 37)
    found = distances(values, metric)
    expected = squareform(pdist(values, metric))
    one_minus = metric in ("cosine", "correlation")
    rtol = 1e-10 if engine == "product" else 1e-12
    atol = 1e-15 if one_minus else 0
    if metric == "correlation" and kind == "offset":
        atol = 1e-10  # SciPy's own means are rounded to 1e-10 of the deviations
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=atol)
    np.testing.assert_array_equal(found, found.T)
    assert (np.diag(found) == 0).all()


@pytest.mark.parametrize(("metric", "engine"), CASES)
def test_float32_is_scipys_float64(use_engine, metric, engine):
    use_engine(engine)
    values = near_duplicates(120, 300, np.float32)
    found = distances(values, metric)
    assert found.dtype == np.float32
    expected = squareform(pdist(values.astype(np.float64), metric))
    scale = np.median(expected)
    np.testing.assert_array_less(
        np.abs(found - expected), 2e-6 * np.maximum(expected, scale) + 1e-300
    )
    near = (expected < 1e-3 * scale) & (expected > 1e-13)
    if metric not in ("cosine", "correlation"):
        assert near.sum() >= 100
    np.testing.assert_allclose(found[near], expected[near], rtol=1e-4)
    assert found[0, 60] == 0


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("scale", [1e-15, 1e-25, 1e15, 1e25])
def test_float32_far_from_one(use_engine, engine, scale):
    use_engine(engine)
    values = (matrix(40, 30) * scale).astype(np.float32)
    found = distances(values, "euclidean")
    expected = squareform(pdist(values.astype(np.float64)))
    np.testing.assert_allclose(found, expected, rtol=2e-6)


@pytest.mark.parametrize(("metric", "engine"), CASES)
def test_subnormal_values(use_engine, metric, engine):
    use_engine(engine)
    values = matrix(12, 6) * 1e-310
    if metric in ("cosine", "correlation"):
        # The squares of every row underflow: SciPy gives nan.
        with pytest.raises(UndefinedRowsError, match="12 of the rows"):
            distances(values, metric)
        return
    found = distances(values, metric)
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(found, squareform(pdist(values, metric)))


@pytest.mark.parametrize("dtype", ["int8", "uint16", "int64", "bool", "float16"])
@pytest.mark.parametrize(("metric", "engine"), CASES)
def test_integers_and_bools_are_float64(use_engine, metric, engine, dtype):
    use_engine(engine)
    values = (np.random.default_rng(3).integers(0, 2, (30, 25)) * 100).astype(dtype)
    values[:, 0] = np.arange(30) % 2
    values[:, 1] = 1 - values[:, 0]
    expected = squareform(pdist(values.astype(np.float64), metric))
    np.testing.assert_allclose(distances(values, metric), expected, rtol=1e-10, atol=1e-15)


def test_unsigned_differences_do_not_wrap():
    values = np.array([[0, 255], [255, 0]], np.uint8)
    assert distances(values, "cityblock")[0, 1] == 510


@pytest.mark.parametrize(("metric", "engine"), CASES)
def test_identical_rows_are_at_exactly_0(use_engine, small_blocks, metric, engine):
    use_engine(engine)
    for dtype in (np.float32, np.float64):
        distinct = matrix(11, 70, dtype) + dtype(1000)
        of = np.random.default_rng(4).integers(0, 11, 60)
        found = distances(distinct[of], metric, tile_edge=16, features_at_once=32)
        same = of[:, None] == of
        assert (found[same] == 0).all()
        assert (found[~same] > 0).all()


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("name", ["z_score", "standard_scale"])
@pytest.mark.parametrize(("metric", "engine"), CASES)
def test_normalizing_inside_is_normalizing_first(use_engine, metric, engine, name, axis):
    use_engine(engine)
    values = matrix(70, 40) * np.arange(1, 41) + 50

    def normalize(statistics):
        return getattr(Normalization, name)(statistics, axis)

    first = normalize(matrix_statistics(ArraySource(values), SerialExecutor(), Progress()))
    normalized = first.apply(values, slice(None), slice(None))
    for tree_axis in (0, 1):
        found = distances(values, metric, normalize=normalize, axis=tree_axis)
        expected = squareform(pdist(normalized.T if tree_axis else normalized, metric))
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=2e-15)
    if engine == "direct":
        np.testing.assert_array_equal(found, distances(normalized, metric, axis=1))


@pytest.mark.parametrize(("metric", "engine"), CASES)
def test_columns_are_the_rows_of_the_transposed(use_engine, metric, engine):
    use_engine(engine)
    values = matrix(50, 65)
    found = distances(values, metric, axis=1)
    expected = squareform(pdist(values.T, metric))
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-15)
    # A copy in another memory order is the same matrix.
    np.testing.assert_array_equal(distances(np.asfortranarray(values), metric, axis=1), found)


@pytest.mark.parametrize(("metric", "engine"), CASES)
@settings(
    max_examples=examples(12),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data(), n=st.integers(2, 45), k=st.integers(2, 70))
@example(data=None, n=17, k=33)
@example(data=None, n=9, k=17)
def test_cutting_changes_no_bit(use_engine, small_blocks, metric, engine, data, n, k):
    use_engine(engine)
    edge = 16 if data is None else 8 * data.draw(st.integers(1, 6))
    features = 16 if data is None else 16 * data.draw(st.integers(1, 5))
    dtype = np.float32 if n % 2 else np.float64
    values = matrix(n, k, dtype, seed=n * k)
    values[n // 2] = values[0] * dtype(1 + 1e-4)
    whole = distances(values, metric, tile_edge=10**6, features_at_once=16 * 10**5)
    cut = distances(values, metric, tile_edge=edge, features_at_once=features)
    np.testing.assert_array_equal(cut, whole)
    np.testing.assert_array_equal(cut, cut.T)
    expected = squareform(pdist(values.astype(np.float64), metric))
    scale = max(np.median(expected), 1e-3)
    tolerance = 2e-6 if dtype == np.float32 else 1e-10
    assert (np.abs(cut - expected) <= tolerance * np.maximum(expected, scale)).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("metric", "engine"),
    [case for case in CASES if case[1] != "direct"] + [("cityblock", "direct")],
)
def test_whole_blocks_change_no_bit(use_engine, metric, engine, dtype):
    use_engine(engine)
    # Two whole blocks beside each other show no more of the metrics that share a kernel.
    blocks = 2 if metric in ("euclidean", "correlation", "cityblock") else 1
    n, k = blocks * BLOCK_ROWS + 77, BLOCK_FEATURES + (50 if engine == "product" else -1500)
    values = near_duplicates(n, k, dtype)
    whole = distances(values, metric, tile_edge=3 * BLOCK_ROWS, features_at_once=2 * BLOCK_FEATURES)
    for edge in range(1, blocks + 1):
        cut = distances(values, metric, tile_edge=edge * BLOCK_ROWS)
        np.testing.assert_array_equal(cut, whole)


def test_offset_and_near_duplicates_keep_their_digits_in_differences(use_engine):
    use_engine("product")
    for dtype, rtol in ((np.float64, 1e-10), (np.float32, 1e-4)):
        values = near_duplicates(200, 400, dtype)
        if dtype == np.float64:
            values += 1e6
        found = distances(values, "euclidean")
        expected = squareform(pdist(values.astype(np.float64)))
        np.testing.assert_allclose(found, expected, rtol=rtol)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_offset_is_removed_rather_than_recomputed(use_engine, monkeypatch, dtype):
    use_engine("product")
    recomputed = []
    original = _differences.squared_differences

    def recompute(left, right, pairs, weights, sums):
        recomputed.append(len(pairs))
        original(left, right, pairs, weights, sums)

    monkeypatch.setattr(_differences, "squared_differences", recompute)
    values = np.random.default_rng(5).normal(size=(200, 50)).astype(dtype) + dtype(1000)
    values[7] = values[3]
    values[9] = values[4] + dtype(1e-3)
    distances(values, "euclidean")
    assert sum(recomputed) == 2


def test_without_recomputing_near_duplicates_would_be_wrong(use_engine, monkeypatch):
    # The test above is able to fail.
    monkeypatch.setattr(_differences, "squared_differences", lambda *args: None)
    use_engine("product")
    values = near_duplicates(200, 400, np.float32)
    found = distances(values, "euclidean")
    expected = squareform(pdist(values.astype(np.float64)))
    near = (expected < 1e-3 * np.median(expected)) & (expected > 0)
    assert (found[near] == 0).all()


@pytest.mark.parametrize(("metric", "engine"), CASES)
def test_every_executor_gives_the_same_bits(use_engine, client, metric, engine):
    use_engine(engine)
    values = near_duplicates(BLOCK_ROWS + 90, 60, np.float32)
    expected = distances(values, metric)
    for executor in (ThreadsExecutor(2), ThreadsExecutor(5), DaskExecutor(client)):
        np.testing.assert_array_equal(distances(values, metric, executor=executor), expected)


def test_a_worker_process_gives_the_same_bits(worker_process, use_engine):
    values = near_duplicates(BLOCK_ROWS + 30, 40)
    for metric, engine in CASES:
        use_engine(engine)
        found = distances(values, metric, executor=DaskExecutor(worker_process))
        np.testing.assert_array_equal(found, distances(values, metric))


@pytest.mark.parametrize("kept", [None, "some"])
def test_tiles_at_rest_are_those_in_memory(use_engine, small_blocks, tmp_path, kept):
    use_engine("product")
    values = matrix(50, 20)
    square = distances(values, "euclidean", tile_edge=16)
    executor, progress = SerialExecutor(), Progress()
    source = ArraySource(values)
    given_input = distance_input(
        source,
        matrix_statistics(source, executor, progress),
        Normalization(),
        "euclidean",
        dtype=np.dtype(np.float64),
        features_at_once=16,
        executor=executor,
        progress=progress,
        name="distance",
    )
    store = str(tmp_path / "a.zarr")
    condensed = create_condensed(store, "d", n=50, tile_edge=16, dtype="float64")
    written = []

    def position_of(entry):
        _, _, stack, _, number, _, _ = entry.file.split("/")
        return condensed.grid.placed(stack, int(number))

    def write(finished, executor):
        written.clear()
        write_distances(
            given_input,
            condensed,
            store,
            "d",
            finished=finished,
            on_tile=lambda entry: written.append(position_of(entry)),
            executor=executor,
            progress=progress,
            name="distance",
        )

    # Tiles that are said to be finished, and are not there.
    with pytest.raises(IntegrityError, match="2 of 10 tiles"):
        write(frozenset({3, 7}), ThreadsExecutor(2))
    assert sorted(written) == [p for p in range(10) if p not in (3, 7)]
    i, j = condensed.grid.tile(7)
    with pytest.raises(IntegrityError, match=r"tile \(2, 2\) of .* is not there"):
        open_condensed(store, "d").tile(i, j)
    write(frozenset(range(10)) - {3, 7}, executor)
    assert sorted(written) == [3, 7]
    at_rest = open_condensed(store, "d")
    np.testing.assert_array_equal(at_rest.to_numpy(), squareform(square))
    indices = np.arange(50) if kept is None else np.array([0, 5, 6, 15, 16, 33, 47, 49])
    found = read_square(at_rest, indices, progress=progress, name="read")
    np.testing.assert_array_equal(found, square[np.ix_(indices, indices)])


@settings(max_examples=examples(60), deadline=None)
@given(data=st.data(), n=st.integers(1, 90), edge=st.integers(1, 40))
def test_fill_square_takes_the_kept_ones(data, n, edge):
    kept = np.flatnonzero(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    full = matrix(n, n)
    full = full + full.T
    square = np.full((len(kept), len(kept)), np.nan)
    grid = TriangleGrid(n=n, tile_edge=edge)
    for position in range(grid.n_tiles):
        rows, columns = (grid.rows(i) for i in grid.tile(position))
        fill_square(square, kept, rows, columns, full[rows, columns])
    np.testing.assert_array_equal(square, full[np.ix_(kept, kept)])


def test_size_alone_chooses_the_engine():
    euclidean, cityblock = get_metric("euclidean"), get_metric("cityblock")
    assert engine_for(euclidean, 20_000, 1_000) == "product"
    assert engine_for(cityblock, 20_000, 1_000) == "direct"
    assert engine_for(euclidean, 150, 4) == engine_for(cityblock, 150, 4) == "scipy"


@pytest.mark.parametrize(("metric", "engine"), CASES)
def test_rows_without_a_distance_are_named(use_engine, metric, engine):
    use_engine(engine)
    values = matrix(20, 9)
    values[[3, 11]] = 0 if metric == "cosine" else 0.1
    if metric not in ("cosine", "correlation"):
        assert distances(values, metric)[3, 11] == 0
        return
    with pytest.raises(
        UndefinedRowsError, match=r"2 of the rows are (all zero|constant)"
    ) as caught:
        distances(values, metric)
    np.testing.assert_array_equal(caught.value.rows, [3, 11])


@pytest.mark.parametrize("value", [0.1, 0.3, 5.123])
@pytest.mark.parametrize("k", [3_000, 20_000])
def test_constant_rows_have_no_correlation_however_long_they_are(value, k):
    values = np.random.default_rng(0).normal(size=(4, k))
    values[2] = value
    with pytest.raises(UndefinedRowsError) as caught:
        pdist_api(values, "correlation")
    assert caught.value.rows.tolist() == [2]


def pdist_api(values, metric, **kwargs):
    source, executor, progress = ArraySource(np.asarray(values)), SerialExecutor(), Progress()
    return distance_input(
        source,
        matrix_statistics(source, executor, progress),
        Normalization(),
        metric,
        dtype=np.dtype(np.float64),
        features_at_once=BLOCK_FEATURES,
        executor=executor,
        progress=progress,
        name="distance",
    )


def test_tiles_that_do_not_arrive_are_missed(tmp_path):
    values = np.random.default_rng(0).normal(size=(1_100, 4))
    given = pdist_api(values, "euclidean")
    condensed = create_condensed(tmp_path, "d", n=1_100, tile_edge=512, dtype="float64")

    def lose(entry):
        if entry.file.endswith("d/border/c/1/0/0"):
            (tmp_path.parent / entry.file).unlink()

    with pytest.raises(IntegrityError, match="1 of 6 tiles"):
        write_distances(
            given,
            condensed,
            str(tmp_path),
            "d",
            on_tile=lose,
            executor=SerialExecutor(),
            progress=Progress(),
            name="distance",
        )
