"""Driver: the strips of colours between the trees and the body."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from clustergrid.pipeline.escapes import drawable
from clustergrid.pipeline.render.body import (
    AxisSlices,
    ColorScale,
    FittedImage,
    PixelEdges,
    draw_mesh,
    fits_pixels,
    set_cell_limits,
)
from clustergrid.pipeline.render.colors import (
    StripColors,
    as_strips,
    color_list_to_matrix_and_cmap,
    mean_colors,
)
from clustergrid.pipeline.render.heatmap import HeatmapOptions
from clustergrid.pipeline.render.slices import Slices
from clustergrid.pipeline.render.ticks import hide_spines

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Strips"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Strips:
    """Strips of colours beside the rows (axis 0) or the columns (axis 1).

    Attributes
    ----------
    axis
        What the colours are of.
    colors
        RGB in the data's order, one list or a list a strip.
    order : (n,) int
        Leaf order.
    slices
        Where leaves stand.
    """

    axis: int
    colors: StripColors
    order: np.ndarray
    slices: Slices

    @property
    def _cells(self) -> AxisSlices:
        """Where the cells stand: strips of rows stand, strips of columns lie."""
        strips = Slices.whole(len(as_strips(self.colors)))
        return (self.slices, strips) if self.axis == 0 else (strips, self.slices)

    def draw(self, ax: Axes, options: HeatmapOptions, dpi: float) -> FittedImage | None:
        """Draw a mesh, or an image when leaves share pixels; return the image.

        Parameters
        ----------
        ax
            Where to draw.
        options
            Lines between cells, and properties of the artist.
        dpi
            Resolution of an image.
        """
        hide_spines(ax)
        set_cell_limits(ax, self._cells)
        if fits_pixels(ax, self._cells, dpi):
            matrix, cmap = color_list_to_matrix_and_cmap(self.colors, self.order, self.axis)
            least, greatest = float(matrix.min()), float(matrix.max())
            scale = ColorScale(cmap=cmap, norm=None, vmin=least, vmax=greatest)
            draw_mesh(ax, matrix, scale, options.mesh_keywords(), self._cells)
            return None
        in_order = np.asarray(as_strips(self.colors))[:, self.order]

        def reduce(edges: PixelEdges) -> np.ndarray:
            pixels = mean_colors(in_order, edges[self.axis])
            return pixels.swapaxes(0, 1) if self.axis == 0 else pixels

        return FittedImage(ax, self._cells, reduce, dpi=dpi, kws=options.image_keywords())

    def write_labels(self, ax: Axes, labels: Sequence[Hashable]) -> None:
        """Name the strips, below those of rows and to the right of those of columns."""
        ticks = np.arange(len(labels)) + 0.5
        labels = [drawable(label) if isinstance(label, str) else label for label in labels]
        if self.axis == 0:
            ax.set(xticks=ticks, yticks=[])
            ax.set_xticklabels(labels, rotation=90)  # type: ignore[arg-type]
            return
        ax.set(xticks=[], yticks=ticks)
        for text in ax.set_yticklabels(labels, rotation=0):  # type: ignore[arg-type]
            text.set_verticalalignment("center")
        if labels:
            ax.yaxis.tick_right()
