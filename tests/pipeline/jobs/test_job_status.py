"""What is told of a run's job, of what its queue says and what it noted itself."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import pytest

from clustergrid.pipeline.jobs.finding import RunJobs
from clustergrid.pipeline.jobs.folder import jobs_folder
from clustergrid.pipeline.jobs.names import driver_job_name
from clustergrid.pipeline.jobs.queues import QueuedJob, QueueError
from clustergrid.pipeline.jobs.record import Attempt, DriverRecord
from clustergrid.pipeline.jobs.status import JobStatus, job_status
from clustergrid.pipeline.status import read_status
from clustergrid.storage.errors import RunDirectoryError
from clustergrid.storage.rundir import RunDirectory

WORKERS = tuple(
    QueuedJob(number=str(n), name="w", state=state, word=state)
    for n, state in ((21, "running"), (22, "running"), (23, "pending"))
)


@pytest.fixture
def directory(tmp_path) -> Path:
    jobs_folder(tmp_path).mkdir()
    submitted(tmp_path).write(tmp_path)
    return tmp_path


def submitted(directory: Path, **fields) -> DriverRecord:
    known = {"queue": "slurm", "number": "17", "host": "login1", "submitted": 100.0,
             "script": "/r/jobs/driver.sh", "log": "/r/jobs/driver.log"}  # fmt: skip
    name = driver_job_name(os.path.realpath(directory))
    return DriverRecord(**{**known, "name": name, **fields})


def noted(directory: Path, **fields) -> None:
    known = {"attempt": 1, "job": "17", "host": "n1", "pid": 7, "started": 110.0}
    Attempt(**{**known, **fields}).write(directory)


def told(directory: Path, *drivers: QueuedJob, workers=()) -> JobStatus:
    status = job_status(directory, lambda record: RunJobs(drivers=drivers, workers=tuple(workers)))
    assert status is not None
    assert status.log == "/r/jobs/driver.log"
    return status


def job(state: str, word: str, **fields) -> QueuedJob:
    return QueuedJob(number="17", name="clustergrid-0a1b2c3d", state=state, word=word, **fields)


def test_a_run_that_nobody_submitted_has_no_job(tmp_path) -> None:
    assert job_status(tmp_path) is None


def test_a_job_that_waits(directory) -> None:
    status = told(directory, job("pending", "PENDING", reason="Resources"))
    assert (status.state, status.detail, status.is_over) == ("pending", "Resources", False)
    assert status.lines[0] == "job 17 of slurm: pending, Resources"
    noted(directory, state="requeued", why="its walltime was over", attempt=2)
    status = told(directory, job("pending", "PENDING", reason="BeginTime"))
    assert status.lines[0] == (
        "job 17 of slurm: pending, BeginTime; its walltime was over, and it goes on from where it "
        "was (attempt 2)"
    )


def test_a_job_that_runs_with_its_workers(directory) -> None:
    noted(directory)
    running = job("running", "RUNNING", node="n1", since="2026-11-23T09:00:00")
    status = told(directory, running, workers=WORKERS)
    assert (status.workers_running, status.workers_pending) == (2, 1)
    assert status.lines == [
        "job 17 of slurm: running, on n1 since 2026-11-23 09:00:00",
        "jobs of workers: 2 running, 1 pending",
        "log: /r/jobs/driver.log",
    ]


def test_a_job_that_ended(directory) -> None:
    noted(directory, state="ended", ended=200.0, exit_status=1)
    status = told(directory)
    assert (status.state, status.exit_status) == ("ended", 1)
    assert status.detail.startswith("exit status 1 at 1970-01-01")
    noted(directory, state="ended", ended=200.0, exit_status=143, why="cancelled")
    assert told(directory, job("ended", "CANCELLED")).detail.endswith(": cancelled")


def test_a_job_that_died_without_a_word(directory) -> None:
    noted(directory)
    status = told(directory, job("ended", "NODE_FAIL", reason="NodeDown"))
    assert (status.state, status.is_over) == ("died", True)
    assert "without a word" in status.detail
    assert "slurm says NODE_FAIL, NodeDown" in status.detail
    assert "slurm forgot it" in told(directory).detail


def test_a_job_that_never_started(directory) -> None:
    noted(directory, job="16", started=50.0)  # of the submission before
    status = told(directory, job("ended", "CANCELLED"))
    assert (status.state, status.attempt) == ("died", 0)
    assert status.detail == "it never started; slurm says CANCELLED"


def test_a_job_that_was_cancelled_before_it_could_say_so(directory) -> None:
    submitted(directory, cancelled=300.0).write(directory)
    status = told(directory, job("ended", "CANCELLED"))
    assert status.state == "ended"
    assert re.fullmatch(r"cancelled at 1970-01-01 .*, before it started", status.detail)
    noted(directory)
    assert re.fullmatch(r"cancelled at 1970-01-01 [\d:]+", told(directory).detail)


def test_a_copy_of_a_run_has_not_its_job(directory, tmp_path_factory) -> None:
    """Or `cancel` of the copy would cancel the job of the original."""
    copy = tmp_path_factory.mktemp("copy") / "run"
    shutil.copytree(directory, copy)
    assert DriverRecord.read(directory) is not None
    assert DriverRecord.read(copy) is None
    assert job_status(copy) is None


@pytest.mark.parametrize("number", ["--user=ann", "-u ann", "", "x", "17 18"])
def test_a_number_that_is_an_option_of_the_queue_is_refused(directory, number: str) -> None:
    submitted(directory, number=number).write(directory)
    with pytest.raises(RunDirectoryError, match="has no number of a job"):
        job_status(directory)


def test_a_job_that_should_come_back_and_does_not(directory) -> None:
    noted(directory, state="requeued", why="its walltime was over")
    assert "did not come back" in told(directory).detail


def test_a_queue_that_cannot_be_asked_is_said(directory) -> None:
    def ask(_record: DriverRecord) -> RunJobs:
        raise QueueError("squeue of slurm is not on this machine")

    status = job_status(directory, ask)
    assert status is not None
    assert (status.state, status.is_over) == ("unknown", False)
    assert "not on this machine" in status.lines[0]


def test_the_status_of_a_run_tells_of_its_job(tmp_path, monkeypatch) -> None:
    """The lock of a lost node's process counts no more than that process."""
    run = tmp_path / "run"
    RunDirectory(run, create=True)
    (run / "run.lock").write_text(
        json.dumps({"host": "node9", "pid": 7, "started": 1.0, "boot": "b"})
    )
    assert read_status(run).state == "running"  # for all that anybody knows
    jobs_folder(run).mkdir()
    submitted(run).write(run)
    noted(run, host="node9")
    programs = tmp_path / "bin"
    programs.mkdir()
    squeue = programs / "squeue"
    squeue.write_text("#!/bin/sh\n")  # a queue that forgot the job
    squeue.chmod(0o700)
    monkeypatch.setenv("PATH", str(programs))
    status = read_status(run)
    assert status.state == "stopped"
    assert status.job is not None
    assert status.job.state == "died"
    assert "  job 17 of slurm: died, on node9" in str(status)
    assert status.as_dict()["job"]["state"] == "died"
