"""A copy reads its input once, within its memory, and goes on where it was stopped or killed."""

from contextlib import nullcontext

import dask.array
import numpy as np
import pytest
import xarray
import zarr

import clustergrid.storage.ingest as ingest_module
from clustergrid.storage import open_matrix, regions
from clustergrid.storage.errors import StorageError
from clustergrid.storage.ingest import ingest
from clustergrid.storage.manifest import Manifest
from clustergrid.storage.regions import write_chunk
from tests.storage.matrices import column_chunks

pytestmark = pytest.mark.quick_cases(one_in=16)


@pytest.mark.parametrize("where", ["threads", pytest.param("client", marks=pytest.mark.slow)])
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
        patch.setattr(ingest_module.Target, "finish", killed)
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
