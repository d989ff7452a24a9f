"""Driver: cancel the jobs of a run, wherever it was submitted."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from clustergrid.pipeline.clusters.choice import QUEUES
from clustergrid.pipeline.jobs.finding import RunJobs, find_jobs
from clustergrid.pipeline.jobs.folder import place_of
from clustergrid.pipeline.jobs.known import QUEUES_BY_WORD
from clustergrid.pipeline.jobs.names import driver_job_name
from clustergrid.pipeline.jobs.queues import Queue, QueuedJob
from clustergrid.pipeline.jobs.record import DriverRecord
from clustergrid.storage.errors import RunDirectoryError
from clustergrid.storage.places import StorePath
from clustergrid.storage.rundir import RunDirectory

__all__ = ["Cancelled", "cancel_jobs"]

_GONE_SECONDS = 90.0
_LOOK_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled:
    """What was cancelled.

    Attributes
    ----------
    queue
        Where.
    drivers, workers
        Numbers of their jobs.
    left
        Numbers of those that were asked to go, and have not gone yet.
    """

    queue: str
    drivers: tuple[str, ...]
    workers: tuple[str, ...]
    left: tuple[str, ...]

    def __str__(self) -> str:
        """Say it in words."""
        done = []
        if self.drivers:
            done.append(f"the driver's job {', '.join(self.drivers)}")
        if self.workers:
            several = "jobs" if len(self.workers) > 1 else "job"
            done.append(f"{len(self.workers)} {several} of workers ({', '.join(self.workers)})")
        if not done:
            return f"there was nothing to cancel: {self.queue} has no job of this run"
        told = f"cancelled {' and '.join(done)} of {self.queue}"
        if self.left:
            told += f"; still going: {', '.join(self.left)}"
        return f"{told}. The same command goes on from here"


def cancel_jobs(directory: StorePath, *, gone_seconds: float = _GONE_SECONDS) -> Cancelled:
    """Cancel the jobs of a run: the driver's, and when that is gone what is left of the workers'.

    A driver that is told first takes its workers along, and asks for no new ones.

    Parameters
    ----------
    directory
        The run directory.
    gone_seconds
        How long to wait for the driver, and then for the workers.

    Raises
    ------
    RunDirectoryError
        It is no run directory, or the run is not on a queue.
    QueueError
        The queue refuses, or cannot be asked from here.
    """
    record = DriverRecord.read(directory)
    queue, name = _where(directory, record)

    def look() -> RunJobs:
        return find_jobs(queue, name, record)

    jobs = look()
    drivers, workers = jobs.active_drivers, {job.number: job for job in jobs.workers}
    if drivers:
        queue.cancel(_numbers(drivers))
        if record is not None:
            replace(record, cancelled=round(time.time(), 3)).write(directory)
        end = time.monotonic() + gone_seconds
        while (jobs := look()).active_drivers and time.monotonic() < end:
            workers |= {job.number: job for job in jobs.workers}
            time.sleep(_LOOK_SECONDS)
        workers |= {job.number: job for job in jobs.workers}
    left = jobs.active_drivers
    if jobs.workers:
        queue.cancel(_numbers(jobs.workers))
        end = time.monotonic() + gone_seconds
        while (jobs := look()).workers and time.monotonic() < end:
            time.sleep(_LOOK_SECONDS)
    return Cancelled(
        queue=queue.word,
        drivers=tuple(_numbers(drivers)),
        workers=tuple(workers),
        left=tuple(_numbers((*left, *jobs.workers))),
    )


def _where(directory: StorePath, record: DriverRecord | None) -> tuple[Queue, str]:
    """Say where the jobs of a run are, and what its driver's is called."""
    if record is not None and record.queue in QUEUES_BY_WORD:
        return QUEUES_BY_WORD[record.queue], record.name
    state = RunDirectory(directory).state
    word = state.get("request", {}).get("cluster", {}).get("cluster")
    if word not in QUEUES:
        raise RunDirectoryError(
            f"{directory} was not submitted, and its tasks are not on a queue: there are no jobs "
            "of it. A run that is under way is stopped by Ctrl-C, or by SIGTERM to its process"
        )
    return QUEUES_BY_WORD[word], driver_job_name(place_of(directory))


def _numbers(jobs: Sequence[QueuedJob]) -> list[str]:
    return [job.number for job in jobs]
