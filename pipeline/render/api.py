"""Driver: `clustermap`, seaborn's function for matrices of any size."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from clustergrid.pipeline.render.cluster_grid import ClusterGrid
from clustergrid.pipeline.render.heatmap import refuse_axes
from clustergrid.pipeline.render.layout import Ratio
from clustergrid.pipeline.render.tree_style import TreeStyle

__all__ = ["clustermap"]

DEFAULT_FIGSIZE = (10, 10)


def clustermap(
    data: Any,
    *,
    pivot_kws: dict[str, Any] | None = None,
    method: str = "average",
    metric: str | Callable[..., float] = "euclidean",
    z_score: int | None = None,
    standard_scale: int | None = None,
    figsize: tuple[float, float] | None = DEFAULT_FIGSIZE,
    cbar_kws: Mapping[str, Any] | None = None,
    row_cluster: bool = True,
    col_cluster: bool = True,
    row_linkage: Any = None,
    col_linkage: Any = None,
    row_colors: Any = None,
    col_colors: Any = None,
    mask: Any = None,
    dendrogram_ratio: Ratio = 0.2,
    colors_ratio: Ratio = 0.03,
    cbar_pos: Sequence[float] | None = (0.02, 0.8, 0.05, 0.18),
    tree_kws: Mapping[str, Any] | None = None,
    row_metric: str | Callable[..., float] | None = None,
    row_method: str | None = None,
    col_metric: str | Callable[..., float] | None = None,
    col_method: str | None = None,
    optimal_ordering: bool = False,
    dtype: Any = None,
    memory: Any = None,
    store: Any = None,
    client: Any = None,
    progress: Any = None,
    metric_kws: Mapping[str, Any] | None = None,
    row_metric_kws: Mapping[str, Any] | None = None,
    col_metric_kws: Mapping[str, Any] | None = None,
    engine: str | None = None,
    row_engine: str | None = None,
    col_engine: str | None = None,
    row_annotations: Any = None,
    col_annotations: Any = None,
    annotation_palettes: Mapping[str, Any] | None = None,
    annotation_legend: bool = True,
    row_mark: Any = None,
    col_mark: Any = None,
    figure: Any = None,
    tree_style: TreeStyle | Mapping[str, Any] | None = None,
    row_tree_style: TreeStyle | Mapping[str, Any] | None = None,
    col_tree_style: TreeStyle | Mapping[str, Any] | None = None,
    row_split: Any = None,
    col_split: Any = None,
    split_gap: float | Sequence[float] | None = None,
    cluster_slices: bool | Sequence[bool] = True,
    **kwargs: Any,
) -> ClusterGrid:
    """Draw a matrix as a heatmap with its rows and columns clustered.

    Takes what seaborn's function of the same name takes, and gives an object with the same
    attributes. The matrix may be larger than memory: trees are exact, and the picture is made of
    as many means as it has pixels, in one pass.

    Parameters
    ----------
    data
        A DataFrame, an array, lists, or a matrix of any size: an xarray.DataArray, a Dask or Zarr
        array, a sparse matrix, an AnnData, a path or URL.
    pivot_kws
        ``index``, ``columns`` and ``values``, if `data` is tidy.
    method
        ``"single"``, ``"complete"``, ``"average"``, ``"weighted"``, ``"centroid"``,
        ``"median"`` or ``"ward"``.
    metric
        Any metric of `scipy.spatial.distance.pdist`; ``"spearman"``; ``"nan_euclidean"``,
        ``"nan_correlation"`` or ``"nan_spearman"`` for rows with missing values;
        ``"precomputed"``, where `data` are distances; or a function of two vectors, which is
        called for every pair.
    z_score
        Subtract the mean and divide by the standard deviation of every row (0) or column (1).
    standard_scale
        Subtract the minimum and divide by the range of every row (0) or column (1).
    figsize
        Width and height of the figure in inches.
    cbar_kws
        For the colour bar, e.g. ``{"label": "expression"}``.
    row_cluster, col_cluster
        Whether to cluster the rows, the columns.
    row_linkage, col_linkage : (n - 1, 4) array
        Trees made before, in SciPy's convention; they are checked.
    row_colors, col_colors
        Colours beside the rows, the columns: a list, lists, a Series or a DataFrame. The last
        two are matched with the data by index.
    mask
        True where cells are not shown. An array, a DataFrame or an xarray.DataArray with the
        data's labels. Missing values are not shown anyway.
    dendrogram_ratio, colors_ratio
        Proportions of the figure, one number or a (row, column) pair.
    cbar_pos
        ``(left, bottom, width, height)`` of the colour bar; None for no colour bar.
    tree_kws
        For the lines of the trees, a matplotlib LineCollection.
    row_metric, row_method, col_metric, col_method
        A metric or method for one axis only; `metric` and `method` otherwise.
    optimal_ordering
        Turn the branches so that neighbouring leaves are as near in sum as the tree allows; beyond
        20,000 leaves within parts of the tree, see `linkage`.
    dtype
        Precision of the distances; the data's own by default.
    memory
        What the whole computation may use, e.g. ``"8GB"``.
    store
        Where large intermediate results lie.
    client
        A Dask client to compute on. Without it, lazy data run on the client that is active, if
        there is one, and everything else in threads of this process.
    progress
        Whether, or how, to show progress.
    metric_kws
        Keywords of the metric, as in `pdist`: ``{"p": 3}`` of minkowski, weights ``w``, and so on.
    row_metric_kws, col_metric_kws
        Keywords for one axis only, in place of `metric_kws`. ``w``, ``V`` and ``VI`` are of the
        features: of rows, these are the columns.
    engine
        What trees are made from, as in `clustergrid.pipeline.linkage`; by default what suits the
        method and the size.
    row_engine, col_engine
        An engine for one axis only; `engine` otherwise.
    row_annotations, col_annotations
        What is known of the rows, the columns: a Series, a DataFrame (a strip a column), or titles
        mapped to values, to `Strip`, or to tracks: `Bars`, `Points`, `Boxes`. Categories, booleans,
        numbers and dates become strips with colours and legends of their own. Series and DataFrames
        are matched with the data by index; what has no value is hatched. Where a pixel holds many
        rows, categories show the most frequent (of equally frequent ones the first in the legend),
        numbers, bars and points their mean, and boxes all values.
    annotation_palettes
        Colours by title: of categories a mapping, a list or a colormap; of numbers a colormap.
    annotation_legend
        Whether annotations get legends, to the right of the figure, which grows.
    row_mark, col_mark
        Rows and columns to name in place of tick labels, with lines that lead to them: labels,
        positions (where labels are no integers), or a bool for each.
    figure
        A matplotlib Figure or SubFigure to draw into, in place of a new one; `figsize` is then its
        own, legends take their room from the body, and `savefig` saves the whole page.
    tree_style
        Colours of a tree's clusters and the scale of its heights: a `TreeStyle`, or a dict of what
        it has. ``{"k": 4}`` colours four clusters, ``{"color_threshold": 2.5}`` what merges below a
        height, as SciPy does; ``palette`` and ``above_color`` are the colours; ``scale`` is
        ``"linear"``, ``"log"`` or ``"sqrt"``; ``axis=True`` writes heights beside the tree.
    row_tree_style, col_tree_style
        For one axis only, in place of `tree_style`.
    row_split, col_split
        Split the rows, the columns into slices with gaps between them and titles. A whole number:
        the tree is cut into so many; ``{"height": h}``: it is cut there. Or categories, one for
        each row: a list, or a Series, which is matched by index and must name every row. Then each
        slice is clustered by itself, and the slices by the means of their rows, by the same method
        and metric; their tree stands on the highest of those within slices, above a dashed line,
        and all together are ``dendrogram_row.linkage``. A category of one row is a slice without a
        tree; rows whose category is missing are the last slice, called "missing". Rows that are not
        clustered stay in their order within slices.
    split_gap
        Width of a gap as a fraction of the body, 0.01 unless there are many; one number or a
        (row, column) pair.
    cluster_slices
        Whether there is a tree over slices of categories; else they stand in the order in which
        their categories first come up, or in that of a pandas Categorical. One bool or a
        (row, column) pair.
    **kwargs
        For the heatmap: vmin, vmax, cmap, center, robust, annot, fmt, annot_kws, linewidths,
        linecolor, cbar, xticklabels, yticklabels, and ``aggregate``: what a pixel shows that holds
        several cells, their ``"mean"``, ``"min"``, ``"max"``, ``"median"`` or, with its sign, the
        one of largest magnitude (``"max_abs"``). Others go to the artist of the cells.

    Returns
    -------
    ClusterGrid
        With the figure, its axes, the trees and the reordered matrix.

    Raises
    ------
    DataValueError
        A ValueError, e.g. for NaN in an axis that is clustered, an unknown metric, a mask,
        annotations, colours, linkage or weights of another size than the data.
    DataTypeError
        A TypeError, e.g. for indexed colours of data without an index, for ``ax=``, or for a
        keyword that the metric does not take.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame([[0, 1], [9, 8], [1, 1]], index=["a", "b", "c"])
    >>> g = clustermap(table, figsize=(4, 4))
    >>> list(g.data2d.index)
    ['b', 'a', 'c']
    >>> import matplotlib.pyplot as plt
    >>> plt.close(g.figure)
    """
    refuse_axes(kwargs)
    grid = ClusterGrid(
        data,
        pivot_kws=pivot_kws,
        z_score=z_score,
        standard_scale=standard_scale,
        # What nobody gave is no contradiction of a figure that is there.
        figsize=None if figure is not None and figsize is DEFAULT_FIGSIZE else figsize,
        row_colors=row_colors,
        col_colors=col_colors,
        mask=mask,
        dendrogram_ratio=dendrogram_ratio,
        colors_ratio=colors_ratio,
        cbar_pos=cbar_pos,
        row_annotations=row_annotations,
        col_annotations=col_annotations,
        annotation_palettes=annotation_palettes,
        annotation_legend=annotation_legend,
        row_mark=row_mark,
        col_mark=col_mark,
        figure=figure,
        dtype=dtype,
        memory=memory,
        store=store,
        client=client,
        progress=progress,
    )
    try:
        return grid.plot(
            metric,
            method,
            cbar_kws,
            row_cluster,
            col_cluster,
            row_linkage,
            col_linkage,
            tree_kws,
            row_metric=row_metric,
            row_method=row_method,
            col_metric=col_metric,
            col_method=col_method,
            optimal_ordering=optimal_ordering,
            metric_kws=metric_kws,
            row_metric_kws=row_metric_kws,
            col_metric_kws=col_metric_kws,
            engine=engine,
            row_engine=row_engine,
            col_engine=col_engine,
            tree_style=tree_style,
            row_tree_style=row_tree_style,
            col_tree_style=col_tree_style,
            row_split=row_split,
            col_split=col_split,
            split_gap=split_gap,
            cluster_slices=cluster_slices,
            **kwargs,
        )
    except BaseException:
        # Half a picture would be shown by the next plt.show(), and kept in memory.
        grid.discard()
        raise
