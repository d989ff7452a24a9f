"""Driver: the plan of a run as it will be - which processes it starts, and what its disk holds.

`planning.py` computes; here is what has to be looked up for it: the input, the machine, the run
directory, the workers of a scheduler that was joined.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from clustergrid.pipeline.calibration import calibrated
from clustergrid.pipeline.execution import available_cores
from clustergrid.pipeline.planned import Plan
from clustergrid.pipeline.planning import Ingest, plan_run
from clustergrid.pipeline.records import bytes_of_records
from clustergrid.pipeline.refusal import refuse_too_little_disk
from clustergrid.pipeline.request import ClusterChoice, RunRequest
from clustergrid.pipeline.resources import Resources
from clustergrid.pipeline.sizes import format_bytes
from clustergrid.pipeline.spec import AXIS_NAMES, RunSpec, distance_dtype
from clustergrid.storage.errors import DataValueError
from clustergrid.storage.identity import chunks_in_place, matrix_source
from clustergrid.storage.sparse import as_sparse

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr

    from clustergrid.storage.places import StorePath
    from clustergrid.storage.rundir import RunDirectory

__all__ = [
    "PlannedMatrix",
    "check_room",
    "check_scratch",
    "check_store",
    "existing_folder",
    "is_small",
    "plan_of",
    "planned_matrix",
    "refuse_unseen",
    "starting_resources",
]

_SMALL_DISTANCE_BYTES = 100_000_000
"""A run whose distances are no larger starts no scheduler ..."""
_SMALL_MATRIX_BYTES = 1_000_000_000
"""... if its matrix is no larger than this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedMatrix:
    """What a plan knows of the input.

    Attributes
    ----------
    shape, dtype
        Of the matrix.
    ingest
        Whether it is copied first; ``"text"``: and parsed for that.
    chunks
        Of a Zarr array that is used where it is; otherwise None.
    source_chunks
        Of a lazy matrix that is copied, as it is read for that; otherwise None.
    n_stored
        Values that a sparse matrix stores; None of one that is dense, or made dense.
    is_stream
        Whether it can only be read from its beginning to its end.
    note
        A line about how it is known; empty where there is nothing to say.
    """

    shape: tuple[int, int]
    dtype: np.dtype[np.generic]
    ingest: Ingest
    chunks: tuple[int, int] | None = None
    source_chunks: tuple[int, int] | None = None
    n_stored: int | None = None
    is_stream: bool = False
    note: str = ""

    @property
    def nbytes(self) -> int:
        """Of all values."""
        return self.shape[0] * self.shape[1] * self.dtype.itemsize

    def check_features(self, spec: RunSpec) -> None:
        """Refuse keywords of other features, unless the shape is an estimate.

        Raises
        ------
        DataValueError
            As `RunSpec.check_features`.
        """
        if not self.note:
            spec.check_features(self.shape)


def planned_matrix(
    matrix: xr.DataArray, ingest: Ingest, *, is_stream: bool = False
) -> PlannedMatrix:
    """Say what a plan knows of a matrix that is open.

    Parameters
    ----------
    matrix
        From `open_matrix`.
    ingest, is_stream
        As in `PlannedMatrix`.
    """
    sparse = None if ingest else as_sparse(matrix_source(matrix))
    return PlannedMatrix(
        shape=(int(matrix.shape[0]), int(matrix.shape[1])),
        dtype=matrix.dtype,
        ingest=ingest,
        chunks=chunks_in_place(matrix),
        source_chunks=matrix.data.chunksize if ingest and matrix.chunks is not None else None,
        n_stored=None if sparse is None else sparse.n_stored,
        is_stream=is_stream,
    )


def is_small(largest_axis: int, matrix_bytes: int) -> bool:
    """Whether threads of this process are done before workers would have started.

    Parameters
    ----------
    largest_axis
        Observations along the longer axis that is to be clustered.
    matrix_bytes
        Of the matrix.

    Examples
    --------
    >>> is_small(5_000, 10**8), is_small(5_001, 10**8)
    (True, False)
    """
    distances = 4 * largest_axis * largest_axis
    return distances <= _SMALL_DISTANCE_BYTES and matrix_bytes <= _SMALL_MATRIX_BYTES


def starting_resources(choice: ClusterChoice, resources: Resources, *, small: bool) -> Resources:
    """Say what tasks of a run will use, before anything is started for it.

    Parameters
    ----------
    choice
        Where they shall run.
    resources
        Memory and threads of this machine.
    small
        Whether this process does it all in a moment.

    Returns
    -------
    Resources
        With the worker processes that it starts, or that are asked for. Of a scheduler nothing is
        known before it is joined, and the plan is of the driver alone.
    """
    if choice.described is not None:
        memory = resources.memory_bytes
        if choice.cluster == "allocation":  # whose workers have the rest of this node
            memory = min(memory, choice.described.memory_bytes)
        described = choice.described.resources(memory)
        return replace(described, driver_cores=resources.threads)
    if choice.is_elsewhere:
        return replace(resources, worker_processes=1, elsewhere=True)
    if small or choice.cluster == "none":
        return resources
    return resources.with_local_workers()


