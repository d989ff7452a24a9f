"""Squares that are filled from tiles, and put into another order."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clustergrid.pipeline.points import square_order
from clustergrid.pipeline.points._both_ways import put_both_ways
from clustergrid.pipeline.points.square_order import reorder_square


@given(st.data())
def test_tiles_and_an_order_make_the_square(data):
    m = data.draw(st.integers(1, 90))
    random = np.random.default_rng(data.draw(st.integers(0, 1000)))
    wanted = random.random((m, m))
    wanted = np.triu(wanted, 1) + np.triu(wanted, 1).T
    cuts = [
        0,
        *sorted(set(data.draw(st.lists(st.integers(1, m - 1)) if m > 1 else st.just([])))),
        m,
    ]
    square = np.full((m, m), np.nan)
    ranges = list(pairwise(cuts))
    for number, (begin, end) in enumerate(ranges):
        for first, last in ranges[number:]:
            put_both_ways(wanted[begin:end, first:last].copy(), begin, first, square)
    np.testing.assert_array_equal(square, wanted)
    places = random.permutation(m)
    reorder_square(square, places, threads=2, pause=lambda: None)
    np.testing.assert_array_equal(square[np.ix_(places, places)], wanted)


@pytest.mark.parametrize("threads", [1, 3])
def test_pieces_and_threads_make_no_difference(monkeypatch, threads):
    monkeypatch.setattr(square_order, "_ENTRIES_A_PIECE", 1000)
    wanted = np.random.default_rng(0).random((301, 301))
    places, told = np.random.default_rng(1).permutation(301), []
    square = wanted.copy()
    reorder_square(square, places, threads=threads, pause=lambda: told.append(None))
    np.testing.assert_array_equal(square[np.ix_(places, places)], wanted)
    assert len(told) == 2 * -(-301 // 3)


def test_what_is_in_order_is_left_alone():
    square = np.random.default_rng(0).random((5, 5))
    square.flags.writeable = False
    reorder_square(square, np.arange(5), threads=1, pause=lambda: None)
