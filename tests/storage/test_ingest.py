"""What is ingested comes back, whatever its shape, type, chunks and labels are."""

import json
import warnings
from contextlib import nullcontext
from itertools import pairwise

import dask.array
import numpy as np
import pandas as pd
import pytest
import xarray
import zarr
from distributed import Client, LocalCluster
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import clustergrid.storage.ingest as ingest_module
from clustergrid.storage import open_matrix, regions
from clustergrid.storage.errors import IntegrityError, StorageError
from clustergrid.storage.identity import (
    _chunks_suit,
    fingerprint,
    matrix_source,
    stored_record,
)
from clustergrid.storage.ingest import ingest, ingest_stream
from clustergrid.storage.manifest import Manifest
from clustergrid.storage.readers.base import Stream
from clustergrid.storage.readers.chunking import aligned_chunks, storage_chunks
from clustergrid.storage.readers.lazy import lazy_blocks
from clustergrid.storage.regions import write_chunk
from clustergrid.storage.source import ArraySource, ZarrSource

DTYPES = ["float32", "float64", "int8", "uint32", "int64", "bool"]


@pytest.fixture(scope="module")
def client():
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=2, processes=False, dashboard_address=":0"
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def example(shape=(40, 6), dtype="float64", chunks=None):
    values = (np.random.default_rng(0).normal(size=shape) * 50).astype(dtype)
    matrix = xarray.DataArray(
        values,
        dims=("gene", "sample"),
        coords={"gene": [f"g{i}" for i in range(shape[0])], "sample": np.arange(shape[1]) * 3},
        name="counts",
    )
    return open_matrix(
        matrix if chunks is None else matrix.chunk(dict(zip(matrix.dims, chunks, strict=True)))
    )


def chunked(matrix, chunks):
    return matrix.chunk(dict(zip(matrix.dims, chunks, strict=True)))


texts = st.text(st.characters(codec="utf-8"), max_size=8)
small = st.integers(1, 12)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
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


# Streams


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
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


# Sources


def test_sources(tmp_path):
    matrix = example()
    assert matrix_source(matrix).array is matrix.data
    assert isinstance(matrix_source(matrix), ArraySource)
    assert matrix_source(example(chunks=(10, 6))) is None
    ingest(example(), tmp_path)
    matrix = open_matrix(tmp_path)
    assert matrix_source(matrix) == ZarrSource(str(tmp_path), "matrix")
    array = zarr.open_array(tmp_path, path="matrix", mode="r")
    assert matrix_source(open_matrix(array)) == ZarrSource(str(tmp_path), "matrix")


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m[1:],
        lambda m: m[:, ::-1],
        lambda m: m[::-1],
        lambda m: m.isel(gene=np.arange(40)[::-1]),
        lambda m: m.sortby("gene", ascending=False),
        lambda m: m.T,
        lambda m: m * 1.0,
        lambda m: -m,
        lambda m: m.astype(np.float32),
        lambda m: m.chunk(5),
        lambda m: m.fillna(0),
        lambda m: m.where(m > 0),
        lambda m: m.clip(0, 1),
        lambda m: m.map_blocks(np.exp),
        lambda m: m.roll(gene=1),
        lambda m: m.cumsum("gene"),
    ],
)
def test_a_changed_matrix_is_not_taken_for_the_array(tmp_path, change):
    ingest(example(), tmp_path)
    matrix = open_matrix(tmp_path)
    changed = change(matrix)
    source = matrix_source(changed)
    if source is not None:
        np.testing.assert_array_equal(
            source.read(slice(None), slice(None)), changed.to_numpy(), strict=True
        )
    assert source is None


def test_values_assigned_in_place_are_noticed(tmp_path):
    ingest(example(), tmp_path)
    matrix = open_matrix(tmp_path)
    matrix[0, 0] = 7
    assert matrix_source(matrix) is None


def test_what_leaves_the_values_leaves_the_source(tmp_path):
    ingest(example(), tmp_path)
    matrix = open_matrix(tmp_path)
    for same in (matrix.rename("x"), matrix.rename(gene="g"), matrix[:], open_matrix(matrix)):
        assert matrix_source(same) is not None
    assert matrix_source(matrix.drop_encoding()) is None


def test_awkward_chunks_are_not_read_in_place(tmp_path):
    zarr.create_array(tmp_path / "a.zarr", shape=(100_000, 50_000), chunks=(1, 1000), dtype="f4")
    assert matrix_source(open_matrix(tmp_path / "a.zarr")) is None
    assert not _chunks_suit(ZarrSource(str(tmp_path / "a.zarr"), ""))
    zarr.create_array(
        tmp_path / "b.zarr", shape=(100_000, 50_000), chunks=(100_000, 10), dtype="f4"
    )
    assert matrix_source(open_matrix(tmp_path / "b.zarr")) is None
    zarr.create_array(tmp_path / "c.zarr", shape=(100_000, 50_000), chunks=(512, 8192), dtype="f4")
    assert matrix_source(open_matrix(tmp_path / "c.zarr")) == ZarrSource(
        str(tmp_path / "c.zarr"), ""
    )


