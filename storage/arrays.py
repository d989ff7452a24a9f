"""Driver: create and open Zarr arrays, and the one write that every block goes through.

zarr and dask write a block that covers part of a chunk or shard by reading, changing and writing
the whole of it. Two such writers at once lose one another's rows without an error (dask#12583,
zarr-python#3682). So every write of ours covers whole chunks, and `write_block` refuses others.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from clustergrid.storage.codecs import refuse_pickles
from clustergrid.storage.errors import StorageError
from clustergrid.storage.grid import is_aligned
from clustergrid.storage.places import AnyPlace, zarr_store

if TYPE_CHECKING:
    import zarr

__all__ = [
    "create_array",
    "is_stored",
    "open_array",
    "remove_array",
    "write_array",
    "write_block",
]

_WRITTEN_WHOLE: Any = {"write_empty_chunks": True}
"""A chunk of zeros is written too, so that a missing chunk is one that was lost."""


def create_array(
    store: AnyPlace,
    path: str,
    *,
    shape: tuple[int, ...],
    dtype: np.dtype[Any] | str,
    chunks: tuple[int, ...],
    compressed: bool = True,
    dimension_names: tuple[str, ...] | None = None,
    attributes: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    fill_value: Any = 0,
) -> zarr.Array[Any]:
    """Create a Zarr v3 array whose every chunk carries a checksum.

    Parameters
    ----------
    store
        Directory or URL of the Zarr group.
    path
        Name of the array in the group.
    shape, dtype, chunks
        As in Zarr. Blocks are later written in multiples of `chunks`.
    compressed
        Zstandard (level 1) before the checksum. Distances barely compress: leave them raw.
    dimension_names, attributes
        As in Zarr; xarray reads the dimension names.
    overwrite
        Replace an array that is there.
    fill_value
        What parts that were never written read as; arrays of text want ``""``.

    Raises
    ------
    StorageError
        The location cannot be written.
    """
    import zarr
    from zarr.codecs import Crc32cCodec, ZstdCodec

    codecs: list[Any] = [ZstdCodec(level=1)] if compressed else []
    try:
        return zarr.create_array(
            zarr_store(store),
            name=path,
            shape=shape,
            dtype=dtype,
            chunks=tuple(max(1, chunk) for chunk in chunks),
            compressors=[*codecs, Crc32cCodec()],
            dimension_names=dimension_names,
            attributes=dict(attributes) if attributes else None,
            fill_value=fill_value,
            overwrite=overwrite,
            zarr_format=3,
            config=_WRITTEN_WHOLE,
        )
    except (OSError, ValueError) as error:
        raise StorageError(f"cannot create the array {path!r} in {store}: {error}") from error


def open_array(store: AnyPlace, path: str, *, mode: str = "r") -> zarr.Array[Any]:
    """Open an array that `create_array` made.

    Raises
    ------
    StorageError
        There is no such array.
    """
    import zarr

    try:
        array = zarr.open_array(zarr_store(store), path=path, mode=mode)
        refuse_pickles(array, f"the array {path!r} in {store}")
        return array if mode == "r" else array.with_config(_WRITTEN_WHOLE)
    except (OSError, KeyError, ValueError) as error:
        raise StorageError(f"no readable array {path!r} in {store}: {error}") from error


def is_stored(array: zarr.Array[Any], chunk: tuple[int, ...]) -> bool:
    """Whether a chunk is there; one that is not reads as the fill value, without a word."""
    from zarr.core.sync import sync

    key = array.metadata.encode_chunk_key(chunk)
    return sync((array.store_path / key).exists())


def write_block(array: zarr.Array[Any], origin: tuple[int, ...], block: np.ndarray) -> None:
    """Write a block of whole chunks.

    Parameters
    ----------
    array
        Where to write. Sharded arrays are written in whole shards.
    origin
        Index of the block's first element along each axis.
    block
        The values; its end is on a chunk's end or on the array's.

    Raises
    ------
    ValueError
        The block would cover a part of a chunk: two such writers would lose data.
    StorageError
        The store refused the bytes, for instance because the disk is full.
    """
    unit = array.shards or array.chunks
    region = tuple(slice(o, o + size) for o, size in zip(origin, block.shape, strict=True))
    for axis, (part, chunk, length) in enumerate(zip(region, unit, array.shape, strict=True)):
        if part.stop > length or not is_aligned(part, chunk, length):
            raise ValueError(
                f"block [{part.start}, {part.stop}) of axis {axis} does not cover whole chunks of "
                f"{chunk} in an axis of {length}: two writers would overwrite one another. "
                "Write multiples of the chunk size."
            )
    try:
        array[region] = block
    except OSError as error:
        raise StorageError(
            f"cannot write {block.nbytes:,} bytes to {array.store_path}: {error}"
        ) from error


def remove_array(store: AnyPlace, path: str) -> None:
    """Remove an array, if it is there."""
    import zarr

    with suppress(OSError, KeyError, ValueError):
        del zarr.open_group(zarr_store(store), mode="r+")[path]


def write_array(store: AnyPlace, path: str, values: np.ndarray) -> None:
    """Put a small array at rest as one chunk, in place of one that is there.

    Raises
    ------
    StorageError
        The store refused the bytes.
    """
    array = create_array(
        store, path, shape=values.shape, dtype=values.dtype, chunks=values.shape, overwrite=True
    )
    write_block(array, (0,) * values.ndim, values)
