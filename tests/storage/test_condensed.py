"""The condensed distance matrix, in memory and at rest."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import squareform

from clustergrid.storage.arrays import create_array
from clustergrid.storage.condensed import (
    CondensedDistances,
    create_condensed,
    open_condensed,
    write_tile,
)
from clustergrid.storage.errors import StorageError
from clustergrid.storage.grid import TriangleGrid


def distances(n, dtype="float64"):
    values = np.random.default_rng(n).uniform(1, 2, n * (n - 1) // 2).astype(dtype)
    return squareform(values) if n > 1 else np.zeros((1, 1), dtype)


def fill(condensed, square):
    grid = condensed.grid
    for position in range(grid.n_tiles):
        i, j = grid.tile(position)
        write_tile(condensed, i, j, square[grid.rows(i), grid.rows(j)])


def in_memory(n, edge, dtype="float64"):
    grid = TriangleGrid(n=n, tile_edge=edge)
    return CondensedDistances(grid, np.zeros((grid.n_tiles, edge, edge), dtype))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("at_rest", [False, True])
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(n=st.integers(1, 40), edge=st.integers(1, 15))
def test_it_is_scipys_condensed_matrix(tmp_path_factory, at_rest, dtype, n, edge):
    square = distances(n, dtype)
    if at_rest:
        store = tmp_path_factory.mktemp("condensed") / "d.zarr"
        fill(create_condensed(store, "d", n=n, tile_edge=edge, dtype=dtype), square)
        condensed = open_condensed(store, "d")
    else:
        condensed = in_memory(n, edge, dtype)
        fill(condensed, square)
    expected = squareform(square) if n > 1 else np.zeros(0)
    found = condensed.to_numpy()
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == condensed.dtype == dtype
    assert condensed.n == n
    assert condensed.shape == expected.shape == (len(condensed),)
    assert condensed.nbytes == found.nbytes
    for rows, columns, tile in condensed.iter_tiles():
        np.testing.assert_array_equal(tile, square[rows, columns])
    for i in range(condensed.grid.n_edges):
        for j in range(condensed.grid.n_edges):
            tile = square[condensed.grid.rows(i), condensed.grid.rows(j)]
            np.testing.assert_array_equal(condensed.tile(i, j), tile)


def test_one_pair_is_looked_up(tmp_path):
    square = distances(11)
    for condensed in (
        in_memory(11, 4),
        create_condensed(tmp_path / "d.zarr", "d", n=11, tile_edge=4, dtype="float64"),
    ):
        fill(condensed, square)
        for i in range(11):
            for j in range(11):
                assert condensed[i, j] == square[i, j]
        assert condensed[-1, 0] == square[10, 0]
        assert condensed[np.int64(3), np.int32(9)] == square[3, 9]
        for pair in ((0, 11), (-12, 0)):
            with pytest.raises(IndexError):
                condensed[pair]


def test_edges_are_padded_with_zeros(tmp_path):
    condensed = create_condensed(tmp_path / "d.zarr", "d", n=10, tile_edge=4, dtype="float64")
    fill(condensed, distances(10) + 1)
    raw = condensed.tiles[:]
    for position in range(condensed.grid.n_tiles):
        i, j = condensed.grid.tile(position)
        rows, columns = (s.stop - s.start for s in map(condensed.grid.rows, (i, j)))
        assert (raw[position, :rows, :columns] > 0).all()
        assert not raw[position, rows:].any()
        assert not raw[position, :, columns:].any()


def test_a_tile_is_never_larger_than_the_matrix(tmp_path):
    condensed = create_condensed(tmp_path / "d.zarr", "d", n=10, tile_edge=4096, dtype="float32")
    assert condensed.grid.tile_edge == 10
    assert condensed.tiles.shape == (1, 10, 10)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_size_on_disk(tmp_path, dtype):
    n, edge = 1536, 128
    condensed = create_condensed(tmp_path / "d.zarr", "d", n=n, tile_edge=edge, dtype=dtype)
    fill(condensed, distances(n, dtype))
    size = sum(f.stat().st_size for f in (Path(tmp_path) / "d.zarr").rglob("*") if f.is_file())
    itemsize = np.dtype(dtype).itemsize
    # Every pair once, and of the diagonal tiles the lower halves too.
    expected = n * (n - 1) // 2 * itemsize + (n // edge) * edge * (edge + 1) // 2 * itemsize
    assert expected <= size <= 1.03 * expected


def test_a_flipped_bit_in_a_tile_is_noticed(tmp_path):
    condensed = create_condensed(tmp_path / "d.zarr", "d", n=20, tile_edge=8, dtype="float64")
    fill(condensed, distances(20))
    files = [f for f in (tmp_path / "d.zarr" / "d" / "c").rglob("*") if f.is_file()]
    assert len(files) == condensed.grid.n_tiles
    for file in files:
        original = file.read_bytes()
        broken = bytearray(original)
        broken[100] ^= 1
        file.write_bytes(broken)
        with pytest.raises(ValueError, match=r"(?i)checksum"):
            open_condensed(tmp_path / "d.zarr", "d").to_numpy()
        file.write_bytes(original)


def test_what_is_not_distances_is_refused(tmp_path):
    store = tmp_path / "a.zarr"
    with pytest.raises(StorageError, match="no readable array"):
        open_condensed(store, "x")
    create_array(store, "x", shape=(3,), dtype="float64", chunks=(3,))
    with pytest.raises(StorageError, match="not a condensed distance matrix"):
        open_condensed(store, "x")
    create_array(
        store,
        "y",
        shape=(3,),
        dtype="float64",
        chunks=(3,),
        attributes={"clustergrid": "condensed"},
    )
    with pytest.raises(StorageError, match="does not say its n and tile_edge"):
        open_condensed(store, "y")


def test_an_array_of_somebody_else_is_not_replaced(tmp_path):
    import zarr

    zarr.create_array(str(tmp_path), name="d", shape=(3,), dtype="f8", zarr_format=3)
    with pytest.raises(OSError, match="did not write and would replace"):
        create_condensed(tmp_path, "d", n=5, tile_edge=512, dtype="f8", overwrite=True)
    create_condensed(tmp_path, "e", n=5, tile_edge=512, dtype="f8", overwrite=True)
    create_condensed(tmp_path, "e", n=6, tile_edge=512, dtype="f8", overwrite=True)
