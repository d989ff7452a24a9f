"""Statistics of what a sparse matrix stores, beside those of the same matrix made dense."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import scipy.sparse

import clustergrid.pipeline.sparse_statistics
from clustergrid.pipeline.execution import SerialExecutor, ThreadsExecutor
from clustergrid.pipeline.monitor import Progress
from clustergrid.pipeline.normalize import matrix_statistics
from clustergrid.storage.source import ArraySource
from clustergrid.storage.sparse import SparseArraySource


def matrix(seed=0, n=500, k=70, density=0.1):
    found = scipy.sparse.random(n, k, density, format="csr", random_state=seed)
    found.data -= 0.3
    return found


def of_source(source, executor=None):
    return matrix_statistics(source, executor or SerialExecutor(), Progress())


def each(statistics):
    for axis in (statistics.rows, statistics.columns):
        for field in fields(axis):
            yield field.name, getattr(axis, field.name)
        yield "standard deviation", axis.standard_deviation


@pytest.fixture(params=["one block", "blocks"])
def cut(request, monkeypatch):
    if request.param == "blocks":
        monkeypatch.setattr(clustergrid.pipeline.sparse_statistics, "_BLOCK_CELLS", 100 * 70)


@pytest.mark.parametrize("kind", ["plain", "missing", "offset", "full"])
def test_agree_with_those_of_the_dense_matrix(kind, cut):
    sparse = matrix()
    if kind == "missing":
        sparse.data[[3, 50, 51]] = np.nan, np.inf, -np.inf
    if kind == "offset":
        sparse.data += 1e6
    if kind == "full":
        sparse = scipy.sparse.csr_array(np.full((500, 70), 0.1))
    found, wanted = of_source(SparseArraySource(sparse)), of_source(ArraySource(sparse.toarray()))
    for (name, ours), (_, theirs) in zip(each(found), each(wanted), strict=True):
        # Moments of infinite values depend on how the matrix was cut.
        defined = np.isfinite(theirs) | (name in ("minimum", "maximum"))
        np.testing.assert_allclose(
            ours[defined], theirs[defined], rtol=1e-12, atol=1e-15, err_msg=name
        )
        assert defined.sum() >= len(ours) - 2


def test_are_the_same_on_every_executor(cut):
    source = SparseArraySource(matrix(seed=1))
    for (name, ours), (_, theirs) in zip(
        each(of_source(source)), each(of_source(source, ThreadsExecutor(3))), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs, err_msg=name)
