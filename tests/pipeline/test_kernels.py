"""Statistics of blocks, and copies of tiles, against NumPy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clustergrid.pipeline import kernels
from clustergrid.pipeline._jit import jit
from tests.budget import examples


@settings(max_examples=examples(40), deadline=None)
@given(n=st.integers(1, 40), k=st.integers(1, 40), seed=st.integers(0, 9))
def test_statistics_of_a_block(n, k, seed):
    rng = np.random.default_rng(seed)
    block = rng.normal(size=(n, k)) + 1e3
    block[rng.random((n, k)) < 0.2] = np.nan
    if seed % 3 == 0:
        block[rng.random((n, k)) < 0.1] = -np.inf
    for found, axis in zip(kernels.block_statistics(block), (1, 0), strict=True):
        columns = dict(zip(kernels.STATISTICS, found.T, strict=True))
        present = ~np.isnan(block)
        np.testing.assert_array_equal(columns["count"], present.sum(axis))
        np.testing.assert_array_equal(columns["infinite"], np.isinf(block).sum(axis))
        some = (columns["count"] > 0) & (columns["infinite"] == 0)
        lines = np.moveaxis(block, axis, 1)
        for i in np.flatnonzero(some):
            line = lines[i][~np.isnan(lines[i])]
            np.testing.assert_allclose(columns["mean"][i], line.mean(), rtol=1e-13)
            expected = ((line - line.mean()) ** 2).sum()
            np.testing.assert_allclose(columns["m2"][i], expected, rtol=1e-9, atol=1e-18)
            assert columns["minimum"][i] == line.min()
            assert columns["maximum"][i] == line.max()


@pytest.mark.parametrize("shape", [(2048, 70), (300, 2048), (2048, 1), (1, 2048), (1999, 33)])
def test_strips_change_no_bit_of_statistics(shape):
    rng = np.random.default_rng(5)
    block = rng.normal(size=shape) * 10.0 ** rng.integers(-3, 6, shape)
    present = np.ones(shape, bool)
    for found, axis in zip(kernels.block_statistics(block), (1, 0), strict=True):
        expected = kernels._axis_statistics(block, axis, present)
        np.testing.assert_array_equal(found, expected)


@settings(max_examples=examples(30), deadline=None)
@given(data=st.data(), n=st.integers(1, 80))
def test_a_tile_is_copied_both_ways(data, n):
    rows = data.draw(st.integers(1, n))
    columns = data.draw(st.integers(1, n))
    top, left = data.draw(st.integers(0, n - rows)), data.draw(st.integers(0, n - columns))
    tile = np.random.default_rng(n).normal(size=(rows, columns))
    square = np.full((n, n), np.nan)
    kernels.copy_both_ways(tile, square, top, left)
    expected = np.full((n, n), np.nan)
    expected[top : top + rows, left : left + columns] = tile
    mirrored = np.full((n, n), np.nan)
    mirrored[left : left + columns, top : top + rows] = tile.T
    # Where they overlap off the diagonal either may be there; tiles of a symmetric matrix agree.
    ours, theirs = ~np.isnan(expected), ~np.isnan(mirrored)
    np.testing.assert_array_equal(np.isnan(square), ~(ours | theirs))
    np.testing.assert_array_equal(square[ours & ~theirs], expected[ours & ~theirs])
    np.testing.assert_array_equal(square[theirs & ~ours], mirrored[theirs & ~ours])


def test_a_kernel_is_compiled_when_it_is_first_called():
    @jit
    def doubled(x):
        return 2.0 * x

    assert doubled._compiled is None
    assert doubled.python(4.0) == 8.0
    assert doubled._compiled is None
