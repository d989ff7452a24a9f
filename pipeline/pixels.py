"""Kernel: cells into pixels - how a pixel's value follows from its cells, block by block.

A block's rows go one after another: the cells of a row are brought into the order of their pixels,
normalized and hidden on the way, and each run of neighbours is reduced to one number before the
image is touched. What is added up in which order follows from the shape of the matrix and from the
orders of its rows and columns alone.

Means and extremes need one or two numbers a pixel; medians need all cells of a pixel at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np

from clustergrid.pipeline._jit import Kernel, inline, jit, specialized

__all__ = ["REDUCTIONS", "Block", "Columns", "Image", "Reduction", "dense_image", "medians"]

Image: TypeAlias = tuple[np.ndarray, ...]
"""What is known of every pixel so far: arrays ``(p, q)``."""


class Columns(NamedTuple):
    """Columns of a block in the order of their pixels.

    ``order`` are columns of the block; those of one pixel, ``pixels[r]``, are
    ``order[starts[r] : starts[r + 1]]``.
    """

    order: np.ndarray
    starts: np.ndarray
    pixels: np.ndarray

    @classmethod
    def of(cls, pixel_of_column: np.ndarray) -> Columns:
        """Sort the columns of a block by pixel.

        Examples
        --------
        >>> columns = Columns.of(np.array([7, 2, 7]))
        >>> [part.tolist() for part in columns]
        [[1, 0, 2], [0, 1, 3], [2, 7]]
        """
        order = np.argsort(pixel_of_column, kind="stable")
        ordered = pixel_of_column[order]
        is_first = np.append(True, ordered[1:] != ordered[:-1])
        starts = np.flatnonzero(is_first)
        return cls(order, np.append(starts, len(ordered)), ordered[starts])


class Block(NamedTuple):
    """Some rows and columns of the matrix, and where they belong.

    ``values`` ``(n, k)`` float32 or float64; ``hidden`` ``(n, k)`` bool, or empty; ``row_pixel``
    ``(n,)``; then a `Columns`; ``axis`` 0, 1 or -1, along which ``shift`` and ``scale`` are.
    """

    values: np.ndarray
    hidden: np.ndarray
    row_pixel: np.ndarray
    order: np.ndarray
    starts: np.ndarray
    pixels: np.ndarray
    axis: int
    shift: np.ndarray
    scale: np.ndarray


@inline
def _fill(block: Block, row: int, line: np.ndarray) -> None:
    """Put a row's cells, normalized, into the order of their pixels; NaN where hidden."""
    values, order = block.values, block.order
    if block.axis == 0:
        shift, scale = block.shift[row], block.scale[row]
        for j in range(order.shape[0]):
            line[j] = (np.float64(values[row, order[j]]) - shift) / scale
    elif block.axis == 1:
        for j in range(order.shape[0]):
            column = order[j]
            line[j] = (np.float64(values[row, column]) - block.shift[column]) / block.scale[column]
    else:
        for j in range(order.shape[0]):
            line[j] = values[row, order[j]]
    if block.hidden.shape[0]:
        for j in range(order.shape[0]):
            if block.hidden[row, order[j]]:
                line[j] = np.nan


@jit
def _add(block: Block, line: np.ndarray, total: np.ndarray, missing: np.ndarray) -> None:
    for row in range(block.values.shape[0]):
        _fill(block, row, line)
        row_total, row_missing = total[block.row_pixel[row]], missing[block.row_pixel[row]]
        for run in range(block.pixels.shape[0]):
            partial, gone = 0.0, 0
            for j in range(block.starts[run], block.starts[run + 1]):
                if line[j] == line[j]:
                    partial += line[j]
                else:
                    gone += 1
            row_total[block.pixels[run]] += partial
            if gone:
                row_missing[block.pixels[run]] += gone


@inline
def _less(value: float, best: float) -> bool:
    return value < best


@inline
def _greater(value: float, best: float) -> bool:
    return value > best


