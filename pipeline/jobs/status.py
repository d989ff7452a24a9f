"""Driver: how the job of a run is doing: what its queue says, and what it noted itself."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from clustergrid.pipeline.jobs.finding import RunJobs, find_jobs
from clustergrid.pipeline.jobs.folder import JOBS_VARIABLE, jobs_folder
from clustergrid.pipeline.jobs.known import QUEUES_BY_WORD
from clustergrid.pipeline.jobs.queues import QueuedJob, QueueError
from clustergrid.pipeline.jobs.record import Attempt, DriverRecord
from clustergrid.storage.object_path import ObjectPath
from clustergrid.storage.places import StorePath

__all__ = ["JobStatus", "job_status"]

Ask = Callable[[DriverRecord], RunJobs]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStatus:
    """How the job of a run's driver is doing.

    Attributes
    ----------
    queue, number
        Of the job.
    state
        ``"pending"``, ``"running"``, ``"ended"``, ``"died"`` (without a word) or ``"unknown"``: the
        queue cannot be asked from here, or what is known of the job is elsewhere.
    detail
        What else there is to say: why it waits or ended, where it runs.
    attempt
        How many times it ran; 0 before it does.
    exit_status
        Of the driver, where it ended.
    workers_running, workers_pending
        Jobs of workers.
    log
        What the driver prints.
    """

    queue: str
    number: str
    state: str
    detail: str
    attempt: int = 0
    exit_status: int | None = None
    workers_running: int = 0
    workers_pending: int = 0
    log: str = ""

    @property
    def is_over(self) -> bool:
        """Whether it is known that nothing of the job runs any more."""
        return self.state in ("ended", "died")

    @property
    def lines(self) -> list[str]:
        """For people."""
        told = f"job {self.number} of {self.queue}: {self.state}"
        told += f", {self.detail}" if self.detail else ""
        told += f" (attempt {self.attempt})" if self.attempt > 1 else ""
        lines = [told]
        if self.workers_running or self.workers_pending:
            lines.append(
                f"jobs of workers: {self.workers_running} running, {self.workers_pending} pending"
            )
        return [*lines, f"log: {self.log}"]


def job_status(directory: StorePath, ask: Ask | None = None) -> JobStatus | None:
    """Say how the job of a run is doing.

    Parameters
    ----------
    directory
        The run directory.
    ask
        What finds the jobs of a record; None: its queue.

    Returns
    -------
    JobStatus or None
        None of a run that nobody submitted. Of one in a bucket whose folder of jobs is not here, it
        says where that is, and nothing of the job.

    Raises
    ------
    RunDirectoryError
        The records of the job are damaged.
    DataValueError, StorageError
        As `clustergrid.pipeline.jobs.folder.jobs_folder` raises.
    """
    record = DriverRecord.read(directory)
    if record is None:
        return _submitted_elsewhere(directory) if isinstance(directory, ObjectPath) else None
    if record.queue not in QUEUES_BY_WORD:
        return None
    attempt = Attempt.read(directory)
    try:
        jobs = (ask or _ask)(record)
    except QueueError as error:
        return _status(record, attempt, RunJobs(drivers=(), workers=()), "unknown", str(error))
    job = jobs.driver(record.number)
    ours = attempt if attempt is not None and _is_of(attempt, record) else None
    if job is not None and job.state == "pending":
        return _status(record, ours, jobs, "pending", _pending(job, ours), job)
    if job is not None and job.state == "running":
        where = " ".join(filter(None, (job.node and f"on {job.node}", _since(job.since))))
        return _status(record, ours, jobs, "running", where, job)
    return _over(record, ours, jobs, job)


def _submitted_elsewhere(directory: ObjectPath) -> JobStatus | None:
    """Say where a run was submitted whose folder of jobs has no record of that."""
    left = DriverRecord.read_left(directory)
    if left is None:
        return None
    detail = (
        f"it was submitted on {left.host}, and what is known of it is beside its log, not in "
        f"{jobs_folder(directory)} of this machine. Ask there, or let {JOBS_VARIABLE} be what it "
        "was there"
    )
    nothing = RunJobs(drivers=(), workers=())
    return _status(left, None, nothing, "unknown", detail)


def _ask(record: DriverRecord) -> RunJobs:
    queue = QUEUES_BY_WORD[record.queue]
    return find_jobs(queue, record.name, record)


def _is_of(attempt: Attempt, record: DriverRecord) -> bool:
    """Whether an attempt is of this submission, and not of one before."""
    is_awaited = attempt.state == "requeued"
    return is_awaited or attempt.job == record.number or attempt.started >= record.submitted


def _over(
    record: DriverRecord, attempt: Attempt | None, jobs: RunJobs, job: QueuedJob | None
) -> JobStatus:
    """Say how a job ended that the queue does not run any more."""
    said = ", ".join(filter(None, (job.word, job.reason))) if job is not None else ""
    the_queue = f"; {record.queue} says {said}" if said else f"; {record.queue} forgot it"
    if record.cancelled is not None and (attempt is None or attempt.state != "ended"):
        detail = f"cancelled at {_time(record.cancelled)}"
        detail += ", before it started" if attempt is None else ""
        return _status(record, attempt, jobs, "ended", detail, job)
    if attempt is None:
        return _status(record, attempt, jobs, "died", f"it never started{the_queue}", job)
    if attempt.state == "running":
        detail = (
            f"on {attempt.host}, without a word, since {_time(attempt.started)}{the_queue}. Submit "
            "it again: it goes on from where it was"
        )
        return _status(record, attempt, jobs, "died", detail, job)
    if attempt.state == "requeued":
        detail = f"{attempt.why}, and it did not come back{the_queue}. Submit it again"
        return _status(record, attempt, jobs, "died", detail, job)
    detail = f"exit status {attempt.exit_status}"
    detail += f" at {_time(attempt.ended)}" if attempt.ended is not None else ""
    detail += f": {attempt.why}" if attempt.why else ""
    return _status(record, attempt, jobs, "ended", detail, job)


def _pending(job: QueuedJob, attempt: Attempt | None) -> str:
    """Say why a job waits, and what became of the attempt before."""
    waits = job.reason or job.word
    if attempt is not None and attempt.state == "requeued":
        return f"{waits}; {attempt.why}, and it goes on from where it was"
    if attempt is not None and attempt.state == "running":
        return f"{waits}; it was taken from {attempt.host}, and goes on from where it was"
    return waits


def _status(
    record: DriverRecord,
    attempt: Attempt | None,
    jobs: RunJobs,
    state: str,
    detail: str,
    job: QueuedJob | None = None,
) -> JobStatus:
    states = [worker.state for worker in jobs.workers]
    return JobStatus(
        queue=record.queue,
        number=record.number if job is None else job.number,
        state=state,
        detail=detail,
        attempt=0 if attempt is None else attempt.attempt,
        exit_status=None if attempt is None else attempt.exit_status,
        workers_running=states.count("running"),
        workers_pending=states.count("pending"),
        log=os.path.normpath(record.log),
    )


def _since(since: str) -> str:
    return f"since {since.replace('T', ' ')}" if since else ""


def _time(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds).astimezone():%Y-%m-%d %H:%M:%S}"
