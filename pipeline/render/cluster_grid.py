"""Driver: the ClusterGrid - a matrix in leaf order with its trees, colour strips and colour bar.

Names, defaults and places are seaborn's, so code written for its grid works with this one.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import numpy as np
import pandas as pd

from clustergrid.pipeline.render import tables
from clustergrid.pipeline.render.annotation_panels import AnnotationPanels
from clustergrid.pipeline.render.axis_trees import AxisTrees, DrawnAxis
from clustergrid.pipeline.render.body import (
    MESH_CELLS,
    FittedImage,
    draw_mesh,
    fits_pixels,
    pixel_edges_of,
    set_cell_limits,
)
from clustergrid.pipeline.render.colormaps import get_colormap
from clustergrid.pipeline.render.colors import (
    StripColors,
    as_strips,
    color_list_to_matrix_and_cmap,
    prepare_colors,
)
from clustergrid.pipeline.render.dendrogram import DendrogramPlotter
from clustergrid.pipeline.render.exports import MatrixExport
from clustergrid.pipeline.render.figure import FigureGrid
from clustergrid.pipeline.render.heatmap import (
    HeatmapOptions,
    annotate,
    annotation_values,
    color_scale,
    draw_color_bar,
    refuse_axes,
)
from clustergrid.pipeline.render.labels import BodyLabels
from clustergrid.pipeline.render.layout import (
    DEFAULT_COLORS_RATIO,
    DEFAULT_DENDROGRAM_RATIO,
    Ratio,
    axis_ratios,
    ratio_pair,
)
from clustergrid.pipeline.render.matrix import Metric, open_drawn
from clustergrid.pipeline.render.slice_titles import SliceTitles
from clustergrid.pipeline.render.slices import Slices
from clustergrid.pipeline.render.strips import Strips
from clustergrid.pipeline.render.summary import ClusterSummary
from clustergrid.pipeline.render.ticks import hide_spines
from clustergrid.pipeline.render.tree_options import TREE_KEYWORDS, TreeOptions
from clustergrid.pipeline.render.trial import try_keywords
from clustergrid.storage.errors import DataValueError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap

    from clustergrid.pipeline.stages import Stages

__all__ = ["ClusterGrid"]

ROWS, COLUMNS = 0, 1
MOST_VECTOR_CELLS = 10_000
"""Most cells that are drawn one by one in PDF and SVG too, unless ``rasterized`` says otherwise."""

Keywords: TypeAlias = Mapping[str, Any] | None


class ClusterGrid(ClusterSummary, MatrixExport, FigureGrid):
    """A matrix drawn as a heatmap, rows and columns in leaf order, with the trees beside it.

    Parameters
    ----------
    data
        A table in memory (DataFrame, array, lists) or a matrix of any size: an xarray.DataArray,
        a Dask or Zarr array, a sparse matrix, an AnnData, a path or URL.
    pivot_kws
        ``index``, ``columns`` and ``values`` of tidy data.
    z_score, standard_scale
        Normalize every row (0) or every column (1).
    figsize
        Width and height in inches; None for matplotlib's default.
    row_colors, col_colors
        Colours beside the rows and columns.
    mask
        True where cells are not shown; not used for clustering.
    dendrogram_ratio, colors_ratio
        Proportions of the figure, one number or a (row, column) pair.
    cbar_pos
        ``(left, bottom, width, height)`` of the colour bar; None for no colour bar.
    row_annotations, col_annotations, annotation_palettes, annotation_legend, row_mark, col_mark
        What stands beside rows and columns, and which of them are marked, as in `clustermap`.
    figure
        A Figure or SubFigure to draw into.
    stages
        Stages that are open already, whose matrix is drawn; `data` may then be None.
    dtype, memory, store, client, progress
        How stages are opened, as in `clustermap`.

    Attributes
    ----------
    data
        The data as given, a DataFrame; or, for a matrix of any size, its lazy DataArray.
    row_colors, col_colors
        RGB triples, or a list of them a strip; None when none were given.
    row_color_labels, col_color_labels
        Names of the strips.
    dendrogram_row, dendrogram_col : DendrogramPlotter
        The trees, None where an axis was not clustered.
    stages : Stages
        What computed the trees and the picture.
    """

    def __init__(
        self,
        data: Any,
        pivot_kws: dict[str, Any] | None = None,
        z_score: int | None = None,
        standard_scale: int | None = None,
        figsize: tuple[float, float] | None = None,
        row_colors: Any = None,
        col_colors: Any = None,
        mask: Any = None,
        dendrogram_ratio: Ratio = None,
        colors_ratio: Ratio = None,
        cbar_pos: Sequence[float] | None = None,
        *,
        row_annotations: Any = None,
        col_annotations: Any = None,
        annotation_palettes: Keywords = None,
        annotation_legend: bool = True,
        row_mark: Any = None,
        col_mark: Any = None,
        figure: Any = None,
        stages: Stages | None = None,
        dtype: Any = None,
        memory: Any = None,
        store: Any = None,
        client: Any = None,
        progress: Any = None,
    ) -> None:
        # Everything that can be refused is, before there is a figure.
        self._matrix = open_drawn(
            data,
            pivot_kws=pivot_kws,
            z_score=z_score,
            standard_scale=standard_scale,
            mask=mask,
            stages=stages,
            options={
                "dtype": dtype,
                "memory": memory,
                "store": store,
                "client": client,
                "progress": progress,
            },
        )
        n_rows, n_columns = self._matrix.shape
        if 0 in (n_rows, n_columns):
            empty = "columns" if n_rows else "rows"
            raise DataValueError(f"data has no {empty}: its shape is {n_rows} x {n_columns}")
        self.row_colors, self.row_color_labels = prepare_colors(
            row_colors, self._matrix.match_index(ROWS), n_rows, "row_colors"
        )
        self.col_colors, self.col_color_labels = prepare_colors(
            col_colors, self._matrix.match_index(COLUMNS), n_columns, "col_colors"
        )
        trees = ratio_pair(dendrogram_ratio, DEFAULT_DENDROGRAM_RATIO, "dendrogram_ratio")
        strips = ratio_pair(colors_ratio, DEFAULT_COLORS_RATIO, "colors_ratio")
        self._labels = BodyLabels(self._matrix, row_mark, col_mark)
        self._panels = AnnotationPanels(
            row_annotations, col_annotations, annotation_palettes, annotation_legend, self._matrix
        )
        widths = self.dim_ratios(self.row_colors, trees[ROWS], strips[ROWS])
        heights = self.dim_ratios(self.col_colors, trees[COLUMNS], strips[COLUMNS])
        super().__init__(
            figsize=figsize,
            widths=self._panels.between(ROWS, widths, strips[ROWS]),
            heights=self._panels.between(COLUMNS, heights, strips[COLUMNS]),
            cbar_pos=cbar_pos,
            figure=figure,
        )
        self.dendrogram_row: DendrogramPlotter | None = None
        self.dendrogram_col: DendrogramPlotter | None = None
        self._orders: tuple[np.ndarray, np.ndarray] | None = None
        self._drawn_axes: dict[int, DrawnAxis] = {}
        self._cached: dict[str, Any] = {}

    @property
    def _slices(self) -> tuple[Slices, Slices]:
        """Where the leaves of rows and columns stand, once there are trees."""
        n_rows, n_columns = self._matrix.shape
        drawn = self._drawn_axes
        return (
            drawn[ROWS].slices if ROWS in drawn else Slices.whole(n_rows),
            drawn[COLUMNS].slices if COLUMNS in drawn else Slices.whole(n_columns),
        )

    @property
    def stages(self) -> Stages:
        """The stages bound to the matrix."""
        return self._matrix.stages

    @property
    def data(self) -> Any:
        """The data as given."""
        return self._matrix.source

    @property
    def data2d(self) -> Any:
        """The normalized matrix, in leaf order once it is plotted; a lazy matrix stays lazy."""
        if self._orders is None:
            return self._matrix.normalized
        if "data2d" not in self._cached:
            self._cached["data2d"] = self._matrix.reordered(*self._orders)
        return self._cached["data2d"]

    @property
    def mask(self) -> Any:
        """What is not shown, in leaf order once it is plotted; None for a lazy matrix without."""
        if "mask" not in self._cached:
            n_rows, n_columns = self._matrix.shape
            orders = self._orders or (np.arange(n_rows), np.arange(n_columns))
            self._cached["mask"] = self._matrix.reordered_mask(*orders)
        return self._cached["mask"]

    def format_data(
        self,
        data: pd.DataFrame,
        pivot_kws: dict[str, Any] | None,
        z_score: int | None = None,
        standard_scale: int | None = None,
    ) -> pd.DataFrame:
        """Pivot and normalize a table."""
        return tables.format_table(data, pivot_kws, z_score, standard_scale)

    z_score = staticmethod(tables.z_score)
    standard_scale = staticmethod(tables.standard_scale)

    @staticmethod
    def color_list_to_matrix_and_cmap(
        colors: Sequence[Any], ind: Sequence[int] | np.ndarray, axis: int = 0
    ) -> tuple[np.ndarray, ListedColormap]:
        """Turn colours into integers and the colormap that turns those into the colours."""
        return color_list_to_matrix_and_cmap(colors, ind, axis)

    def dim_ratios(
        self, colors: StripColors | None, dendrogram_ratio: float, colors_ratio: float
    ) -> list[float]:
        """Proportions of the figure for the tree, the colour strips if any, and the body."""
        n_strips = 0 if colors is None else len(as_strips(colors))
        return axis_ratios(n_strips, dendrogram_ratio, colors_ratio)

    def plot(
        self,
        metric: Metric,
        method: str,
        colorbar_kws: Mapping[str, Any] | None,
        row_cluster: bool,
        col_cluster: bool,
        row_linkage: Any,
        col_linkage: Any,
        tree_kws: Mapping[str, Any] | None,
        **kws: Any,
    ) -> Self:
        """Cluster, and draw everything; the parameters are those of `clustermap`."""
        refuse_axes(kws)
        if kws.pop("square", False):
            # Equal scales on both axes of the body can't be had in a grid of axes.
            warnings.warn("``square=True`` ignored in clustermap", UserWarning, stacklevel=2)
        trees = {name: kws.pop(name) for name in TREE_KEYWORDS if name in kws}
        self._refuse(HeatmapOptions.from_keywords(kws), colorbar_kws, tree_kws)
        self.plot_dendrograms(
            row_cluster,
            col_cluster,
            metric,
            method,
            row_linkage=row_linkage,
            col_linkage=col_linkage,
            tree_kws=tree_kws,
            **trees,
        )
        yind, xind = self._drawn_axes[ROWS].order, self._drawn_axes[COLUMNS].order
        self.plot_colors(xind, yind, **kws)
        self.plot_matrix(colorbar_kws, xind, yind, **kws)
        return self

    def _refuse(self, options: HeatmapOptions, cbar_kws: Keywords, tree_kws: Keywords) -> None:
        """Refuse what can't be drawn before anything is computed, which may take hours."""
        if options.has_annotations and options.annot is not True:
            annotation_values(options.annot, self._matrix.shape)
        try_keywords(options, cbar_kws, tree_kws, has_bar=self.ax_cbar is not None)
        if options.cmap is not None:
            get_colormap(options.cmap)
        rows, columns = pixel_edges_of(self.ax_heatmap, self._slices, self._dpi)
        self._matrix.refuse_image(options.aggregate, (len(rows) - 1, len(columns) - 1))
        self._labels.check(options)
        self.try_legends(self._panels.hang_legends)

    def plot_dendrograms(
        self,
        row_cluster: bool,
        col_cluster: bool,
        metric: Metric,
        method: str,
        row_linkage: Any,
        col_linkage: Any,
        tree_kws: Mapping[str, Any] | None,
        **kws: Any,
    ) -> None:
        """Make the trees of the axes that are clustered, and draw them.

        Parameters are those of `clustermap`, `kws` those of trees that seaborn does not have.
        """
        trees = AxisTrees(
            self._matrix,
            TreeOptions(**kws),
            metric=metric,
            method=method,
            are_clustered=(row_cluster, col_cluster),
            linkages=(row_linkage, col_linkage),
        )
        self._specs = trees.specs
        for ax in (self.ax_row_dendrogram, self.ax_col_dendrogram):
            ax.set(xticks=[], yticks=[])
            hide_spines(ax)
        self.dendrogram_row = self._plot_tree(trees, ROWS, self.ax_row_dendrogram, tree_kws)
        self.dendrogram_col = self._plot_tree(trees, COLUMNS, self.ax_col_dendrogram, tree_kws)

    def _plot_tree(
        self, trees: AxisTrees, axis: int, ax: Axes, tree_kws: Mapping[str, Any] | None
    ) -> DendrogramPlotter | None:
        """Make the tree of an axis, draw it, and say where its leaves stand."""
        drawn = self._drawn_axes[axis] = trees.make(axis)
        if drawn.tree is not None:
            drawn.tree.plot(ax, tree_kws)
        if drawn.titles:
            self._keep(SliceTitles(ax, axis, drawn.slices, drawn.titles))
        return drawn.tree

    def plot_colors(
        self, xind: Sequence[int] | np.ndarray, yind: Sequence[int] | np.ndarray, **kws: Any
    ) -> None:
        """Draw the colours and the annotations beside rows and columns, in leaf order.

        Parameters
        ----------
        xind, yind
            Leaf orders of the columns and of the rows.
        **kws
            Heatmap keywords; those of colours, limits and ticks do not apply to strips.
        """
        options = HeatmapOptions.from_keywords(kws)
        for axis, ax, colors, order, labels in (
            (ROWS, self.ax_row_colors, self.row_colors, yind, self.row_color_labels),
            (COLUMNS, self.ax_col_colors, self.col_colors, xind, self.col_color_labels),
        ):
            if ax is None or colors is None:
                continue
            strips = Strips(
                axis=axis, colors=colors, order=np.asarray(order), slices=self._slices[axis]
            )
            image = strips.draw(ax, options, self._dpi)
            if image is not None:
                self._keep(image)
            strips.write_labels(ax, labels or [])
        for axis, axes, order in (
            (ROWS, self.ax_row_annotations, yind),
            (COLUMNS, self.ax_col_annotations, xind),
        ):
            slices = self._slices[axis]
            self._keep(*self._panels.draw(axis, axes, np.asarray(order), slices, self._dpi))

    def plot_matrix(
        self,
        colorbar_kws: Mapping[str, Any] | None,
        xind: Sequence[int] | np.ndarray,
        yind: Sequence[int] | np.ndarray,
        **kws: Any,
    ) -> None:
        """Draw the body and its colour bar, and lay the figure out.

        Parameters
        ----------
        colorbar_kws
            For `matplotlib.figure.Figure.colorbar`.
        xind, yind
            Leaf orders of the columns and of the rows.
        **kws
            Heatmap keywords.
        """
        options = HeatmapOptions.from_keywords(kws)
        orders = np.asarray(yind), np.asarray(xind)
        annotations = self._annotations(options, orders)
        self._orders = orders
        self._cached.clear()
        set_cell_limits(self.ax_heatmap, self._slices)
        self._keep(*self._labels.write(self.ax_heatmap, options, orders, self._slices))
        self.tight_layout()
        self._panels.hang_legends(self)
        self._labels.warn_of_hidden()
        # Only now is it known how many pixels the body has.
        mappable = self._draw_body(options, orders, annotations)
        bar_kws = dict(colorbar_kws or {})
        if options.cbar is False:
            if self.ax_cbar is not None:
                self.ax_cbar.set_visible(False)
        elif options.cbar or self.ax_cbar is not None:
            is_raster = self._is_raster(options)
            draw_color_bar(self.ax_heatmap, self.ax_cbar, mappable, bar_kws, is_raster)
            if self.ax_cbar is None or "extend" in bar_kws or mappable.cmap.colorbar_extend:
                self.tight_layout()  # pointed ends reach out of the bar's axes

    def _annotations(
        self, options: HeatmapOptions, orders: tuple[np.ndarray, np.ndarray]
    ) -> np.ndarray | None:
        """Return what to write into the cells, in leaf order; None for the values or nothing."""
        if not options.has_annotations or options.annot is True:
            return None
        values = annotation_values(options.annot, self._matrix.shape)
        rows, columns = orders
        in_order: np.ndarray = values[rows][:, columns]
        return in_order

    def _is_raster(self, options: HeatmapOptions) -> bool:
        """Whether files of vectors hold a picture of the body: viewers are slow at many cells."""
        n_rows, n_columns = self._matrix.shape
        return bool(options.artist.get("rasterized", n_rows * n_columns > MOST_VECTOR_CELLS))

    def _draw_body(
        self,
        options: HeatmapOptions,
        orders: tuple[np.ndarray, np.ndarray],
        annotations: np.ndarray | None,
    ) -> ScalarMappable:
        """Draw the cells one by one if that can be seen or was asked for, else as an image."""
        ax, matrix = self.ax_heatmap, self._matrix
        scale = color_scale(options, lambda: matrix.limits(options.robust))
        n_cells = matrix.shape[0] * matrix.shape[1]
        if n_cells <= MESH_CELLS and (
            options.asks_for_mesh or fits_pixels(ax, self._slices, self._dpi)
        ):
            cells = matrix.cells(*orders)
            mesh = draw_mesh(ax, cells, scale, options.mesh_keywords(), self._slices)
            mesh.set_rasterized(self._is_raster(options))
            if options.has_annotations:
                shown = cells if annotations is None else annotations
                annotate(ax, mesh, shown, options, self._slices)
            return mesh
        options.warn_ignored(n_cells)
        image = FittedImage(
            ax,
            self._slices,
            lambda edges: matrix.pixels(*orders, edges, options.aggregate),
            dpi=self._dpi,
            scale=scale,
            limits=lambda: matrix.limits(robust=False),
            kws=options.image_keywords(),
        )
        self._keep(image)
        return image.artist
