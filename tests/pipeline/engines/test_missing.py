"""Distances over common features against exact fractions, scikit-learn and pandas."""

import dataclasses
import tracemalloc
from decimal import Decimal, localcontext
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.metrics.pairwise import nan_euclidean_distances

from clustergrid.pipeline.engines import _missing, _missing_sums
from clustergrid.pipeline.engines._missing import (
    MISSING,
    add_row_ranges,
    block_distances,
    first_undefined,
    row_centring,
    row_ranges,
)
from clustergrid.storage.grid import BLOCK_FEATURES
from tests.budget import examples

pytestmark = pytest.mark.quick_cases(one_in=4)


def centring(values, cut=None):
    ranges = row_ranges(len(values))
    for part in (slice(0, cut), slice(cut, None)) if cut else (slice(None),):
        add_row_ranges(values[:, part], ranges)
    return row_centring(ranges)


def distances(name, left, right=None, *, min_periods=None, cuts=(), upper=False):
    """Distances and overlaps; the features come in parts cut at `cuts`."""
    metric = MISSING[name]
    right = left if right is None else right
    edges = [0, *cuts, left.shape[1]]
    parts = [slice(*pair) for pair in pairwise(edges)]
    return block_distances(
        metric,
        lambda: ((left[:, part], right[:, part]) for part in parts),
        (centring(left), centring(right)),
        min_periods=metric.min_periods if min_periods is None else min_periods,
        upper=upper,
    )


def _root(value: Fraction) -> Decimal:
    return (Decimal(value.numerator) / Decimal(value.denominator)).sqrt()


def exact(name, x, y):
    """The distance from exact fractions, or NaN."""
    common = ~np.isnan(x) & ~np.isnan(y)
    n = int(common.sum())
    a, b = ([Fraction(float(value)) for value in row[common]] for row in (x, y))
    with localcontext() as context:
        context.prec = 80
        if n and name == "nan_euclidean":
            squares = sum((p - q) ** 2 for p, q in zip(a, b, strict=True))
            return float(_root(Fraction(len(x), n) * squares))
        if len(set(a)) < 2 or len(set(b)) < 2:
            return np.nan
        ma, mb = sum(a) / n, sum(b) / n
        a, b = [p - ma for p in a], [q - mb for q in b]
        products = sum(p * q for p, q in zip(a, b, strict=True))
        squares = sum(p * p for p in a) * sum(q * q for q in b)
        cosine = Decimal(products.numerator) / Decimal(products.denominator) / _root(squares)
        # The fraction of a square that is one is found as such: no root is rounded.
        return 0.0 if products > 0 and products**2 == squares else float(1 - cosine)


def exact_block(name, left, right):
    return np.array([[exact(name, x, y) for y in right] for x in left])


def with_gaps(rng, shape, share):
    values = rng.normal(size=shape)
    values[rng.random(shape) < share] = np.nan
    return values


SHAPES = {"n": st.integers(1, 4), "m": st.integers(1, 9), "k": st.integers(1, 24)}
SEEDS = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize("name", MISSING)
@settings(max_examples=examples(40), deadline=None)
@given(**SHAPES, seed=SEEDS, share=st.sampled_from([0.0, 0.1, 0.5, 0.9]))
@example(n=3, m=9, k=15, seed=1557, share=0.5)
def test_distances_are_those_of_exact_fractions(name, n, m, k, seed, share):
    rng = np.random.default_rng(seed)
    left, right = with_gaps(rng, (n, k), share), with_gaps(rng, (m, k), share)
    found, overlaps = distances(name, left, right)
    # Pairs are computed anew where less than 1e-5 of their sums is left: others keep ten digits.
    # Of two common features a correlation is 1 or -1: then 1 - r is zero up to rounding.
    np.testing.assert_allclose(found, exact_block(name, left, right), rtol=1e-10, atol=1e-30)
    expected = (~np.isnan(left)).astype(int) @ (~np.isnan(right)).T.astype(int)
    np.testing.assert_array_equal(overlaps, expected)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.6])
@pytest.mark.parametrize("k", [1, 63, 64, 65, 300, 2 * BLOCK_FEATURES + 5])
def test_the_libraries_agree(share, k):
    values = with_gaps(np.random.default_rng(k), (20, k), share)
    found, _ = distances("nan_euclidean", values)
    off = ~np.eye(20, dtype=bool)
    np.testing.assert_allclose(found[off], nan_euclidean_distances(values)[off], rtol=1e-10)
    for min_periods in (2, 30):
        found, _ = distances("nan_correlation", values, min_periods=min_periods)
        expected = 1 - pd.DataFrame(values.T).corr(min_periods=min_periods).to_numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("shape", [(131, 257, 200), (1, 129, 17), (64, 1, 130)])
