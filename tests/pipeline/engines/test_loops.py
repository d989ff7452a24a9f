"""Every loop against SciPy, in the order of its features, and to the bit for any cuts."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from clustergrid.pipeline.engines._loops import LOOPS, minkowski_loop
from tests.budget import examples

pytestmark = pytest.mark.quick_cases(one_in=4)

POWERS = [0.5, 1.0, 1.5, 1.7, 2.0, 3.0, 4.0, 7.25, np.inf]
REAL = [name for name in LOOPS if not name.startswith("boolean")]
BOOLEAN = [name for name in LOOPS if name.startswith("boolean")]
# Minkowski has a parameter, and SciPy's jensenshannon cancels: both have tests of their own.
IN_SCIPY = [name for name in REAL if name not in ("minkowski", "jensenshannon")]

TERMS = {
    "cityblock": lambda x, y, w: w * abs(x - y),
    "canberra": lambda x, y, w: w * abs(x - y) / (abs(x) + abs(y)),
    "hamming": lambda x, y, w: w * (x != y),
}


def accumulate(loop, left, right, weights=None, p=0.0, cuts=(), accumulators=None):
    """Call the kernel on every block of features between the cuts."""
    k = left.shape[1]
    weights = np.ones(k) if weights is None else weights
    if accumulators is None:
        accumulators = np.zeros((loop.n_accumulators, len(left), len(right)))
    edges = [0, *sorted(min(cut, k) for cut in cuts), k]
    for first, last in pairwise(edges):
        part = slice(first, last)
        loop.kernel(
            np.ascontiguousarray(left[:, part]),
            np.ascontiguousarray(right[:, part].T),
            np.ascontiguousarray(weights[part]),
            p,
            accumulators,
        )
    return accumulators


def distances(loop, left, right, weights=None, p=0.0, cuts=()):
    accumulators = accumulate(loop, left, right, weights, p, cuts)
    total = float(left.shape[1]) if weights is None else weights.sum()
    loop.finish(accumulators, total, p)
    return accumulators[0]


def rows(name, n, k, seed=0):
    """Rows as the metric wants them, with much that is special."""
    rng = np.random.default_rng(seed)
    if name.startswith("boolean"):
        return (rng.random((n, k)) < rng.random((n, 1))).astype(np.float64)
    values = rng.normal(size=(n, k)) * 10.0 ** rng.integers(-3, 4, (n, 1))
    values[rng.random((n, k)) < 0.1] = 0.0
    whole = rng.random(n) < 0.5
    values[whole] = np.round(values[whole])
    if name == "jensenshannon":
        values = np.abs(values) + (rng.random((n, k)) < 0.8)
        values[:, 0] += 0.1
        values /= values.sum(axis=1, keepdims=True)
    return values


def with_corners(left, right):
    """Rows of zeros on both sides, equal rows, and opposite ones."""
    left[0] = right[0] = 0.0
    right[1], right[2] = left[1], -left[2]
    return left, right


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=0)


@pytest.mark.filterwarnings("ignore:invalid value|divide by zero")
@pytest.mark.parametrize("k", [1, 7, 8, 37])
@pytest.mark.parametrize("name", IN_SCIPY)
def test_distances_are_scipys(name, k):
    left, right = with_corners(rows(name, 20, k), rows(name, 70, k, 1))
    close(distances(LOOPS[name], left, right), cdist(left, right, name))
    for weights in (np.random.default_rng(2).random(k), np.arange(k) % 3 * 1.0, np.zeros(k)):
        found = distances(LOOPS[name], left, right, weights)
        close(found, cdist(left, right, name, w=weights))


@pytest.mark.parametrize("p", POWERS)
def test_minkowski_is_scipys(p):
    left, right = with_corners(rows("", 20, 37), rows("", 70, 37, 1))
    loop = minkowski_loop(p)
    close(distances(loop, left, right, p=p), cdist(left, right, "minkowski", p=p))
    for weights in (np.random.default_rng(2).random(37), np.arange(37) % 3 * 1.0):
        expected = cdist(left, right, "minkowski", p=p, w=weights)
        close(distances(loop, left, right, weights, p=p), expected)


def test_any_power_is_the_same_as_a_power_with_a_way_of_its_own():
    left, right = with_corners(rows("", 20, 37), rows("", 70, 37, 1))
    for p in POWERS[:-1]:
        expected = distances(minkowski_loop(p), left, right, p=p)
        close(distances(LOOPS["minkowski"], left, right, p=p), expected)


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("name", BOOLEAN)
def test_weighted_truth_values_are_scipys(name):
    left, right = rows(name, 20, 37), rows(name, 70, 37, 1)
    left[0] = right[0] = 0.0
    left[1] = right[1] = 1.0
    scipys = name.removeprefix("boolean ")
    close(distances(LOOPS[name], left, right), cdist(left, right, scipys))
    # Powers of two add up without rounding, as counts do.
    for weights in (2.0 ** (np.arange(37) % 5), np.arange(37) % 3 * 1.0, np.zeros(37)):
        close(distances(LOOPS[name], left, right, weights), cdist(left, right, scipys, w=weights))
    weights = np.random.default_rng(2).random(37)
    expected = cdist(left, right, scipys, w=weights)
    found = distances(LOOPS[name], left, right, weights)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", BOOLEAN)
def test_weighted_truth_values_are_never_below_zero(name):
    rng = np.random.default_rng(4)
    # All features true: the sum of some weights is that of all, but for the order of additions.
    left, right = np.ones((3, 37)), np.ones((3, 37))
    right[1, ::2] = 0.0
    # And some that both have, some that one has, but none that neither has.
    left[2], right[2] = np.arange(37) % 3 != 0, np.arange(37) % 3 != 1
    for _ in range(200):
        weights = rng.random(37)
        found = distances(LOOPS[name], left, right, weights)
        assert (found >= 0).all()
        if name == "boolean yule":
            assert (found <= 2).all()
        if name == "boolean russellrao":
            np.testing.assert_allclose(
                found, cdist(left, right, "russellrao", w=weights), atol=1e-15
            )


@pytest.mark.parametrize("name", BOOLEAN)
def test_a_pair_has_the_same_bits_whichever_row_comes_first(name):
    left, right = rows(name, 40, 37), rows(name, 70, 37, 1)
    weights = np.random.default_rng(2).random(37)
    one, other = (
        distances(LOOPS[name], *sides, weights) for sides in ((left, right), (right, left))
    )
    np.testing.assert_array_equal(one, other.T)


@pytest.mark.parametrize("name", TERMS)
def test_features_are_added_strictly_one_after_another(name):
    left, right = rows(name, 9, 45), rows(name, 66, 45, 1)
    left[left == 0.0] = 1.0
    weights = np.random.default_rng(2).random(45)
    terms = TERMS[name](left[:, None], right[None], weights)
    # A cumulative sum cannot be reassociated.
    start = np.full((1, 9, 66), 0.3)
    expected = np.cumsum(np.concatenate([start[0, :, :, None], terms], axis=2), axis=2)[:, :, -1]
    accumulate(LOOPS[name], left, right, weights, accumulators=start)
    np.testing.assert_array_equal(start[0], expected)
    assert np.any(expected != 0.3 + terms[:, :, ::-1].sum(2))


@pytest.mark.parametrize("name", LOOPS)
@settings(max_examples=examples(15), deadline=None)
@given(
    n=st.integers(1, 9),
    m=st.sampled_from([1, 2, 7, 8, 63, 64, 65, 130]),
    k=st.integers(1, 40),
    cuts=st.lists(st.integers(0, 40), max_size=3),
    row=st.integers(0, 130),
    seed=st.integers(0, 99),
)
def test_no_cut_and_no_place_changes_a_bit(name, n, m, k, cuts, row, seed):
    left, right = rows(name, n, k, seed), rows(name, m, k, seed + 100)
    weights = np.random.default_rng(seed).random(k)
    loop = LOOPS[name]
    whole = accumulate(loop, left, right, weights, 1.7)
    np.testing.assert_array_equal(accumulate(loop, left, right, weights, 1.7, cuts), whole)
    if 0 < row < m:
        near, far = (
            accumulate(loop, left, part, weights, 1.7) for part in (right[:row], right[row:])
        )
        np.testing.assert_array_equal(np.concatenate([near, far], axis=2), whole)
    swapped = accumulate(loop, right, left, weights, 1.7).transpose(0, 2, 1)
    if name.startswith("boolean"):
        swapped = swapped[[0, 2, 1]]
    np.testing.assert_array_equal(swapped, whole)


@pytest.mark.parametrize("p", POWERS)
def test_no_place_changes_a_bit_of_a_power(p):
    left, right = rows("", 9, 37), rows("", 70, 37, 1)
    found = distances(minkowski_loop(p), left, right, p=p)
    np.testing.assert_array_equal(found, distances(minkowski_loop(p), right, left, p=p).T)
    np.testing.assert_array_equal(found, distances(minkowski_loop(p), left, right, p=p, cuts=[5]))


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("name", [*IN_SCIPY, "jensenshannon", "minkowski"])
def test_identical_rows_are_at_zero(name):
    values = rows(name, 12, 100)
    values[0] = np.abs(values[0]) + 1.0
    found = np.diag(distances(LOOPS[name], values, values, p=1.7))
    np.testing.assert_array_equal(found[np.isfinite(found)], 0.0)
    assert found[0] == 0.0


def exact_jensenshannon(left, right):
    """Long double, and the series that does not cancel where SciPy's logarithms do."""
    x, y = left.astype(np.longdouble)[:, None], right.astype(np.longdouble)[None]
    total = x + y
    t = (x - y) / np.where(total > 0, total, 1)
    series = np.zeros_like(t)
    for n in range(40, 0, -1):
        series = (series + 1 / np.longdouble(n * (2 * n - 1))) * t * t
    direct = np.zeros_like(t)
    for one in (1 + t, 1 - t):
        direct += np.where(one > 0, one * np.log(np.where(one > 0, one, 1)), 0)
    terms = total / 2 * np.where(np.abs(t) < 0.5, series, direct)
    return np.sqrt(terms.sum(2) / 2).astype(np.float64)


