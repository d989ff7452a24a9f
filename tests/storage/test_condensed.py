"""The condensed distance matrix, in memory and at rest."""

from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import squareform

from clustergrid.storage.arrays import create_array
from clustergrid.storage.condensed import (
    allocate_condensed,
    create_condensed,
    open_condensed,
    write_tile,
)
from clustergrid.storage.condensed_chunks import missing_tiles
from clustergrid.storage.errors import IntegrityError, StorageError
from tests.budget import examples

pytestmark = pytest.mark.quick_cases(one_in=16)


def distances(n, dtype="float64"):
    values = np.random.default_rng(n).uniform(1, 2, n * (n - 1) // 2).astype(dtype)
    return squareform(values) if n > 1 else np.zeros((1, 1), dtype)


def fill(condensed, square):
    grid = condensed.grid
    for position in range(grid.n_tiles):
        i, j = grid.tile(position)
        write_tile(condensed, i, j, square[grid.rows(i), grid.rows(j)])


def in_memory(n, edge, dtype="float64"):
    return allocate_condensed(n=n, tile_edge=edge, dtype=dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("at_rest", [False, True])
@settings(
    max_examples=examples(15),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
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


def test_ranges_are_looked_up(tmp_path):
    square = distances(11)
    for condensed in (
        in_memory(11, 4),
        create_condensed(tmp_path / "d.zarr", "d", n=11, tile_edge=4, dtype="float64"),
    ):
        fill(condensed, square)
        for part in np.s_[:, 3:9, ::-2, 9:2:-3, 5:5, 10, -1, -20:40]:
            for other in np.s_[:, 2:10:3, 7, -11, 8:1]:
                np.testing.assert_array_equal(condensed[part, other], square[part, other])
            np.testing.assert_array_equal(condensed[part], square[part])
        found = condensed[:4, :4]
        found[:] = -1  # is a copy
        np.testing.assert_array_equal(condensed[:, :], square)


@pytest.mark.parametrize(
    ("key", "error", "message"),
    [
        ((0, 11), IndexError, r"no observation 11 among 11 \(0 to 10\)"),
        ((-12, 0), IndexError, "no observation -12 among 11"),
        ((1, 2, 3), IndexError, "between two observations, got 3 indices"),
        (("g1", "g2"), TypeError, r"not by 'g1': use to_xarray\(\)\.sel"),
        ((1.0, 2), TypeError, r"not by 1\.0"),
        (([1, 2], 0), TypeError, r"not by \[1, 2\]: .* and square\(\) for arrays"),
    ],
)
def test_what_is_no_pair_is_refused(key, error, message):
    with pytest.raises(error, match=message):
        in_memory(11, 4)[key]


@pytest.mark.parametrize("n_and_edge", [(10, 4), (8, 4), (9, 4), (3, 4), (4, 3)])
def test_no_tile_is_padded(tmp_path, n_and_edge):
    n, edge = n_and_edge
    condensed = create_condensed(tmp_path / "d.zarr", "d", n=n, tile_edge=edge, dtype="float64")
    fill(condensed, distances(n) + 1)
    itemsize, checksum = 8, 4
    files = [f for f in (tmp_path / "d.zarr").rglob("c/*/0/0") if f.is_file()]
    assert len(files) == condensed.grid.n_tiles
    values = (sum(f.stat().st_size for f in files) - checksum * len(files)) / itemsize
    assert values == condensed.grid.n_values
    assert in_memory(n, edge).tiles.values.size == condensed.grid.n_values


def test_a_tile_is_computed_in_its_place():
    square = distances(11)
    condensed = in_memory(11, 4)
    for position in range(condensed.grid.n_tiles):
        i, j = condensed.grid.tile(position)
        place = condensed.tile_out(i, j)
        assert place.flags.c_contiguous
        assert place.flags.writeable
        assert np.shares_memory(place, condensed.tiles.values)
        place[:] = square[condensed.grid.rows(i), condensed.grid.rows(j)]
    np.testing.assert_array_equal(condensed[:, :], square)


def test_a_tile_at_rest_has_no_place_in_memory(tmp_path):
    condensed = create_condensed(tmp_path / "d.zarr", "d", n=10, tile_edge=4, dtype="float64")
    with pytest.raises(TypeError, match="give them to write_tile"):
        condensed.tile_out(0, 0)
    with pytest.raises(TypeError, match="not at rest"):
        _ = in_memory(4, 2).stored


def test_a_tile_of_another_shape_is_refused(tmp_path):
    for condensed in (
        in_memory(10, 4),
        create_condensed(tmp_path / "d.zarr", "d", n=10, tile_edge=4, dtype="float64"),
    ):
        with pytest.raises(ValueError, match=r"tile \(0, 2\) has shape \(4, 2\), got \(4, 4\)"):
            write_tile(condensed, 0, 2, np.zeros((4, 4)))


def test_a_tile_is_never_larger_than_the_matrix(tmp_path):
    condensed = create_condensed(tmp_path / "d.zarr", "d", n=10, tile_edge=4096, dtype="float32")
    assert condensed.grid.tile_edge == 10
    assert condensed.grid.stacks == {"tiles": (1, 10, 10)}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("n", "edge"), [(1536, 128), (1600, 512), (1250, 500), (1001, 500), (2047, 512), (600, 512)]
)
def test_size_on_disk(tmp_path, dtype, n, edge):
    condensed = create_condensed(tmp_path / "d.zarr", "d", n=n, tile_edge=edge, dtype=dtype)
    fill(condensed, distances(n, dtype))
    size = sum(f.stat().st_size for f in (Path(tmp_path) / "d.zarr").rglob("*") if f.is_file())
    itemsize = np.dtype(dtype).itemsize
    # Every pair once, and of the diagonal tiles the lower halves and the diagonals too.
    heights = [min(edge, n - start) for start in range(0, n, edge)]
    diagonal = sum(height * (height + 1) // 2 for height in heights)
    expected = (n * (n - 1) // 2 + diagonal) * itemsize
    assert expected <= size <= 1.03 * expected
    assert size == pytest.approx(expected, rel=0.002)


def test_a_flipped_bit_in_a_tile_is_noticed(tmp_path):
    condensed = create_condensed(tmp_path / "d.zarr", "d", n=20, tile_edge=8, dtype="float64")
    fill(condensed, distances(20))
    files = [f for f in (tmp_path / "d.zarr" / "d").rglob("c/*/0/0") if f.is_file()]
    assert len(files) == condensed.grid.n_tiles
    for file in files:
        original = file.read_bytes()
        broken = bytearray(original)
        broken[100] ^= 1
        file.write_bytes(broken)
        with pytest.raises(IntegrityError, match=r"(?i)tile \(\d, \d\) of .* checksum"):
            open_condensed(tmp_path / "d.zarr", "d").to_numpy()
        file.write_bytes(original)


def test_a_tile_that_is_not_there_is_noticed(tmp_path):
    condensed = create_condensed(tmp_path, "d", n=20, tile_edge=8, dtype="float64")
    square = distances(20)
    fill(condensed, square)
    (tmp_path / "d" / "border" / "c" / "1" / "0" / "0").unlink()
    opened = open_condensed(tmp_path)
    np.testing.assert_array_equal(opened[:8, :], square[:8])
    with pytest.raises(IntegrityError, match=r"tile \(1, 2\) of .* is not there"):
        opened[17, 9]
    assert missing_tiles(opened.stored) == [opened.grid.position(1, 2)]


def test_what_is_not_distances_is_refused(tmp_path):
    store = tmp_path / "a.zarr"
    with pytest.raises(StorageError, match="neither a Zarr group nor a run directory"):
        open_condensed(store, "x")
    create_array(store, "x", shape=(3,), dtype="float64", chunks=(3,))
    with pytest.raises(StorageError, match="no condensed distance matrix; it holds x"):
        open_condensed(store, "x")
    ours = {"clustergrid": "condensed"}
    create_array(store, "y", shape=(3,), dtype="float64", chunks=(3,), attributes=ours)
    with pytest.raises(StorageError, match="does not say its n, tile_edge and dtype"):
        open_condensed(store, "y")


@pytest.mark.parametrize("wrong", [{"n": 0}, {"tile_edge": -1}, {"dtype": "O"}, {"dtype": "?!"}])
def test_attributes_that_say_nothing_sensible_are_refused(tmp_path, wrong):
    create_condensed(tmp_path, "d", n=5, tile_edge=4, dtype="f8")
    zarr.open_group(str(tmp_path), path="d", mode="r+").attrs.update(wrong)
    with pytest.raises(StorageError, match="its metadata are damaged"):
        open_condensed(tmp_path)


@pytest.mark.parametrize("wrong", [{"n": 13}, {"tile_edge": 3}, {"dtype": "float32"}])
def test_arrays_that_are_not_those_of_the_attributes_are_refused(tmp_path, wrong):
    create_condensed(tmp_path, "d", n=5, tile_edge=4, dtype="f8")
    zarr.open_group(str(tmp_path), path="d", mode="r+").attrs.update(wrong)
    with pytest.raises(IntegrityError, match="were written there"):
        open_condensed(tmp_path).to_numpy()


def test_distances_are_found_in_their_store(tmp_path):
    store, run = tmp_path / "store", tmp_path / "run"
    for folder, name in ((store, "condensed_row"), (run / "arrays.zarr", "condensed_row_0a1b_4")):
        fill(create_condensed(folder, name, n=5, tile_edge=4, dtype="f8"), distances(5))
    expected = squareform(distances(5))
    for place in (
        (store,),
        (str(store), "condensed_row"),
        (store / "condensed_row",),
        (run,),
        (run, "condensed_row"),
        (run / "arrays.zarr", "condensed_row"),
    ):
        np.testing.assert_array_equal(open_condensed(*place).to_numpy(), expected)
    create_condensed(store, "condensed_col", n=5, tile_edge=4, dtype="f8")
    with pytest.raises(StorageError, match="holds condensed_col, condensed_row: name one"):
        open_condensed(store)
    with pytest.raises(StorageError, match="holds condensed_col, condensed_row, and no 'c'"):
        open_condensed(store, "c")


def test_an_array_of_somebody_else_is_not_replaced(tmp_path):
    zarr.create_array(str(tmp_path), name="d", shape=(3,), dtype="f8", zarr_format=3)
    with pytest.raises(OSError, match="did not write and would replace"):
        create_condensed(tmp_path, "d", n=5, tile_edge=512, dtype="f8", overwrite=True)
    create_condensed(tmp_path, "e", n=5, tile_edge=512, dtype="f8", overwrite=True)
    create_condensed(tmp_path, "e", n=6, tile_edge=512, dtype="f8", overwrite=True)
