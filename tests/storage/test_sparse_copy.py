"""Copies of sparse matrices by rows, within a memory."""

from __future__ import annotations

import anndata
import numpy as np
import pytest
import scipy.sparse
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from clustergrid.storage import sparse_copy
from clustergrid.storage.chunks import damaged_chunks, missing_chunks
from clustergrid.storage.errors import StorageError
from clustergrid.storage.identity import stored_record
from clustergrid.storage.sparse import SparseArraySource
from clustergrid.storage.sparse_copy import SPARSE_ARRAYS, stored_copy, transposed_copy
from tests.budget import examples


def matrix(n=300, k=70, density=0.1, seed=0, dtype=np.float32):
    return scipy.sparse.random(n, k, density, format="csr", random_state=seed, dtype=dtype)


def whole(source):
    data, indices, indptr = source.read_compressed(slice(0, source.shape[0]))
    return scipy.sparse.csr_array((data, indices, indptr), shape=source.shape)


@given(
    st.integers(1, 60),
    st.integers(1, 40),
    st.sampled_from([0.0, 0.05, 0.6, 1.0]),
    st.integers(1, 5000),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=examples(30), deadline=None)
def test_a_transposed_copy_is_the_transpose(tmp_path_factory, n, k, density, memory, seed):
    folder = tmp_path_factory.mktemp("copy")
    given = matrix(n, k, density, seed)
    step, chunk = sparse_copy._SLAB_ENTRIES, sparse_copy.CHUNK_BYTES
    sparse_copy._SLAB_ENTRIES, sparse_copy.CHUNK_BYTES = 17, 64
    try:
        copy = transposed_copy(
            SparseArraySource(given), str(folder / "a.zarr"), "t", memory_bytes=memory
        )
    finally:
        sparse_copy._SLAB_ENTRIES, sparse_copy.CHUNK_BYTES = step, chunk
    found = whole(copy)
    assert copy.shape == (k, n)
    assert copy.dtype == np.float32
    assert found.has_canonical_format
    np.testing.assert_array_equal(found.toarray(), given.toarray().T)


def test_anndata_opens_a_copy(tmp_path):
    given = matrix()
    transposed_copy(SparseArraySource(given), str(tmp_path / "a.zarr"), "t", memory_bytes=10**6)
    group = zarr.open_group(tmp_path / "a.zarr", mode="r")["t"]
    np.testing.assert_array_equal(anndata.io.read_elem(group).toarray(), given.toarray().T)


def test_every_chunk_has_a_checksum(tmp_path):
    store = str(tmp_path / "a.zarr")
    transposed_copy(SparseArraySource(matrix()), store, "t", memory_bytes=10**6)
    for name in SPARSE_ARRAYS:
        assert not missing_chunks(store, f"t/{name}")
        file = tmp_path / "a.zarr" / "t" / name / "c" / "0"
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
        assert damaged_chunks(store, f"t/{name}") == {(0,)}


def test_a_complete_copy_of_the_same_is_used_again(tmp_path, monkeypatch):
    store, source = str(tmp_path / "a.zarr"), SparseArraySource(matrix())

    def copy(identity):
        return transposed_copy(source, store, "t", memory_bytes=10**6, identity=identity)

    copy({"of": 1})
    calls = []
    monkeypatch.setattr(sparse_copy, "copy_by_rows", lambda *a, **k: calls.append(k["identity"]))
    np.testing.assert_array_equal(whole(copy({"of": 1})).toarray(), whole(source).toarray().T)
    copy({"of": 2})
    assert calls == [{"of": 2}]


def test_an_unfinished_copy_is_begun_anew(tmp_path, monkeypatch):
    store, source = str(tmp_path / "a.zarr"), SparseArraySource(matrix())

    def stop(self):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(sparse_copy._Writer, "finish", stop)
        with pytest.raises(KeyboardInterrupt):
            transposed_copy(source, store, "t", memory_bytes=10**6, identity=1)
    assert stored_record(store, "t")["complete"] is False
    assert stored_copy(store, "t") is None
    assert not list(tmp_path.glob("clustergrid-rows-*"))
    copy = transposed_copy(source, store, "t", memory_bytes=10**6, identity=1)
    np.testing.assert_array_equal(whole(copy).toarray(), whole(source).toarray().T)


def test_nobodys_arrays_are_replaced(tmp_path):
    store = str(tmp_path / "a.zarr")
    zarr.create_array(store, name="t", data=np.zeros(3))
    with pytest.raises(StorageError, match="did not write"):
        transposed_copy(SparseArraySource(matrix()), store, "t", memory_bytes=10**6)


def test_progress_ends_at_the_total(tmp_path):
    told = []
    source = SparseArraySource(matrix())
    transposed_copy(
        source,
        str(tmp_path / "a.zarr"),
        "t",
        memory_bytes=20_000,
        progress=lambda done, total: told.append((done, total)),
    )
    assert told[-1] == (2 * source.n_stored, 2 * source.n_stored)
    assert sorted(told) == told
    assert len(told) > 3
