"""Regions of a Zarr array, read some chunks at a time."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clustergrid.storage import reading
from clustergrid.storage.arrays import create_array, open_array, write_block
from clustergrid.storage.reading import read_region
from tests.budget import examples


@pytest.fixture(scope="module")
def values():
    return np.arange(40 * 30, dtype=np.float32).reshape(40, 30)


@pytest.fixture(scope="module")
def array(tmp_path_factory, values):
    store = tmp_path_factory.mktemp("store")
    array = create_array(store, "x", shape=values.shape, dtype="float32", chunks=(7, 4))
    write_block(array, (0, 0), values)
    return open_array(store, "x")


@settings(max_examples=examples(150), deadline=None)
@given(data=st.data())
def test_any_region_is_the_arrays(array, values, data):
    decoded = data.draw(st.sampled_from([1, 7 * 4 * 4, 3 * 7 * 4 * 4, 20 * 7 * 4 * 4, 10**6]))
    ends = [
        sorted(data.draw(st.lists(st.integers(0, length), min_size=2, max_size=2)))
        for length in values.shape
    ]
    rows, columns = (slice(*pair) for pair in ends)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "DECODED_BYTES", decoded)
        found = read_region(array, rows, columns)
    np.testing.assert_array_equal(found, values[rows, columns])
    assert found.shape == values[rows, columns].shape


def test_each_chunk_is_read_once(array, monkeypatch):
    read = []

    class Watched:
        shape, dtype, chunks, shards = array.shape, array.dtype, array.chunks, None

        def __getitem__(self, region):
            read.append(tuple((part.start, part.stop) for part in region))
            return array[region]

    monkeypatch.setattr(reading, "DECODED_BYTES", 2 * 7 * 4 * 4)
    read_region(Watched(), slice(5, 20), slice(3, 13))
    assert read == [
        *(((5, 7), (3, 8)), ((5, 7), (8, 13))),
        *(((7, 14), (3, 8)), ((7, 14), (8, 13))),
        *(((14, 20), (3, 8)), ((14, 20), (8, 13))),
    ]


def test_few_chunks_are_held(tmp_path):
    array = create_array(tmp_path, "x", shape=(3000, 4000), dtype="float64", chunks=(500, 1000))
    rng = np.random.default_rng(0)
    for top in range(0, 3000, 500):
        write_block(array, (top, 0), rng.standard_normal((500, 4000)))
    array = open_array(tmp_path, "x")
    tracemalloc.start()
    read_region(array, slice(0, 3000), slice(0, 500))
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert held < 3000 * 500 * 8 + 3 * reading.DECODED_BYTES
