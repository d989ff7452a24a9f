"""Driver: which chunks of an array at rest can be trusted.

Zarr reads a chunk that is missing as fill values, without a word, so whoever relies on bytes of an
earlier process asks here first. A chunk that is there carries a checksum of its own.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath
from typing import Any

from clustergrid.storage.arrays import open_array
from clustergrid.storage.errors import ObjectStoreError, StorageError
from clustergrid.storage.manifest import (
    Entry,
    Manifest,
    chunk_entry,
    chunk_file,
    metadata_entry,
)
from clustergrid.storage.places import AnyPlace, StorePath, as_path, names_below

__all__ = [
    "Chunk",
    "chunk_grid",
    "chunk_of",
    "damaged_chunks",
    "is_whole",
    "missing_chunks",
    "noted_chunks",
    "stored_entries",
]

Chunk = tuple[int, ...]
"""Place of a chunk (a shard, where there are any) in the grid of them."""


def chunk_grid(array: Any) -> Chunk:
    """Count the chunks (shards, where there are any) of a Zarr array along each axis."""
    unit = array.shards or array.chunks
    return tuple(-(-length // step) for length, step in zip(array.shape, unit, strict=True))


def chunk_of(file: str, array: str) -> Chunk | None:
    """Place of a chunk by the name of its file; None of a file that is no chunk of this array.

    Examples
    --------
    >>> chunk_of("arrays.zarr/image/c/0/12", "arrays.zarr/image")
    (0, 12)
    """
    prefix = f"{array}/c/"
    numbers = file.removeprefix(prefix).split("/")
    if not file.startswith(prefix) or not all(number.isdigit() for number in numbers):
        return None
    return tuple(int(number) for number in numbers)


def noted_chunks(manifest: Manifest, array: str) -> dict[Chunk, str]:
    """Chunks of an array that a manifest holds, with the names of their files.

    Parameters
    ----------
    manifest
        Of the stage that wrote the array.
    array
        Its name in the run directory, as ``"matrix.zarr/matrix"``.
    """
    return {
        chunk: file for file in manifest.entries if (chunk := chunk_of(file, array)) is not None
    }


def missing_chunks(store: AnyPlace, path: str) -> list[Chunk]:
    """Chunks of an array in a file system or an object store that have no file.

    Parameters
    ----------
    store, path
        Directory of the Zarr group, and name of an array that `create_array` made in it.

    Raises
    ------
    StorageError
        There is no such array.
    """
    array = open_array(store, path)
    stored = _stored(as_path(store) / path / "c", array.ndim)
    return [
        chunk for chunk in itertools.product(*map(range, chunk_grid(array))) if chunk not in stored
    ]


def _stored(folder: StorePath, ndim: int) -> set[Chunk]:
    places = (PurePosixPath(name).parts for name in names_below(folder))
    return {
        tuple(int(number) for number in place)
        for place in places
        if len(place) == ndim and all(number.isdigit() for number in place)
    }


def damaged_chunks(
    store: AnyPlace,
    path: str,
    chunks: Iterable[Chunk] | None = None,
    *,
    entries: Mapping[str, Entry] | None = None,
    threads: int = 2,
    progress: Callable[[int], None] | None = None,
) -> set[Chunk]:
    """Chunks of such an array that are missing, or fail their checksum; all bytes are read.

    Parameters
    ----------
    store, path
        As in `missing_chunks`.
    chunks
        Which to look at; by default all.
    entries
        What a manifest says of them, by the names of their files: a chunk that is whole and is
        another one is damaged too.
    threads
        How many are read at once.
    progress
        Called with the number of chunks that were looked at since the last call.

    Raises
    ------
    StorageError
        There is no such array.
    """
    array = open_array(store, path)
    missing = set(missing_chunks(store, path))
    grid = chunk_grid(array)
    wanted = list(itertools.product(*map(range, grid)) if chunks is None else chunks)
    damaged = {chunk for chunk in wanted if chunk in missing or not _is_inside(chunk, grid)}
    group = as_path(store)
    present = [chunk for chunk in wanted if chunk not in damaged]
    if progress is not None and damaged:
        progress(len(damaged))

    def reads(chunk: Chunk) -> bool:
        if entries is not None:
            entry = entries.get(f"{group.name}/{chunk_file(path, chunk)}")
            if entry is None or not entry.is_noted_in(group.parent):
                return False
        unit = array.shards or array.chunks
        region = tuple(slice(c * u, (c + 1) * u) for c, u in zip(chunk, unit, strict=True))
        try:
            array[region]
        except ObjectStoreError:
            raise
        except (OSError, ValueError, RuntimeError):
            return False
        return True

    with ThreadPoolExecutor(threads, "clustergrid-verify") as pool:
        for chunk, whole in zip(present, pool.map(reads, present), strict=True):
            if not whole:
                damaged.add(chunk)
            if progress is not None:
                progress(1)
    return damaged


def _is_inside(chunk: Chunk, grid: Chunk) -> bool:
    return len(chunk) == len(grid) and all(
        0 <= c < count for c, count in zip(chunk, grid, strict=True)
    )


def stored_entries(store: AnyPlace, path: str) -> list[Entry]:
    """Describe an array that was just written as a whole: its metadata and all its chunks."""
    array = open_array(store, path)
    chunks = itertools.product(*map(range, chunk_grid(array)))
    return [
        metadata_entry(store, path),
        *(chunk_entry(store, path, chunk) for chunk in chunks),
    ]


def is_whole(store: AnyPlace, path: str) -> bool:
    """Whether an array is there with a file for every chunk; its bytes are not read."""
    try:
        return not missing_chunks(store, path)
    except StorageError:
        return False
