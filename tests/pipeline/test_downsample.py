"""The image of one pass against a dense oracle."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from clustergrid.pipeline import downsample, image_plan
from clustergrid.pipeline.downsample import Cells, pixel_edges, reduce_image
from clustergrid.pipeline.errors import MemoryLimitError
from clustergrid.pipeline.execution import DaskExecutor, SerialExecutor, ThreadsExecutor
from clustergrid.pipeline.image_plan import AGGREGATES, ImageWork, MedianWork
from clustergrid.pipeline.monitor import Progress
from clustergrid.pipeline.normalize import Normalization, matrix_statistics
from clustergrid.storage.arrays import create_array, write_block
from clustergrid.storage.source import ArraySource, ZarrSource
from tests.budget import examples

pytestmark = pytest.mark.quick_cases(one_in=16)


class CountingSource(ArraySource):
    """Counts how often each cell is read, and remembers the largest block."""

    def __init__(self, array, chunks):
        super().__init__(array)
        object.__setattr__(self, "reads", np.zeros(array.shape, int))
        object.__setattr__(self, "stored", chunks)

    @property
    def chunks(self):
        return self.stored

    def read(self, rows, columns):
        self.reads[rows, columns] += 1
        return super().read(rows, columns)


def stored(tmp_path, values, chunks=(64, 50), path="x"):
    store = tmp_path / "a.zarr"
    array = create_array(store, path, shape=values.shape, dtype=values.dtype, chunks=chunks)
    write_block(array, (0, 0), values)
    return ZarrSource(str(store), path)


def cells_of(values, mask=None, normalization=None):
    source = values if hasattr(values, "read") else ArraySource(values)
    mask = mask if mask is None or hasattr(mask, "read") else ArraySource(mask)
    return Cells(source=source, normalization=normalization or Normalization(), mask=mask)


def reduce(cells, row_order, column_order, shape, aggregate="mean", executor=None, **options):
    return reduce_image(
        cells,
        row_order,
        column_order,
        shape,
        executor=executor or SerialExecutor(),
        progress=Progress(),
        aggregate=aggregate,
        **options,
    )


def plain(cells, aggregate):
    """What a pixel shows, by its definition."""
    cells = cells[~np.isnan(cells)]
    if not cells.size:
        return np.nan
    with np.errstate(invalid="ignore"):
        if aggregate == "max_abs":
            return max(cells, key=lambda value: (abs(value), value))
        return getattr(np, aggregate)(cells)


def dense(values, mask, row_order, column_order, image, aggregate):
    """Every pixel of an image, by making the reordered matrix."""
    shown = values if mask is None else np.where(mask, np.nan, values)
    ordered = shown[np.ix_(row_order, column_order)].astype(np.float64)
    expected = np.full(image.values.shape, np.nan)
    rows, columns = image.row_edges, image.column_edges
    for a in range(expected.shape[0]):
        for b in range(expected.shape[1]):
            pixel = ordered[rows[a] : rows[a + 1], columns[b] : columns[b + 1]]
            expected[a, b] = plain(pixel, aggregate)
    return expected


def example_values(n, k, seed, dtype=np.float64, *, odd=True):
    rng = np.random.default_rng(seed)
    # Few different values, so that there are ties of both signs.
    values = rng.normal(size=(n, k)).round(1).astype(dtype)
    values[rng.random((n, k)) < 0.15] = np.nan
    if odd:
        values[rng.random((n, k)) < 0.02] = np.inf
        values[rng.random((n, k)) < 0.02] = -np.inf
        values[rng.random((n, k)) < 0.05] = -0.0
    return values, rng.random((n, k)) < 0.2, rng.permutation(n), rng.permutation(k)


@pytest.fixture
def compiled(monkeypatch):
    cut_small(monkeypatch)


def cut_small(patch, row_block=3, column_block=5, cells_a_pixel=1):
    """Cut small matrices as large ones are."""
    patch.setattr(image_plan, "SMALL_CELLS", 0)
    patch.setattr(image_plan, "ROW_BLOCK", row_block)
    patch.setattr(downsample, "ROW_BLOCK", row_block)
    patch.setattr(image_plan, "_COLUMN_BLOCK", column_block)
    patch.setattr(image_plan, "_CELLS_A_PIXEL", cells_a_pixel)


@settings(max_examples=examples(150), deadline=None)
@given(
    n=st.integers(1, 60),
    k=st.integers(1, 60),
    pixels=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    seed=st.integers(0, 10**6),
    masked=st.booleans(),
    aggregate=st.sampled_from(AGGREGATES),
    dtype=st.sampled_from([np.float64, np.float32, np.float16]),
    axis=st.sampled_from([None, 0, 1]),
    cut=st.none() | st.tuples(st.integers(1, 20), st.integers(1, 20)),
    chunks=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    read_bytes=st.sampled_from([1, 2**26]),
)
@example(
    n=7,
    k=5,
    pixels=(3, 2),
    seed=0,
    masked=True,
    aggregate="mean",
    dtype=np.float32,
    axis=None,
    cut=(2, 2),
    chunks=(2, 2),
    read_bytes=1,
)
def test_pixels_show_their_cells(
    n, k, pixels, seed, masked, aggregate, dtype, axis, cut, chunks, read_bytes
):
    values, mask, rows, columns = example_values(n, k, seed, dtype)
    mask = mask if masked else None
    source = CountingSource(values, chunks)
    normalization = Normalization()
    if axis is not None:
        rng = np.random.default_rng(seed)
        length = values.shape[axis]
        normalization = Normalization(
            axis=axis, shift=rng.normal(size=length), scale=rng.random(length) + 0.5
        )
    shown = normalization.apply(values, slice(None), slice(None))
    with pytest.MonkeyPatch.context() as patch:
        if cut is not None:
            cut_small(patch, *cut)
            patch.setattr(image_plan, "_READ_BYTES", read_bytes)
        image = reduce(cells_of(source, mask, normalization), rows, columns, pixels, aggregate)
    assert image.values.shape == (min(n, pixels[0]), min(k, pixels[1]))
    expected = dense(shown, mask, rows, columns, image, aggregate)
    if aggregate in ("mean", "median"):
        np.testing.assert_allclose(image.values, expected, rtol=1e-12, atol=1e-14)
    else:
        np.testing.assert_array_equal(image.values, expected)
    assert not np.signbit(image.values[image.values == 0]).any()
    assert (source.reads == 1).all()


@pytest.mark.parametrize("aggregate", AGGREGATES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int16, bool])
@pytest.mark.parametrize("is_cut", [False, True])
def test_a_pixel_a_cell_is_exact(monkeypatch, dtype, aggregate, is_cut):
    if is_cut:
        cut_small(monkeypatch)
    rng = np.random.default_rng(0)
    values = (rng.normal(size=(31, 17)) * 100).astype(dtype)
    rows, columns = rng.permutation(31), rng.permutation(17)
    for shape in ((31, 17), (500, 500)):
        image = reduce(cells_of(values), rows, columns, shape, aggregate)
        np.testing.assert_array_equal(image.values, values[np.ix_(rows, columns)].astype(float))


@pytest.mark.parametrize("aggregate", AGGREGATES)
@pytest.mark.parametrize("is_cut", [False, True])
def test_pixels_without_a_cell_to_show(monkeypatch, aggregate, is_cut):
    if is_cut:
        cut_small(monkeypatch)
    values = np.ones((4, 4))
    mask = np.zeros((4, 4), bool)
    mask[:2, :2] = True
    values[2:, 2:] = np.nan
    image = reduce(cells_of(values, mask), np.arange(4), np.arange(4), (2, 2), aggregate)
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


@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_neither_executors_nor_chunks_change_a_bit(monkeypatch, client, tmp_path, aggregate):
    cut_small(monkeypatch, 64, 128)
    values, mask, rows, columns = example_values(700, 300, 1, np.float32, odd=False)
    values += np.random.default_rng(2).normal(size=values.shape).astype(np.float32)
    mask_source = stored(tmp_path, mask, path="mask")
    source = stored(tmp_path, values)
    statistics = matrix_statistics(source, SerialExecutor(), Progress())
    normalization = Normalization.z_score(statistics, 1)
    shape = (50, 33)
    work = ImageWork(shape=values.shape, pixels=shape, aggregate=aggregate)
    assert work.n_bands > len(work.groups) > 1
    expected = reduce(cells_of(source, mask_source, normalization), rows, columns, shape, aggregate)
    for executor in (ThreadsExecutor(2), ThreadsExecutor(7), DaskExecutor(client)):
        cells = cells_of(source, mask_source, normalization)
        found = reduce(cells, rows, columns, shape, aggregate, executor)
        np.testing.assert_array_equal(found.values, expected.values)
    others = [
        values,
        np.asfortranarray(values),
        stored(tmp_path, values, (700, 7), "narrow"),
        stored(tmp_path, values, (100, 300), "wide"),
    ]
    values.flags.writeable = False
    for other in others:
        found = reduce(cells_of(other, mask, normalization), rows, columns, shape, aggregate)
        np.testing.assert_array_equal(found.values, expected.values)


def test_images_are_merged_in_their_order(compiled):
    class Backwards(SerialExecutor):
        def map(self, function, shared, items, *, name):
            return super().map(function, shared, list(items)[::-1], name=name)

    values, _, rows, columns = example_values(97, 8, 2, odd=False)
    values += np.random.default_rng(0).normal(size=values.shape)
    image = reduce(cells_of(values), rows, columns, (10, 4), executor=Backwards())
    in_order = reduce(cells_of(values), rows, columns, (10, 4))
    np.testing.assert_array_equal(image.values, in_order.values)


@settings(deadline=None)
@given(
    shape=st.tuples(st.integers(1, 10**6), st.integers(1, 10**5)),
    pixels=st.tuples(st.integers(1, 3000), st.integers(1, 3000)),
)
def test_bands_are_few_and_cover_all_rows(shape, pixels):
    work = ImageWork(shape=shape, pixels=pixels)
    bands = [band for group in work.groups for band in group]
    assert [band.start for band in bands] == list(range(0, shape[0], work.band_rows))
    assert bands[-1].stop == shape[0]
    assert len(bands) == work.n_bands <= 256
    assert len(work.groups) <= 16
    assert all(band.start % image_plan.ROW_BLOCK == 0 for band in bands)


@settings(deadline=None)
@given(
    shape=st.tuples(st.integers(1, 10**6), st.integers(1, 10**5)),
    chunks=st.tuples(st.integers(1, 10**5), st.integers(1, 10**5)),
)
def test_regions_are_whole_blocks(shape, chunks):
    rows, columns = ImageWork(shape=shape, pixels=(1, 1)).read_at_once(chunks, 8)
    assert rows % image_plan.ROW_BLOCK == 0
    assert columns == shape[1] or (rows == image_plan.ROW_BLOCK and columns % 8192 == 0)


def test_an_aggregate_that_there_is_not():
    with pytest.raises(ValueError, match="mean, max_abs, min, max, median, got 'mode'"):
        reduce(cells_of(np.ones((3, 3))), np.arange(3), np.arange(3), (2, 2), "mode")


def test_medians_are_made_in_parts_that_fit(compiled):
    values, mask, rows, columns = example_values(83, 30, 3, odd=False)
    whole = reduce(cells_of(values, mask), rows, columns, (9, 7), "median")
    source = CountingSource(values, (8, 30))
    # Ten rows a pixel of 30 values: room for two rows of pixels.
    parts = reduce(
        cells_of(source, mask), rows, columns, (9, 7), "median", median_task_bytes=2 * 10 * 30 * 8
    )
    np.testing.assert_array_equal(parts.values, whole.values)
    assert (source.reads == 5).all()


def test_medians_that_do_not_fit_are_refused_before_anything_is_read(compiled):
    source = CountingSource(np.ones((83, 30)), (8, 30))
    with pytest.raises(MemoryLimitError, match=r"83 x 30 values.*a task has 2.16 kB"):
        reduce(
            cells_of(source),
            np.arange(83),
            np.arange(30),
            (9, 7),
            "median",
            median_task_bytes=9 * 30 * 8,
        )
    assert not source.reads.any()


@settings(deadline=None)
@given(
    shape=st.tuples(st.integers(1, 10**5), st.integers(1, 10**4)),
    pixels=st.tuples(st.integers(1, 3000), st.integers(1, 3000)),
    task_bytes=st.integers(1, 10**10),
    threads=st.integers(1, 100),
)
def test_parts_of_medians_fit_or_are_refused(shape, pixels, task_bytes, threads):
    pixels = tuple(map(min, pixels, shape))
    work = MedianWork(
        shape=shape, pixels=pixels, cell_bytes=4, task_bytes=task_bytes, threads=threads
    )
    bands = work.bands
    try:
        work.check()
    except MemoryLimitError:
        assert len(bands) == -(-pixels[0] // -(-pixels[0] // 16))
        return
    assert len(bands) <= 16
    assert bands[-1].stop == pixels[0]
    assert work.held_bytes <= task_bytes


def test_progress_ends_at_its_total(tmp_path, compiled):
    events = []
    values, mask, rows, columns = example_values(50, 40, 5, odd=False)
    cells = cells_of(stored(tmp_path, values), stored(tmp_path, mask, path="mask"))
    progress = Progress(events.append, interval_seconds=0)
    for aggregate in ("mean", "median"):
        reduce_image(
            cells,
            rows,
            columns,
            (9, 9),
            executor=SerialExecutor(),
            progress=progress,
            aggregate=aggregate,
        )
    assert all(0 <= event.done <= event.total for event in events)
    ends = [event for event in events if event.state == "finished"]
    assert [event.stage for event in ends] == ["downsample"] * 2
    assert ends[0].done == ends[0].total == 50
