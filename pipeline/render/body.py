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
from clustergrid.pipeline.render.slices import Slices

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import QuadMesh
    from matplotlib.colors import Colormap, Normalize
    from matplotlib.image import PcolorImage
    from numpy.typing import NDArray

__all__ = [
    "MESH_CELLS",
    "AxisSlices",
    "ColorScale",
    "FittedImage",
    "PixelEdges",
    "draw_mesh",
    "fits_pixels",
    "pixel_edges_of",
    "set_cell_limits",
]

MESH_CELLS = 200_000
"""Most cells that are drawn one by one."""

AxisSlices: TypeAlias = tuple[Slices, Slices]
"""Where rows and columns stand."""

PixelEdges: TypeAlias = "tuple[NDArray[np.int64], NDArray[np.int64]]"
"""First row and column of every pixel, and the end; no pixel is of two slices."""

_COVER_ORDER = 1.5
"""Above the cells, below what is written into them."""


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


def set_cell_limits(ax: Axes, slices: AxisSlices) -> None:
    """Let an axes span the cells of a matrix, first row on top."""
    rows, columns = slices
    ax.set(xlim=(0, columns.length), ylim=(rows.length, 0))


def pixel_edges_of(ax: Axes, slices: AxisSlices, dpi: float) -> PixelEdges:
    """Cut rows and columns into no more pixels than an axes has."""
    figure = ax.figure
    box = ax.get_window_extent()
    rows, columns = slices
    height, width = box.height / figure.dpi, box.width / figure.dpi
    return rows.pixel_edges(pixels(height, dpi)), columns.pixel_edges(pixels(width, dpi))


def fits_pixels(ax: Axes, slices: AxisSlices, dpi: float) -> bool:
    """Whether every row and every column of a matrix gets a pixel."""
    edges = pixel_edges_of(ax, slices, dpi)
    return all(len(each) - 1 == along.n for each, along in zip(edges, slices, strict=True))


def draw_mesh(
    ax: Axes, values: np.ndarray, scale: ColorScale, kws: Mapping[str, Any], slices: AxisSlices
) -> QuadMesh:
    """Draw every cell of a (masked) array, as seaborn does, with empty ones at the gaps.

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
    slices
        Where rows and columns stand.
    """
    rows, columns = slices
    set_cell_limits(ax, slices)
    if rows.count == columns.count == 1:
        return ax.pcolormesh(values, **scale.keywords(), **kws)
    edges = np.arange(rows.n + 1), np.arange(columns.n + 1)
    mesh = ax.pcolormesh(
        columns.cell_edges(edges[1]),
        rows.cell_edges(edges[0]),
        _with_gaps(np.ma.asarray(values), edges, slices),
        **scale.keywords(),
        **kws,
    )
    _cover_gaps(ax, slices, scale, has_lines=bool(np.any(mesh.get_linewidth())))
    return mesh


def _with_gaps(values: np.ndarray, edges: PixelEdges, slices: AxisSlices) -> np.ma.MaskedArray:
    """Put masked rows and columns at the gaps of (masked) values or colours."""
    mask, filled = np.ma.getmaskarray(values), np.ma.getdata(values)
    for axis, along in enumerate(slices):
        filled = along.with_gaps(filled, edges[axis], axis, 0)
        mask = along.with_gaps(mask, edges[axis], axis, True)
    return np.ma.masked_array(filled, mask)


def _cover_gaps(ax: Axes, slices: AxisSlices, scale: ColorScale, *, has_lines: bool) -> None:
    """Hide what empty cells show, where they show anything: a colour of missing values, lines."""
    if not has_lines and scale.cmap.get_bad()[3] == 0:
        return
    for span, along in ((ax.axhspan, slices[0]), (ax.axvspan, slices[1])):
        for begin, end in zip(along.stops[:-1], along.starts[1:], strict=True):
            cover = span(begin, end, facecolor=ax.get_facecolor(), edgecolor="none", linewidth=0)
            cover.set_zorder(_COVER_ORDER)
    set_cell_limits(ax, slices)


class FittedImage:
    """An image of a matrix with no more values than its axes has pixels.

    Parameters
    ----------
    ax
        Where to draw.
    slices
        Where rows and columns of the matrix stand.
    reduce
        Makes values ``(p, q)`` or colours ``(p, q, 3)`` of pixels that begin at given rows and
        columns.
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
        slices: AxisSlices,
        reduce: Callable[[PixelEdges], np.ndarray],
        *,
        dpi: float,
        scale: ColorScale | None = None,
        limits: Callable[[], tuple[float, float]] | None = None,
        kws: Mapping[str, Any] | None = None,
    ) -> None:
        from matplotlib.image import PcolorImage

        self.ax = ax
        self._slices = slices
        self._reduce = reduce
        self.artist = artist = PcolorImage(ax)
        edges = pixel_edges_of(ax, slices, dpi)
        self._show(edges, reduce(edges))
        if scale is not None:
            _apply_scale(artist, scale, limits)
            _cover_gaps(ax, slices, scale, has_lines=False)
        artist.set(**(kws or {}))
        ax.add_image(artist)
        artist.set_clip_path(ax.patch)
        # It never reaches out of its axes, and matplotlib can't tell: its images of irregular
        # cells have no extent, and asking for one fails.
        artist.set_in_layout(False)
        set_cell_limits(ax, slices)

    def fit(self, dpi: float) -> None:
        """Make the image again if its axes has another number of pixels at this resolution."""
        edges = pixel_edges_of(self.ax, self._slices, dpi)
        if not self._has(edges):
            self._show(edges, self._reduce(edges))

    def snapshot(self) -> Callable[[], None]:
        """Remember the image; the function returned shows it again."""
        edges, values = self._edges, self._values

        def restore() -> None:
            if not self._has(edges):
                self._show(edges, values)

        return restore

    def _has(self, edges: PixelEdges) -> bool:
        return all(map(np.array_equal, edges, self._edges))

    def _show(self, edges: PixelEdges, values: np.ndarray) -> None:
        self._edges, self._values = edges, values
        rows, columns = self._slices
        shown = values
        if values.ndim == 2:
            shown = _with_gaps(np.ma.masked_invalid(values), edges, self._slices)
        elif rows.count > 1 or columns.count > 1:  # colours have no NaN, and gaps are transparent
            opaque = np.concatenate([values, np.ones((*values.shape[:2], 1))], axis=-1)
            shown = _with_gaps(opaque, edges, self._slices).filled(0.0)
        x, y = columns.cell_edges(edges[1]), rows.cell_edges(edges[0])
        self.artist.set_data(x, y, shown)


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