@pytest.mark.parametrize("k", [1, 7, 8, 37])
def test_jensenshannon_is_scipys_where_that_is_exact(k):
    left, right = (rows("jensenshannon", n, k, n) for n in (20, 70))
    left[1:3], right[1:3] = right[5:7], left[7:9]
    found = distances(LOOPS["jensenshannon"], left, right)
    if np.finfo(np.longdouble).nmant >= 63:
        close(found, exact_jensenshannon(left, right))
    # SciPy's sum is wrong by a few units in the last place of one, and may be negative.
    with np.errstate(invalid="ignore"):
        scipys = cdist(left, right, "jensenshannon") ** 2
    scipys[np.isnan(scipys)] = 0.0
    np.testing.assert_allclose(found**2, scipys, rtol=1e-12, atol=1e-15)


def test_nearly_equal_distributions_lose_no_digits():
    rng = np.random.default_rng(0)
    left = rng.random((6, 200)) + 0.01
    right = left * (1.0 + 1e-9 * rng.normal(size=left.shape))
    left, right = (values / values.sum(1, keepdims=True) for values in (left, right))
    # Exact differences by Sterbenz; the terms are (x - y)^2 / (2 (x + y)) to 18 digits.
    expected = np.sqrt(((left - right) ** 2 / (left + right)).sum(1) / 4)
    found = np.diag(distances(LOOPS["jensenshannon"], left, right))
    assert expected.max() < 1e-9
    np.testing.assert_allclose(found, expected, rtol=1e-13)


