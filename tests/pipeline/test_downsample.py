"""The image of one pass against a dense oracle."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from clustergrid.pipeline import downsample
from clustergrid.pipeline.downsample import Cells, pixel_edges, reduce_image, value_limits
from clustergrid.pipeline.execution import DaskExecutor, SerialExecutor, ThreadsExecutor
from clustergrid.pipeline.monitor import Progress
from clustergrid.pipeline.normalize import Normalization, matrix_statistics
from clustergrid.storage.arrays import create_array, write_block
from clustergrid.storage.source import ArraySource, ZarrSource


class CountingSource(ArraySource):
    """Counts how often each cell is read, and remembers the largest block."""

    def __init__(self, array):
        super().__init__(array)
        object.__setattr__(self, "reads", np.zeros(array.shape, int))
        object.__setattr__(self, "blocks", [])

    def read(self, rows, columns):
        self.reads[rows, columns] += 1
        block = super().read(rows, columns)
        self.blocks.append(block.shape)
        return block


def stored(tmp_path, values, chunks=(64, 50), path="x"):
    store = tmp_path / "a.zarr"
    array = create_array(store, path, shape=values.shape, dtype=values.dtype, chunks=chunks)
    write_block(array, (0, 0), values)
    return ZarrSource(str(store), path)


def cells_of(values, mask=None, normalization=None):
    source = values if hasattr(values, "read") else ArraySource(values)
    mask = mask if mask is None or hasattr(mask, "read") else ArraySource(mask)
    return Cells(source=source, normalization=normalization or Normalization(), mask=mask)


def reduce(cells, row_order, column_order, shape, executor=None):
    return reduce_image(
        cells,
        row_order,
        column_order,
        shape,
        executor=executor or SerialExecutor(),
        progress=Progress(),
    )


def dense(values, mask, row_order, column_order, row_edges, column_edges):
    """Mean of every pixel's cells, by making the reordered matrix."""
    shown = values if mask is None else np.where(mask, np.nan, values)
    ordered = shown[np.ix_(row_order, column_order)].astype(np.float64)
    image = np.full((len(row_edges) - 1, len(column_edges) - 1), np.nan)
    for a in range(image.shape[0]):
        for b in range(image.shape[1]):
            pixel = ordered[row_edges[a] : row_edges[a + 1], column_edges[b] : column_edges[b + 1]]
            if not np.isnan(pixel).all():
                image[a, b] = np.nanmean(pixel)
    return image


def example_values(n, k, seed, dtype=np.float64):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n, k)).astype(dtype)
    values[rng.random((n, k)) < 0.15] = np.nan
    return values, rng.random((n, k)) < 0.2, rng.permutation(n), rng.permutation(k)


@settings(max_examples=80, deadline=None)
@given(
    n=st.integers(1, 60),
    k=st.integers(1, 60),
    pixels=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    seed=st.integers(0, 10**6),
    masked=st.booleans(),
    block=st.integers(2, 70),
    compiled=st.booleans(),
)
@example(n=7, k=5, pixels=(3, 2), seed=0, masked=True, block=2, compiled=True)
def test_pixels_are_the_means_of_their_cells(n, k, pixels, seed, masked, block, compiled):
    values, mask, rows, columns = example_values(n, k, seed)
    mask = mask if masked else None
    source = CountingSource(values)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(downsample, "_BLOCK", block)
        patch.setattr(downsample, "_SMALL_CELLS", 0 if compiled else 10**9)
        image = reduce(cells_of(source, mask), rows, columns, pixels)
    assert image.values.shape == (min(n, pixels[0]), min(k, pixels[1]))
    expected = dense(values, mask, rows, columns, image.row_edges, image.column_edges)
    np.testing.assert_allclose(image.values, expected, rtol=1e-12, atol=1e-14)
    # One pass, and never more than a block of it.
    assert (source.reads == 1).all()
    assert max(shape[0] for shape in source.blocks) <= block
    assert max(shape[1] for shape in source.blocks) <= block


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int16, bool])
def test_a_pixel_a_cell_is_exact(dtype):
    rng = np.random.default_rng(0)
    values = (rng.normal(size=(31, 17)) * 100).astype(dtype)
    rows, columns = rng.permutation(31), rng.permutation(17)
    for shape in ((31, 17), (500, 500)):
        image = reduce(cells_of(values), rows, columns, shape)
        np.testing.assert_array_equal(image.values, values[np.ix_(rows, columns)].astype(float))


