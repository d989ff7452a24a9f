"""Driver: the stages of a run that is at rest, as the request in its directory asked for them."""

from __future__ import annotations

from clustergrid.pipeline.execution import (
    ThreadsExecutor,
    available_cores,
    available_memory_bytes,
)
from clustergrid.pipeline.intake import matrix_key
from clustergrid.pipeline.kept import RunStages
from clustergrid.pipeline.monitor import Progress
from clustergrid.pipeline.planning import Resources
from clustergrid.storage.matrix import open_matrix
from clustergrid.storage.rundir import RunDirectory

__all__ = ["open_stored_stages"]


def open_stored_stages(directory: RunDirectory, progress: Progress) -> RunStages:
    """Open the stages of a finished run: on its copy of the matrix, or on the input in place.

    Parameters
    ----------
    directory
        The run directory, locked.
    progress
        Who is told of what has to be computed.

    Raises
    ------
    StorageError
        The matrix is not there.
    """
    asked = directory.state["request"]
    if directory.state["matrix"]["used_in_place"]:
        matrix = open_matrix(asked["input"], layer=asked["layer"])
    else:
        matrix = open_matrix(directory.matrix, layer="matrix")
    return RunStages(
        directory,
        matrix_key(directory),
        matrix,
        z_score=asked["z_score"],
        standard_scale=asked["standard_scale"],
        dtype=asked["dtype"],
        executor=ThreadsExecutor(),
        resources=Resources(memory_bytes=available_memory_bytes(), threads=available_cores()),
        progress=progress,
    )
