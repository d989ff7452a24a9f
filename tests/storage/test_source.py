"""Matrices that tasks read: in memory and at rest, and transposed."""

import pickle

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from clustergrid.storage.arrays import create_array, write_block
from clustergrid.storage.source import ArraySource, ZarrSource
from tests.budget import examples

pytestmark = pytest.mark.quick_cases(one_in=4)

VALUES = np.random.default_rng(0).normal(size=(23, 11)).astype(np.float32)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    store = tmp_path_factory.mktemp("source") / "a.zarr"
    array = create_array(store, "x", shape=VALUES.shape, dtype="float32", chunks=(5, 4))
    write_block(array, (0, 0), VALUES)
    return ZarrSource(str(store), "x")


@settings(max_examples=examples(40), deadline=None)
@given(data=st.data(), transposed=st.booleans())
def test_any_block_is_read(stored, data, transposed):
    values = VALUES.T if transposed else VALUES
    edges = [
        sorted(data.draw(st.lists(st.integers(0, n), min_size=2, max_size=2))) for n in values.shape
    ]
    rows, columns = (slice(*pair) for pair in edges)
    for source in (ArraySource(VALUES), stored):
        found = (source.transpose() if transposed else source).read(rows, columns)
        assert isinstance(found, np.ndarray)
        np.testing.assert_array_equal(found, values[rows, columns])


def test_shape_type_and_chunks(stored):
    for source, chunks in ((ArraySource(VALUES), (23, 11)), (stored, (5, 4))):
        assert source.shape == (23, 11)
        assert source.dtype == np.float32
        assert source.chunks == chunks
        assert source.transpose().shape == (11, 23)
        assert source.transpose().chunks == chunks[::-1]
        assert source.transpose().transpose().shape == (23, 11)


def test_a_matrix_in_memory_is_not_copied():
    block = ArraySource(VALUES).transpose().read(slice(0, 5), slice(2, 7))
    assert np.shares_memory(block, VALUES)


def test_a_stored_matrix_travels_as_its_location(stored):
    assert stored.shape == (23, 11)  # it is open now
    for source in (stored, stored.transpose()):
        sent = pickle.dumps(source)
        assert len(sent) < 500 + len(source.store)
        back = pickle.loads(sent)
        assert back == source
        np.testing.assert_array_equal(
            back.read(slice(0, 4), slice(1, 3)), source.read(slice(0, 4), slice(1, 3))
        )


def test_shards_are_what_is_cheap_to_read(tmp_path):
    zarr.create_array(
        str(tmp_path / "s.zarr"),
        name="x",
        shape=(16, 16),
        chunks=(2, 4),
        shards=(8, 16),
        dtype="i4",
    )
    assert ZarrSource(str(tmp_path / "s.zarr"), "x").chunks == (8, 16)
