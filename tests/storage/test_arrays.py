"""Arrays at rest: whole chunks only, and a checksum in each of them."""

import os
import threading
from pathlib import Path

import numpy as np
import pytest
import zarr

from clustergrid.storage.arrays import create_array, open_array, write_block
from clustergrid.storage.errors import StorageError


def chunk_files(store, path):
    files = [f for f in (Path(store) / path).rglob("*") if f.is_file() and f.name != "zarr.json"]
    return sorted(files)


@pytest.fixture
def array(tmp_path):
    return create_array(
        tmp_path / "a.zarr", "x", shape=(10, 7), dtype="float64", chunks=(4, 3), compressed=False
    )


@pytest.mark.parametrize(
    ("origin", "shape"),
    [
        ((0, 0), (4, 3)),
        ((4, 3), (4, 3)),
        ((0, 0), (8, 6)),
        ((8, 0), (2, 3)),
        ((4, 6), (6, 1)),
        ((0, 0), (10, 7)),
    ],
)
def test_whole_chunks_are_written(array, origin, shape):
    block = np.random.default_rng(0).normal(size=shape)
    write_block(array, origin, block)
    region = tuple(slice(o, o + s) for o, s in zip(origin, shape, strict=True))
    np.testing.assert_array_equal(array[region], block)
    assert np.count_nonzero(array[:]) == block.size


@pytest.mark.parametrize(
    ("origin", "shape", "axis"),
    [
        ((0, 0), (3, 3), 0),
        ((0, 0), (4, 2), 1),
        ((2, 0), (4, 3), 0),
        ((2, 0), (8, 3), 0),
        ((0, 1), (4, 6), 1),
        ((8, 0), (4, 3), 0),  # past the end
        ((8, 0), (1, 3), 0),
        ((0, 6), (4, 3), 1),
    ],
)
def test_parts_of_chunks_are_refused(array, origin, shape, axis):
    with pytest.raises(ValueError, match=rf"of axis {axis} does not cover whole chunks"):
        write_block(array, origin, np.ones(shape))
    assert not array[:].any()


def test_a_block_has_as_many_axes_as_its_origin(array):
    with pytest.raises(ValueError):
        write_block(array, (0,), np.ones((4, 3)))


def test_shards_are_written_whole(tmp_path):
    sharded = zarr.create_array(
        str(tmp_path / "s.zarr"), shape=(16,), chunks=(2,), shards=(8,), dtype="int64"
    )
    write_block(sharded, (8,), np.arange(8))
    with pytest.raises(ValueError, match=r"\[0, 2\) of axis 0 .* chunks of 8"):
        write_block(sharded, (0,), np.arange(2))
    np.testing.assert_array_equal(sharded[:], [0] * 8 + list(range(8)))


def test_writers_side_by_side_lose_nothing(tmp_path):
    array = create_array(tmp_path / "a.zarr", "x", shape=(64, 8), dtype="int64", chunks=(4, 8))
    values = np.arange(64 * 8).reshape(64, 8)
    threads = [
        threading.Thread(target=write_block, args=(array, (r, 0), values[r : r + 4]))
        for r in range(0, 64, 4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(array[:], values)


@pytest.mark.parametrize("compressed", [False, True])
def test_a_flipped_bit_is_noticed_in_every_chunk(tmp_path, compressed):
    values = np.arange(60.0).reshape(10, 6)
    create = create_array(
        tmp_path / "a.zarr",
        "x",
        shape=values.shape,
        dtype="float64",
        chunks=(4, 3),
        compressed=compressed,
    )
    write_block(create, (0, 0), values)
    files = chunk_files(tmp_path / "a.zarr", "x")
    assert len(files) == 6
    for file in files:
        original = file.read_bytes()
        for place in (0, len(original) // 2, len(original) - 1):
            broken = bytearray(original)
            broken[place] ^= 0x10
            file.write_bytes(broken)
            # zarr raises what the codec raises; reading must not go on.
            with pytest.raises(Exception, match=r"(?i)checksum|zstd|decompress|length|size"):
                open_array(tmp_path / "a.zarr", "x")[:]
        file.write_bytes(original[:-5])
        with pytest.raises(Exception, match=r"."):
            open_array(tmp_path / "a.zarr", "x")[:]
        file.write_bytes(original)
    np.testing.assert_array_equal(open_array(tmp_path / "a.zarr", "x")[:], values)


def test_attributes_and_names_are_kept(tmp_path):
    create_array(
        tmp_path / "a.zarr",
        "x",
        shape=(3,),
        dtype="float32",
        chunks=(3,),
        dimension_names=("gene",),
        attributes={"n": 3},
        fill_value=7,
    )
    array = open_array(tmp_path / "a.zarr", "x")
    assert array.metadata.dimension_names == ("gene",)
    assert dict(array.attrs) == {"n": 3}
    np.testing.assert_array_equal(array[:], [7, 7, 7])
    with pytest.raises(StorageError, match="cannot create the array 'x'"):
        create_array(tmp_path / "a.zarr", "x", shape=(3,), dtype="int8", chunks=(3,))
    again = create_array(
        tmp_path / "a.zarr", "x", shape=(2,), dtype="int8", chunks=(0,), overwrite=True
    )
    assert again.shape == (2,)


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(StorageError, match="no readable array 'x' in"):
        open_array(tmp_path / "nothing.zarr", "x")
    with pytest.raises(StorageError):
        open_array(tmp_path / "nothing.zarr", "x", mode="r+")


def test_a_full_disk_is_named(array, monkeypatch):
    def full(self, *args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(array), "__setitem__", full)
    with pytest.raises(StorageError, match=r"cannot write 96 bytes to .*No space left"):
        write_block(array, (0, 0), np.ones((4, 3)))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_place_that_cannot_be_written(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError):
        create_array(tmp_path / "a.zarr", "x", shape=(2,), dtype="int8", chunks=(2,))
