"""Driver: write a Dask array to Zarr region by region, each task a whole chunk.

Only one region's values are under way at a time, so memory does not grow with the matrix; nor does
the graph, which the scheduler would hold as a whole.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from clustergrid.storage.arrays import open_array, write_block
from clustergrid.storage.chunks import Chunk
from clustergrid.storage.errors import StorageError
from clustergrid.storage.grid import slabs

__all__ = ["COUNTS", "KEY", "add_counts", "count_values", "write_chunk", "write_regions"]

COUNTS = np.dtype([("missing", np.int64), ("infinite", np.int64)])
"""What is counted of every chunk that is written."""

KEY = "clustergrid_key"
"""Attribute of an array that tasks write: the key of what it holds."""

_RETRIES = 3

Note = Callable[[Chunk, Any], None]
"""Called with a chunk whose bytes are at rest, and what was counted in it."""


def write_regions(
    values: Any,
    store: str,
    path: str,
    *,
    region: tuple[int, int],
    key: str | None = None,
    finished: frozenset[Chunk],
    note: Note,
) -> None:
    """Write what is not finished of a Dask array, through the caller's scheduler.

    Parameters
    ----------
    values
        ``(n, k)`` Dask array.
    store, path
        The array to write, created with whole chunks in every region.
    region
        Rows and columns that are computed at once.
    key
        Of what is written, as the array's attribute `KEY` has it: a late task of a run that was
        killed must not write into the array of another matrix, which has the same name.
    finished
        Chunks that are at rest.
    note
        Called in this thread after every chunk.
    """
    chunks = open_array(store, path).chunks
    for rows, columns in itertools.product(
        *(slabs(length, step) for length, step in zip(values.shape, region, strict=True))
    ):
        first = (rows.start // chunks[0], columns.start // chunks[1])
        places = itertools.product(
            range(first[0], -(-rows.stop // chunks[0])),
            range(first[1], -(-columns.stop // chunks[1])),
        )
        missing = [place for place in places if place not in finished]
        if not missing:
            continue
        part = values[rows, columns].rechunk(chunks, method="tasks")
        written = part.map_blocks(
            write_chunk,
            store=store,
            path=path,
            origin=(rows.start, columns.start),
            key=key,
            chunks=tuple((1,) * count for count in part.numblocks),
            dtype=COUNTS,
            meta=np.empty((0, 0), COUNTS),
            token="matrix-ingest",
        )
        blocks = written.to_delayed()
        inside: dict[Chunk, Chunk] = {
            (row - first[0], column - first[1]): (row, column) for row, column in missing
        }
        _compute(
            {place: blocks[place] for place in inside}, written.name, partial(_placed, inside, note)
        )


def _placed(inside: dict[Chunk, Chunk], note: Note, place: Chunk, counts: Any) -> None:
    """Note a chunk by its place in the whole array."""
    note(inside[place], np.asarray(counts).ravel()[0])


def _compute(blocks: dict[Chunk, Any], name: str, note: Note) -> None:
    """Compute some blocks, and note each as soon as it is."""
    from dask.base import compute
    from dask.callbacks import Callback

    client = _active_client()
    if client is None:
        with Callback(posttask=partial(_tell, name=name, note=note)):
            compute(*blocks.values(), retries=_RETRIES)
        return
    from distributed import as_completed

    futures = client.compute(list(blocks.values()), retries=_RETRIES)
    places = dict(zip(futures, blocks, strict=True))
    for future in as_completed(futures, loop=client.loop):
        note(places[future], future.result())


def _active_client() -> Any:
    """Return the distributed client that `dask.compute` would use, if there is one."""
    if "distributed" not in sys.modules:
        return None
    from dask.base import get_scheduler

    get = get_scheduler()
    return getattr(get, "__self__", None)


def _tell(
    key: Any, result: Any, _graph: Any, _state: Any, _worker: Any, *, name: str, note: Note
) -> None:
    """Note a block, when one of Dask's threads finished it."""
    if isinstance(key, tuple) and key[0] == name:
        note(key[1:], result)


def write_chunk(
    block: np.ndarray,
    *,
    store: str,
    path: str,
    origin: tuple[int, int] = (0, 0),
    key: str | None = None,
    block_info: Any = None,
) -> np.ndarray:
    """Write one chunk of the matrix, and return what was counted in it, as a (1, 1) array."""
    location = block_info[0]["array-location"]
    start = (location[0][0] + origin[0], location[1][0] + origin[1])
    array = open_array(store, path, mode="r+")
    if array.attrs.get(KEY) != key:
        raise StorageError(f"{store}/{path} was begun anew, as the copy of another matrix")
    write_block(array, start, np.asarray(block))
    return count_values(block).reshape(1, 1)


def count_values(values: np.ndarray) -> np.ndarray:
    """Count missing and infinite values."""
    counts = np.zeros((), COUNTS)
    if values.dtype.kind == "f":
        counts["missing"] = np.count_nonzero(np.isnan(values))
        counts["infinite"] = np.count_nonzero(np.isinf(values))
    return counts


def add_counts(*records: Any) -> Any:
    """Add records field by field."""
    total = np.zeros((), COUNTS)
    for name in COUNTS.names or ():
        total[name] = sum(int(record[name]) for record in records)
    return total
