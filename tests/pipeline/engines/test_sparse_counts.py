"""Counts of sparse rows: by bits and by entries, to the same bit, and never of a dense block."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist as scipy_pdist
from scipy.spatial.distance import squareform

from clustergrid.pipeline.engines import _compressed
from clustergrid.pipeline.engines._bits import pack
from clustergrid.pipeline.engines.given import DistanceInput
from clustergrid.pipeline.engines.sparse import SparseInput
from clustergrid.pipeline.metrics import METRICS
from clustergrid.pipeline.normalize import Normalization
from clustergrid.pipeline.tiles import tile_distances
from clustergrid.storage.source import ArraySource
from clustergrid.storage.sparse import SparseArraySource
from tests.budget import examples

pytestmark = pytest.mark.quick_cases(one_in=4)

COUNTED = tuple(name for name, metric in METRICS.items() if metric.is_boolean)


class Stored(SparseArraySource):
    """A sparse matrix of which no dense block may be read."""

    def read(self, rows, columns):
        raise AssertionError("a block was made dense")


def random_matrix(n, k, density, dtype=np.float32, seed=0):
    rng = np.random.default_rng(seed)
    matrix = scipy.sparse.random(n, k, density, format="csr", random_state=rng)
    matrix.data = np.ceil(matrix.data * 3)
    matrix.data[::7] = 0.0  # zeros that are stored
    return scipy.sparse.csr_array(matrix).astype(dtype)


def distance_input(source, metric, engine, dtype="float64", features_at_once=2**20):
    sparse = None
    if engine == "sparse":
        sparse = SparseInput(source=source, metric=metric, dtype=dtype)
    return DistanceInput(
        source=source,
        normalization=Normalization(),
        name=metric,
        engine=engine,
        dtype=dtype,
        totals=np.zeros((source.shape[0], 2)),
        features_at_once=features_at_once,
        sparse=sparse,
    )


@given(
    k=st.integers(1, 200),
    cut=st.integers(0, 3),
    seed=st.integers(0, 99),
    dtype=st.sampled_from([np.bool_, np.int16, np.float32, np.float64]),
)
@settings(max_examples=examples(50), deadline=None)
def test_entries_are_packed_as_dense_rows_are(k, cut, seed, dtype):
    matrix = random_matrix(9, k, 0.3, dtype, seed)
    first = min(64 * cut, k)
    for part in (slice(0, first), slice(first, k)):
        packed = _compressed.pack_entries(
            matrix.data, matrix.indices, matrix.indptr, part.start, part.stop
        )
        np.testing.assert_array_equal(packed, pack(matrix.toarray()[:, part]))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("metric", COUNTED)
def test_bits_and_entries_agree_to_the_bit(metric, dtype):
    matrix = random_matrix(700, 2100, 0.05)
    source, rows = Stored(matrix), slice(0, 700)
    found = [
        tile_distances(given, rows, rows)
        for given in (
            distance_input(source, metric, "sparse", dtype),
            distance_input(source, metric, "counts", dtype),
            distance_input(source, metric, "counts", dtype, features_at_once=2048),
            distance_input(ArraySource(matrix.toarray()), metric, "counts", dtype),
        )
    ]
    for other in found[1:]:
        np.testing.assert_array_equal(found[0], other)
    wanted = squareform(scipy_pdist(matrix.toarray() != 0, metric))
    np.testing.assert_array_equal(found[0], wanted.astype(dtype))


def test_tiles_beside_the_diagonal_read_their_own_rows():
    matrix = random_matrix(1300, 300, 0.1)
    source, rows, columns = Stored(matrix), slice(0, 512), slice(512, 1300)
    wanted = squareform(scipy_pdist(matrix.toarray() != 0, "jaccard"))[rows, columns]
    for engine in ("sparse", "counts"):
        given = distance_input(source, "jaccard", engine)
        np.testing.assert_array_equal(tile_distances(given, rows, columns), wanted)


@pytest.mark.parametrize("dtype", [np.bool_, np.float32])
def test_hamming_compares_values(dtype):
    matrix = random_matrix(600, 90, 0.3, dtype)
    wanted = squareform(scipy_pdist(matrix.toarray().astype(float), "hamming"))
    rows, source = slice(0, 600), Stored(matrix)
    found = tile_distances(distance_input(source, "hamming", "sparse"), rows, rows)
    np.testing.assert_array_equal(found, wanted)
    if dtype == np.bool_:
        bits = tile_distances(distance_input(source, "hamming", "counts"), rows, rows)
        np.testing.assert_array_equal(bits, wanted)


def test_normalized_values_are_packed_from_dense_blocks():
    matrix = random_matrix(40, 30, 0.3)
    shifted = Normalization(axis=1, shift=np.ones(30), scale=np.ones(30))
    given = distance_input(SparseArraySource(matrix), "jaccard", "counts")
    assert given.compressed is not None
    object.__setattr__(given, "normalization", shifted)
    assert given.compressed is None
    found = tile_distances(given, slice(0, 40), slice(0, 40))
    wanted = squareform(scipy_pdist(matrix.toarray() != 1, "jaccard"))
    np.testing.assert_array_equal(found, wanted)
