"""Driver: annotations on their axes - strips of colours, bars, points and boxes along the leaves.

Everything is drawn along the leaves of an axis and turned where that is the axis of rows. Where
leaves are finer than pixels, those of a pixel are drawn as one: strips show majorities and means,
bars and points means, boxes are of all values.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from clustergrid.pipeline.render.annotations import (
    Annotation,
    Bars,
    BodyNumbers,
    Boxes,
    Categories,
    Numbers,
    Strip,
    Track,
)
from clustergrid.pipeline.render.grouped import MISSING, box_statistics, group_means, majorities
from clustergrid.pipeline.render.layout import POINTS_PER_INCH, pixels
from clustergrid.pipeline.render.palettes import CategoryScale, Scale
from clustergrid.pipeline.render.slices import Slices
from clustergrid.pipeline.render.small_axes import StripName, tick_track

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

__all__ = ["MISSING_LOOK", "Along", "FittedAnnotation"]

MISSING_LOOK: dict[str, Any] = {
    "facecolor": "white",
    "edgecolor": "0.6",
    "hatch": "////",
    "linewidth": 0,
}
"""How the patch looks that stands for missing values, on strips, among bars and in the legend."""
TRACK_DPI = 100.0
"""Bars and points an inch, at most: matplotlib's own resolution of figures."""
LEAST_BOX_PIXELS = 5
"""Narrower boxes are of several neighbours: nobody could tell quartiles and median apart."""
BAR_GAP = 0.15
"""Share of a leaf between two bars, where there are pixels for it."""
STRIP_MARGIN = 0.08
"""Space at each side of a strip, as a share of it."""
TRACK_MARGIN = 0.1
"""Space at each side of a track, as a share of its axis: there may be another one beside it."""
AXIS_MARGIN = 0.06
"""Space beyond the extremes of a track, as a share of their distance."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Along:
    """Where the leaves of an axis stand, and what is drawn along them.

    Attributes
    ----------
    axis
        0: rows, from top to bottom; 1: columns, from left to right.
    order : (n,) int64
        Leaf order.
    slices
        Where leaves stand.
    """

    axis: int
    order: np.ndarray
    slices: Slices

    def turned(self, along: Any, across: Any) -> tuple[Any, Any]:
        """Order coordinates as x and y."""
        return (along, across) if self.axis else (across, along)

    def rectangles(self, starts: Any, stops: Any, low: Any, high: Any) -> np.ndarray:
        """``(p, 4, 2)`` corners of rectangles."""
        starts, stops, low, high = np.broadcast_arrays(starts, stops, low, high)
        x, y = self.turned(
            np.stack([starts, starts, stops, stops], axis=-1),
            np.stack([low, high, high, low], axis=-1),
        )
        return np.stack([x, y], axis=-1)

    def n_pixels(self, ax: Axes, dpi: float) -> int:
        """Pixels along the leaves."""
        box = ax.get_window_extent()
        length = box.width if self.axis else box.height
        return pixels(length / ax.figure.dpi, dpi)

    def set_limits(self, ax: Axes, low: float, high: float) -> None:
        """Let an axes span all leaves, and values from `low` to `high`."""
        length = self.slices.length
        if self.axis:
            ax.set(xlim=(0, length), ylim=(low, high))
        else:
            ax.set(xlim=(low, high), ylim=(length, 0))


class FittedAnnotation:
    """An annotation with no more cells than its axes has pixels.

    Parameters
    ----------
    ax
        Where to draw.
    annotation
        What, in the data's order.
    along
        Where its leaves stand.
    scale
        Colours of a strip; None of a track.
    dpi
        Resolution to draw for.
    name
        Title of a strip, which is fitted too.
    """

    def __init__(
        self,
        ax: Axes,
        annotation: Annotation,
        along: Along,
        scale: Scale | None,
        dpi: float,
        name: StripName | None = None,
    ) -> None:
        self.ax = ax
        self._along = along
        self._draw = _drawing(annotation, along, scale)
        self._name = name
        self._is_strip = scale is not None
        self._least_pixels = LEAST_BOX_PIXELS if isinstance(annotation.kind, Boxes) else 1
        self._n_pixels = 0
        self._artists: list[Artist] = []
        self.fit(dpi)

    def _edges(self, n_pixels: int) -> np.ndarray:
        return self._along.slices.pixel_edges(max(1, n_pixels // self._least_pixels))

    def fit(self, dpi: float) -> None:
        """Draw again if the axes has another number of pixels at this resolution.

        Tracks have as many bars and points at every resolution: the means of fewer rows are farther
        apart, and their axis must not depend on the file.
        """
        if self._name is not None:
            self._name.fit()
        n_pixels = self._along.n_pixels(self.ax, dpi if self._is_strip else TRACK_DPI)
        if n_pixels != self._n_pixels:
            self._show(n_pixels)

    def snapshot(self) -> Callable[[], None]:
        """Remember the resolution; the function returned draws for it again."""
        n_pixels = self._n_pixels

        def restore() -> None:
            if n_pixels != self._n_pixels:
                self._show(n_pixels)

        return restore

    def _show(self, n_pixels: int) -> None:
        self._n_pixels = n_pixels
        for artist in self._artists:
            artist.remove()
        self._artists = self._draw(self.ax, self._edges(n_pixels))
        for artist in self._artists:
            # They never reach out of their axes, and need not be measured for its layout.
            artist.set_in_layout(False)


def _drawing(
    annotation: Annotation, along: Along, scale: Scale | None
) -> Callable[[Axes, np.ndarray], list[Artist]]:
    if isinstance(annotation.kind, Strip):
        assert scale is not None
        return lambda ax, edges: _draw_strip(ax, annotation, along, scale, edges)
    kind = annotation.kind
    draw_kind = {Bars: _draw_bars, Boxes: _draw_boxes}.get(type(kind), _draw_points)

    def draw(ax: Axes, edges: np.ndarray) -> list[Artist]:
        shown = _shown(annotation, along, edges)
        limits = _limits(kind, shown)
        margin = TRACK_MARGIN * (limits[1] - limits[0])
        along.set_limits(ax, limits[0] - margin, limits[1] + margin)
        tick_track(ax, along.axis, *limits)
        return draw_kind(ax, kind, along, edges, shown)

    return draw


def _shown(annotation: Annotation, along: Along, edges: np.ndarray) -> np.ndarray:
    """Values of a track: a mean, or the statistics of a box, for each group of leaves."""
    values = annotation.values
    assert isinstance(values, Numbers | BodyNumbers)
    if isinstance(annotation.kind, Boxes):
        # Those of one group at a time: of the body they are many.
        return box_statistics(values.of(along.order[start:stop]) for start, stop in pairwise(edges))
    return group_means(values.of(along.order), edges)


def _limits(kind: Track, shown: np.ndarray) -> tuple[float, float]:
    if kind.limits is not None:
        return kind.limits
    values = shown[~np.isnan(shown)]
    if isinstance(kind, Bars):
        values = np.append(values, 0)
    low, high = (values.min(), values.max()) if len(values) else (0.0, 1.0)
    margin = AXIS_MARGIN * (high - low) or 0.5
    if isinstance(kind, Bars) and low == high:  # all of them are zero or missing
        return 0.0, 1.0
    if isinstance(kind, Bars):  # they stand on the edge of their axes
        return (low - margin if low < 0 else 0.0), (high + margin if high > 0 else 0.0)
    return low - margin, high + margin


def _draw_strip(
    ax: Axes, annotation: Annotation, along: Along, scale: Scale, edges: np.ndarray
) -> list[Artist]:
    along.set_limits(ax, -STRIP_MARGIN, 1 + STRIP_MARGIN)
    values = annotation.values
    if isinstance(scale, CategoryScale):
        assert isinstance(values, Categories)
        codes = scale.codes(values)[along.order]
        cells = majorities(codes, edges, len(scale.labels)).astype(np.float64)
        cells[cells == MISSING] = np.nan
        limits = -0.5, max(len(scale.labels), 1) - 0.5
    else:
        assert isinstance(values, Numbers)
        cells = group_means(values.values[along.order], edges)
        limits = scale.vmin, scale.vmax
    artists: list[Artist] = [_mesh(ax, along, edges, cells, scale, limits)]
    is_missing = np.isnan(cells)
    if is_missing.any():
        artists.append(_missing_patches(ax, along, edges, is_missing, (0.0, 1.0)))
    return artists


def _mesh(
    ax: Axes,
    along: Along,
    edges: np.ndarray,
    cells: np.ndarray,
    scale: Scale,
    limits: tuple[float, float],
) -> Artist:
    row = np.ma.masked_invalid(along.slices.with_gaps(cells, edges, 0, np.nan))[None, :]
    x, y = along.turned(along.slices.cell_edges(edges), np.array([0.0, 1.0]))
    # The limits of the axes are set, and stay.
    return ax.pcolormesh(
        *(x, y, row if along.axis else row.T),
        cmap=scale.colormap,
        vmin=limits[0],
        vmax=limits[1],
        linewidth=0,
    )


def _missing_patches(
    ax: Axes,
    along: Along,
    edges: np.ndarray,
    is_missing: np.ndarray,
    ends: tuple[float, float],
) -> Artist:
    """One patch for each run of groups without a value, none of them across a gap."""
    from matplotlib.collections import PolyCollection

    starts = along.slices.position(edges[:-1])
    stops = starts + np.diff(edges)
    where = np.flatnonzero(is_missing)
    follows = (np.diff(where) == 1) & np.isclose(starts[where[1:]], stops[where[:-1]])
    runs = np.split(where, np.flatnonzero(~follows) + 1)
    first = np.array([run[0] for run in runs])
    last = np.array([run[-1] for run in runs])
    patches = PolyCollection(
        list(along.rectangles(starts[first], stops[last], *ends)), **MISSING_LOOK
    )
    ax.add_collection(patches, autolim=False)
    return patches


def _centres(along: Along, edges: np.ndarray) -> np.ndarray:
    centres: np.ndarray = along.slices.position(edges[:-1]) + np.diff(edges) / 2
    return centres


def _half_widths(ax: Axes, along: Along, edges: np.ndarray) -> np.ndarray:
    """Half the width of a bar or box of each group, less a gap if it can be seen."""
    box = ax.get_window_extent()
    pixels_per_leaf = (box.width if along.axis else box.height) / along.slices.length
    widths = np.diff(edges)
    gaps = np.where(widths * pixels_per_leaf * BAR_GAP >= 0.7, BAR_GAP * widths, 0)
    halves: np.ndarray = (widths - gaps) / 2
    return halves


def _draw_bars(
    ax: Axes, kind: Track, along: Along, edges: np.ndarray, heights: np.ndarray
) -> list[Artist]:
    from matplotlib.collections import PolyCollection

    is_missing = np.isnan(heights)
    centres, halves = _centres(along, edges), _half_widths(ax, along, edges)
    corners = along.rectangles(centres - halves, centres + halves, 0.0, heights)[~is_missing]
    bars = PolyCollection(list(corners), facecolors=kind.color, linewidths=0)
    ax.add_collection(bars, autolim=False)
    if not is_missing.any():
        return [bars]
    # No bar at all would be zero.
    return [bars, _missing_patches(ax, along, edges, is_missing, _limits(kind, heights))]


def _draw_points(
    ax: Axes, kind: Track, along: Along, edges: np.ndarray, values: np.ndarray
) -> list[Artist]:
    x, y = along.turned(_centres(along, edges), values)
    halves = _half_widths(ax, along, edges)
    box = ax.get_window_extent()
    pixel_points = POINTS_PER_INCH / ax.figure.dpi
    leaf_points = (box.width if along.axis else box.height) / along.slices.length * pixel_points
    size = float(np.clip(2 * np.median(halves) * leaf_points, 1.5, 4))
    (points,) = ax.plot(
        *(x, y), linestyle="", marker="o", markersize=size, color=kind.color, markeredgewidth=0
    )
    return [points]


def _draw_boxes(
    ax: Axes, kind: Track, along: Along, edges: np.ndarray, boxes: np.ndarray
) -> list[Artist]:
    from matplotlib.collections import LineCollection, PolyCollection

    is_there = ~np.isnan(boxes[:, 0])
    boxes = boxes[is_there]
    centres, halves = _centres(along, edges)[is_there], _half_widths(ax, along, edges)[is_there]
    low, first, median, third, high = boxes.T
    whiskers = along.turned(
        np.concatenate([np.column_stack([centres, centres])] * 2),
        np.concatenate([np.column_stack([low, first]), np.column_stack([third, high])]),
    )
    middles = along.turned(
        np.column_stack([centres - halves, centres + halves]), np.column_stack([median, median])
    )
    corners = along.rectangles(centres - halves, centres + halves, first, third)
    lines = LineCollection(list(np.stack(whiskers, axis=-1)), colors="0.3", linewidths=0.6)
    solid = PolyCollection(list(corners), facecolors=kind.color, edgecolors="0.3", linewidths=0.4)
    medians = LineCollection(list(np.stack(middles, axis=-1)), colors="0.1", linewidths=0.9)
    for artist in (lines, solid, medians):
        ax.add_collection(artist, autolim=False)
    return [lines, solid, medians]