def plan_of(
    request: RunRequest,
    matrix: PlannedMatrix,
    resources: Resources,
    *,
    directory: StorePath | None,
    measure: bool = True,
    notes: tuple[str, ...] = (),
) -> Plan:
    """Plan a run.

    Parameters
    ----------
    request, matrix, resources
        What was asked, of what, with what.
    directory
        Where it writes, or None where nobody knows.
    measure
        Whether this machine may be measured for the seconds, where the run is long.
    notes
        More lines for people.

    Raises
    ------
    MemoryLimitError
        It does not fit the memory.
    DataValueError
        A keyword of a metric is of another number of features.
    """
    spec = request.spec(distance_dtype(matrix.dtype, request.dtype))
    matrix.check_features(spec)
    plan = plan_run(
        spec,
        matrix.shape,
        matrix.dtype.itemsize,
        resources,
        in_memory=False,
        ingest=matrix.ingest,
        pictures=len(request.figure.formats),
        aggregate=request.figure.aggregate,
        reordered=_reordered(request),
        pixels=round(prod(request.figure.figsize_inches) * request.figure.dpi**2),
        chunks=matrix.chunks,
        source_chunks=matrix.source_chunks,
        is_boolean=matrix.dtype == bool,
        is_floating=matrix.dtype.kind == "f",
        n_stored=matrix.n_stored,
    )
    if measure:
        where = existing_folder(directory) if isinstance(directory, Path) else None
        plan = calibrated(plan, where, available_cores())
    return replace(plan, notes=(*plan.notes, *([matrix.note] if matrix.note else []), *notes))


def _reordered(request: RunRequest) -> Literal["matrix", "pyramid"] | None:
    if request.pyramid:
        return "pyramid"
    return "matrix" if request.reordered else None


def check_room(directory: RunDirectory, plan: Plan, finished_axes: Collection[int]) -> None:
    """Refuse a run whose file system has no room for what it still has to write.

    Parameters
    ----------
    directory
        The run directory.
    plan
        The run.
    finished_axes
        Axes of which nothing is computed any more.

    Raises
    ------
    DiskSpaceError
        There is too little room; the message says how much would do.
    """
    if not isinstance(directory.path, Path):
        return  # of a bucket nobody knows how much room there is
    kept = _kept_bytes(Path(directory.matrix), Path(directory.arrays))
    for stage in (stage for stage in plan.stages if stage.name.startswith("linkage-")):
        kept[stage.name] = min(stage.scratch_bytes, bytes_of_records(directory, stage.name))
    if "matrix" in directory.state["stages"]:
        kept["ingest"] = plan.peak_disk_bytes  # compressed, it is smaller than planned
    if "picture" in directory.state["stages"]:
        kept["picture"] = plan.disk_bytes  # a new one takes the place of the old one
    for stage_name in ("reordered", "pyramid"):
        if stage_name in directory.state["stages"]:
            kept[stage_name] = plan.disk_bytes  # likewise
    for axis in finished_axes:
        name = AXIS_NAMES[axis]
        kept |= dict.fromkeys((f"distance-{name}", f"linkage-{name}"), plan.disk_bytes)
    free = shutil.disk_usage(directory.path).free
    refuse_too_little_disk(plan, free_bytes=free, kept_bytes=kept, path=str(directory.path))


def check_store(store: StorePath, plan: Plan) -> None:
    """Refuse a plan whose store, which need not be there yet, is where there is no room for it.

    Parameters
    ----------
    store
        Directory of the Zarr group of all arrays.
    plan
        What would be written.

    Raises
    ------
    DiskSpaceError
        There is too little room; the message says how much would do.
    """
    if not isinstance(store, Path):
        return
    free = shutil.disk_usage(existing_folder(store)).free
    kept = _kept_bytes(store / "matrix", store)
    refuse_too_little_disk(plan, free_bytes=free, kept_bytes=kept, path=str(store))


def check_scratch(plan: Plan) -> None:
    """Refuse a plan whose copy of the matrix has no room where temporary directories are made.

    Raises
    ------
    DiskSpaceError
        There is too little room; the message says how much would do.
    """
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    refuse_too_little_disk(plan, free_bytes=free, kept_bytes={}, path=folder)


def refuse_unseen(plan: Plan) -> None:
    """Refuse a plan without a store whose rows or ranks are at rest where workers cannot read them.

    Raises
    ------
    DataValueError
        Workers are on other machines, which do not see a temporary directory of this one.
    """
    if not plan.resources.elsewhere:
        return
    for stage in plan.stages:
        if stage.rows_at_rest or (stage.name.startswith("ranks-") and stage.scratch_bytes):
            raise DataValueError(
                f"the stage {stage.name} puts {format_bytes(stage.scratch_bytes)} into a temporary "
                f"directory of this machine, {tempfile.gettempdir()}, and there are workers on "
                "others: give store= a directory that the workers see"
            )


def _kept_bytes(matrix: Path, arrays: Path) -> dict[str, int]:
    """Bytes that stages have at rest; those of another question go before the new ones come."""
    kept = {"ingest": _size(matrix)}
    for name in AXIS_NAMES:
        kept[f"distance-{name}"] = sum(map(_size, arrays.glob(f"condensed_{name}*")))
    return kept


def existing_folder(path: Path) -> Path:
    """Return a directory, or the one above it that there is already.

    Examples
    --------
    >>> str(existing_folder(Path("/not/yet")))
    '/'
    """
    path = path.absolute()
    return next(folder for folder in (path, *path.parents) if folder.is_dir())


def _size(folder: Path) -> int:
    """Bytes of the files below a folder, 0 where there is none."""
    return sum(_sizes(folder))


def _sizes(folder: Path) -> Iterator[int]:
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                yield os.stat(os.path.join(parent, name)).st_size
            except FileNotFoundError:  # of a tile that a worker renames just now
                continue
