"""What supervises a driver passes signals on, notes how it ended, and knows when to go back.

Processes are real; the queue is one whose jobs go back by their exit status, so none is needed.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from clustergrid.pipeline.jobs.folder import jobs_folder
from clustergrid.pipeline.jobs.known import QUEUES_BY_WORD
from clustergrid.pipeline.jobs.names import driver_job_name
from clustergrid.pipeline.jobs.queues import REQUEUE_STATUS
from clustergrid.pipeline.jobs.record import Attempt, DriverRecord
from clustergrid.pipeline.jobs.supervise import (
    MOST_FRUITLESS,
    _release_lock,
    progress_mark,
)
from clustergrid.storage.errors import RunDirectoryError

# A driver that says when it can be signalled, keeps something when it is asked to, and tells how
# often it was told to stop. As the command does, it leaves with 143.
DRIVER = """
import os, pathlib, signal, sys, time
directory, keeps, status = pathlib.Path(sys.argv[1]), sys.argv[2] == "keeps", int(sys.argv[3])
told = []
def stop(number, frame):
    told.append(number)
    time.sleep(0.3)  # tidies up
    (directory / "told").write_text(str(len(told)))
    if keeps:
        (directory / "pieces" / str(os.getpid())).write_text("a piece")
    sys.exit(128 + number)
signal.signal(signal.SIGTERM, stop)
(directory / "ready").write_text("")
if status >= 0:
    sys.exit(status)
