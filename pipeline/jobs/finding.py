"""Driver: the jobs of a run, as its queue has them now."""

from __future__ import annotations

from dataclasses import dataclass

from clustergrid.pipeline.jobs.names import workers_of
from clustergrid.pipeline.jobs.queues import Queue, QueuedJob, is_active
from clustergrid.pipeline.jobs.record import DriverRecord

__all__ = ["RunJobs", "find_drivers", "find_jobs"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunJobs:
    """Jobs of one run.

    Attributes
    ----------
    drivers
        Those of the driver, also what ended and the queue still knows; the latest last.
    workers
        Those of workers that wait or run.
    """

    drivers: tuple[QueuedJob, ...]
    workers: tuple[QueuedJob, ...]

    @property
    def active_drivers(self) -> tuple[QueuedJob, ...]:
        """Of the drivers' jobs those that wait or run."""
        return tuple(filter(is_active, self.drivers))

    def driver(self, number: str) -> QueuedJob | None:
        """Choose the job that matters: one that is active, or else the one of a number."""
        active = self.active_drivers
        if active:
            return active[-1]
        return next((job for job in self.drivers if job.number == number), None)


def find_drivers(queue: Queue, name: str, record: DriverRecord | None) -> list[QueuedJob]:
    """Find jobs of a run's driver, by name, and by the number that was noted if that has the name.

    Raises
    ------
    QueueError
        The queue does not answer.
    """
    noted = {record.number} if record is not None and record.queue == queue.word else set()
    return [job for job in queue.find(noted, {name}) if job.name == name]


def find_jobs(queue: Queue, name: str, record: DriverRecord | None) -> RunJobs:
    """Find all jobs of a run.

    Parameters
    ----------
    queue
        Where.
    name
        Of the driver's job.
    record
        Of the submission, if there was one.

    Raises
    ------
    QueueError
        The queue does not answer.
    """
    noted = {record.number} if record is not None else set()
    found = queue.find(noted, {name, workers_of(name)})
    return RunJobs(
        drivers=tuple(job for job in found if job.name == name),
        workers=tuple(job for job in found if job.name == workers_of(name) and is_active(job)),
    )
