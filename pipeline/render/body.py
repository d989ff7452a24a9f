"""Driver: the coloured cells of an axes - a mesh of every cell, or an image of what it can show.

A mesh has one shape a cell, as in seaborn. It is exact and slow, and of no use once there are more
cells than pixels. Beyond that an image is drawn, whose pixels are means of cells; it knows how to
be made again when the figure is saved at another resolution.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from clustergrid.pipeline.render.layout import pixels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import QuadMesh
    from matplotlib.colors import Colormap, Normalize
    from matplotlib.image import PcolorImage

__all__ = [
    "MESH_CELLS",
    "ColorScale",
    "FittedImage",
    "Pixels",
    "draw_mesh",
    "fits_pixels",
    "pixel_shape",
    "set_cell_limits",
]

MESH_CELLS = 200_000
"""Most cells that are drawn one by one."""

Pixels: TypeAlias = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Values (p, q) or colours (p, q, 3), and the first cell of every pixel row and column."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ColorScale:
    """How values become colours: a norm, or limits of a linear one."""

    cmap: Colormap
    norm: Normalize | str | None
    vmin: float | None
    vmax: float | None

    def keywords(self) -> dict[str, Any]:
        """Keywords for a matplotlib artist, which takes a norm or limits but not both."""
        if self.norm is not None:
            return {"cmap": self.cmap, "norm": self.norm}
        return {"cmap": self.cmap, "vmin": self.vmin, "vmax": self.vmax}


def set_cell_limits(ax: Axes, shape: tuple[int, int]) -> None:
    """Let an axes span the cells of a matrix, first row on top."""
    n_rows, n_columns = shape
    ax.set(xlim=(0, n_columns), ylim=(n_rows, 0))


def pixel_shape(ax: Axes, shape: tuple[int, int], dpi: float) -> tuple[int, int]:
    """Rows and columns of a matrix that an axes can show: cells, but no more than its pixels."""
    figure = ax.figure
    box = ax.get_window_extent()
    height, width = box.height / figure.dpi, box.width / figure.dpi
    return min(shape[0], pixels(height, dpi)), min(shape[1], pixels(width, dpi))


def fits_pixels(ax: Axes, shape: tuple[int, int], dpi: float) -> bool:
    """Whether every row and every column of a matrix gets a pixel."""
    return pixel_shape(ax, shape, dpi) == shape


def draw_mesh(ax: Axes, values: np.ndarray, scale: ColorScale, kws: Mapping[str, Any]) -> QuadMesh:
    """Draw every cell of a (masked) array, as seaborn does.

    Parameters
    ----------
    ax
        Where to draw.
    values : (n, m)
        Cells, masked or NaN where nothing is shown.
    scale
        Colours.
    kws
        Keywords of pcolormesh.
    """
    mesh = ax.pcolormesh(values, **scale.keywords(), **kws)
    set_cell_limits(ax, (values.shape[0], values.shape[1]))
    return mesh


class FittedImage:
    """An image of a matrix with no more values than its axes has pixels.

    Parameters
    ----------
    ax
        Where to draw.
    shape
        Rows and columns of the matrix.
    reduce
        Makes the image for a number of pixel rows and columns.
    dpi
        Resolution to make the image for.
    scale
        Colours of the values; None when `reduce` gives colours.
    limits
        Least and greatest value of the matrix, for a norm without limits of its own: the means in
        the image do not reach as far.
    kws
        Properties of the artist.
    """

    def __init__(
        self,
        ax: Axes,
        shape: tuple[int, int],
        reduce: Callable[[tuple[int, int]], Pixels],
        *,
        dpi: float,
        scale: ColorScale | None = None,
        limits: Callable[[], tuple[float, float]] | None = None,
        kws: Mapping[str, Any] | None = None,
    ) -> None:
        from matplotlib.image import PcolorImage

        self._ax = ax
        self._shape = shape
        self._reduce = reduce
        self._pixel_shape = pixel_shape(ax, shape, dpi)
        self._pixels = reduce(self._pixel_shape)
        values, row_edges, column_edges = self._pixels
        artist = PcolorImage(ax)
        artist.set_data(column_edges, row_edges, _maskable(values))
        if scale is not None:
            _apply_scale(artist, scale, limits)
        artist.set(**(kws or {}))
        ax.add_image(artist)
        artist.set_clip_path(ax.patch)
        # It never reaches out of its axes, and matplotlib can't tell: its images of irregular
        # cells have no extent, and asking for one fails.
        artist.set_in_layout(False)
        set_cell_limits(ax, shape)
        self.artist = artist

    def fit(self, dpi: float) -> None:
        """Make the image again if its axes has another number of pixels at this resolution."""
        shape = pixel_shape(self._ax, self._shape, dpi)
        if shape != self._pixel_shape:
            self._show(shape, self._reduce(shape))

    def snapshot(self) -> Callable[[], None]:
        """Remember the image; the function returned shows it again."""
        shape, image = self._pixel_shape, self._pixels

        def restore() -> None:
            if self._pixel_shape != shape:
                self._show(shape, image)

        return restore

    def _show(self, shape: tuple[int, int], image: Pixels) -> None:
        self._pixel_shape, self._pixels = shape, image
        values, row_edges, column_edges = image
        self.artist.set_data(column_edges, row_edges, _maskable(values))


def _maskable(values: np.ndarray) -> np.ndarray:
    """Mask NaN of values to be mapped to colours; colours themselves have none."""
    return np.ma.masked_invalid(values) if values.ndim == 2 else values


def _apply_scale(
    artist: PcolorImage, scale: ColorScale, limits: Callable[[], tuple[float, float]] | None
) -> None:
    artist.set_cmap(scale.cmap)
    if scale.norm is None:
        artist.set_clim(scale.vmin, scale.vmax)
        return
    artist.set_norm(scale.norm)
    if limits is not None and not artist.norm.scaled():
        # With the image's own values, for norms that can't use every limit (the logarithm of 0).
        image = np.ma.masked_invalid(np.asarray(artist.get_array(), dtype=float)).compressed()
        artist.norm.autoscale_None(np.append(image, limits()))