time.sleep(60)
"""
SUPERVISE = """
import sys
from pathlib import Path
from clustergrid.pipeline.jobs.known import QUEUES_BY_WORD
from clustergrid.pipeline.jobs.supervise import supervise
directory, stop_after, command = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
sys.exit(supervise(QUEUES_BY_WORD["sge"], directory, command, stop_after_seconds=stop_after))
"""


@pytest.fixture
def directory(tmp_path) -> Path:
    jobs_folder(tmp_path).mkdir()
    (tmp_path / "pieces").mkdir()
    (tmp_path / "manifest").mkdir()
    (tmp_path / "driver.py").write_text(DRIVER)
    return tmp_path


def start(directory: Path, *, keeps: bool = True, status: int = -1, stop_after: int = 0):
    (directory / "ready").unlink(missing_ok=True)
    before = Attempt.read(directory)
    driver = [sys.executable, str(directory / "driver.py"), str(directory)]
    driver += ["keeps" if keeps else "nothing", str(status)]
    process = subprocess.Popen(
        [sys.executable, "-c", SUPERVISE, str(directory), str(stop_after), *driver],
        env=os.environ | {"JOB_ID": "17"},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    end = time.monotonic() + 60
    while not (directory / "ready").exists() or Attempt.read(directory) == before:
        assert process.poll() is None or status >= 0
        assert time.monotonic() < end
        time.sleep(0.02)
    return process


def end(process) -> tuple[int, str]:
    """Wait for the end: the exit status, and what was said."""
    _, said = process.communicate(timeout=60)
    return process.returncode, said


def read(directory: Path) -> Attempt:
    attempt = Attempt.read(directory)
    assert attempt is not None
    return attempt


def test_the_warning_of_the_queue_stops_the_driver_once_and_sends_the_job_back(directory) -> None:
    process = start(directory)
    attempt = read(directory)
    assert (attempt.state, attempt.job, attempt.attempt) == ("running", "17", 1)
    assert attempt.host == socket.gethostname()
    # To all processes of the job, as some queues do: the driver leaves it to who supervises it.
    os.killpg(process.pid, signal.SIGUSR1)
    time.sleep(0.1)
    os.kill(process.pid, signal.SIGUSR1)
    status, said = end(process)
    assert status == REQUEUE_STATUS
    assert "goes back into the queue" in said
    assert (directory / "told").read_text() == "1"
    ended = read(directory)
    assert (ended.state, ended.exit_status, ended.fruitless) == ("requeued", 143, 0)
    assert ended.ended is not None
    assert ended.ended >= ended.started


def test_a_cancelled_job_does_not_go_back(directory) -> None:
    process = start(directory)
    os.kill(process.pid, signal.SIGUSR1)
    os.kill(process.pid, signal.SIGTERM)  # while the driver tidies up
    assert end(process)[0] == 143
    attempt = read(directory)
    assert (attempt.state, attempt.exit_status, attempt.why) == ("ended", 143, "cancelled")


@pytest.mark.slow
def test_a_job_that_leaves_nothing_new_goes_back_so_often_and_no_more(directory) -> None:
    for i in range(1, MOST_FRUITLESS + 1):
        process = start(directory, keeps=False, stop_after=1)  # by the clock
        status, said = end(process)
        attempt = read(directory)
        assert (attempt.attempt, attempt.fruitless) == (i, i)
        if i < MOST_FRUITLESS:
            assert status == REQUEUE_STATUS
            assert attempt.state == "requeued"
    assert status == 143
    assert attempt.state == "ended"
    assert "nothing new to keep" in attempt.why
    assert attempt.why in said


@pytest.mark.slow
def test_something_new_starts_the_count_again(directory) -> None:
    assert end(start(directory, keeps=False, stop_after=1))[0] == REQUEUE_STATUS
    assert read(directory).fruitless == 1
    assert end(start(directory, keeps=True, stop_after=1))[0] == REQUEUE_STATUS
    assert read(directory).fruitless == 0


@pytest.mark.parametrize("status", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_a_run_that_ends_by_itself_ends_the_job(directory, status: int) -> None:
    process = start(directory, status=status)
    assert end(process)[0] == status
    attempt = read(directory)
    assert (attempt.state, attempt.exit_status, attempt.why) == ("ended", status, "")


@pytest.mark.slow
def test_a_killed_driver_is_told_of(directory) -> None:
    process = start(directory)
    os.kill(read(directory).pid, signal.SIGKILL)
    assert end(process)[0] == 137
    assert "want of memory" in read(directory).why


def test_progress_is_what_is_kept(directory) -> None:
    marks = [progress_mark(directory)]
    for name, text in (
        ("manifest/distance.jsonl", "line\n"),
        ("manifest/distance.jsonl", "line\nline\n"),
        ("pieces/a/0.npz", "x"),
    ):
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_text(text)
        marks.append(progress_mark(directory))
    assert len(set(marks)) == 4
    (directory / "progress.jsonl").write_text("an event\n")
    (directory / "run.json").write_text("{}")
    (directory / "pieces" / ".unfinished").write_text("x")
    assert progress_mark(directory) == marks[-1]


# Locks of attempts whose node is gone


def lock(directory: Path, host: str, pid: int) -> Path:
    file = directory / "run.lock"
    file.write_text(json.dumps({"host": host, "pid": pid, "started": 1.0, "boot": "b"}))
    return file


def attempt_of(directory: Path, **changes) -> Attempt:
    fields = {"attempt": 1, "job": "17", "host": "node9", "pid": 7, "started": 1.0}
    attempt = Attempt(**{**fields, **changes})
    attempt.write(directory)
    return attempt


def test_the_lock_of_an_attempt_on_a_lost_node_is_released(directory) -> None:
    file = lock(directory, "node9", 7)
    before = attempt_of(directory)
    queue = QUEUES_BY_WORD["sge"]
    _release_lock(queue, directory, None, "17")
    _release_lock(queue, directory, attempt_of(directory, pid=8), "17")
    _release_lock(queue, directory, attempt_of(directory, host="node8"), "17")
    assert file.exists()  # a process that nobody here knows of
    _release_lock(queue, directory, before, "17")
    assert not file.exists()


def test_the_lock_of_another_job_stays_while_nobody_can_say_that_it_is_over(
    directory, monkeypatch
) -> None:
    file = lock(directory, "node9", 7)
    monkeypatch.setenv("PATH", str(directory))  # no qstat
    _release_lock(QUEUES_BY_WORD["sge"], directory, attempt_of(directory, job="16"), "17")
    assert file.exists()


def test_records_come_back_as_they_were_and_damage_is_named(directory) -> None:
    record = DriverRecord(
        queue="slurm", number="7", name=driver_job_name(os.path.realpath(directory)), host="h",
        submitted=1.5, script="/s", log="/l",
    )  # fmt: skip
    record.write(directory)
    assert DriverRecord.read(directory) == record
    assert Attempt.read(directory) is None
    file = jobs_folder(directory) / "driver.json"
    file.write_text(file.read_text()[:20])
    with pytest.raises(RunDirectoryError, match=r"driver\.json cannot be read"):
        DriverRecord.read(directory)
    assert not list(jobs_folder(directory).glob(".driver*"))
