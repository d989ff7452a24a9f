"""Sparse inputs from the first byte to trees: in Python, and in runs that are killed."""

from __future__ import annotations

import warnings
from dataclasses import replace

import anndata
import dask.array
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import xarray as xr

import clustergrid.pipeline.operands
from clustergrid.pipeline import linkage, pdist
from clustergrid.pipeline.bound_matrix import BoundMatrix
from clustergrid.pipeline.execution import DaskExecutor
from clustergrid.pipeline.opening import open_stages
from clustergrid.pipeline.run import run
from clustergrid.pipeline.spec import AxisSpec
from clustergrid.pipeline.verify import verify_run
from clustergrid.storage import matrix as matrix_module
from clustergrid.storage import sparse_copy
from clustergrid.storage.errors import RunDirectoryError
from clustergrid.storage.matrix import open_matrix
from clustergrid.storage.readers.sparse import SparseGroupSource
from clustergrid.storage.rundir import RunDirectory
from clustergrid.storage.sparse import SparseArraySource, as_sparse
from tests.pipeline.runs import Log, request

pytestmark = pytest.mark.quick_cases(one_in=16)


@pytest.fixture(autouse=True)
def nothing_is_small(monkeypatch):
    """Matrices of a test are those of which nobody makes dense ones."""
    monkeypatch.setattr(matrix_module, "SMALL_SPARSE_BYTES", 0)
    monkeypatch.setattr(clustergrid.pipeline.operands, "SMALL_OPERATIONS", 0)


@pytest.fixture
def dense_blocks(monkeypatch):
    """Dense blocks that were read of a sparse source."""
    read = []
    real = SparseArraySource.read

    def spy(self, rows, columns):
        read.append((rows, columns))
        return real(self, rows, columns)

    monkeypatch.setattr(SparseArraySource, "read", spy)
    return read


def counts(n=700, k=90, density=0.08, seed=0):
    rng = np.random.default_rng(seed)
    matrix = scipy.sparse.random(n, k, density, format="csr", random_state=rng, dtype=np.float32)
    matrix.data = np.ceil(matrix.data * 9)
    dense = matrix.toarray()
    dense[np.arange(n), np.arange(n) % k] += 1.0  # no row and no column is empty
    return scipy.sparse.csr_matrix(dense)


def file_of(folder, matrix, form):
    """An AnnData file, or store, in a form: csr.h5ad, csc.zarr, ..."""
    encoding, suffix = form.split(".")
    data = anndata.AnnData(
        getattr(scipy.sparse, f"{encoding}_matrix")(matrix),
        obs=pd.DataFrame(index=[f"c{i}" for i in range(matrix.shape[0])]),
        var=pd.DataFrame(index=[f"g{i}" for i in range(matrix.shape[1])]),
    )
    path = folder / f"m.{suffix}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of anndata, about the version of Zarr's format
        (data.write_h5ad if suffix == "h5ad" else data.write_zarr)(path)
    return path


@pytest.mark.parametrize("metric", ["euclidean", "correlation"])
def test_pdist_makes_nothing_dense(metric, dense_blocks):
    matrix = counts()
    found = pdist(matrix, metric).to_numpy()
    assert dense_blocks == []
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, pdist(matrix.toarray(), metric).to_numpy(), rtol=1e-5)


def test_a_dense_sparse_matrix_goes_through_dense_engines(dense_blocks):
    matrix = counts(density=0.6)
    found = pdist(matrix).to_numpy()
    assert dense_blocks != []
    np.testing.assert_array_equal(found, pdist(matrix.toarray()).to_numpy())


def test_a_constant_row_is_refused_by_name():
    matrix = scipy.sparse.vstack([counts(), scipy.sparse.csr_matrix((1, 90), dtype=np.float32)])
    with pytest.raises(ValueError, match=r"1 of 701 rows is constant .*'700'"):
        pdist(matrix, "correlation")


def test_missing_values_are_refused_by_name():
    matrix = counts()
    matrix.data[5] = np.nan
    with pytest.raises(ValueError, match="1 values are NaN"):
        pdist(matrix)