def test_what_is_no_distribution_is_infinitely_far():
    values = np.array([[0.2, 0.3, 0.5], [np.nan, np.nan, np.nan], [0.6, -0.1, 0.5]])
    found = distances(LOOPS["jensenshannon"], values, values)
    np.testing.assert_array_equal(np.isinf(found), np.ones((3, 3)) - np.diag([1.0, 0, 0]) == 1)


@pytest.mark.parametrize("scale", [1e-320, 1e-150, 1e150])
def test_very_small_and_very_large_values(scale):
    rng = np.random.default_rng(0)
    left, right = rng.random((5, 20)) * scale, rng.random((9, 20)) * scale
    for name in ("cityblock", "chebyshev", "canberra", "braycurtis"):
        close(distances(LOOPS[name], left, right), cdist(left, right, name))
    for p in (0.5, 1.3):
        expected = cdist(left, right, "minkowski", p=p)
        np.testing.assert_allclose(
            distances(minkowski_loop(p), left, right, p=p), expected, rtol=1e-11, atol=1e-322
        )


def test_an_empty_block_changes_nothing():
    for loop in LOOPS.values():
        for n, m, k in ((0, 3, 4), (3, 0, 4), (3, 3, 0)):
            accumulators = np.full((loop.n_accumulators, n, m), 0.5)
            loop.kernel(np.ones((n, k)), np.ones((k, m)), np.ones(k), 1.5, accumulators)
            np.testing.assert_array_equal(accumulators, 0.5)
