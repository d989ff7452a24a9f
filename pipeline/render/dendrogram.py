"""Driver: one tree beside the picture, with seaborn's attributes, without recursion or copies."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from clustergrid.pipeline.render.forest import Parents
from clustergrid.pipeline.render.height_axis import scale_keywords, show_heights
from clustergrid.pipeline.render.slices import Slices
from clustergrid.pipeline.render.tables import index_label, index_tick_labels
from clustergrid.pipeline.render.ticks import hide_spines, write_tick_labels
from clustergrid.pipeline.render.tree_style import (
    TreeStyle,
    drawn_heights,
    height_limits,
    own_color,
)
from clustergrid.pipeline.tree.orders import (
    dendrogram_coordinates,
    leaf_order,
    link_clusters,
)
from clustergrid.pipeline.tree.validity import check_linkage

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.collections import LineCollection

__all__ = ["LEAF_SPACING", "DendrogramPlotter"]

LEAF_SPACING = 10
"""Width of a leaf in SciPy's dendrogram coordinates; leaves lie at 5, 15, 25, ..."""
MOST_LINKS = 10_000
"""Links up to which every one is drawn; of more, what can be seen."""
DIVIDER: dict[str, Any] = {"linewidth": 0.8, "linestyle": (0, (4, 3))}
"""Line between trees of slices and the tree over them."""
LINE_WIDTH = 0.5
LINE_COLOR = (0.2, 0.2, 0.2)
SCIPY_COLOR = "C0"
"""What SciPy's dendrogram gives every link when no threshold separates colours."""


