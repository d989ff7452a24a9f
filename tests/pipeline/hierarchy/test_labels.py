"""The linkage matrix that merges make."""

import numpy as np
import pytest

from clustergrid.pipeline.hierarchy import Duplicates, Merges, linkage_matrix


def _merges(*rows):
    first, second, height = zip(*rows, strict=True)
    return Merges(
        first=np.array(first), second=np.array(second), height=np.array(height, np.float64)
    )


def test_sorted_by_height_stably_and_labelled():
    merges = _merges((3, 2, 2.0), (0, 1, 1.0), (4, 3, 2.0), (1, 2, 5.0))
    np.testing.assert_array_equal(
        linkage_matrix(merges, 5),
        [[0, 1, 1, 2], [2, 3, 2, 2], [4, 6, 2, 3], [5, 7, 5, 5]],
    )


def test_a_height_is_raised_to_those_below():
    merges = _merges((0, 1, 1.0), (1, 2, 1.0 - 1e-16), (3, 2, 0.5))
    np.testing.assert_array_equal(linkage_matrix(merges, 4)[:, 2], [1.0, 1.0, 1.0])


def test_inversions_are_kept_unless_monotonic():
    merges = _merges((0, 1, 1.0), (1, 2, 0.9))
    Z = linkage_matrix(merges, 3, monotonic=False)
    np.testing.assert_array_equal(Z, [[0, 1, 1.0, 2], [2, 3, 0.9, 3]])


def test_duplicates_come_first_at_height_0():
    merges = _merges((1, 0, 2.0))
    duplicates = Duplicates(
        kept=np.array([3, 1]), duplicate_of=np.array([1, 3, 1]), row=np.array([4, 0, 2])
    )
    np.testing.assert_array_equal(
        linkage_matrix(merges, 5, duplicates=duplicates),
        [[1, 4, 0, 2], [0, 3, 0, 2], [2, 5, 0, 3], [6, 7, 2, 5]],
    )


def test_all_rows_identical():
    nothing = Merges.empty(0)
    duplicates = Duplicates(kept=np.array([0]), duplicate_of=np.array([0, 0]), row=np.array([1, 2]))
    np.testing.assert_array_equal(
        linkage_matrix(nothing, 3, duplicates=duplicates), [[0, 1, 0, 2], [2, 3, 0, 3]]
    )


def test_the_number_of_merges_must_fit():
    with pytest.raises(ValueError, match="4 observations take 3 merges, got 1"):
        linkage_matrix(_merges((0, 1, 1.0)), 4)
    with pytest.raises(ValueError, match="equally long"):
        Merges(first=np.zeros(2, np.int64), second=np.zeros(2, np.int64), height=np.zeros(1))
    with pytest.raises(ValueError, match="equally long"):
        Duplicates(kept=np.arange(2), duplicate_of=np.arange(2), row=np.arange(1))
