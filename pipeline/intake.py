"""Driver: the input of a run - the same one as before, and at rest where tasks can read it."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clustergrid.pipeline._malloc import release_memory
from clustergrid.pipeline.execution import Executor, available_cores
from clustergrid.pipeline.monitor import Progress
from clustergrid.pipeline.request import RunRequest
from clustergrid.storage.arrays import open_array
from clustergrid.storage.chunks import chunk_grid, damaged_chunks, noted_chunks
from clustergrid.storage.credentials import hide_credentials
from clustergrid.storage.errors import IntegrityError, RunDirectoryError, StorageError
from clustergrid.storage.identity import fingerprint, matrix_source, stored_record
from clustergrid.storage.ingest import ingest, ingest_stream
from clustergrid.storage.manifest import Manifest
from clustergrid.storage.matrix import open_matrix
from clustergrid.storage.places import as_path, remove_tree
from clustergrid.storage.readers.base import Stream
from clustergrid.storage.readers.location import Location
from clustergrid.storage.readers.sparse import SparseGroupSource
from clustergrid.storage.readers.table import open_location
from clustergrid.storage.rundir import RunDirectory, stage_key
from clustergrid.storage.source import ZarrSource
from clustergrid.storage.sparse_copy import SPARSE_ARRAYS
from clustergrid.storage.sparse_ingest import columns_of, ingest_columns
from clustergrid.storage.verify import fault_of

if TYPE_CHECKING:
    import xarray as xr

__all__ = [
    "bind_input",
    "describe_input",
    "keep_matrix",
    "matrix_key",
    "needs_copy",
    "open_input",
    "refuse_changed",
    "refuse_overlap",
    "verify_matrix",
]

_STAGE = "matrix"
_MATRIX = "matrix.zarr/matrix"


def describe_input(request: RunRequest) -> dict[str, Any]:
    """Describe the input so that a change of it is noticed.

    Raises
    ------
    MissingFileError, StorageError
        It is not there, or cannot be read.
    """
    return {**fingerprint(request.input), "layer": request.layer}


def refuse_overlap(request: RunRequest) -> None:
    """Refuse an input in the run directory, which would be replaced, and one that the run is in.

    Raises
    ------
    RunDirectoryError
        One is the other, or in it; or the run directory is a URL of another kind of place.
    """
    directory = request.directory
    if isinstance(directory, Path) and re.match(r"[a-z][a-z0-9+.-]+:/", str(directory)):
        # pathlib took one slash away
        raise RunDirectoryError(
            f"the run directory {directory} is a URL: it has to be in a file system, or in an "
            "object store (s3://, gs://, az://)"
        )
    if Location.parse(request.input).overlaps(directory):
        raise RunDirectoryError(
            f"the input {request.input} and the run directory {directory} are one directory, or "
            "one is in the other: results would be taken for input. Choose a run directory beside "
            "the input."
        )


def bind_input(directory: RunDirectory, now: dict[str, Any]) -> None:
    """Refuse an input that is not the one this directory's results are of.

    Raises
    ------
    RunDirectoryError
        It changed; the message says what.
    """
    before = directory.state.get("input")
    if before == now:
        return
    if before is not None and directory.has_results:
        changed = "; ".join(
            f"{name} was {before.get(name)} and is {now.get(name)}"
            for name in sorted({*before, *now})
            if before.get(name) != now.get(name)
        )
        raise RunDirectoryError(
            f"{directory.path} holds results of another input ({changed}). Use a new run directory."
        )
    directory.begin(_STAGE)
    directory.update(input=now)


def matrix_key(directory: RunDirectory) -> str:
    """Key of the matrix: of everything that is known of the input."""
    return stage_key(input=directory.state["input"])


def open_input(
    directory: RunDirectory, request: RunRequest, progress: Progress
) -> tuple[xr.DataArray, bool]:
    """Open the run's copy of the matrix if it has a whole one, else the input.

    An input that can only be read from its beginning to its end is copied first: its shape is not
    known before. Everything else is lazy.

    Returns
    -------
    matrix
        As `open_matrix` gives it.
    is_kept
        Whether it is the copy that an earlier run made.
    """
    if (
        directory.is_finished(_STAGE, matrix_key(directory))
        and _is_complete(directory)
        and _has_its_labels(directory)
    ):
        progress.kept("ingest")
        return open_matrix(directory.matrix, layer="matrix"), True
    location = Location.parse(request.input)
    found = open_location(location, request.layer)
    if not isinstance(found, Stream):
        if found.is_unwritten:
            raise IntegrityError(
                f"{location.url} holds no chunk of its matrix, which was created and never written"
            )
        return open_matrix(request.input, layer=request.layer), False
    manifest = _begin_anew(directory)
    columns = columns_of(found)
    if columns is not None:
        with progress.stage("ingest", total=2 * columns.n_stored, unit="values") as stage:
            ingest_columns(
                found,
                columns,
                directory.matrix,
                identity=directory.state["input"],
                manifest=manifest,
                progress=lambda done, _: stage.advance(done - stage.done),
            )
        return _opened_copy(directory, request)
    with progress.stage("ingest", total=0, unit="blocks") as stage:

        def tell(done: int, total: int) -> None:
            stage.total = max(total, done)
            stage.advance(done - stage.done)

        ingest_stream(
            found,
            directory.matrix,
            identity=directory.state["input"],
            manifest=manifest,
            progress=tell,
        )
    return _opened_copy(directory, request)


def _opened_copy(directory: RunDirectory, request: RunRequest) -> tuple[xr.DataArray, bool]:
    """Finish a copy that was just made, and open it."""
    release_memory()
    refuse_changed(directory, request)
    _finish(directory)
    return open_matrix(directory.matrix, layer="matrix"), False


def refuse_changed(directory: RunDirectory, request: RunRequest) -> None:
    """Refuse what was read of an input that changed meanwhile: it is of neither.

    Raises
    ------
    RunDirectoryError
        The input is not what it was when the run began.
    """
    before, now = directory.state["input"], describe_input(request)
    if before != now:
        changed = ", ".join(sorted(name for name in now if now[name] != before.get(name)))
        raise RunDirectoryError(
            f"the input {request.input} changed while it was read ({changed}): wait until nobody "
            "writes to it, and run again"
        )


def _has_its_labels(directory: RunDirectory) -> bool:
    """Whether the labels are as they were written: they are read at once, and are few."""
    return all(
        fault_of(directory, entry) is None
        for entry in directory.manifest(_STAGE).entries.values()
        if entry.is_chunk and not entry.file.startswith(f"{_MATRIX}/")
    )


def needs_copy(matrix: xr.DataArray) -> bool:
    """Whether tasks cannot read the matrix where it is."""
    return matrix.chunks is None or matrix_source(matrix) is None


def keep_matrix(
    directory: RunDirectory,
    matrix: xr.DataArray,
    executor: Executor,
    progress: Progress,
    *,
    request: RunRequest,
    copy_bytes: int,
) -> xr.DataArray:
    """Return the matrix as a lazy view of a chunked Zarr array, copied into the run if need be.

    Parameters
    ----------
    directory
        The run directory, locked.
    matrix
        From `open_input`.
    executor, progress
        Where it is copied, and who is told.
    request
        What was asked: of which input.
    copy_bytes
        Values that may be under way at once.

    Raises
    ------
    RunDirectoryError
        The input changed while it was copied.
    """
    source = matrix_source(matrix)
    if needs_copy(matrix) or not isinstance(source, ZarrSource | SparseGroupSource):
        manifest, kept = _kept_chunks(directory, progress)
        total = int(matrix.nbytes)
        with (
            executor.active(),
            progress.stage("ingest", total=total, unit="bytes", kept=int(total * kept)) as stage,
        ):

            def tell(done: int, blocks: int) -> None:
                stage.advance(max(0, total * done // max(blocks, done) - stage.done))

            source = ingest(
                matrix,
                directory.matrix,
                memory_bytes=copy_bytes,
                manifest=manifest,
                progress=tell,
            )
        refuse_changed(directory, request)
        _finish(directory)
        matrix = open_matrix(directory.matrix, layer="matrix")
    where = {"store": hide_credentials(source.store), "path": source.path}
    in_run = Location.parse(source.store).url == directory.matrix
    if in_run:
        where = {"store": "matrix.zarr", "path": source.path}
    directory.update(matrix={**where, "used_in_place": not in_run})
    return matrix


def verify_matrix(directory: RunDirectory, progress: Progress) -> bool:
    """Read the run's copy of the matrix; forget the chunks that are damaged, and say so."""
    manifest = directory.manifest(_STAGE)
    damaged = _damaged_files(directory, manifest, progress)
    if damaged:
        directory.begin(_STAGE)
        manifest.forget(damaged)
    return not damaged


