"""Driver: one tree beside the picture, with seaborn's attributes, without recursion or copies."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from clustergrid.pipeline.render.tables import index_label, index_tick_labels
from clustergrid.pipeline.render.ticks import hide_spines, write_tick_labels
from clustergrid.pipeline.tree.orders import dendrogram_coordinates, leaf_order
from clustergrid.pipeline.tree.validity import check_linkage

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

__all__ = ["DendrogramPlotter"]

LEAF_SPACING = 10
"""Width of a leaf in SciPy's dendrogram coordinates; leaves lie at 5, 15, 25, ..."""
HEADROOM = 1.05
"""Length of the height axis over the greatest height, as in SciPy's own plot."""
MOST_VECTOR_LINKS = 20_000
"""Links beyond which a PDF or SVG gets a picture of the tree: as lines, no viewer could open it."""
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
    ) -> None:
        self._source = data
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
        ticks = LEAF_SPACING * np.arange(len(index)) + LEAF_SPACING // 2
        labels = list(index_tick_labels(index[self.leaf_order]))
        if self.rotate:
            self.yticks, self.yticklabels, self.ylabel = ticks, labels, index_label(index)
        else:
            self.xticks, self.xticklabels, self.xlabel = ticks, labels, index_label(index)

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
        return {
            "icoord": self.independent_coord.tolist(),
            "dcoord": self.dependent_coord.tolist(),
            "ivl": [str(leaf) for leaf in leaves],
            "leaves": leaves,
            "color_list": [SCIPY_COLOR] * (len(leaves) - 1),
            "leaves_color_list": [SCIPY_COLOR] * len(leaves),
        }

    def plot(self, ax: Axes, tree_kws: Mapping[str, Any] | None) -> DendrogramPlotter:
        """Draw the tree on its axes, as one collection of lines.

        Parameters
        ----------
        ax
            Where to draw.
        tree_kws
            Keywords of matplotlib's LineCollection.
        """
        from matplotlib.collections import LineCollection

        kws = dict(tree_kws or {})
        kws.setdefault("linewidths", LINE_WIDTH)
        kws.setdefault("colors", kws.pop("color", LINE_COLOR))
        if len(self.linkage) > MOST_VECTOR_LINKS:
            kws.setdefault("rasterized", True)
        across, along = self.dependent_coord, self.independent_coord
        on_its_side = self.rotate and self.axis == 0
        x, y = (across, along) if on_its_side else (along, across)
        lines = LineCollection(np.stack([x, y], axis=-1), **kws)  # type: ignore[arg-type]
        # The limits are known: matplotlib need not walk through every link to find them.
        ax.add_collection(lines, autolim=False)

        length = len(self.leaf_order) * LEAF_SPACING
        # A tree of identical leaves has no height, and an axis needs some.
        height = float(across.max(initial=0.0)) * HEADROOM or 1.0
        if self.rotate:
            ax.yaxis.set_ticks_position("right")
            ax.set(xlim=(height, 0), ylim=(length, 0))
        else:
            ax.set(xlim=(0, length), ylim=(0, height))
        ax.dataLim.update_from_data_xy(
            [(0, 0), (height, length) if on_its_side else (length, height)]
        )
        hide_spines(ax)
        ax.set(xticks=self.xticks, yticks=self.yticks, xlabel=self.xlabel, ylabel=self.ylabel)
        write_tick_labels(ax, self.xticklabels, self.yticklabels)
        return self