def test_pixels_without_a_cell_to_show():
    values = np.ones((4, 4))
    mask = np.zeros((4, 4), bool)
    mask[:2, :2] = True
    values[2:, 2:] = np.nan
    image = reduce(cells_of(values, mask), np.arange(4), np.arange(4), (2, 2))
    np.testing.assert_array_equal(image.values, [[np.nan, 1], [1, np.nan]])


@settings(deadline=None)
@given(cells=st.integers(1, 10**6), pixels=st.integers(1, 10**4))
def test_pixels_are_even(cells, pixels):
    edges = pixel_edges(cells, pixels)
    assert edges[0] == 0
    assert edges[-1] == cells
    sizes = np.diff(edges)
    assert len(sizes) == min(cells, pixels)
    assert sizes.min() >= 1
    assert sizes.max() - sizes.min() <= 1


def test_no_executor_changes_a_bit(monkeypatch, client, tmp_path):
    monkeypatch.setattr(downsample, "_BLOCK", 64)
    values, mask, rows, columns = example_values(700, 300, 1, np.float32)
    source = stored(tmp_path, values)
    mask_source = stored(tmp_path, mask, path="mask")
    statistics = matrix_statistics(source, SerialExecutor(), Progress())
    cells = cells_of(source, mask_source, Normalization.z_score(statistics, 1))
    expected = reduce(cells, rows, columns, (90, 77))
    for executor in (ThreadsExecutor(2), ThreadsExecutor(7), DaskExecutor(client)):
        found = reduce(cells, rows, columns, (90, 77), executor)
        np.testing.assert_array_equal(found.values, expected.values)
    in_memory = cells_of(values, mask, cells.normalization)
    np.testing.assert_array_equal(
        reduce(in_memory, rows, columns, (90, 77)).values, expected.values
    )


def test_partial_images_are_bounded(monkeypatch):
    monkeypatch.setattr(downsample, "_BLOCK", 2)
    monkeypatch.setattr(downsample, "MOST_PARTIAL_IMAGES", 5)
    items = []

    class Recording(SerialExecutor):
        def map(self, function, shared, slices, *, name):
            slices = list(slices)
            items.extend(slices)
            return super().map(function, shared, slices[::-1], name=name)

    values, _, rows, columns = example_values(97, 8, 2)
    image = reduce(cells_of(values), rows, columns, (10, 4), Recording())
    assert len(items) <= 5
    in_order = reduce(cells_of(values), rows, columns, (10, 4))
    # They came in the opposite order, and were added in their own.
    np.testing.assert_array_equal(image.values, in_order.values)


