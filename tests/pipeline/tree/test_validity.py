"""What is a linkage matrix, and what is wrong with one."""

import numpy as np
import pytest

from clustergrid.pipeline.tree.validity import check_linkage
from clustergrid.storage.errors import DataValueError
from tests.pipeline.tree.trees import tree


def test_check_linkage_passes_what_scipy_passes():
    Z = tree(30)
    for given_ in (Z, Z.tolist(), np.asfortranarray(Z), Z.astype(np.float32).astype(object)):
        checked = check_linkage(given_, 30)
        assert checked.flags.c_contiguous
        assert checked.dtype == np.float64
    assert check_linkage(Z) is Z


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ((1, 0), -1, "negative ids"),
        ((1, 0), 0.5, "whole numbers"),
        ((1, 2), -0.1, "negative heights"),
        ((1, 2), np.nan, "finite"),
        ((1, 3), -2, "negative counts"),
        ((1, 3), 9, "more observations"),
        ((0, 1), 5, "before it is formed"),
        ((2, 1), 0, "more than once"),
    ],
)
def test_check_linkage_says_what_is_wrong(place, value, words):
    Z = np.array([[0, 1, 1, 2], [2, 3, 2, 2], [4, 5, 3, 4]], np.float64)
    assert check_linkage(Z, 4) is Z
    Z[place] = value
    with pytest.raises(DataValueError, match=f"row_linkage .*{words}"):
        check_linkage(Z, name="row_linkage")


def test_check_linkage_shapes():
    with pytest.raises(DataValueError, match=r"4 columns .* got shape \(3, 3\)"):
        check_linkage(np.zeros((3, 3)))
    with pytest.raises(DataValueError, match="at least two observations"):
        check_linkage(np.zeros((0, 4)))
    with pytest.raises(DataValueError, match="matrix of numbers"):
        check_linkage([["a"]])
    with pytest.raises(DataValueError, match="col_linkage has 5 leaves, but 7 observations"):
        check_linkage(tree(5), 7, "col_linkage")