def test_blocks_of_any_shape_and_many_rows(shape):
    n, m, k = shape
    rng = np.random.default_rng(n)
    left, right = with_gaps(rng, (n, k), 0.2), with_gaps(rng, (m, k), 0.4)
    found, _ = distances("nan_euclidean", left, right)
    np.testing.assert_allclose(found, nan_euclidean_distances(left, right), rtol=1e-10)
    found, overlaps = distances("nan_correlation", left, right)
    expected = 1 - pd.DataFrame(np.vstack([left, right]).T).corr().to_numpy()[:n, n:]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-13)
    other, counts = distances("nan_correlation", right, left)
    np.testing.assert_array_equal(found, other.T)
    np.testing.assert_array_equal(overlaps, counts.T)
    alone, _ = distances("nan_correlation", left[-1:], right[: m // 2 + 1])
    np.testing.assert_array_equal(alone, found[-1:, : m // 2 + 1])


@pytest.mark.parametrize("name", MISSING)
@settings(max_examples=examples(25), deadline=None)
@given(data=st.data(), seed=SEEDS)
def test_bits_do_not_depend_on_cuts_or_sides(name, data, seed):
    rng = np.random.default_rng(seed)
    k = data.draw(st.sampled_from([5, 70, BLOCK_FEATURES + 9, 3 * BLOCK_FEATURES]))
    values = with_gaps(rng, (9, k), 0.2) + 10.0 ** data.draw(st.integers(-3, 6))
    values[4] = values[1] * (1 + 1e-9 * rng.normal(size=k))  # these are computed anew
    whole, overlaps = distances(name, values)
    np.testing.assert_array_equal(whole, whole.T)
    cuts = data.draw(st.sets(st.integers(1, max(k // BLOCK_FEATURES, 1)))) if k > 2048 else set()
    cuts = sorted(c * BLOCK_FEATURES for c in cuts if c * BLOCK_FEATURES < k)
    a, b = sorted(data.draw(st.lists(st.integers(0, 8), min_size=2, max_size=2)))
    part, counts = distances(name, values[a : b + 1], values[b:], cuts=cuts)
    np.testing.assert_array_equal(part, whole[a : b + 1, b:])
    np.testing.assert_array_equal(counts, overlaps[a : b + 1, b:])


@settings(max_examples=examples(25), deadline=None)
@given(seed=SEEDS, k=st.integers(1, 300), cut=st.integers(1, 300))
def test_centring_does_not_depend_on_cuts(seed, k, cut):
    values = with_gaps(np.random.default_rng(seed), (5, k), 0.5)
    np.testing.assert_array_equal(centring(values), centring(values, min(cut, k)))


@pytest.mark.parametrize("name", MISSING)
def test_rows_equal_on_their_common_features_are_at_zero(name):
    rng = np.random.default_rng(3)
    row = rng.normal(size=500) * 10.0 ** rng.integers(-3, 6, 500)
    values = np.tile(row, (12, 1))
    values[rng.random(values.shape) < 0.3] = np.nan
    found, _ = distances(name, values)
    np.testing.assert_array_equal(found, np.zeros((12, 12)))


@pytest.mark.parametrize("name", MISSING)
@pytest.mark.parametrize("offset", [0.0, 1.0, 1e6, -1e12])
@pytest.mark.parametrize("near", [1.0, 1e-3, 1e-6, 1e-9, 1e-12])
def test_near_rows_and_offsets_lose_no_digits(name, offset, near):
    rng = np.random.default_rng(7)
    row = rng.normal(size=120) + offset
    values = row + near * rng.normal(size=(6, 120))
    values[1] = row
    values[2, :60] = np.nan
    values[rng.random(values.shape) < 0.2] = np.nan
    found, _ = distances(name, values)
    np.testing.assert_allclose(found, exact_block(name, values, values), rtol=1e-10)
    assert (found[~np.eye(6, dtype=bool)] > 0).any() or near * 1e15 < abs(offset)


def test_rows_of_other_length_and_height_lose_few_digits():
    rng = np.random.default_rng(8)
    row = rng.normal(size=200)
    values = np.array([row, 3.7 * row + 1e3, 1e-9 * row, 1e9 * row - 5, -row])
    values[:, 1:] *= 1 + 1e-6 * rng.normal(size=(5, 199))
    values[rng.random(values.shape) < 0.1] = np.nan
    found, _ = distances("nan_correlation", values)
    expected = exact_block("nan_correlation", values, values)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_allclose(found[:, 4], expected[:, 4], rtol=1e-13)


@pytest.mark.parametrize("outlier", [1e3, 1e8, 1e16, 1e120])
def test_an_outlier_that_is_not_common_costs_no_digits(outlier):
    rng = np.random.default_rng(9)
    values = rng.normal(size=(5, 80)) + 3
    values[:, 0] = outlier
    values[0, 0] = np.nan
    values[3:, 0] = np.nan
    found, _ = distances("nan_correlation", values)
    expected = exact_block("nan_correlation", values, values)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(found[:, 0], expected[:, 0], rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1e160, 1e307])
def test_correlations_of_tiny_and_huge_values(scale):
    values = with_gaps(np.random.default_rng(10), (6, 50), 0.2) / 5
    expected, _ = distances("nan_correlation", values)
    found, _ = distances("nan_correlation", values * scale)
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-30)
    mixed, _ = distances("nan_correlation", values * scale, values)
    np.testing.assert_allclose(mixed, expected, rtol=1e-11, atol=1e-26)


def test_too_few_common_features_are_no_distance():
    nan = np.nan
    values = np.array([[1.0, 2.0, 4.0, nan], [nan, nan, 3.0, 5.0], [2.0, 1.0, nan, nan]])
    found, overlaps = distances("nan_euclidean", values)
    np.testing.assert_array_equal(np.isnan(found), overlaps == 0)
    assert found[0, 1] == 2.0  # sqrt(4 / 1 * 1)
    pair = first_undefined(found, overlaps, 1, upper=True)
    assert pair is not None
    assert (pair.i, pair.j, pair.overlap, pair.reason) == (1, 2, 0, "overlap")
    found, overlaps = distances("nan_euclidean", values, min_periods=2)
    np.testing.assert_array_equal(np.isnan(found), overlaps < 2)
    pair = first_undefined(found, overlaps, 2)
    assert pair is not None
    assert (pair.i, pair.j, pair.overlap, pair.reason) == (0, 1, 1, "overlap")


def test_a_row_without_any_value_has_no_distance():
    values = np.random.default_rng(0).normal(size=(4, 10))
    values[2] = np.nan
    for name in MISSING:
        found, overlaps = distances(name, values)
        expected = np.zeros((4, 4), bool)
        expected[2] = expected[:, 2] = True
        np.testing.assert_array_equal(np.isnan(found), expected)
        pair = first_undefined(found, overlaps, 1, upper=True)
        assert pair is not None
        assert (pair.i, pair.j, pair.overlap) == (0, 2, 0)


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e6 + 0.1, -1e300])
def test_rows_that_are_constant_where_both_are_present(constant):
    rng = np.random.default_rng(1)
    values = rng.normal(size=(4, 40))
    values[1] = constant
    values[1, 20:] = rng.normal(size=20)
    values[2, 20:] = np.nan
    found, overlaps = distances("nan_correlation", values)
    expected = np.zeros((4, 4), bool)
    expected[1, 2] = expected[2, 1] = True
    np.testing.assert_array_equal(np.isnan(found), expected)
    pair = first_undefined(found, overlaps, 2)
    assert pair is not None
    assert (pair.i, pair.j, pair.overlap, pair.reason) == (1, 2, 20, "constant")


def test_one_common_feature_is_constant():
    values = np.array([[1.0, np.nan, 2.0], [np.nan, 3.0, 4.0]])
    found, overlaps = distances("nan_correlation", values, min_periods=1)
    pair = first_undefined(found, overlaps, 1, upper=True)
    assert pair is not None
    assert (pair.overlap, pair.reason) == (1, "constant")


def test_where_all_is_defined_there_is_no_undefined_pair():
    square = np.array([[np.nan, 1.0], [np.nan, np.nan]])
    assert first_undefined(square, np.ones((2, 2)), 1) is not None
    assert first_undefined(square, np.ones((2, 2)), 1, upper=True) is None


def test_only_what_is_above_the_diagonal_is_refined():
    values = np.tile(np.random.default_rng(2).normal(size=30), (3, 1)) + 1e6
    found, _ = distances("nan_correlation", values, upper=True)
    whole, _ = distances("nan_correlation", values)
    above = np.triu_indices(3, 1)
    np.testing.assert_array_equal(found[above], whole[above])


def test_many_flagged_pairs_take_little_memory_and_the_same_bits(monkeypatch):
    rng = np.random.default_rng(11)
    values = rng.normal(size=50) * (1 + 1e-6 * rng.normal(size=(300, 50)))
    values[rng.random(values.shape) < 0.1] = np.nan
    distances("nan_correlation", values[:2])  # compiled beforehand
    tracemalloc.start()
    found, _ = distances("nan_correlation", values)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # Six sums and the distances, besides a part of the 90,000 pairs.
    assert peak_bytes < 8 * found.nbytes + 6e6
    monkeypatch.setattr(_missing, "_REFINED_AT_ONCE", 90_000)
    whole, _ = distances("nan_correlation", values)
    np.testing.assert_array_equal(found, whole)
    sizes = []
    finish = _missing_sums.finish_differences
    metric = dataclasses.replace(
        MISSING["nan_correlation"],
        finish_refined=lambda pairs, *rest: sizes.append(len(pairs)) or finish(pairs, *rest),
    )
    monkeypatch.setitem(MISSING, "nan_correlation", metric)
    monkeypatch.setattr(_missing, "_REFINED_AT_ONCE", 7)
    few, _ = distances("nan_correlation", values[:12])
    np.testing.assert_array_equal(few, whole[:12, :12])
    assert sum(sizes) == 144
    assert max(sizes) == 7


def test_extreme_rows_are_centred_without_overflow():
    values = np.array([[1.7e308, 1.6e308, -1.7e308], [5e-324, 0.0, 5e-324], [np.nan] * 3])
    found = centring(values)
    assert np.isfinite(found).all()
    assert (found[:, 1] > 0).all()
    np.testing.assert_array_equal(np.frexp(found[:, 1])[0], 0.5)