def limits(cells, *, robust, executor=None):
    statistics = matrix_statistics(cells.source, SerialExecutor(), Progress())
    return value_limits(
        cells,
        statistics,
        robust=robust,
        executor=executor or SerialExecutor(),
        progress=Progress(),
    )


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("axis", [None, 0, 1])
@pytest.mark.parametrize("name", ["z_score", "standard_scale"])
def test_limits(monkeypatch, tmp_path, client, name, axis, masked):
    monkeypatch.setattr(downsample, "_BLOCK", 64)
    values, mask, _, _ = example_values(200, 90, 3)
    values[:, 0] *= 100
    mask = mask if masked else None
    normalization = Normalization()
    if axis is not None:
        statistics = matrix_statistics(ArraySource(values), SerialExecutor(), Progress())
        normalization = getattr(Normalization, name)(statistics, axis)
    shown = normalization.apply(values, slice(None), slice(None))
    shown = shown[~np.isnan(shown) & (True if mask is None else ~mask)]
    at_rest = cells_of(
        stored(tmp_path, values),
        None if mask is None else stored(tmp_path, mask, path="mask"),
        normalization,
    )
    in_memory = cells_of(values, mask, normalization)
    exact = (shown.min(), shown.max())
    assert limits(in_memory, robust=False) == exact
    assert limits(at_rest, robust=False) == exact
    assert limits(at_rest, robust=False, executor=DaskExecutor(client)) == exact
    percentiles = np.percentile(shown, [2, 98])
    np.testing.assert_array_equal(limits(in_memory, robust=True), percentiles)
    spacing = np.diff(np.sort(shown))
    # A bin of the histogram, and where there are few values the gap between two of them.
    near = [spacing[max(0, int(q * len(spacing)) - 2) :][:4].max() for q in (0.02, 0.98)]
    tolerance = (exact[1] - exact[0]) / 65536 + np.array(near)
    lazily = limits(at_rest, robust=True)
    assert (np.abs(lazily - percentiles) <= tolerance).all()
    assert limits(at_rest, robust=True, executor=ThreadsExecutor(3)) == lazily


def test_robust_limits_of_many_values_are_within_a_bin(tmp_path):
    values = np.random.default_rng(4).uniform(size=(2000, 1000))
    found = limits(cells_of(stored(tmp_path, values, (500, 1000))), robust=True)
    expected = np.percentile(values, [2, 98])
    np.testing.assert_allclose(found, expected, atol=1 / 65536)


@pytest.mark.parametrize("robust", [False, True])
@pytest.mark.parametrize("at_rest", [False, True])
@pytest.mark.parametrize("all_masked", [False, True])
def test_nothing_to_show_has_no_limits(tmp_path, all_masked, at_rest, robust):
    values = np.ones((4, 3)) if all_masked else np.full((4, 3), np.nan)
    mask = np.ones((4, 3), bool) if all_masked else None
    if at_rest:
        mask = stored(tmp_path, mask, path="mask") if all_masked else None
        values = stored(tmp_path, values)
    assert np.isnan(limits(cells_of(values, mask), robust=robust)).all()


@pytest.mark.parametrize("robust", [False, True])
def test_one_value_everywhere(tmp_path, robust):
    for values in (np.full((5, 4), 3.5), stored(tmp_path, np.full((5, 4), 3.5))):
        assert limits(cells_of(values), robust=robust) == (3.5, 3.5)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("at_rest", [False, True])
def test_infinities_do_not_hide_other_limits(tmp_path, at_rest, masked):
    values = np.arange(20.0).reshape(4, 5)
    values[0, 1], values[3, 3] = -np.inf, np.inf
    mask = np.zeros(values.shape, bool)
    mask[0, 0] = masked
    cells = cells_of(
        stored(tmp_path, values) if at_rest else values,
        (stored(tmp_path, mask, path="mask") if at_rest else mask) if masked else None,
    )
    assert limits(cells, robust=False) == (2 if masked else 0, 19)
    low, high = limits(cells, robust=True)
    assert 0 <= low < high <= 19


def test_progress_does_not_pass_its_total(tmp_path):
    events = []
    values, mask, rows, columns = example_values(50, 40, 5)
    cells = cells_of(stored(tmp_path, values), stored(tmp_path, mask, path="mask"))
    progress = Progress(events.append, interval_seconds=0)
    statistics = matrix_statistics(cells.source, SerialExecutor(), progress)
    for robust in (False, True):
        value_limits(cells, statistics, robust=robust, executor=SerialExecutor(), progress=progress)
    reduce_image(cells, rows, columns, (9, 9), executor=SerialExecutor(), progress=progress)
    assert {event.stage for event in events} >= {"statistics", "limits", "quantiles", "downsample"}
    assert all(0 <= event.done <= event.total for event in events)
