"""Driver: a sparse matrix where tasks can read it, and its transpose for trees of the columns.

A sparse matrix in memory has its transpose in memory, and one in a file is read there. What cannot
be read so is put at rest by rows once: the transpose of a file, and a matrix in memory that tasks
in other processes read.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from clustergrid.pipeline.monitor import Progress
from clustergrid.storage.chunks import stored_entries
from clustergrid.storage.manifest import metadata_entry
from clustergrid.storage.rundir import RunDirectory, stage_key
from clustergrid.storage.source import MatrixSource
from clustergrid.storage.sparse import SparseArraySource, SparseSource, as_sparse
from clustergrid.storage.sparse_copy import SPARSE_ARRAYS, stored_copy, transposed_copy

__all__ = ["SHIPPED_BYTES", "keep_columns", "shared_rows", "sparse_transpose"]

SHIPPED_BYTES = 8_000_000
"""A matrix up to this size travels to other processes inside a task; larger ones are at rest."""

_ENTRY_BYTES = 12
_STAGE = "columns"
_STORE, _PATH = "columns.zarr", "matrix"


def shared_rows(
    source: SparseSource,
    *,
    in_process: bool,
    scratch: Callable[[], str],
    memory_bytes: int,
    progress: Progress,
) -> SparseSource:
    """Return a matrix that every task can read.

    Parameters
    ----------
    source
        As `open_matrix` has it.
    in_process
        Whether tasks share this process's memory.
    scratch
        Makes or names the store for a copy.
    memory_bytes
        What entries that are under way may take.
    progress
        Who is told.
    """
    is_large = source.n_stored * _ENTRY_BYTES > SHIPPED_BYTES
    if in_process or not is_large or not isinstance(source, SparseArraySource):
        return source
    # By rows, because the transpose of the transpose is.
    return _copied(source.transpose(), scratch(), "sparse_rows", memory_bytes, progress)


def sparse_transpose(
    source: MatrixSource, *, scratch: Callable[[], str], memory_bytes: int, progress: Progress
) -> MatrixSource:
    """Return the transpose of a matrix, dense or sparse, by rows.

    Parameters
    ----------
    source, scratch, memory_bytes, progress
        As in `shared_rows`.
    """
    sparse = as_sparse(source)
    if sparse is None or isinstance(sparse, SparseArraySource):
        return source.transpose()
    return _copied(sparse, scratch(), "sparse_columns", memory_bytes, progress)


def keep_columns(
    directory: RunDirectory,
    key: str,
    source: SparseSource,
    *,
    memory_bytes: int,
    progress: Progress,
) -> SparseSource:
    """Put the transpose of a run's matrix at rest in the run, or find it there.

    Parameters
    ----------
    directory
        The run directory, locked.
    key
        Of the matrix.
    source, memory_bytes, progress
        As in `shared_rows`.
    """
    key = stage_key(matrix=key, stage=_STAGE)
    store = str(directory.file(_STORE))
    if directory.is_finished(_STAGE, key):
        found = stored_copy(store, _PATH)
        if found is not None:
            progress.kept(_STAGE)
            return found
    directory.begin(_STAGE)
    manifest = directory.manifest(_STAGE)
    manifest.begin(key)
    copied = _copied(source, store, _PATH, memory_bytes, progress)
    arrays = [f"{_PATH}/{name}" for name in SPARSE_ARRAYS]
    for array in arrays:
        manifest.record(*stored_entries(store, array))
    manifest.record(*(metadata_entry(store, group) for group in ("", _PATH)))
    directory.finish(_STAGE, key, arrays=[(_STORE, array) for array in arrays])
    return copied


def _copied(
    source: SparseSource, store: str, path: str, memory_bytes: int, progress: Progress
) -> SparseSource:
    """Put the transpose of a matrix at rest."""
    total = 2 * source.n_stored
    stage: AbstractContextManager[Any] = progress.stage(_STAGE, total=total, unit="values")
    with stage as told:
        return transposed_copy(
            source,
            store,
            path,
            memory_bytes=memory_bytes,
            progress=lambda done, _: told.advance(done - told.done),
        )
