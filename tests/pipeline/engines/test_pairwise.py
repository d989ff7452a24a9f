"""SciPy's distances where SciPy cancels: few observations, and no compiler."""

import numpy as np
import pytest

from clustergrid.pipeline import pdist
from tests.pipeline.engines.test_loops import close, exact_jensenshannon

pytestmark = pytest.mark.quick_cases(one_in=4)


def near_distributions(seed):
    """Rows of which one is three times another, and two are very near."""
    rng = np.random.default_rng(seed)
    values = rng.random((4, 30)) + 0.01
    values[1] = 3 * values[0]
    values[3] = values[2] * (1 + 1e-9 * rng.normal(size=30))
    return values


def exact(values):
    shares = values / values.sum(axis=1, keepdims=True)
    return exact_jensenshannon(shares, shares)[np.triu_indices(len(values), 1)]


@pytest.mark.skipif(np.finfo(np.longdouble).nmant < 63, reason="there is nothing more exact")
@pytest.mark.parametrize("seed", range(20))
def test_near_distributions_lose_no_digits(seed):
    values = near_distributions(seed)
    close(pdist(values, "jensenshannon").to_numpy(), exact(values))


@pytest.mark.skipif(np.finfo(np.longdouble).nmant < 63, reason="there is nothing more exact")
@pytest.mark.parametrize("near", [1e-1, 1e-2, 1e-3, 1e-5, 1e-12])
def test_distributions_at_any_distance_and_zeros(near):
    rng = np.random.default_rng(1)
    values = np.repeat(rng.random((3, 40)), 4, axis=0) * (1 + near * rng.random((12, 40)))
    values[rng.random(values.shape) < 0.1] = 0.0
    # Shares that only one of two rows has, and hardly.
    values[4], values[4, 7] = values[5], 1e-9
    values[5, 7] = 0.0
    found = pdist(values, "jensenshannon").to_numpy()
    np.testing.assert_allclose(found, exact(values), rtol=1e-10)


def test_equal_distributions_are_at_zero():
    row = np.random.default_rng(0).random(30)
    assert not pdist(np.tile(row, (5, 1)), "jensenshannon").to_numpy().any()


@pytest.mark.parametrize("seed", range(5))
def test_mahalanobis_takes_a_semidefinite_inverse(seed):
    rng = np.random.default_rng(seed)
    factor = rng.normal(size=(6, 2))
    inverse = factor @ factor.T
    blind = np.linalg.svd(factor.T)[2][2:]
    values = rng.normal(size=(20, 6))
    # Rows that differ only in what the inverse does not see.
    values[10:] = values[:10] + rng.normal(size=(10, 4)) @ blind
    found = pdist(values, "mahalanobis", VI=inverse).to_numpy()
    projected = pdist(values @ factor, "euclidean").to_numpy()
    np.testing.assert_allclose(found, projected, rtol=1e-10, atol=1e-7)
