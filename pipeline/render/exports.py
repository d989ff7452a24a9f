"""Driver: what a picture leaves besides itself: the matrix in its order."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clustergrid.storage.errors import DataValueError

if TYPE_CHECKING:
    from clustergrid.pipeline.render.matrix import DrawnMatrix

__all__ = ["MatrixExport"]


class MatrixExport:
    """Writes the matrix of a picture."""

    _matrix: DrawnMatrix
    _orders: tuple[np.ndarray, np.ndarray] | None

    def to_zarr(self, path: str | os.PathLike[str], *, pyramid: bool = True) -> Path:
        """Write the normalized matrix in clustered order to a Zarr store, out of core.

        Parameters
        ----------
        path
            Of the store, which must not be there yet, on a local or shared file system. A call that
            was killed goes on when it is made again.
        pyramid
            Whether to add levels of lower resolution: mean, minimum, maximum and count, as
            `clustergrid.storage.pyramid.open_level` opens them.

        Returns
        -------
        pathlib.Path
            The store: ``xarray.open_zarr(path)["matrix"]`` has the labels in the new order.

        Raises
        ------
        DataValueError
            A ValueError: nothing is plotted yet, so there is no order.
        StorageError
            An OSError: there is something under that name, or it cannot be written.
        MemoryLimitError
            A chunk does not fit the memory.

        Examples
        --------
        >>> import tempfile, xarray as xr, matplotlib.pyplot as plt, pandas as pd
        >>> from clustergrid.pipeline import clustermap
        >>> table = pd.DataFrame([[0, 1], [9, 8], [1, 1]], index=["a", "b", "c"])
        >>> g = clustermap(table, figsize=(4, 4))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     store = g.to_zarr(f"{folder}/clustered.zarr")
        ...     xr.open_zarr(store, consolidated=False)["matrix"].values.tolist()
        [[9, 8], [0, 1], [1, 1]]
        >>> plt.close(g.figure)
        """
        if self._orders is None:
            raise DataValueError("nothing is plotted yet, so there is no order: call plot() first")
        stages: Any = self._matrix.stages
        written: Path = stages.write_reordered(path, *self._orders, pyramid=pyramid)
        return written