# Fingerprints


def test_fingerprints_notice_changes(tmp_path):
    path = tmp_path / "m.npy"
    np.save(path, np.eye(3))
    before = fingerprint(path)
    assert before == fingerprint(str(path))
    assert before["url"] == str(path)
    np.save(path, 2 * np.eye(3))
    assert fingerprint(path)["sha256_of_ends"] != before["sha256_of_ends"]
    ingest(example(), tmp_path / "store")
    stored = fingerprint(tmp_path / "store")
    ingest(example(), tmp_path / "store", "other")
    assert fingerprint(tmp_path / "store") != stored
    matrix = example()
    prints = [
        fingerprint(m)
        for m in (
            matrix,
            2 * matrix,
            matrix.T,
            matrix.astype("float32"),
            matrix.assign_coords(sample=range(6)),
            example(chunks=(10, 6)),
            np.eye(3),
        )
    ]
    assert len({json.dumps(p, sort_keys=True) for p in prints}) == len(prints)
    assert fingerprint(matrix) == fingerprint(example())


# Chunks


@given(
    n_rows=st.integers(1, 10**7),
    n_columns=st.integers(1, 10**6),
    itemsize=st.sampled_from([1, 4, 8]),
)
def test_storage_chunks(n_rows, n_columns, itemsize):
    rows, columns = storage_chunks((n_rows, n_columns), itemsize)
    if n_rows * n_columns * itemsize <= 2**23:
        assert (rows, columns) == (n_rows, n_columns)
        return
    assert rows % 512 == 0
    assert columns == n_columns or columns % 1024 == 0
    assert rows * columns * itemsize <= 2**26
    assert rows * columns * itemsize >= 2**22 or rows >= n_rows


@given(
    shape=st.tuples(st.integers(1, 10**6), st.integers(1, 10**6)),
    stored=st.tuples(st.integers(1, 5000), st.integers(1, 5000)),
    itemsize=st.sampled_from([1, 4, 8]),
)
def test_aligned_chunks(shape, stored, itemsize):
    rows, columns = aligned_chunks(shape, stored, itemsize)
    assert rows % stored[0] == 0 or rows == shape[0]
    assert columns % stored[1] == 0 or columns == shape[1]
    assert rows * columns * itemsize <= max(2**26, stored[0] * stored[1] * itemsize)


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


class Reads:
    """A reader that counts what is read."""

    def __init__(self, values):
        self.values, self.cells = values, 0
        self.shape, self.dtype = values.shape, values.dtype

    def read(self, rows, columns):
        block = self.values[rows, columns]
        self.cells += block.size
        return block


def column_chunks(shape=(6000, 40), columns=2):
    """A matrix that is stored column by column."""
    reader = Reads(np.random.default_rng(0).normal(size=shape))
    identity = {"test": np.random.default_rng().bytes(8).hex()}
    values = lazy_blocks(reader, (shape[0], columns), identity)
    return reader, xarray.DataArray(values, dims=("row", "column"))


@pytest.mark.parametrize("where", ["threads", "client"])
def test_a_matrix_stored_by_columns_is_read_once(tmp_path, client, where):
    reader, matrix = column_chunks()
    manifest = Manifest(tmp_path, "matrix")
    manifest.begin("k")
    calls = []
    with client.as_current() if where == "client" else nullcontext():
        source = ingest(
            matrix,
            tmp_path / "m.zarr",
            chunks=(512, 40),
            memory_bytes=512 * 40 * 8,
            manifest=manifest,
            progress=lambda *call: calls.append(call),
        )
    np.testing.assert_array_equal(source.read(slice(None), slice(None)), reader.values)
    assert reader.cells <= 2 * reader.values.size
    done, total = zip(*calls, strict=True)
    assert list(done) == list(range(1, total[0] + 1))
    assert set(total) == {done[-1]}
    assert sorted(zarr.open_group(tmp_path / "m.zarr")) == ["matrix"]
    assert not [name for name in Manifest(tmp_path, "matrix").entries if "between" in name]
    assert Manifest(tmp_path, "matrix").is_whole


@pytest.mark.parametrize("columns", [2, 40])
def test_a_copy_goes_on_where_it_stopped(tmp_path, columns):
    reader, matrix = column_chunks(columns=columns)
    shape = {"chunks": (512, 40), "memory_bytes": 512 * 40 * 8}

    class StopError(Exception):
        pass

    rng = np.random.default_rng(5)
    stopped = 0
    for _ in range(30):
        manifest = Manifest(tmp_path, "matrix")
        if manifest.key is None:
            manifest.begin("k")
        reader.cells = 0
        before = len(manifest.entries)
        stop_at = rng.integers(1, 9 if columns == 40 else 60)
        calls = []

        def progress(*call, calls=calls, stop_at=stop_at):
            calls.append(call)
            if len(calls) == stop_at:
                raise StopError

        try:
            ingest(matrix, tmp_path / "m.zarr", **shape, manifest=manifest, progress=progress)
        except StopError:
            stopped += 1
            assert len(Manifest(tmp_path, "matrix").entries) > before
            continue
        break
    else:
        raise AssertionError("never finished")
    assert stopped > 2
    assert reader.cells < reader.values.size
    np.testing.assert_array_equal(open_matrix(tmp_path / "m.zarr"), reader.values)


