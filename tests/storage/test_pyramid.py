"""The pyramid: every cell of a level is what the cells of the matrix below it are."""

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from clustergrid.storage.arrays import create_array, write_block
from clustergrid.storage.errors import StorageError
from clustergrid.storage.pyramid import (
    PARTS,
    Level,
    create_level,
    halved,
    level_dtype,
    open_level,
    write_region,
)
from clustergrid.storage.pyramid_plan import level_for, levels, pyramid_cells
from tests.budget import examples


def values_of(n, k, seed, dtype=np.float64):
    random = np.random.default_rng(seed)
    values = (random.normal(size=(n, k)) * 10).astype(dtype)
    if np.dtype(dtype).kind == "f":
        values[random.random((n, k)) < 0.3] = np.nan
    return values


def plain(values, size):
    """Every cell of a level, by its definition."""
    n, k = (-(-length // size) for length in values.shape)
    found = {part: np.full((n, k), np.nan) for part in PARTS}
    found["count"] = np.zeros((n, k), np.int64)
    for a in range(n):
        for b in range(k):
            cells = values[a * size : (a + 1) * size, b * size : (b + 1) * size].astype(float)
            cells = cells[~np.isnan(cells)]
            found["count"][a, b] = cells.size
            if cells.size:
                found["mean"][a, b] = cells.mean()
                found["minimum"][a, b], found["maximum"][a, b] = cells.min(), cells.max()
    return found


def assert_level(found, expected, dtype):
    exact = ("minimum", "maximum", "count")
    for part in exact:
        np.testing.assert_array_equal(found[part], expected[part])
    rtol = 1e-5 if dtype == np.float32 else 1e-10
    np.testing.assert_allclose(found["mean"], expected["mean"], rtol=rtol, atol=10 * rtol)


@settings(max_examples=examples(60), deadline=None)
@given(
    n=st.integers(1, 40),
    k=st.integers(1, 40),
    tile=st.integers(1, 9),
    dtype=st.sampled_from([np.float64, np.float32, np.int16, bool]),
    region_cells=st.integers(1, 300),
    seed=st.integers(0, 1000),
)
def test_levels_are_of_the_cells_below(tmp_path_factory, n, k, tile, dtype, region_cells, seed):
    store = tmp_path_factory.mktemp("pyramid") / "a.zarr"
    values = values_of(n, k, seed, dtype)
    array = create_array(store, "matrix", shape=(n, k), dtype=dtype, chunks=(7, 5))
    write_block(array, (0, 0), values)
    for number, shape in enumerate(levels((n, k), tile), 1):
        level = Level(
            store=str(store),
            source="matrix",
            number=number,
            shape=shape,
            dtype=level_dtype(np.dtype(dtype)),
            tile=tile,
        )
        create_level(level, ("gene", "sample"), "key")
        for region in level.regions(region_cells):
            write_region(level, region, "key")
        opened = open_level(store, number)
        assert opened["mean"].dims == ("gene", "sample")
        assert opened["mean"].dtype == level.dtype
        found = {part: opened[part].values for part in PARTS}
        assert_level(found, plain(values, 2**number), level.dtype)


def test_every_chunk_has_a_checksum_and_is_there(tmp_path):
    store = tmp_path / "a.zarr"
    array = create_array(store, "matrix", shape=(20, 9), dtype=np.float32, chunks=(20, 9))
    write_block(array, (0, 0), np.zeros((20, 9), np.float32))
    level = Level(
        store=str(store),
        source="matrix",
        number=1,
        shape=(10, 5),
        dtype=np.dtype(np.float32),
        tile=4,
    )
    for name in create_level(level, ("a", "b"), "key"):
        assert "crc32c" in str(zarr.open_array(store, path=name).metadata.codecs).lower()
    for region in level.regions(4):
        write_region(level, region, "key")
    for part in PARTS:
        # Of zeros, too: what is missing is lost.
        assert len(list((store / f"pyramid/1/{part}/c").rglob("*/*"))) == 6


def test_a_task_of_another_pyramid_writes_nothing(tmp_path):
    store = tmp_path / "a.zarr"
    array = create_array(store, "matrix", shape=(20, 9), dtype=np.float32, chunks=(20, 9))
    write_block(array, (0, 0), np.zeros((20, 9), np.float32))
    level = Level(
        store=str(store), source="matrix", number=1, shape=(10, 5), dtype=np.dtype(np.float32)
    )
    create_level(level, ("a", "b"), "new")
    with pytest.raises(StorageError, match="begun anew"):
        write_region(level, (slice(0, 10), slice(0, 5)), "old")


def test_a_level_that_there_is_not(tmp_path):
    zarr.open_group(tmp_path / "a.zarr", mode="w")
    with pytest.raises(StorageError, match="no level 3"):
        open_level(tmp_path / "a.zarr", 3)


def test_infinities_and_nothing():
    values = np.array([[np.inf, -np.inf, np.nan], [1.0, 2.0, np.nan]])
    found = halved({"mean": values}, np.dtype(np.float64))
    np.testing.assert_array_equal(found["mean"], [[np.nan, np.nan]])
    np.testing.assert_array_equal(found["minimum"], [[-np.inf, np.nan]])
    np.testing.assert_array_equal(found["maximum"], [[np.inf, np.nan]])
    np.testing.assert_array_equal(found["count"], [[4, 0]])


@settings(deadline=None)
@given(shape=st.tuples(st.integers(1, 10**7), st.integers(1, 10**7)))
def test_the_last_level_fits_one_tile(shape):
    found = levels(shape)
    last = found[-1] if found else shape
    assert max(last) <= 512
    assert all(max(before) > 512 for before in (shape, *found)[: len(found)])
    assert pyramid_cells(shape) <= shape[0] * shape[1] // 2 + 2 * max(shape) + 100


@settings(deadline=None)
@given(
    cells=st.tuples(st.integers(1, 10**6), st.integers(1, 10**6)),
    pixels=st.tuples(st.integers(1, 4000), st.integers(1, 4000)),
    n_levels=st.integers(0, 12),
)
def test_the_chosen_level_is_the_smallest_that_does(cells, pixels, n_levels):
    chosen = level_for(n_levels, cells, pixels)
    assert 0 <= chosen <= n_levels

    def does(level):
        return all(c / 2**level >= p for c, p in zip(cells, pixels, strict=True))

    assert chosen == 0 or does(chosen)
    assert chosen == n_levels or not does(chosen + 1)
