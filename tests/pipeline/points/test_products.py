"""Distances from products are those from differences, but for roundings of 1e-13."""

import numpy as np
import pytest

from clustergrid.pipeline.execution import SerialExecutor, ThreadsExecutor
from clustergrid.pipeline.hierarchy._clusters import AVERAGE
from clustergrid.pipeline.points._products import ProductSide, add_products
from clustergrid.pipeline.points._squares import HALF, PLAIN, ROOT, of_square
from clustergrid.pipeline.points.euclidean import EuclideanPoints
from tests.pipeline.points.cases import given_of, ignore, normal, some_clusters, source_of

pytestmark = pytest.mark.quick_cases(one_in=8)

K = 130


def near_duplicates(n, k):
    rows = normal(n, k)
    rows[1::2] = rows[::2] * (1 + 1e-9)
    return rows


MAKE = {
    "normal": normal,
    "near duplicates": near_duplicates,
    "identical": lambda n, k: np.repeat(normal(n // 5, k), 5, axis=0),
    "far from the origin": lambda n, k: normal(n, k) + 1e6,
    "two far clusters": lambda n, k: normal(n, k) + 1e5 * (np.arange(n) % 2)[:, None],
    "heavy tails": lambda n, k: np.random.default_rng(1).standard_t(1.0, size=(n, k)),
    "many scales": lambda n, k: 10.0 ** np.linspace(-12, 3, n)[:, None] * normal(n, k),
}


def squares_of(rows, left, right):
    squares = np.zeros((len(right), len(left)))
    for feature in rows.T:
        squares += np.subtract.outer(feature[right], feature[left]) ** 2
    return squares


@pytest.mark.parametrize("form", [PLAIN, ROOT, HALF])
@pytest.mark.parametrize("kind", MAKE)
def test_sums_of_distances_are_those_of_differences(kind, form):
    rows = MAKE[kind](120, K)
    left, right = np.arange(0, 70), np.arange(20, 120)
    left_units, right_units = np.arange(70) // 9, np.sort(np.arange(100) % 7)
    left_weights, right_weights = np.random.default_rng(2).random((2, 120))
    totals = np.zeros((8, 7))
    side = ProductSide.of(rows, left)
    squares, _ = side.squares_to(rows, right)
    add_products(
        *(squares, rows, left, left_weights[:70], left_units),
        *(rows, right, right_weights[:100], right_units, form, totals),
    )
    expected = np.zeros((8, 7))
    exact = squares_of(rows, left, right)
    for j in range(100):
        for i in range(70):
            value = left_weights[i] * right_weights[j] * of_square(exact[j, i], form)
            expected[left_units[i], right_units[j]] += value
    np.testing.assert_allclose(totals, expected, rtol=1e-13, atol=0)


@pytest.mark.parametrize("kind", MAKE)
def test_single_squares_keep_their_digits(kind):
    rows = MAKE[kind](120, K)
    squares, n_near = ProductSide.of(rows, np.arange(60)).squares_to(rows, np.arange(120))
    assert n_near == np.count_nonzero(squares < 0)
    assert (squares[np.arange(60), np.arange(60)] == -1).all()  # of a row and itself
    exact = squares_of(rows, np.arange(60), np.arange(120))
    far = squares >= 0
    np.testing.assert_allclose(squares[far], exact[far], rtol=1e-13, atol=0)


@pytest.mark.parametrize("kind", MAKE)
def test_points_that_are_not_kept_about_their_mean_have_the_same_squares(kind):
    rows = MAKE[kind](120, K)
    left, right = np.arange(10, 80), np.arange(120)
    kept, not_kept = (ProductSide.of(rows, left, keeps=keeps) for keeps in (True, False))
    assert not_kept.centred is None
    for one, other in zip(
        kept.squares_to(rows, right), not_kept.squares_to(rows, right), strict=True
    ):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("method", ["average", "weighted"])
def test_a_square_has_the_same_bits_on_any_executor(method):
    values = near_duplicates(300, K)
    clusters = some_clusters(300, method, n_merges=120)
    squares = [
        source_of(given_of(values), executor).square(clusters, method, ignore)
        for executor in (SerialExecutor(), ThreadsExecutor(3))
    ]
    np.testing.assert_array_equal(*squares)
    slots = np.flatnonzero(clusters.live)
    rows = source_of(given_of(values)).rows(clusters, method, slots, ignore)
    np.fill_diagonal(rows, 0.0)
    np.testing.assert_allclose(squares[0], rows, rtol=1e-13, atol=0)


def test_blocks_of_near_rows_are_made_of_differences():
    # Two bundles far apart: about the mean of the left side all lengths are long, and of half of
    # the pairs nothing would be left.
    values = 1e-4 * normal(160, K) + 100.0 * (np.arange(160) % 2)[:, None]
    points = EuclideanPoints(given_of(values), None)
    some = np.arange(80)
    totals = [np.zeros((80, 80)) for _ in range(2)]
    for by_products, into in zip((True, False), totals, strict=True):
        points.add(
            points.left(some, by_products=by_products),
            np.ones(80),
            some,
            points.hold(some + 80),
            some + 80,
            np.ones(80),
            some,
            AVERAGE,
            into,
        )
    np.testing.assert_array_equal(*totals)
