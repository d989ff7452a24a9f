"""Driver: a tree of any size as one matplotlib artist, which draws what can be seen of it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.artist import allow_rasterization
from matplotlib.backends.backend_mixed import MixedModeRenderer
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba_array

from clustergrid.pipeline.render.thinning import Links, VisibleTree, visible_tree

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

__all__ = ["ThinnedLines"]

_TOLD_APART = 1 / 256
"""Least difference of two shades on a screen."""
_MOST_LAYERS = 16
_VECTOR_LAYERS = 2
"""In a vector file lines overlap their neighbours: one would do, but for what viewers smooth."""


class ThinnedLines(LineCollection):
    """The lines of a tree, thinned whenever they are drawn, for the resolution of that moment.

    The screen, a file of any dpi and a view that is zoomed into each get the lines that can be seen
    there. `get_segments` returns those drawn last.

    Parameters
    ----------
    ax
        Where they will be.
    points : (n, 4, 2) float64
        Corners of the links, in the data's coordinates.
    leaf_axis
        Along which axis leaves stand: 0, x, or 1, y.
    colors
        One colour, or several that links have in turn.
    **kws
        Keywords of LineCollection.
    """

    def __init__(
        self, ax: Axes, points: NDArray[np.float64], *, leaf_axis: int, colors: Any, **kws: Any
    ) -> None:
        palette, self._color_of = np.unique(
            to_rgba_array(colors, kws.get("alpha")), axis=0, return_inverse=True
        )
        self._palette: NDArray[np.float64] | None = palette
        self._points = points
        self._ax = ax
        self._leaf_axis = leaf_axis
        self._view: tuple[float, ...] | None = None
        # Where a stem and its bar are lines of their own, their corner is filled all the same.
        kws.setdefault("capstyle", "projecting")
        super().__init__([], **kws)
        self.set_transform(ax.transData)
        self._palette = palette
        self._thin(ax, float(ax.figure.dpi) / 72, cells=1)  # for those who ask before it is drawn

    def set_edgecolor(self, c: Any) -> None:
        """Set one colour for all lines, in place of those of the links."""
        self._palette = None
        super().set_edgecolor(c)

    @allow_rasterization  # type: ignore[untyped-decorator]
    def draw(self, renderer: Any) -> None:
        """Draw the lines that can be seen at the renderer's resolution."""
        if self.get_visible():
            point = float(renderer.points_to_pixels(1.0))
            cells = 1
            if isinstance(renderer, MixedModeRenderer) and not self.get_rasterized():
                # Neighbours overlap by half a line, at no lower a resolution than was asked for.
                half = self._line_width * point / 2
                finer: float = renderer.dpi / renderer.figure.dpi
                cells = math.ceil(max(1 / half, finer))
            self._thin(self._ax, point, cells=cells)
        super().draw(renderer)

    @property
    def _line_width(self) -> float:
        return float(max(np.max(self.get_linewidth()), 0.05))

    def _thin(self, ax: Axes, point_pixels: float, *, cells: int) -> None:
        """Set the segments that can be seen, unless these are they."""
        (x0, x1), (y0, y1) = ax.get_xlim(), ax.get_ylim()
        transform = self.get_transform()
        view = transform.transform([[x0, y0], [(x0 + x1) / 2, (y0 + y1) / 2], [x1, y1]])
        key = (*view.ravel(), point_pixels, self._line_width, float(cells))
        if key == self._view:
            return
        self._view = key
        layers, doubled = (_VECTOR_LAYERS, 1) if cells > 1 else self._layers(point_pixels)
        links = self._links_in(view.min(axis=0), view.max(axis=0))
        self._show(visible_tree(links, cells=cells, layers=layers, doubled=doubled))

    def _layers(self, point_pixels: float) -> tuple[int, int]:
        """How many lines on one another can be told from more, and how many look like one doubled.

        Agg puts a line of less than a pixel into one, of up to two pixels into two. What of the
        ground shines through is a power of the number of lines on one another.
        """
        width = self._line_width * point_pixels
        share = width if width <= 1 else width / 2
        opacity = 1.0 if self._palette is None else float(self._palette[:, 3].min())
        through = math.log1p(-min(share * opacity, 1 - _TOLD_APART))
        layers = math.ceil(math.log(_TOLD_APART) / through) if through else 1
        twice = math.log1p(-min(2 * share * opacity, 1 - _TOLD_APART))
        doubled = round(twice / through) if through else 1
        return min(_MOST_LAYERS, layers), min(_MOST_LAYERS, doubled)

    def _links_in(self, low: NDArray[np.float64], high: NDArray[np.float64]) -> Links:
        """Links in pixels, of those that reach into a rectangle."""
        along, across = self._leaf_axis, 1 - self._leaf_axis
        transform = self.get_transform()
        # The two upper corners have the same height, and each the place of the foot below it.
        left_foot, left, right_foot = (
            transform.transform(self._points[:, corner]) for corner in (0, 1, 3)
        )
        links = Links(
            left=left[:, along],
            right=right_foot[:, along],
            left_foot=left_foot[:, across],
            right_foot=right_foot[:, across],
            top=left[:, across],
            color=np.resize(self._color_of, len(self._points)).astype(np.int64),
        )
        margin = 2.0
        heights = np.stack([links.left_foot, links.right_foot, links.top])
        is_in = (
            (np.maximum(links.left, links.right) >= low[along] - margin)
            & (np.minimum(links.left, links.right) <= high[along] + margin)
            & (heights.max(axis=0) >= low[across] - margin)
            & (heights.min(axis=0) <= high[across] + margin)
        )
        return links if is_in.all() else links.take(is_in)

    def _show(self, seen: VisibleTree) -> None:
        to_data = self.get_transform().inverted()
        segments: list[NDArray[np.float64]] = []
        for part in (seen.links, seen.lines):
            points = part if self._leaf_axis == 0 else part[..., ::-1]
            in_data = to_data.transform(points.reshape(-1, 2)).reshape(points.shape)
            segments += list(in_data)
        self.set_segments(segments)
        if self._palette is not None:
            super().set_edgecolor(self._palette[seen.colors])  # type: ignore[arg-type]
