"""Zarr arrays in buckets: the same bits, errors that name the object, no secrets on the way."""

import pickle

import numpy as np
import pytest
import xarray as xr

from clustergrid.storage.arrays import (
    create_array,
    is_stored,
    open_array,
    remove_array,
    write_block,
)
from clustergrid.storage.chunks import damaged_chunks, is_whole, missing_chunks, stored_entries
from clustergrid.storage.errors import ObjectStoreError, StorageError
from clustergrid.storage.identity import fingerprint
from clustergrid.storage.ingest import ingest
from clustergrid.storage.matrix import open_matrix
from clustergrid.storage.object_path import ObjectPath
from clustergrid.storage.places import zarr_store
from clustergrid.storage.source import ZarrSource
from tests.storage.object_stores.servers import KEY_ID, SECRET, front, upload, use

VALUES = np.random.default_rng(0).normal(size=(50, 7)).astype(np.float32)


@pytest.fixture
def stored(bucket):
    """URL of a group with an array ``matrix`` of 20 x 7 chunks."""
    url = f"{bucket}/some/a.zarr"
    array = create_array(
        url, "matrix", shape=VALUES.shape, dtype="f4", chunks=(20, 7),
        dimension_names=("row", "column"),
    )  # fmt: skip
    for row in range(0, 50, 20):
        write_block(array, (row, 0), VALUES[row : row + 20])
    return url


def test_blocks_are_the_same_bits(stored, tmp_path):
    assert np.array_equal(open_array(stored, "matrix")[:], VALUES)
    local = create_array(
        tmp_path, "matrix", shape=VALUES.shape, dtype="f4", chunks=(20, 7),
        dimension_names=("row", "column"),
    )  # fmt: skip
    write_block(local, (0, 0), VALUES)
    there, here = stored_entries(stored, "matrix"), stored_entries(tmp_path, "matrix")
    assert [entry.digest for entry in there] == [entry.digest for entry in here]
    assert [entry.file for entry in there][1] == "a.zarr/matrix/c/0/0"
    assert xr.open_zarr(zarr_store(stored), consolidated=False)["matrix"].shape == (50, 7)
    remove_array(stored, "matrix")
    with pytest.raises(StorageError, match="no readable array 'matrix' in s3://"):
        open_array(stored, "matrix")


def test_a_chunk_that_is_gone_or_changed_is_found(stored):
    entries = {entry.file: entry for entry in stored_entries(stored, "matrix")}
    assert is_whole(stored, "matrix")
    chunk = ObjectPath.parse(f"{stored}/matrix/c/1/0")
    content = bytearray(chunk.read_bytes())
    content[9] ^= 1
    chunk.write_bytes(bytes(content))
    ObjectPath.parse(f"{stored}/matrix/c/2/0").unlink()
    assert missing_chunks(stored, "matrix") == [(2, 0)]
    assert damaged_chunks(stored, "matrix", entries=entries) == {(1, 0), (2, 0)}
    assert is_stored(open_array(stored, "matrix"), (1, 0))
    assert not is_stored(open_array(stored, "matrix"), (2, 0))
    with pytest.raises(StorageError, match="damaged in rows 20 to 40"):
        ZarrSource(stored, "matrix").read(slice(20, 40), slice(0, 7))


def test_credentials_do_not_travel(stored):
    array = open_array(stored, "matrix")
    sent = pickle.dumps(array)
    assert KEY_ID.encode() not in sent
    assert SECRET.encode() not in sent
    assert np.array_equal(pickle.loads(sent)[:], VALUES)
    assert stored in f"{array.store_path}"


def test_a_store_that_refuses_is_not_a_damaged_chunk(object_server, stored, monkeypatch):
    source = ZarrSource(stored, "matrix")
    refused = []

    def answer(method, path, headers):
        return 403 if "/c/" in path and refused else None

    with front(object_server, answer) as endpoint:
        use(monkeypatch, endpoint)
        assert np.array_equal(source.read(slice(0, 50), slice(0, 7)), VALUES)
        refused.append(True)
        with pytest.raises(ObjectStoreError, match=r"access to s3://.*/matrix/c/.* is denied"):
            source.read(slice(0, 20), slice(0, 7))
        with pytest.raises(ObjectStoreError, match="is denied"):
            damaged_chunks(stored, "matrix")


def test_inputs_of_every_kind_are_read_from_buckets(bucket, tmp_path):
    labelled = xr.DataArray(
        VALUES.astype(float), dims=("gene", "sample"),
        coords={"gene": [f"g{i}" for i in range(50)], "sample": [f"s{i}" for i in range(7)]},
    )  # fmt: skip
    frame = labelled.to_pandas()
    np.save(tmp_path / "a.npy", VALUES)
    frame.to_csv(tmp_path / "a.csv.gz")
    frame.to_parquet(tmp_path / "a.parquet")
    ingest(open_matrix(labelled), tmp_path / "a.zarr")
    url = upload(tmp_path, f"{bucket}/inputs")
    for name in ("a.npy", "a.csv.gz", "a.parquet", "a.zarr"):
        matrix = open_matrix(f"{url}/{name}")
        assert np.array_equal(matrix.values, VALUES), name
        if name != "a.npy":
            assert list(matrix.get_index("gene")) == list(frame.index), name
        before = fingerprint(f"{url}/{name}")
        changed = f"{url}/{name}" + ("/matrix/c/0/0" if name == "a.zarr" else "")
        path = ObjectPath.parse(changed)
        path.write_bytes(path.read_bytes()[:-9] + b"x" * 9)
        assert fingerprint(f"{url}/{name}") != before, name
    with pytest.raises(FileNotFoundError, match="no such file or directory: s3://"):
        open_matrix(f"{url}/none.csv")
