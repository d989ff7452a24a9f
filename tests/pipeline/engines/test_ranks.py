"""Average ranks of rows against SciPy's, bit for bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.stats import rankdata

from clustergrid.pipeline.engines import _ranks
from clustergrid.pipeline.engines._ranks import rank_rows
from tests.budget import examples

pytestmark = pytest.mark.quick_cases(one_in=4)

VALUES = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, 5e-324, -5e-324]),
    st.floats(allow_nan=False),
)


@settings(max_examples=examples(200), deadline=None)
@given(arrays(np.float64, array_shapes(min_dims=2, max_dims=2, max_side=24), elements=VALUES))
def test_ranks_are_those_of_scipy(values):
    found = rank_rows(values)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, rankdata(values, axis=1))


@pytest.mark.parametrize("k", [1, 2, 1_000, 40_000])
@pytest.mark.parametrize("kinds", [2, 50, None])
def test_rows_of_any_length_and_ties(k, kinds):
    rng = np.random.default_rng(k)
    values = rng.normal(size=(70, k)) if kinds is None else rng.integers(0, kinds, (70, k)) * 0.25
    np.testing.assert_array_equal(rank_rows(values), rankdata(values, axis=1))


def test_zeros_of_either_sign_are_tied():
    np.testing.assert_array_equal(rank_rows(np.array([[0.0, -0.0, 1.0]])), [[1.5, 1.5, 3.0]])


def test_views_are_ranked_as_copies():
    values = np.random.default_rng(0).integers(0, 9, (40, 60)).astype(np.float64)
    expected = rankdata(values[::2, 1::3], axis=1)
    np.testing.assert_array_equal(rank_rows(values[::2, 1::3]), expected)
    np.testing.assert_array_equal(rank_rows(values.T), rankdata(values, axis=0).T)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)])
def test_nothing_has_no_ranks(shape):
    assert rank_rows(np.empty(shape)).shape == shape


@pytest.mark.parametrize("at_once", [1, 7, 100])
def test_rows_are_ranked_alone(monkeypatch, at_once):
    values = np.random.default_rng(1).integers(0, 6, (11, 13)).astype(np.float64)
    expected = rank_rows(values)
    monkeypatch.setattr(_ranks, "_SORTED_AT_ONCE", at_once)
    np.testing.assert_array_equal(rank_rows(values), expected)