def test_a_band_is_all_that_is_under_way(tmp_path):
    """However many bands there are: chunks are computed band by band."""
    values = np.random.default_rng(0).normal(size=(4000, 10))
    lazy = xarray.DataArray(dask.array.from_array(values, chunks=(100, 10)), dims=("a", "b"))
    sizes = []
    compute = regions._compute

    def spy(blocks, name, note):
        sizes.append(len(blocks))
        compute(blocks, name, note)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(regions, "_compute", spy)
        ingest(lazy, tmp_path, chunks=(100, 10), memory_bytes=100 * 10 * 8 * 7)
    assert sizes == [7, 7, 7, 7, 7, 5]
    np.testing.assert_array_equal(open_matrix(tmp_path), values)


@given(
    n_rows=st.integers(1, 10**6),
    n_columns=st.integers(1, 10**6),
    dtype=st.sampled_from(["int8", "float32", "float64"]),
    is_stream=st.booleans(),
)
def test_a_copy_of_ours_is_never_copied_again(n_rows, n_columns, dtype, is_stream):
    class Stored:
        shape, dtype = (n_rows, n_columns), None
        chunks = (0, 0)

    Stored.dtype = np.dtype(dtype)
    rows = 2**40 if is_stream else n_rows
    Stored.chunks = storage_chunks((rows, n_columns), Stored.dtype.itemsize)
    assert _chunks_suit(Stored)


class KilledError(BaseException):
    """As SIGKILL would, between two system calls."""


def killed(*_args, **_kwargs):
    raise KilledError


def resumed(folder):
    """The manifest as the next run opens it."""
    manifest = Manifest(folder, "matrix")
    if manifest.key is None:
        manifest.begin("k")
    manifest.restore_metadata()
    return manifest


COPY = {"chunks": (512, 40), "memory_bytes": 512 * 40 * 8}


@pytest.mark.parametrize("array", ["matrix", "matrix_between"])
def test_killed_before_a_new_array_is_noted_a_copy_goes_on(tmp_path, monkeypatch, array):
    real = ingest_module.create_array

    def create(store, path, **options):
        real(store, path, **options)
        if path == array:
            raise KilledError

    reader, matrix = column_chunks()
    with monkeypatch.context() as patch:
        patch.setattr(ingest_module, "create_array", create)
        with pytest.raises(KilledError):
            ingest(matrix, tmp_path / "m.zarr", **COPY, manifest=resumed(tmp_path))
    for _ in range(2):
        ingest(matrix, tmp_path / "m.zarr", **COPY, manifest=resumed(tmp_path))
    np.testing.assert_array_equal(open_matrix(tmp_path / "m.zarr"), reader.values)


def test_killed_as_it_was_finished_a_copy_is_not_read_again(tmp_path, monkeypatch):
    reader, matrix = column_chunks()
    with monkeypatch.context() as patch:
        patch.setattr(ingest_module._Target, "finish", killed)
        with pytest.raises(KilledError):
            ingest(matrix, tmp_path / "m.zarr", **COPY, manifest=resumed(tmp_path))
    reader.cells = 0
    ingest(matrix, tmp_path / "m.zarr", **COPY, manifest=resumed(tmp_path))
    assert reader.cells == 0
    np.testing.assert_array_equal(open_matrix(tmp_path / "m.zarr"), reader.values)


def test_other_memory_takes_over_the_array_in_between(tmp_path):
    reader, matrix = column_chunks()
    calls = []

    def stop(*call):
        calls.append(call)
        if len(calls) == 30:
            raise KilledError

    more = {**COPY, "memory_bytes": 2 * COPY["memory_bytes"]}
    with pytest.raises(KilledError):
        ingest(matrix, tmp_path / "m.zarr", **more, manifest=resumed(tmp_path), progress=stop)
    before = reader.cells
    reader.cells = 0
    more["memory_bytes"] = 3 * COPY["memory_bytes"]
    ingest(matrix, tmp_path / "m.zarr", **more, manifest=resumed(tmp_path))
    assert reader.cells + before < 1.5 * reader.values.size
    np.testing.assert_array_equal(open_matrix(tmp_path / "m.zarr"), reader.values)


def test_a_late_chunk_of_another_matrix_is_not_written(tmp_path):
    _, matrix = column_chunks(columns=40)
    source = ingest(matrix, tmp_path / "m.zarr", **COPY, manifest=resumed(tmp_path))
    before = source.read(slice(None), slice(None))
    where = {"store": str(tmp_path / "m.zarr"), "path": "matrix"}
    info = [{"array-location": [(0, 512), (0, 40)]}]
    with pytest.raises(StorageError, match="begun anew, as the copy of another matrix"):
        write_chunk(np.zeros((512, 40)), **where, key="another", block_info=info)
    np.testing.assert_array_equal(source.read(slice(None), slice(None)), before)
    write_chunk(np.zeros((512, 40)), **where, key="k", block_info=info)
