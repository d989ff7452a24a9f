"""Driver: what a heatmap's keywords ask for - colour limits, annotations, the colour bar."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from clustergrid.pipeline.render.body import MESH_CELLS, AxisSlices, ColorScale
from clustergrid.pipeline.render.colormaps import default_colormap, get_colormap, recentred
from clustergrid.pipeline.render.colors import relative_luminance
from clustergrid.storage.errors import DataTypeError, DataValueError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.collections import QuadMesh

__all__ = [
    "HeatmapOptions",
    "annotate",
    "annotation_values",
    "color_scale",
    "draw_color_bar",
    "refuse_axes",
    "written",
]

LIGHT_BACKGROUND = 0.408
"""Relative luminance above which text on a cell is dark."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeatmapOptions:
    """Heatmap keywords, seaborn's names and defaults; `artist` is what is left for the mesh."""

    vmin: float | None = None
    vmax: float | None = None
    cmap: Any = None
    center: float | None = None
    robust: bool = False
    norm: Any = None
    annot: Any = None
    fmt: str = ".2g"
    annot_kws: Mapping[str, Any] | None = None
    linewidths: Any = 0
    linecolor: Any = "white"
    cbar: bool | None = None
    xticklabels: Any = "auto"
    yticklabels: Any = "auto"
    aggregate: str = "mean"
    edges: Mapping[str, Any] = field(default_factory=dict)
    artist: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_keywords(cls, kws: Mapping[str, Any]) -> HeatmapOptions:
        """Sort keywords into the heatmap's own and the artist's."""
        left = dict(kws)
        own = {
            name: left.pop(name)
            for name in cls.__dataclass_fields__
            if name in left and name not in ("edges", "artist")
        }
        for alias in ("linewidth", "lw"):
            if alias in left:
                own.setdefault("linewidths", left.pop(alias))
        edges: dict[str, Any] = {}
        for alias in ("edgecolor", "edgecolors", "ec"):
            if alias in left:
                edges[alias] = left.pop(alias)
        return cls(**own, edges=edges, artist=left)

    @property
    def has_annotations(self) -> bool:
        """Whether something is to be written into the cells."""
        return self.annot is not None and self.annot is not False

    @property
    def asks_for_mesh(self) -> bool:
        """Whether something was asked for that only cells drawn one by one can have."""
        return self.has_annotations or bool(self.edges) or bool(np.any(self.linewidths))

    def mesh_keywords(self) -> dict[str, Any]:
        """Keywords for pcolormesh."""
        edges = dict(self.edges) or {"edgecolor": self.linecolor}
        return {"linewidths": self.linewidths, **edges, **self.artist}

    def image_keywords(self) -> dict[str, Any]:
        """Properties for an image, which has no use for some that cells have."""
        from matplotlib.image import PcolorImage

        return {
            name: value
            for name, value in self.artist.items()
            if hasattr(PcolorImage, f"set_{name}")
        }

    def warn_ignored(self, n_cells: int) -> None:
        """Warn of what was asked for but can't be seen on a matrix of this size."""
        if self.asks_for_mesh:
            warnings.warn(
                f"annot, linewidths and edgecolors are ignored: {n_cells:,} cells are more than "
                f"the {MESH_CELLS:,} that are drawn one by one",
                UserWarning,
                stacklevel=2,
            )


def refuse_axes(kws: Mapping[str, Any]) -> None:
    """Refuse axes to draw in: a clustered heatmap makes its own."""
    for name, instead in (
        ("ax", "Draw on the axes of the result: g.ax_heatmap, g.ax_row_dendrogram, ..."),
        ("cbar_ax", "Place the colour bar with cbar_pos=(left, bottom, width, height)."),
    ):
        if name in kws:
            raise DataTypeError(
                f"{name}= can't be used: a cluster map makes its own axes. {instead}"
            )


def color_scale(options: HeatmapOptions, limits: Callable[[], tuple[float, float]]) -> ColorScale:
    """Decide the colormap and its limits.

    Parameters
    ----------
    options
        What was asked.
    limits
        Least and greatest value (or the robust ones) of the whole matrix; called only if needed.
    """
    vmin, vmax = options.vmin, options.vmax
    is_needed = options.norm is None or options.center is not None
    if is_needed and (vmin is None or vmax is None):
        least, greatest = limits()
        vmin = least if vmin is None else vmin
        vmax = greatest if vmax is None else vmax
    given = options.cmap
    cmap = default_colormap(options.center) if given is None else get_colormap(given)
    if options.center is not None:
        assert vmin is not None
        assert vmax is not None
        cmap = recentred(cmap, vmin, vmax, options.center)
    return ColorScale(cmap=cmap, norm=options.norm, vmin=vmin, vmax=vmax)


def draw_color_bar(
    ax: Axes, cax: Axes | None, mappable: ScalarMappable, kws: Mapping[str, Any], is_raster: bool
) -> None:
    """Draw the colour bar, without a frame."""
    figure = ax.figure
    bar = figure.colorbar(mappable, cax, ax, **kws)
    bar.outline.set_linewidth(0)
    if is_raster and bar.solids is not None:  # or PDF viewers show white lines in it
        bar.solids.set_rasterized(True)


def annotation_values(annot: Any, shape: tuple[int, int]) -> np.ndarray:
    """Check an array of annotations, given in the data's order, by position."""
    values = np.asarray(annot)
    if values.shape != shape:
        raise DataValueError(
            f"`data` and `annot` must have same shape. data is {shape}, annot {values.shape}."
        )
    return values


def written(value: Any, options: HeatmapOptions) -> str:
    """Write a value as it is written into its cell."""
    return ("{:" + options.fmt + "}").format(value)


def annotate(
    ax: Axes, mesh: QuadMesh, values: np.ndarray, options: HeatmapOptions, slices: AxisSlices
) -> None:
    """Write a value into every cell that is shown, dark on light and light on dark.

    Parameters
    ----------
    ax
        Where to write.
    mesh
        The cells, for their colours.
    values : (n, m)
        What to write, in leaf order.
    options
        Format and text properties.
    slices
        Where rows and columns stand.
    """
    rows, columns = (np.arange(along.n) for along in slices)
    # Of the mesh, whose gaps are cells too.
    n_columns = slices[1].n + slices[1].count - 1
    cell = (rows + slices[0].slice_of(rows))[:, None] * n_columns
    cell = cell + columns + slices[1].slice_of(columns)
    y, x = (along.position(np.arange(along.n) + 0.5) for along in slices)
    mesh.update_scalarmappable()
    is_light = relative_luminance(np.asarray(mesh.get_facecolor())) > LIGHT_BACKGROUND
    shown = ~np.ma.getmaskarray(mesh.get_array()).ravel()[cell]  # type: ignore[arg-type]
    for row, column in np.argwhere(shown):
        color = ".15" if is_light[cell[row, column]] else "w"
        kws = {"color": color, "ha": "center", "va": "center", **(options.annot_kws or {})}
        ax.text(x[column], y[row], written(values[row, column], options), **kws)
