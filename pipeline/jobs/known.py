"""Driver: the queue that a word of `--cluster` names."""

from __future__ import annotations

from clustergrid.pipeline.jobs.grid_engine import GridEngine
from clustergrid.pipeline.jobs.htcondor import HTCondor
from clustergrid.pipeline.jobs.lsf import LSF
from clustergrid.pipeline.jobs.pbs import PBS
from clustergrid.pipeline.jobs.queues import Queue
from clustergrid.pipeline.jobs.slurm import Slurm

__all__ = ["QUEUES_BY_WORD"]

QUEUES_BY_WORD: dict[str, Queue] = {
    queue.word: queue for queue in (Slurm(), GridEngine(), PBS(), LSF(), HTCondor())
}
"""All of them, by the words of `--cluster`."""
