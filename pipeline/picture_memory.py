"""Plan: bytes of memory that the picture's stages hold: the pass to pixels, and the figure.

What is there in every stage is in `footprint.py`.
"""

from __future__ import annotations

from dataclasses import replace
from math import isqrt

from clustergrid.pipeline.footprint import Footprint, Ground
from clustergrid.pipeline.image_plan import (
    EXACT_CELLS,
    PLANNED_MEDIAN_READS,
    SMALL_CELLS,
    ImageWork,
    MedianWork,
)
from clustergrid.pipeline.reorder_plan import ReorderPlan
from clustergrid.pipeline.tile_memory import StoredMatrix, with_slack
from clustergrid.storage.pyramid_plan import TILE, region_cells

__all__ = [
    "downsample_footprint",
    "image_tasks",
    "median_work",
    "picture_footprint",
    "pyramid_footprint",
    "reorder_footprint",
    "reorder_plan",
    "reorder_task_bytes",
]

_DRAWN_PIXEL_BYTES = 100
"""A pixel of the figure: its value, masked, normalized, as a colour, and in matplotlib's canvas."""
_CANVAS_BYTES = 4
"""Of a pixel of the figure, whose canvas is there already when its image is made."""
_LEAF_BYTES = 1_000
"""Of the picture: the coordinates and path of a leaf's part of a dendrogram."""
_PICTURE_BYTES = 100_000_000
"""Of the picture: matplotlib and its fonts."""

_LEVEL_BYTES = 32
"""Of a cell of a pyramid: three values and a count."""
_STRIP_BYTES = 2**25
"""Of cells that are put together at once, and what comes on the way."""
_EXACT_BYTES = 32
"""Of a value whose percentile is taken with all others: read, in float64, finite, and sorted."""


