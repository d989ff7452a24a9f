"""Driver: the picture's pixels from one pass over the matrix, in any row and column order.

Every value goes into the pixel that its row's and column's places in the clustered matrix fall
into, so the reordered matrix is never made. A pixel is a rectangle of whole cells, and its value
their mean, their least or greatest, the one of largest magnitude, or their median. With a pixel for
every cell, the image is the reordered matrix itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from clustergrid.pipeline.cells import Cells
from clustergrid.pipeline.execution import Executor, end_if_stopped
from clustergrid.pipeline.grouped import GroupedWork
from clustergrid.pipeline.image_plan import (
    ROW_BLOCK,
    ImageWork,
    MedianWork,
    check_aggregate,
    column_blocks,
)
from clustergrid.pipeline.monitor import Progress
from clustergrid.pipeline.pixels import (
    REDUCTIONS,
    Block,
    Columns,
    Image,
    Reduction,
    dense_image,
    medians,
)
from clustergrid.pipeline.tree.orders import leaf_places
from clustergrid.storage.grid import slabs

__all__ = ["Cells", "ReducedImage", "pixel_edges", "reduce_image"]

_ANY_MEMORY_BYTES = 2**62
_PIXELS_SHOWN = 500
"""Of an axis, at most, while the image is made."""
_NOTHING = np.empty(0)
_UNMASKED = np.empty((0, 0), bool)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReducedImage:
    """An image of the clustered matrix.

    Attributes
    ----------
    values
        ``(p, q)`` float64: what each pixel shows of its cells, NaN where there is none to show.
    row_edges, column_edges
        ``(p + 1,)`` and ``(q + 1,)`` int64: pixel ``(a, b)`` covers the cells
        ``[row_edges[a], row_edges[a + 1]) x [column_edges[b], column_edges[b + 1])``.
    """

    values: np.ndarray
    row_edges: np.ndarray
    column_edges: np.ndarray


def pixel_edges(cells: int, pixels: int) -> np.ndarray:
    """Cut `cells` into `pixels` runs whose lengths differ by at most one.

    Examples
    --------
    >>> pixel_edges(10, 4).tolist()
    [0, 3, 5, 8, 10]
    >>> pixel_edges(3, 8).tolist()
    [0, 1, 2, 3]
    """
    pixels = max(1, min(cells, pixels))
    return -(-np.arange(pixels + 1, dtype=np.int64) * cells // pixels)


def reduce_image(
    cells: Cells,
    row_order: np.ndarray,
    column_order: np.ndarray,
    shape: tuple[int, int],
    *,
    executor: Executor,
    progress: Progress,
    aggregate: str = "mean",
    median_task_bytes: int = _ANY_MEMORY_BYTES,
    edges: tuple[np.ndarray, np.ndarray] | None = None,
) -> ReducedImage:
    """Reduce the clustered matrix to an image.

    Parameters
    ----------
    cells
        The matrix, ``(n, k)``.
    row_order, column_order
        ``(n,)`` and ``(k,)`` int: which row (column) stands where.
    shape
        Pixels wanted; an axis with fewer cells gets a pixel a cell.
    executor, progress
        Where the pass runs, and who is told, as stage ``"downsample"``. The image does not depend
        on the executor.
    aggregate
        What a pixel shows of its cells, of `clustergrid.pipeline.image_plan.AGGREGATES`. NaN and
        masked cells are left out of all.
    median_task_bytes
        What the cells of medians may take in one task.
    edges
        First cell of every pixel row and column, and the end, in place of equal pixels.

    Raises
    ------
    DataValueError
        There is no such aggregate.
    MemoryLimitError
        The cells of medians do not fit.
    """
    check_aggregate(aggregate)
    if edges is None:
        edges = pixel_edges(cells.shape[0], shape[0]), pixel_edges(cells.shape[1], shape[1])
    row_edges, column_edges = edges
    orders = (np.asarray(row_order), np.asarray(column_order))
    work = ImageWork(
        shape=cells.shape,
        pixels=(len(row_edges) - 1, len(column_edges) - 1),
        aggregate=aggregate,
    )
    if work.is_small:
        small = _SmallPass(cells=cells, orders=orders, edges=edges, aggregate=aggregate)
        rows = [slice(0, cells.shape[0])]
        with progress.stage("downsample", total=1, unit="blocks") as stage:
            (found,) = executor.map(_whole_image, executor.share(small), rows, name="downsample")
            values = _writable(found)
            stage.advance()
    elif aggregate == "median":
        median_work = MedianWork(
            shape=work.shape,
            pixels=work.pixels,
            cell_bytes=4 if cells.are_single else 8,
            task_bytes=median_task_bytes,
            threads=executor.threads,
        )
        median_work.check()
        values = _medians(cells, orders, edges, median_work, executor, progress)
    else:
        values = _reduced(cells, orders, edges, work, executor, progress)
    return ReducedImage(values=values, row_edges=row_edges, column_edges=column_edges)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _SmallPass:
    """What the one task of a small matrix reads."""

    cells: Cells
    orders: tuple[np.ndarray, np.ndarray]
    edges: tuple[np.ndarray, np.ndarray]
    aggregate: str


def _whole_image(work: _SmallPass, rows: slice) -> np.ndarray:
    """Reduce a matrix that is small as a whole."""
    values = work.cells.values(rows, slice(0, work.cells.shape[1]))
    return dense_image(values[np.ix_(*work.orders)], *work.edges, work.aggregate)


def _pixel_of(order: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Pixel of each original row: the pixel of its place in the order."""
    pixel = np.empty(len(order), dtype=np.int64)
    pixel[order] = np.repeat(np.arange(len(edges) - 1), np.diff(edges))
    return pixel


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Pass:
    """What every task of a pass reads."""

    cells: Cells
    work: ImageWork
    row_pixel: np.ndarray
    columns: list[Columns]
    most_cells: int

    @property
    def reduction(self) -> Reduction:
        return REDUCTIONS[self.work.aggregate]


