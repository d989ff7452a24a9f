"""Driver: whether what a Zarr array's metadata say can be, and what of it is stored.

A chunk that is not stored reads as the fill value, without a word. In an array of somebody else
that may be meant: zarr-python leaves out chunks that hold nothing else. It may also be a copy that
was cut short. So it is said; and where not one chunk is stored, which is legal but nothing to
cluster, a run refuses it.
"""

from __future__ import annotations

import re
import warnings
from math import prod
from typing import Any

from clustergrid.storage.codecs import refuse_pickles
from clustergrid.storage.errors import DataValueError, IntegrityError
from clustergrid.storage.object_path import ObjectPath
from clustergrid.storage.places import StorePath, as_path, files_below
from clustergrid.storage.readers.frame import check_number_dtype
from clustergrid.storage.readers.location import Location

__all__ = ["MOST_LABELS", "check_array", "check_stored"]

_CHUNK = re.compile(r"(c[/.])?\d+([/.]\d+)*")
_MOST_CHUNK_BYTES = 2**34
"""A block cannot be less than a chunk, and a run has several of them in memory."""
MOST_LABELS = 10**9
"""Rows, or columns: distances of so many take four exabytes."""


def check_array(array: Any, what: str) -> None:
    """Refuse an array that is no matrix of numbers, or cannot be read in bounded memory.

    Raises
    ------
    DataTypeError, DataValueError
        It is one.
    """
    refuse_pickles(array, what)
    check_number_dtype(array.dtype, what)
    if array.ndim != 2:
        raise DataValueError(f"{what} has shape {array.shape}: a matrix has two dimensions")
    if max(array.shape) > MOST_LABELS:
        raise DataValueError(
            f"{what} claims {array.shape[0]:,} rows and {array.shape[1]:,} columns; up to "
            f"{MOST_LABELS:,} of each are read. Are its metadata damaged?"
        )
    chunk_bytes = prod(array.chunks) * array.dtype.itemsize
    if chunk_bytes > _MOST_CHUNK_BYTES:
        raise DataValueError(
            f"{what} has chunks of {' x '.join(f'{edge:,}' for edge in array.chunks)}, "
            f"{chunk_bytes:,} bytes each; up to {_MOST_CHUNK_BYTES:,} are read. Rechunk it, for "
            "instance to 512 rows."
        )


def check_stored(location: Location, path: str, array: Any, what: str, *, whole: bool) -> bool:
    """Say which part of a local array is not stored.

    Parameters
    ----------
    location, path
        The store, and the array's place in it. URLs are not looked at: listing them takes long.
    array
        The array.
    what
        What errors call it.
    whole
        Whether it was written by us, every chunk of it.

    Returns
    -------
    bool
        Whether nothing was ever written to it.

    Raises
    ------
    IntegrityError
        A chunk is missing that was there.

    Warns
    -----
    UserWarning
        Some chunks are not stored.
    """
    is_listed = location.is_local or location.objects is not None
    if not is_listed or not prod(array.shape):
        return False
    unit = array.shards or array.chunks
    total = prod(-(-n // step) for n, step in zip(array.shape, unit, strict=True))
    found = _count_chunks(as_path(location.url) / path, what, ends_in_blosc=_ends_in_blosc(array))
    if found >= total:
        return False
    missing = f"{total - found:,} of the {total:,} chunks of {what} are not stored"
    if whole:
        raise IntegrityError(f"{missing}, and they were: run what wrote it again, or delete it")
    if not found:
        return True
    warnings.warn(
        f"{missing}, and read as its fill value, {array.fill_value}. If it is a copy, see whether "
        "it is complete.",
        stacklevel=2,
    )
    return False


def _count_chunks(folder: StorePath, what: str, *, ends_in_blosc: bool) -> int:
    """Count the files of chunks, without going through all chunks that there could be.

    zarr reads an empty shard as if it were missing, and the Blosc library reads beyond the end of
    a chunk that was cut short: both would give values, and no error. Objects appear whole: they
    are listed, and none is opened.
    """
    count = 0
    for name, stored in files_below(folder):
        if not _CHUNK.fullmatch(name):
            continue
        count += 1
        looks = ends_in_blosc and not isinstance(folder, ObjectPath)
        said = _blosc_bytes(folder / name) if looks else None
        if not stored or (said is not None and said != stored):
            raise IntegrityError(
                f"{what} is damaged: its chunk {name} has {stored:,} bytes"
                + ("" if said is None else f", of {said:,}")
            )
    return count


def _ends_in_blosc(array: Any) -> bool:
    """Whether the bytes of a chunk are those that Blosc wrote."""
    metadata = array.metadata
    last = metadata.compressor if metadata.zarr_format == 2 else metadata.codecs[-1]
    return getattr(last, "codec_id", type(last).__name__.lower()) in ("blosc", "blosccodec")


def _blosc_bytes(file: StorePath) -> int:
    """Length of a compressed chunk, as its header says: 4 bytes at 12."""
    with file.open("rb") as opened:
        return int.from_bytes(opened.read(16)[12:], "little")