def downsample_footprint(
    ground: Ground, pixels: int, aggregate: str = "mean", *, are_single: bool = False
) -> Footprint:
    """Of the picture's passes: what is read, images of parts of the rows, and all values if few."""
    if ground.matrix.values <= SMALL_CELLS:
        canvas = _CANVAS_BYTES * pixels
        return ground.footprint(held_bytes=canvas, task_bytes=8 * 10 * SMALL_CELLS)
    reading, held = _reading_bytes(ground), _image_held_bytes(ground, pixels)
    if aggregate == "median":
        work = _planned_medians(ground, pixels, are_single=are_single)
        return ground.footprint(held_bytes=held + 8 * pixels, task_bytes=reading + work.held_bytes)
    image = _image_work(ground, pixels, aggregate)
    threads, of_worker = ground.resources.threads, ground.resources.threads_per_worker
    if not of_worker:
        held += image.images_in_process(threads) * image.image_bytes
        return ground.footprint(held_bytes=held, task_bytes=reading)
    images = -(-image.images_of_worker(threads, of_worker) // of_worker)
    return ground.footprint(
        held_bytes=held + image.images_of_driver(threads) * image.image_bytes,
        task_bytes=reading + images * image.image_bytes,
    )


def image_tasks(
    ground: Ground, pixels: int, aggregate: str, *, are_single: bool = False
) -> tuple[int, int]:
    """Tasks of the picture's pass, and how often the matrix is read."""
    if ground.matrix.values <= SMALL_CELLS:
        return 1, 1
    if aggregate != "median":
        return _image_work(ground, pixels, aggregate).n_bands, 1
    bands = _planned_medians(ground, pixels, are_single=are_single).bands
    return len(bands), len(bands)


def median_work(ground: Ground, pixels: tuple[int, int], *, are_single: bool = False) -> MedianWork:
    """Say what medians of the pixels of an image hold, and what a task has for them.

    Parameters
    ----------
    ground
        What is there in every stage.
    pixels
        Rows and columns of the image.
    are_single
        Whether single precision holds every cell.
    """
    resources, matrix = ground.resources, ground.matrix
    n_pixels = pixels[0] * pixels[1]
    held = _image_held_bytes(ground, n_pixels) + 8 * n_pixels
    least = ground.footprint(held_bytes=held, task_bytes=_reading_bytes(ground)).peak_bytes
    task_bytes = max(0, resources.memory_bytes - least) // max(1, resources.local_threads)
    if resources.task_bytes is not None:
        of_worker = max(0, resources.task_bytes - _reading_bytes(ground))
        task_bytes = of_worker if resources.elsewhere else min(task_bytes, of_worker)
    p, q = (min(pair) for pair in zip(pixels, matrix.shape, strict=True))
    return MedianWork(
        shape=matrix.shape,
        pixels=(max(1, p), max(1, q)),
        cell_bytes=4 if are_single else 8,
        task_bytes=task_bytes,
        threads=resources.threads,
    )


def reorder_task_bytes(ground: Ground) -> int:
    """Say what a task has for blocks of the matrix that is written in another order."""
    resources = ground.resources
    places = 16 * sum(ground.matrix.shape)
    least = ground.footprint(held_bytes=places, task_bytes=0).peak_bytes
    task_bytes = max(0, resources.memory_bytes - least) // max(1, resources.local_threads)
    if resources.task_bytes is None:
        return task_bytes
    return resources.task_bytes if resources.elsewhere else min(task_bytes, resources.task_bytes)


def reorder_plan(ground: Ground, itemsize: int) -> ReorderPlan:
    """Cut the work of writing the matrix in another order.

    Parameters
    ----------
    ground
        What is there in every stage.
    itemsize
        Bytes of a value that is written.
    """
    return ReorderPlan(
        shape=ground.matrix.shape,
        itemsize=itemsize,
        source_chunks=None if ground.matrix.in_memory else ground.matrix.read_chunks,
        task_bytes=reorder_task_bytes(ground),
    )


def reorder_footprint(ground: Ground, itemsize: int) -> Footprint:
    """Of the matrix as it is written in another order: a block, or a region, a task."""
    task = reorder_plan(ground, itemsize).needed_bytes
    return ground.footprint(held_bytes=16 * sum(ground.matrix.shape), task_bytes=task)


def pyramid_footprint(ground: Ground, itemsize: int) -> Footprint:
    """Of the pyramid: cells of the matrix, or of four arrays, and what becomes of them."""
    shape = ground.matrix.shape
    matrix = StoredMatrix(shape=shape, itemsize=itemsize)
    rows = min(shape[0], 2 * TILE)
    across = max(1, region_cells(1, itemsize) // TILE**2) * TILE
    columns = min(shape[1], 2 * across)
    first = rows * columns * itemsize + matrix.decoded_bytes(rows, columns)
    # A tile of higher levels is made of four arrays of 2 x 2 tiles, which are its chunks.
    others = 2 * 4 * TILE**2 * _LEVEL_BYTES
    made = rows * columns // 4 * _LEVEL_BYTES + _STRIP_BYTES
    return ground.footprint(held_bytes=0, task_bytes=with_slack(max(first, others) + made))


def _image_held_bytes(ground: Ground, pixels: int) -> int:
    """Of a figure's canvas, and of the values whose percentiles are taken with all others."""
    return _CANVAS_BYTES * pixels + _EXACT_BYTES * min(ground.matrix.values, EXACT_CELLS)


def _planned_medians(ground: Ground, pixels: int, *, are_single: bool) -> MedianWork:
    work = median_work(ground, _image_shape(ground, pixels), are_single=are_single)
    return replace(work, most_reads=PLANNED_MEDIAN_READS)


def _image_shape(ground: Ground, pixels: int) -> tuple[int, int]:
    """Rows and columns of the image of a figure of so many pixels, about."""
    n, k = ground.matrix.shape
    rows = min(n, max(1, isqrt(pixels)))
    return rows, max(1, min(k, pixels // rows))


def _image_work(ground: Ground, pixels: int, aggregate: str) -> ImageWork:
    shape = ground.matrix.shape
    return ImageWork(shape=shape, pixels=_image_shape(ground, pixels), aggregate=aggregate)


def _reading_bytes(ground: Ground) -> int:
    """Of what a task of a pass to pixels reads at once, and of a block as its kernel takes it."""
    matrix = ground.matrix
    work = ImageWork(shape=matrix.shape, pixels=(1, 1))
    rows, columns = work.read_at_once(matrix.read_chunks, matrix.itemsize)
    rows, columns = min(rows, matrix.shape[0]), min(columns, matrix.shape[1])
    read = rows * columns * (matrix.itemsize + 9)  # normalized; a mask
    return with_slack(read + matrix.decoded_bytes(rows, columns))


def picture_footprint(ground: Ground, leaves: int, pixels: int) -> Footprint:
    """Of the figure: matplotlib, the image in a few forms, a path of every leaf."""
    held = _PICTURE_BYTES + _DRAWN_PIXEL_BYTES * pixels + _LEAF_BYTES * leaves
    return ground.footprint(held_bytes=held, task_bytes=0)