@pytest.mark.parametrize("form", ["csr.h5ad", "csc.h5ad", "csr.zarr", "csc.zarr"])
@pytest.mark.parametrize("axis", [0, 1])
def test_trees_of_files_are_those_of_the_matrix_in_memory(tmp_path, form, axis):
    matrix = counts()
    path = file_of(tmp_path, matrix, form)
    stages = open_stages(str(path))
    assert as_sparse(stages.source) is not None
    found = stages.linkage(axis, method="average", metric="cosine")
    wanted = open_stages(matrix).linkage(axis, method="average", metric="cosine")
    np.testing.assert_array_equal(found, wanted)
    transposed = matrix.T if axis else matrix
    dense = linkage(transposed.toarray(), "average", "cosine")
    np.testing.assert_allclose(found[:, 2], dense[:, 2], rtol=1e-5)


@pytest.mark.parametrize("axis", [0, 1])
def test_dask_gives_the_same_bits(axis, client, monkeypatch):
    monkeypatch.setattr("clustergrid.pipeline.sparse_source.SHIPPED_BYTES", 0)
    matrix = counts()
    found = open_stages(matrix, client=client, z_score=1)
    assert isinstance(found.executor, DaskExecutor)
    wanted = open_stages(matrix, z_score=1)
    for metric in ("euclidean", "correlation"):
        np.testing.assert_array_equal(
            found.distances(axis, metric=metric).to_numpy(),
            wanted.distances(axis, metric=metric).to_numpy(),
        )
    assert not isinstance(found.source, SparseArraySource)


def blocks_of(matrix, chunks, labels=None):
    """A Dask array, or DataArray, of sparse blocks."""
    lazy = dask.array.from_array(matrix.toarray(), chunks=chunks).map_blocks(
        scipy.sparse.csr_matrix, meta=scipy.sparse.csr_matrix((0, 0), dtype=matrix.dtype)
    )
    if labels is None:
        return lazy
    return xr.DataArray(lazy, dims=("cell", "gene"), coords={"cell": labels})


@pytest.mark.parametrize("chunks", [(100, 90), (700, 30), (256, 41)])
@pytest.mark.parametrize("is_labelled", [False, True])
@pytest.mark.parametrize("is_remote", [False, True])
def test_sparse_blocks_of_dask_are_put_at_rest_as_they_are(
    chunks, is_labelled, is_remote, client, monkeypatch
):
    monkeypatch.setattr("clustergrid.pipeline.bound_matrix.SMALL_SPARSE_BYTES", 0)
    read = []
    monkeypatch.setattr(
        SparseGroupSource, "read", lambda self, rows, columns: read.append((rows, columns))
    )
    matrix = counts()
    names = [f"c{i}" for i in range(700)] if is_labelled else None
    stages = open_stages(blocks_of(matrix, chunks, names), client=client if is_remote else None)
    assert isinstance(stages.source, SparseGroupSource)
    data, indices, indptr = stages.source.read_compressed(slice(0, 700))
    np.testing.assert_array_equal(data, matrix.data)
    np.testing.assert_array_equal(indices, matrix.indices)
    np.testing.assert_array_equal(indptr, matrix.indptr)
    for axis in (0, 1):
        found = stages.distances(axis, metric="correlation").to_numpy()
        wanted = open_stages(matrix).distances(axis, metric="correlation").to_numpy()
        np.testing.assert_array_equal(found, wanted)
    assert read == []
    if is_labelled:
        assert stages.labels(0, [3]) == ["c3"]


def test_sparse_blocks_at_rest_are_opened_again(tmp_path, monkeypatch):
    monkeypatch.setattr("clustergrid.pipeline.bound_matrix.SMALL_SPARSE_BYTES", 0)
    matrix, store = counts(), str(tmp_path / "kept")
    blocks = blocks_of(matrix, (100, 90), [f"c{i}" for i in range(700)])
    stages = open_stages(blocks, store=store)
    assert as_sparse(stages.source) is not None
    again = open_matrix(store, layer="matrix")
    assert again.dims == ("cell", "gene")
    assert again["cell"].values[3] == "c3"
    np.testing.assert_array_equal(again.to_numpy(), matrix.toarray())