class DendrogramPlotter:
    """A tree over the rows or the columns of a matrix, and how it is drawn.

    Parameters
    ----------
    data
        The normalized matrix in the data's order, rows first whatever the axis.
    axis
        0: the tree of the rows; 1: of the columns.
    compute_linkage
        Makes the linkage matrix when it is needed.
    linkage : (n - 1, 4) float64
        A linkage made before, used as it is; checked to be a tree over the axis.
    metric, method
        What the tree is of; kept as attributes.
    label
        Write the labels of the leaves at the axis.
    rotate
        Lay the tree on its side, root to the left.
    style
        Colours of clusters, and the scale of the heights.
    parents
        How many of the last merges are of whole slices that were clustered one by one, and whether
        these merges are drawn.
    """

    def __init__(
        self,
        data: pd.DataFrame | xr.DataArray,
        *,
        axis: int,
        compute_linkage: Callable[[], np.ndarray],
        linkage: object = None,
        metric: str | Callable[..., float] = "euclidean",
        method: str = "average",
        label: bool = False,
        rotate: bool = False,
        style: TreeStyle | None = None,
        parents: Parents | None = None,
    ) -> None:
        self._source = data
        self._style = style or TreeStyle()
        self._parents = parents or Parents()
        self._compute_linkage = compute_linkage
        self.axis = axis
        self.metric = metric
        self.method = method
        self.label = label
        self.rotate = rotate
        if linkage is None:
            self.linkage = self.calculated_linkage
        else:
            name = "col_linkage" if axis else "row_linkage"
            self.linkage = check_linkage(linkage, self.shape[0], name)  # type: ignore[arg-type]
        self.slices = Slices.whole(self.shape[0])
        self._own_color: Any = SCIPY_COLOR
        self._set_ticks()

    def _set_ticks(self) -> None:
        """Place the ticks at the leaves, or nowhere without `label`."""
        self.xticks: Any = []
        self.yticks: Any = []
        self.xticklabels: list[Any] = []
        self.yticklabels: list[Any] = []
        self.xlabel: Hashable = ""
        self.ylabel: Hashable = ""
        if not self.label:
            return
        index = self._leaf_index()
        ticks = self._leaf_positions
        labels = list(index_tick_labels(index[self.leaf_order]))
        if self.rotate:
            self.yticks, self.yticklabels, self.ylabel = ticks, labels, index_label(index)
        else:
            self.xticks, self.xticklabels, self.xlabel = ticks, labels, index_label(index)

    def set_slices(self, slices: Slices) -> None:
        """Let the leaves stand in slices, with gaps between them; before the tree is drawn."""
        self.slices = slices
        self._set_ticks()

    def _leaf_index(self) -> pd.Index:
        if isinstance(self._source, pd.DataFrame):
            return self._source.columns if self.axis else self._source.index
        return self._source.get_index(self._source.dims[self.axis])

    @property
    def data(self) -> pd.DataFrame | xr.DataArray:
        """The matrix whose rows are the leaves; a lazy matrix stays lazy."""
        return self._source.T if self.axis else self._source

    @property
    def array(self) -> Any:
        """`data` without labels: a NumPy array, or a lazy one."""
        data = self.data
        return data.to_numpy() if isinstance(data, pd.DataFrame) else data.data

    @property
    def shape(self) -> tuple[int, int]:
        """Number of leaves, and number of values each was compared by."""
        rows, columns = self._source.shape
        return (columns, rows) if self.axis else (rows, columns)

    @property
    def calculated_linkage(self) -> np.ndarray:
        """The linkage matrix by `method` and `metric`, whatever linkage is drawn."""
        return self._compute_linkage()

    @cached_property
    def leaf_order(self) -> np.ndarray:
        """`reordered_ind` as an array, int64."""
        return leaf_order(self.linkage)

    @cached_property
    def _coordinates(self) -> tuple[np.ndarray, np.ndarray]:
        return dendrogram_coordinates(self.linkage)

    @cached_property
    def reordered_ind(self) -> list[int]:
        """Positions of the rows (or columns) of the data, in leaf order."""
        leaves: list[int] = self.leaf_order.tolist()
        return leaves

    @property
    def independent_coord(self) -> np.ndarray:
        """``(n - 1, 4)`` positions along the leaves of each link's four corners."""
        return self._coordinates[0]

    @property
    def dependent_coord(self) -> np.ndarray:
        """``(n - 1, 4)`` heights of each link's four corners."""
        return self._coordinates[1]

    @cached_property
    def dendrogram(self) -> dict[str, list[Any]]:
        """What scipy.cluster.hierarchy.dendrogram returns; made when it is first looked at."""
        return self.calculate_dendrogram()

    def calculate_dendrogram(self) -> dict[str, list[Any]]:
        """Make SciPy's dictionary of the tree, without SciPy's recursion."""
        leaves = list(self.reordered_ind)
        colors: list[Any] = [SCIPY_COLOR] * (len(leaves) - 1)
        if self._clusters is not None:
            colors = self._style.colors(self._clusters, self._own_color)
        return {
            "icoord": self.independent_coord.tolist(),
            "dcoord": self.dependent_coord.tolist(),
            "ivl": [str(leaf) for leaf in leaves],
            "leaves": leaves,
            "color_list": colors,
            "leaves_color_list": self._leaf_colors(colors),
        }

    def _leaf_colors(self, colors: list[Any]) -> list[Any]:
        """Colours of the links that leaves hang on, found as SciPy finds them."""
        along, height = self.independent_coord.ravel(), self.dependent_coord.ravel()
        is_leaf = (height == 0) & (along % LEAF_SPACING == LEAF_SPACING / 2)
        link = np.zeros(self.shape[0], dtype=np.int64)
        # Of two links the later one counts, where a merge of height 0 stands like a leaf.
        link[(along[is_leaf] // LEAF_SPACING).astype(np.int64)] = np.flatnonzero(is_leaf) // 4
        return [colors[i] for i in link] if colors else [SCIPY_COLOR] * len(link)

    @cached_property
    def _clusters(self) -> np.ndarray | None:
        """``(n - 1,)`` cluster of each link; None where they have no colours."""
        if not self._style.has_clusters:
            return None
        return link_clusters(self.linkage, self._style.above(self.linkage))

    @property
    def _leaf_positions(self) -> np.ndarray:
        """``(n,)``: where leaves stand, from the first to the last."""
        return LEAF_SPACING * self.slices.position(np.arange(self.shape[0]) + 0.5)

    def _drawn_coordinates(self) -> tuple[np.ndarray, np.ndarray]:
        """Coordinates of the links, with gaps between slices."""
        if self.slices.count == 1:
            return self._coordinates
        return dendrogram_coordinates(self.linkage, self._leaf_positions)

    def plot(self, ax: Axes, tree_kws: Mapping[str, Any] | None) -> DendrogramPlotter:
        """Draw the tree on its axes, as one collection of lines.

        Parameters
        ----------
        ax
            Where to draw.
        tree_kws
            Keywords of matplotlib's LineCollection.
        """
        kws = dict(tree_kws or {})
        kws.setdefault("linewidths", LINE_WIDTH)
        kws.setdefault("colors", kws.pop("color", LINE_COLOR))
        self._own_color = own_color(kws["colors"], LINE_COLOR)
        along, across = self._drawn_coordinates()
        shown = self._parents.shown(self.linkage)
        if self._clusters is not None:
            kws["colors"] = self._style.colors(self._clusters[shown], self._own_color)
        along, across = along[shown], across[shown]
        low, high = height_limits(across, self._style.scale)
        across = drawn_heights(across, self._style.scale)
        on_its_side = self.rotate and self.axis == 0
        x, y = (across, along) if on_its_side else (along, across)
        self._set_limits(ax, (low, high))
        # The limits are known: matplotlib need not walk through every link to find them.
        ax.add_collection(_lines(ax, np.stack([x, y], axis=-1), on_its_side, kws), autolim=False)
        if self._parents.count and self._parents.are_drawn:
            draw = ax.axvline if on_its_side else ax.axhline
            draw(self._parents.height, **DIVIDER, color=self._own_color)
        hide_spines(ax)
        ax.set(xticks=self.xticks, yticks=self.yticks, xlabel=self.xlabel, ylabel=self.ylabel)
        write_tick_labels(ax, self.xticklabels, self.yticklabels)
        if self._style.axis:
            show_heights(ax, on_its_side, self._style.scale)
        return self

    def _set_limits(self, ax: Axes, heights: tuple[float, float]) -> None:
        """Let the axes span the leaves and the heights, on their scale."""
        length = self.slices.length * LEAF_SPACING
        low, high = heights
        scale = scale_keywords(self._style.scale)
        if self.rotate:
            ax.set_xscale(**scale)
            ax.yaxis.set_ticks_position("right")
            ax.set(xlim=(high, low), ylim=(length, 0))
        else:
            ax.set_yscale(**scale)
            ax.set(xlim=(0, length), ylim=(low, high))
        first, last = (0.0, low), (length, high)
        on_its_side = self.rotate and self.axis == 0
        ax.dataLim.update_from_data_xy([first[::-1], last[::-1]] if on_its_side else [first, last])


def _lines(ax: Axes, points: np.ndarray, on_its_side: bool, kws: dict[str, Any]) -> LineCollection:
    """Make the artist of the links: all of them, or what can be seen where they are very many."""
    is_uniform = all(np.ndim(value) == 0 for name, value in kws.items() if name != "colors")
    if len(points) <= MOST_LINKS or not is_uniform:
        from matplotlib.collections import LineCollection

        return LineCollection(points, **kws)  # type: ignore[arg-type]
    from clustergrid.pipeline.render.tree_lines import ThinnedLines

    return ThinnedLines(ax, points, leaf_axis=int(on_its_side), **kws)
