"""Driver: what a cluster map found, as tables: clusters, orders, trees, and how they were made."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from clustergrid.pipeline.render.axis_trees import DrawnAxis
from clustergrid.pipeline.render.dendrogram import DendrogramPlotter
from clustergrid.pipeline.render.matrix import DrawnMatrix, Metric, TableMatrix
from clustergrid.pipeline.render.slices import Slices
from clustergrid.pipeline.spec import RunSpec
from clustergrid.pipeline.tree.cuts import cut
from clustergrid.storage.errors import DataValueError

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["ClusterSummary"]

LINKAGE_COLUMNS = ("left", "right", "height", "size")
_AXES = (("row", "rows"), ("column", "columns"))


class ClusterSummary:
    """What can be asked of a grid after it is plotted."""

    _matrix: DrawnMatrix
    dendrogram_row: DendrogramPlotter | None
    dendrogram_col: DendrogramPlotter | None
    _specs: RunSpec
    _drawn_axes: dict[int, DrawnAxis]
    _orders: tuple[np.ndarray, np.ndarray] | None

    if TYPE_CHECKING:

        @property
        def _slices(self) -> tuple[Slices, Slices]: ...

    def clusters(
        self, axis: int = 0, *, k: int | None = None, height: float | None = None
    ) -> pd.Series:
        """Cut the tree of the rows or of the columns into clusters.

        Parameters
        ----------
        axis
            0: rows, 1: columns.
        k
            Number of clusters: there are exactly so many, whatever the ties.
        height
            The greatest height of a merge inside a cluster. Give `k` or this.

        Returns
        -------
        pandas.Series
            ``(n,) int64``, called ``cluster``: the number of the cluster of each row, in the order
            and with the labels of the data. They count 1, 2, ... along the picture, from the top
            or the left.

        Raises
        ------
        DataValueError
            A ValueError: the axis was not clustered or there is no such axis; not one of `k` and
            `height` is given, or it is out of its range.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from clustergrid.pipeline import clustermap
        >>> table = pd.DataFrame([[0, 1], [9, 8], [1, 1]], index=["a", "b", "c"])
        >>> g = clustermap(table, figsize=(4, 4))
        >>> g.clusters(k=2).to_dict()
        {'a': 2, 'b': 1, 'c': 2}
        >>> plt.close(g.figure)
        """
        if axis not in (0, 1):
            raise DataValueError(f"axis must be 0 (rows) or 1 (columns), got {axis!r}")
        tree = (self.dendrogram_row, self.dendrogram_col)[axis]
        if tree is None:
            raise DataValueError(f"the {_AXES[axis][1]} are not clustered: there is no tree to cut")
        numbers = cut(tree.linkage, k=k, height=height)
        return pd.Series(numbers, index=self._matrix.index(axis), name="cluster")

    def to_dataset(
        self,
        *,
        row_k: int | None = None,
        row_height: float | None = None,
        col_k: int | None = None,
        col_height: float | None = None,
    ) -> xr.Dataset:
        """Gather orders, trees, labels and clusters, and how they were made.

        Parameters
        ----------
        row_k, row_height, col_k, col_height
            Where the trees are cut, as in `clusters`; without, there are no clusters.

        Returns
        -------
        xarray.Dataset
            Of ``row`` and ``column``, with their labels as coordinates: ``row_order`` (n,) int64,
            the position in the data of each row of the picture; and where there are any
            ``row_slice`` (n,) int64, the slice of each row of the picture, ``row_slice_title``,
            the titles of slices by their numbers, ``row_linkage`` (n - 1, 4) float64, as SciPy has
            it, and ``row_cluster`` (n,) int64, of the data's rows. The same of columns. Its
            attributes say by what version, method, metric, engine and normalization, and whether
            leaves are ordered optimally. Dates of a time zone are those of UTC. It can be written
            to netCDF and Zarr.

        Raises
        ------
        DataValueError
            A ValueError: as in `clusters`; or nothing is plotted yet.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from clustergrid.pipeline import clustermap
        >>> g = clustermap([[0, 1], [9, 8], [1, 1]], figsize=(4, 4))
        >>> found = g.to_dataset(row_k=2)
        >>> found["row_order"].values, found["row_cluster"].values, found.attrs["row_metric"]
        (array([1, 0, 2]), array([2, 1, 2]), 'euclidean')
        >>> plt.close(g.figure)
        """
        import xarray as xr

        if self._orders is None:
            raise DataValueError("the grid is not plotted yet: call plot() first")
        cuts = (row_k, row_height), (col_k, col_height)
        found = xr.Dataset(attrs={"clustergrid_version": _version(), **self._normalization()})
        for axis, (name, _) in enumerate(_AXES):
            found = found.assign_coords({name: _labels(self._matrix.index(axis), name)})
            tree = (self.dendrogram_row, self.dendrogram_col)[axis]
            found[f"{name}_order"] = (f"{name}_place", self._orders[axis])
            slices = self._slices[axis]
            if slices.count > 1:
                numbers = np.arange(1, slices.count + 1)
                found[f"{name}_slice"] = (f"{name}_place", np.repeat(numbers, slices.lengths))
                titles = np.array(self._drawn_axes[axis].titles, dtype=str)
                found[f"{name}_slice_title"] = (f"{name}_slice_number", titles)
                found = found.assign_coords({f"{name}_slice_number": numbers})
            k, height = cuts[axis]
            if k is not None or height is not None:
                numbers = self.clusters(axis, k=k, height=height).to_numpy()
                found[f"{name}_cluster"] = (name, numbers)
            if tree is not None:
                found[f"{name}_linkage"] = ((f"{name}_merge", "linkage_column"), tree.linkage)
                found = found.assign_coords(linkage_column=list(LINKAGE_COLUMNS))
                found.attrs |= {f"{name}_{what}": text for what, text in self._made(axis)}
        return found

    def _made(self, axis: int) -> list[tuple[str, str]]:
        """How a tree was made; of one that was given nothing else is known."""
        spec = self._specs.axis(axis)
        made = [("engine", self._drawn_axes[axis].made_from)]
        if not spec.is_computed:
            return made
        made += [
            ("method", spec.method),
            ("metric", _called(spec.metric)),
            ("distance_dtype", self._matrix.stages.dtype),
            ("optimal_ordering", "yes" if spec.optimal_ordering else "no"),
        ]
        if spec.metric_kws.given:
            made.append(("metric_kws", json.dumps(spec.metric_kws.to_json(), sort_keys=True)))
        return made

    def _normalization(self) -> dict[str, str]:
        matrix = self._matrix
        steps = matrix.steps if isinstance(matrix, TableMatrix) else matrix.stages.steps
        done = [f"{name} of {_AXES[axis][1]}" for name, axis in steps.items() if axis is not None]
        return {"normalization": ", ".join(done) or "none"}


def _called(metric: Metric) -> str:
    """Name of a metric, or of the function that it is."""
    if isinstance(metric, str):
        return metric
    function = metric.func if isinstance(metric, partial) else metric
    name = getattr(function, "__qualname__", type(function).__qualname__)
    return f"partial of {name}" if isinstance(metric, partial) else str(name)


def _version() -> str:
    from importlib.metadata import version

    return version("clustergrid")


def _labels(index: pd.Index, dim: str) -> xr.Variable:
    """Labels as files hold them: numbers, dates and text are kept, all else becomes text."""
    import xarray as xr

    name = "-".join(str(name) for name in index.names if name is not None)
    about = {"name": name} if name else {}
    if isinstance(index.dtype, pd.DatetimeTZDtype):
        about["timezone"] = str(index.dtype.tz)
        index = pd.DatetimeIndex(index).tz_convert(None)
    if isinstance(index, pd.MultiIndex):
        values = np.array(["-".join(map(str, entry)) for entry in index])
    elif pd.api.types.is_numeric_dtype(index.dtype) or index.dtype.kind == "M":
        values = index.to_numpy()
    else:
        values = np.array([str(label) for label in index])
    return xr.Variable(dim, values, attrs=about)
