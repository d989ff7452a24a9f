"""Driver: ``DataArray.clustergrid``, the functions of this package as methods of a lazy array."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

if TYPE_CHECKING:
    from clustergrid.pipeline.planning import Plan
    from clustergrid.pipeline.render import ClusterGrid
    from clustergrid.storage.condensed import CondensedDistances

__all__ = ["ClustergridAccessor"]


@xr.register_dataarray_accessor("clustergrid")
class ClustergridAccessor:
    """Clustered heatmaps, trees and distances of a two-dimensional array.

    A lazy array runs on the Dask client that is active, if there is one, and is never read as a
    whole.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> import clustergrid.pipeline
    >>> da = xr.DataArray([[0.0, 0.0], [0.0, 1.0], [4.0, 4.0]], dims=("gene", "sample"))
    >>> da.clustergrid.linkage(dim="gene")[:, 2].round(2).tolist()
    [1.0, 5.33]
    """

    def __init__(self, array: xr.DataArray) -> None:
        self._array = array

    def clustermap(self, **kwargs: Any) -> ClusterGrid:
        """Draw the clustered heatmap; keywords as in `clustergrid.pipeline.clustermap`."""
        from clustergrid.pipeline import clustermap

        return clustermap(self._array, **kwargs)

    def linkage(self, dim: Hashable | None = None, **kwargs: Any) -> np.ndarray:
        """Cluster along a dimension (the first by default); as `clustergrid.pipeline.linkage`."""
        from clustergrid.pipeline import linkage

        return linkage(self._along(dim), **kwargs)

    def pdist(self, dim: Hashable | None = None, **kwargs: Any) -> CondensedDistances:
        """Distances along a dimension (the first by default); as `clustergrid.pipeline.pdist`."""
        from clustergrid.pipeline import pdist

        return pdist(self._along(dim), **kwargs)

    def plan(self, **kwargs: Any) -> Plan:
        """Say what `clustermap` would do and cost; as `clustergrid.pipeline.plan`."""
        from clustergrid.pipeline import plan

        return plan(self._array, **kwargs)

    def _along(self, dim: Hashable | None) -> xr.DataArray:
        if dim is None:
            return self._array
        if dim not in self._array.dims:
            raise ValueError(f"no dimension {dim!r}; the array has {self._array.dims}")
        return self._array.transpose(dim, ...)
