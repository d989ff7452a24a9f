"""What is ingested comes back, whatever its shape, type, chunks and labels are."""

import warnings
from itertools import pairwise

import dask.array
import numpy as np
import pandas as pd
import pytest
import xarray
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clustergrid.storage import open_matrix
from clustergrid.storage.errors import IntegrityError
from clustergrid.storage.identity import stored_record
from clustergrid.storage.ingest import ingest, ingest_stream
from clustergrid.storage.readers.base import Stream
from clustergrid.storage.regions import write_chunk
from tests.budget import examples
from tests.storage.matrices import example

DTYPES = ["float32", "float64", "int8", "uint32", "int64", "bool"]

texts = st.text(st.characters(codec="utf-8"), max_size=8)
small = st.integers(1, 12)


@settings(
    max_examples=examples(60),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data(), shape=st.tuples(small, small), chunks=st.tuples(small, small))
def test_any_matrix_comes_back(tmp_path_factory, data, shape, chunks):
    dtype = data.draw(st.sampled_from(DTYPES))
    lazy = data.draw(st.none() | st.tuples(small, small))
    rows = data.draw(st.lists(texts, min_size=shape[0], max_size=shape[0]))
    values = (np.arange(shape[0] * shape[1]).reshape(shape) % 5).astype(dtype)
    coords = {}
    if data.draw(st.booleans()):
        coords["gene"] = np.array(rows, object)
    if data.draw(st.booleans()):
        coords["sample"] = data.draw(
            st.sampled_from(
                [np.arange(shape[1]), np.arange(shape[1]) / 4, np.zeros(shape[1], bool)]
            )
        )
    matrix = xarray.DataArray(values, dims=("gene", "sample"), coords=coords)
    matrix = open_matrix(
        matrix if lazy is None else matrix.chunk(dict(zip(matrix.dims, lazy, strict=True)))
    )
    store = tmp_path_factory.mktemp("store")
    with dask.config.set(scheduler="synchronous"):
        source = ingest(matrix, store, chunks=chunks)
        again = open_matrix(store)
        assert again.dtype == matrix.dtype
        assert source.chunks == chunks
        xarray.testing.assert_identical(again.compute(), matrix.compute())
        for dim in again.coords:
            assert again[dim].dtype == matrix[dim].dtype
    np.testing.assert_array_equal(source.read(slice(None), slice(None)), values)


@pytest.mark.parametrize("where", ["threads", "distributed"])
@pytest.mark.parametrize("with_progress", [False, True])
def test_on_both_schedulers(tmp_path, client, where, with_progress):
    calls = []
    progress = (lambda done, total: calls.append((done, total))) if with_progress else None
    matrix = example(chunks=(7, 4))
    matrix[3, 2] = np.nan
    matrix[4, 2] = np.inf
    if where == "distributed":
        with client.as_current(), dask.config.set(scheduler=client):
            source = ingest(matrix, tmp_path, chunks=(16, 4), progress=progress)
    else:
        with dask.config.set(scheduler="threads"):
            source = ingest(matrix, tmp_path, chunks=(16, 4), progress=progress)
    np.testing.assert_array_equal(source.read(slice(None), slice(None)), matrix.to_numpy())
    record = stored_record(tmp_path)
    assert record == {
        "complete": True,
        "name": "counts",
        "labels": ["gene", "sample"],
        "missing": 1,
        "infinite": 1,
    }
    assert calls == ([(i, 6) for i in range(1, 7)] if with_progress else [])


def test_progress_of_an_array_in_memory(tmp_path):
    calls = []
    ingest(example(), tmp_path, chunks=(16, 4), progress=lambda *call: calls.append(call))
    assert calls == [(done, 6) for done in range(1, 7)]


def test_tasks_have_a_name_for_the_dashboard(tmp_path):
    seen = []

    def scheduler(graph, keys, **_):
        seen.extend(map(str, graph.__dask_graph__()))
        raise ZeroDivisionError

    with dask.config.set(scheduler=scheduler), pytest.raises(ZeroDivisionError):
        ingest(example(chunks=(10, 6)), tmp_path)
    assert any("matrix-ingest" in key for key in seen)


def test_a_chunk_can_be_written_again(tmp_path):
    matrix = example()
    source = ingest(matrix, tmp_path, chunks=(16, 6))
    block = matrix.to_numpy()[16:32]
    for _ in range(2):
        write_chunk(
            block,
            store=str(tmp_path),
            path="matrix",
            block_info=[{"array-location": [(16, 32), (0, 6)]}],
        )
    np.testing.assert_array_equal(source.read(slice(None), slice(None)), matrix.to_numpy())


def test_an_unfinished_store_is_refused(tmp_path):
    matrix = example(chunks=(10, 6))
    broken = matrix.copy(data=matrix.data.map_blocks(lambda block: 1 / 0, dtype=float))
    with pytest.raises(ZeroDivisionError):
        ingest(broken, tmp_path)
    record = stored_record(tmp_path)
    assert record == {"complete": False, "name": "counts", "labels": ["gene", "sample"]}
    with pytest.raises(IntegrityError, match="not written to its end"):
        open_matrix(tmp_path)
    ingest(matrix, tmp_path)
    xarray.testing.assert_identical(open_matrix(tmp_path).compute(), matrix.compute())


