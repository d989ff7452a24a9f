"""Tiles of distances that somebody else computed, read from where they are."""

import pickle

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import squareform

from clustergrid.storage.condensed import CondensedDistances
from clustergrid.storage.errors import IntegrityError
from clustergrid.storage.grid import TriangleGrid
from clustergrid.storage.precomputed import (
    ArrayVector,
    NpyVector,
    SquareTiles,
    VectorTiles,
    ZarrVector,
    observations_of,
    open_vector,
)
from clustergrid.storage.source import ArraySource
from tests.budget import examples


def vector_of(n, dtype="float64"):
    return np.random.default_rng(n).uniform(1, 2, n * (n - 1) // 2).astype(dtype)


@settings(
    max_examples=examples(40),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    n=st.integers(2, 40),
    edge=st.integers(1, 15),
    chunk=st.integers(1, 200),
    where=st.sampled_from(["memory", "zarr", "npy"]),
    dtype=st.sampled_from(["float32", "float64"]),
)
def test_tiles_of_a_vector_are_those_of_the_square(tmp_path_factory, n, edge, chunk, where, dtype):
    values = vector_of(n)
    given_vector = values
    if where == "zarr":
        given_vector = tmp_path_factory.mktemp("v") / "v.zarr"
        zarr.create_array(str(given_vector), data=values, chunks=(min(chunk, len(values)),))
    elif where == "npy":
        given_vector = tmp_path_factory.mktemp("v") / "v.npy"
        np.save(given_vector, values)
    vector = pickle.loads(pickle.dumps(open_vector(given_vector)))
    assert isinstance(vector, {"memory": ArrayVector, "zarr": ZarrVector, "npy": NpyVector}[where])
    grid = TriangleGrid(n=n, tile_edge=edge)
    condensed = CondensedDistances(grid, VectorTiles(grid, vector, np.dtype(dtype)))
    expected = values.astype(dtype)
    np.testing.assert_array_equal(condensed.to_numpy(), expected)
    np.testing.assert_array_equal(condensed[:, :], squareform(expected))
    assert condensed.dtype == dtype


@settings(max_examples=examples(40), deadline=None)
@given(n=st.integers(1, 40), edge=st.integers(1, 15))
def test_tiles_of_a_square_are_its_upper_triangle(n, edge):
    upper = np.triu(np.random.default_rng(n).uniform(1, 2, (n, n)), 1)
    square = upper + 2 * upper.T + np.eye(n)
    grid = TriangleGrid(n=n, tile_edge=edge)
    tiles = SquareTiles(grid, ArraySource(square), np.dtype("float64"))
    condensed = CondensedDistances(grid, tiles)
    np.testing.assert_array_equal(condensed[:, :], upper + upper.T)
    if grid.n_edges > 1:
        assert np.shares_memory(condensed.tile(0, 1), square)


def test_what_is_just_below_zero_is_zero():
    square = np.array([[0.0, -1e-17, 2.0], [-1e-17, 0.0, 1.0], [2.0, 1.0, 0.0]])
    grid = TriangleGrid(n=3, tile_edge=2)
    for tiles in (
        SquareTiles(grid, ArraySource(square), np.dtype("float64"), True),
        VectorTiles(grid, ArrayVector(square[[0, 0, 1], [1, 2, 2]]), np.dtype("float64"), True),
    ):
        assert CondensedDistances(grid, tiles).to_numpy().tolist() == [0.0, 2.0, 1.0]


def test_rows_in_one_chunk_are_read_together(tmp_path):
    n = 40
    zarr.create_array(str(tmp_path / "v.zarr"), data=vector_of(n), chunks=(400,))
    vector = ZarrVector(str(tmp_path / "v.zarr"), "")
    reads = []

    class Counted(ZarrVector):
        def read(self, start, stop):
            reads.append((start, stop))
            return super().read(start, stop)

    grid = TriangleGrid(n=n, tile_edge=20)
    tiles = VectorTiles(grid, Counted(vector.store, vector.path), np.dtype("float64"))
    tiles.read(0, 1)
    assert len(reads) == 2  # ten rows of at most 40 distances in a chunk of 400


@pytest.mark.parametrize("n", [2, 3, 10, 1000, 94_906_267])
def test_a_length_tells_the_observations(n):
    assert observations_of(n * (n - 1) // 2) == n


@pytest.mark.parametrize(
    ("size", "nearest"), [(0, "2 observations, have 1"), (2, "2 observations, have 1"),
                          (4, "3 observations, have 3"), (44, "10 observations, have 45")],
)  # fmt: skip
def test_another_length_names_the_nearest(size, nearest):
    with pytest.raises(ValueError, match=f"no n has {size}: the nearest, {nearest}"):
        observations_of(size)


def test_what_is_no_vector_is_left_to_others(tmp_path):
    zarr.create_array(str(tmp_path / "s.zarr"), data=np.eye(3))
    np.save(tmp_path / "s.npy", np.eye(3))
    (tmp_path / "bad.npy").write_bytes(b"nothing")
    (tmp_path / "folder").mkdir()
    for data in (np.eye(3), [[0, 1], [1, 0]], tmp_path / "s.zarr", str(tmp_path / "s.npy"),
                 tmp_path / "bad.npy", tmp_path / "folder", tmp_path / "none.csv"):  # fmt: skip
        assert open_vector(data) is None


def test_a_vector_of_zarr_in_memory_is_read():
    array = zarr.create_array(zarr.storage.MemoryStore(), data=np.arange(3.0))
    assert isinstance(open_vector(array), ArrayVector)


def test_a_damaged_vector_is_named(tmp_path):
    from clustergrid.storage.arrays import create_array

    array = create_array(tmp_path, "v", shape=(10,), dtype="f8", chunks=(10,), compressed=False)
    array[:] = vector_of(5)
    file = tmp_path / "v" / "c" / "0"
    content = bytearray(file.read_bytes())
    content[9] ^= 1
    file.write_bytes(content)
    with pytest.raises(IntegrityError, match=r"'v' in .* is damaged between 0 and 10"):
        ZarrVector(str(tmp_path), "v").read(0, 10)
