"""Kernel: what can be seen of a tree with more links than pixels.

A picture has no room for a million links. Those that are wider than a few pixels are drawn as they
are; there are not many. Of all others the lines are put on a grid of cells, and lines that lie on
one another become one. Where lines are translucent at their edges, two on one another are
darker than one, so as many of them stay as can be told apart: *layers*.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Links", "VisibleTree", "merge_runs", "visible_tree"]

EXACT_PIXELS = 4.0
"""Width from which a link is drawn as it is."""
MOST_EXACT = 8_000
"""Most links drawn as they are; beyond, the widest."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Links:
    """Links of a tree in pixels, each a bar with a stem at both ends; arrays ``(n,) float64``.

    Attributes
    ----------
    left, right
        Where the stems stand along the leaves.
    left_foot, right_foot
        Heights where the stems begin.
    top
        Height of the bar.
    color : (n,) int64
        Which colour, counted from 0.
    """

    left: NDArray[np.float64]
    right: NDArray[np.float64]
    left_foot: NDArray[np.float64]
    right_foot: NDArray[np.float64]
    top: NDArray[np.float64]
    color: NDArray[np.int64]

    def take(self, which: NDArray[np.bool_]) -> Links:
        """Return some of the links."""
        return Links(
            left=self.left[which],
            right=self.right[which],
            left_foot=self.left_foot[which],
            right_foot=self.right_foot[which],
            top=self.top[which],
            color=self.color[which],
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class VisibleTree:
    """Lines that look like a tree; points are (along the leaves, height), in pixels.

    Attributes
    ----------
    links : (a, 4, 2) float64
        Links drawn as they are.
    lines : (b, 2, 2) float64
        Stems and bars of all others, merged.
    colors : (a + b,) int64
        Colour of each, lines after links.
    """

    links: NDArray[np.float64]
    lines: NDArray[np.float64]
    colors: NDArray[np.int64]


def visible_tree(links: Links, *, cells: int, layers: int, doubled: int) -> VisibleTree:
    """Find few lines that look like all links of a tree.

    Parameters
    ----------
    links
        The links that are in view.
    cells
        Cells of the grid in a pixel. With 1 lines lie where matplotlib's Agg puts them: it moves
        lines along the axes to the nearest pixel.
    layers
        How many lines on one another can be told from more.
    doubled
        How many lines on one another look like the two stems of a link that lie on one another.
    """
    width = np.abs(links.right - links.left)
    is_exact = width >= EXACT_PIXELS
    if np.count_nonzero(is_exact) > MOST_EXACT:
        is_exact = width > np.partition(width, -MOST_EXACT)[-MOST_EXACT]
    exact, fine = links.take(is_exact), links.take(~is_exact)
    stems, stem_colors = _merged(*_stems(fine, cells, doubled), layers=layers)
    bars, bar_colors = _merged(*_bars(fine, cells), layers=layers)
    return VisibleTree(
        links=_corners(exact),
        lines=_centres(np.concatenate([stems, bars[..., ::-1]]), cells),
        colors=np.concatenate([exact.color, stem_colors, bar_colors]),
    )


def _corners(links: Links) -> NDArray[np.float64]:
    along = np.stack([links.left, links.left, links.right, links.right], axis=-1)
    height = np.stack([links.left_foot, links.top, links.top, links.right_foot], axis=-1)
    return np.stack([along, height], axis=-1)


def _cell(pixels: NDArray[np.float64], cells: int) -> NDArray[np.int64]:
    # Agg moves lines by this rounding, so cells must not reach over it.
    return np.floor((pixels + 0.5) * cells).astype(np.int64)


def _centres(cell: NDArray[np.int64], cells: int) -> NDArray[np.float64]:
    return (cell + 0.5) / cells - 0.5 if cells > 1 else cell.astype(np.float64)


def _stems(links: Links, cells: int, doubled: int) -> tuple[NDArray[np.int64], ...]:
    """Cells of the stems: colour, place along the leaves, lower and upper end."""
    left, right = _cell(links.left, cells), _cell(links.right, cells)
    top = _cell(links.top, cells)
    left_foot, right_foot = _cell(links.left_foot, cells), _cell(links.right_foot, cells)
    left_low, left_high = np.minimum(left_foot, top), np.maximum(left_foot, top)
    right_low, right_high = np.minimum(right_foot, top), np.maximum(right_foot, top)
    # Two stems in one pixel are one line, which goes there and back.
    is_one = left // cells == right // cells
    one, two = np.flatnonzero(is_one), np.flatnonzero(~is_one)
    low = np.where(is_one, np.minimum(left_low, right_low), left_low)
    high = np.where(is_one, np.maximum(left_high, right_high), left_high)
    parts = [
        (links.color, left, low, high),
        (links.color[two], right[two], right_low[two], right_high[two]),
    ]
    if doubled > 1 and len(one):
        # Where it lies on itself Agg adds up what both cover, so that it is darker than one.
        low, high = np.maximum(left_low, right_low)[one], np.minimum(left_high, right_high)[one]
        points, color = _merged(links.color[one], left[one], low, high, layers=1)
        parts += [(color, points[:, 0, 0], points[:, 0, 1], points[:, 1, 1])] * (doubled - 1)
    color, place, low, high = (np.concatenate(each) for each in zip(*parts, strict=True))
    return color, place, low, high


def _bars(links: Links, cells: int) -> tuple[NDArray[np.int64], ...]:
    """Cells of the bars: colour, height, first and last place along the leaves."""
    left, right = _cell(links.left, cells), _cell(links.right, cells)
    return links.color, _cell(links.top, cells), np.minimum(left, right), np.maximum(left, right)


def _merged(
    color: NDArray[np.int64],
    line: NDArray[np.int64],
    begin: NDArray[np.int64],
    end: NDArray[np.int64],
    *,
    layers: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Merge runs of equal colour on equal lines; return ``(k, 2, 2)`` points, and colours."""
    if not len(line):
        return np.empty((0, 2, 2), np.int64), np.empty(0, np.int64)
    first = line.min()
    lines = int(line.max() - first) + 1
    which, begin, end = merge_runs(color * lines + (line - first), begin, end, layers=layers)
    place = which % lines + first
    points = np.stack([np.stack([place, begin], axis=-1), np.stack([place, end], axis=-1)], axis=1)
    return points, which // lines


def merge_runs(
    line: NDArray[np.int64], begin: NDArray[np.int64], end: NDArray[np.int64], *, layers: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Merge runs that overlap or touch on a line, but keep up to `layers` on one another.

    Parameters
    ----------
    line, begin, end : (n,) int64
        Runs; those that end where they begin are nothing.
    layers
        Most runs that any point of the result is in.

    Returns
    -------
    line, begin, end : (m,) int64
        Every point is in as many of these as in runs given, or in `layers`.

    Examples
    --------
    >>> line, begin, end = np.array([0, 0, 0, 1]), np.array([0, 2, 6, 0]), np.array([4, 5, 7, 3])
    >>> [run.tolist() for run in merge_runs(line, begin, end, layers=1)]
    [[0, 0, 1], [0, 6, 0], [5, 7, 3]]
    >>> [run.tolist() for run in merge_runs(line, begin, end, layers=2)]
    [[0, 0, 1, 0], [0, 6, 0, 2], [5, 7, 3, 4]]
    """
    shown = begin < end
    line, begin, end = line[shown], begin[shown], end[shown]
    if not len(line):
        return line, begin, end
    first = begin.min()
    length = int(end.max() - first) + 1
    # All lines one behind the other are one line. Ends are odd, and so come after beginnings at
    # the same point; sorting numbers alone is many times as fast as sorting an order.
    ends = np.concatenate(
        [2 * (line * length + (begin - first)), 2 * (line * length + (end - first)) + 1]
    )
    ends.sort()
    begins = (ends & 1) == 0
    ends >>= 1
    depth = np.cumsum(np.where(begins, 1, -1))
    starts, stops = [], []
    for layer in range(1, min(layers, int(depth.max())) + 1):
        starts.append(ends[begins & (depth == layer)])
        stops.append(ends[~begins & (depth == layer - 1)])
    start, stop = np.concatenate(starts), np.concatenate(stops)
    return start // length, start % length + first, stop % length + first
