"""What is told of a run's job, of what its queue says and what it noted itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clustergrid.pipeline.jobs.finding import RunJobs
from clustergrid.pipeline.jobs.queues import QueuedJob, QueueError
from clustergrid.pipeline.jobs.record import Attempt, DriverRecord, jobs_folder
from clustergrid.pipeline.jobs.status import JobStatus, job_status
from clustergrid.pipeline.status import read_status
from clustergrid.storage.rundir import RunDirectory

WORKERS = tuple(
    QueuedJob(number=str(n), name="w", state=state, word=state)
    for n, state in ((21, "running"), (22, "running"), (23, "pending"))
)


@pytest.fixture
def directory(tmp_path) -> Path:
    jobs_folder(tmp_path).mkdir()
    DriverRecord(
        queue="slurm", number="17", name="clustergrid-0a1b2c3d", worker_name="w", host="login1",
        submitted=100.0, script="/r/jobs/driver.sh", log="/r/jobs/driver.log",
    ).write(tmp_path)  # fmt: skip
    return tmp_path


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
    DriverRecord(
        queue="slurm", number="17", name="clustergrid-0a1b2c3d", worker_name="w", host="login1",
        submitted=100.0, script="/s", log="/l",
    ).write(run)  # fmt: skip
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