def test_a_part_of_sparse_blocks_is_no_whole(monkeypatch):
    monkeypatch.setattr("clustergrid.pipeline.bound_matrix.SMALL_SPARSE_BYTES", 0)
    matrix = counts()
    part = open_matrix(blocks_of(matrix, (100, 90)))[50:300]
    found = open_stages(part).distances(0, metric="euclidean").to_numpy()
    wanted = pdist(matrix[50:300].toarray()).to_numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


@pytest.mark.parametrize("form", ["csr.h5ad", "csc.h5ad", "csr.zarr", "csc.zarr"])
def test_a_run_copies_nothing_dense(tmp_path, form):
    matrix = counts()
    path = file_of(tmp_path, matrix, form)
    asked = request(path, tmp_path / "run")
    run(asked)
    directory = RunDirectory(asked.directory)
    assert directory.state["matrix"]["used_in_place"] == form.startswith("csr")
    assert (asked.directory / "matrix.zarr").exists() == form.startswith("csc")
    wanted = linkage(matrix.T, "average", "euclidean")
    np.testing.assert_array_equal(np.load(asked.directory / "linkage_col.npy"), wanted)
    assert (asked.directory / "order_row.txt").read_text().startswith("c")
    report = verify_run(asked.directory)
    assert (report.damages, report.unknown, report.unchecked) == ((), (), "")
    log = Log()
    run(asked, log)
    assert not log.stages("running") & {"ingest", "columns", "statistics", "distance-row"}


@pytest.mark.slow
def test_a_killed_copy_is_begun_anew(tmp_path, monkeypatch):
    matrix = counts()
    asked = request(file_of(tmp_path, matrix, "csc.h5ad"), tmp_path / "run")
    with monkeypatch.context() as patched:
        patched.setattr(sparse_copy._Writer, "finish", _killed)
        with pytest.raises(KeyboardInterrupt):
            run(asked)
    run(asked)
    wanted = linkage(matrix, "average", "euclidean")
    np.testing.assert_array_equal(np.load(asked.directory / "linkage_row.npy"), wanted)


@pytest.mark.slow
def test_killed_columns_are_dealt_anew(tmp_path, monkeypatch):
    matrix = counts()
    asked = request(file_of(tmp_path, matrix, "csr.h5ad"), tmp_path / "run")
    with monkeypatch.context() as patched:
        patched.setattr(sparse_copy._Writer, "finish", _killed)
        with pytest.raises(KeyboardInterrupt):
            run(asked)
    run(asked)
    wanted = linkage(matrix.T, "average", "euclidean")
    np.testing.assert_array_equal(np.load(asked.directory / "linkage_col.npy"), wanted)


def _killed(self):
    raise KeyboardInterrupt


@pytest.mark.parametrize("name", ["matrix.zarr", "columns.zarr"])
def test_a_damaged_copy_is_found_and_made_again(tmp_path, name):
    asked = request(file_of(tmp_path, counts(), "csc.h5ad"), tmp_path / "run")
    run(asked)
    (file,) = (asked.directory / name / "matrix" / "data" / "c").iterdir()
    before = file.read_bytes()
    file.write_bytes(before[:40] + bytes([before[40] ^ 1]) + before[41:])
    damages = verify_run(asked.directory).damages
    assert [damage.file for damage in damages] == [f"{name}/matrix/data/c/0"]
    cosine = AxisSpec(metric="cosine")
    run(replace(asked, row=cosine, column=cosine))
    assert file.read_bytes() == before
    assert verify_run(asked.directory).damages == ()


def test_a_changed_input_is_noticed(tmp_path):
    path = file_of(tmp_path, counts(), "csr.h5ad")
    asked = request(path, tmp_path / "run")
    run(asked)
    path.unlink()
    file_of(tmp_path, counts(seed=1), "csr.h5ad")
    with pytest.raises(RunDirectoryError, match="another input"):
        run(asked)


def test_bound_matrix_holds_what_is_stored():
    matrix = counts()
    stages = open_stages(matrix)
    assert isinstance(stages, BoundMatrix)
    assert stages.matrix_bytes_held < 2 * matrix.data.nbytes + 4 * 800
