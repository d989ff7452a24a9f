"""Distances of sparse matrices, beside SciPy's of the same matrix made dense."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist, squareform

from clustergrid.pipeline.engines import sparse_products
from clustergrid.pipeline.engines.sparse import sparse_input, sparse_tile
from clustergrid.pipeline.execution import SerialExecutor, ThreadsExecutor
from clustergrid.pipeline.monitor import Progress
from clustergrid.pipeline.normalize import Normalization, matrix_statistics
from clustergrid.pipeline.sparseness import SPARSE_METRICS, SPARSE_PRODUCTS
from clustergrid.storage.grid import TriangleGrid
from clustergrid.storage.source import ArraySource
from clustergrid.storage.sparse import SparseArraySource
from tests.budget import examples

pytestmark = pytest.mark.quick_cases(one_in=4)

PRODUCTS = SPARSE_PRODUCTS
COUNTS = tuple(metric for metric in SPARSE_METRICS if metric not in PRODUCTS)
NORMALIZATIONS = ((None, None), (0, None), (1, None), (None, 0), (None, 1))


def normalization_of(dense, z_score, standard_scale):
    statistics = matrix_statistics(ArraySource(dense), SerialExecutor(), Progress())
    return Normalization.from_arguments(statistics, z_score, standard_scale)


def distances(
    matrix, metric, *, edge=512, dtype=np.float64, normalization=None, executor=None, source=None
):
    """The square of all distances, from tiles of an edge."""
    executor = executor or SerialExecutor()
    source = source or SparseArraySource(matrix)
    task = sparse_input(
        source,
        normalization or Normalization(),
        metric,
        dtype=np.dtype(dtype),
        executor=executor,
        progress=Progress(),
        name="distance-row",
    )
    n = source.shape[0]
    square = np.zeros((n, n), dtype)
    grid = TriangleGrid(n=n, tile_edge=edge)
    tiles = [(grid.rows(i), grid.rows(j)) for i, j in map(grid.tile, range(grid.n_tiles))]
    shared = executor.share(task)
    for rows, columns, tile in executor.map(_tile, shared, tiles, name="distance-tile"):
        square[rows, columns] = tile
    upper = np.triu(square, 1)
    return upper + upper.T


def _tile(task, place):
    rows, columns = place
    tile = np.zeros((rows.stop - rows.start, columns.stop - columns.start), task.dtype)
    sparse_tile(task, rows, columns, tile)
    return rows, columns, tile


def expected(dense, metric, normalization=None):
    """SciPy's, of the normalized dense matrix in float64."""
    values = np.asarray(dense, np.float64)
    if normalization is not None:
        values = normalization.apply(values, slice(0, len(values)), slice(0, values.shape[1]))
    if metric in COUNTS and metric != "hamming":
        values = values != 0
    with np.errstate(all="ignore"):
        return squareform(pdist(values, metric), checks=False)


def random_matrix(n, k, density, *, seed=0, dtype=np.float64):
    """Counts with a few large ones."""
    rng = np.random.default_rng(seed)
    matrix = scipy.sparse.random(n, k, density, format="csr", random_state=rng)
    matrix.data = np.ceil(matrix.data**3 * 20) * rng.choice([1.0, 0.5], matrix.nnz)
    return matrix.astype(dtype)