@inline
def _farther(value: float, best: float) -> bool:
    """Of values that are as far from 0, the positive one is taken."""
    size, most = abs(value), abs(best)
    return size > most or (size == most and value > best)


def _is_better(value: float, best: float) -> bool:
    """Stand for one of these in `_take`."""
    raise NotImplementedError


def _take(block: Block, line: np.ndarray, extreme: np.ndarray) -> None:
    for row in range(block.values.shape[0]):
        _fill(block, row, line)
        row_extreme = extreme[block.row_pixel[row]]
        for run in range(block.pixels.shape[0]):
            best = row_extreme[block.pixels[run]]
            for j in range(block.starts[run], block.starts[run + 1]):
                if _is_better(line[j], best) or (best != best):
                    best = line[j]
            row_extreme[block.pixels[run]] = best


@dataclass(frozen=True, slots=True, kw_only=True)
class Reduction:
    """How the cells of a pixel become its value.

    Attributes
    ----------
    kernel
        ``kernel(block, line, *image)`` takes a block into an image; `line` is room for a row.
    begin
        Makes the image before the first cell, for a shape and the most cells of a pixel.
    merge
        ``merge(image, other)`` takes another image into the first.
    finish
        ``finish(image, cells)`` gives ``(p, q)`` float64 values, NaN where there is none to show;
        `cells` are those of each pixel.
    pixel_bytes
        Of an image, a pixel.
    """

    kernel: Kernel[..., None]
    begin: Callable[[tuple[int, int], int], Image]
    merge: Callable[[Image, Image], None]
    finish: Callable[[Image, np.ndarray], np.ndarray]
    pixel_bytes: int


def _begin_sums(shape: tuple[int, int], most_cells: int) -> Image:
    is_small = most_cells < 2**32
    return np.zeros(shape), np.zeros(shape, np.uint32 if is_small else np.int64)


def _merge_sums(image: Image, other: Image) -> None:
    with np.errstate(invalid="ignore"):  # infinities of both signs
        for array, more in zip(image, other, strict=True):
            array += more


def _finish_means(image: Image, cells: np.ndarray) -> np.ndarray:
    total, missing = image
    shown = cells - missing
    with np.errstate(invalid="ignore"):
        means: np.ndarray = total / np.where(shown > 0, shown, np.nan)
    return means


def _begin_unknown(shape: tuple[int, int], most_cells: int) -> Image:
    del most_cells
    return (np.full(shape, np.nan),)


def _merge_least(image: Image, other: Image) -> None:
    np.fmin(image[0], other[0], out=image[0])


def _merge_greatest(image: Image, other: Image) -> None:
    np.fmax(image[0], other[0], out=image[0])


def _merge_farthest(image: Image, other: Image) -> None:
    for ours, theirs in zip(image[0], other[0], strict=True):  # a row of pixels at a time
        sizes = np.abs(ours), np.abs(theirs)
        farther = sizes[1] > sizes[0]
        farther |= (sizes[1] == sizes[0]) & (theirs > ours)
        farther |= np.isnan(ours)
        ours[farther] = theirs[farther]


def _finish_values(image: Image, cells: np.ndarray) -> np.ndarray:
    """Of -0 and 0, which are equal, the first that came may be there: both become 0."""
    del cells
    values: np.ndarray = image[0] + 0.0
    return values


REDUCTIONS: dict[str, Reduction] = {
    "mean": Reduction(
        kernel=_add, begin=_begin_sums, merge=_merge_sums, finish=_finish_means, pixel_bytes=12
    ),
    **{
        name: Reduction(
            kernel=specialized(_take, _is_better=is_better),
            begin=_begin_unknown,
            merge=merge,
            finish=_finish_values,
            pixel_bytes=8,
        )
        for name, is_better, merge in (
            ("min", _less, _merge_least),
            ("max", _greater, _merge_greatest),
            ("max_abs", _farther, _merge_farthest),
        )
    },
}
"""Aggregates that follow from one or two numbers a pixel, by their names."""


