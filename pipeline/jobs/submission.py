"""Driver: submit the driver of a run as a job, once."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clustergrid.pipeline.jobs.finding import find_drivers
from clustergrid.pipeline.jobs.folder import (
    JOBS_VARIABLE,
    cannot_make,
    jobs_folder,
    make_jobs_folder,
    place_of,
)
from clustergrid.pipeline.jobs.known import QUEUES_BY_WORD
from clustergrid.pipeline.jobs.names import driver_job_name, worker_job_name
from clustergrid.pipeline.jobs.queues import DriverJob, Queue, is_active
from clustergrid.pipeline.jobs.record import Attempt, DriverRecord
from clustergrid.pipeline.jobs.script import DriverCommand, driver_script, variables_of
from clustergrid.pipeline.request import RunRequest
from clustergrid.storage.errors import (
    DataValueError,
    ObjectStoreError,
    RunDirectoryError,
    StorageError,
)
from clustergrid.storage.object_path import ObjectPath
from clustergrid.storage.places import StorePath, as_path
from clustergrid.storage.rundir import RunDirectory
from clustergrid.storage.runlock import Holder, lock_directory

__all__ = ["DriverResources", "Submission", "prepare", "submit"]

_DRIVER_BYTES = 10 * 10**9
_WARNING_SECONDS = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverResources:
    """What the job of the driver is asked for, apart from its workers.

    Attributes
    ----------
    cores
        Of its node.
    memory_bytes
        Of its node; None: a quarter more than the run may use of it (``--memory``).
    walltime_seconds
        Its longest time; None: as long as a worker's, or what the queue has.
    queue
        Queue (partition); None: that of the workers.
    extra
        More directives.
    """

    cores: int = 2
    memory_bytes: int | None = None
    walltime_seconds: int | None = None
    queue: str | None = None
    extra: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for directive in self.extra:
            if not directive.isprintable() or not directive.strip():
                raise DataValueError(
                    f"--driver-job-extra is one line of a job script, got {directive!r}"
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """All that is submitted, ready to be looked at.

    Attributes
    ----------
    queue
        Where.
    directory
        The run directory, without links.
    name
        Of the job.
    files
        Names and texts of the files in the folder of jobs; the first is submitted.
    notes
        What people should know.
    """

    queue: Queue
    directory: StorePath
    name: str
    files: dict[str, str]
    notes: tuple[str, ...] = ()


def prepare(request: RunRequest, words: Sequence[str], resources: DriverResources) -> Submission:
    """Render what a submission of a run would be; nothing is written, and no queue is asked.

    Parameters
    ----------
    request
        The run.
    words
        Options and arguments of ``clustergrid run`` that make this request.
    resources
        Of the job of the driver.

    Raises
    ------
    DataValueError
        The run is not for a queue, or what it is given cannot stand in a script.
    MissingExtraError
        dask-jobqueue is not installed.
    StorageError
        There is no place for the folder of its jobs.
    """
    from clustergrid.pipeline.clusters.jobqueue import JobFolder, worker_job_script

    choice = request.cluster
    if not choice.is_queue:
        raise DataValueError(
            "what is submitted needs a queue of jobs, as --cluster slurm (or a preset of one); "
            f"known are {', '.join(QUEUES_BY_WORD)}"
        )
    queue = QUEUES_BY_WORD[choice.cluster]
    place = place_of(request.directory)
    directory = as_path(place)
    folder = jobs_folder(directory)
    variables = variables_of(os.environ)
    job = _driver_job(request, resources, driver_job_name(place), variables.hidden)
    if request.memory_bytes is None:
        # Not what is free there: a node may be shared, and the queue may count.
        words = ("--memory", str(job.memory_bytes * 4 // 5), *words)
    workers = JobFolder(path=folder, job_name=worker_job_name(place))
    try:
        worker_script = worker_job_script(choice, workers)  # which loads the site's configuration
    except OSError as error:
        raise cannot_make(directory, error) from error
    command = DriverCommand(
        python=sys.executable,
        words=("run", *words),
        working_directory=_working_directory(),
        folder=str(folder),
        url=place if isinstance(directory, ObjectPath) else None,
        prologue=tuple(filter(None, _site(choice.cluster, "job-script-prologue") or ())),
        shown=variables.shown,
    )
    files = {"driver.sh": driver_script(queue, job, command)}
    description = queue.submission_file(job, "driver.sh")
    if description is not None:
        files = {f"driver.{queue.suffix}": description, **files}
    files[f"workers.{queue.suffix}"] = worker_script
    return Submission(
        queue=queue,
        directory=directory,
        name=job.name,
        files=files,
        notes=_notes(queue, directory, variables.hidden),
    )


def _driver_job(
    request: RunRequest, resources: DriverResources, name: str, variables: tuple[str, ...]
) -> DriverJob:
    """Say what the job asks for: what was asked for, or what the site has."""
    choice, asked = request.cluster, request.memory_bytes
    walltime = resources.walltime_seconds or choice.walltime_seconds
    usual = _DRIVER_BYTES if asked is None else asked * 5 // 4
    site = {each: _site(choice.cluster, each) for each in ("queue", "account", "project")}
    return DriverJob(
        name=name,
        cores=resources.cores,
        memory_bytes=resources.memory_bytes or usual,
        walltime_seconds=walltime,
        # Of a short job not all of its time.
        warning_seconds=min(_WARNING_SECONDS, (walltime or 3 * _WARNING_SECONDS) // 3),
        queue=resources.queue or choice.queue or site["queue"],
        account=choice.account or site["account"] or site["project"],
        extra=resources.extra,
        variables=variables,
    )


def submit(submission: Submission) -> DriverRecord:
    """Write the scripts into the run's folder of jobs, and submit the driver.

    Raises
    ------
    RunDirectoryError
        A job, or a process, of this run is at work or waits; the message has its number.
    QueueError
        The queue refuses, or is not there.
    """
    directory = RunDirectory(submission.directory, create=True)
    folder = make_jobs_folder(submission.directory)
    with lock_directory(folder):  # not the run's own lock, which the job may want at once
        record = DriverRecord.read(submission.directory)
        _refuse_second(submission, record)
        holder = directory.holder()
        if holder is not None and not _is_of_lost_job(submission.directory, holder):
            raise RunDirectoryError(
                f"{submission.directory} is in use by process {holder.pid} on {holder.host}: wait "
                "for it, or stop it"
            )
        for name, text in submission.files.items():
            _write_script(folder / name, text)
        script = folder / next(iter(submission.files))
        number = submission.queue.submit(script)
        record = DriverRecord(
            queue=submission.queue.word,
            number=number,
            name=submission.name,
            host=socket.gethostname(),
            submitted=round(time.time(), 3),
            script=str(script),
            log=str(folder / "driver.log"),
        )
        record.write(submission.directory)
    if isinstance(submission.directory, ObjectPath):
        with suppress(ObjectStoreError):  # the job is submitted, and known here
            record.leave(submission.directory)
    return record


def _refuse_second(submission: Submission, record: DriverRecord | None) -> None:
    """Refuse while a job of this run waits or runs, in this queue or in one of before."""
    found = find_drivers(submission.queue, submission.name, record)
    if record is not None and record.queue != submission.queue.word:
        found += find_drivers(QUEUES_BY_WORD[record.queue], record.name, record)
    active = next(filter(is_active, found), None)
    if active is not None:
        where = f" on {active.node}" if active.node else ""
        raise RunDirectoryError(
            f"job {active.number} of {submission.queue.word} is {active.state}{where} for "
            f"{submission.directory} already: wait for it (clustergrid status), or cancel it "
            "(clustergrid cancel)"
        )


def _is_of_lost_job(directory: StorePath, holder: Holder) -> bool:
    """Whether a process is that of a job, none of which is active any more."""
    attempt = Attempt.read(directory)
    return attempt is not None and (attempt.host, attempt.pid) == (holder.host, holder.pid)


def _write_script(file: Path, text: str) -> None:
    """Write a script that only its owner reads: it shows paths, and names of variables."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape", newline="\n")
        temporary.chmod(0o700)
        temporary.replace(file)
    except OSError as error:
        raise StorageError(f"cannot write {file}: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def _working_directory() -> str:
    """Where we are, by the name that the user has for it: mounts may differ from node to node."""
    named, found = os.environ.get("PWD", ""), os.getcwd()
    try:
        return named if named.startswith("/") and os.path.samefile(named, found) else found
    except OSError:
        return found


def _site(word: str, name: str) -> Any:
    """Look into the site's configuration of dask-jobqueue, which `clusters.jobqueue` loads."""
    import dask

    return dask.config.get(f"jobqueue.{word}.{name}", None)


def _notes(queue: Queue, directory: StorePath, hidden: tuple[str, ...]) -> tuple[str, ...]:
    notes = []
    if isinstance(directory, ObjectPath):
        notes.append(
            f"scripts and logs of its jobs are in {jobs_folder(directory)}, which all nodes have "
            f"to see: if they do not, let {JOBS_VARIABLE} name a folder for `submit`, `status` and "
            "`cancel`"
        )
    if queue.word == "sge":
        notes.append(
            "sge is not asked for the driver's cores and memory, which every site names otherwise: "
            "--driver-job-extra '-pe smp 2' --driver-job-extra '-l mem_free=10G'"
        )
    if hidden:
        notes.append(
            f"taken from the environment by the queue, and written nowhere: {', '.join(hidden)}"
        )
    if hidden and isinstance(directory, ObjectPath) and not queue.hands_on:
        option = "getenv=" if queue.word == "htcondor" else "-v "
        notes.append(
            f"{queue.word} gives its workers none of them, unless a site has it so or they are "
            f"asked for: --job-extra '{option}{','.join(hidden)}'"
        )
    return tuple(notes)
