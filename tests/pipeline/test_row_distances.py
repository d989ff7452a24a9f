"""Distances between any observations are those of the tiles, whatever the metric and the matrix."""

import numpy as np
import pytest
import scipy.sparse
import xarray as xr

from clustergrid.pipeline import operands
from clustergrid.pipeline.execution import SerialExecutor
from clustergrid.pipeline.keywords import MetricKeywords
from clustergrid.pipeline.monitor import Progress
from clustergrid.pipeline.normalize import Normalization, matrix_statistics
from clustergrid.pipeline.operands import distance_input
from clustergrid.pipeline.ordering import order_leaves
from clustergrid.pipeline.planning import Resources
from clustergrid.pipeline.row_distances import RowDistances
from clustergrid.pipeline.stages import Stages
from clustergrid.pipeline.tiles import tile_distances
from clustergrid.storage.arrays import create_array, write_block
from clustergrid.storage.source import ArraySource, ZarrSource
from clustergrid.storage.sparse import SparseArraySource

pytestmark = pytest.mark.quick_cases(one_in=8)

N = 700


def values_for(metric, dtype=np.float64):
    rng = np.random.default_rng(0)
    values = rng.gamma(2.0, size=(N, 9)) + 0.1
    values[5] = values[300]
    if metric in ("jaccard", "dice"):
        return values > 1.5
    if metric.startswith("nan_"):
        values[:, 1:][rng.random((N, 8)) < 0.05] = np.nan
    return values.astype(dtype)


def input_of(source, metric, *, dtype=np.float64, keywords=None, normalize=None):
    executor, progress = SerialExecutor(), Progress()
    statistics = matrix_statistics(source, executor, progress)
    normalization = Normalization()
    if normalize is not None:
        normalization = Normalization.z_score(statistics, normalize)
    return distance_input(
        source,
        statistics,
        normalization,
        metric,
        keywords,
        dtype=np.dtype(dtype),
        features_at_once=2048,
        executor=executor,
        progress=progress,
        name="distance",
    )


def check(given, rtol):
    rng = np.random.default_rng(1)
    whole = np.empty((N, N), given.dtype)
    tile_distances(given, slice(0, N), slice(0, N), whole)
    ask = RowDistances(given)
    for n_rows, n_columns in ((1, 1), (3, 600), (513, 20), (600, 650)):
        i, j = rng.integers(0, N, n_rows), rng.integers(0, N, n_columns)
        i[0], j[0] = 5, 300  # which are identical
        expected = whole[np.ix_(i, j)]
        found = ask(i, j)
        assert found.dtype == whole.dtype
        differ = i[:, None] != j
        np.testing.assert_allclose(found[differ], expected[differ], rtol=rtol)
        np.testing.assert_array_equal(found, RowDistances(given, threads=3)(i, j))


@pytest.mark.parametrize("engine", ["scipy", None])
@pytest.mark.parametrize(
    "metric",
    [
        *("euclidean", "sqeuclidean", "seuclidean", "mahalanobis", "cosine", "correlation"),
        *("cityblock", "chebyshev", "jensenshannon", "spearman", "jaccard", "dice"),
        *("nan_euclidean", "nan_correlation"),
    ],
)
def test_every_engine(metric, engine, use_engine):
    from clustergrid.pipeline.metrics import get_metric

    found = get_metric(metric)
    if engine is None:
        # What a matrix of many rows is compared with.
        use_engine(
            "missing"
            if found.missing
            else "counts"
            if found.is_boolean
            else "direct"
            if found.loop is not None
            else "product"
        )
    elif found.missing:
        pytest.skip("SciPy has no such metric")
    else:
        use_engine("scipy")
    values = values_for(metric)
    if found.ranks:
        values = np.argsort(np.argsort(values, axis=1), axis=1) + 1.0
    check(input_of(ArraySource(values), metric), 1e-9)


@pytest.mark.parametrize("normalize", [0, 1])
@pytest.mark.parametrize("engine", ["scipy", "product"])
def test_normalized_rows_and_columns(normalize, engine, use_engine):
    use_engine(engine)
    check(input_of(ArraySource(values_for("euclidean")), "euclidean", normalize=normalize), 1e-9)


def test_single_precision_and_weights(use_engine):
    use_engine("product")
    values = values_for("euclidean", np.float32)
    keywords = MetricKeywords(w=np.linspace(0.5, 2.0, 9))
    check(input_of(ArraySource(values), "euclidean", dtype=np.float32, keywords=keywords), 2e-6)


def test_a_matrix_at_rest_is_read_once(tmp_path, monkeypatch):
    values = values_for("euclidean")
    array = create_array(tmp_path, "x", shape=values.shape, dtype="float64", chunks=(128, 5))
    write_block(array, (0, 0), values)
    source = ZarrSource(str(tmp_path), "x")
    given = input_of(source, "euclidean")
    read = []
    real = ZarrSource.read

    def spy(self, rows, columns):
        read.append(rows)
        return real(self, rows, columns)

    ask = RowDistances(given)
    monkeypatch.setattr(ZarrSource, "read", spy)
    found = ask(np.arange(10), np.arange(20, 300))
    n_reads = len(read)
    np.testing.assert_array_equal(ask(np.arange(10), np.arange(20, 300)), found)
    assert len(read) == n_reads > 0
    in_memory = RowDistances(input_of(ArraySource(values), "euclidean"))
    np.testing.assert_array_equal(in_memory(np.arange(10), np.arange(20, 300)), found)


def test_of_those_that_are_kept():
    values = values_for("euclidean")
    kept = np.flatnonzero(np.arange(N) % 3 > 0)
    given = input_of(ArraySource(values), "cityblock")
    i, j = np.array([0, 7]), np.array([100, 3, 50])
    np.testing.assert_array_equal(
        RowDistances(given, kept)(i, j), RowDistances(given)(kept[i], kept[j])
    )


@pytest.mark.parametrize("normalize", [None, 0, 1])
@pytest.mark.parametrize("metric", ["euclidean", "cosine", "correlation", "jaccard"])
def test_sparse_rows(monkeypatch, metric, normalize):
    if metric == "jaccard" and normalize is not None:
        pytest.skip("counts are of stored values that are not normalized")
    monkeypatch.setattr(operands, "SMALL_OPERATIONS", 0)
    rng = np.random.default_rng(0)
    matrix = scipy.sparse.random_array((N, 400), density=0.02, format="csr", rng=rng)
    matrix = scipy.sparse.lil_array(matrix)
    matrix[:, 7] = rng.random(N) + 0.1  # no row is zero, and none is constant
    matrix[5] = matrix[300]
    given = input_of(SparseArraySource(matrix.tocsr()), metric, normalize=normalize)
    assert given.engine == "sparse"
    check(given, 1e-9)


@pytest.mark.parametrize("metric", ["euclidean", "correlation"])
def test_leaves_are_ordered_as_by_stored_distances(metric):
    values = values_for(metric)
    stages = Stages(
        xr.DataArray(values, dims=("row", "column")),
        executor=SerialExecutor(),
        resources=Resources(memory_bytes=10**9, threads=1),
    )
    plain = stages.linkage(0, method="average", metric=metric)
    expected = stages.linkage(0, method="average", metric=metric, optimal_ordering=True)
    asked = RowDistances(input_of(ArraySource(values), metric))
    found = order_leaves(plain, asked, progress=Progress(), name="ordering")
    np.testing.assert_array_equal(found, expected)