def test_labels_of_a_matrix_that_was_there_before_are_gone(tmp_path):
    ingest(example(), tmp_path)
    unlabelled = example().drop_vars(["gene", "sample"])[:5]
    ingest(unlabelled, tmp_path)
    xarray.testing.assert_identical(open_matrix(tmp_path).compute(), unlabelled)


def test_a_store_holds_several_arrays(tmp_path):
    ingest(example(), tmp_path)
    ingest(2 * example(), tmp_path, "twice")
    np.testing.assert_array_equal(
        open_matrix(tmp_path, layer="twice"), 2 * open_matrix(tmp_path, layer="matrix")
    )


def test_every_chunk_has_a_checksum(tmp_path):
    ingest(example(), tmp_path)
    chunk = tmp_path / "matrix" / "c" / "0" / "0"
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 1
    chunk.write_bytes(content)
    with pytest.raises(Exception, match="checksum"):
        open_matrix(tmp_path).compute()


def test_xarray_reads_what_was_written(tmp_path):
    ingest(example(), tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset = xarray.open_zarr(tmp_path, consolidated=False)
    np.testing.assert_array_equal(dataset["matrix"], example())
    assert dataset["gene"].to_numpy().tolist() == example()["gene"].to_numpy().tolist()


@pytest.mark.parametrize("url", ["memory://ingest-there/a", None])
def test_urls(tmp_path, url):
    source = ingest(example(chunks=(10, 6)), url or tmp_path)
    xarray.testing.assert_identical(open_matrix(url or tmp_path).compute(), example())
    assert source.shape == (40, 6)


def test_empty_matrices_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"shape \(0, 6\)"):
        ingest(example()[:0], tmp_path)


def test_a_matrix_cannot_replace_what_it_is_read_from(tmp_path):
    ingest(example(), tmp_path)
    for matrix in (open_matrix(tmp_path), 2 * open_matrix(tmp_path)[1:]):
        with pytest.raises(ValueError, match="choose another store or path"):
            ingest(matrix, tmp_path)
    ingest(2 * open_matrix(tmp_path), tmp_path, "twice")
    np.testing.assert_array_equal(open_matrix(tmp_path, layer="twice"), 2 * example())


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        ingest(example(), tmp_path / "file" / "store")


def test_arrays_of_somebody_else_are_not_replaced(tmp_path):
    theirs = xarray.DataArray(np.ones((6, 4)), dims=("gene", "sample"), name="matrix")
    theirs.to_zarr(tmp_path, zarr_format=3, consolidated=False)
    with pytest.raises(OSError, match="holds 'matrix', which clustergrid did not write"):
        ingest(example(), tmp_path)
    np.testing.assert_array_equal(zarr.open_array(tmp_path, path="matrix", mode="r")[:], 1)
    labels = tmp_path / "labels"
    xarray.Dataset(coords={"gene": [1, 2]}).to_zarr(labels, zarr_format=3, consolidated=False)
    with pytest.raises(OSError, match="holds 'gene'"):
        ingest(example(), labels)


@settings(
    max_examples=examples(40),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(lengths=st.lists(st.integers(0, 30), min_size=1, max_size=8), rows=st.integers(1, 20))
def test_streams_of_any_blocks(tmp_path_factory, lengths, rows):
    values = np.arange(sum(lengths) * 3.0).reshape(-1, 3)
    labels = pd.Index([f"g{i}" for i in range(len(values))], dtype=object)
    edges = np.cumsum([0, *lengths])

    def blocks():
        for start, stop in pairwise(edges):
            yield labels[start:stop], values[start:stop]

    stream = Stream(blocks=blocks, n_columns=3, dtype=values.dtype, row_name="gene")
    store = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("clustergrid.storage.ingest.storage_chunks", lambda *_: (rows, 2))
        if not len(values):
            with pytest.raises(ValueError, match="no rows"):
                ingest_stream(stream, store)
            return
        ingest_stream(stream, store, identity={"a": 1})
    found = open_matrix(store)
    np.testing.assert_array_equal(found.to_numpy(), values)
    assert found["gene"].to_numpy().tolist() == labels.tolist()
    assert stored_record(store)["input"] == {"a": 1}


@pytest.mark.parametrize("dtype", ["float16", ">f8"])
def test_a_stream_is_kept_as_it_will_be_opened(tmp_path, dtype):
    """Else the copy would be taken for one that needs another copy."""
    values = np.arange(6, dtype=dtype).reshape(2, 3)
    stream = Stream(blocks=lambda: iter([(None, values)]), n_columns=3, dtype=values.dtype)
    source = ingest_stream(stream, tmp_path / "a.zarr")
    matrix = open_matrix(tmp_path / "a.zarr")
    assert source.dtype == matrix.dtype == {"float16": np.float32}.get(dtype, np.float64)
    np.testing.assert_array_equal(matrix.to_numpy(), values)
