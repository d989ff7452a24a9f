"""Plan: bytes of memory that the picture's stages hold: the pass to pixels, and the figure.

What is there in every stage is in `footprint.py`.
"""

from __future__ import annotations

from math import isqrt

from clustergrid.pipeline.footprint import Footprint, Ground
from clustergrid.pipeline.image_plan import SMALL_CELLS, ImageWork, MedianWork
from clustergrid.pipeline.tile_memory import with_slack

__all__ = ["downsample_footprint", "image_tasks", "median_work", "picture_footprint"]

_DRAWN_PIXEL_BYTES = 100
"""A pixel of the figure: its value, masked, normalized, as a colour, and in matplotlib's canvas."""
_LEAF_BYTES = 1_000
"""Of the picture: the coordinates and path of a leaf's part of a dendrogram."""
_PICTURE_BYTES = 100_000_000
"""Of the picture: matplotlib and its fonts."""


def downsample_footprint(
    ground: Ground, pixels: int, aggregate: str = "mean", *, are_single: bool = False
) -> Footprint:
    """Of the picture's pass: what is read, and images of parts of the rows that wait to be merged.

    Raises
    ------
    MemoryLimitError
        The cells of medians do not fit.
    """
    if ground.matrix.values <= SMALL_CELLS:
        return ground.footprint(held_bytes=0, task_bytes=8 * 10 * SMALL_CELLS)
    reading = _reading_bytes(ground)
    if aggregate == "median":
        work = median_work(ground, _image_shape(ground, pixels), are_single=are_single)
        return ground.footprint(held_bytes=8 * pixels, task_bytes=reading + work.held_bytes)
    image = _image_work(ground, pixels, aggregate)
    threads = ground.resources.threads
    here, waiting = image.driver_images(threads), image.worker_images(threads)
    if not ground.resources.worker_processes:
        return ground.footprint(
            held_bytes=(here + waiting) * image.image_bytes, task_bytes=reading + image.image_bytes
        )
    # What waits may all be on one worker.
    in_a_task = -(-waiting // ground.resources.threads_per_worker) + 1
    return ground.footprint(
        held_bytes=here * image.image_bytes, task_bytes=reading + in_a_task * image.image_bytes
    )


def image_tasks(
    ground: Ground, pixels: int, aggregate: str, *, are_single: bool = False
) -> tuple[int, int]:
    """Tasks of the picture's pass, and how often the matrix is read.

    Raises
    ------
    MemoryLimitError
        The cells of medians do not fit.
    """
    if ground.matrix.values <= SMALL_CELLS:
        return 1, 1
    if aggregate != "median":
        return _image_work(ground, pixels, aggregate).n_bands, 1
    bands = median_work(ground, _image_shape(ground, pixels), are_single=are_single).bands
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
    least = ground.footprint(held_bytes=0, task_bytes=_reading_bytes(ground)).peak_bytes
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