def _damaged_files(directory: RunDirectory, manifest: Manifest, progress: Progress) -> list[str]:
    """Names of the matrix's chunks, among those in the manifest, that are not as they were."""
    arrays = _arrays(directory)
    noted = {name: noted_chunks(manifest, f"matrix.zarr/{name}") for name in arrays}
    found = []
    with progress.stage(
        "verify-matrix", total=sum(map(len, noted.values())), unit="chunks"
    ) as stage:
        for name, chunks in noted.items():
            damaged = damaged_chunks(
                directory.matrix,
                name,
                chunks,
                entries=manifest.entries,
                threads=available_cores(),
                progress=stage.advance,
            )
            found += [chunks[chunk] for chunk in damaged]
    return found


def _arrays(directory: RunDirectory) -> list[str]:
    """Arrays that hold the values of the run's copy: one, or those of a sparse matrix."""
    sparse = [f"matrix/{name}" for name in SPARSE_ARRAYS]
    is_sparse = all((as_path(directory.matrix) / name / "zarr.json").exists() for name in sparse)
    return sparse if is_sparse else ["matrix"]


def _kept_chunks(directory: RunDirectory, progress: Progress) -> tuple[Manifest, float]:
    """Begin the copy, or go on with the one that an earlier run began; return how much is there."""
    manifest = directory.manifest(_STAGE)
    if manifest.key != matrix_key(directory) or not manifest.entries:
        return _begin_anew(directory), 0.0
    directory.begin(_STAGE)
    manifest.restore_metadata()
    try:
        manifest.forget(_damaged_files(directory, manifest, progress))
        array = open_array(directory.matrix, "matrix")
    except StorageError:
        return _begin_anew(directory), 0.0
    n_kept = len(noted_chunks(manifest, _MATRIX))
    return manifest, n_kept / max(1, math.prod(chunk_grid(array)))


def _is_complete(directory: RunDirectory) -> bool:
    record = stored_record(directory.matrix)
    return bool(record and record.get("complete"))


def _begin_anew(directory: RunDirectory) -> Manifest:
    """Make room for the copy: labels of an earlier one would be taken for those of this one."""
    directory.begin(_STAGE)
    manifest = directory.manifest(_STAGE)
    manifest.begin(matrix_key(directory))
    remove_tree(as_path(directory.matrix))
    return manifest


def _finish(directory: RunDirectory) -> None:
    arrays_there = as_path(directory.matrix).glob("*/zarr.json")
    labels = {file.parent.name for file in arrays_there} - {"matrix"}
    arrays = sorted([*labels, *_arrays(directory)])
    directory.finish(
        _STAGE, matrix_key(directory), arrays=[("matrix.zarr", name) for name in arrays]
    )
