"""The picture of a run while it is made, and the small one that is sent."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from clustergrid.pipeline import downsample
from clustergrid.pipeline.cells import Cells
from clustergrid.pipeline.dashboard.events import Look
from clustergrid.pipeline.dashboard.thumbnail import levels_of, shrunk
from clustergrid.pipeline.downsample import reduce_image
from clustergrid.pipeline.execution import SerialExecutor
from clustergrid.pipeline.image_plan import ImageWork
from clustergrid.pipeline.monitor import Progress, Watcher
from clustergrid.pipeline.normalize import Normalization
from clustergrid.pipeline.render.colormaps import get_colormap
from clustergrid.storage.source import ArraySource

VALUES = st.floats(-100, 100) | st.just(np.nan)


class Album(Watcher):
    def __init__(self):
        self.pictures = []

    def show(self, picture, *, is_whole):
        assert not is_whole  # that is the run's to say, when it is at rest
        self.pictures.append(picture().copy())


@pytest.mark.parametrize("aggregate", ["mean", "max", "median"])
def test_the_picture_so_far_is_of_the_rows_that_were_read(monkeypatch, aggregate):
    monkeypatch.setattr(downsample, "_PIXELS_SHOWN", 40)
    n, k, pixels = 9000, 60, (45, 20)
    rng = np.random.default_rng(3)
    values = rng.normal(size=(n, k))
    values[rng.random((n, k)) < 0.05] = np.nan
    orders = rng.permutation(n), rng.permutation(k)
    cells = Cells(source=ArraySource(values), normalization=Normalization())
    album, progress = Album(), Progress()
    with progress.watched(album):
        image = reduce_image(
            cells, *orders, pixels, executor=SerialExecutor(), progress=progress,
            aggregate=aggregate,
        ).values  # fmt: skip
    step = 1 if aggregate == "median" else 2
    np.testing.assert_allclose(album.pictures[-1], image[::step], rtol=1e-12)
    if aggregate == "median":  # whole bands of pixels, one after another
        assert all(
            np.array_equal(each[~np.isnan(each)], image[~np.isnan(each)]) for each in album.pictures
        )
        return
    work = ImageWork(shape=(n, k), pixels=pixels, aggregate=aggregate)
    assert len(album.pictures) == len(work.groups) > 2
    reduce = {"mean": np.nanmean, "max": np.nanmax}[aggregate]
    for picture, group in zip(album.pictures, work.groups, strict=True):
        read = np.full((n, k), np.nan)
        read[: group[-1].stop] = values[: group[-1].stop]
        blocks = read[np.ix_(*orders)].reshape(pixels[0], n // pixels[0], pixels[1], -1)
        flat = blocks.swapaxes(1, 2).reshape(*pixels, -1)[::2]
        seen = ~np.isnan(flat).all(axis=2)
        assert np.array_equal(~np.isnan(picture), seen)
        np.testing.assert_allclose(picture[seen], reduce(flat[seen], axis=1), rtol=1e-9)


@given(
    arrays(np.float64, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=VALUES),
    st.integers(1, 14),
)
def test_a_shrunk_picture_has_the_means_of_its_parts(values, most):
    small = shrunk(values, most)
    assert small.shape == tuple(min(n, most) for n in values.shape)
    if most >= max(values.shape):
        np.testing.assert_array_equal(small, values)
    if most == 1 and not np.isnan(values).all():
        np.testing.assert_allclose(small, np.nanmean(values), atol=1e-12)
    assert np.isnan(values).all() == np.isnan(small).all()


def test_a_very_large_picture_is_sampled():
    large = np.broadcast_to(np.arange(6000.0)[:, None], (6000, 5000))
    small = shrunk(large, 300)
    assert small.shape == (300, 300)
    np.testing.assert_allclose(small[:, 0], np.linspace(0, 5980, 300), atol=12)


def test_levels_are_of_the_limits_that_were_given():
    values = np.array([[np.nan, -5.0, 0.0, 1.0, 9.0]])
    levels, low, high = levels_of(values, 0.0, 2.0)
    assert (low, high) == (0.0, 2.0)
    assert levels.tolist() == [[0, 1, 1, 128, 255]]


@pytest.mark.parametrize("values", [np.full((2, 2), np.nan), np.full((2, 2), 7.0)])
def test_levels_of_nothing_and_of_one_value(values):
    levels, low, high = levels_of(values)
    assert high > low
    assert set(levels.ravel().tolist()) == ({0} if np.isnan(values).all() else {1})


def test_the_colours_are_those_of_the_heatmap():
    def rgb(name, share):
        return (np.rint(255 * np.array(get_colormap(name)(share)[:3]))).astype(int).tolist()

    def first_middle_last(look, low, high):
        colors = list(look.colors(low, high))
        return colors[:3], colors[3 * 127 : 3 * 128], colors[-3:]

    assert first_middle_last(Look(), 0, 1) == tuple(rgb("rocket", s) for s in (0.0, 0.5, 1.0))
    viridis = Look.of({"cmap": "viridis", "robust": True})
    assert first_middle_last(viridis, 0, 1)[2] == rgb("viridis", 1.0)
    # From the centre to the end: the upper half of a diverging map.
    first, _, last = first_middle_last(Look(center=0.0), 0.0, 1.0)
    np.testing.assert_allclose(first, rgb("icefire", 0.5), atol=2)
    assert last == rgb("icefire", 1.0)