@jit
def medians(
    values: np.ndarray, row_starts: np.ndarray, columns: Columns, room: np.ndarray, out: np.ndarray
) -> None:
    """Median of every pixel of some rows of pixels.

    Parameters
    ----------
    values
        ``(m, k)`` float32 or float64, whole rows in clustered order; NaN is not shown.
    row_starts
        ``(a + 1,)``: rows ``row_starts[i]`` to ``row_starts[i + 1]`` are of pixel row `i`.
    columns
        Of the whole matrix, by pixel.
    room
        For the cells of a pixel, float64.
    out
        ``(a, q)`` float64; NaN where no cell is shown.
    """
    for pixel_row in range(row_starts.shape[0] - 1):
        for run in range(columns.pixels.shape[0]):
            shown = 0
            for row in range(row_starts[pixel_row], row_starts[pixel_row + 1]):
                for j in range(columns.starts[run], columns.starts[run + 1]):
                    value = np.float64(values[row, columns.order[j]])
                    if value == value:
                        room[shown] = value
                        shown += 1
            median = np.nan
            if shown:
                median = np.median(room[:shown]) + 0.0
            out[pixel_row, columns.pixels[run]] = median


def dense_image(
    values: np.ndarray, row_edges: np.ndarray, column_edges: np.ndarray, aggregate: str
) -> np.ndarray:
    """Reduce a small matrix in clustered order, without compiled code.

    Parameters
    ----------
    values
        ``(n, k)`` float64, NaN where nothing is shown.
    row_edges, column_edges
        First cell of every pixel, and the end.
    aggregate
        One of `clustergrid.pipeline.image_plan.AGGREGATES`.

    Returns
    -------
    numpy.ndarray
        ``(p, q)`` float64.
    """

    def reduced(ufunc: np.ufunc, cells: np.ndarray) -> np.ndarray:
        by_rows = ufunc.reduceat(cells, row_edges[:-1], axis=0)
        pixels: np.ndarray = ufunc.reduceat(by_rows, column_edges[:-1], axis=1)
        return pixels

    with np.errstate(invalid="ignore"):
        if aggregate == "mean":
            shown = ~np.isnan(values)
            count = reduced(np.add, shown.astype(np.int64))
            total = reduced(np.add, np.where(shown, values, 0.0))
            image = total / np.where(count > 0, count, np.nan)
        elif aggregate == "median":
            image = _dense_medians(values, row_edges, column_edges)
        else:
            least, greatest = reduced(np.fmin, values), reduced(np.fmax, values)
            farthest = np.where(-least > greatest, least, greatest)
            image = {"min": least, "max": greatest, "max_abs": farthest}[aggregate]
    return np.asarray(image + 0.0)


def _dense_medians(
    values: np.ndarray, row_edges: np.ndarray, column_edges: np.ndarray
) -> np.ndarray:
    """Sort all cells by pixel and value, NaN last, and take those in the middle."""
    shape = len(row_edges) - 1, len(column_edges) - 1
    pixel = np.arange(shape[0] * shape[1]).reshape(shape)
    pixel = np.repeat(np.repeat(pixel, np.diff(row_edges), 0), np.diff(column_edges), 1)
    ordered = values.ravel()[np.lexsort((values.ravel(), pixel.ravel()))]
    cells = np.outer(np.diff(row_edges), np.diff(column_edges)).ravel()
    first = np.cumsum(cells) - cells
    shown = np.bincount(pixel[~np.isnan(values)], minlength=len(cells))
    low, high = first + np.maximum(shown - 1, 0) // 2, first + np.minimum(shown // 2, cells - 1)
    middle = ordered[low] / 2 + ordered[high] / 2
    middle = np.where(ordered[low] == ordered[high], ordered[low], middle)
    return np.where(shown > 0, middle, np.nan).reshape(shape)
