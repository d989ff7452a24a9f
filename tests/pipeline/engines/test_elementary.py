"""Elementary functions against long double."""

import numpy as np
import pytest

from clustergrid.pipeline._jit import jit
from clustergrid.pipeline.engines._elementary import divergence, power, split_exponent

# Elsewhere a long double may be a double, and no judge of one.
EXACT = np.finfo(np.longdouble).nmant >= 63
needs_long_double = pytest.mark.skipif(not EXACT, reason="long double is double here")


@jit
def powers(x: np.ndarray, p: float, out: np.ndarray) -> None:
    leading = split_exponent(p)
    for i in range(x.shape[0]):
        out[i] = power(x[i], p, leading)


@jit
def divergences(x: np.ndarray, y: np.ndarray, out: np.ndarray) -> None:
    for i in range(x.shape[0]):
        out[i] = divergence(x[i], y[i])


def wide(n=20_000):
    rng = np.random.default_rng(0)
    largest, smallest = np.finfo(float).max, np.finfo(float).smallest_normal
    corners = [5e-324, 1e-310, smallest, np.nextafter(smallest, 0), 0.5, 1.0, 2.0, largest]
    around = np.concatenate([np.sqrt([0.5, 2.0]), [1.0, 2.0]])
    return np.concatenate(
        [
            2.0 ** rng.uniform(-1074, 1023.99, n),
            rng.uniform(0.5, 2.0, n),
            1.0 + rng.normal(size=1000) * 1e-8,
            np.nextafter(around, 0.0),
            np.nextafter(around, 9.0),
            corners,
        ]
    )


@needs_long_double
@pytest.mark.parametrize("p", [0.1, 1 / 3, 0.5, 1.0, 1.1, 1.5, 2.2, 3.0, 3.7, 10.0, 33.3, 600.5])
def test_powers_are_as_exact_as_is_said(p):
    x = wide()
    found = np.empty_like(x)
    powers(x, p, found)
    with np.errstate(over="ignore", under="ignore"):
        expected = np.power(x.astype(np.longdouble), np.longdouble(p))
        rounded = expected.astype(np.float64)
    normal = np.isfinite(rounded) & (rounded >= np.finfo(float).smallest_normal)
    error = np.abs(found[normal] / expected[normal] - 1)
    assert error.max() < 1e-15 + 1.5e-16 * p
    assert error.max() < 1e-13
    np.testing.assert_array_equal(found[np.isinf(rounded)], np.inf)
    small = rounded < np.finfo(float).smallest_normal
    np.testing.assert_allclose(found[small], rounded[small], rtol=1e-13, atol=1e-323)


def test_powers_of_what_has_no_exponent():
    x = np.array([0.0, np.inf, np.nan])
    for p in (0.3, 1.0, 7.5):
        found = np.empty_like(x)
        powers(x, p, found)
        np.testing.assert_array_equal(found, x)


def exact_divergence(x, y):
    """The sum of both logarithms, or the series of `divergence` where they would cancel."""
    x, y = x.astype(np.longdouble), y.astype(np.longdouble)
    m = (x + y) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(m > 0, (x - y) / (x + y), 0)
        direct = np.where(x > 0, x * np.log(x / m), 0) + np.where(y > 0, y * np.log(y / m), 0)
    series = np.zeros_like(t)
    for n in range(40, 0, -1):
        series = (series + 1 / np.longdouble(n * (2 * n - 1))) * t * t
    return np.where(np.abs(t) < 0.5, m * series, direct)


@needs_long_double
def test_divergences_are_as_exact_as_is_said():
    rng = np.random.default_rng(0)
    x = rng.random(20_000)
    near, wide_apart = 10.0 ** rng.uniform(-14, 0, x.size), 10.0 ** rng.uniform(-300, 0, x.size)
    corners = np.array([1.0, 0.5, 1e-3, 1e-200])
    threshold = (1 - np.sqrt(0.125)) / (1 + np.sqrt(0.125))
    x = np.concatenate([x, x, x, x, corners])
    y = np.concatenate([x[: near.size], x[: near.size] * (1 - near), wide_apart, near, 0 * corners])
    y[: near.size] *= threshold * (1 + 1e-3 * rng.normal(size=near.size))
    found, swapped = np.empty_like(x), np.empty_like(x)
    divergences(x, y, found)
    divergences(y, x, swapped)
    expected = exact_divergence(x, y)
    ok = expected > 1e-300
    assert ok.mean() > 0.9
    assert np.abs(found[ok] / expected[ok] - 1).max() < 3e-15
    np.testing.assert_array_equal(found, swapped)
    assert (found >= 0.0).all()


def test_divergences_of_equal_and_of_impossible_values():
    x = np.array([0.0, 0.3, 5e-324, 1.0, 0.0, 1.0, -1e-9, 0.5, np.nan, 0.5])
    y = np.array([0.0, 0.3, 5e-324, 1.0, 1.0, 0.0, 0.5, -1.0, 0.5, np.nan])
    found = np.empty_like(x)
    divergences(x, y, found)
    np.testing.assert_array_equal(found[:4], 0.0)
    np.testing.assert_allclose(found[4:6], np.log(2.0), rtol=1e-15)
    assert np.isnan(found[6:]).all()
