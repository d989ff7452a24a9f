"""The arithmetic of chunks and of the packed triangle."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clustergrid.storage.grid import (
    BLOCK_FEATURES,
    BLOCK_ROWS,
    TriangleGrid,
    is_aligned,
    round_up,
    slabs,
)

grids = st.builds(TriangleGrid, n=st.integers(1, 120), tile_edge=st.integers(1, 40))


@settings(deadline=None)
@given(grids)
def test_positions_and_tiles_are_inverse_and_row_by_row(grid):
    tiles = [grid.tile(p) for p in range(grid.n_tiles)]
    expected = [(i, j) for i in range(grid.n_edges) for j in range(i, grid.n_edges)]
    assert tiles == expected
    assert [grid.position(i, j) for i, j in tiles] == list(range(grid.n_tiles))


@settings(deadline=None)
@given(st.integers(2**40, 2**60), st.integers(1, 2**20), st.data())
def test_positions_past_what_a_float_holds(n, tile_edge, data):
    grid = TriangleGrid(n=n, tile_edge=tile_edge)
    position = data.draw(st.integers(0, grid.n_tiles - 1))
    i, j = grid.tile(position)
    assert grid.position(i, j) == position


@settings(deadline=None)
@given(grids)
def test_tiles_cover_every_pair_once(grid):
    covered = np.zeros((grid.n, grid.n), int)
    for position in range(grid.n_tiles):
        i, j = grid.tile(position)
        covered[grid.rows(i), grid.rows(j)] += 1
    upper = np.triu(np.ones_like(covered, bool))
    assert (covered[upper] == 1).all()
    assert covered.sum() == upper.sum() + np.count_nonzero(np.tril(covered, -1))


@pytest.mark.parametrize(("i", "j"), [(1, 0), (-1, 0), (0, 3), (3, 3)])
def test_tiles_that_are_not_there(i, j):
    grid = TriangleGrid(n=10, tile_edge=4)
    with pytest.raises(IndexError, match=rf"tile \({i}, {j}\) is not in a triangle of 3 tiles"):
        grid.position(i, j)


@pytest.mark.parametrize("position", [-1, 6])
def test_positions_that_are_not_there(position):
    with pytest.raises(IndexError, match=rf"position {position} is not in 0\.\.5"):
        TriangleGrid(n=10, tile_edge=4).tile(position)


@pytest.mark.parametrize(("n", "tile_edge"), [(0, 4), (-1, 4), (4, 0)])
def test_sizes_must_be_positive(n, tile_edge):
    with pytest.raises(ValueError, match=rf"positive, got n={n}, tile_edge={tile_edge}"):
        TriangleGrid(n=n, tile_edge=tile_edge)


@settings(deadline=None)
@given(st.integers(1, 60), st.integers(1, 25))
def test_every_tile_has_a_place_without_padding(n, edge):
    grid = TriangleGrid(n=n, tile_edge=edge)
    offset, places = 0, set()
    for position in range(grid.n_tiles):
        i, j = grid.tile(position)
        assert grid.offset(i, j) == offset
        rows, columns = grid.rows(i), grid.rows(j)
        shape = (rows.stop - rows.start, columns.stop - columns.start)
        assert grid.tile_shape(i, j) == shape
        offset += shape[0] * shape[1]
        stack, number = grid.place(i, j)
        assert grid.stacks[stack][1:] == shape
        assert 0 <= number < grid.stacks[stack][0]
        assert grid.placed(stack, number) == position
        places.add((stack, number))
    assert len(places) == grid.n_tiles == sum(count for count, _, _ in grid.stacks.values())
    assert offset == grid.n_values == sum(a * b * c for a, b, c in grid.stacks.values())


@pytest.mark.parametrize("place", [("tiles", 3), ("border", -1), ("border", 2), ("corner", 1)])
def test_a_place_that_is_none_is_refused(place):
    with pytest.raises(IndexError, match=f"tile {place[1]} is not one of the"):
        TriangleGrid(n=10, tile_edge=4).placed(*place)


@settings(deadline=None)
@given(st.integers(0, 1000), st.integers(1, 99))
def test_slabs_cut_without_gaps(length, step):
    cut = list(slabs(length, step))
    assert [x for s in cut for x in range(s.start, s.stop)] == list(range(length))
    assert all(s.stop - s.start == step for s in cut[:-1])
    assert all(is_aligned(s, step, length) for s in cut)
    assert len(cut) == round_up(length, step) // step


def test_a_slab_must_move():
    with pytest.raises(ValueError, match="step must be positive, got 0"):
        next(slabs(4, 0))


@settings(deadline=None)
@given(st.integers(1, 9), st.integers(1, 40), st.data())
def test_alignment_is_whole_chunks(chunk, length, data):
    start = data.draw(st.integers(0, length - 1))
    stop = data.draw(st.integers(start + 1, length))
    chunks = [set(range(s.start, s.stop)) for s in slabs(length, chunk)]
    region = set(range(start, stop))
    whole = all(c <= region or not c & region for c in chunks)
    assert is_aligned(slice(start, stop), chunk, length) == whole


def test_the_blocks_that_every_result_depends_on():
    # Another value changes the last bits of every product: it would need a new format version.
    assert (BLOCK_ROWS, BLOCK_FEATURES) == (512, 2048)
