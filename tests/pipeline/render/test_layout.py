from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clustergrid.pipeline import downsample
from clustergrid.pipeline.render.layout import (
    any_overlap,
    axis_ratios,
    pixels,
    ratio_pair,
    tick_positions,
    tick_step,
)
from clustergrid.pipeline.render.slices import Slices

rectangles = st.lists(
    st.tuples(st.integers(0, 30), st.integers(0, 9), st.integers(0, 5), st.integers(0, 3)),
    max_size=12,
)


@given(rectangles)
def test_overlap_is_that_of_any_two_rectangles(sides: list[tuple[int, int, int, int]]) -> None:
    boxes = np.array([(x, y, x + w, y + h) for x, y, w, h in sides], float).reshape(-1, 4)
    expected = any(
        a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
        for i, a in enumerate(boxes)
        for b in boxes[:i]
    )
    assert any_overlap(boxes) == expected


@given(st.integers(1, 5000), st.integers(1, 900))
def test_pixels_are_cut_like_the_body(n: int, n_pixels: int) -> None:
    n_pixels = min(n, n_pixels)
    found = Slices.whole(n).pixel_edges(n_pixels)
    np.testing.assert_array_equal(found, downsample.pixel_edges(n, n_pixels))


@given(st.integers(0, 10**7), st.floats(0.5, 40), st.floats(4, 40))
def test_ticks_fit(n_labels: int, length: float, font: float) -> None:
    step = tick_step(n_labels, length, font)
    if step and n_labels:
        shown = -(-n_labels // step)
        assert shown * font / 72 <= length + 1e-9


def test_ticks_of_step_zero_are_none() -> None:
    assert tick_step(10, 0.01, 10) == 0
    assert len(tick_positions(10, 0)) == 0
    np.testing.assert_array_equal(tick_positions(3, 1), [0.5, 1.5, 2.5])


@pytest.mark.parametrize(("n_strips", "expected"), [(0, [0.2, 0.8]), (1, [0.2, 0.03, 0.77])])
def test_ratios_sum_to_one(n_strips: int, expected: list[float]) -> None:
    np.testing.assert_allclose(axis_ratios(n_strips, 0.2, 0.03), expected)


def test_pairs_of_ratios() -> None:
    assert ratio_pair(np.array([0.1, 0.2]), 0.2, "r") == (0.1, 0.2)
    assert ratio_pair(1, 0.2, "r") == (1.0, 1.0)


def test_a_stretch_has_at_least_a_pixel() -> None:
    assert pixels(0, 100) == 1
    assert pixels(7.7, 100) == 770
