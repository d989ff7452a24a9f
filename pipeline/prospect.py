"""Driver: the plan of a run that nobody has started, of an input that is only looked at."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from clustergrid.pipeline.execution import (
    DaskExecutor,
    Executor,
    ThreadsExecutor,
    available_cores,
    available_memory_bytes,
    resources_of,
)
from clustergrid.pipeline.footprint import DRIVER_BYTES
from clustergrid.pipeline.opening import open_stages
from clustergrid.pipeline.planned import Plan
from clustergrid.pipeline.request import RunRequest
from clustergrid.pipeline.resources import DescribedCluster, Resources
from clustergrid.pipeline.run_plan import (
    PlannedMatrix,
    check_room,
    check_store,
    is_small,
    plan_of,
    planned_matrix,
    starting_resources,
)
from clustergrid.pipeline.sizes import parse_bytes
from clustergrid.pipeline.survey import survey_input, survey_stream
from clustergrid.storage.readers.chunking import SMALL_BYTES
from clustergrid.storage.rundir import RunDirectory

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["CLUSTER_NOTE", "look_at", "plan_ahead", "prospective_plan"]

CLUSTER_NOTE = (
    "of a cluster whose cores are like this machine's, and whose one file system is as fast"
)


def prospective_plan(
    request: RunRequest, cluster: DescribedCluster | None = None, *, check_disk: bool = False
) -> Plan:
    """Plan a run of a command, here or on a cluster that is only described.

    Parameters
    ----------
    request
        What would be asked.
    cluster
        Where it would run; None: on this machine.
    check_disk
        Whether the file system of the run directory must have room for it.

    Raises
    ------
    ClustergridError
        The input, the memory or the disk is not as it has to be.
    """
    matrix = survey_input(request.input, request.layer)
    notes: tuple[str, ...] = ()
    cluster = cluster or request.cluster.described
    if cluster is not None:
        resources = cluster.resources(request.memory_bytes or cluster.memory_bytes)
        notes = (CLUSTER_NOTE,)
    else:
        here = Resources(
            memory_bytes=request.memory_bytes or available_memory_bytes(DRIVER_BYTES),
            threads=available_cores(),
        )
        resources = _starting(request, matrix, here)
    plan = plan_of(request, matrix, resources, directory=request.directory, notes=notes)
    if check_disk:
        _check_disk(request, plan)
    return plan


def plan_ahead(request: RunRequest, here: Resources) -> Plan | None:
    """Plan a run whose long input is copied before anything else, before it is copied.

    Parameters
    ----------
    request
        What was asked.
    here
        Memory and threads of this machine.

    Returns
    -------
    Plan or None
        None where the input is short, or need not be copied to be planned for.

    Raises
    ------
    MemoryLimitError
        It would not fit the memory: better said now than after the copy.
    """
    matrix = survey_stream(request.input, request.layer)
    if matrix is None or matrix.nbytes <= SMALL_BYTES:
        return None
    resources = _starting(request, matrix, here)
    return plan_of(request, matrix, resources, directory=request.directory)


def _starting(request: RunRequest, matrix: PlannedMatrix, here: Resources) -> Resources:
    """Resources of a run that has nothing yet."""
    clustered = [
        matrix.shape[axis]
        for axis in (0, 1)
        if request.axis(axis).cluster and request.axis(axis).linkage is None
    ]
    small = is_small(max(clustered, default=0), matrix.nbytes)
    return starting_resources(request.cluster, here, small=small)


def _check_disk(request: RunRequest, plan: Plan) -> None:
    if (request.directory / "run.json").exists():
        check_room(RunDirectory(request.directory), plan, ())
    else:
        check_store(request.directory, plan)


def look_at(
    data: Any, memory: str | int | None, store: str | os.PathLike[str] | None, client: Client | None
) -> tuple[PlannedMatrix, Resources, int]:
    """Look at what is given to a function of Python, and at what there is for it.

    Parameters
    ----------
    data, memory, store, client
        As in `clustermap`.

    Returns
    -------
    matrix
        What a plan has to know of it.
    resources
        Memory and threads, here or of the client's workers.
    matrix_bytes_held
        Of the matrix, in this process.
    """
    if isinstance(data, str | os.PathLike):
        matrix = survey_input(data)
        if matrix.is_stream and (store is not None or matrix.nbytes > SMALL_BYTES):
            # To open it would be to copy it.
            executor: Executor = ThreadsExecutor() if client is None else DaskExecutor(client)
            limit = available_memory_bytes(DRIVER_BYTES) if memory is None else parse_bytes(memory)
            return matrix, resources_of(executor, limit), 0
    stages = open_stages(data, memory=memory, store=store, client=client)
    found = planned_matrix(stages.matrix, stages.is_copied)
    return found, stages.resources, stages.matrix_bytes_held
