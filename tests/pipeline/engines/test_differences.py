"""Sums over the differences of some pairs."""

import numpy as np
import pytest

from clustergrid.pipeline.engines import _differences


def rows(k):
    rng = np.random.default_rng(k)
    return rng.normal(size=(6, k)), rng.normal(size=(5, k)), rng.random(k)


PAIRS = np.array([[0, 0], [5, 4], [2, 4], [2, 0]])


@pytest.mark.parametrize("k", [1, 7, 8, 9, 16, 31])
def test_squared_differences_of_some_pairs(k):
    left, right, weights = rows(k)
    sums = np.ones(len(PAIRS))
    _differences.squared_differences(left, right, PAIRS, weights, sums)
    expected = 1 + (weights * (left[PAIRS[:, 0]] - right[PAIRS[:, 1]]) ** 2).sum(1)
    np.testing.assert_allclose(sums, expected, rtol=1e-13)
    alone = np.ones(1)
    _differences.squared_differences(left[2:3], right[4:5], np.array([[0, 0]]), weights, alone)
    assert alone[0] == sums[2]


@pytest.mark.parametrize("k", [1, 4, 9])
def test_quadratic_forms_of_some_pairs(k):
    left, right, _ = rows(k)
    matrix = np.cov(np.random.default_rng(1).normal(size=(k, 40))).reshape(k, k)
    sums = np.zeros(len(PAIRS))
    _differences.quadratic_forms(left, right, PAIRS, matrix, sums)
    difference = left[PAIRS[:, 0]] - right[PAIRS[:, 1]]
    expected = np.einsum("pi,ij,pj->p", difference, matrix, difference)
    np.testing.assert_allclose(sums, expected, rtol=1e-12)
