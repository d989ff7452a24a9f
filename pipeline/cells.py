"""Driver: the cells that a picture shows: normalized values, without the masked ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clustergrid.pipeline.normalize import Normalization
from clustergrid.storage.source import MatrixSource

__all__ = ["Cells"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cells:
    """The cells to show: normalized values, without the masked ones."""

    source: MatrixSource
    normalization: Normalization
    mask: MatrixSource | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.source.shape

    @property
    def row_bytes(self) -> int:
        """Of a row of the matrix, as it is stored."""
        return self.shape[1] * self.source.dtype.itemsize

    @property
    def are_single(self) -> bool:
        """Whether single precision holds every value that is shown."""
        return self.source.dtype == np.float32 and self.normalization.axis is None

    def values(self, rows: slice, columns: slice) -> np.ndarray:
        """Return a block in float64, NaN where masked."""
        block = self.source.read(rows, columns)
        values = self.normalization.apply(block, rows, columns)
        if self.mask is None:
            return values
        return np.where(self.mask.read(rows, columns), np.nan, values)

    def everything(self) -> np.ndarray:
        """Return all values in float64, of a matrix that is small."""
        return self.values(slice(0, self.shape[0]), slice(0, self.shape[1]))
