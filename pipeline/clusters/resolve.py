"""Driver: the choice of a cluster, made once of options, presets, the site and the environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from clustergrid.pipeline.clusters.choice import CLUSTERS, ClusterChoice
from clustergrid.pipeline.clusters.surroundings import SlurmAllocation, resolve_cluster
from clustergrid.storage.errors import DataValueError

__all__ = ["resolve_choice"]


def resolve_choice(given: Mapping[str, Any], environment: Mapping[str, str]) -> ClusterChoice:
    """Make a choice of what was given.

    Parameters
    ----------
    given
        Of the fields of `ClusterChoice` those that were given; ``cluster`` may name a preset, whose
        options the others override.
    environment
        Of the process.

    Returns
    -------
    ClusterChoice
        Of a queue, or the allocation around us, with the number and the size of its workers.

    Raises
    ------
    DataValueError
        Options contradict one another, or there is no such cluster or preset.
    MissingExtraError
        The back end of a queue is not installed.

    Examples
    --------
    >>> resolve_choice({"cluster": "none"}, {}).cluster
    'none'
    """
    given = dict(given)
    word = given.get("cluster")
    if word is None and not (given.get("scheduler") or given.get("scheduler_file")):
        given["cluster"], given["note"] = resolve_cluster(_with_node_files(environment))
    elif word is not None and word not in CLUSTERS:
        from clustergrid.pipeline.clusters.presets import find_preset

        given = find_preset(word) | {k: v for k, v in given.items() if k != "cluster"}
        given["preset"] = word
    choice = ClusterChoice(**given)
    if choice.is_queue:
        from clustergrid.pipeline.clusters.jobqueue import queue_defaults

        return replace(choice, **queue_defaults(choice))
    if choice.cluster == "allocation" and not choice.is_remote:
        return _with_allocation(choice, environment)
    return choice


def _with_node_files(environment: Mapping[str, str]) -> dict[str, str]:
    """Add what some queues tell in files: a line for every node, or for every core of one."""
    found = dict(environment)
    for variable, counted in (("PBS_NODEFILE", "PBS_NUM_NODES"), ("PE_HOSTFILE", "NHOSTS")):
        try:
            with open(environment[variable], encoding="utf-8") as file:
                hosts = {line.split()[0] for line in file if line.strip()}
        except (KeyError, OSError):
            continue
        found[counted] = str(len(hosts))
    return found


def _with_allocation(choice: ClusterChoice, environment: Mapping[str, str]) -> ClusterChoice:
    found = SlurmAllocation.of(environment)
    if found is None:
        raise DataValueError(
            "--cluster allocation uses the nodes of a Slurm job, and this is not inside one "
            "(SLURM_JOB_ID is not set): --cluster slurm asks for jobs"
        )
    # Fewer or more cores a worker make more or fewer workers of the same allocation.
    cores = choice.cores or found.cores
    workers = choice.workers or max(found.nodes, found.workers * found.cores // cores)
    memory = found.memory_bytes and found.memory_bytes * found.workers // workers
    return replace(
        choice,
        workers=workers,
        cores=cores,
        memory_per_worker_bytes=choice.memory_per_worker_bytes or memory,
    )
