"""Driver: which tiles of distances at rest can be trusted, by their chunks and their notes."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from itertools import product

from clustergrid.storage.arrays import open_array
from clustergrid.storage.chunks import (
    chunk_grid,
    damaged_chunks,
    missing_chunks,
    noted_chunks,
    stored_entries,
)
from clustergrid.storage.condensed_tiles import LABELS, StoredTiles
from clustergrid.storage.manifest import (
    Entry,
    Manifest,
    chunk_entry,
    chunk_file,
    metadata_entry,
)
from clustergrid.storage.places import as_path

__all__ = [
    "arrays_of",
    "damaged_tiles",
    "description_entries",
    "missing_tiles",
    "noted_tiles",
    "tile_entry",
]


def arrays_of(tiles: StoredTiles) -> list[str]:
    """Names of the arrays in the store: the stacks of tiles, and the labels.

    Examples
    --------
    >>> import numpy as np
    >>> from clustergrid.storage.grid import TriangleGrid
    >>> grid = TriangleGrid(n=10, tile_edge=5)
    >>> arrays_of(StoredTiles(grid, np.dtype("f4"), "arrays.zarr", "condensed_row"))
    ['condensed_row/tiles']
    """
    names = [*tiles.grid.stacks, *([LABELS] if tiles.has_labels else [])]
    return [f"{tiles.path}/{name}" for name in names]


def tile_entry(tiles: StoredTiles, i: int, j: int) -> Entry:
    """Describe tile ``(i, j)``, ``i <= j``, for a manifest.

    Raises
    ------
    StorageError
        It is not there.
    """
    array, chunk = tiles.place(i, j)
    return chunk_entry(tiles.store, array, chunk)


def description_entries(tiles: StoredTiles) -> list[Entry]:
    """Describe everything besides the tiles: metadata of groups and arrays, and the labels."""
    stacks = [f"{tiles.path}/{stack}" for stack in tiles.grid.stacks]
    entries = [metadata_entry(tiles.store, name) for name in ("", tiles.path, *stacks)]
    labels = f"{tiles.path}/{LABELS}"
    return entries + (stored_entries(tiles.store, labels) if tiles.has_labels else [])


def missing_tiles(tiles: StoredTiles) -> list[int]:
    """Positions of tiles in a local store that have no file."""
    return sorted(
        tiles.grid.placed(stack, chunk[0])
        for stack in tiles.grid.stacks
        for chunk in missing_chunks(tiles.store, f"{tiles.path}/{stack}")
    )


def noted_tiles(tiles: StoredTiles, manifest: Manifest) -> dict[int, str]:
    """Positions of the tiles that a manifest holds, with the names of their files."""
    found = {}
    for stack, (count, _, _) in tiles.grid.stacks.items():
        array = f"{os.path.basename(tiles.store)}/{tiles.path}/{stack}"
        for chunk, file in noted_chunks(manifest, array).items():
            if chunk[1:] == (0, 0) and chunk[0] < count:
                found[tiles.grid.placed(stack, chunk[0])] = file
    return found


def damaged_tiles(
    tiles: StoredTiles,
    positions: Mapping[int, str],
    *,
    entries: Mapping[str, Entry],
    threads: int,
    progress: Callable[[int], None],
) -> set[int]:
    """Tiles that are missing, fail their checksum, or are not those that were noted.

    Parameters
    ----------
    tiles
        In a local store.
    positions
        Which to look at, as `noted_tiles` gives them.
    entries, threads, progress
        As in `clustergrid.storage.chunks.damaged_chunks`.
    """
    damaged: set[int] = set()
    for stack in tiles.grid.stacks:
        array = f"{tiles.path}/{stack}"
        places = [tiles.place(*tiles.grid.tile(position)) for position in positions]
        wanted = [chunk for name, chunk in places if name == array]
        found = damaged_chunks(
            tiles.store, array, wanted, entries=entries, threads=threads, progress=progress
        )
        damaged.update(tiles.grid.placed(stack, chunk[0]) for chunk in found)
    return damaged


def are_labels_whole(tiles: StoredTiles, manifest: Manifest) -> bool:
    """Whether the labels are those that were noted; they are few, and written as a whole."""
    if not tiles.has_labels:
        return True
    root, array = as_path(tiles.store).parent, f"{tiles.path}/{LABELS}"
    chunks = product(*map(range, chunk_grid(open_array(tiles.store, array))))
    names = (f"{os.path.basename(tiles.store)}/{chunk_file(array, chunk)}" for chunk in chunks)
    entries = (manifest.entries.get(name) for name in names)
    return all(entry is not None and entry.is_noted_in(root) for entry in entries)
