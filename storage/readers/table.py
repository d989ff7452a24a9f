"""Driver: the table of formats, from suffix to reader."""

from __future__ import annotations

from clustergrid.storage.errors import DataValueError
from clustergrid.storage.readers.base import RandomAccess, Stream
from clustergrid.storage.readers.location import Location

__all__ = ["SUFFIXES", "open_location"]

TEXT = (".csv", ".tsv", ".txt", ".cct", ".cbt")
SUFFIXES = (*TEXT, ".parquet", ".pq", ".npy", ".h5ad", ".zarr")
"""What is read; the text formats also with ``.gz``."""


def open_location(location: Location, layer: str | None = None) -> RandomAccess | Stream:
    """Choose the reader and open a file, a directory or a URL.

    Parameters
    ----------
    location
        The input.
    layer
        Layer of an AnnData file, or variable of a Zarr group.

    Raises
    ------
    MissingFileError
        There is no such file.
    DataValueError
        The format is not one that is read, or it has no layers.
    """
    suffix = location.suffix
    if suffix == ".h5ad" and not location.is_compressed:
        from clustergrid.storage.readers.h5ad import open_h5ad

        return open_h5ad(location, layer)
    if suffix == ".zarr" or location.is_directory():
        return _open_directory(location, layer)
    if not location.exists():
        raise location.missing()
    if layer is not None:
        raise DataValueError(f"{location.url} has no layers: layer={layer!r} cannot be read")
    return _open_file(location, suffix)


def _open_directory(location: Location, layer: str | None) -> RandomAccess | Stream:
    """Open a directory, which can only be Zarr."""
    from clustergrid.storage.readers.zarr_store import is_zarr, open_zarr

    if not is_zarr(location):
        if not location.exists():
            raise location.missing()
        raise DataValueError(
            f"{location.url} is a directory without Zarr's metadata (zarr.json, .zarray or .zgroup)"
        )
    return open_zarr(location, layer)


def _open_file(location: Location, suffix: str) -> RandomAccess | Stream:
    """Open a file that holds one matrix."""
    if suffix in TEXT:
        from clustergrid.storage.readers.text import open_text

        return open_text(location)
    if suffix in (".parquet", ".pq") and not location.is_compressed:
        from clustergrid.storage.readers.parquet import open_parquet

        return open_parquet(location)
    if suffix == ".npy" and not location.is_compressed:
        from clustergrid.storage.readers.npy import open_npy

        return open_npy(location)
    if location.is_compressed and suffix in SUFFIXES:
        raise DataValueError(
            f"{location.url}: of compressed files, only text is read: decompress it (gunzip)"
        )
    raise DataValueError(
        f"{location.url}: the format is told from the suffix, and {suffix or 'none'!r} is not one "
        f"of {', '.join(SUFFIXES)} (text also with .gz)"
    )
