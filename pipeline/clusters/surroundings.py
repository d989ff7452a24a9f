"""Plan: the batch job that a process finds itself in, as its environment tells."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from clustergrid.pipeline.resources import local_worker_processes

__all__ = ["SlurmAllocation", "resolve_cluster", "slurm_cores", "slurm_memory_bytes"]

_MEGABYTE = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class SlurmAllocation:
    """What a Slurm job was given, and the workers that it has room for.

    Attributes
    ----------
    number
        Of the job.
    nodes
        That it has.
    is_inside
        Whether this process runs on one of them, and not, after ``salloc``, on a login node.
    workers, cores
        Worker processes on all nodes, and cores of each: the tasks of the job where it was given
        ``--cpus-per-task``, otherwise processes of a few threads.
    memory_bytes
        Of each worker; None where the job did not ask for an amount. A driver that is inside has as
        much of its node.

    Examples
    --------
    >>> SlurmAllocation.of({"SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "2", "SLURM_NTASKS": "6",
    ...                     "SLURM_CPUS_PER_TASK": "8", "SLURM_MEM_PER_CPU": "1000"}).workers
    6
    """

    number: str
    nodes: int
    is_inside: bool
    workers: int
    cores: int
    memory_bytes: int | None

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> SlurmAllocation | None:
        """Read the variables that Slurm sets; None outside of a job."""
        number = environment.get("SLURM_JOB_ID")
        if not number:
            return None
        nodes = _number(environment, "SLURM_JOB_NUM_NODES", "SLURM_NNODES") or 1
        of_node = _cores_of_each_node(environment.get("SLURM_JOB_CPUS_PER_NODE", ""))
        cores = _number(environment, "SLURM_CPUS_PER_TASK")
        if cores is not None:
            workers = max(nodes, _number(environment, "SLURM_NTASKS") or nodes)
        else:
            processes = local_worker_processes(of_node)
            workers, cores = nodes * processes, of_node // processes
        memory = _number(environment, "SLURM_MEM_PER_NODE")
        of_core = _number(environment, "SLURM_MEM_PER_CPU")
        if memory is None and of_core is not None:
            memory = of_core * max(of_node, cores)
        is_inside = bool(environment.get("SLURMD_NODENAME"))
        processes = -(-workers // nodes) + is_inside
        return cls(
            number=number,
            nodes=nodes,
            is_inside=is_inside,
            workers=workers,
            cores=cores,
            memory_bytes=memory * _MEGABYTE // processes if memory else None,
        )


def slurm_memory_bytes(environment: Mapping[str, str]) -> int | None:
    """Memory of this node that the Slurm job around us was given; None where nobody says.

    Examples
    --------
    >>> inside = {"SLURM_JOB_ID": "7", "SLURMD_NODENAME": "n1"}
    >>> slurm_memory_bytes(inside | {"SLURM_MEM_PER_NODE": "4000"}) // 2**20
    4000
    >>> inside |= {"SLURM_MEM_PER_CPU": "500", "SLURM_CPUS_ON_NODE": "4"}
    >>> slurm_memory_bytes(inside) // 2**20
    2000
    """
    if not _is_inside(environment):
        return None
    of_node = _number(environment, "SLURM_MEM_PER_NODE")  # 0: all of it
    of_core = _number(environment, "SLURM_MEM_PER_CPU")
    if of_node is None and of_core is not None:
        of_node = of_core * (_number(environment, "SLURM_CPUS_ON_NODE") or 1)
    return of_node * _MEGABYTE if of_node else None


def slurm_cores(environment: Mapping[str, str]) -> int | None:
    """Cores of this node that the Slurm job around us was given; None where nobody says."""
    return _number(environment, "SLURM_CPUS_ON_NODE") if _is_inside(environment) else None


def resolve_cluster(environment: Mapping[str, str]) -> tuple[str, str]:
    """Choose where a command runs that does not say so.

    Parameters
    ----------
    environment
        Of the process.

    Returns
    -------
    word
        ``"local"``, or ``"allocation"`` inside a Slurm job of several nodes.
    note
        A line for people about it; empty where nothing is special.

    Examples
    --------
    >>> resolve_cluster({})
    ('local', '')
    >>> resolve_cluster({"SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "2"})[0]
    'allocation'
    """
    slurm = SlurmAllocation.of(environment)
    if slurm is not None:
        return _resolve_slurm(slurm)
    for queue, word, hosts in _other_jobs(environment):
        if hosts > 1:
            return "local", (
                f"inside a {queue} job of {hosts} nodes: only this one is used (mpirun with "
                f"--cluster mpi uses all; --cluster {word} makes jobs of the workers)"
            )
    return "local", ""


def _resolve_slurm(slurm: SlurmAllocation) -> tuple[str, str]:
    if slurm.nodes == 1 and slurm.is_inside:
        return "local", f"inside Slurm job {slurm.number}: using its cores and memory of this node"
    return "allocation", (
        f"inside Slurm job {slurm.number}: {slurm.workers} workers of {slurm.cores} cores on its "
        f"{slurm.nodes} node{'s' if slurm.nodes > 1 else ''} (--cluster local: on this one alone)"
    )


def _other_jobs(environment: Mapping[str, str]) -> list[tuple[str, str, int]]:
    """Jobs of other queues: name, word, and nodes as far as variables tell."""
    lsf = environment.get("LSB_MCPU_HOSTS", "").split()[::2]  # host cores host cores
    hosts = set(lsf or environment.get("LSB_HOSTS", "").split())
    return [
        ("PBS", "pbs", (_number(environment, "PBS_NUM_NODES") or 0)),
        ("LSF", "lsf", len(hosts)),
        ("Grid Engine", "sge", (_number(environment, "NHOSTS") or 0)),
    ]


def _is_inside(environment: Mapping[str, str]) -> bool:
    return bool(environment.get("SLURM_JOB_ID") and environment.get("SLURMD_NODENAME"))


def _number(environment: Mapping[str, str], *names: str) -> int | None:
    """Return the first of some variables that is a number."""
    for name in names:
        text = environment.get(name, "")
        if text.isdecimal():
            return int(text)
    return None


def _cores_of_each_node(text: str) -> int:
    """Read the least number of ``2(x3),4``: three nodes of two cores and one of four.

    Examples
    --------
    >>> _cores_of_each_node("2(x3),4"), _cores_of_each_node("16"), _cores_of_each_node("")
    (2, 16, 1)
    """
    found = [int(cores) for cores in re.findall(r"(?:^|,)(\d+)", text)]
    return min((cores for cores in found if cores), default=1)
