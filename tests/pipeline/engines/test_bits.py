"""Metrics of truth values against SciPy, to the bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from clustergrid.pipeline.engines._bits import COUNTS, WORD_FEATURES, count_common, count_ones, pack
from tests.budget import examples

pytestmark = pytest.mark.quick_cases(one_in=4)


def truth(b, k, seed=0, share=None):
    rng = np.random.default_rng(seed)
    return rng.random((b, k)) < (rng.random((b, 1)) if share is None else share)


@settings(max_examples=examples(40), deadline=None)
@given(b=st.integers(0, 5), k=st.integers(0, 200), cut=st.integers(0, 3), seed=st.integers(0, 99))
def test_packed_blocks_are_the_packed_whole(b, k, cut, seed):
    values = truth(b, k, seed)
    bits = pack(values)
    assert bits.shape == (b, -(-k // 64))
    assert bits.dtype == np.uint64
    assert bits.flags.c_contiguous
    for f in range(k):
        np.testing.assert_array_equal((bits[:, f // 64] >> np.uint64(f % 64)) & 1, values[:, f])
    first = min(cut * WORD_FEATURES, k)
    if first % WORD_FEATURES == 0:
        parts = [pack(values[:, :first]), pack(values[:, first:])]
        np.testing.assert_array_equal(np.concatenate(parts, axis=1), bits)
    np.testing.assert_array_equal(count_ones(bits), values.sum(1))


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int8, np.uint16])
def test_what_is_not_zero_is_true(dtype):
    values = np.array([[0, 1, 3, 0], [2, 0, 0, 0]], dtype=dtype)
    assert pack(values).tolist() == [[0b0110], [0b0001]]
    assert pack(np.array([[np.nan, -0.0, 5e-324, -np.inf]])).tolist() == [[0b1101]]
    assert pack(np.asfortranarray(values)).tolist() == [[0b0110], [0b0001]]


@settings(max_examples=examples(30), deadline=None)
@given(
    n=st.integers(1, 12),
    m=st.sampled_from([1, 5, 255, 256, 257, 300]),
    k=st.sampled_from([1, 63, 64, 65, 511, 512, 513, 700]),
    cut=st.integers(0, 11),
    dtype=st.sampled_from([np.int64, np.int32]),
)
def test_common_ones_add_up_over_any_blocks(n, m, k, cut, dtype):
    left, right = truth(n, k, 1), truth(m, k, 2)
    a, b = pack(left), pack(right)
    counts = np.full((n, m), 7, dtype=dtype)
    for words in (slice(0, cut), slice(cut, None)):
        parts = (np.ascontiguousarray(bits[:, words]) for bits in (a, b))
        count_common(*parts, counts)
    np.testing.assert_array_equal(counts, 7 + left.astype(int) @ right.T.astype(int))


def test_every_bit_of_a_word_is_counted():
    words = np.array([[1 << bit] for bit in range(64)] + [[2**64 - 1], [0]], dtype=np.uint64)
    assert count_ones(words).tolist() == [1] * 64 + [64, 0]


def distances(name, left, right, dtype=np.float64):
    a, b = pack(left), pack(right)
    common = np.zeros((len(a), len(b)), dtype=np.int64)
    count_common(a, b, common)
    out = np.empty(common.shape, dtype=dtype)
    COUNTS[name](common, count_ones(a), count_ones(b), float(left.shape[1]), out)
    return out


@pytest.mark.parametrize("name", COUNTS)
def test_distances_are_scipys_to_the_bit(name):
    left, right = truth(40, 333), truth(50, 333, 1)
    # No feature, every feature, the same, the opposite.
    left[0], left[1], right[0], right[1] = False, True, False, True
    right[2], right[3] = left[5], ~left[5]
    found = distances(name, left, right)
    np.testing.assert_array_equal(found, cdist(left, right, name))
    np.testing.assert_array_equal(found, distances(name, right, left).T)
    single = distances(name, left, right, np.float32)
    np.testing.assert_array_equal(single, found.astype(np.float32))


@pytest.mark.parametrize("name", COUNTS)
@settings(max_examples=examples(20), deadline=None)
@given(k=st.integers(1, 9), seed=st.integers(0, 2**20))
def test_few_features_are_scipys_too(name, k, seed):
    left, right = truth(8, k, seed, 0.5), truth(8, k, seed + 1, 0.5)
    np.testing.assert_array_equal(distances(name, left, right), cdist(left, right, name))


def test_two_rows_without_ones():
    nothing = np.zeros((1, 70), dtype=bool)
    found = {name: distances(name, nothing, nothing)[0, 0] for name in COUNTS}
    assert {name for name, value in found.items() if np.isnan(value)} == {"dice", "sokalsneath"}
    assert found["jaccard"] == found["hamming"] == found["rogerstanimoto"] == found["yule"] == 0.0
    assert found["russellrao"] == 1.0
