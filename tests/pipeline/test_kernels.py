"""The inner loops against NumPy, and every sum in its order."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clustergrid.pipeline import kernels
from clustergrid.pipeline._jit import jit

LOOPS = {
    "add_squared_differences": lambda x, y: (x - y) ** 2,
    "add_absolute_differences": lambda x, y: abs(x - y),
    "add_products": lambda x, y: x * y,
}


def pair(n, m, k, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, k)), rng.normal(size=(m, k))


@pytest.mark.parametrize("name", LOOPS)
@settings(max_examples=20, deadline=None)
@given(n=st.integers(1, 12), m=st.integers(1, 12), k=st.integers(1, 20), cut=st.integers(0, 20))
def test_features_are_added_one_after_another(name, n, m, k, cut):
    left, right = pair(n, m, k)
    expected = np.ones((n, m))
    for i in range(n):
        for j in range(m):
            for f in range(k):
                expected[i, j] += LOOPS[name](left[i, f], right[j, f])
    found = np.ones((n, m))
    kernel = getattr(kernels, name)
    for part in (slice(0, cut), slice(cut, k)):
        kernel(left[:, part], np.ascontiguousarray(right[:, part].T), found)
    # A multiplication and an addition that are fused round once; they are within an ulp or so.
    np.testing.assert_allclose(found, expected, rtol=1e-14, atol=1e-14)
    whole = np.ones((n, m))
    kernel(left, np.ascontiguousarray(right.T), whole)
    np.testing.assert_array_equal(found, whole)


def test_the_largest_difference():
    left, right = pair(7, 9, 30)
    found = np.zeros((7, 9))
    kernels.max_absolute_differences(left, np.ascontiguousarray(right.T), found)
    np.testing.assert_array_equal(found, np.abs(left[:, None] - right[None]).max(2))


@pytest.mark.parametrize("k", [1, 7, 8, 9, 16, 31])
def test_only_flagged_pairs_are_recomputed(k):
    left, right = pair(6, 5, k)
    flagged = np.random.default_rng(1).random((6, 5)) < 0.5
    found = np.zeros((6, 5))
    kernels.recompute_flagged(left, right, flagged, found)
    expected = np.where(flagged, ((left[:, None] - right[None]) ** 2).sum(2), 0)
    np.testing.assert_allclose(found, expected, rtol=1e-13)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_products_become_squared_distances(dtype):
    left, right = (x.astype(dtype) for x in pair(6, 5, 40))
    right[2] = left[1]
    products = left @ right.T
    squares = [(x.astype(np.float64) ** 2).sum(1) for x in (left, right)]
    flagged = np.zeros((6, 5), bool)
    kernels.finish_products_euclidean(products, *squares, 1e-2, 0.0, flagged)
    expected = ((left[:, None].astype(np.float64) - right[None]) ** 2).sum(2)
    assert flagged[1, 2]
    assert flagged.sum() == 1
    assert (products >= 0).all()
    np.testing.assert_allclose(products[~flagged], expected[~flagged], rtol=1e-5)


def test_products_of_unit_rows_become_distances():
    products = np.array([[1.0 + 1e-16, 1.0 - 1e-9, 0.5], [-1.0 - 1e-15, 0.0, 0.999]])
    flagged = np.zeros((2, 3), bool)
    kernels.finish_products_unit(products, 1e-5, flagged)
    np.testing.assert_array_equal(flagged, [[True, True, False], [False, False, False]])
    assert (products >= 0).all()
    assert (products <= 2).all()
    np.testing.assert_allclose(products[1], [2, 1, 0.001])


@settings(max_examples=40, deadline=None)
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


@settings(max_examples=30, deadline=None)
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
