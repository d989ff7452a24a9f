"""Whether a lazy matrix is an array at rest, and whether it is the one that was there before."""

import json

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from clustergrid.storage import open_matrix
from clustergrid.storage.identity import _chunks_suit, fingerprint, matrix_source
from clustergrid.storage.ingest import ingest
from clustergrid.storage.readers.chunking import storage_chunks
from clustergrid.storage.source import ArraySource, ZarrSource
from tests.storage.matrices import example


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
