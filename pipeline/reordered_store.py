"""Driver: where a reordered matrix is kept - in a store of its own, or in a run directory.

A store of its own appears under its name when it is whole. Until then it grows in a directory
beside it, where the same call goes on after a kill. In a run it is a stage, whose chunks `verify`
checks.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clustergrid.pipeline.digests import array_digest
from clustergrid.pipeline.picture_memory import reorder_task_bytes
from clustergrid.pipeline.pyramids import pyramid_arrays, write_pyramid
from clustergrid.pipeline.reordering import MATRIX, Reordering, write_reordered
from clustergrid.storage.errors import StorageError
from clustergrid.storage.identity import fingerprint
from clustergrid.storage.manifest import Manifest
from clustergrid.storage.places import StorePath, remove_tree
from clustergrid.storage.pyramid import PYRAMID, TILE
from clustergrid.storage.readers.location import Location
from clustergrid.storage.rundir import RunDirectory, stage_key
from clustergrid.storage.runlock import lock_directory

if TYPE_CHECKING:
    from clustergrid.pipeline.bound_matrix import BoundMatrix
    from clustergrid.pipeline.kept import RunStages

__all__ = ["REORDERED", "drop_stale_reordered", "keep_reordered", "write_store"]

REORDERED = "reordered.zarr"
"""Name of the group in a run directory."""

_STAGE, _PYRAMID = "reordered", "pyramid"
_SCRATCH = "reorder-pieces"

Orders = tuple[np.ndarray, np.ndarray]


def write_store(
    stages: BoundMatrix, path: str | os.PathLike[str], orders: Orders, *, pyramid: bool
) -> Path:
    """Write the normalized matrix in another order to a Zarr store of its own.

    Parameters
    ----------
    stages
        Of the matrix.
    path
        The store, which must not be there yet, on a local or shared file system.
    orders
        Which row, and which column, stands where.
    pyramid
        Whether to add levels of lower resolution.

    Returns
    -------
    pathlib.Path
        The store.

    Raises
    ------
    StorageError
        There is something under that name, or it cannot be written.
    MemoryLimitError
        A chunk does not fit the memory.
    """
    if not Location.parse(path).is_local:
        raise StorageError(f"{path} is a URL: give a directory on a local or shared file system")
    final = Path(path).absolute()
    if final.exists():
        raise StorageError(f"{path} is there already: name another path, or remove it")
    key = stage_key(
        matrix=fingerprint(stages.matrix),
        normalization=stages.steps,
        orders=array_digest(*orders),
        reordered=True,
    )
    # Before there is a directory: a matrix that does not fit leaves nothing behind.
    _asked(stages, orders, key).plan(_task_bytes(stages)).check()
    unfinished = final.with_name(f".{final.name}.unfinished")
    try:
        unfinished.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot write to {unfinished}: {error}") from error
    with lock_directory(unfinished):
        group = unfinished / REORDERED
        manifest = Manifest(unfinished, _STAGE)
        if manifest.key != key:
            for folder in (group, unfinished / _SCRATCH):
                shutil.rmtree(folder, ignore_errors=True)
        _write(stages, orders, group, manifest, key)
        if pyramid:
            _write_pyramid(stages, group, Manifest(unfinished, _PYRAMID), key)
        group.rename(final)
    shutil.rmtree(unfinished, ignore_errors=True)
    return final


def keep_reordered(
    directory: RunDirectory, stages: RunStages, orders: Orders, *, pyramid: bool
) -> None:
    """Keep the reordered matrix, and its pyramid, in a run directory, unless they are there.

    Parameters
    ----------
    directory
        Of the run, locked.
    stages
        Of its matrix.
    orders, pyramid
        As in `write_store`.

    Raises
    ------
    StorageError, MemoryLimitError
        As there.
    """
    group = directory.path.absolute() / REORDERED
    key = _key(stages, orders)
    drop_stale_reordered(directory, stages, orders, reordered=True, pyramid=pyramid)
    if directory.is_finished(_STAGE, key):
        stages.progress.kept(_STAGE)
    else:
        directory.begin(_STAGE)
        names = _write(stages, orders, group, directory.manifest(_STAGE), key)
        directory.finish(_STAGE, key, arrays=[(REORDERED, name) for name in names])
    if not pyramid:
        return
    key = _pyramid_key(key)
    if directory.is_finished(_PYRAMID, key):
        stages.progress.kept(_PYRAMID)
        return
    directory.begin(_PYRAMID)
    _write_pyramid(stages, group, directory.manifest(_PYRAMID), key)
    arrays = [(REORDERED, name) for name in pyramid_arrays(group, MATRIX)]
    directory.finish(_PYRAMID, key, arrays=arrays)


def drop_stale_reordered(
    directory: RunDirectory, stages: RunStages, orders: Orders, *, reordered: bool, pyramid: bool
) -> None:
    """Remove what would be taken for the matrix in this order, or for its pyramid, and is not.

    Parameters
    ----------
    directory, stages, orders
        As in `keep_reordered`.
    reordered, pyramid
        Whether they are asked for: what a killed run began is gone on with then. Otherwise nobody
        would finish it, and only what is finished stays.
    """
    key = _key(stages, orders)
    is_begun = directory.manifest(_STAGE).key == key
    if not (is_begun if reordered else directory.is_finished(_STAGE, key)):
        _drop(directory, (_PYRAMID, _STAGE), (REORDERED, _SCRATCH))
    elif not pyramid and not directory.is_finished(_PYRAMID, _pyramid_key(key)):
        _drop(directory, (_PYRAMID,), (f"{REORDERED}/{PYRAMID}",))


def _drop(directory: RunDirectory, stages: tuple[str, ...], folders: tuple[str, ...]) -> None:
    for stage in stages:
        directory.begin(stage)
        directory.manifest(stage).remove()
    for folder in folders:
        remove_tree(directory.path / folder)


def _key(stages: RunStages, orders: Orders) -> str:
    return stage_key(matrix=stages.key, stage=_STAGE, orders=array_digest(*orders))


def _pyramid_key(key: str) -> str:
    return stage_key(reordered=key, stage=_PYRAMID, tile=TILE)


def _asked(stages: BoundMatrix, orders: Orders, key: str) -> Reordering:
    return Reordering(
        matrix=stages.matrix,
        source=stages.source,
        normalization=stages.normalization,
        row_order=orders[0],
        column_order=orders[1],
        key=key,
    )


def _task_bytes(stages: BoundMatrix) -> int:
    """Say what a task has for a block or a region."""
    return reorder_task_bytes(stages.ground)


def _write(
    stages: BoundMatrix, orders: Orders, group: StorePath, manifest: Manifest, key: str
) -> list[str]:
    """Write the matrix, or go on with it; return the names of its arrays."""
    if manifest.key != key:
        manifest.begin(key)
    manifest.restore_metadata()
    asked = _asked(stages, orders, key)
    write_reordered(
        asked,
        group,
        manifest,
        group.with_name(_SCRATCH),
        task_bytes=_task_bytes(stages),
        executor=stages.executor,
        progress=stages.progress,
    )
    return asked.array_names


def _write_pyramid(stages: BoundMatrix, group: StorePath, manifest: Manifest, key: str) -> None:
    if manifest.key != key:
        manifest.begin(key)
    manifest.restore_metadata()
    write_pyramid(group, MATRIX, manifest, executor=stages.executor, progress=stages.progress)
