"""Bytes at rest: how a matrix comes in, where it lies, and how pieces of it are found again.

::

    a file, a URL,        open_matrix          ingest              a Zarr array in whole chunks,
    a table, an array  ───────────────▶ lazy ─────────────▶ each with a checksum: the run's matrix
                       matrix.py      labelled  ingest.py            arrays.py, source.py
                       readers/       xarray

`open_matrix` turns whatever the user has into one thing, a labelled two-dimensional
`xarray.DataArray`: NumPy-backed where the values were in memory, Dask-backed where a block can be
read from its file when it is needed. Formats that can only be read from the beginning to the end
are written once to Zarr. `ingest` stores any such matrix in chunks that the later stages read well.

`open_condensed` opens distances that were put at rest: packed tiles of the upper triangle, whose
square is given lazily (``condensed.py`` and its neighbours).

Everything in this folder is about bytes: it knows Zarr, fsspec and file formats, and nothing of
clustering. ``grid.py`` is its arithmetic; ``arrays.py`` has the one write that every stored block
goes through. Heavy libraries are imported where they are used, never here.
"""

from clustergrid.storage.condensed import open_condensed
from clustergrid.storage.matrix import open_matrix

__all__ = ["open_condensed", "open_matrix"]
