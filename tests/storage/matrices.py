"""Matrices to be ingested, and readers that count what is read of them."""

import numpy as np
import xarray

from clustergrid.storage import open_matrix
from clustergrid.storage.readers.lazy import lazy_blocks


def example(shape=(40, 6), dtype="float64", chunks=None):
    values = (np.random.default_rng(0).normal(size=shape) * 50).astype(dtype)
    matrix = xarray.DataArray(
        values,
        dims=("gene", "sample"),
        coords={"gene": [f"g{i}" for i in range(shape[0])], "sample": np.arange(shape[1]) * 3},
        name="counts",
    )
    return open_matrix(
        matrix if chunks is None else matrix.chunk(dict(zip(matrix.dims, chunks, strict=True)))
    )


class Reads:
    """A reader that counts what is read."""

    def __init__(self, values):
        self.values, self.cells = values, 0
        self.shape, self.dtype = values.shape, values.dtype

    def read(self, rows, columns):
        block = self.values[rows, columns]
        self.cells += block.size
        return block


def column_chunks(shape=(6000, 40), columns=2):
    """A matrix that is stored column by column."""
    reader = Reads(np.random.default_rng(0).normal(size=shape))
    identity = {"test": np.random.default_rng().bytes(8).hex()}
    values = lazy_blocks(reader, (shape[0], columns), identity)
    return reader, xarray.DataArray(values, dims=("row", "column"))
