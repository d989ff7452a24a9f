"""Spearman distances over common features against pandas and exact ranks."""

from decimal import Decimal, localcontext

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata

from clustergrid.pipeline.engines._missing import first_undefined
from clustergrid.pipeline.engines._missing_ranks import (
    SPEARMAN_MIN_PERIODS,
    rank_present,
    spearman_distances,
)
from tests.budget import examples

pytestmark = pytest.mark.quick_cases(one_in=4)


def distances(left, right=None, *, min_periods=SPEARMAN_MIN_PERIODS, upper=False):
    ranks = rank_present(left)
    others = ranks if right is None else rank_present(right)
    return spearman_distances(ranks, others, min_periods=min_periods, upper=upper)


def exact(x, y):
    """From ranks as integers, and one root with 60 digits."""
    common = ~np.isnan(x) & ~np.isnan(y)
    n = int(common.sum())
    a, b = ([int(2 * r) - n - 1 for r in rankdata(row[common])] for row in (x, y))
    squares = sum(p * p for p in a) * sum(q * q for q in b)
    if squares == 0:
        return np.nan
    with localcontext() as context:
        context.prec = 60
        products = sum(p * q for p, q in zip(a, b, strict=True))
        return float(1 - Decimal(products) / Decimal(squares).sqrt())


def with_gaps(rng, shape, share, kinds):
    values = rng.normal(size=shape) if kinds is None else rng.integers(0, kinds, shape) * 0.5
    values[rng.random(shape) < share] = np.nan
    return values


@settings(max_examples=examples(120), deadline=None)
@given(
    n=st.integers(1, 6),
    m=st.integers(1, 6),
    k=st.integers(1, 40),
    seed=st.integers(0, 2**32 - 1),
    share=st.sampled_from([0.0, 0.1, 0.5, 0.9]),
    kinds=st.sampled_from([1, 2, 5, None]),
)
def test_distances_are_those_of_exact_ranks(n, m, k, seed, share, kinds):
    rng = np.random.default_rng(seed)
    left, right = with_gaps(rng, (n, k), share, kinds), with_gaps(rng, (m, k), share, kinds)
    right[0] = left[0]
    left[-1] = np.where(rng.random(k) < 0.5, 1.0, left[-1])
    found, overlaps = distances(left, right)
    expected = np.array([[exact(x, y) for y in right] for x in left])
    few = overlaps < SPEARMAN_MIN_PERIODS
    np.testing.assert_allclose(found, np.where(few, np.nan, expected), rtol=1e-14, atol=1e-40)
    counts = (~np.isnan(left)).astype(int) @ (~np.isnan(right)).T.astype(int)
    np.testing.assert_array_equal(overlaps, counts)


@pytest.mark.parametrize("share", [0.0, 0.15, 0.7])
@pytest.mark.parametrize("kinds", [3, 40, None])
@pytest.mark.parametrize("min_periods", [2, 25])
def test_pandas_agrees(share, kinds, min_periods):
    values = with_gaps(np.random.default_rng(4), (15, 80), share, kinds)
    values[3] = np.where(np.isnan(values[3]), 7.0, values[3])  # a row that misses nothing
    found, _ = distances(values, min_periods=min_periods)
    frame = pd.DataFrame(values.T)
    expected = 1 - frame.corr(method="spearman", min_periods=min_periods).to_numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-13)


@settings(max_examples=examples(30), deadline=None)
@given(data=st.data(), seed=st.integers(0, 2**32 - 1), kinds=st.sampled_from([4, None]))
def test_bits_do_not_depend_on_rows_or_sides(data, seed, kinds):
    values = with_gaps(np.random.default_rng(seed), (8, 60), 0.2, kinds)
    whole, overlaps = distances(values)
    np.testing.assert_array_equal(whole, whole.T)
    a, b = sorted(data.draw(st.lists(st.integers(0, 7), min_size=2, max_size=2)))
    part, counts = distances(values[a : b + 1], values[b:])
    np.testing.assert_array_equal(part, whole[a : b + 1, b:])
    np.testing.assert_array_equal(counts, overlaps[a : b + 1, b:])
    above = np.triu_indices(8, 1)
    upper, _ = distances(values, upper=True)
    np.testing.assert_array_equal(upper[above], whole[above])
    assert not np.tril(upper).any()


def test_equal_and_increasing_rows_are_at_zero():
    rng = np.random.default_rng(5)
    row = np.round(rng.normal(size=400), 1)
    values = np.array([row, np.exp(row), row**3, -row])
    values[rng.random(values.shape) < 0.2] = np.nan
    found, _ = distances(values)
    np.testing.assert_array_equal(found[:3, :3], np.zeros((3, 3)))
    np.testing.assert_allclose(found[3, :3], 2.0, rtol=1e-15)


def test_zeros_of_either_sign_are_tied():
    values = np.array([[0.0, -0.0, 1.0, np.nan], [5.0, 5.0, 6.0, 1.0]])
    assert distances(values)[0][0, 1] == 0.0


def test_more_features_than_one_block_of_integers():
    rng = np.random.default_rng(6)
    values = with_gaps(rng, (3, 5_000), 0.1, None)
    values[1] = values[0] + 1e-4 * rng.normal(size=5_000)
    found, _ = distances(values)
    np.testing.assert_allclose(found[0, 1], exact(values[0], values[1]), rtol=1e-14)
    np.testing.assert_allclose(found[0, 2], exact(values[0], values[2]), rtol=1e-14)


def test_pairs_without_a_distance():
    nan = np.nan
    values = np.array(
        [[1.0, 2.0, 4.0, nan], [nan, nan, 3.0, 5.0], [7.0, 7.0, nan, 8.0], [nan] * 4, [2.0] * 4]
    )
    found, overlaps = distances(values)
    pair = first_undefined(found, overlaps, 2, upper=True)
    assert pair is not None
    assert (pair.i, pair.j, pair.overlap, pair.reason) == (0, 1, 1, "overlap")
    assert np.isnan(found[3]).all()
    assert not overlaps[3].any()
    # Rows 0 and 2 have two features in common, and row 2 is constant there.
    pair = first_undefined(found[:1, 2:], overlaps[:1, 2:], 2)
    assert pair is not None
    assert (pair.j, pair.overlap, pair.reason) == (0, 2, "constant")
    assert np.isnan(found[4, :4]).all()
