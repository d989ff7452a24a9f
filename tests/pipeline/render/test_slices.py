"""Where leaves stand on an axis that is split, against slices walked through one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from clustergrid.pipeline.downsample import pixel_edges
from clustergrid.pipeline.render.slices import Slices
from clustergrid.storage.errors import DataValueError

lengths = st.lists(st.integers(1, 40), min_size=1, max_size=7).map(tuple)
gaps = st.floats(0, 30, allow_subnormal=False)


@settings(deadline=None)
@given(lengths, gaps)
def test_every_leaf_stands_behind_those_before_it_and_their_gaps(
    lengths: tuple[int, ...], gap: float
) -> None:
    slices = Slices(lengths=lengths, gap=gap)
    expected, owners = [], []
    start = 0.0
    for number, length in enumerate(lengths):
        expected += [start + leaf + 0.5 for leaf in range(length)]
        owners += [number] * length
        start += length + gap
    middles = np.arange(slices.n) + 0.5
    np.testing.assert_allclose(slices.position(middles), expected)
    assert slices.slice_of(middles).tolist() == owners
    assert slices.length == pytest.approx(start - gap)


@example((1, 1, 4), 0.0, 3)  # slices narrower than a pixel have one each
@given(lengths, gaps, st.integers(1, 400))
def test_no_pixel_is_of_two_slices(lengths: tuple[int, ...], gap: float, n_pixels: int) -> None:
    slices = Slices(lengths=lengths, gap=gap)
    edges = slices.pixel_edges(n_pixels)
    assert edges[0] == 0
    assert edges[-1] == slices.n
    assert np.diff(edges).min() >= 1
    assert set(slices.bounds.tolist()) <= set(edges.tolist())
    assert len(edges) - 1 < n_pixels + slices.count
    for begin, end in zip(slices.bounds, slices.bounds[1:], strict=False):
        widths = np.diff(edges[(edges >= begin) & (edges <= end)])
        assert widths.max() - widths.min() <= 1


@settings(deadline=None)
@given(lengths, gaps, st.integers(1, 400))
def test_cells_and_gaps_fill_the_axis(lengths: tuple[int, ...], gap: float, n_pixels: int) -> None:
    slices = Slices(lengths=lengths, gap=gap)
    edges = slices.pixel_edges(n_pixels)
    widths = np.diff(slices.cell_edges(edges))
    leaves = slices.with_gaps(np.diff(edges).astype(float), edges, 0, np.nan)
    assert len(widths) == len(leaves)
    np.testing.assert_allclose(widths, np.where(np.isnan(leaves), gap, leaves), atol=1e-9)
    assert np.isnan(leaves).sum() == slices.count - 1


@settings(deadline=None)
@given(st.integers(1, 500), st.integers(1, 500))
def test_one_slice_is_the_axis_itself(n: int, n_pixels: int) -> None:
    slices = Slices.whole(n)
    places = np.linspace(0, n, 13)
    np.testing.assert_array_equal(slices.position(places), places)
    np.testing.assert_array_equal(slices.pixel_edges(n_pixels), pixel_edges(n, min(n, n_pixels)))
    values = np.arange(float(n))
    assert slices.with_gaps(values, np.arange(n + 1), 0, np.nan) is values


def test_gaps_are_fractions_of_the_axis() -> None:
    slices = Slices.spaced((10, 20, 5), 0.02)
    assert slices.gap / slices.length == pytest.approx(0.02)
    assert Slices.spaced((7,), 0.9) == Slices(lengths=(7,), gap=6.3)


def test_gaps_and_lengths_that_make_no_axis_are_refused() -> None:
    with pytest.raises(DataValueError, match=r"3 slices with gaps of 0.5 .* below 1/2"):
        Slices.spaced((1, 2, 3), 0.5)
    with pytest.raises(DataValueError, match="at least one leaf"):
        Slices(lengths=(2, 0))
    with pytest.raises(DataValueError, match="no narrower than 0"):
        Slices(lengths=(2, 1), gap=-1)