def _reduced(
    cells: Cells,
    orders: tuple[np.ndarray, ...],
    edges: tuple[np.ndarray, ...],
    work: ImageWork,
    executor: Executor,
    progress: Progress,
) -> np.ndarray:
    """Reduce bands of rows to images, and these group by group to one."""
    column_pixel = _pixel_of(orders[1], edges[1])
    per_pixel = [np.diff(each) for each in edges]
    shared = _Pass(
        cells=cells,
        work=work,
        row_pixel=_pixel_of(orders[0], edges[0]),
        columns=[Columns.of(column_pixel[block]) for block in column_blocks(cells.shape[1])],
        most_cells=int(per_pixel[0].max()) * int(per_pixel[1].max()),
    )
    merge = shared.reduction.merge
    waiting: dict[int, Image] = {}
    image: Image | None = None
    due = 0
    rows_seen = np.zeros(work.pixels[0], np.int64)

    def so_far() -> np.ndarray:
        """Take some pixels of the image, of the rows that it was made of: it may be a large one."""
        assert image is not None
        some = tuple(slice(None, None, -(-n // _PIXELS_SHOWN)) for n in work.pixels)
        cells_seen = np.outer(rows_seen[some[0]], per_pixel[1][some[1]])
        return shared.reduction.finish(tuple(part[some] for part in image), cells_seen)

    with progress.stage(
        "downsample", total=cells.shape[0], unit="rows", unit_bytes=cells.row_bytes
    ) as stage:
        bands = GroupedWork(
            function=_band_image,
            merge=merge,
            shared=executor.share(shared),
            groups=work.groups,
            name="downsample",
            on_item=lambda rows: stage.advance(rows.stop - rows.start),
        )
        for position, partial in executor.merge_groups(bands):
            waiting[position] = partial
            while due in waiting:
                if image is None:
                    image = tuple(map(_writable, waiting.pop(due)))
                else:
                    merge(image, waiting.pop(due))
                for rows in work.groups[due]:
                    rows_seen += np.bincount(shared.row_pixel[rows], minlength=len(rows_seen))
                due += 1
                progress.show(so_far, is_whole=False)
    assert image is not None
    return shared.reduction.finish(image, np.outer(*per_pixel))


def _writable(array: np.ndarray) -> np.ndarray:
    """Return an array that can be written to: those that come from workers cannot."""
    return array if array.flags.writeable else array.copy()


def _band_image(work: _Pass, rows: slice) -> Image:
    """Take a band of rows into an image."""
    reduction = work.reduction
    image = reduction.begin(work.work.pixels, work.most_cells)
    line = np.empty(max(len(columns.order) for columns in work.columns))
    for block in _blocks(work, rows):
        reduction.kernel(block, line, *image)
    return image


def _blocks(work: _Pass, rows: slice) -> Iterator[Block]:
    """Read a band, and cut it into blocks: of the first rows all columns, then of the next."""
    cells = work.cells
    at_once = work.work.read_at_once(cells.source.chunks, cells.source.dtype.itemsize)
    for down in slabs(rows.stop - rows.start, at_once[0]):
        read_rows = slice(rows.start + down.start, rows.start + down.stop)
        for across in slabs(cells.shape[1], at_once[1]):
            end_if_stopped()
            yield from _cut(work, read_rows, across)


def _cut(work: _Pass, rows: slice, across: slice) -> Iterator[Block]:
    """Read a region, and cut it into blocks."""
    cells = work.cells
    values = cells.source.read(rows, across)
    hidden = None if cells.mask is None else cells.mask.read(rows, across)
    inside = [
        (columns, block)
        for columns, block in zip(work.columns, column_blocks(cells.shape[1]), strict=True)
        if across.start <= block.start < across.stop
    ]
    for part in slabs(rows.stop - rows.start, ROW_BLOCK):
        block_rows = slice(rows.start + part.start, rows.start + part.stop)
        for columns, block in inside:
            there = slice(block.start - across.start, block.stop - across.start)
            mask = _UNMASKED if hidden is None else _contiguous(hidden[part, there], np.bool_)
            yield Block(
                _working(values[part, there]),
                mask,
                work.row_pixel[block_rows],
                *columns,
                *_normalization(cells, block_rows, block),
            )


def _working(values: np.ndarray) -> np.ndarray:
    """Values as the kernels take them, in the precision that holds them; mostly no copy."""
    return _contiguous(values, np.float32 if values.dtype == np.float32 else np.float64)


def _contiguous(values: np.ndarray, dtype: type) -> np.ndarray:
    """Rows one after another, in an array that can be written to: one machine code for all."""
    return np.require(values, dtype, ["C", "W"])


def _normalization(cells: Cells, rows: slice, columns: slice) -> tuple[int, np.ndarray, np.ndarray]:
    """Axis, shift and scale of a block; axis -1 where values stay."""
    given = cells.normalization
    if given.axis is None or given.shift is None or given.scale is None:
        return -1, _NOTHING, _NOTHING
    part = rows if given.axis == 0 else columns
    return given.axis, _working(given.shift[part]), _working(given.scale[part])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _MedianPass:
    """What every task of medians reads."""

    cells: Cells
    place: np.ndarray
    row_edges: np.ndarray
    columns: Columns
    most_cells: int
    at_once: tuple[int, int]


def _medians(
    cells: Cells,
    orders: tuple[np.ndarray, ...],
    edges: tuple[np.ndarray, ...],
    work: MedianWork,
    executor: Executor,
    progress: Progress,
) -> np.ndarray:
    """Medians band by band of pixel rows; each band reads the matrix, and holds its own cells."""
    reading = ImageWork(shape=work.shape, pixels=work.pixels)
    shared = _MedianPass(
        cells=cells,
        place=leaf_places(orders[0]),
        row_edges=edges[0],
        columns=Columns.of(_pixel_of(orders[1], edges[1])),
        most_cells=int(np.diff(edges[0]).max()) * int(np.diff(edges[1]).max()),
        at_once=reading.read_at_once(cells.source.chunks, cells.source.dtype.itemsize),
    )
    image = np.full(work.pixels, np.nan)
    n = cells.shape[0]
    total = n * len(work.bands)
    with progress.stage("downsample", total=total, unit="rows", unit_bytes=cells.row_bytes) as told:
        for band, values in executor.map(
            _band_medians, executor.share(shared), work.bands, name="downsample"
        ):
            image[band] = values
            told.advance(n)
            progress.show(lambda: image, is_whole=False)
    return image


def _band_medians(work: _MedianPass, band: slice) -> tuple[slice, np.ndarray]:
    """Bring the rows of some rows of pixels together, and take their medians."""
    cells, edges = work.cells, work.row_edges[band.start : band.stop + 1]
    n, k = cells.shape
    held = np.empty((int(edges[-1] - edges[0]), k), np.float32 if cells.are_single else np.float64)
    for rows in slabs(n, work.at_once[0]):
        places = work.place[rows] - edges[0]
        wanted = np.flatnonzero((places >= 0) & (places < len(held)))
        if not len(wanted):
            continue
        for columns in slabs(k, work.at_once[1]):
            end_if_stopped()
            if cells.are_single and cells.mask is None:
                values = cells.source.read(rows, columns)
            else:
                values = cells.values(rows, columns)
            held[places[wanted], columns] = values[wanted]
    out = np.full((len(edges) - 1, len(work.columns.pixels)), np.nan)
    medians(held, edges - edges[0], work.columns, np.empty(work.most_cells), out)
    return band, out