@pytest.mark.parametrize("panels", [False, True])
@pytest.mark.parametrize("metric", SPARSE_METRICS)
def test_agrees_with_scipy(metric, panels, monkeypatch):
    monkeypatch.setattr(sparse_products, "_prefers_panels", lambda *rows: panels)
    matrix = random_matrix(700, 1300, 0.05)
    found = distances(matrix, metric)
    np.testing.assert_allclose(found, expected(matrix.toarray(), metric), rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize(("z_score", "standard_scale"), NORMALIZATIONS)
@pytest.mark.parametrize("metric", PRODUCTS)
def test_agrees_with_scipy_when_normalized(metric, z_score, standard_scale):
    dense = random_matrix(300, 200, 0.2, seed=1).toarray()
    dense[0, :] = np.linspace(1.0, 3.0, 200)  # nowhere zero
    dense[5, :] = dense[4, :]
    matrix = scipy.sparse.csr_array(dense)
    normalization = normalization_of(dense, z_score, standard_scale)
    found = distances(matrix, metric, normalization=normalization)
    wanted = expected(dense, metric, normalization)
    np.testing.assert_allclose(found, wanted, rtol=1e-10, atol=1e-13)
    assert found[4, 5] == 0.0


@st.composite
def coordinates(draw):
    """Sparse matrices with empty rows and columns, stored zeros, entries in disorder and twice."""
    n, k = draw(st.integers(2, 40)), draw(st.integers(1, 30))
    dtype = draw(st.sampled_from([np.bool_, np.int16, np.int64, np.float32, np.float64]))
    n_entries = draw(st.integers(0, 4 * n))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    row, column = rng.integers(0, n, n_entries), rng.integers(0, k, n_entries)
    values = rng.integers(0, 5, n_entries).astype(dtype)
    # By hand: coo_matrix.tocsr would put the entries in order.
    order = np.argsort(row, kind="stable")
    pointers = np.searchsorted(row[order], np.arange(n + 1))
    matrix = scipy.sparse.csr_matrix((values[order], column[order], pointers), shape=(n, k))
    return draw(st.sampled_from([matrix, matrix.tocsc(), matrix.tocoo()]))


@given(coordinates(), st.sampled_from(SPARSE_METRICS), st.booleans())
@settings(max_examples=examples(200), deadline=None)
def test_any_matrix_agrees_with_scipy(matrix, metric, panels):
    before = matrix.copy()
    dense = matrix.toarray().astype(np.float64)
    chosen = sparse_products._prefers_panels
    sparse_products._prefers_panels = lambda *rows: panels
    try:
        with np.errstate(divide="ignore", invalid="ignore"):
            found = distances(matrix, metric)
    finally:
        sparse_products._prefers_panels = chosen
    wanted = expected(dense, metric)
    length = np.abs(dense).sum(axis=1)
    if metric == "cosine":
        wanted = wanted[np.ix_(length > 0, length > 0)]
        found = found[np.ix_(length > 0, length > 0)]
    if metric == "correlation":
        varies = dense.max(axis=1) > dense.min(axis=1)
        wanted, found = wanted[np.ix_(varies, varies)], found[np.ix_(varies, varies)]
    np.testing.assert_allclose(found, wanted, rtol=1e-10, atol=1e-14)
    assert (abs(before - matrix)).nnz == 0  # nothing was done in place
    assert np.array_equal(found, found.T, equal_nan=True)


@pytest.mark.parametrize("density", [0.02, 0.3])
@pytest.mark.parametrize("metric", SPARSE_METRICS)
def test_the_cut_into_tiles_cannot_be_seen(metric, density):
    matrix = random_matrix(1500, 90, density, seed=2, dtype=np.float32)
    matrix = scipy.sparse.vstack([matrix, matrix[:20]]).tocsr()
    matrix = matrix[np.diff(matrix.indptr) > 0]
    reference = distances(matrix, metric, edge=512)
    for edge in (1024, 1536):
        np.testing.assert_array_equal(distances(matrix, metric, edge=edge), reference)
    threads = distances(matrix, metric, edge=512, executor=ThreadsExecutor(2))
    np.testing.assert_array_equal(threads, reference)


@pytest.mark.parametrize("metric", PRODUCTS)
def test_ways_to_products_and_blocks_of_features_cannot_be_seen(metric, monkeypatch):
    matrix = random_matrix(600, 2500, 0.05, seed=3)
    found = []
    for panels, entries in ((False, 2**16), (False, 2**10), (True, 2**16)):
        monkeypatch.setattr(sparse_products, "_prefers_panels", lambda *rows, p=panels: p)
        monkeypatch.setattr(sparse_products, "_COLUMN_ENTRIES", entries)
        found.append(distances(matrix, metric))
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


@pytest.mark.parametrize(("z_score", "standard_scale"), NORMALIZATIONS)
@pytest.mark.parametrize("metric", PRODUCTS)
def test_near_duplicates_keep_their_digits(metric, z_score, standard_scale):
    rng = np.random.default_rng(4)
    dense = random_matrix(60, 400, 0.3, seed=4).toarray() + 0.0
    dense[1:30] = dense[0] * (1.0 + 1e-7 * rng.standard_normal((29, 400)))
    dense[30] = dense[0]
    matrix = scipy.sparse.csr_array(dense)
    normalization = normalization_of(dense, z_score, standard_scale)
    found = distances(matrix, metric, normalization=normalization)
    values = normalization.apply(dense, slice(0, 60), slice(0, 400)).astype(np.longdouble)
    if metric == "correlation":
        values = values - values.mean(axis=1, keepdims=True)
    if metric in ("cosine", "correlation"):
        values = values / np.sqrt(np.square(values).sum(axis=1, keepdims=True))
    wanted = np.square(values[:, None] - values[None]).sum(axis=2)
    wanted = {"euclidean": np.sqrt(wanted), "sqeuclidean": wanted}.get(metric, 0.5 * wanted)
    # The values themselves were rounded when they were normalized.
    np.testing.assert_allclose(found, wanted.astype(np.float64), rtol=2e-7)
    assert found[0, 30] == 0.0


def test_float32_distances_are_rounded_once():
    matrix = random_matrix(600, 300, 0.1, seed=5, dtype=np.float32)
    found = distances(matrix, "euclidean", dtype=np.float32)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, distances(matrix, "euclidean").astype(np.float32))


def test_a_large_common_offset_is_recomputed():
    rng = np.random.default_rng(6)
    dense = random_matrix(100, 50, 0.2, seed=6).toarray()
    dense[:, 7] = 1e6 + rng.random(100)
    found = distances(scipy.sparse.csr_array(dense), "euclidean")
    np.testing.assert_allclose(found, expected(dense, "euclidean"), rtol=1e-10)


@pytest.mark.slow
def test_a_large_matrix_takes_the_memory_of_what_it_stores():
    script = """
from pathlib import Path

import numpy as np
import scipy.sparse
from clustergrid.pipeline.engines.sparse import sparse_input, sparse_tile
from clustergrid.pipeline.execution import ThreadsExecutor
from clustergrid.pipeline.monitor import Progress
from clustergrid.pipeline.normalize import Normalization, matrix_statistics
from clustergrid.storage.sparse import SparseArraySource

rng = np.random.default_rng(0)
n, k, stored = 200_000, 30_000, 30
indices = rng.integers(0, k, (n, stored), dtype=np.int32)
data = rng.random(n * stored, dtype=np.float32)
matrix = scipy.sparse.csr_array((data, indices.ravel(), np.arange(0, n * stored + 1, stored)))
matrix.resize(n, k)
source = SparseArraySource(matrix)
executor, progress = ThreadsExecutor(2), Progress()
normalization = Normalization.z_score(matrix_statistics(source, executor, progress), 1)
given = sparse_input(
    source, normalization, "correlation", dtype=np.dtype("float32"), executor=executor,
    progress=progress, name="distance-row",
)
tile = np.full((2048, 2048), np.nan, np.float32)
sparse_tile(given, slice(0, 2048), slice(2048, 4096), tile)
assert np.isfinite(tile).all()
# Not of getrusage: it counts the process that started this one, too.
print(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
"""
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert int(found.stdout) < 1_000_000  # kilobytes
